"""From what fits said to figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.run import Said
from benchmarks.accuracy.sets import Labelled
from benchmarks.accuracy.splits import units
from geocube_ml.kernels.accuracy import OVERALL, confusion, figures
from geocube_ml.kernels.bootstrap import interval, resampled_sums
from geocube_ml.kernels.calibration import expected_calibration_error, log_loss

DRAWS = 1000
"""Resamples of an interval."""


@dataclass(frozen=True)
class Judged:
    """A model on a split of a set, over all seeds.

    Parameters
    ----------
    sums : (unit, class, class) float64
        Confusion matrices of what intervals are drawn by, the mean over the seeds.
    folds : (fold, class, class) float64
        Confusion matrices of the test rows of each fold, the mean over the seeds.
    by_seed : dict of figure to list of float
        Of each seed, over all its folds together.
    """

    sums: NDArray[np.float64]
    folds: NDArray[np.float64]
    by_seed: dict[str, list[float]]
    unit: str
    seconds: float
    """Of processor time, a fit."""

    def mean(self, figure: str) -> float:
        """Over the seeds."""
        return float(np.mean(self.by_seed[figure]))


def judge(data: Labelled, kind: str, by_seed: Sequence[Sequence[Said]]) -> Judged:
    """Figures of a model.

    Parameters
    ----------
    data : Labelled
    kind : str
        Of the split.
    by_seed : sequence of sequences of Said
        Of each seed, what its folds said; a series is tested once a seed, or not at all.
    """
    unit, code = units(data, kind)
    tested = np.concatenate([said.rows for said in by_seed[0]])
    at = np.full(len(data.label), -1)
    at[tested] = np.unique(code[tested], return_inverse=True)[1]
    n_class = len(data.classes)
    sums = np.zeros((at.max() + 1, n_class, n_class))
    names = (*OVERALL, "log_loss", "calibration_error")
    found: dict[str, list[float]] = {name: [] for name in names}
    seconds = []
    matrices = np.zeros((len(by_seed[0]), n_class, n_class))
    for folds in by_seed:
        for number, fold in enumerate(folds):
            matrix = confusion(data.label[fold.rows], fold.prob.argmax(axis=1), n_class)
            matrices[number] += matrix / len(by_seed)
        rows = np.concatenate([said.rows for said in folds])
        prob = np.concatenate([said.prob for said in folds])
        mapped = prob.argmax(axis=1)
        one = np.zeros_like(sums)
        np.add.at(one, (at[rows], data.label[rows], mapped), 1)
        sums += one / len(by_seed)
        told = figures(one.sum(axis=0))
        for name in OVERALL:
            found[name].append(float(told[name]))
        found["log_loss"].append(log_loss(prob, data.label[rows]))
        found["calibration_error"].append(expected_calibration_error(prob, data.label[rows]))
        seconds += [said.seconds for said in folds]
    return Judged(sums, matrices, found, unit, float(np.mean(seconds)))


def document(
    model: Judged, reference: Judged | None, figure: str, *, by_fold: bool = False
) -> dict[str, object]:
    """For the file of results: figures, and how far it is ahead of the reference model.

    Intervals are 95 % ones over what `units` says, drawn again with the matrices of all seeds:
    they hold for other ground of the same kind, and the difference is paired, as the same units are
    drawn for both.  `by_fold` tells the figure of each fold too.
    """
    drawn = _figure_of_draws(model, figure)
    said: dict[str, object] = {name: round(model.mean(name), 4) for name in model.by_seed}
    said["interval"] = _rounded(interval(drawn, model.mean(figure)))
    said["by_seed"] = [round(value, 4) for value in model.by_seed[figure]]
    if by_fold:
        said["by_fold"] = [round(float(one), 4) for one in figures(model.folds)[figure]]
    said["seconds_a_fit"] = round(model.seconds, 1)
    if reference is not None and reference is not model:
        ahead = drawn - _figure_of_draws(reference, figure)
        lead = model.mean(figure) - reference.mean(figure)
        said["ahead"] = round(lead, 4)
        said["ahead_interval"] = _rounded(interval(ahead, lead))
    return said


def _figure_of_draws(model: Judged, figure: str) -> NDArray[np.float64]:
    sums = resampled_sums(model.sums, DRAWS, np.random.default_rng(0))
    return figures(sums)[figure]


def _rounded(ends: NDArray[np.float64]) -> list[float] | None:
    """None where no interval can be told."""
    return [round(float(end), 4) for end in ends] if np.isfinite(ends).all() else None
