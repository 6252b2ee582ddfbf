"""Which pixels become samples, and their series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled
from geocube_ml.kernels.mask import has_data

_ROWS = 65_536  # looked at together, so that no mask is as large as a table


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
    return np.sort(order[_rank(groups[order]) < limit])


def draw_in_turn(
    classes: NDArray[Any], groups: NDArray[Any], limits: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.intp]:
    """A number of members of each class, drawn at random from its groups in turn.

    Parameters
    ----------
    classes : (n,) integer
        Class of each member, from 0.
    groups : (n,) integer
        Group of each member, such as its polygon; each gives a member before any gives a second.
    limits : (class,) integer
        How many of each class are drawn, or all that it has.
    rng : numpy Generator

    Returns
    -------
    (k,) intp
        Positions of those drawn, in ascending order.

    Examples
    --------
    >>> groups = np.array([7, 7, 7, 9])
    >>> drawn = draw_in_turn(np.zeros(4, int), groups, np.array([2]), np.random.default_rng(0))
    >>> groups[drawn].tolist()
    [7, 9]
    """
    shuffled = rng.permutation(len(classes))
    order = shuffled[np.lexsort((groups[shuffled], classes[shuffled]))]
    turn = np.empty(len(order), np.intp)
    turn[order] = _rank(classes[order], groups[order])
    order = shuffled[np.lexsort((turn[shuffled], classes[shuffled]))]
    return np.sort(order[_rank(classes[order]) < limits[classes[order]]])


def spread(labels: NDArray[Any], n_fold: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Folds at random, each with the same share of each class.

    Parameters
    ----------
    labels : (n,) integer
    n_fold : int
    rng : numpy Generator

    Returns
    -------
    (n,) int16
        From 0; folds, and a class's parts of them, differ in size by one at most.

    Examples
    --------
    >>> np.bincount(spread(np.array([0, 0, 0, 1, 1, 1]), 3, np.random.default_rng(0))).tolist()
    [2, 2, 2]
    """
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), np.int16)
    folds[order] = np.arange(len(labels)) % n_fold
    return folds


def _rank(*ordered: NDArray[Any]) -> NDArray[np.intp]:
    """0, 1, ... within each run of members that are alike in all of these."""
    n = len(ordered[0])
    first = np.ones(n, bool)
    first[1:] = np.logical_or.reduce([one[1:] != one[:-1] for one in ordered])
    starts = np.flatnonzero(first)
    return np.arange(n) - np.repeat(starts, np.diff(np.r_[starts, n]))


def thinned(
    x: NDArray[Any], y: NDArray[Any], distance: float, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Points of which no two are nearer than a distance, and to which none can be added.

    Parameters
    ----------
    x, y : (n,) float
        Metres.
    distance : float
        Metres, above 0.
    rng : numpy Generator

    Returns
    -------
    (k,) intp
        Positions of the points that stay, in ascending order.

    Notes
    -----
    Points are taken in random order, each unless one that was taken is too near (the simple
    sequential inhibition of Diggle 2003).  They are looked up by squares, of whose diagonal is the
    distance, so that a square holds at most one and 21 of them are asked.

    Examples
    --------
    >>> x = np.array([0.0, 10, 20, 30])
    >>> kept = thinned(x, np.zeros(4), 15, np.random.default_rng(0))
    >>> len(kept), bool((np.diff(x[kept]) >= 15).all())
    (2, True)
    """
    if len(x) == 0:
        return np.empty(0, np.intp)
    edge = distance / np.sqrt(2)
    col = np.floor((x - x.min()) / edge).astype(np.int64)
    row = np.floor((y - y.min()) / edge).astype(np.int64)
    wide = int(col.max()) + 5  # two free columns on either side, so that neighbours do not wrap
    cells, at = np.unique((row + 2) * wide + col + 2, return_inverse=True)
    order = rng.permutation(len(x))
    return np.flatnonzero(
        _apart(x.astype(np.float64), y.astype(np.float64), cells, at, wide, order, distance**2)
    )


@compiled
def _apart(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    cells: NDArray[np.int64],
    at: NDArray[np.int64],
    wide: int,
    order: NDArray[np.int64],
    squared: float,
) -> NDArray[np.bool_]:
    """Which points stay; `cells` are the squares that hold points, `at` each one's position."""
    kept = np.zeros(len(x), np.bool_)
    held = np.full(len(cells), -1, np.int64)  # the point of each square that stays
    for i in order:
        free = True
        for down in range(-2, 3):
            if not free:
                break
            for right in range(-2, 3):
                wanted = cells[at[i]] + down * wide + right
                found = np.searchsorted(cells, wanted)
                if found == len(cells) or cells[found] != wanted or held[found] < 0:
                    continue
                j = held[found]
                if (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 < squared:
                    free = False
                    break
        if free:
            kept[i] = True
            held[at[i]] = i
    return kept


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
    found = np.empty(len(values), bool)
    axes = tuple(range(1, values.ndim))
    for start in range(0, len(values), _ROWS):
        here = slice(start, start + _ROWS)
        found[here] = has_data(values[here], nodata).any(axis=axes)
    return found


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
