"""Sums over the rows of each tested group: all figures and their intervals follow from them.

They are what a fold leaves, however many rows it tests: a few hundred numbers a group, of at most
5,000 groups.  So folds are judged anywhere and only their sums are sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.accuracy import figures
from geocube_ml.kernels.calibration import calibration_error, reliability, row_losses, soften

BINS = 15
"""Of how sure a model is, for the calibration error."""


@dataclass(frozen=True)
class Tally:
    """What a model said of the rows of some groups."""

    group: NDArray[np.int64]
    """(group,) codes, ascending."""
    sums: NDArray[np.float64]
    """(group, column): the confusion of classes, the number of rows, the log loss before and after
    the temperature, and what `reliability` counts before and after."""
    n_class: int
    unseen: int
    """Rows of which the model knew no observation, so that it answered as the training rows are
    shared among the classes."""
    temperatures: tuple[float, ...]
    """Of each fold."""

    @classmethod
    def of(
        cls,
        prob: NDArray[np.float32],
        label: NDArray[Any],
        group: NDArray[np.int64],
        *,
        shares: NDArray[np.float64],
        temperature: float = 1.0,
    ) -> Self:
        """Of a fold's probabilities.

        Parameters
        ----------
        prob : (n, class) float32
            Before the temperature; NaN of a row that the model knows nothing of.
        label : (n,) int
        group : (n,) int
            What is drawn again for intervals, from 0.
        shares : (class,) float
            Of the training rows: the answer where nothing was observed.
        temperature : float
            Learnt on none of these rows.
        """
        n_class = prob.shape[1]
        unseen = np.asarray(np.isnan(prob).any(axis=1))
        soft = soften(prob, temperature)
        if unseen.any():
            prob = np.where(unseen[:, None], shares, prob).astype(np.float32)
            soft[unseen] = shares
        names, at = np.unique(group, return_inverse=True)
        n_group, known = len(names), label.astype(np.intp)
        pairs = (at * n_class + known) * n_class + prob.argmax(axis=1)
        parts = [
            np.bincount(pairs, minlength=n_group * n_class**2).reshape(n_group, -1),
            np.bincount(at, minlength=n_group)[:, None],
            *(np.bincount(at, row_losses(p, label), n_group)[:, None] for p in (prob, soft)),
            *(reliability(p, known, BINS, at).reshape(n_group, -1) for p in (prob, soft)),
        ]
        sums = np.concatenate(parts, axis=1).astype(np.float64)
        return cls(names.astype(np.int64), sums, n_class, int(unseen.sum()), (temperature,))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Of all folds of a split."""
        parts = list(parts)
        names = np.unique(np.concatenate([part.group for part in parts]))
        sums = np.zeros((len(names), parts[0].sums.shape[1]))
        for part in parts:
            sums[np.searchsorted(names, part.group)] += part.sums
        temperatures = tuple(t for part in parts for t in part.temperatures)
        unseen = sum(part.unseen for part in parts)
        return cls(names, sums, parts[0].n_class, unseen, temperatures)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(class, class) of all groups, reference in rows."""
        flat = self.sums[:, : self.n_class**2].sum(axis=0).round()
        matrix: NDArray[np.int64] = flat.astype(np.int64).reshape(self.n_class, self.n_class)
        return matrix

    def reference_rows(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., class) rows of each class of the reference, from (..., column) sums."""
        pairs = sums[..., : self.n_class**2]
        rows: NDArray[np.float64] = pairs.reshape(*sums.shape[:-1], self.n_class, -1).sum(axis=-1)
        return rows

    def reliability(self) -> NDArray[np.float64]:
        """(2, 3, bins) of all groups, before and after the temperature; see `reliability`."""
        flat = self.sums[:, self.n_class**2 + 3 :].sum(axis=0)
        counted: NDArray[np.float64] = flat.reshape(2, 3, BINS)
        return counted


def figures_of(sums: NDArray[np.float64], n_class: int) -> dict[str, NDArray[np.float64]]:
    """All figures from sums as those of a `Tally`, of one or of many resamples.

    Parameters
    ----------
    sums : (..., column) float64
    n_class : int

    Returns
    -------
    dict
        As `figures`; and (...) ``log_loss``, ``log_loss_softened``, ``ece``, ``ece_softened``.
    """
    lead = sums.shape[:-1]
    pairs, losses, bins = np.split(sums, [n_class**2, n_class**2 + 3], axis=-1)
    said = figures(pairs.reshape(*lead, n_class, n_class))
    bins = bins.reshape(*lead, 2, 3, BINS)
    with np.errstate(invalid="ignore"):
        for at, ending in enumerate(("", "_softened")):
            said["log_loss" + ending] = losses[..., 1 + at] / losses[..., 0]
            said["ece" + ending] = calibration_error(bins[..., at, :, :])
    return said
