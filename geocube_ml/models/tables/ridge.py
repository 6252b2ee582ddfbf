"""Ridge regression (Hoerl and Kennard 1970) that is judged on each row without having learnt it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTIES = np.logspace(-3, 6, 19)

_AT_ONCE = 1_024  # rows that are floats of 64 bits at a time

Rows = Callable[[slice], NDArray[np.float32]]
"""Some rows of a table, made when they are asked for."""


@dataclass(frozen=True)
class Ridge:
    """Weights, and how they were chosen.

    Parameters
    ----------
    weight : (column, k) float64
        Of the columns as they are; answers are ``rows @ weight + intercept``.
    intercept : (k,) float64
    penalty : float
        The one of `PENALTIES` with the lowest squared error on rows left out.
    left_out : (n, k) float64
        What is answered for each row by a ridge of this penalty that is fitted on all others.
    """

    weight: NDArray[np.float64]
    intercept: NDArray[np.float64]
    penalty: float
    left_out: NDArray[np.float64]


def fit_ridge(
    rows: Rows, n: int, wanted: NDArray[np.float64], counts: NDArray[np.float64] | None = None
) -> Ridge:
    """Fit a ridge on standardized columns, with an intercept that is not penalized.

    Parameters
    ----------
    rows : callable
        Some rows of the table (n, column) float32; they are asked for several times where there
        are more rows than columns, and kept where there are not.
    n : int
        Number of rows.
    wanted : (n, k) float64
        What is to be answered.
    counts : (n,) float64, optional
        How much each row counts, above 0.

    Returns
    -------
    Ridge

    Notes
    -----
    The answer for a row left out follows from the fit on all rows: its error is divided by one less
    the row's leverage (Allen 1974, Technometrics 16).  Of the table times its transpose, or the
    other way round, the smaller is taken: the time goes with the cube of the fewer of rows and
    columns, and twice the square of them is kept.
    """
    share = np.full(n, 1 / n) if counts is None else counts / counts.sum()
    wide = n <= rows(slice(0, 1)).shape[1]
    if wide:
        rows = rows(slice(0, n)).__getitem__
    table = _standardized(rows, n, share)
    middle = share @ wanted
    aim = np.sqrt(share * n)[:, None] * (wanted - middle)
    turned = _turned_wide(table) if wide else _turned_long(table)
    slope = np.zeros((len(turned.values), wanted.shape[1]))
    for some in _slices(n):
        slope += turned.rows(some).T @ aim[some]
    errors = np.empty((len(PENALTIES), *wanted.shape), np.float32)
    for some in _slices(n):
        here = turned.rows(some)
        squares = here**2
        for at, penalty in enumerate(PENALTIES):
            free = 1 - share[some] - squares @ (1 / (turned.values + penalty))
            error = aim[some] - here @ (slope / (turned.values + penalty)[:, None])
            errors[at, some] = error / np.maximum(free, 1e-9)[:, None]
    best = int((errors.astype(np.float64) ** 2).sum(axis=(1, 2)).argmin())
    weight = turned.back(slope / (turned.values + PENALTIES[best])[:, None]) / table.std[:, None]
    left_out = wanted - errors[best] / np.sqrt(share * n)[:, None]
    return Ridge(weight, middle - table.mean @ weight, float(PENALTIES[best]), left_out)


@dataclass(frozen=True)
class _Table:
    """Rows of a table with weighted mean 0 and standard deviation 1, times the weights' roots."""

    raw: Rows
    n: int
    share: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def rows(self, some: slice) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (self.raw(some) - self.mean) / self.std
        found *= np.sqrt(self.share[some] * self.n)[:, None]
        return found


@dataclass(frozen=True)
class _Turned:
    """A table in the axes of its own spread."""

    values: NDArray[np.float64]
    """Sums of squares along the axes."""
    rows: Callable[[slice], NDArray[np.float64]]
    """Some rows, (m, axis)."""
    back: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Weights of axes (axis, k) -> weights of columns."""


def _slices(n: int) -> list[slice]:
    return [slice(start, min(start + _AT_ONCE, n)) for start in range(0, n, _AT_ONCE)]


def _standardized(rows: Rows, n: int, share: NDArray[np.float64]) -> _Table:
    mean = np.sum([share[some] @ rows(some) for some in _slices(n)], axis=0)
    square = np.sum([share[some] @ (rows(some) - mean) ** 2 for some in _slices(n)], axis=0)
    # a column that never changes says nothing: leave it at 0 rather than divide by 0
    return _Table(rows, n, share, mean, np.where(square > 1e-12, np.sqrt(square), 1))


def _turned_wide(table: _Table) -> _Turned:
    """By the products of the rows with each other."""
    n, n_column = table.n, len(table.mean)
    raw, root = table.raw(slice(0, n)), np.sqrt(table.share * n)[:, None]
    products = np.zeros((n, n))
    for some in _slices(n_column):
        part = (raw[:, some] - table.mean[some]) / table.std[some] * root
        products += part @ part.T
    values, axes = np.linalg.eigh(products)
    values = np.maximum(values, 0)  # rounding
    length = np.sqrt(values)

    def back(solved: NDArray[np.float64]) -> NDArray[np.float64]:
        # along an axis without spread no weight does anything
        scale = np.divide(1, length, out=np.zeros(n), where=length > 1e-6 * length.max())
        dual = axes @ (solved * scale[:, None])
        found = np.zeros((n_column, solved.shape[1]))
        for some in _slices(n):
            found += table.rows(some).T @ dual[some]
        return found

    return _Turned(values, lambda some: axes[some] * length, back)


def _turned_long(table: _Table) -> _Turned:
    """By the products of the columns with each other."""
    n_column = len(table.mean)
    products = np.zeros((n_column, n_column))
    for some in _slices(table.n):
        part = table.rows(some)
        products += part.T @ part
    values, axes = np.linalg.eigh(products)
    return _Turned(np.maximum(values, 0), lambda some: table.rows(some) @ axes, axes.__matmul__)
