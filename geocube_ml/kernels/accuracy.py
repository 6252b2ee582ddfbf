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


def overall_accuracy(matrix: NDArray[Any]) -> float:
    """Share of pixels mapped as the reference says; NaN without pixels."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def f1_by_class(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """F1 of each class; NaN for a class that is neither in the reference nor mapped.

    Examples
    --------
    >>> f1_by_class(np.array([[8, 2, 0], [2, 8, 0], [0, 0, 0]]))
    array([0.8, 0.8, nan])
    """
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):
        f1: NDArray[np.float64] = 2 * np.diag(matrix) / both
    return f1


def macro_f1(matrix: NDArray[Any]) -> float:
    """Mean F1 of the classes that the reference has; NaN without pixels.

    A class that is mapped but not in the reference has no F1 of its own; its false pixels
    lower the classes that they were taken from.
    """
    present = matrix.sum(axis=1) > 0
    return float(f1_by_class(matrix)[present].mean()) if present.any() else float("nan")


def kappa(matrix: NDArray[Any]) -> float:
    """Cohen's kappa; NaN where chance alone would agree on everything.

    Examples
    --------
    >>> round(kappa(np.array([[20, 5], [10, 15]])), 3)
    0.4
    """
    total = matrix.sum()
    if not total:
        return float("nan")
    # shares, because products of counts leave 64 bits from 3e9 pixels on
    chance = float(((matrix.sum(axis=0) / total) * (matrix.sum(axis=1) / total)).sum())
    return (overall_accuracy(matrix) - chance) / (1 - chance) if chance < 1 else float("nan")
