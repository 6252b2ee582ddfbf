"""Values of a raster at given places, with nodata taking no part.

GDAL's warper does the same, but guesses scale and approximates coordinates window by window, so
that a pixel's value depends on the window that it is read in; and it finds the coordinates anew
for each band and date.  Here they are given, once for all rasters of one grid.

Places are often a grid themselves, given as a column of rows and a row of columns.  Then each row
of pixels is spread over the columns once, and what lies between two operations stays in the cache;
the values are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import beside_nodata, where

_BLOCK = 32_768  # places; some floats of each fit into the second-level cache
_SHORT = 2  # bytes


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
    rows, inside_rows = _containing(values.shape[0], row)
    cols, inside_cols = _containing(values.shape[1], col)
    if _crossed(row, col):
        first = rows.min()
        wide = _spread(values[first : rows.max() + 1], cols[0])
        found = np.take(wide, rows[:, 0] - first, axis=0)
        return _outside(found, inside_rows, inside_cols, nodata)
    found = _at(values, rows, cols)
    inside = inside_rows & inside_cols
    return found if inside.all() else where(inside, found, nodata)


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
        Rounded to the nearest integer for integers.  A mean that falls on nodata goes beside it.

    Examples
    --------
    >>> bilinear(np.uint16([[10, 20, 0]]), np.array([0.5]), np.array([1.0, 1.75, 2.2]), nodata=0)
    array([15, 20,  0], dtype=uint16)
    """
    data = has_data(values, nodata)
    # the outermost pixels come twice, so that no place has fewer than four pixels; a pixel that
    # comes twice weighs what it would weigh alone
    clean = _rimmed(values if data.all() else where(data, values, 0), np.float32)
    there = _rimmed(data, bool)
    if _crossed(row, col):
        return _on_grid(clean, there, row, col, nodata, values.dtype)
    top, down = _before(values.shape[0], row)
    left, right = _before(values.shape[1], col)
    upper = _mixed(_at(clean, top, left), _at(clean, top, left + 1), right)
    lower = _mixed(_at(clean, top + 1, left), _at(clean, top + 1, left + 1), right)
    mean = _mixed(upper, lower, down)
    rows, inside_rows = _containing(values.shape[0], row)
    cols, inside_cols = _containing(values.shape[1], col)
    known = _at(data, rows, cols) & inside_rows & inside_cols
    beside = ~_all_four(there)
    if beside.any():
        rim = np.nonzero(_at(beside, top, left) & known)
        top, left = (np.broadcast_to(at, mean.shape)[rim] for at in (top, left))
        down, right = (np.broadcast_to(share, mean.shape)[rim] for share in (down, right))
        weights = there.astype(np.float32)
        upper = _mixed(weights[top, left], weights[top, left + 1], right)
        lower = _mixed(weights[top + 1, left], weights[top + 1, left + 1], right)
        mean[rim] /= _mixed(upper, lower, down)
    return where(known, _rounded(mean, values.dtype, nodata), nodata)


