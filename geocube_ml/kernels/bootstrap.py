"""Intervals by drawing whole groups again: pixels of a field are no independent witnesses.

Field, C. A., Welsh, A. H. (2007), Bootstrapping clustered data, Journal of the Royal Statistical
Society B 69, 369-390: groups are drawn with replacement, as many as there are, and each comes with
all its rows.  As every figure here follows from sums over rows, a resample is a product of how
often each group was drawn and of the groups' sums; no row is touched again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FEWEST = 10
"""Groups below which no interval is told: it would be far too narrow."""

KNOWN = 0.95
"""Share of the resamples that must have a figure for it to have an interval."""

_AT_ONCE = 2**21  # draws that are held at a time


def resampled_sums(
    sums: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Sums over the groups of each resample.

    Parameters
    ----------
    sums : (group, ...) float64
        Of each group's rows: a confusion matrix, a sum of losses.
    n : int
        Resamples.
    rng : numpy Generator
        The same state draws the same groups, whatever the sums are: so models that are judged on
        the same groups can be compared resample by resample.

    Returns
    -------
    (n, ...) float64

    Examples
    --------
    >>> drawn = resampled_sums(np.ones((5, 2)), 3, np.random.default_rng(0))
    >>> drawn.tolist()
    [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]
    """
    n_group, shape = sums.shape[0], sums.shape[1:]
    flat = np.ascontiguousarray(sums.reshape(n_group, -1), np.float64)
    out = np.empty((n, flat.shape[1]))
    start = 0
    for times in _draws(n_group, n, rng):
        out[start : start + len(times)] = times @ flat
        start += len(times)
    return out.reshape(n, *shape)


def interval(
    values: NDArray[np.float64], estimate: NDArray[np.float64] | float, level: float = 0.95
) -> NDArray[np.float64]:
    """The percentile interval of what resamples say.

    Parameters
    ----------
    values : (resample, ...) float64
        NaN where a resample has no such figure.
    estimate : (...) float64
        The figure itself.
    level : float
        Share of the resamples that lie within.

    Returns
    -------
    (2, ...) float64
        Lower and upper end, NaN where more than one resample in twenty has no figure.  An end that
        would lie beyond the estimate is the estimate: some figures (calibration errors) are larger
        in nearly every resample.

    Examples
    --------
    >>> interval(np.arange(101.0), 50, level=0.5).tolist()
    [25.0, 75.0]
    """
    ends = np.full((2, *values.shape[1:]), np.nan)
    known = np.isfinite(values).mean(axis=0) >= KNOWN
    if known.any():
        tail = 50 * (1 - level)
        ends[:, known] = np.nanpercentile(values[:, known], [tail, 100 - tail], axis=0)
    np.minimum(ends[0], estimate, out=ends[0, ...])
    np.maximum(ends[1], estimate, out=ends[1, ...])
    return ends


def _draws(n_group: int, n: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each group is in some resamples: (resample, group)."""
    at_once = max(1, _AT_ONCE // n_group)
    for start in range(0, n, at_once):
        some = min(at_once, n - start)
        drawn = rng.integers(n_group, size=(some, n_group))
        drawn += n_group * np.arange(some)[:, None]
        times = np.bincount(drawn.ravel(), minlength=some * n_group)
        yield times.reshape(some, n_group).astype(np.float64)
