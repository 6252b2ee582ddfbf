"""How good models are that estimate a number: errors of the rows of each tested group.

All figures and their intervals follow from the sums of the groups, as for classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.evaluate.folds import Fold, Groups
from geocube_ml.evaluate.probabilities import in_parts
from geocube_ml.evaluate.rounded import pair, significant
from geocube_ml.kernels.bootstrap import interval, resampled_sums
from geocube_ml.kernels.numbers import ERRORS, errors_of_numbers, sums_of_numbers
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.evaluate import EvaluateSpec

MEAN = "training mean"
"""What one says who knows nothing but the mean of the training rows."""

_MOST_PAIRS = 2000  # that are kept to be drawn

Values = Mapping[str, NDArray[np.float64]]


def is_number(samples: xr.Dataset) -> bool:
    """Whether models of these samples estimate a number, and no class."""
    return "value" in samples


def quantity_of(samples: xr.Dataset) -> dict[str, str] | None:
    """``column`` and ``units`` of the number that is estimated; None of classes."""
    if not is_number(samples):
        return None
    attrs = samples["value"].attrs
    return {"column": str(attrs["column"]), "units": str(attrs["units"])}


@dataclass(frozen=True)
class Errors:
    """What a model said of the rows of some groups."""

    group: NDArray[np.int64]
    """(group,) codes, ascending."""
    sums: NDArray[np.float64]
    """(group, 6) as `sums_of_numbers` makes them."""
    unseen: int
    """Rows of which the model knew no observation, so that it answered the training rows' mean."""
    pairs: NDArray[np.float64]
    """(n, 2) label and estimate of at most 2,000 rows, drawn at random, to be looked at."""

    @classmethod
    def of(
        cls,
        estimate: NDArray[np.floating[Any]],
        label: NDArray[np.float64],
        group: NDArray[np.int64],
        *,
        mean: float,
        about: float,
    ) -> Self:
        """Of a fold's estimates.

        Parameters
        ----------
        estimate : (n,) float
            In the unit of the labels; NaN of a row that the model knows nothing of.
        label : (n,) float64
        group : (n,) int
            What is drawn again for intervals, from 0.
        mean : float
            Of the training rows: the answer where nothing was observed.
        about : float
            A number amid the labels, the same in all folds.
        """
        unseen = np.isnan(estimate)
        told = np.where(unseen, mean, estimate).astype(np.float64)
        names, at = np.unique(group, return_inverse=True)
        sums = sums_of_numbers(told, label, at, len(names), about)
        pairs = _some(np.stack([label, told], axis=1))
        return cls(names.astype(np.int64), sums, int(unseen.sum()), pairs)

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Of all folds of a split."""
        parts = list(parts)
        names = np.unique(np.concatenate([part.group for part in parts]))
        sums = np.zeros((len(names), parts[0].sums.shape[1]))
        for part in parts:
            sums[np.searchsorted(names, part.group)] += part.sums
        pairs = _some(np.concatenate([part.pairs for part in parts]))
        return cls(names, sums, sum(part.unseen for part in parts), pairs)


def estimates(
    bundle: ModelBundle, samples: xr.Dataset, rows: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Numbers of some rows.

    Parameters
    ----------
    bundle : ModelBundle
        Of numbers.
    samples : xarray.Dataset
        It may lack sources, if the model allows it.
    rows : (sample,) bool

    Returns
    -------
    (n,) float32
        Of the n rows in their order; NaN of a row of which the model knows no observation.
    """
    found = np.empty(int(rows.sum()), np.float32)
    for at, counts in in_parts(bundle, samples, rows):
        found[at] = bundle.estimate(counts)
    return found


def errors_of(
    bundle: ModelBundle,
    known: xr.Dataset,
    samples: xr.Dataset,
    fold: Fold,
    code: NDArray[np.int64],
) -> Errors:
    """Sums of what a bundle says of the test rows of a fold.

    Parameters
    ----------
    bundle : ModelBundle
    known : xarray.Dataset
        What it is shown of the samples.
    samples : xarray.Dataset
    fold : Fold
    code : (sample,) int
        Group of each row.
    """
    rows, test = fold
    value = samples["value"].values
    return Errors.of(
        estimates(bundle, known, test), value[test], code[test],
        mean=_mean(value, rows), about=float(value.mean()),
    )  # fmt: skip


