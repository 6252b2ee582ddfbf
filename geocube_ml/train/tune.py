"""Better settings of a model, searched on folds of its training part."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from geocube_ml.data.folds import TEST, TRAIN, with_gap
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError, SpecError
from geocube_ml.files import Place
from geocube_ml.kernels.accuracy import confusion, macro_f1
from geocube_ml.models.fit import Fit
from geocube_ml.models.layout import Layout
from geocube_ml.models.model import Model
from geocube_ml.spec.base import digest
from geocube_ml.spec.models import ModelSpec, PatchSpec
from geocube_ml.spec.training import TrainingSpec
from geocube_ml.spec.tune import TuneSpec
from geocube_ml.train.arrays import fit_model
from geocube_ml.train.rows import Rows
from geocube_ml.train.samples import choose_rows
from geocube_ml.train.trials import Told, Tuned, run_trials

_FOLD = 1_000_000
"""Steps of a fold, as the pruner counts them: more than the epochs that any fold has."""


def tune_model(
    samples: xr.Dataset,
    spec: ModelSpec,
    search: TuneSpec,
    *,
    name: str | None = None,
    study: Place | None = None,
    workers: int = 1,
    told: Told | None = None,
) -> Tuned:
    """Search better settings of a model of series, on rows of a sample table.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    spec : spec of a model
        Its fields that are not searched stay as they are; it is tried first.
    search : TuneSpec
    name : str, optional
        Of the model in `search.models`; its kind by default.
    study : path of a JSON file, optional
        What is known of the trials so far; a search that was stopped goes on there.
    workers : int
        Threads of a model of tables.
    told : callable, optional
        Told of each trial.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        The extra `tune` is not installed, the model looks at patches, there are fewer blocks than
        folds, or the study is of another search.
    SpecError
        The model has no such field, or refuses a value.

    Notes
    -----
    Only rows that `train_model` would train on have a part, never the hold-out.  A trial holds each
    fold of their spatial blocks out once, or the rows whose given split is ``validation``; early
    stopping looks at the same rows, in every trial alike.
    """
    chosen = choose_rows(samples, spec)
    at = np.flatnonzero(chosen.rows)
    number = "value" in samples
    label = samples["value" if number else "label"].values[at]
    if chosen.given:
        held = chosen.held[at][None]
    else:
        held = held_folds(label, samples["block"].values[at], search.folds, search.seed)
    trained = np.stack([_away(samples.isel(sample=at), fold) for fold in held])
    fit = Fit.model_validate(described(samples))
    series = fit.stacked({source: samples[source].values[at] for source in fit.names})
    return tune_arrays(
        series, label, held, spec, search,
        trained=trained, n_class=None if number else len(chosen.classes.names),
        layout=fit.layout, weight=chosen.weight[at], name=name, study=study, workers=workers,
        told=told,
    )  # fmt: skip


def tune_arrays(
    series: ArrayLike,
    label: ArrayLike,
    held: NDArray[np.bool_],
    spec: ModelSpec,
    search: TuneSpec,
    *,
    trained: NDArray[np.bool_] | None = None,
    n_class: int | None = None,
    layout: Layout | None = None,
    weight: ArrayLike | None = None,
    name: str | None = None,
    study: Place | None = None,
    workers: int = 1,
    told: Told | None = None,
) -> Tuned:
    """Search better settings of a model of series, on arrays.

    Parameters
    ----------
    series, label, n_class, layout, weight
        As of `fit_model`; of the training part alone.
    held : (fold, n) bool
        Rows that are held out, fold by fold; `held_folds` makes them.
    trained : (fold, n) bool, optional
        Rows that are trained on meanwhile; by default all others.
    spec, search, name, study, workers, told
        As of `tune_model`.

    Returns
    -------
    Tuned
    """
    if isinstance(spec, PatchSpec):
        raise InputError(
            f"{spec.kind} looks at what lies around a pixel; only models of series are tuned. "
            "Leave it out: name the others in `tune.models`."
        )
    try:
        space = search.space(name or spec.kind, spec)
    except ValueError as error:
        raise SpecError(f"{error}.") from error
    values, codes = np.asarray(series, np.float32), np.asarray(label)
    rows = Rows.of(values, codes, n_class, None, layout, weight)
    seen = ~np.isnan(values).all(axis=(1, 2))  # others never reach a model
    if not (held & seen).any(axis=1).all():
        raise InputError(
            "A fold has no sample that was ever observed, so that nothing can be judged on it. "
            "Take fewer folds (`tune.folds`)."
        )
    used = ~held if trained is None else trained & ~held
    counts = None if weight is None else np.asarray(weight, np.float32)
    known = digest(
        [spec.result(), {field: one.result() for field, one in space.items()}, search.seed,
         rows.digest(), hashlib.sha256(held.tobytes() + used.tobytes()).hexdigest()]
    )  # fmt: skip

    def score(tried: ModelSpec, report: Callable[[float, int], None]) -> float:
        found: list[float] = []
        for number, (fold, rest) in enumerate(zip(held, used, strict=True)):
            part = fold | rest

            def watch(member: int, said: dict[str, Any], number: int = number) -> None:
                value = said.get("macro_f1", -said["rmse"] if said.get("rmse") else None)
                if value is not None:
                    epochs = getattr(tried, "epochs", 0)
                    report(value, number * _FOLD + member * epochs + said["epoch"])

            # what one network of an ensemble scores says little of their mean
            fitted = fit_model(
                tried, values[part], codes[part], rows.n_class, validation=fold[part],
                layout=layout, weight=None if counts is None else counts[part], refit=False,
                workers=workers, watch=watch if isinstance(tried, TrainingSpec) else None,
            )  # fmt: skip
            found.append(_judged(fitted.model, values[fold & seen], codes[fold & seen]))
            report(float(np.mean(found)), (number + 1) * _FOLD - 1)
        return float(np.mean(found))

    return run_trials(spec, space, search, score, study, known, told)


def _away(samples: xr.Dataset, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(sample,) what is far enough from the rows that are held out, as the samples' gap says."""
    codes = np.where(held, TEST, TRAIN).astype(np.uint8)
    return np.asarray(with_gap(samples, codes) == TRAIN)


