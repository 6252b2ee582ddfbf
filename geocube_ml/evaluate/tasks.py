"""The units of work of an evaluation: one model on one fold, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.sources import deciding
from geocube_ml.errors import InputError
from geocube_ml.evaluate.folds import Fold, as_they_are, folds_of, groups_of, splits_of
from geocube_ml.evaluate.hidden import dropped_source, early_steps, first_steps, left_out
from geocube_ml.evaluate.numbers import Errors, errors_of, is_number
from geocube_ml.evaluate.probabilities import probabilities
from geocube_ml.evaluate.tally import Tally
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.evaluate import EvaluateSpec, Split
from geocube_ml.spec.models import EnsembleSpec, ModelSpec
from geocube_ml.spec.networks import FusionSpec
from geocube_ml.train import train_model


@dataclass(frozen=True)
class FoldTask:
    """One model on one fold of one split; the unit of work."""

    split: Split
    model: str
    fold: int
    steps: int | None = None
    """The series are cut after so many steps."""
    without: str | None = None
    """Source that is left out."""
    anew: bool = True
    """Whether a model is fitted without the source, or the bundle asked without it."""

    @property
    def name(self) -> str:
        """For people and dashboards."""
        parts = [self.split, self.model, str(self.fold)]
        if self.steps is not None:
            parts.append(f"steps_{self.steps}")
        if self.without is not None:
            parts.append(f"{'without' if self.anew else 'lacking'}_{self.without}")
        return "-".join(parts)

    @property
    def hides(self) -> bool:
        """Whether it is judged on less than there is."""
        return self.steps is not None or self.without is not None

    @property
    def hidden(self) -> str:
        """What it is judged without, in words."""
        if self.steps is not None:
            return f"after {self.steps} steps"
        return f"without {self.without}" + ("" if self.anew else ", as it is")


@dataclass(frozen=True)
class NotJudged:
    """A model could not be fitted to what is left."""

    why: str


Found = Tally | Errors | NotJudged


def fold_tasks(
    samples: xr.Dataset,
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec,
    seed: int,
) -> list[FoldTask]:
    """All that `evaluate_models` fits and judges."""
    held, splits = as_they_are(samples), splits_of(samples, spec)
    tasks = [
        FoldTask(split, model, fold)
        for split in splits
        for model in models
        for fold, _ in enumerate(folds_of(samples, split, seed))
    ]
    steps, sources = early_steps(samples, spec), left_out(samples, spec)
    if (steps or sources) and held not in splits:  # what they are compared with
        tasks += [FoldTask(held, model, 0) for model in models]
    tasks += [FoldTask(held, model, 0, steps=k) for model in models for k in steps]
    for model, one in models.items():
        for source in sources:
            tasks.append(FoldTask(held, model, 0, without=source))
            if _may_lack(samples, one, source):
                tasks.append(FoldTask(held, model, 0, without=source, anew=False))
    return tasks


def judge_fold(
    task: FoldTask,
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    models: Mapping[str, ModelSpec],
    *,
    seed: int,
    workers: int = 1,
    cube: xr.Dataset | None = None,
) -> Found:
    """What a model says of one fold; fitted if need be.

    Parameters
    ----------
    task : FoldTask
    samples : xarray.Dataset
    bundles, models : mapping
        As of `evaluate_models`.
    seed : int
        Of the random split.
    workers : int
        Threads of a fit.
    cube : xarray.Dataset, optional
        That the samples were taken from; for models that see what lies around a pixel.

    Returns
    -------
    Tally, Errors or NotJudged
        The second of a model of numbers; the last only of a task that hides something.
    """
    parts = list(folds_of(samples, task.split, seed))
    rows, test = parts[task.fold]
    known, shown = samples, cube
    if task.steps is not None:
        known = first_steps(known, task.steps)
        shown = None if shown is None else first_steps(shown, task.steps)
    if task.without is not None:
        known = dropped_source(known, task.without)
        shown = None if shown is None else dropped_source(shown, task.without)
    as_is = task.split == as_they_are(samples)
    if as_is and not (task.hides and task.anew):
        bundle = bundles[task.model]
    else:
        try:
            bundle = train_model(
                known, _fitting(models[task.model], task.without), name=task.model,
                rows=None if as_is else rows, lenient=True, cube=shown, workers=workers,
            )  # fmt: skip
        except InputError as error:
            if not task.hides:
                raise
            return NotJudged(str(error))
    return tally_of(bundle, known, samples, task.split, parts, (rows, test), shown)


def tally_of(
    bundle: ModelBundle,
    known: xr.Dataset,
    samples: xr.Dataset,
    split: Split,
    parts: list[Fold],
    fold: Fold,
    cube: xr.Dataset | None,
) -> Tally | Errors:
    """Sums of what a bundle says of the test rows of a fold.

    Parameters
    ----------
    bundle : ModelBundle
    known : xarray.Dataset
        What it is shown of the samples.
    samples : xarray.Dataset
    split : str
    parts : list of Fold
        All folds of the split.
    fold : Fold
    cube : xarray.Dataset or None
        What it is shown of the cube.
    """
    rows, test = fold
    label = samples["label"].values
    tested = np.logical_or.reduce([one for _, one in parts])
    code = groups_of(samples, split, tested).code
    if is_number(samples):
        return errors_of(bundle, known, samples, fold, code)
    return Tally.of(
        probabilities(bundle, known, test, cube), label[test], code[test],
        shares=class_shares(label[rows], len(bundle.classes.names)),
        temperature=bundle.temperature,
    )  # fmt: skip


def class_shares(label: NDArray[np.uint8], n_class: int) -> NDArray[np.float64]:
    """(class,): how rows are shared among the classes; evenly where there is none."""
    count = np.bincount(label, minlength=n_class).astype(np.float64)
    return count / count.sum() if count.any() else np.full(n_class, 1 / n_class)


def _fitting(spec: ModelSpec, without: str | None) -> ModelSpec:
    """A spec without what it says of a source that is left out."""
    if isinstance(spec, EnsembleSpec):
        parts = {name: _fitting(part, without) for name, part in spec.of.items()}
        return spec.model_copy(update={"of": parts})
    if isinstance(spec, FusionSpec) and without in spec.encoders:
        rest = {name: one for name, one in spec.encoders.items() if name != without}
        return spec.model_copy(update={"encoders": rest})
    return spec


def _may_lack(samples: xr.Dataset, spec: ModelSpec, source: str) -> bool:
    """Whether a model was trained with sources taken away, and one is left that decides."""
    tolerant: float = getattr(spec, "drop_source", 0)
    return tolerant > 0 and deciding(samples) != [source]
