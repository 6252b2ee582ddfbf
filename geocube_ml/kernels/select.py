"""Choosing between two arrays, by arithmetic on their bits, and keeping data apart from nodata."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 65_536  # elements; what is between two operations stays in the second-level cache


def where(mask: NDArray[np.bool_], values: NDArray[Any], others: Any) -> NDArray[Any]:
    """`values` where a mask is True, `others` elsewhere: `numpy.where` for arrays of one dtype.

    `numpy.where` takes a branch an element, which a processor guesses wrongly at the edges of
    clouds; this takes 5 to 10 times less where masks are ragged.

    Parameters
    ----------
    mask : any shape, bool
    values : array of the same shape, integer or float
    others : array of the same shape and dtype, or a number that the dtype can hold

    Returns
    -------
    array of the same shape and dtype
        Every bit as it was, those of NaN too.

    Examples
    --------
    >>> where(np.array([True, False]), np.float32([1, np.nan]), -1)
    array([ 1., -1.], dtype=float32)
    """
    dtype = values.dtype
    others = np.asarray(others, dtype)
    if (others.ndim and others.shape != values.shape) or mask.shape != values.shape:
        raise ValueError(
            f"shapes must be one: mask {mask.shape}, values {values.shape}, others {others.shape}"
        )
    bits = np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)
    flat, other = values.reshape(-1).view(bits), others.reshape(-1).view(bits)
    chosen = mask.reshape(-1).view(np.uint8)
    out = np.empty(values.shape, dtype)
    into = out.reshape(-1).view(bits)
    for start in range(0, into.size, _BLOCK):
        here = slice(start, start + _BLOCK)
        other_here = other if other.size == 1 else other[here]
        some = into[here]
        np.bitwise_xor(flat[here], other_here, out=some)
        some *= chosen[here].astype(bits)
        some ^= other_here
    return out


def take_observation(values: NDArray[Any], chosen: NDArray[np.intp], nodata: float) -> NDArray[Any]:
    """One observation of each pixel, in all bands.

    Parameters
    ----------
    values : (time, band, pixel)
    chosen : (pixel,) intp
        Time step, or -1 for none.
    nodata : float
        Where there is none.

    Returns
    -------
    (band, pixel) array of the dtype of `values`

    Examples
    --------
    >>> take_observation(np.uint8([[[1, 2, 3]], [[4, 5, 6]]]), np.array([1, -1, 0]), nodata=0)
    array([[4, 0, 3]], dtype=uint8)
    """
    bands, pixels = values.shape[1:]
    out = np.full((bands, pixels), nodata, values.dtype)
    some = chosen >= 0
    every = some.all()
    at = np.flatnonzero(some)
    step = chosen if every else chosen[at]
    for band in range(bands):
        taken = values[step, band, at]
        if every:
            out[band] = taken
        else:
            out[band, at] = taken
    return out


def beside_nodata(values: NDArray[Any], nodata: float) -> NDArray[Any]:
    """Computed data of which none passes for nodata, changed in place.

    Parameters
    ----------
    values : any shape, integer or float
        Means, medians or the like of values that are not nodata.
    nodata : float
        The dtype need not hold it.

    Returns
    -------
    the same array
        What was nodata is the next value above it; of integers the one below if there is none.
        Nothing is looked at where data cannot come to it: at either end of an integer's range.

    Examples
    --------
    >>> beside_nodata(np.int16([-1, 0, 1]), nodata=0)
    array([-1,  1,  1], dtype=int16)
    """
    some, beside = collision(values.dtype, nodata)
    if some != beside:
        hit = values == some
        if hit.any():
            values[hit] = beside
    return values


def collision(dtype: np.dtype[Any], nodata: float) -> tuple[Any, Any]:
    """The value of a dtype that computed data must not have, and what stands for it.

    Both are the same number where data cannot come to nodata, or the dtype does not hold it.
    """
    if dtype.kind == "f":
        some = dtype.type(nodata if np.isfinite(nodata) else 0)
        return some, np.nextafter(some, dtype.type(np.inf)) if np.isfinite(nodata) else some
    info = np.iinfo(dtype)
    if not info.min < nodata < info.max or int(nodata) != nodata:
        return dtype.type(0), dtype.type(0)
    return dtype.type(nodata), dtype.type(int(nodata) + 1)
