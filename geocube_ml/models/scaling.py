"""Standardized series, learnt on training rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each channel over all training rows and steps."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def learn(cls, series: NDArray[np.float32]) -> Self:
        """From (n, time, channel) physical values with NaN where nothing was observed."""
        flat = series.reshape(-1, series.shape[-1]).astype(np.float64)
        seen = ~np.isnan(flat)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, flat, 0).sum(axis=0) / count
        variance = np.where(seen, (flat - mean) ** 2, 0).sum(axis=0) / count
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
        series : (n, time, channel) float32
            Physical values, NaN where missing.
        sizes : sequence of int, optional
            Channels of each source; all are of one by default.

        Returns
        -------
        (n, channel + source, time) float32, for a convolution over time
        """
        n, n_step, n_band = series.shape
        sizes = sizes or (n_band,)
        out = np.empty((n, n_band + len(sizes), n_step), np.float32)
        scaled = out[:, :n_band]
        np.subtract(series.transpose(0, 2, 1), self.mean[:, None], out=scaled)
        scaled /= self.std[:, None]
        missing = np.isnan(scaled)
        scaled[missing] = 0
        first = 0
        for at, size in enumerate(sizes, start=n_band):
            out[:, at] = ~missing[:, first : first + size].all(axis=1)
            first += size
        return out
