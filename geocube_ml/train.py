"""Fit a model to rows of a sample table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from geocube_ml.data.folds import TRAIN, VALIDATION, count_polygons, split_codes, with_gap
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
        Rows to train on; by default those whose given split is ``train``, without one all but the
        hold-out of spatial blocks; and none that is nearer than the gap to what is held out.  Rows
        that weigh 0 are left out.
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
        A class has no row to train on, unless `lenient`; or there is no row at all.

    Notes
    -----
    A network stops early by the loss on the rows whose given split is ``validation``, on which no
    model is trained; without such, on spatial blocks that are held out of its training rows.  With
    fewer than seven blocks or rows of the largest class, or where a class lies in one block only,
    it trains its full length on all rows.
    """
    given = np.zeros(samples.sizes["sample"], bool)
    if rows is None:
        split = with_gap(samples, split_codes(samples))
        rows = split == TRAIN
        if not isinstance(spec, ForestSpec):  # it looks at them to know when to stop
            given = split == VALIDATION
    every = _weights(samples)
    rows, given = rows & (every > 0), given & (every > 0)
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    if not lenient:
        _check_classes(samples["label"].values[rows], classes)
    if not rows.any():
        raise InputError(
            f"None of the {len(every)} samples is trained on: all are held out, lie nearer to "
            "those than the gap, or weigh 0. Lower `samples.gap_m`, or correct the labels' weights."
        )
    rows = rows | given
    label = samples["label"].values[rows]
    # equal ones change nothing but the last bits
    weight = every[rows] if np.ptp(every[rows]) > 0 else None

    fit = Fit.model_validate(described(samples))
    series = fit.stacked({name: samples[name].values[rows] for name in fit.names})
    n_class = len(classes.names)
    if isinstance(spec, ForestSpec):
        classifier: Any = fit_forest(
            spec, series, label, n_class, layout=fit.layout, weight=weight, workers=workers
        )
        n_validation = 0
    else:
        held = given[rows]
        if not held.any():
            held = _validation(label, samples["block"].values[rows], spec.seed)
        n_validation = int(held.sum())
        classifier = fit_network(
            spec, series, label, n_class, validation=held, layout=fit.layout, weight=weight,
            note=note,
        )  # fmt: skip
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
            f"No training row of: {', '.join(empty)}; all its samples lie in the hold-out, nearer "
            "to it than the gap, or weigh 0. Take smaller blocks (`samples.block_m`), another "
            "`samples.seed`, another split, or leave the class out."
        )


def _weights(samples: xr.Dataset) -> NDArray[np.float32]:
    """How much each sample counts; 1 in a table that does not say it."""
    if "weight" not in samples:
        return np.ones(samples.sizes["sample"], np.float32)
    return samples["weight"].values.astype(np.float32)


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
