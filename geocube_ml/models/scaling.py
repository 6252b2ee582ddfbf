"""Standardized series, learnt on training rows only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each band over all training rows and months."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def learn(cls, series: NDArray[np.float32]) -> Self:
        """From (n, time, band) physical values with NaN where nothing was observed."""
        flat = series.reshape(-1, series.shape[-1]).astype(np.float64)
        seen = ~np.isnan(flat)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, flat, 0).sum(axis=0) / count
        variance = np.where(seen, (flat - mean) ** 2, 0).sum(axis=0) / count
        # a band that never changes says nothing: leave it at 0 rather than divide by 0
        std = np.where(variance > 0, np.sqrt(variance), 1)
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, band + 1, time) for a convolution over time.

        Missing values are 0, the mean, and the last channel says whether the month was observed:
        1 or 0.  So a missing month is masked, not invented.
        """
        n, n_step, n_band = series.shape
        out = np.empty((n, n_band + 1, n_step), np.float32)
        scaled = out[:, :-1]
        np.subtract(series.transpose(0, 2, 1), self.mean[:, None], out=scaled)
        scaled /= self.std[:, None]
        missing = np.isnan(scaled)
        scaled[missing] = 0
        out[:, -1] = ~missing.all(axis=1)
        return out