def _on_grid(
    clean: NDArray[np.float32], there: NDArray[np.bool_], row: NDArray[Any], col: NDArray[Any],
    nodata: float, dtype: np.dtype[Any],
) -> NDArray[Any]:  # fmt: skip
    """`bilinear` at a column of rows and a row of columns, of a raster with a rim."""
    height, width = clean.shape[0] - 2, clean.shape[1] - 2
    top, down = _before(height, row[:, 0])
    left, right = _before(width, col[0])
    rows, inside_rows = _containing(height, row)
    cols, inside_cols = _containing(width, col)
    whole = _all_four(there)
    whole_rows: NDArray[np.bool_] = np.logical_and.reduce(
        whole[:, left.min() : left.max() + 1], axis=1
    )
    weights = None if whole_rows[top].all() else there.astype(np.float32)
    out = np.empty((row.size, col.size), dtype)
    step = max(_BLOCK // max(col.size, 1), 1)
    room = np.empty((3, step, col.size), np.float32)  # memory that is new is slow
    for start in range(0, row.size, step):
        here = slice(start, start + step)
        at, share = top[here], down[here, None]
        mean = _crosswise(clean, at, left, share, right, room[0], room[2])
        if weights is None or whole_rows[at].all():
            out[here] = _rounded(mean, dtype, nodata)
            continue
        known = there[rows[here, 0] + 1][:, cols[0] + 1]
        weight = _crosswise(weights, at, left, share, right, room[1], room[2])
        mean /= np.where(known & ~whole[at][:, left] & (weight > 0), weight, 1)
        out[here] = where(known, _rounded(mean, dtype, nodata), nodata)
    return _outside(out, inside_rows, inside_cols, nodata)


def _crosswise(
    values: NDArray[np.float32], top: NDArray[np.intp], left: NDArray[np.intp],
    down: NDArray[np.float32], right: NDArray[np.float32],
    into: NDArray[np.float32], room: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Means of four pixels at rows (y,) and columns (x,): along the rows, then between them."""
    first, into, room = top.min(), into[: top.size], room[: top.size]
    lines = values[first : top.max() + 2]
    across = _mixed(_spread(lines, left), _spread(lines, left + 1), right)
    # with this mode numpy makes no copy; all positions are inside
    np.take(across, top - first, axis=0, out=into, mode="clip")
    np.take(across, top - first + 1, axis=0, out=room, mode="clip")
    into *= 1 - down
    room *= down
    into += room
    return into


def _rimmed(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """(y + 2, x + 2) values with the outermost ones twice."""
    out = np.empty((values.shape[0] + 2, values.shape[1] + 2), dtype)
    out[1:-1, 1:-1] = values
    out[0, 1:-1], out[-1, 1:-1] = values[0], values[-1]
    out[:, 0], out[:, -1] = out[:, 1], out[:, -2]
    return out


def _all_four(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a pixel, the next, and the two below them have data."""
    pairs: NDArray[np.bool_] = there[:-1] & there[1:]
    return pairs[:, :-1] & pairs[:, 1:]


def _rounded(mean: NDArray[np.float32], dtype: np.dtype[Any], nodata: float) -> NDArray[Any]:
    """In a dtype, with no data that pass for nodata."""
    if dtype.kind in "iu":
        np.rint(mean, out=mean)
    return beside_nodata(mean.astype(dtype, copy=False), nodata)


def _mixed(first: NDArray[Any], second: NDArray[Any], share: NDArray[Any]) -> NDArray[Any]:
    """What lies between two arrays, where the second has this share."""
    mixed: NDArray[Any] = first * (1 - share)
    mixed += second * share
    return mixed


def _before(size: int, places: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The last pixel with its centre at or before each place, along an axis with a rim of one
    pixel, and the share of the pixel after it.
    """
    pixel = np.floor(places - 0.5)
    share = (places - 0.5 - pixel).astype(np.float32)
    return np.clip(pixel + 1, 0, size).astype(np.intp), share


def _containing(size: int, places: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The pixel that each place lies in along an axis, clipped, and whether it is in the raster."""
    pixel = np.floor(places).astype(np.intp)
    return np.clip(pixel, 0, size - 1), (pixel >= 0) & (pixel < size)


def _crossed(row: NDArray[Any], col: NDArray[Any]) -> bool:
    """Whether places are a column of rows and a row of columns."""
    return row.ndim == col.ndim == 2 and row.shape[1] == col.shape[0] == 1 and row.size > 0


def _at(values: NDArray[Any], row: NDArray[np.intp], col: NDArray[np.intp]) -> NDArray[Any]:
    """Pixels of (y, x) by their row and column."""
    found: NDArray[Any] = values.reshape(-1).take(row * values.shape[1] + col)
    return found


def _outside(
    values: NDArray[Any], rows: NDArray[np.bool_], cols: NDArray[np.bool_], nodata: float
) -> NDArray[Any]:
    """`values`, changed to nodata where a row or a column is not inside."""
    values[~rows[:, 0]] = nodata
    values[:, ~cols[0]] = nodata
    return values


def _spread(values: NDArray[Any], cols: NDArray[np.intp]) -> NDArray[Any]:
    """Columns by their positions, of which many may be the same."""
    odd = int(cols.size > 1 and cols[0] != cols[1])
    twice = cols[0] + (np.arange(cols.size) + odd) // 2
    size = values.dtype.itemsize
    if size > _SHORT or not np.array_equal(cols, twice):
        return np.take(values, cols, axis=1, mode="clip")  # all are inside
    # a number beside itself is a multiple of it, in twice as many bits
    narrow, wide = np.dtype(f"u{size}"), np.dtype(f"u{2 * size}")
    part = np.ascontiguousarray(values[:, cols[0] : cols[-1] + 1]).view(narrow)
    pairs: NDArray[Any] = (part * wide.type((1 << 8 * size) + 1)).view(values.dtype)
    return pairs[:, odd : odd + cols.size]
