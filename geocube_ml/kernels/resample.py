"""Values of a raster at given places, with nodata taking no part.

GDAL's warper does the same, but guesses scale and approximates coordinates window by window, so
that a pixel's value depends on the window that it is read in; and it finds the coordinates anew
for each band and date.  Here they are given, once for all rasters of one grid.

Places are often a grid themselves, given as a column of rows and a row of columns.  Then each row
of pixels is spread over the columns once; the values are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled
from geocube_ml.kernels.mask import as_gap, is_there
from geocube_ml.kernels.select import collision


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
    grid, rows, cols = _arranged(row, col)
    out = np.full((rows.size, cols.size) if grid else rows.size, nodata, _native(values).dtype)
    take = _nearest_on_grid if grid else _nearest_at
    take(_native(values), rows, cols, out)
    return _shaped(out, values, row, col)


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
    grid, rows, cols = _arranged(row, col)
    out = np.full((rows.size, cols.size) if grid else rows.size, nodata, _native(values).dtype)
    mean = _bilinear_on_grid if grid else _bilinear_at
    mean(
        _native(values), as_gap(values.dtype, nodata), collision(out.dtype, nodata), rows, cols,
        out.dtype.kind != "f", out,
    )  # fmt: skip
    return _shaped(out, values, row, col)


def _arranged(
    row: NDArray[Any], col: NDArray[Any]
) -> tuple[bool, NDArray[np.float64], NDArray[np.float64]]:
    """Whether places are a column of rows and a row of columns; rows and columns, else pairs."""
    grid = row.ndim == col.ndim == 2 and row.shape[1] == col.shape[0] == 1
    if not grid and row.shape != col.shape:
        shape = np.broadcast_shapes(row.shape, col.shape)
        row, col = np.array(np.broadcast_to(row, shape)), np.array(np.broadcast_to(col, shape))
    return grid, np.asarray(row, float).reshape(-1), np.asarray(col, float).reshape(-1)


def _shaped(
    out: NDArray[Any], values: NDArray[Any], row: NDArray[Any], col: NDArray[Any]
) -> NDArray[Any]:
    """As the places came, in the dtype of the values."""
    shape = np.broadcast_shapes(row.shape, col.shape)
    return out.reshape(shape).astype(values.dtype, copy=False)


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """In the byte order of this machine, row after row."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


# -- compiled ---------------------------------------------------------------------------------
# An array is read before a choice is made: else a choice is a jump, and a loop slow.


@compiled
def _pixel(size: int, place: float) -> int:
    """The pixel that a place lies in along an axis, or -1 outside the raster."""
    return int(np.floor(place)) if 0 <= place < size else -1


@compiled
def _pixels(size: int, places: NDArray[np.float64]) -> NDArray[np.int64]:
    found = np.empty(places.size, np.int64)
    for at in range(places.size):
        found[at] = _pixel(size, places[at])
    return found


@compiled
def _beside(size: int, place: float) -> tuple[int, int, Any]:
    """The pixels with their centres before and after a place, and the share of the latter.

    At the edges both are the outermost one, which then weighs what it would weigh alone.
    """
    pixel = np.floor(place - 0.5)
    before = int(min(max(pixel, 0), size - 1))
    after = int(min(max(pixel + 1, 0), size - 1))
    return before, after, np.float32(place - 0.5 - pixel)


@compiled
def _pairs(size: int, places: NDArray[np.float64]) -> Any:
    before, after = np.empty(places.size, np.int64), np.empty(places.size, np.int64)
    share = np.empty(places.size, np.float32)
    for at in range(places.size):
        before[at], after[at], share[at] = _beside(size, places[at])
    return before, after, share


@compiled
def _nearest_at(
    values: NDArray[Any], row: NDArray[np.float64], col: NDArray[np.float64], out: NDArray[Any]
) -> None:
    for at in range(out.size):
        y, x = _pixel(values.shape[0], row[at]), _pixel(values.shape[1], col[at])
        if y >= 0 and x >= 0:
            out[at] = values[y, x]


@compiled
def _nearest_on_grid(
    values: NDArray[Any], row: NDArray[np.float64], col: NDArray[np.float64], out: NDArray[Any]
) -> None:
    rows, cols = _pixels(values.shape[0], row), _pixels(values.shape[1], col)
    for y in range(rows.size):
        if rows[y] < 0:
            continue
        if y and rows[y] == rows[y - 1]:
            out[y] = out[y - 1]
            continue
        line, into = values[rows[y]], out[y]
        for x in range(cols.size):
            if cols[x] >= 0:
                into[x] = line[cols[x]]


