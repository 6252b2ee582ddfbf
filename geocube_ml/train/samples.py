"""Fit a model to rows of a sample table."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from geocube_ml.data.folds import NONE, TRAIN, VALIDATION, count_polygons, split_codes, with_gap
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError
from geocube_ml.files import Place
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ModelSpec, PatchSpec
from geocube_ml.train.arrays import fit_model
from geocube_ml.train.curves import Watcher
from geocube_ml.train.patches import fit_patches

_VALIDATION_FOLDS = 7
"""One of so many folds of the training rows decides when to stop."""


def train_model(
    samples: xr.Dataset,
    spec: ModelSpec,
    *,
    name: str | None = None,
    rows: NDArray[np.bool_] | None = None,
    lenient: bool = False,
    cube: xr.Dataset | None = None,
    workers: int = 1,
    folder: Place | None = None,
    watch: Watcher | None = None,
    progress: bool = False,
) -> ModelBundle:
    """Fit a model.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`; where it has ``value``, the model estimates that number.
    spec : spec of a model
    name : str, optional
        Of the model; its kind by default.
    rows : (sample,) bool, optional
        Rows to train on; by default those whose given split is ``train``, without one all but the
        hold-out of spatial blocks; and none that is nearer than the gap to what is held out.  Rows
        that weigh 0 are left out.
    lenient : bool
        Train even if a class has no row; the model then never answers with it.
    cube : xarray.Dataset, optional
        That the samples are of; needed by models that look at what lies around a pixel.
    workers : int
        Threads of a model of tables or of patches.
    folder : path, optional
        Where checkpoints (a training that was stopped goes on there) and curves are kept.
    watch : callable, optional
        Told of each epoch: member and what the history says.
    progress : bool
        Show a bar.

    Returns
    -------
    ModelBundle

    Raises
    ------
    InputError
        A class has no row to train on, or there is only one, unless `lenient`; there is no row at
        all; or a model of patches has no cube.
    TrainingStopped
        A network's loss is not a number.

    Notes
    -----
    A network stops early by the loss on the rows whose given split is ``validation``, on which no
    network is trained; without such, on spatial blocks that are held out of its training rows.
    With fewer than seven blocks or rows of the largest class, or where a class would not be trained
    on, it trains its full length on all rows.  Between these blocks and the rest the gap of the
    samples is kept.  The temperature of every model is learnt on the
    same rows.
    """
    chosen = choose_rows(samples, spec, rows, lenient=lenient)
    fit, classes = Fit.model_validate(described(samples)), chosen.classes
    if isinstance(spec, PatchSpec):
        if cube is None:
            raise InputError(
                f"{spec.kind} looks at what lies around a pixel, which samples do not hold: give "
                "`train_model` the cube too (`cube=`)."
            )
        if "value" in samples:
            raise InputError(
                f"{spec.kind} tells classes apart, but `samples.value_column` asks for a number. "
                "Take a model of series, such as tempcnn, or a forest."
            )
        fitted = fit_patches(
            cube, samples, spec, fit, chosen.rows, chosen.held, len(classes.names),
            workers=workers, folder=folder, watch=watch, progress=progress,
        )  # fmt: skip
    else:
        at = chosen.rows
        series = fit.stacked({name: samples[name].values[at] for name in fit.names})
        number = "value" in samples
        fitted = fit_model(
            spec, series, samples["value" if number else "label"].values[at],
            None if number else len(classes.names),
            validation=chosen.held[at], refit=not chosen.given, layout=fit.layout,
            weight=chosen.weight[at], workers=workers, folder=folder, watch=watch,
            progress=progress,
        )  # fmt: skip
    facts = {**fitted.facts, "train_polygons": count_polygons(samples, chosen.rows)}
    if "value" in samples:
        attrs = samples["value"].attrs
        facts["quantity"] = {"column": attrs["column"], "units": attrs["units"]}
    return ModelBundle(name or spec.kind, fitted.model, fit, classes, facts, fitted.temperature)


@dataclass(frozen=True)
class Chosen:
    """Which samples a model is fitted to."""

    rows: NDArray[np.bool_]
    """(sample,): those that are used, `held` among them."""
    held: NDArray[np.bool_]
    """(sample,): those that decide when to stop, and the temperature."""
    given: bool
    """Whether a column of the labels said so: then no model at all is trained on `held`."""
    weight: NDArray[np.float32]
    """(sample,)"""
    classes: ClassScheme


def choose_rows(
    samples: xr.Dataset,
    spec: ModelSpec,
    rows: NDArray[np.bool_] | None = None,
    *,
    lenient: bool = False,
) -> Chosen:
    """Rows of a sample table to train on, and to hold out of the training; as of `train_model`."""
    given = np.zeros(samples.sizes["sample"], bool)
    if rows is None:
        split = with_gap(samples, split_codes(samples))
        rows, given = split == TRAIN, split == VALIDATION
    weight = _weights(samples)
    rows, given = rows & (weight > 0), given & (weight > 0)
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    if not lenient and "value" not in samples:
        _check_classes(samples["label"].values[rows], classes)
    if not rows.any():
        raise InputError(
            f"None of the {len(weight)} samples is trained on: all are held out, lie nearer to "
            "those than the gap, or weigh 0. Lower `samples.gap_m`, or correct the labels' weights."
        )
    held = given
    if not given.any():
        rows, held = _with_validation(samples, rows, spec.seed)
    return Chosen(rows | given, held, bool(given.any()), weight, classes)


def _check_classes(label: NDArray[Any], classes: ClassScheme) -> None:
    if len(classes.names) < 2:
        raise InputError(
            f"There is one class only, {classes.names[0]}: a model of it has nothing to tell "
            "apart. Add a class to `labels.classes`, or labels of background."
        )
    count = np.bincount(label, minlength=len(classes.names))
    empty = [name for name, n in zip(classes.names, count, strict=True) if n == 0]
    if empty:
        raise InputError(
            f"No training row of: {', '.join(empty)}; all its samples lie in the hold-out, nearer "
            "to it than the gap, or weigh 0. Take smaller blocks (`samples.block_m`), another "
            "`samples.seed`, another split, or leave the class out."
        )


def _weights(samples: xr.Dataset) -> NDArray[np.float32]:
    """How much each sample counts; 1 in a table that does not say it."""
    if "weight" not in samples:
        return np.ones(samples.sizes["sample"], np.float32)
    return samples["weight"].values.astype(np.float32)


def _with_validation(
    samples: xr.Dataset, rows: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows to train on, and blocks of them that are held out; those in the gap are neither."""
    at = np.flatnonzero(rows)
    label = samples["label"].values
    held = np.zeros(len(rows), bool)
    held[at[_validation(label[at], samples["block"].values[at], seed)]] = True
    codes = np.where(held, VALIDATION, np.where(rows, TRAIN, NONE)).astype(np.uint8)
    trained = with_gap(samples, codes) == TRAIN
    if len(np.unique(label[trained])) < len(np.unique(label[at])):  # a class would be lost
        return rows, np.zeros_like(held)
    return trained | held, held


def _validation(label: NDArray[Any], block: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    none = np.zeros(len(label), bool)
    if min(len(np.unique(block)), np.bincount(label).max()) < _VALIDATION_FOLDS:
        return none
    splitter = StratifiedGroupKFold(_VALIDATION_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        rest, held = next(splitter.split(label, label, block))
    if len(np.unique(label[rest])) < len(np.unique(label)):
        return none
    none[held] = True
    return none