def of_mean(samples: xr.Dataset, parts: list[Fold], groups: Groups) -> Iterator[Errors]:
    """Each fold by the mean of its training rows."""
    value = samples["value"].values
    for rows, test in parts:
        told, about = _mean(value, rows), float(value.mean())
        same = np.full(int(test.sum()), told)
        yield Errors.of(same, value[test], groups.code[test], mean=told, about=about)


@dataclass(frozen=True)
class JudgedNumbers:
    """A model's errors on some rows, and what resamples of them say."""

    errors: Errors
    groups: Groups
    spec: EvaluateSpec
    told: Values
    """Of all rows."""
    drawn: Values | None
    """Of each resample; None where none is drawn."""

    @classmethod
    def of(cls, errors: Errors, groups: Groups, spec: EvaluateSpec, seed: int) -> Self:
        """Draw the groups again; those of one seed are the same for all that is judged on them."""
        drawn = None
        if groups.enough and spec.resamples:
            sums = resampled_sums(errors.sums, spec.resamples, np.random.default_rng(seed))
            drawn = errors_of_numbers(sums)
        told = errors_of_numbers(errors.sums.sum(axis=0))
        return cls(errors, groups, spec, told, drawn)

    def score(self, model: str, split: str, sizes: Mapping[str, int]) -> dict[str, Any]:
        """What is reported; keys as `evaluate_models` tells them."""
        spec, groups = self.spec, self.groups
        resampled = {"unit": groups.unit, "n": groups.n, "resamples": spec.resamples,
                     "level": spec.level}  # fmt: skip
        return {
            "model": model,
            "split": split,
            **sizes,
            **figures_of_errors(self.errors),
            "n_unseen": self.errors.unseen,
            "pairs": [[significant(one) for one in both] for both in self.errors.pairs],
            "resampled": None if self.drawn is None else resampled,
            "interval": None if self.drawn is None else self._intervals(self.drawn),
            "difference": None,
            "notes": list(self._notes()),
        }

    def _intervals(self, drawn: Values) -> dict[str, Any]:
        level = self.spec.level
        return {
            key: pair(interval(drawn[key], self.told[key], level), significant) for key in ERRORS
        }

    def above(self, name: str, other: JudgedNumbers) -> dict[str, Any]:
        """By how much the figures are above those of another, resample by resample."""
        found: dict[str, Any] = {"to": name}
        for key in ERRORS:
            by, ends = self.told[key] - other.told[key], None
            if self.drawn is not None and other.drawn is not None:
                apart = self.drawn[key] - other.drawn[key]
                ends = pair(interval(apart, by, self.spec.level), significant)
            found[key] = {"value": significant(by), "interval": ends}
        return found

    def _notes(self) -> Iterator[str]:
        if self.errors.unseen:
            yield (
                f"{self.errors.unseen} test samples have no observation; their answer is the mean "
                "of the training rows"
            )
        if np.isnan(self.told["r2"]):
            yield "all tested labels have the same number, so that R2 is not known"


def figures_of_errors(errors: Errors) -> dict[str, Any]:
    """How much was tested, and the four figures of it."""
    sums = errors.sums.sum(axis=0)
    told = errors_of_numbers(sums)
    return {"n_test": int(sums[0]), **{key: significant(told[key]) for key in ERRORS}}


def _mean(value: NDArray[np.float64], rows: NDArray[np.bool_]) -> float:
    """Of the training rows; of all rows where there is none."""
    return float(value[rows].mean() if rows.any() else value.mean())


def _some(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most so many pairs as are kept, in their order."""
    if len(pairs) <= _MOST_PAIRS:
        return pairs
    drawn = np.random.default_rng(0).choice(len(pairs), _MOST_PAIRS, replace=False)
    return pairs[np.sort(drawn)]
