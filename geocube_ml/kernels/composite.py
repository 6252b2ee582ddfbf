"""Compositing: many observations of a pixel become one value.

Time comes first here, so that one time step is one contiguous plane and a compare-exchange of
two steps is two vectorised passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16_384  # pixels; a dozen planes of them stay in the second-level cache


def clear_median(values: NDArray[Any], clear: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    """The median of the clear observations of each pixel.

    Parameters
    ----------
    values : (time, ...) integer or float
        Observations; trailing axes are free.
    clear : (time, ...) bool
        True where the observation counts.  Values that count are not NaN.
    nodata : float
        What a pixel without a clear observation becomes.

    Returns
    -------
    (...) array of the dtype of `values`
        Integers are rounded down between two middle values.

    Notes
    -----
    The planes are put in order by Batcher's odd-even merge sort (Knuth, TAOCP 3, 5.2.2 M), with
    what does not count above everything else.

    Examples
    --------
    >>> clear_median(np.uint16([[10, 5], [900, 7], [20, 9]]),
    ...              np.array([[True, False], [False, False], [True, False]]), nodata=0)
    array([15,  0], dtype=uint16)
    """
    n = len(values)
    shape, dtype = values.shape[1:], values.dtype
    if n == 0:
        return np.full(shape, nodata, dtype)

    floating = np.issubdtype(dtype, np.floating)
    above = dtype.type(np.inf) if floating else np.iinfo(dtype).max
    wide = dtype if floating else np.dtype(np.int64)
    ranked = np.where(clear, values, above).reshape(n, -1)
    count = clear.sum(axis=0, dtype=np.intp).reshape(-1)
    out = np.empty(ranked.shape[1], dtype)

    for start in range(0, len(out), _BLOCK):
        block = np.ascontiguousarray(ranked[:, start : start + _BLOCK])
        for i, j in _exchanges(n):
            smaller = np.minimum(block[i], block[j])
            np.maximum(block[i], block[j], out=block[j])
            block[i] = smaller
        here = count[start : start + _BLOCK]
        low = np.take_along_axis(block, np.maximum(here - 1, 0)[None] // 2, axis=0)[0]
        high = np.take_along_axis(block, np.minimum(here // 2, n - 1)[None], axis=0)[0]
        total = low.astype(wide) + high
        middle = total / 2 if floating else total // 2
        out[start : start + _BLOCK] = np.where(here > 0, middle, nodata)
    return out.reshape(shape)


def _exchanges(n: int) -> Iterator[tuple[int, int]]:
    """The compare-exchanges that sort `n` values."""
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            d, q, r = q - p, q >> 1, p
        p >>= 1
