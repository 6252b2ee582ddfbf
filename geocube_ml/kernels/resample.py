"""Values of a raster at given places, with nodata taking no part.

GDAL's warper does the same, but guesses scale and approximates coordinates window by window, so
that a pixel's value depends on the window that it is read in; and it finds the coordinates anew
for each band and date.  Here they are given, once for all rasters of one grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data


def nearest(
    values: NDArray[Any], row: NDArray[Any], col: NDArray[Any], nodata: float
) -> NDArray[Any]:
    """The pixel that each place lies in.

    Parameters
    ----------
    values : (y, x)
    row, col : float, broadcastable to one shape
        Places in pixels; 0 is the outer edge of the first pixel, 0.5 its centre.
    nodata : float
        Result outside the raster.

    Returns
    -------
    array of the common shape, dtype of `values`

    Examples
    --------
    >>> nearest(np.uint8([[1, 2]]), np.array([0.5]), np.array([0.9, 1.0, 2.0]), nodata=0)
    array([1, 2, 0], dtype=uint8)
    """
    (at_row, at_col), inside = _containing(values.shape, row, col)
    return np.where(inside, values[at_row, at_col], np.array(nodata, values.dtype))


def bilinear(
    values: NDArray[Any], row: NDArray[Any], col: NDArray[Any], nodata: float
) -> NDArray[Any]:
    """The mean of the four pixels around each place, weighted by nearness.

    Parameters
    ----------
    values : (y, x) integer or float
    row, col : float, broadcastable to one shape
        Places in pixels; 0 is the outer edge of the first pixel, 0.5 its centre.
    nodata : float
        Takes no part in a mean; the result where the pixel that a place lies in is nodata, so
        that data do not grow into what is not there.

    Returns
    -------
    array of the common shape, dtype of `values`
        Rounded to the nearest integer for integers.

    Examples
    --------
    >>> bilinear(np.uint16([[10, 20, 0]]), np.array([0.5]), np.array([1.0, 1.75, 2.2]), nodata=0)
    array([15, 20,  0], dtype=uint16)
    """
    (at_row, at_col), inside = _containing(values.shape, row, col)
    data = has_data(values, nodata)
    clean = np.where(data, values, 0).astype(np.float32)
    top, left = np.floor(row - 0.5), np.floor(col - 0.5)
    down, right = (row - 0.5 - top).astype(np.float32), (col - 0.5 - left).astype(np.float32)
    total: Any = np.float32(0)
    weight: Any = np.float32(0)
    for step_row, by_row in ((0, 1 - down), (1, down)):
        for step_col, by_col in ((0, 1 - right), (1, right)):
            y, x = (top + step_row).astype(np.intp), (left + step_col).astype(np.intp)
            there = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
            y, x = np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)
            share = by_row * by_col * (there & data[y, x])
            total = total + share * clean[y, x]
            weight = weight + share
    known = inside & data[at_row, at_col]
    mean = total / np.where(known, weight, 1)
    if np.issubdtype(values.dtype, np.integer):
        mean = np.rint(mean)
    return np.where(known, mean, nodata).astype(values.dtype)


def _containing(
    shape: tuple[int, ...], row: NDArray[Any], col: NDArray[Any]
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.bool_]]:
    """The pixel that each place lies in, clipped to the raster, and whether it is in the raster."""
    y, x = np.floor(row).astype(np.intp), np.floor(col).astype(np.intp)
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return (np.clip(y, 0, shape[0] - 1), np.clip(x, 0, shape[1] - 1)), inside
