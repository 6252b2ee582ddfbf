"""How far a pixel is from everything that a model was trained on.

The dissimilarity index and the area of applicability of Meyer, H., Pebesma, E. (2021), Predicting
into unknown space? Estimating the area of applicability of spatial prediction models, Methods in
Ecology and Evolution 12, 1620-1633.  An index of 0 is a pixel that is the same as a kept training
row, 1 one that is as far from the nearest of these as two of them are from each other on average.
Of many training rows a random part is kept; others then have an index above 0, and some of them
one above the threshold.  A model is applicable up to the index that the kept rows had in
cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.gapfill import linear

_PAIRS = 2**22  # distances that are held at a time
_FOR_MEAN = 2000  # rows whose distances from each other are averaged


@dataclass(frozen=True)
class Known:
    """Training rows, as new ones are compared with them."""

    mean: NDArray[np.float32]
    """(feature,)"""
    scale: NDArray[np.float32]
    """(feature,) that a standardized feature is multiplied by: its weight over its deviation; 0 of
    one that never varies."""
    rows: NDArray[np.float32]
    """(n, feature) standardized and weighted; of many training rows a random part."""
    apart: float
    """Mean distance of two rows."""
    threshold: float
    """Index up to which a model is applicable."""


def filled_features(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Series without gaps, so that a cloud makes no pixel special.

    Parameters
    ----------
    series : (n, time, channel) float32
        Physical values, NaN where missing.

    Returns
    -------
    (n, time, channel) float32
        Gaps are on straight lines between the observed steps of their channel, before the first
        and after the last they are as it is; NaN of a channel that was never observed.
    """
    along = np.moveaxis(series, 1, 0)
    filled = linear(along, np.isfinite(along), np.arange(len(along), dtype=np.float64))
    return np.moveaxis(filled, 0, 1).astype(np.float32)


def learn_known(
    features: NDArray[np.float32],
    fold: NDArray[np.integer],
    *,
    weight: NDArray[np.floating] | None = None,
    most: int = 5000,
    seed: int = 0,
) -> Known:
    """What new pixels are compared with, and the threshold.

    Parameters
    ----------
    features : (n, feature) float32
        Of training rows; NaN where missing, which then counts as the mean.
    fold : (n,) int
        Of the cross-validation: a row is compared with those of other folds.
    weight : (feature,) float, optional
        How important each feature is to the model; all alike by default.
    most : int
        Rows that are kept, drawn at random, one of each fold at least; two at least.
    seed : int

    Returns
    -------
    Known
        Its threshold is the largest index of a training row that is not above the upper quartile by
        more than 1.5 times the distance of the quartiles.

    Raises
    ------
    ValueError
        There is one fold only, or all rows are alike.
    """
    if len(np.unique(fold)) < 2:
        raise ValueError("rows of two folds at least are needed")
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(features)
        n = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, features, 0).sum(axis=0, dtype=np.float64) / n
        std = np.sqrt((np.where(seen, features - mean, 0) ** 2).sum(axis=0, dtype=np.float64) / n)
    important = np.ones(len(mean)) if weight is None else np.asarray(weight, np.float64)
    varies = std > 1e-6 * np.maximum(np.abs(mean), 1e-12)  # a constant is so to rounding only
    scale = np.where(varies, important / np.where(varies, std, 1), 0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(features))
    _, first = np.unique(fold[order], return_index=True)
    # one row of each fold at least, as a row is compared with those of other folds
    kept = np.sort(np.r_[order[first], np.delete(order, first)][: max(most, 2)])
    rows = _standard(features[kept], mean.astype(np.float32), scale.astype(np.float32))
    apart = _mean_distance(rows[rng.permutation(len(rows))[:_FOR_MEAN]])
    if not apart > 0:
        raise ValueError("all training rows are alike")
    own = np.full(len(rows), np.nan)
    for k in np.unique(fold[kept]):
        here = fold[kept] == k
        if not here.all():
            own[here] = nearest(rows[here], rows[~here]) / apart
    known = own[np.isfinite(own)]
    low, high = np.percentile(known, [25, 75])
    threshold = known[known <= high + 1.5 * (high - low)].max()
    return Known(mean.astype(np.float32), scale.astype(np.float32), rows, apart, float(threshold))


def dissimilarity(features: NDArray[np.float32], known: Known) -> NDArray[np.float32]:
    """The dissimilarity index of new rows.

    Parameters
    ----------
    features : (n, feature) float32
        Not standardized; NaN counts as the mean of training.
    known : Known

    Returns
    -------
    (n,) float32
    """
    rows = _standard(features, known.mean, known.scale)
    return (nearest(rows, known.rows) / known.apart).astype(np.float32)


def nearest(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) Euclidean distance of each row to the nearest of others.

    With a hundred features a search tree looks at nearly every row; products of matrices do that
    faster.  The nearest is found in single precision, its distance is computed from differences.
    """
    found = np.empty(len(rows))
    squares = (others**2).sum(axis=1)
    step = max(1, _PAIRS // len(others))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        at = (squares - 2 * (some @ others.T)).argmin(axis=1)
        found[start : start + step] = np.sqrt(
            ((some - others[at]).astype(np.float64) ** 2).sum(axis=1)
        )
    return found


def _standard(
    features: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    rows = (features - mean) * scale
    rows[~np.isfinite(rows)] = 0
    return rows.astype(np.float32)


def _mean_distance(rows: NDArray[np.float32]) -> float:
    """Of all pairs of two different rows."""
    total, squares = 0.0, (rows.astype(np.float64) ** 2).sum(axis=1)
    for at, row in enumerate(rows.astype(np.float64)):
        square = squares[at] + squares - 2 * (rows @ row)
        square[at] = 0
        total += float(np.sqrt(np.maximum(square, 0)).sum())
    return total / max(len(rows) * (len(rows) - 1), 1)
