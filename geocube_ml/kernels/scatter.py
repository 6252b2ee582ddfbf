"""Pixels on their way from storage chunks to shuffled rows.

A chunk holds whole planes, one a time step and band; a network wants all values of a pixel side by
side.  The pixels are turned while they are picked, each to its own place among shuffled rows, as
counts; they become floats when a batch is cut, so that the rows that wait take half the room.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled

_STRIP = 256  # pixels; what they have in a hundred planes stays in the second-level cache
_BESIDE = 32  # further values a line, or all lines would fall on few places of the cache
_LOW, _HIGH = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFF0000FFFF0000)
_FIRST, _LAST = np.uint64(0x00000000FFFFFFFF), np.uint64(0xFFFFFFFF00000000)
_16, _32 = np.uint64(16), np.uint64(32)


def scatter(
    planes: NDArray[Any],
    order: NDArray[np.int64],
    at: NDArray[np.int64],
    dest: NDArray[np.int64],
    out: NDArray[Any],
) -> None:
    """Copy single pixels of a window, each to a row of a table.

    Parameters
    ----------
    planes : (plane, pixel)
        Of each time step and band a plane of the window.
    order : (k,) int64
        Which planes, in the order in which a row has them.
    at : (n,) int64
        Which pixels of a plane.
    dest : (n,) int64
        Row of `out` that each goes to; all differ.
    out : (row, ...) array of the planes' dtype in this machine's byte order, contiguous
        With trailing axes of `k` values.

    Examples
    --------
    >>> out = np.zeros((2, 3), np.uint16)
    >>> scatter(np.arange(12, dtype=np.uint16).reshape(3, 4), np.array([0, 2, 1]),
    ...         np.array([0, 3]), np.array([1, 0]), out)
    >>> out.tolist()
    [[3, 11, 7], [0, 8, 4]]
    """
    native = planes.dtype.newbyteorder("=")
    rows = _flat(out)
    if rows.shape[1] != len(order) or out.dtype != native or len(at) != len(dest):
        raise ValueError(
            f"{len(order)} planes of {planes.dtype} do not fit rows of {rows.shape[1]} values of "
            f"{out.dtype}, or {len(at)} pixels do not fit {len(dest)} rows"
        )
    bits = np.dtype(f"u{native.itemsize}")
    whole = np.ascontiguousarray(planes, native).view(bits)
    _check_within(order, len(whole))
    _check_within(at, whole.shape[1])
    _check_within(dest, len(out))
    rows = rows.view(bits)
    if bits.itemsize == 2 and len(order) % 4 == 0 and sys.byteorder == "little":
        _scatter_fours(whole, order, at, dest, rows, rows.view(np.uint64))
    else:
        _scatter(whole, order, at, dest, rows)


def scatter_rows(
    rows: NDArray[Any], at: NDArray[np.int64], dest: NDArray[np.int64], out: NDArray[Any]
) -> None:
    """Copy rows of one table to rows of another, without Python's lock.

    Parameters
    ----------
    rows : (n, ...)
    at, dest : (k,) int64
        Rows that are taken, and where each goes.
    out : (m, ...) array of the same dtype and trailing axes, contiguous
    """
    native = rows.dtype.newbyteorder("=")
    if out.shape[1:] != rows.shape[1:] or out.dtype != native:
        raise ValueError(
            f"rows of {rows.dtype} {rows.shape[1:]} do not fit rows of {out.dtype} {out.shape[1:]}"
        )
    _check_within(at, len(rows))
    _check_within(dest, len(out))
    bits = np.dtype(f"u{native.itemsize}")
    whole = _flat(np.ascontiguousarray(rows, native))
    _scatter_rows(whole.view(bits), at, dest, _flat(out).view(bits))


def scatter_labels(
    label: NDArray[np.uint8],
    polygon: NDArray[np.int32],
    unknown: int,
    corner: tuple[int, int],
    dest: NDArray[np.int64],
    out: tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
) -> NDArray[np.int64]:
    """Find the labelled pixels of a window, and put what is known of each at its place.

    Parameters
    ----------
    label, polygon : (layer, y, x) uint8 and int32
    unknown : int
        Label of a pixel without one.
    corner : (int, int)
        Row and column of the window's first pixel.
    dest : (n,) int64
        Row of the outputs that each labelled pixel goes to, layer by layer and row by row.
    out : four (row,) arrays
        For label, polygon, row and column.

    Returns
    -------
    (n,) int64
        Which pixels they are, counted along the rows of the window.

    Examples
    --------
    >>> out = np.zeros(2, np.uint8), *(np.zeros(2, np.int32) for _ in range(3))
    >>> scatter_labels(np.uint8([[[255, 3], [255, 4]]]), np.int32([[[0, 7], [0, 8]]]), 255,
    ...                (10, 20), np.array([1, 0]), out)
    array([1, 3])
    >>> [part.tolist() for part in out]
    [[4, 3], [8, 7], [11, 10], [21, 21]]
    """
    n = int((label != unknown).sum())
    if n != len(dest):
        raise ValueError(f"{n} pixels have a label, but {len(dest)} were counted")
    _check_within(dest, min(len(part) for part in out))
    at = np.empty(n, np.int64)
    _scatter_labels(label, polygon, unknown, corner, dest, *out, at)
    return at


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    """A view; a copy would be written to in vain."""
    if not rows.flags.c_contiguous:
        raise ValueError("rows that are written to must be contiguous")
    return rows.reshape(len(rows), -1) if rows.size else rows.reshape(len(rows), 0)


def _check_within(at: NDArray[np.int64], n: int) -> None:
    """A compiled loop would write anywhere."""
    if at.size and (at.min() < 0 or at.max() >= n):
        raise IndexError(f"positions must be 0 to {n - 1}, got {at.min()} to {at.max()}")


@compiled
def _pick(
    planes: NDArray[Any], order: NDArray[np.int64], at: NDArray[np.int64], strip: NDArray[Any]
) -> None:
    """Pixels of all planes, side by side; runs of them as fast as memory is."""
    n = len(at)
    first = at[0]
    run = at[n - 1] - first == n - 1
    for i in range(n):
        run &= at[i] == first + i
    for k in range(len(order)):
        plane, row = planes[order[k]], strip[k]
        if run:
            values = plane[first : first + n]
            for i in range(n):
                row[i] = values[i]
        else:
            for i in range(n):
                row[i] = plane[at[i]]


@compiled
def _scatter(
    planes: NDArray[Any], order: NDArray[np.int64], at: NDArray[np.int64], dest: NDArray[np.int64],
    out: NDArray[Any],
) -> None:  # fmt: skip
    n, depth = len(at), len(order)
    strip = np.empty((depth, _STRIP + _BESIDE), planes.dtype)
    for start in range(0, n, _STRIP):
        some = at[start : start + _STRIP]
        _pick(planes, order, some, strip)
        for i in range(len(some)):
            row = out[dest[start + i]]
            for k in range(depth):
                row[k] = strip[k, i]


@compiled
def _scatter_fours(
    planes: NDArray[np.uint16], order: NDArray[np.int64], at: NDArray[np.int64],
    dest: NDArray[np.int64], out: NDArray[np.uint16], out_fours: NDArray[np.uint64],
) -> None:  # fmt: skip
    """`_scatter` of 16-bit values, four of four planes turned at a time."""
    n, depth = len(at), len(order)
    fours = np.empty((depth, (_STRIP + _BESIDE) // 4), np.uint64)
    strip = fours.view(np.uint16)
    for start in range(0, n, _STRIP):
        some = at[start : start + _STRIP]
        _pick(planes, order, some, strip)
        for j in range(len(some) // 4):
            to = start + 4 * j
            first, second = out_fours[dest[to]], out_fours[dest[to + 1]]
            third, fourth = out_fours[dest[to + 2]], out_fours[dest[to + 3]]
            for q in range(depth // 4):
                k = 4 * q
                a, b, c, d = fours[k, j], fours[k + 1, j], fours[k + 2, j], fours[k + 3, j]
                even_ab, odd_ab = (
                    (a & _LOW) | ((b & _LOW) << _16),
                    ((a & _HIGH) >> _16) | (b & _HIGH),
                )
                even_cd, odd_cd = (
                    (c & _LOW) | ((d & _LOW) << _16),
                    ((c & _HIGH) >> _16) | (d & _HIGH),
                )
                first[q] = (even_ab & _FIRST) | (even_cd << _32)
                second[q] = (odd_ab & _FIRST) | (odd_cd << _32)
                third[q] = (even_ab >> _32) | (even_cd & _LAST)
                fourth[q] = (odd_ab >> _32) | (odd_cd & _LAST)
        for i in range(len(some) // 4 * 4, len(some)):
            row = out[dest[start + i]]
            for k in range(depth):
                row[k] = strip[k, i]


@compiled
def _scatter_labels(
    label: NDArray[np.uint8], polygon: NDArray[np.int32], unknown: int,
    corner: tuple[int, int], dest: NDArray[np.int64], labels: NDArray[np.uint8],
    polygons: NDArray[np.int32], rows: NDArray[np.int32], cols: NDArray[np.int32],
    at: NDArray[np.int64],
) -> None:  # fmt: skip
    layers, high, wide = label.shape
    k = 0
    for layer in range(layers):
        for y in range(high):
            for x in range(wide):
                code = label[layer, y, x]
                if code != unknown:
                    to = dest[k]
                    at[k] = y * wide + x
                    labels[to], polygons[to] = code, polygon[layer, y, x]
                    rows[to], cols[to] = corner[0] + y, corner[1] + x
                    k += 1


@compiled
def _scatter_rows(
    rows: NDArray[Any], at: NDArray[np.int64], dest: NDArray[np.int64], out: NDArray[Any]
) -> None:
    for i in range(len(at)):
        source, into = rows[at[i]], out[dest[i]]
        for k in range(len(source)):
            into[k] = source[k]
