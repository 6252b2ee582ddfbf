"""Regions of one class in a raster: shrunk, and brought to coarser pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled

_ROUNDING = 1e-6  # of a metre


def reach_of(inset: float, size: tuple[float, float], *, whole: bool = False) -> NDArray[np.int64]:
    """Which pixels around a pixel lie nearer to it than a distance.

    Parameters
    ----------
    inset : float
        At least 0, in the unit of `size`.
    size : (float, float)
        Height and width of a pixel.
    whole : bool
        Measure from the whole pixel, not from its centre; always to whole pixels.

    Returns
    -------
    (n,) int64
        Item k: in the k-th row above and below, so many columns to each side.

    Examples
    --------
    Ten metres from a centre lie the pixels around it, of which 5 or 7 metres away is the nearest
    corner; fifteen metres away is the next one:

    >>> reach_of(10, (10, 10))
    array([1, 1])
    >>> reach_of(0, (10, 10))
    array([0])
    """
    height, width = size
    away = 1.0 if whole else 0.5
    limit = inset - _ROUNDING
    found = []
    for row in range(int(limit / height + away) + 2 if limit > 0 else 1):
        down = max(row - away, 0) * height
        if row and down >= limit:
            break
        across = np.sqrt(max(limit**2 - down**2, 0)) if limit > 0 else 0.0
        # the last column whose near edge is nearer
        found.append(max(int(np.ceil(across / width + away)) - 1, 0) if across > 0 else 0)
    return np.array(found, np.int64)


def inner(codes: NDArray[np.uint8], reach: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where all pixels around have the same code.

    Parameters
    ----------
    codes : (y, x) uint8
        What lies outside counts as another code.
    reach : (n,) int64
        From `reach_of`.

    Returns
    -------
    (y, x) bool

    Examples
    --------
    >>> inner(np.uint8([[1, 1, 1, 2, 2, 2]]), reach_of(5, (1e9, 5)))
    array([[False,  True, False, False,  True, False]])
    """
    found = np.zeros(codes.shape, np.bool_)
    _inner(np.ascontiguousarray(codes), reach, found)
    return found


def most_frequent(
    codes: NDArray[np.uint8], factor: tuple[int, int], none: int
) -> NDArray[np.uint8]:
    """The code that most pixels of each cell have.

    Parameters
    ----------
    codes : (y, x) uint8
        Whole cells.
    factor : (int, int)
        Rows and columns of a cell.
    none : int
        Code of a cell in which two or more have as many pixels.  It counts as any other.

    Returns
    -------
    (y, x) uint8, a pixel a cell

    Examples
    --------
    >>> most_frequent(np.uint8([[1, 1, 2, 3], [1, 4, 2, 3]]), (2, 2), none=255)
    array([[  1, 255]], dtype=uint8)
    """
    rows, cols = codes.shape[0] // factor[0], codes.shape[1] // factor[1]
    found = np.empty((rows, cols), np.uint8)
    _most_frequent(np.ascontiguousarray(codes), factor, none, found)
    return found


# -- compiled ---------------------------------------------------------------------------------


@compiled
def _inner(codes: NDArray[np.uint8], reach: NDArray[np.int64], out: NDArray[np.bool_]) -> None:
    rows, cols = codes.shape
    most = reach.size - 1
    # how far the code of a pixel goes on to both sides
    room = np.empty((rows, cols), np.int32)
    for y in range(rows):
        for x in range(cols):
            same = x > 0 and codes[y, x] == codes[y, x - 1]
            room[y, x] = room[y, x - 1] + 1 if same else 0
        run = 0
        for x in range(cols - 1, -1, -1):
            same = x < cols - 1 and codes[y, x] == codes[y, x + 1]
            run = run + 1 if same else 0
            room[y, x] = min(room[y, x], run)
    for y in range(most, rows - most):
        for x in range(cols):
            code, kept = codes[y, x], room[y, x] >= reach[0]
            step = 1
            while kept and step <= most:
                for other in (y - step, y + step):
                    kept &= codes[other, x] == code and room[other, x] >= reach[step]
                step += 1
            out[y, x] = kept


@compiled
def _most_frequent(
    codes: NDArray[np.uint8], factor: tuple[int, int], none: Any, out: NDArray[np.uint8]
) -> None:
    counts = np.zeros(256, np.int64)
    down, across = factor
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            cell = codes[y * down : (y + 1) * down, x * across : (x + 1) * across]
            best, most, ties = none, 0, False
            for row in range(down):
                for col in range(across):
                    counts[cell[row, col]] += 1
            for row in range(down):
                for col in range(across):
                    code = cell[row, col]
                    n = counts[code]
                    counts[code] = 0  # counted once
                    if n > most:
                        best, most, ties = code, n, False
                    elif n == most:
                        ties = True
            out[y, x] = none if ties else best
