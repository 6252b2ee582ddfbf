"""Counts of shuffled rows become the floats that a network sees, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled
from geocube_ml.kernels.mask import as_gap, is_there


def standardize(
    counts: NDArray[Any],
    nodata: float,
    scale: float,
    offset: float,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    fill: float,
    out: NDArray[np.float32],
    observed: NDArray[np.bool_],
) -> None:
    """Counts of one source as standardized physical values, and where it was observed.

    Parameters
    ----------
    counts : (n, time, band, pixel)
        Time of length 1 for a static source: it is repeated.  Of single pixels the last axis has
        length 1.
    nodata : float
        Count where there is no data; NaN never is data.
    scale, offset : float
        Physical value of one count, and of the count 0.
    mean, std : (band,) float32
        In physical values.
    fill : float
        What is put where there is no data.
    out : (n, time, band, pixel) float32
        A view of the channels of this source.
    observed : (n, time, pixel) bool
        True where any band has data.

    Notes
    -----
    The operations and their order are those of `kernels.scaling.to_physical`, less the mean, by
    the standard deviation, each rounded: the values are bit for bit what a model sees when it
    predicts.
    """
    gap = as_gap(counts.dtype, nodata)
    numbers = (np.float32(scale), np.float32(offset))
    if counts.shape[3] > 1:
        _planes(counts, gap, numbers, mean, std, np.float32(fill), out, observed)
        return
    pixels, into = counts[..., 0], out[..., 0]
    n, steps = into.shape[:2]
    if pixels.shape[1] == steps and into.flags.c_contiguous and pixels.flags.c_contiguous:
        # one long loop in place of one a step
        _rows(
            pixels.reshape(n, 1, -1), gap, numbers, np.tile(mean, steps), np.tile(std, steps),
            np.float32(fill), into.reshape(n, 1, -1),
        )  # fmt: skip
    else:
        _rows(pixels, gap, numbers, mean, std, np.float32(fill), into)
    _seen(pixels.reshape(n, -1), gap, pixels.shape[2], observed[..., 0])


@compiled
def _rows(
    counts: NDArray[Any], gap: Any, numbers: Any, mean: NDArray[np.float32],
    std: NDArray[np.float32], fill: Any, out: NDArray[np.float32],
) -> None:  # fmt: skip
    """(n, time or 1, band) counts into (n, time, band)."""
    n, steps, bands = out.shape
    scale, offset = numbers
    still = counts.shape[1] != steps
    for i in range(n):
        for t in range(steps):
            row, into = counts[i, 0 if still else t], out[i, t]
            for b in range(bands):
                count = row[b]
                value = (np.float32(count) * scale + offset - mean[b]) / std[b]
                into[b] = value if is_there(count, gap) else fill


@compiled
def _seen(counts: NDArray[Any], gap: Any, bands: int, observed: NDArray[np.bool_]) -> None:
    """(n, time and band) counts, of one step or all, into (n, time); most first bands have data."""
    n, steps = observed.shape
    still = counts.shape[1] == bands
    for i in range(n):
        row, into = counts[i], observed[i]
        for t in range(steps):
            first = 0 if still else t * bands
            b = 0
            while b < bands and not is_there(row[first + b], gap):
                b += 1
            into[t] = b < bands


@compiled
def _planes(
    counts: NDArray[Any], gap: Any, numbers: Any, mean: NDArray[np.float32],
    std: NDArray[np.float32], fill: Any, out: NDArray[np.float32], observed: NDArray[np.bool_],
) -> None:  # fmt: skip
    """(n, time or 1, band, pixel) counts into (n, time, band, pixel)."""
    n, steps, bands, pixels = out.shape
    scale, offset = numbers
    still = counts.shape[1] != steps
    for i in range(n):
        for t in range(steps):
            seen = observed[i, t]
            for p in range(pixels):
                seen[p] = False
            for b in range(bands):
                plane, into = counts[i, 0 if still else t, b], out[i, t, b]
                middle, spread = mean[b], std[b]
                for p in range(pixels):
                    count = plane[p]
                    there = is_there(count, gap)
                    value = (np.float32(count) * scale + offset - middle) / spread
                    into[p] = value if there else fill
                    seen[p] |= there
