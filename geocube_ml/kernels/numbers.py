"""Accuracy of estimated numbers, from sums over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ERRORS = ("rmse", "mae", "bias", "r2")
"""Figures that `errors_of_numbers` tells."""

N_SUM = 6
"""Sums that `sums_of_numbers` makes of each group."""

_LEAST = 1e-12  # of the labels' squares that is more than rounding


def sums_of_numbers(
    estimate: NDArray[np.floating[Any]],
    label: NDArray[np.floating[Any]],
    group: NDArray[np.integer[Any]],
    n_group: int,
    about: float = 0.0,
) -> NDArray[np.float64]:
    """What all figures follow from, of each group of rows.

    Parameters
    ----------
    estimate, label : (n,) floats
        In one unit, finite.
    group : (n,) int
        Below `n_group`.
    n_group : int
    about : float
        A number amid the labels, the same for all rows that are judged together: squares of
        distances from it keep their digits.

    Returns
    -------
    (group, 6) float64
        Rows; sums of labels minus `about`, of its squares; of errors (estimate minus label), of
        their sizes, of their squares.

    Examples
    --------
    >>> sums_of_numbers(np.array([3.0, 1.0]), np.array([1.0, 2.0]), np.array([0, 0]), 1).tolist()
    [[2.0, 3.0, 5.0, 1.0, 3.0, 5.0]]
    """
    known = label.astype(np.float64)
    away, error = known - about, estimate.astype(np.float64) - known
    parts = (np.ones_like(away), away, away**2, error, np.abs(error), error**2)
    return np.stack([np.bincount(group, part, n_group) for part in parts], axis=1)


def errors_of_numbers(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """How far numbers are from what they should be, of one set of rows or of many at once.

    Parameters
    ----------
    sums : (..., 6) float64
        As `sums_of_numbers` makes them, added up over groups.

    Returns
    -------
    dict
        (...) float64, NaN without rows: ``rmse`` (root of the mean squared error), ``mae`` (mean
        size of an error) and ``bias`` (mean of estimate minus label), in the unit of the labels;
        ``r2``, one minus the squared errors over the squared distances of these labels from their
        own mean: 1 is perfect, 0 no better than that mean, below 0 worse; NaN where all labels
        are equal.

    Examples
    --------
    >>> told = errors_of_numbers(np.array([2.0, 3.0, 5.0, 1.0, 3.0, 5.0]))
    >>> {name: round(float(value), 3) for name, value in told.items()}
    {'rmse': 1.581, 'mae': 1.5, 'bias': 0.5, 'r2': -9.0}
    """
    n, away, away2, error, size, error2 = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = away2 - away**2 / n
        return {
            "rmse": np.sqrt(error2 / n),
            "mae": size / n,
            "bias": error / n,
            "r2": np.where(spread > _LEAST * away2, 1 - error2 / spread, np.nan),
        }
