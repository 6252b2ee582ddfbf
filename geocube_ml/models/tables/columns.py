"""Rows of a table from series, and how much each counts."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError


def check_finite(series: NDArray[np.float32]) -> None:
    """Refuse infinite values: no mean, threshold or filter says what they are.

    Raises
    ------
    InputError
        Says how many there are.
    """
    n = int(np.isinf(series).sum())
    if n:
        raise InputError(
            f"{n} of {series.size} values of the series are infinite. Missing values are nodata "
            "(NaN): correct the scale of the source, or the data."
        )


def check_labels(label: NDArray[Any], n_class: int | None, n_row: int) -> None:
    """Refuse rows without labels, and labels that a model cannot learn.

    Raises
    ------
    InputError
        Says what is wrong with them.
    """
    if not n_row or len(label) != n_row:
        raise InputError(f"A model learns series with a label each, got {n_row} and {len(label)}.")
    if n_class is None:
        n = int((~np.isfinite(label)).sum())
        if n:
            raise InputError(
                f"{n} of {n_row} numbers to learn are not finite. Leave those rows out."
            )
    elif label.min() < 0 or label.max() >= n_class:
        raise InputError(
            f"Class codes must be 0 to {n_class - 1}, got {label.min()} to {label.max()}."
        )


def check_classes(classes: NDArray[np.int64], n_class: int | None) -> None:
    """Refuse what cannot be the codes of the classes that a model has learnt.

    Raises
    ------
    ValueError
        They are no codes in order, or there are some for a regression.
    """
    if classes.ndim != 1 or classes.dtype != np.int64:
        raise ValueError(f"classes must be int64 (k,), got {classes.dtype} {classes.shape}")
    if (n_class is None) != (classes.size == 0):
        raise ValueError(f"{classes.size} classes in the file, {n_class} by the description")
    if classes.size and (classes[0] < 0 or classes[-1] >= (n_class or 0)):
        raise ValueError(f"classes {classes.tolist()} are not among {n_class}")
    if (np.diff(classes) < 1).any():
        raise ValueError(f"classes {classes.tolist()} are not in order")


def row_weights(
    label: NDArray[Any],
    n_class: int | None,
    class_weights: Literal["equal", "balanced"],
    weight: NDArray[np.floating[Any]] | None,
) -> NDArray[np.float64] | None:
    """How much each row counts, or None where all count alike.

    Parameters
    ----------
    label : (n,) integer, or float of a regression
    n_class : int or None
    class_weights : {"equal", "balanced"}
        ``balanced``: each row by n / (classes that are there x n of its class).
    weight : (n,) float, optional
        Multiplied with it.

    Returns
    -------
    (n,) float64 or None

    Raises
    ------
    InputError
        A weight is no number or below 0, or all are 0.

    Examples
    --------
    >>> row_weights(np.array([0, 0, 0, 2]), 3, "balanced", None).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    if weight is not None and not (0 <= weight.min() <= weight.max() < np.inf and weight.any()):
        raise InputError(
            "Weights of rows must be finite, not below 0, and not all 0, got "
            f"{weight.min():g} to {weight.max():g}."
        )
    if n_class is None or class_weights == "equal":
        return None if weight is None else weight.astype(np.float64)
    count = np.bincount(label, minlength=n_class)
    by_class = len(label) / (np.count_nonzero(count) * np.maximum(count, 1))
    balanced: NDArray[np.float64] = by_class[label]
    return balanced if weight is None else balanced * weight
