"""How good models are on spatial blocks that none has seen, and how flattering other splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.apart import Ground, apart
from geocube_ml.data.folds import (
    HOLDOUT,
    NO_FOLD,
    count_polygons,
    held_out,
    is_given,
    trained_on,
)
from geocube_ml.errors import InputError
from geocube_ml.evaluate.scores import MAJORITY, Fold, class_codes, score
from geocube_ml.kernels.accuracy import confusion
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import EvaluateSpec, ModelSpec, Split
from geocube_ml.train import train_model

_FEW_POLYGONS = 30  # below, one polygon more or less moves a figure by points
_FEW_PER_CLASS = 3

Note = Callable[[int, int], None]
_DEFAULT = EvaluateSpec()


def evaluate_models(
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec = _DEFAULT,
    *,
    seed: int = 0,
    workers: int = 1,
    note: Note | None = None,
) -> dict[str, Any]:
    """Score models on held-out samples, beside the majority class.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    bundles : mapping of name to ModelBundle
        Trained on all but the hold-out (of spatial blocks, or of the given split); they are judged
        on it as they are.
    models : mapping of name to spec
        Fitted anew for the other splits.
    spec : EvaluateSpec
        Which splits.
    seed : int
        Of the random split.
    workers : int
        Threads of a forest.
    note : callable, optional
        Told how many fits are done.

    Returns
    -------
    dict
        ``classes``, ``scores`` (one a model and split) and ``notes``, JSON-able.  A score has
        ``model``, ``split``, ``n_train``, ``n_test``, ``train_polygons``, ``test_polygons``,
        ``confusion`` (rows reference, columns map), ``overall``, ``macro_f1``, ``kappa``, ``f1``
        a class (None for a class without a test pixel), and ``notes``.  The notes of all say how
        far the tested samples lie from those that were trained on, and what weakens a figure.

    Raises
    ------
    InputError
        The samples have no groups, or no given split, but the spec names it.
    """
    tasks = fold_tasks(samples, models, spec, seed)
    found = {}
    for done, task in enumerate(tasks, start=1):
        found[task] = judge_fold(task, samples, bundles, models, seed=seed, workers=workers)
        if note is not None:
            note(done, len(tasks))
    return gather_scores(samples, models, spec, found, seed=seed)


@dataclass(frozen=True)
class FoldTask:
    """One model on one fold of one split; the unit of work."""

    split: Split
    model: str
    fold: int

    @property
    def name(self) -> str:
        """For people and dashboards."""
        return f"{self.split}-{self.model}-{self.fold}"


def fold_tasks(
    samples: xr.Dataset, models: Mapping[str, ModelSpec], spec: EvaluateSpec, seed: int
) -> list[FoldTask]:
    """All that `evaluate_models` fits and judges."""
    return [
        FoldTask(split, model, fold)
        for split in spec.splits
        for model in models
        for fold, _ in enumerate(_folds(samples, split, seed))
    ]


def judge_fold(
    task: FoldTask,
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    models: Mapping[str, ModelSpec],
    *,
    seed: int,
    workers: int = 1,
) -> NDArray[np.int64]:
    """(class, class) confusion of a model on one fold, reference in rows; fitted if need be."""
    rows, test = list(_folds(samples, task.split, seed))[task.fold]
    if task.split == _as_they_are(samples):
        return _confusion(bundles[task.model], samples, test)
    bundle = train_model(
        samples, models[task.model], name=task.model, rows=rows, lenient=True, workers=workers
    )
    return _confusion(bundle, samples, test)


def gather_scores(
    samples: xr.Dataset,
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec,
    found: Mapping[FoldTask, NDArray[np.int64]],
    *,
    seed: int,
) -> dict[str, Any]:
    """The figures of `evaluate_models` from what each of its tasks found."""
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    folds = {split: list(_folds(samples, split, seed)) for split in spec.splits}
    scores = []
    for split, parts in folds.items():
        for name in models:
            matrix = np.zeros((len(classes.names),) * 2, np.int64)
            for fold, _ in enumerate(parts):
                matrix += found[FoldTask(split, name, fold)]
            scores.append(score(name, split, matrix, samples, parts))
        scores.append(_majority(split, samples, parts, classes))
    notes = [
        f"{_TITLES[split]}: {text}"
        for split, parts in folds.items()
        for text in (_distances(samples, parts), *_weaknesses(samples, parts, classes))
    ]
    return {
        "classes": classes.model_dump(mode="json"),
        "scores": scores,
        "reference": [],
        "notes": notes,
    }


_TITLES = {
    "block": "Spatial hold-out",
    "random": "Random split",
    "polygon": "Cross-validation by polygon",
    "group": "Cross-validation by group",
    "split": "Given split",
}


def _as_they_are(samples: xr.Dataset) -> Split:
    """The split that the bundles of a run were trained for; for others models are fitted anew."""
    return "split" if is_given(samples) else "block"


def _folds(samples: xr.Dataset, split: str, seed: int) -> Iterator[Fold]:
    block = samples["fold_block"].values
    if split == "block":
        yield trained_on(samples, by_block=True), block == HOLDOUT
    elif split == "split":
        _need(samples, "split", "split_column")
        yield trained_on(samples), held_out(samples)
    elif split == "group":
        _need(samples, "fold_group", "group_column")
        group = samples["fold_group"].values
        for k in np.unique(group[group != NO_FOLD]):
            yield (group != k) & (group != NO_FOLD), group == k
    elif split == "random":
        # as many test rows as the spatial hold-out has, so that only the kind of split differs
        test = np.zeros(len(block), bool)
        drawn = np.random.default_rng(seed).permutation(len(block))
        test[drawn[: int(held_out(samples).sum())]] = True
        yield ~test, test
    else:
        fold = samples["fold_polygon"].values
        for k in np.unique(fold):
            yield fold != k, fold == k


def _need(samples: xr.Dataset, name: str, field: str) -> None:
    if name not in samples:
        raise InputError(
            f"`evaluate.splits` names {name.removeprefix('fold_')!r}, but the samples have no "
            f"`{name}`. Name a column of the labels in `samples.{field}`, or leave the split out."
        )


def _distances(samples: xr.Dataset, parts: list[Fold]) -> str:
    """How far what is tested lies from what was trained on."""
    ground = Ground.of(samples)
    found = [apart(ground, rows, test) for rows, test in parts]
    known = [one for one in found if one["min_m"] is not None]
    if not known:
        return "nothing was trained on or nothing is tested"
    return (
        f"tested samples lie at least {min(one['min_m'] for one in known):g} m from those that "
        f"were trained on, in the median {np.median([one['median_m'] for one in known]):g} m"
    )


def _confusion(
    bundle: ModelBundle, samples: xr.Dataset, test: NDArray[np.bool_]
) -> NDArray[np.int64]:
    counts = {name: samples[name].values[test] for name in bundle.fit.names}
    label = samples["label"].values[test]
    return confusion(label, class_codes(bundle, counts), len(bundle.classes.names))


def _majority(
    split: str, samples: xr.Dataset, parts: list[Fold], classes: ClassScheme
) -> dict[str, Any]:
    label = samples["label"].values
    matrix = np.zeros((len(classes.names),) * 2, np.int64)
    for rows, test in parts:
        common = np.bincount(label[rows]).argmax()
        matrix += confusion(label[test], np.full(int(test.sum()), common), len(matrix))
    return score(MAJORITY, split, matrix, samples, parts)


def _weaknesses(samples: xr.Dataset, parts: list[Fold], classes: ClassScheme) -> Iterator[str]:
    """What a reader must know before believing a figure."""
    tested = np.logical_or.reduce([test for _, test in parts])
    n = count_polygons(samples, tested)
    label = samples["label"].values
    if n < _FEW_POLYGONS:
        yield (
            f"only {n} polygons are tested (fewer than {_FEW_POLYGONS}); figures of this size "
            "mean little"
        )
    for code, name in enumerate(classes.names):
        blind = sum(not (rows & (label == code)).any() for rows, _ in parts)
        if blind:
            yield f"no training pixel of {name} in {blind} of {len(parts)} folds"
        of_class = count_polygons(samples, tested & (label == code))
        if not (tested & (label == code)).any():
            yield f"no test pixel of {name}; its F1 is not known"
        elif 0 < of_class < _FEW_PER_CLASS:
            yield f"only {of_class} test polygon{'s' if of_class > 1 else ''} of {name}"
