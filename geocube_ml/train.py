"""Fit a model to rows of a sample table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from geocube_ml.data.samples import HOLDOUT, count_polygons
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit
from geocube_ml.models.forest import fit_forest
from geocube_ml.models.network import fit_network
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ForestSpec, ModelSpec

_VALIDATION_FOLDS = 7
"""One of so many folds of the training rows decides when to stop."""


def train_model(
    samples: xr.Dataset,
    spec: ModelSpec,
    *,
    name: str | None = None,
    rows: NDArray[np.bool_] | None = None,
    lenient: bool = False,
    workers: int = 1,
    note: Callable[[int, int], None] | None = None,
) -> ModelBundle:
    """Fit a model.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    spec : TempCNNSpec or ForestSpec
    name : str, optional
        Of the model; its kind by default.
    rows : (sample,) bool, optional
        Rows to train on; all but the hold-out of spatial blocks by default.
    lenient : bool
        Train even if a class has no row; the model then never answers with it.
    workers : int
        Threads of a forest.
    note : callable, optional
        Told how many epochs are done.

    Returns
    -------
    ModelBundle

    Raises
    ------
    InputError
        A class has no row to train on, unless `lenient`.

    Notes
    -----
    A network stops early by the loss on spatial blocks that are held out of its training rows;
    with fewer than seven blocks or rows of the largest class, or where a class lies in one block
    only, it trains its full length on all rows.
    """
    if rows is None:
        rows = samples["fold_block"].values != HOLDOUT
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    label = samples["label"].values[rows]
    if not lenient:
        _check_classes(label, classes)

    fit = Fit.model_validate(described(samples))
    series = fit.stacked({name: samples[name].values[rows] for name in fit.names})
    n_class = len(classes.names)
    if isinstance(spec, ForestSpec):
        classifier: Any = fit_forest(
            spec, series, label, n_class, layout=fit.layout, workers=workers
        )
        n_validation = 0
    else:
        held = _validation(label, samples["block"].values[rows], spec.seed)
        n_validation = int(held.sum())
        classifier = fit_network(
            spec, series, label, n_class, validation=held, layout=fit.layout, note=note
        )
    facts = {
        "n_train": len(label) - n_validation,
        "n_validation": n_validation,
        "train_polygons": count_polygons(samples, rows),
    }
    return ModelBundle(name or spec.kind, classifier, fit, classes, facts)


def _check_classes(label: NDArray[Any], classes: ClassScheme) -> None:
    count = np.bincount(label, minlength=len(classes.names))
    empty = [name for name, n in zip(classes.names, count, strict=True) if n == 0]
    if empty:
        raise InputError(
            f"No training row of: {', '.join(empty)}; all its samples lie in the hold-out. Take "
            "smaller blocks (`samples.block_m`), another `samples.seed`, or leave the class out."
        )


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
