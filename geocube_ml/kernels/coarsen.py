"""Blocks of pixels become one: for looking at a map from afar.  The last two axes are y and x.

A block at the lower or right edge may be cut; what is not there takes no part.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import beside_nodata


def block_mean(values: NDArray[Any], factor: int, nodata: float | None) -> NDArray[Any]:
    """Mean of the pixels with data of each block.

    Parameters
    ----------
    values : (..., y, x) integer of up to 32 bits, or float
    factor : int
        Edge of a block in pixels.
    nodata : float or None
        Takes no part, and is the result where nothing else is in a block.  None: every value
        counts.

    Returns
    -------
    (..., ceil(y / factor), ceil(x / factor)) array, dtype of `values`
        Rounded to the nearest integer for integers, halves to the even one.  A mean that falls on
        nodata goes beside it.

    Examples
    --------
    >>> block_mean(np.uint8([[1, 4, 7], [0, 0, 0]]), 2, nodata=0)
    array([[2, 7]], dtype=uint8)
    """
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    *leading, rows, cols = values.shape
    shape = (*leading, -(-rows // factor), -(-cols // factor))
    total, count = np.zeros(shape, wide), np.zeros(shape, np.int32)
    data = np.ones(values.shape, bool) if nodata is None else has_data(values, nodata)
    for row, col in product(range(factor), repeat=2):
        part, seen = values[..., row::factor, col::factor], data[..., row::factor, col::factor]
        within = (..., slice(part.shape[-2]), slice(part.shape[-1]))
        total[within] += np.where(seen, part, 0)
        count[within] += seen
    mean = total / np.maximum(count, 1)
    if values.dtype.kind != "f":
        mean = np.rint(mean)
    known = mean.astype(values.dtype)
    if nodata is None:
        return known
    return np.where(count > 0, beside_nodata(known, nodata), np.array(nodata, values.dtype))


def block_mode(codes: NDArray[Any], factor: int, nodata: float | None) -> NDArray[Any]:
    """Most frequent code among the pixels with data of each block, the lowest of several.

    Parameters
    ----------
    codes : (..., y, x) integer
    factor, nodata
        As of `block_mean`.

    Returns
    -------
    (..., ceil(y / factor), ceil(x / factor)) array, dtype of `codes`

    Examples
    --------
    >>> block_mode(np.uint8([[3, 1, 255, 255], [1, 2, 255, 9]]), 2, nodata=255)
    array([[1, 9]], dtype=uint8)
    """
    *leading, rows, cols = codes.shape
    shape = (*leading, -(-rows // factor), -(-cols // factor))
    some = codes.dtype.type(0 if nodata is None else nodata)
    block = np.full((*shape, factor**2), some, codes.dtype)
    data = np.zeros(block.shape, bool)
    for place, (row, col) in enumerate(product(range(factor), repeat=2)):
        part = codes[..., row::factor, col::factor]
        within = (..., slice(part.shape[-2]), slice(part.shape[-1]), place)
        block[within] = part
        data[within] = True if nodata is None else has_data(part, nodata)
    best, most = np.full(shape, some, codes.dtype), np.zeros(shape, np.int32)
    for place in range(factor**2):
        code = block[..., place]
        votes = ((block == code[..., None]) & data).sum(axis=-1) * data[..., place]
        better = (votes > most) | ((votes == most) & (votes > 0) & (code < best))
        best, most = np.where(better, code, best), np.where(better, votes, most)
    return best
