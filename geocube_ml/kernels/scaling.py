"""Counts become what a model sees, and probabilities what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data

PROB_STEPS = 250
"""Probabilities are stored as whole numbers of 1/250."""

PROB_NODATA = 255
"""Stored where there is no probability."""


def to_physical(
    counts: NDArray[Any], nodata: float, scale: float, offset: float = 0.0
) -> NDArray[np.float32]:
    """Physical values, NaN where there is no data.

    Parameters
    ----------
    counts : array of any shape and type
    nodata : float
        Count where there is no data; NaN never is data, nor is what is infinite.
    scale, offset : float
        Physical value of one count, and of the count 0 (CF ``scale_factor``, ``add_offset``).

    Returns
    -------
    float32 array of the same shape

    Examples
    --------
    >>> to_physical(np.uint16([0, 2500]), nodata=0, scale=1e-4)
    array([ nan, 0.25], dtype=float32)
    >>> to_physical(np.uint16([0, 10_000]), nodata=0, scale=2.75e-5, offset=-0.2)
    array([  nan, 0.075], dtype=float32)
    """
    values: NDArray[np.float32] = np.multiply(counts, np.float32(scale), dtype=np.float32)
    if offset:
        values += np.float32(offset)
    values[~has_data(counts, nodata)] = np.nan
    if counts.dtype.kind == "f":  # the logarithm of 0, a division by 0
        values[np.isinf(values)] = np.nan
    return values


def stack(
    series: Sequence[NDArray[np.float32]], static: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """All sources as the channels of one array.

    Parameters
    ----------
    series : sequence of (n, time, band, ...) float32
        Of sources with a time axis, which they share.
    static : sequence of (n, band, ...) float32
        Of sources without one.

    Returns
    -------
    (n, time, channel, ...) float32
        Channels of series in their order, then static ones, the same at every step; time has
        length 1 where there is no series.

    Examples
    --------
    >>> stack([np.float32([[[1], [2]]])], [np.float32([[7, 8]])])[0].tolist()
    [[1.0, 7.0, 8.0], [2.0, 7.0, 8.0]]
    """
    if len(series) == 1 and not static:
        return series[0]
    steps = series[0].shape[1] if series else 1
    still = [np.broadcast_to(one[:, None], (len(one), steps, *one.shape[1:])) for one in static]
    return np.concatenate([*series, *still], axis=2)


def pack_probability(prob: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Probabilities as uint8 in steps of 1/250; NaN becomes 255.

    Examples
    --------
    >>> pack_probability(np.array([0, 0.5, 1, np.nan]))
    array([  0, 125, 250, 255], dtype=uint8)
    """
    known = ~np.isnan(prob)
    steps = np.rint(np.where(known, prob, 0) * PROB_STEPS)
    return np.where(known, steps, PROB_NODATA).astype(np.uint8)


def most_likely(prob: NDArray[np.floating[Any]], unknown: int) -> NDArray[np.uint8]:
    """Code of the most likely class; the lower one of two that are equal.

    Parameters
    ----------
    prob : (class, ...) float
        NaN throughout where there is no probability.
    unknown : int
        Code where there is none.

    Returns
    -------
    (...) uint8
    """
    known = ~np.isnan(prob[0])
    codes = np.argmax(np.where(known, prob, 0), axis=0)
    return np.where(known, codes, unknown).astype(np.uint8)
