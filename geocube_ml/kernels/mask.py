"""Which observations count, from the classes, bits or numbers of a mask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.kernels.compiled import compiled

_MANY_RUNS = 32  # comparisons of so many cost what a search does


def is_clear(classes: NDArray[Any], clear: Collection[int]) -> NDArray[np.bool_]:
    """True where a mask's class is one of the clear ones.

    Parameters
    ----------
    classes : any shape, integer
        Scene classification (SCL), cloud mask, ...
    clear : collection of int
        Classes that count as clear.  What is not named, nodata included, does not.

    Returns
    -------
    bool array of the same shape

    Examples
    --------
    >>> is_clear(np.uint8([0, 4, 9]), clear=[4, 5])
    array([False,  True, False])
    """
    found: NDArray[np.bool_]
    runs = list(_runs(clear))
    if classes.dtype.kind not in "iu" or len(runs) > _MANY_RUNS:
        found = np.isin(classes, list(clear))
        return found
    found = np.zeros(classes.shape, bool)
    # a comparison is 10 times faster than a lookup, and there are few runs
    for first, last in runs:
        found |= classes == first if first == last else (classes >= first) & (classes <= last)
    return found


def bits_clear(
    quality: NDArray[Any],
    bits: Collection[int] = (),
    fields: Sequence[tuple[int, int, Collection[int]]] = (),
) -> NDArray[np.bool_]:
    """True where the bits of a quality band say so.

    Parameters
    ----------
    quality : any shape, integer
        Such as Landsat's QA_PIXEL.  Signed integers are taken bit by bit.
    bits : collection of int
        Positions, from 0, that must all be 0.
    fields : sequence of (first, width, clear)
        Groups of `width` bits from the position `first` on, which are read as one number and must
        all be one of their `clear` values.

    Returns
    -------
    bool array of the same shape
        True everywhere without bits and fields.

    Raises
    ------
    InputError
        The band has fewer bits; they would all be taken for clear.

    Examples
    --------
    Bit 3 is cloud, bits 8 and 9 its confidence, from 1 (low) to 3 (high):

    >>> bits_clear(np.uint16([1 << 8, 1 << 3, 3 << 8]), bits=[3], fields=[(8, 2, (0, 1))])
    array([ True, False, False])
    """
    size = 8 * quality.dtype.itemsize
    highest = max([*bits, *(first + width - 1 for first, width, _ in fields)], default=0)
    if quality.dtype.kind not in "iu" or highest >= size:
        raise InputError(
            f"the mask asks for bit {highest}, but the quality band is {quality.dtype} with the "
            f"bits 0 to {size - 1}. Give the asset of the quality band, or other bits."
            if quality.dtype.kind in "iu"
            else f"bits are those of whole numbers, but the quality band is {quality.dtype}. "
            "Give the asset of the quality band, or a threshold."
        )
    unsigned = quality.view(np.dtype(f"u{size // 8}").newbyteorder(quality.dtype.byteorder))
    clear: NDArray[np.bool_] = (unsigned & sum(1 << bit for bit in set(bits))) == 0
    for first, width, values in fields:
        clear &= is_clear((unsigned >> first) & ((1 << width) - 1), values)
    return clear


def within(
    values: NDArray[Any], at_least: float | None = None, at_most: float | None = None
) -> NDArray[np.bool_]:
    """True where a value lies between two bounds, themselves included; NaN never does.

    Parameters
    ----------
    values : any shape, integer or float
        A cloud probability, a score of quality, ...
    at_least, at_most : float or None
        None: no bound.

    Returns
    -------
    bool array of the same shape

    Examples
    --------
    >>> within(np.uint8([0, 40, 41]), at_most=40)
    array([ True,  True, False])
    """
    inside = has_data(values, None)
    if at_least is not None:
        inside &= values >= _whole(at_least, values.dtype)
    if at_most is not None:
        inside &= values <= _whole(at_most, values.dtype)
    return inside


def has_data(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """True where a value is not nodata; NaN never is data.

    Parameters
    ----------
    values : any shape, integer or float
    nodata : float or None
        None: no value stands for missing.

    Returns
    -------
    bool array of the same shape

    Examples
    --------
    >>> has_data(np.float32([1, np.nan, -1]), nodata=-1)
    array([ True, False, False])
    """
    data: NDArray[np.bool_]
    if values.dtype.kind == "f":
        data = values == values  # not of NaN
        if nodata is not None and nodata == nodata:
            data &= values != nodata
        return data
    if nodata is None:
        return np.ones(values.shape, bool)
    data = values != _whole(nodata, values.dtype)
    return data


def as_gap(dtype: np.dtype[Any], nodata: float) -> tuple[Any, bool]:
    """Nodata for `is_there`: as a value of the dtype, and whether it has such a value."""
    if dtype.kind == "f":
        return dtype.type(nodata), True
    info = np.iinfo(dtype)
    there = info.min <= nodata <= info.max and float(nodata).is_integer()
    return dtype.type(nodata if there else 0), there


@compiled
def is_there(value: Any, gap: tuple[Any, bool]) -> Any:
    """`has_data` of one number, in a compiled loop."""
    return (value == value) & ((value != gap[0]) | (not gap[1]))


def shrunk_and_grown(unclear: NDArray[np.bool_], shrink: int, grow: int) -> NDArray[np.bool_]:
    """Areas with a rim taken off, so that specks vanish, and then a rim added.

    Parameters
    ----------
    unclear : (y, x) bool
    shrink : int
        Pixels within this distance of one that is not unclear are taken off.
    grow : int
        Pixels within this distance of what is left are added.

    Returns
    -------
    (y, x) bool
        Distances are Euclidean, from centre to centre.  What lies beyond the array neither
        shrinks an area nor grows into the array: with ``shrink + grow`` more pixels on each side,
        a window has the values of the whole.

    Notes
    -----
    Erosion and dilation by disks (Serra 1982, Image Analysis and Mathematical Morphology).  A disk
    is a stack of horizontal lines: rows are widened a pixel at a time and shifted up and down
    where the disk is so wide, in about four passes a pixel of its radius.

    Examples
    --------
    >>> speck_and_cloud = np.array([[1, 0, 1, 1, 1, 0, 0]] * 3, bool)
    >>> shrunk_and_grown(speck_and_cloud, 1, 1).astype(int)[1]
    array([0, 0, 1, 1, 1, 0, 0])
    """
    if shrink < 0 or grow < 0:
        raise ValueError(f"radii are at least 0 pixels, got shrink {shrink} and grow {grow}")
    return _dilated(~_dilated(~unclear, shrink), grow)


def _dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Pixels within `radius` of one that is True; those beyond the array are not."""
    rows, cols = mask.shape
    out = mask.copy()
    if radius == 0 or not mask.any():
        return out
    reach = [isqrt(radius**2 - step**2) for step in range(min(radius, max(rows - 1, 0)) + 1)]
    wide = mask.copy()
    for width in range(radius + 1):
        if 0 < width < cols:
            wide[:, width:] |= mask[:, :-width]
            wide[:, :-width] |= mask[:, width:]
        for step in (step for step, most in enumerate(reach) if most == width):
            out[step:] |= wide[: rows - step]
            out[: rows - step] |= wide[step:]
    return out


def _runs(numbers: Collection[int]) -> Iterator[tuple[int, int]]:
    """The first and last of each run of successive numbers."""
    first = last = None
    for number in sorted({int(number) for number in numbers}):
        if first is None or last is None:
            first = last = number
        elif number == last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last


def _whole(number: float, dtype: np.dtype[Any]) -> float:
    """A number as one that integers are compared with in their own width, if it is whole."""
    return int(number) if dtype.kind in "iu" and float(number).is_integer() else number