@compiled
def _between(first: Any, second: Any, share: Any) -> Any:
    """What lies between two numbers, where the second has this share."""
    return first * (np.float32(1) - share) + second * share


@compiled
def _of_two(first: Any, second: Any, share: Any, gap: tuple[Any, bool]) -> tuple[Any, Any, bool]:
    """The weighted sum of two pixels as far as they have data, the weight, and whether both do."""
    one, other = is_there(first, gap), is_there(second, gap)
    total = _between(np.float32(first if one else 0), np.float32(second if other else 0), share)
    return total, _between(np.float32(one), np.float32(other), share), one & other


@compiled
def _put(out: NDArray[Any], at: int, mean: Any, rounded: bool, clash: tuple[Any, Any]) -> None:
    """In the dtype of `out`, with no data that pass for nodata."""
    out[at] = np.rint(mean) if rounded else mean
    if out[at] == clash[0]:
        out[at] = clash[1]


@compiled
def _bilinear_at(
    values: NDArray[Any], gap: tuple[Any, bool], clash: tuple[Any, Any],
    row: NDArray[np.float64], col: NDArray[np.float64], rounded: bool, out: NDArray[Any],
) -> None:  # fmt: skip
    height, width = values.shape
    for at in range(out.size):
        y, x = _pixel(height, row[at]), _pixel(width, col[at])
        if y < 0 or x < 0 or not is_there(values[y, x], gap):
            continue
        above, below, down = _beside(height, row[at])
        left, right, share = _beside(width, col[at])
        upper, upper_weight, upper_whole = _of_two(
            values[above, left], values[above, right], share, gap
        )
        lower, lower_weight, lower_whole = _of_two(
            values[below, left], values[below, right], share, gap
        )
        mean = _between(upper, lower, down)
        if not (upper_whole and lower_whole):
            mean /= _between(upper_weight, lower_weight, down)
        _put(out, at, mean, rounded, clash)


@compiled
def _spread(
    line: NDArray[Any], gap: tuple[Any, bool], across: Any, sums: NDArray[np.float32],
    weights: NDArray[np.float32], both: NDArray[np.bool_],
) -> bool:  # fmt: skip
    """A row of pixels between its columns, as `_of_two`; whether all of them have data."""
    left, right, share = across
    whole = True
    for x in range(share.size):
        sums[x], weights[x], both[x] = _of_two(line[left[x]], line[right[x]], share[x], gap)
        whole &= both[x]
    return whole


@compiled
def _bilinear_on_grid(
    values: NDArray[Any], gap: tuple[Any, bool], clash: tuple[Any, Any],
    row: NDArray[np.float64], col: NDArray[np.float64], rounded: bool, out: NDArray[Any],
) -> None:  # fmt: skip
    rows, cols = _pixels(values.shape[0], row), _pixels(values.shape[1], col)
    above, below, share = _pairs(values.shape[0], row)
    across = _pairs(values.shape[1], col)
    sums, weights = np.empty((2, cols.size), np.float32), np.empty((2, cols.size), np.float32)
    both = np.empty((2, cols.size), np.bool_)
    made = np.empty(cols.size, out.dtype)
    held, whole = np.full(2, -1), np.zeros(2, np.bool_)  # rows of pixels that are spread
    for y in range(rows.size):
        if rows[y] < 0:
            continue
        # the row that was below is above next, and stays in its place
        up = 1 if held[1] == above[y] else 0
        low = up if below[y] == above[y] else 1 - up
        if held[up] != above[y]:
            whole[up] = _spread(values[above[y]], gap, across, sums[up], weights[up], both[up])
            held[up] = above[y]
        if held[low] != below[y]:
            whole[low] = _spread(values[below[y]], gap, across, sums[low], weights[low], both[low])
            held[low] = below[y]
        upper, lower, down, into = sums[up], sums[low], share[y], out[y]
        if whole[up] and whole[low]:
            for x in range(cols.size):
                mean = _between(upper[x], lower[x], down)
                made[x] = np.rint(mean) if rounded else mean
            for x in range(cols.size):
                found, before = made[x], into[x]
                found = clash[1] if found == clash[0] else found
                into[x] = found if cols[x] >= 0 else before
            continue
        line = values[rows[y]]
        for x in range(cols.size):
            if cols[x] < 0 or not is_there(line[cols[x]], gap):
                continue
            mean = _between(upper[x], lower[x], down)
            if not (both[up, x] and both[low, x]):
                mean /= _between(weights[up, x], weights[low, x], down)
            _put(into, x, mean, rounded, clash)
