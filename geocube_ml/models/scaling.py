"""Standardized series, learnt on training rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 2**18  # values of a channel: their copies in 64 bits are few megabytes


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each channel over all training rows and steps."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def learn(cls, series: NDArray[np.float32]) -> Self:
        """From (n, time, channel) physical values with NaN where nothing was observed."""
        flat = series.reshape(-1, series.shape[-1])
        parts = [flat[start : start + _AT_ONCE] for start in range(0, len(flat), _AT_ONCE)]
        count = np.maximum(sum((~np.isnan(part)).sum(axis=0) for part in parts), 1)
        mean = sum(np.nansum(part, axis=0, dtype=np.float64) for part in parts) / count
        variance = sum(np.nansum((part - mean) ** 2, axis=0) for part in parts) / count
        # a band that never changes says nothing: leave it at 0 rather than divide by 0
        std = np.where(variance > 0, np.sqrt(variance), 1)
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(
        self, series: NDArray[np.float32], sizes: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """Standardized channels, and one a source that says where it was observed.

        Missing values are 0, the mean, and the last channels say of each source whether the step
        was observed: 1 or 0.  So a missing step is masked, not invented.

        Parameters
        ----------
        series : (n, time, channel, ...) float32
            Physical values, NaN where missing.
        sizes : sequence of int, optional
            Channels of each source; all are of one by default.

        Returns
        -------
        (n, channel + source, time, ...) float32, for convolutions over time
        """
        return as_inputs(self.standardized(series), sizes)

    def standardized(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel, ...) physical values -> the same in standard deviations, NaN kept."""
        shape = (-1, *(1,) * (series.ndim - 3))
        return (series - self.mean.reshape(shape)) / self.std.reshape(shape)


def as_inputs(
    standardized: NDArray[np.float32], sizes: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """What a network sees, (n, channel + source, time, ...), as of `Scaling.apply`.

    Examples
    --------
    >>> as_inputs(np.float32([[[0.5, np.nan], [np.nan, np.nan]]]))[0].tolist()
    [[0.5, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """
    n, n_step, n_band, *area = standardized.shape
    sizes = sizes or (n_band,)
    out = np.empty((n, n_band + len(sizes), n_step, *area), np.float32)
    out[:, :n_band] = standardized.swapaxes(1, 2)
    missing = np.isnan(out[:, :n_band])
    out[:, :n_band][missing] = 0
    first = 0
    for at, size in enumerate(sizes, start=n_band):
        out[:, at] = ~missing[:, first : first + size].all(axis=1)
        first += size
    return out
