"""Compositing: many observations of a pixel become one value, a band at a time.

Time comes first, so that one time step is one contiguous plane and a compare-exchange of two
steps is a loop that the processor takes many pixels of at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled
from geocube_ml.kernels.select import beside_nodata, collision, where

_BLOCK = 65_536  # pixels; a pass over them takes much longer than its call
_STRIP = 2_048  # pixels; a few dozen observations of each stay in the first-level cache


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
        Integers are rounded down between two middle values.  What falls on nodata goes beside it.

    Notes
    -----
    What does not count becomes by turns the highest and the lowest value, so that the middle of
    what counts is the middle of everything: at the same place of the order in every pixel.  Only
    the compare-exchanges that lead to this place are made, of Batcher's odd-even merge sort
    (Knuth, TAOCP 3, 5.2.2 M).

    Examples
    --------
    >>> clear_median(np.uint16([[10, 5], [900, 7], [20, 9]]),
    ...              np.array([[True, False], [False, False], [True, False]]), nodata=0)
    array([15,  0], dtype=uint16)
    """
    planes, masks, shape = _planes(values, clear)
    dtype, n = planes.dtype, len(planes)
    out = np.full(planes.shape[1], nodata, dtype)
    if not n:
        return out.reshape(shape)
    lowest, highest = _ends(dtype)
    at = (n - 1) // 2
    above = min(at + 1, n - 1)
    some, beside = collision(dtype, nodata)
    exchanges = _exchanges(n, (at, above))
    _medians(planes, masks, exchanges, at, above, lowest, highest, some, beside, out)
    return out.reshape(shape).astype(values.dtype, copy=False)


def clear_mean(values: NDArray[Any], clear: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    """The mean of the clear observations of each pixel.

    Parameters
    ----------
    values : (time, ...) integer of at most 32 bits, or float
        Observations; trailing axes are free.
    clear : (time, ...) bool
        True where the observation counts.  Values that count are not NaN.
    nodata : float
        What a pixel without a clear observation becomes.

    Returns
    -------
    (...) array of the dtype of `values`
        Integers are rounded to the nearest, halves to the even one.  Sums of integers are exact;
        those of floats are of 64 bits, from the first time step to the last.  What falls on nodata
        goes beside it.

    Examples
    --------
    >>> clear_mean(np.uint16([[10, 5], [900, 7], [21, 9]]),
    ...            np.array([[True, False], [False, False], [True, False]]), nodata=0)
    array([16,  0], dtype=uint16)
    """
    planes, masks, shape = _planes(values, clear)
    floating = values.dtype.kind == "f"
    out = np.full(planes.shape[1], nodata, values.dtype)
    for start in range(0, len(out), _BLOCK):
        here = slice(start, start + _BLOCK)
        total = np.zeros(out[here].size, np.float64 if floating else np.int64)
        count = np.zeros(total.size, np.int32)
        for plane, mask in zip(planes[:, here], masks[:, here], strict=True):
            # a product would let a NaN in that does not count
            total += where(mask, plane, 0) if floating else plane * mask.astype(plane.dtype)
            count += mask
        mean = total / np.maximum(count, 1)
        mean = mean if floating else np.rint(mean)
        out[here] = where(count > 0, beside_nodata(mean.astype(values.dtype), nodata), nodata)
    return out.reshape(shape)


def _planes(
    values: NDArray[Any], clear: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[int, ...]]:
    """Values and masks as (time, pixel), in this machine's byte order, and a plane's shape."""
    shape = values.shape[1:]
    pixels = int(np.prod(shape))
    native = np.asarray(values, values.dtype.newbyteorder("="))
    return (
        native.reshape(len(values), pixels),
        np.asarray(clear, bool).reshape(len(values), pixels),
        shape,
    )


def _half_way(low: Any, high: Any) -> Any:
    """The mean of two numbers of one dtype; of integers rounded down, and never too large."""
    raise NotImplementedError("numba puts `_of_type` in its place")


@overload(_half_way)
def _of_type(low: Any, high: Any) -> Any:  # noqa: ARG001  numba compares the names
    def real(low: Any, high: Any) -> Any:
        return (low + high) / 2

    def whole(low: Any, high: Any) -> Any:
        return (low & high) + ((low ^ high) >> 1)

    return real if isinstance(low, types.Float) else whole


def _ends(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The lowest and the highest value."""
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    info = np.iinfo(dtype)
    return dtype.type(info.min), dtype.type(info.max)


@compiled
def _medians(
    planes: NDArray[Any], masks: NDArray[np.bool_], exchanges: NDArray[np.int64], at: int,
    above: int, lowest: Any, highest: Any, some: Any, beside: Any, out: NDArray[Any],
) -> None:  # fmt: skip
    """Medians of (time, pixel) planes into `out`, where any is clear; `some` become `beside`.

    Each array is read before a choice is made, or the choice would be a jump and no loop would
    take many pixels at once.
    """
    n, pixels = planes.shape
    block = np.empty((n, _STRIP), planes.dtype)
    count = np.empty(_STRIP, np.int32)
    for start in range(0, pixels, _STRIP):
        stop = min(start + _STRIP, pixels)
        size = stop - start
        count[:] = 0
        for t in range(n):
            row, plane, mask = block[t], planes[t, start:stop], masks[t, start:stop]
            odd = (n + t) & 1
            for x in range(size):
                value, clear, before = plane[x], mask[x], count[x]
                # what does not count is by turns the lowest and the highest, beginning with the
                # highest where `n` is even
                gone = highest if before & 1 == odd else lowest
                row[x] = value if clear else gone
                count[x] = before + clear
        for i, j in exchanges:
            first, second = block[i], block[j]
            for x in range(size):
                a, b = first[x], second[x]
                first[x] = a if a < b else b
                second[x] = b if a < b else a
        low, high, into = block[at], block[above], out[start:stop]
        for x in range(size):
            high[x] = _half_way(low[x], high[x])
        for x in range(size):
            lower, half_way, before = low[x], high[x], into[x]
            middle = lower if count[x] & 1 else half_way
            middle = beside if middle == some else middle
            into[x] = middle if count[x] else before


@lru_cache(maxsize=256)
def _exchanges(n: int, places: tuple[int, ...]) -> NDArray[np.int64]:
    """(exchange, 2) pairs of which the smaller goes first, to bring the right ones of `n` values
    to some places of the order.
    """
    every = []
    top = 1 << max((n - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            every += [(i, i + d) for i in range(n - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed = set(places)
    kept = []
    for i, j in reversed(every):
        if i in needed or j in needed:
            kept.append((i, j))
            needed |= {i, j}
    return np.array(kept[::-1], np.int64).reshape(-1, 2)
