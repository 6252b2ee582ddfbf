"""Which pixels become samples, and their series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    """Series of single pixels of a block.

    Parameters
    ----------
    block : (time, band, y, x)
    rows, cols : (n,) integers
        Within the block.

    Returns
    -------
    (n, time, band), contiguous
    """
    return np.ascontiguousarray(np.moveaxis(block[:, :, rows, cols], -1, 0))


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
