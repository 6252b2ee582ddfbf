"""Counts to comparable counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data
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


def lowered_data(
    values: NDArray[Any], by: int, nodata: float, *, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """As `lower` where there is data, and anything elsewhere: in a third of the time.

    Parameters
    ----------
    values, by, nodata
        As of `lower`.
    out : array of the same shape and dtype, optional
        Gets the result; must not be `values`.

    Returns
    -------
    array of the same shape and dtype

    Examples
    --------
    >>> lowered_data(np.uint16([900, 1000, 3000]), by=1000, nodata=0)
    array([   1,    1, 2000], dtype=uint16)
    """
    out = np.empty_like(values) if out is None else out
    if by == 0:
        out[...] = values
        return out
    raised, less = _bounds(values.dtype, by, nodata)
    np.maximum(values, raised, out=out)
    out -= less  # wraps around, and back
    return out


def _bounds(dtype: np.dtype[Any], by: int, nodata: float) -> tuple[Any, Any]:
    """What counts are raised to before they are lowered, so that they stay in their dtype."""
    info = np.iinfo(dtype)
    darkest = int(nodata) + 1 if nodata < info.max else info.min
    less = np.int64(min(by, info.max - darkest)).astype(dtype)
    return dtype.type(min(darkest + by, info.max)), less