def held_folds(
    label: NDArray[Any], group: NDArray[Any], n_fold: int, seed: int
) -> NDArray[np.bool_]:
    """Folds of whole groups, each row held out once.

    Parameters
    ----------
    label : (n,) codes, or numbers
        Classes are spread over the folds as evenly as the groups allow.
    group : (n,) integers
        Spatial blocks.
    n_fold, seed : int

    Returns
    -------
    (n_fold, n) bool

    Raises
    ------
    InputError
        There are fewer groups than folds.

    Examples
    --------
    >>> held_folds(np.array([0, 1, 0, 1]), np.array([5, 5, 6, 6]), 2, 0).sum(axis=0).tolist()
    [1, 1, 1, 1]
    """
    n_group = len(np.unique(group))
    if n_group < n_fold:
        raise InputError(
            f"The training part has {n_group} spatial blocks, fewer than the {n_fold} folds of "
            "`tune.folds`. Lower it, or take smaller blocks (`samples.block_m`)."
        )
    kind = GroupKFold if label.dtype.kind == "f" else StratifiedGroupKFold
    held = np.zeros((n_fold, len(label)), bool)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = kind(n_fold, shuffle=True, random_state=seed).split(label, label, group)
        for fold, (_, test) in zip(held, parts, strict=True):
            fold[test] = True
    return held


def _judged(model: Model, series: NDArray[np.float32], label: NDArray[Any]) -> float:
    """Macro-F1, or minus the RMSE, of rows that the model has not learnt."""
    n_class = model.target.n_class
    if n_class is None:
        return -float(np.sqrt(np.mean((model.predict(series) - label) ** 2)))
    found = model.predict_proba(series).argmax(axis=1)
    return macro_f1(confusion(label, found, n_class))
