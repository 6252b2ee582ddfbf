"""Which pixels become samples, and their series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data


def draw(groups: NDArray[Any], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most `limit` members of each group, drawn at random.

    Parameters
    ----------
    groups : (n,) array
        Group of each member.
    limit : int
    rng : numpy Generator

    Returns
    -------
    (k,) intp
        Positions of those drawn, in ascending order.

    Examples
    --------
    >>> groups = np.array([7, 7, 7, 9])
    >>> [int(n) for n in np.bincount(groups[draw(groups, 2, np.random.default_rng(0))])[[7, 9]]]
    [2, 1]
    """
    shuffled = rng.permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    ordered = groups[order]
    first = np.ones(len(order), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return np.sort(order[rank < limit])


def gather(block: NDArray[Any], rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
    """Values of single pixels of a block.

    Parameters
    ----------
    block : (..., y, x)
        Leading axes are free: (time, band) of a series, (band) of a static source.
    rows, cols : (n,) integers
        Within the block.

    Returns
    -------
    (n, ...), contiguous
    """
    return np.ascontiguousarray(np.moveaxis(block[..., rows, cols], -1, 0))


def any_data(values: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    """True for pixels of which any value is not nodata.

    Parameters
    ----------
    values : (n, ...)
        Of n pixels: (time, band) of a series, (band) of a static source.
    nodata : float

    Returns
    -------
    (n,) bool

    Examples
    --------
    >>> any_data(np.uint16([[[0, 0], [0, 3]], [[0, 0], [0, 0]]]), nodata=0)
    array([ True, False])
    """
    return np.asarray(has_data(values, nodata).any(axis=tuple(range(1, values.ndim))))


def blocks(x: NDArray[Any], y: NDArray[Any], edge: float) -> NDArray[np.int64]:
    """Number of the square spatial block that each point lies in.

    Parameters
    ----------
    x, y : (n,) float
        Metres.
    edge : float
        Metres.

    Returns
    -------
    (n,) int64
        The same for points of one block, wherever the map begins.

    Examples
    --------
    >>> a, b, c = blocks(np.array([10., 990., 1010.]), np.array([5., 5., 5.]), 1000)
    >>> bool(a == b), bool(b == c)
    (True, False)
    """
    col = np.floor(x / edge).astype(np.int64)
    row = np.floor(y / edge).astype(np.int64)
    return row * 1_000_003 + col
