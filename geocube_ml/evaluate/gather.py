"""The figures of an evaluation from what its folds left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr

from geocube_ml.data.folds import NO_FOLD
from geocube_ml.evaluate.folds import Fold, Groups, as_they_are, folds_of, groups_of, splits_of
from geocube_ml.evaluate.notes import notes_of
from geocube_ml.evaluate.numbers import (
    MEAN,
    Errors,
    JudgedNumbers,
    figures_of_errors,
    is_number,
    of_mean,
    quantity_of,
)
from geocube_ml.evaluate.scores import MAJORITY, Judged, overall_figures, sizes_of
from geocube_ml.evaluate.tally import Tally
from geocube_ml.evaluate.tasks import FoldTask, Found, NotJudged, class_shares
from geocube_ml.spec.evaluate import EvaluateSpec, Split
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ModelSpec


def gather_scores(
    samples: xr.Dataset,
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec,
    found: Mapping[FoldTask, Found],
    *,
    seed: int,
) -> dict[str, Any]:
    """The figures of `evaluate_models` from what each of its tasks found."""
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    base = baseline(models)
    scores: list[dict[str, Any]] = []
    notes: list[str] = []
    splits = splits_of(samples, spec)
    for split in splits:
        one = JudgedSplit.of(split, samples, models, spec, found, seed)
        scores += one.scores(base)
        notes += one.notes(samples, classes)
    early: list[dict[str, Any]] = []
    without: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    hiding = [task for task in found if task.hides]
    if hiding:
        whole = JudgedSplit.of(as_they_are(samples), samples, models, spec, found, seed)
        if whole.split not in splits:
            compared += whole.scores(base)
            notes += whole.notes(samples, classes)
        for task in hiding:
            result = found[task]
            if isinstance(result, NotJudged):
                notes.append(f"{task.model}, {task.hidden}: not judged. {result.why}")
                continue
            told = _less(task, result, whole, seed)
            if task.steps is None:
                how = "fitted anew" if task.anew else "as it is"
                without.append({**told, "without": task.without, "how": how})
            else:
                last = samples["time"].values[task.steps - 1]
                until = str(np.datetime_as_string(last, unit="D"))
                early.append({**told, "steps": task.steps, "until": until})
    return {
        "classes": classes.model_dump(mode="json"),
        "quantity": quantity_of(samples),
        "baseline": base,
        "scores": scores,
        "early": early,
        "without": without,
        "whole": compared,
        "reference": [],
        "notes": notes,
    }


def baseline(models: Mapping[str, ModelSpec]) -> str:
    """The model that others are compared with: the first forest, or the first model."""
    forests = [name for name, spec in models.items() if spec.kind == "forest"]
    return (forests or list(models))[0]


class Scored(Protocol):
    """A model's figures on a split: of classes, or of a number."""

    def score(self, model: str, split: str, sizes: Mapping[str, int]) -> dict[str, Any]:
        """What is reported."""

    def above(self, name: str, other: Any) -> dict[str, Any]:
        """By how much the figures are above those of another of the same kind."""


@dataclass(frozen=True)
class JudgedSplit:
    """All models on one split, and behind them what one says who looks at no pixel."""

    split: Split
    parts: list[Fold]
    groups: Groups
    sizes: dict[str, int]
    models: dict[str, Scored]
    spec: EvaluateSpec
    left_out: dict[str, list[dict[str, Any]]]
    """Model to figures of each group that was left out, where the split leaves groups out."""

    @classmethod
    def of(
        cls,
        split: Split,
        samples: xr.Dataset,
        models: Mapping[str, ModelSpec],
        spec: EvaluateSpec,
        found: Mapping[FoldTask, Found],
        seed: int,
    ) -> JudgedSplit:
        """From what its folds left."""
        parts = list(folds_of(samples, split, seed))
        tested = np.logical_or.reduce([test for _, test in parts])
        groups = groups_of(samples, split, tested)
        tallies = {
            name: [found[FoldTask(split, name, fold)] for fold, _ in enumerate(parts)]
            for name in models
        }
        if is_number(samples):
            tallies[MEAN] = list(of_mean(samples, parts, groups))
        else:
            tallies[MAJORITY] = list(_majority(samples, parts, groups))
        judged = {name: _judged(all_of, groups, spec, seed) for name, all_of in tallies.items()}
        each = {}
        if split == "group":
            each = {name: list(_each_group(samples, all_of)) for name, all_of in tallies.items()}
        return cls(split, parts, groups, sizes_of(samples, parts), judged, spec, each)

    def notes(self, samples: xr.Dataset, classes: ClassScheme) -> list[str]:
        """What a reader must know before believing its figures."""
        lacking = next((m.lacking for m in self.models.values() if isinstance(m, Judged)), None)
        return notes_of(self.split, samples, self.parts, classes, self.groups, lacking)

    def scores(self, base: str) -> Iterator[dict[str, Any]]:
        """One of each model, with its lead over the baseline."""
        for name, one in self.models.items():
            told = one.score(name, self.split, self.sizes)
            if name != base:
                told["difference"] = one.above(base, self.models[base])
            if self.left_out:
                told["left_out"] = self.left_out[name]
            yield told


def _each_group(samples: xr.Dataset, parts: list[Found]) -> Iterator[dict[str, Any]]:
    """Figures of each group, by a model that was fitted without it."""
    group = samples["fold_group"]
    codes = np.unique(group.values[group.values != NO_FOLD])
    names = group.attrs.get("groups", [str(code) for code in range(int(codes.max()) + 1)])
    for code, part in zip(codes, parts, strict=True):
        if isinstance(part, Tally):
            yield {"group": str(names[code]), **overall_figures(part)}
        elif isinstance(part, Errors):
            yield {"group": str(names[code]), **figures_of_errors(part)}


def _judged(parts: list[Found], groups: Groups, spec: EvaluateSpec, seed: int) -> Scored:
    """A model's figures from what its folds left."""
    errors = [part for part in parts if isinstance(part, Errors)]
    if errors:
        return JudgedNumbers.of(Errors.joined(errors), groups, spec, seed)
    tally = Tally.joined(part for part in parts if isinstance(part, Tally))
    return Judged.of(tally, groups, spec, seed)


def _less(task: FoldTask, found: Found, whole: JudgedSplit, seed: int) -> dict[str, Any]:
    """The score of a model of which something was hidden, beside the same with everything."""
    one = _judged([found], whole.groups, whole.spec, seed)
    told = one.score(task.model, task.split, whole.sizes)
    told["difference"] = one.above(f"{task.model} with everything", whole.models[task.model])
    return told


def _majority(samples: xr.Dataset, parts: list[Fold], groups: Groups) -> Iterator[Tally]:
    """What one says who knows nothing but how often each class was in training."""
    label = samples["label"].values
    n_class = len(ClassScheme.from_attrs(samples["label"].attrs).names)
    for rows, test in parts:
        shares = class_shares(label[rows], n_class)
        prob = np.broadcast_to(shares.astype(np.float32), (int(test.sum()), n_class))
        yield Tally.of(prob, label[test], groups.code[test], shares=shares)
