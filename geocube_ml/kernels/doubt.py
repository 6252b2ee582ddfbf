"""What speaks against a label: classes of the neighbours, distance to the class, the edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAD = 1.4826  # of a normal distribution: standard deviations a median absolute deviation
_LEAST_SPREAD = 0.05  # of the spread of all classes: a class of equal series is not infinitely far


def class_distance(
    series: NDArray[np.floating[Any]],
    label: NDArray[np.integer],
    group: NDArray[np.integer],
    n_class: int,
) -> NDArray[np.float32]:
    """How far each series is from the middle of each class, in spreads of that class.

    A group (polygon) has one voice, its median, however many series it has.  The middle of a class
    is the median of the voices of its groups, but for the own group's; the spread is the median
    absolute deviation of all of them x 1.4826, of each step and band.  The distance is the mean
    over the steps and bands that were observed.

    Parameters
    ----------
    series : (n, feature) float
        NaN where nothing was observed.
    label : (n,) integer codes below `n_class`
    group : (n,) integer
        All series of a group are of one class.
    n_class : int

    Returns
    -------
    (n, class) float32
        NaN where a series and a class (its other groups) have no step in common.

    Examples
    --------
    >>> series = np.array([[1.0], [2.0], [3.0], [21.0], [np.nan]])
    >>> far = class_distance(series, np.zeros(5, int), np.arange(5), 1)[:, 0]
    >>> far.round(2)
    array([ 1.35,  0.67,  0.67, 12.82,   nan], dtype=float32)
    """
    out = np.full((len(series), n_class), np.nan, np.float32)
    _, first, at = np.unique(group, return_index=True, return_inverse=True)
    of_group, voices = label[first], _voices(series, at, len(first))
    least = _LEAST_SPREAD * _spread(voices, _middle(voices))
    least[~(least > 0)] = 1.0  # a band that never changes says nothing
    for code in range(n_class):
        groups = np.flatnonzero(of_group == code)
        if not groups.size:
            continue
        middle = _middle(voices[groups])
        spread = np.fmax(_spread(voices[groups], middle), least)
        own = label == code
        out[~own, code] = _mean(np.abs(series[~own] - middle) / spread)
        others = _middle_of_others(voices[groups])[np.searchsorted(groups, at[own])]
        out[own, code] = _mean(np.abs(series[own] - others) / spread)
    return out


def _voices(series: NDArray[Any], at: NDArray[np.intp], n: int) -> NDArray[Any]:
    """Median of each group's series, (group, feature); NaN where it has no value."""
    size = np.bincount(at, minlength=n)
    start = np.cumsum(size) - size
    out = np.empty((n, series.shape[1]), series.dtype)
    for column, values in enumerate(series.T):
        ranked = values[np.lexsort((values, at))]  # of each group NaN comes last
        count = np.bincount(at[~np.isnan(values)], minlength=n)
        low = ranked[start + np.maximum(count - 1, 0) // 2]
        high = ranked[start + np.minimum(count // 2, size - 1)]
        out[:, column] = np.where(count > 0, (low + high) / 2, np.nan)
    return out


def _middle(values: NDArray[Any]) -> NDArray[Any]:
    """Median of each column, NaN where it has no value."""
    ranked = np.sort(values, axis=0)  # NaN comes last
    count = np.sum(~np.isnan(values), axis=0)[None]
    return np.asarray(_between(ranked, count, np.full((1, values.shape[1]), len(values)))[0])


def _middle_of_others(values: NDArray[Any]) -> NDArray[Any]:
    """Median of each column without each row's own value, (row, column)."""
    order = np.argsort(values, axis=0)  # NaN comes last
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(values))[:, None], axis=0)
    known = ~np.isnan(values)
    return _between(np.take_along_axis(values, order, axis=0), known.sum(axis=0) - known, rank)


def _between(
    ranked: NDArray[Any], count: NDArray[np.integer], left_out: NDArray[np.integer]
) -> NDArray[Any]:
    """Median of `count` ranked values of each column, the one at a rank left out."""
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    low, high = (np.minimum(at + (at >= left_out), len(ranked) - 1) for at in (low, high))
    below, above = (np.take_along_axis(ranked, at, axis=0) for at in (low, high))
    return np.asarray(np.where(count > 0, (below + above) / 2, np.nan))


def _spread(values: NDArray[Any], middle: NDArray[Any]) -> NDArray[Any]:
    return _MAD * _middle(np.abs(values - middle))


def _mean(values: NDArray[Any]) -> NDArray[Any]:
    """Mean of each row's values, NaN where it has none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=1) / known.sum(axis=1))


def votes(
    found: NDArray[np.integer],
    group: NDArray[np.integer],
    asked_group: NDArray[np.integer],
    asked_label: NDArray[np.integer],
    k: int,
    n_class: int,
) -> NDArray[np.float32]:
    """Share of each class among the k nearest of other groups.

    Parameters
    ----------
    found : (n, m) integer
        Positions in `asked_group` of the nearest, the nearest first.
    group : (n,) integer
        Own group (polygon), whose members have no vote.
    asked_group, asked_label : (r,) integer
        Group and class of those that are asked.
    k : int
    n_class : int

    Returns
    -------
    (n, class) float32
        Rows sum to 1, or to 0 where all of `found` is of the own group.

    Examples
    --------
    >>> votes(np.array([[0, 1, 2]]), np.array([7]), np.array([7, 8, 9]), np.array([0, 1, 1]), 2, 2)
    array([[0., 1.]], dtype=float32)
    """
    other = asked_group[found] != group[:, None]
    counted = other & (np.cumsum(other, axis=1) <= k)
    row = np.broadcast_to(np.arange(len(found))[:, None], found.shape)[counted]
    at = row * n_class + asked_label[found[counted]]
    count = np.bincount(at, minlength=len(found) * n_class).reshape(len(found), n_class)
    total = np.maximum(count.sum(axis=1, keepdims=True), 1)
    return np.asarray(count / total, np.float32)


def against(share: NDArray[np.floating[Any]], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """How much more is said for the best other class than for the given one, as 0 to 1.

    Parameters
    ----------
    share : (n, class) float
        0 to 1.
    label : (n,) integer
        Given class.

    Returns
    -------
    (n,) float64
        0 where all is for the given class, 0.5 where both have as much, 1 where all is for one
        other.

    Examples
    --------
    >>> against(np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1.0]]), np.array([0, 0, 0])).tolist()
    [0.0, 0.5, 1.0]
    """
    rows = np.arange(len(label))
    given = share[rows, label].astype(np.float64)
    others = share.astype(np.float64)
    others[rows, label] = -np.inf
    return np.asarray((1 + others.max(axis=1) - given) / 2)


def farther(distance: NDArray[np.floating[Any]], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """How much farther the given class is than the nearest other one, as 0 to 1.

    Parameters
    ----------
    distance : (n, class) float
        NaN where it is not known.
    label : (n,) integer
        Given class.

    Returns
    -------
    (n,) float64
        0 at the middle of the given class, 0.5 where both are as far or one is not known, 1 at
        the middle of another.

    Examples
    --------
    >>> farther(np.array([[0, 2.0], [1, 1.0], [3, 1.0], [1, np.nan]]), np.zeros(4, int)).tolist()
    [0.0, 0.5, 0.75, 0.5]
    """
    rows = np.arange(len(label))
    given = distance[rows, label].astype(np.float64)
    others = np.where(np.isnan(distance), np.inf, distance).astype(np.float64)
    others[rows, label] = np.inf
    nearest = others.min(axis=1)
    both = given + nearest
    known = np.isfinite(both) & (both > 0)
    return np.where(known, given / np.where(known, both, 1), 0.5)
