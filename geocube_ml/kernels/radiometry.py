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
    info = np.iinfo(values.dtype)
    darkest = int(nodata) + 1 if nodata < info.max else info.min
    # raised before they are lowered, counts do not leave their dtype
    lowered = np.maximum(values, min(darkest + by, info.max))
    lowered -= np.int64(min(by, info.max - darkest)).astype(values.dtype)  # wraps around, and back
    return where(has_data(values, nodata), lowered, values)
