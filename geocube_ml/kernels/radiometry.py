"""Counts to comparable counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled
from geocube_ml.kernels.mask import as_gap, has_data, is_there
from geocube_ml.kernels.select import where


def lower(values: NDArray[Any], by: int, nodata: float) -> NDArray[Any]:
    """Counts brought down by a constant, with nodata left as it is.

    Parameters
    ----------
    values : any shape, integer
        Counts.
    by : int, at least 0
        What was added to every count, such as 1000 since Sentinel-2's baseline 04.00.
    nodata : float
        Count of a pixel without data.

    Returns
    -------
    array of the same shape and dtype
        At least ``nodata + 1`` where there is data: a surface so dark that it would fall to
        nodata or below zero stays the darkest surface.  At least the lowest value of the dtype
        where nodata is its highest.

    Examples
    --------
    >>> lower(np.uint16([0, 900, 1000, 3000]), by=1000, nodata=0)
    array([   0,    1,    1, 2000], dtype=uint16)
    """
    if by == 0:
        return values
    return where(has_data(values, nodata), lowered_data(values, by, nodata), values)


def lowered_data(values: NDArray[Any], by: int, nodata: float) -> NDArray[Any]:
    """As `lower` where there is data, and anything elsewhere: in a third of the time.

    Parameters
    ----------
    values, by, nodata
        As of `lower`.

    Returns
    -------
    array of the same shape and dtype

    Examples
    --------
    >>> lowered_data(np.uint16([900, 1000, 3000]), by=1000, nodata=0)
    array([   1,    1, 2000], dtype=uint16)
    """
    if by == 0:
        return values
    raised, less = _bounds(values.dtype, by, nodata)
    lowered: NDArray[Any] = np.maximum(values, raised)
    lowered -= less  # wraps around, and back
    return lowered


def take_clear(
    values: NDArray[Any], mask: NDArray[np.bool_], by: int, nodata: float,
    into: NDArray[Any], clear: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Lowered counts of the pixels that are clear here, have data, and were not clear before.

    Parameters
    ----------
    values : (y, x) integer or float
        Counts; `by` is 0 of floats.
    mask : (y, x) bool
        Where they are clear.
    by, nodata
        As of `lower`.
    into : (y, x) array of the dtype of `values`, changed in place
    clear : (y, x) bool, changed in place
        Where `into` was taken already, and afterwards also where it is taken now.

    Examples
    --------
    >>> into, clear = np.uint16([7, 0, 0]), np.array([True, False, False])
    >>> mask = np.array([True, True, True])
    >>> take_clear(np.uint16([[1500, 1400, 0]]), mask[None], 1000, 0, into[None], clear[None])
    >>> into, clear
    (array([  7, 400,   0], dtype=uint16), array([ True,  True, False]))
    """
    dtype = into.dtype
    if dtype.kind == "f":
        raised, less = dtype.type(-np.inf), dtype.type(0)
    elif by == 0:
        raised, less = dtype.type(np.iinfo(dtype).min), dtype.type(0)
    else:
        raised, less = _bounds(dtype, by, nodata)
    native = np.asarray(values, dtype)
    _take_clear(native, mask, raised, dtype.type(less), as_gap(dtype, nodata), into, clear)


@compiled
def _take_clear(
    values: NDArray[Any], mask: NDArray[np.bool_], raised: Any, less: Any, gap: tuple[Any, bool],
    into: NDArray[Any], clear: NDArray[np.bool_],
) -> None:  # fmt: skip
    for y in range(values.shape[0]):
        line, good, out, done = values[y], mask[y], into[y], clear[y]
        for x in range(line.size):
            value, before, found = line[x], out[x], done[x]
            there = good[x] & is_there(value, gap) & (not found)
            out[x] = (value if value > raised else raised) - less if there else before
            done[x] = found | there


def _bounds(dtype: np.dtype[Any], by: int, nodata: float) -> tuple[Any, Any]:
    """What counts are raised to before they are lowered, so that they stay in their dtype."""
    info = np.iinfo(dtype)
    darkest = int(nodata) + 1 if nodata < info.max else info.min
    less = np.int64(min(by, info.max - darkest)).astype(dtype)
    return dtype.type(min(darkest + by, info.max)), less
