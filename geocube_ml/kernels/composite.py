"""Compositing: many observations of a pixel become one value, a band at a time.

Time comes first here, so that one time step is one contiguous plane and a compare-exchange of
two steps is two vectorised passes.  Selections (`np.where`, masked copies, fancy indices) cost
ten such passes, so that what does not count is put aside by arithmetic.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.select import beside_nodata, where

_BLOCK = 65_536  # pixels; a pass over them takes much longer than its call


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
    out = np.full(planes.shape[1], nodata, values.dtype)
    room = np.empty((len(planes) + 1, min(_BLOCK, len(out))), planes.dtype)
    for start in range(0, len(out), _BLOCK):
        here = slice(start, start + _BLOCK)
        counts = [np.count_nonzero(mask[here]) for mask in masks]
        used = [t for t, count in enumerate(counts) if count]
        if used:
            size = out[here].size
            # what is clear throughout needs no mask
            partly = {t: masks[t, here] for t in used if counts[t] < size}
            middle = _block_median({t: planes[t, here] for t in used}, partly, room[:, :size])
            middle = beside_nodata(middle, nodata)
            if len(partly) == len(used):
                middle = where(np.logical_or.reduce(list(partly.values())), middle, nodata)
            out[here] = middle
    return out.reshape(shape)


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


def _block_median(
    planes: dict[int, NDArray[Any]], masks: dict[int, NDArray[np.bool_]], room: NDArray[Any]
) -> NDArray[Any]:
    """The median of a block in a row of `room`; anything where nothing is clear."""
    n, dtype = len(planes), room.dtype
    unsigned = np.dtype(f"u{dtype.itemsize}")
    # half of their range higher, signed integers have the same order without a sign
    half = unsigned.type(1 << (8 * dtype.itemsize - 1) if dtype.kind == "i" else 0)
    infinity = np.array(np.inf, dtype).view(unsigned) if dtype.kind == "f" else None
    # whether the next that does not count becomes the lowest; whether the count of clear is even
    below = np.full(room.shape[1], n % 2, np.uint8)
    even = np.full(room.shape[1], 1 - n % 2, np.uint8)
    bits = room.view(unsigned)
    for row, (t, plane) in zip(bits, planes.items(), strict=False):
        np.bitwise_xor(plane.view(unsigned), half, out=row)
        if t not in masks:
            continue
        keep = masks[t].view(np.uint8)
        gone = keep ^ 1
        row *= keep.astype(unsigned)
        if infinity is None:
            row -= (gone & (below ^ 1)).astype(unsigned)  # 0 - 1 is the highest
        else:
            row |= gone.astype(unsigned) * infinity
            row |= (gone & below).astype(unsigned) << unsigned.type(8 * dtype.itemsize - 1)
        below ^= gone
        even ^= gone
    if infinity is not None:
        low, high = _middle(list(room[:n]), room[n], alone=not even.any())
        if high is None:
            return low
        # infinity - infinity where nothing is clear; the mean of two where one is asked for
        with np.errstate(invalid="ignore", over="ignore"):
            high += low
            high /= 2
        return where(even.view(bool), high, low)
    low, high = _middle(list(bits[:n]), bits[n], alone=not even.any())
    if high is not None:
        high -= low
        high >>= 1
        high *= even
        low += high
    low ^= half
    return low.view(dtype)


def _middle(
    block: list[NDArray[Any]], spare: NDArray[Any], *, alone: bool
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The lower middle of the rows of a block and, unless it is `alone`, the one above it."""
    at = (len(block) - 1) // 2
    alone |= at + 1 == len(block)
    for i, j, smaller, larger in _exchanges(len(block), (at,) if alone else (at, at + 1)):
        a, b = block[i], block[j]
        if smaller and larger:
            block[i] = np.minimum(a, b, out=spare)
            block[j] = np.maximum(a, b, out=b)
            spare = a
        elif smaller:
            np.minimum(a, b, out=a)
        else:
            np.maximum(a, b, out=b)
    return block[at], None if alone else block[at + 1]


@lru_cache(maxsize=256)
def _exchanges(n: int, places: tuple[int, ...]) -> tuple[tuple[int, int, bool, bool], ...]:
    """What brings the right ones of `n` values to some places of the order.

    Each is a compare-exchange (i, j, whether the smaller is needed, whether the larger is).
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
            kept.append((i, j, i in needed, j in needed))
            needed |= {i, j}
    return tuple(reversed(kept))
