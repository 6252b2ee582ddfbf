"""Accuracy from a confusion matrix; rows are the reference, columns the map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion(reference: NDArray[Any], mapped: NDArray[Any], n_class: int) -> NDArray[np.int64]:
    """Counts of each pair of reference and mapped class.

    Parameters
    ----------
    reference, mapped : (n,) integer codes from 0
        Pairs in which either is not below `n_class` (unknown) are left out.
    n_class : int

    Returns
    -------
    (class, class) int64

    Examples
    --------
    >>> confusion(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 0]), 2)
    array([[1, 1],
           [0, 1]])
    """
    known = (reference < n_class) & (mapped < n_class)
    pairs = reference[known].astype(np.int64) * n_class + mapped[known]
    return np.bincount(pairs, minlength=n_class**2).reshape(n_class, n_class)


BY_CLASS = ("f1", "iou", "users", "producers")
"""Figures that `figures` tells of each class."""

OVERALL = ("overall", "balanced", "macro_f1", "kappa")
"""Figures that `figures` tells of all classes together."""

OF_ALL_CLASSES = ("balanced", "macro_f1")
"""Those of them that are a mean over classes, and another figure where one is missing."""


def figures(matrices: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Everything that a confusion matrix says, of one or of many at once.

    Parameters
    ----------
    matrices : (..., class, class) counts or weights
        Rows are the reference, columns the map.

    Returns
    -------
    dict
        Of each class, (..., class) float64: ``f1``; ``iou`` (intersection over union); ``users``
        (user's accuracy or precision: the share of what is mapped as the class that is of it) and
        ``producers`` (producer's accuracy or recall: the share of the class that is mapped as it).
        Of all, (...) float64: ``overall``; ``balanced`` (mean producer's accuracy); ``macro_f1``;
        ``kappa`` (Cohen 1960).  NaN where there is nothing to divide by.

    Notes
    -----
    Means are over the classes that the reference has.  A class that is mapped but not in the
    reference has no figure of its own there; its false pixels lower the classes that they were
    taken from.

    Examples
    --------
    >>> said = figures(np.array([[20, 5], [10, 15]]))
    >>> {name: said[name].round(3).tolist() for name in ("kappa", "iou", "users", "producers")}
    {'kappa': 0.4, 'iou': [0.571, 0.5], 'users': [0.667, 0.75], 'producers': [0.8, 0.6]}
    """
    # floats, because products of counts leave 64 bits from 3e9 pixels on
    counts = np.asarray(matrices, np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    reference, mapped = counts.sum(axis=-1), counts.sum(axis=-2)
    total = reference.sum(axis=-1)
    present = reference > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * right / (reference + mapped)
        producers = right / reference
        overall = right.sum(axis=-1) / total
        chance = ((reference / total[..., None]) * (mapped / total[..., None])).sum(axis=-1)
        agreed = np.where(chance < 1, (overall - chance) / (1 - chance), np.nan)
        return {
            "f1": f1,
            "iou": right / (reference + mapped - right),
            "users": right / mapped,
            "producers": producers,
            "overall": overall,
            "balanced": _mean(producers, present),
            "macro_f1": _mean(f1, present),
            "kappa": agreed,
        }


def _mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.where(chosen, values, 0).sum(axis=-1) / chosen.sum(axis=-1)
    return total


def overall_accuracy(matrix: NDArray[Any]) -> float:
    """Share of pixels mapped as the reference says; NaN without pixels."""
    return float(figures(matrix)["overall"])


def f1_by_class(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """F1 of each class; NaN for a class that is neither in the reference nor mapped.

    Examples
    --------
    >>> f1_by_class(np.array([[8, 2, 0], [2, 8, 0], [0, 0, 0]]))
    array([0.8, 0.8, nan])
    """
    return figures(matrix)["f1"]


def macro_f1(matrix: NDArray[Any]) -> float:
    """Mean F1 of the classes that the reference has; NaN without pixels."""
    return float(figures(matrix)["macro_f1"])


def kappa(matrix: NDArray[Any]) -> float:
    """Cohen's kappa; NaN where chance alone would agree on everything.

    Examples
    --------
    >>> round(kappa(np.array([[20, 5], [10, 15]])), 3)
    0.4
    """
    return float(figures(matrix)["kappa"])
