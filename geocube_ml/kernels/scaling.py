"""Counts become what a model sees, and probabilities what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data

PROB_STEPS = 250
"""Probabilities are stored as whole numbers of 1/250."""

PROB_NODATA = 255
"""Stored where there is no probability."""


def to_physical(counts: NDArray[Any], nodata: float, scale: float) -> NDArray[np.float32]:
    """Physical values, NaN where there is no data.

    Examples
    --------
    >>> to_physical(np.uint16([0, 2500]), nodata=0, scale=1e-4)
    array([ nan, 0.25], dtype=float32)
    """
    values = counts.astype(np.float32) * np.float32(scale)
    values[~has_data(counts, nodata)] = np.nan
    return values


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
