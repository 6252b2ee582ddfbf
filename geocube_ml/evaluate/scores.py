"""One score: a model on a split, with its intervals and its lead over another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.samples import count_polygons
from geocube_ml.evaluate.folds import Fold, Groups
from geocube_ml.evaluate.rounded import decimals, pair
from geocube_ml.evaluate.tally import Tally, figures_of
from geocube_ml.kernels.accuracy import BY_CLASS, OF_ALL_CLASSES, OVERALL, figures
from geocube_ml.kernels.bootstrap import interval, resampled_sums
from geocube_ml.kernels.scaling import most_likely
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.labels import UNKNOWN

MAJORITY = "majority class"
BOUND = "best possible"

LOSSES = ("log_loss", "log_loss_softened", "ece", "ece_softened")
"""Figures of which less is better."""

Values = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Judged:
    """A model's figures on some rows, and what resamples of them say."""

    tally: Tally
    groups: Groups
    spec: EvaluateSpec
    told: Values
    """Of all rows."""
    drawn: Values | None
    """Of each resample, NaN where it lacks a class that the figure is of; None where none is
    drawn."""
    lacking: NDArray[np.bool_] | None
    """(resample, class) whether it has no row of a class that is tested."""

    @classmethod
    def of(cls, tally: Tally, groups: Groups, spec: EvaluateSpec, seed: int) -> Self:
        """Draw the groups again; those of one seed are the same for all that is judged on them."""
        told = figures_of(tally.sums.sum(axis=0), tally.n_class)
        drawn, lacking = None, None
        if groups.enough and spec.resamples:
            sums = resampled_sums(tally.sums, spec.resamples, np.random.default_rng(seed))
            rows = tally.reference_rows(sums)
            lacking = (rows == 0) & (tally.confusion.sum(axis=1) > 0)
            drawn = _of_the_same(figures_of(sums, tally.n_class), lacking)
        return cls(tally, groups, spec, told, drawn, lacking)

    def score(self, model: str, split: str, sizes: Mapping[str, int]) -> dict[str, Any]:
        """What is reported; keys as `evaluate_models` tells them."""
        present = self.tally.confusion.sum(axis=1) > 0
        spec, groups = self.spec, self.groups
        resampled = {"unit": groups.unit, "n": groups.n, "resamples": spec.resamples,
                     "level": spec.level}  # fmt: skip
        return {
            "model": model,
            "split": split,
            **sizes,
            "n_test": int(self.tally.confusion.sum()),
            "n_unseen": self.tally.unseen,
            "confusion": self.tally.confusion.tolist(),
            **_told(self.told, present),
            "temperature": decimals(np.median(self.tally.temperatures)),
            "reliability": self.tally.reliability().round(4).tolist(),
            "resampled": None if self.drawn is None else resampled,
            "interval": None if self.drawn is None else self._intervals(self.drawn, present),
            "difference": None,
            "notes": _unseen_notes(self.tally),
        }

    def _intervals(self, drawn: Values, present: NDArray[np.bool_]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in BY_CLASS:
            ends = interval(drawn[key], self.told[key], self.spec.level).T
            found[key] = [pair(one, decimals) if there else None
                          for one, there in zip(ends, present, strict=True)]  # fmt: skip
        for key in (*OVERALL, *LOSSES):
            found[key] = pair(interval(drawn[key], self.told[key], self.spec.level), decimals)
        return found

    def above(self, name: str, other: Judged) -> dict[str, Any]:
        """By how much the figures are above those of another, resample by resample."""
        found: dict[str, Any] = {"to": name}
        for key in (*OVERALL, *LOSSES):
            by, ends = self.told[key] - other.told[key], None
            if self.drawn is not None and other.drawn is not None:
                apart = self.drawn[key] - other.drawn[key]
                ends = pair(interval(apart, by, self.spec.level), decimals)
            found[key] = {"value": decimals(by), "interval": ends}
        return found


def score_of_matrix(
    model: str, split: str, matrix: NDArray[np.int64], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """What is reported of a model of which the answers alone are known.

    Its probabilities, and by what its pixels could be drawn again, are not: no losses, no interval.
    """
    return {
        "model": model,
        "split": split,
        **sizes,
        "n_test": int(matrix.sum()),
        "confusion": matrix.tolist(),
        **_told(figures(matrix), matrix.sum(axis=1) > 0),
        "resampled": None,
        "interval": None,
        "difference": None,
        "notes": [],
    }


def overall_figures(tally: Tally) -> dict[str, Any]:
    """``n_test``, and what is told of all classes together."""
    told = figures_of(tally.sums.sum(axis=0), tally.n_class)
    figures_told = {key: decimals(told[key]) for key in (*OVERALL, *LOSSES)}
    return {"n_test": int(tally.confusion.sum()), **figures_told}


def sizes_of(samples: xr.Dataset, parts: list[Fold]) -> dict[str, int]:
    """How much was trained on and tested: means of the folds' training, sums of their tests."""
    return {
        "n_train": int(np.mean([rows.sum() for rows, _ in parts])),
        "train_polygons": round(np.mean([count_polygons(samples, rows) for rows, _ in parts])),
        "test_polygons": sum(count_polygons(samples, test) for _, test in parts),
    }


def class_codes(bundle: ModelBundle, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Counts as of `ModelBundle.predict_proba` -> (n,) class codes, 255 if nothing was observed."""
    return most_likely(bundle.predict_proba(counts).T, UNKNOWN)


def _of_the_same(drawn: Values, lacking: NDArray[np.bool_]) -> Values:
    """Figures of resamples without those that miss a class: a mean over others is another figure.

    Of a class that a resample lacks, `figures` tells 0 where it is mapped.
    """
    whole = ~lacking.any(axis=1)
    found = dict(drawn)
    found |= {key: np.where(lacking, np.nan, drawn[key]) for key in BY_CLASS}
    found |= {key: np.where(whole, drawn[key], np.nan) for key in OF_ALL_CLASSES}
    return found


def _told(told: Values, present: NDArray[np.bool_]) -> dict[str, Any]:
    """Figures as JSON; those of a class without a test row are None."""
    found: dict[str, Any] = {
        key: [decimals(v) if there else None for v, there in zip(told[key], present, strict=True)]
        for key in BY_CLASS
    }
    return found | {key: decimals(told[key]) for key in (*OVERALL, *LOSSES) if key in told}


def _unseen_notes(tally: Tally) -> list[str]:
    text = (
        f"{tally.unseen} test samples have no observation; their answer is how the training rows "
        "are shared among the classes"
    )
    return [text] if tally.unseen else []
