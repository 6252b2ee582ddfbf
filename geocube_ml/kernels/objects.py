"""Objects (fields, stands) summed up from the pixels that they cover."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.kernels.mask import has_data

_HALF = 1e-6  # relative: shares are floats of 32 bits

_SLAB = 1 << 22  # values at a time, some passes over 32 MB each

_STATISTICS = ("mean", "median", "std")


def summed_up(
    values: NDArray[Any],
    weights: NDArray[Any],
    starts: NDArray[Any],
    statistic: str,
    nodata: float,
) -> NDArray[np.float64]:
    """A statistic of each object over its pixels, by the share of each that it covers.

    Parameters
    ----------
    values : (pixel, ...) integer or float
        Pixels of the first object, then of the second, and so on.
    weights : (pixel,) float
        Above 0: the share of a pixel that the object covers.
    starts : (object + 1,) integer
        Where the pixels of each object begin, and the end.
    statistic : "mean", "median" or "std"
        The median is the smallest value that, with all smaller ones, has half of the weight, or
        the mean of it and the next one where it is just half; the deviation is that of the
        population.
    nodata : float
        Values that do not count, as NaN does not.

    Returns
    -------
    (object, ...) float64
        NaN where no pixel has data.

    Raises
    ------
    InputError
        There is no such statistic.

    Examples
    --------
    >>> values = np.uint16([[10], [20], [0], [70]])
    >>> weights = np.array([1, 0.5, 1, 1.0])
    >>> summed_up(values, weights, np.array([0, 3, 4]), "median", nodata=0)
    array([[10.],
           [70.]])
    """
    if statistic not in _STATISTICS:
        raise InputError(
            f"There is no statistic {statistic!r} of objects. Take {', '.join(_STATISTICS)}."
        )
    flat = values.reshape(len(values), -1)
    found = np.empty((len(starts) - 1, flat.shape[1]))
    size = max(1, _SLAB // max(len(values), 1))
    for first in range(0, flat.shape[1], size):
        some = slice(first, first + size)
        there = has_data(flat[:, some], nodata)
        found[:, some] = _statistic(flat[:, some], there, weights, starts, statistic)
    return found.reshape(len(found), *values.shape[1:])


def _statistic(
    values: NDArray[Any],
    there: NDArray[np.bool_],
    weights: NDArray[Any],
    starts: NDArray[Any],
    statistic: str,
) -> NDArray[np.float64]:
    """(object, channel) of (pixel, channel), of what is there."""
    begin = starts[:-1]
    weight = np.where(there, weights.astype(np.float64)[:, None], 0)
    plain = np.where(there, values, 0).astype(np.float64)
    total = np.add.reduceat(weight, begin)
    with np.errstate(invalid="ignore"):  # 0 / 0 of an object without data is NaN
        found = mean = np.add.reduceat(weight * plain, begin) / total
        if statistic == "median":
            found = _median(np.where(there, plain, np.inf), weight, starts, total)
        elif statistic == "std":
            away = plain - np.repeat(mean, np.diff(starts), axis=0)
            found = np.sqrt(np.add.reduceat(weight * away**2, begin) / total)
    found[total == 0] = np.nan
    return np.asarray(found)


def _median(
    values: NDArray[np.float64],
    weight: NDArray[np.float64],
    starts: NDArray[Any],
    total: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(object, channel); what does not count is infinite and weighs nothing."""
    found = np.empty_like(total)
    of = np.repeat(np.arange(len(total)), np.diff(starts))
    for channel, (value, one) in enumerate(zip(values.T, weight.T, strict=True)):
        order = np.lexsort((value, of))
        ordered, sums = value[order], np.cumsum(one[order])
        below = sums - np.append(0, sums)[starts[:-1]][of]
        half = total[:, channel][of] / 2
        at = starts[:-1] + np.add.reduceat(below < half * (1 - _HALF), starts[:-1], dtype=np.int64)
        at = np.minimum(at, starts[1:] - 1)
        just = below[at] <= half[at] * (1 + _HALF)  # then the next one has the other half
        after = np.where(just, np.minimum(at + 1, starts[1:] - 1), at)
        found[:, channel] = (ordered[at] + ordered[after]) / 2
    return found
