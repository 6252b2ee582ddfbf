"""Fit any model of series to plain arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from geocube_ml.errors import InputError, TrainingStopped
from geocube_ml.files import Place
from geocube_ml.kernels.accuracy import confusion, macro_f1, overall_accuracy
from geocube_ml.kernels.calibration import fit_temperature, log_loss, soften
from geocube_ml.models.ensemble import EnsembleModel
from geocube_ml.models.layout import Layout
from geocube_ml.models.model import Model
from geocube_ml.models.network import NetworkModel, one_thread
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tables.boosting import fit_boosting
from geocube_ml.models.tables.forest import fit_forest
from geocube_ml.models.tables.rocket import fit_rocket
from geocube_ml.spec.base import digest
from geocube_ml.spec.models import (
    EnsembleSpec,
    ModelSpec,
    PatchSpec,
    SeriesSpec,
    SingleSpec,
    TableSpec,
)
from geocube_ml.spec.tables import BoostingSpec, ForestSpec, RocketSpec
from geocube_ml.train.curves import Watcher
from geocube_ml.train.feed import RowsFeed
from geocube_ml.train.losses import balanced_weights, make_loss
from geocube_ml.train.members import fit_members
from geocube_ml.train.rows import Rows

FEWEST_FOR_TEMPERATURE = 30  # held-out rows; of fewer a temperature is chance


@dataclass(frozen=True)
class Fitted:
    """A model, and what was learnt beside it."""

    model: Model
    temperature: float
    """That its probabilities are softened by, learnt on the validation rows; 1 without."""
    facts: dict[str, Any]
    """``n_train``, ``n_validation``, ``n_unobserved``: rows; ``validation``: scores on those."""

    def predict_proba(self, series: ArrayLike) -> NDArray[np.float32]:
        """(n, time, channel) physical values -> (n, class), raw, as `Model.predict_proba`."""
        return self.model.predict_proba(np.asarray(series, np.float32))


def fit_model(
    spec: ModelSpec,
    series: ArrayLike,
    label: ArrayLike,
    n_class: int | None = None,
    *,
    validation: ArrayLike | None = None,
    layout: Layout | None = None,
    weight: ArrayLike | None = None,
    refit: bool = True,
    workers: int = 1,
    folder: Place | None = None,
    watch: Watcher | None = None,
    progress: bool = False,
) -> Fitted:
    """Fit a model of series to arrays.

    Parameters
    ----------
    spec : spec of a model
        Of series, of a table, or an ensemble of both.
    series : (n, time, channel) floats
        Physical values, NaN where missing.
    label : (n,) integers or floats
        Integers are codes of classes, 0 to `n_class` - 1; floats are numbers in their unit, to
        which a regression is fitted.
    n_class : int, optional
        By default one more than the highest code.
    validation : (n,) bool, optional
        Rows that networks are not trained on: their loss decides when to stop.  Of every model they
        decide the temperature; models of tables, alone or in an ensemble, are then fitted again, to
        all rows.
    layout : Layout, optional
        Whose channels are where; all of one series by default.
    weight : (n,) floats, optional
        How much each row counts; none may be negative.  Rows that weigh 0 are left out.
    refit : bool
        Whether models of tables are fitted to the validation rows too, once the temperature is
        known.
    workers : int
        Threads of a model of tables; the result does not depend on their number.
    folder : path, optional
        Where checkpoints (a training that was stopped goes on there) and curves are kept.
    watch : callable, optional
        Told of each epoch: member and what the history says.
    progress : bool
        Show a bar.

    Returns
    -------
    Fitted

    Raises
    ------
    InputError
        Arrays that do not fit each other, infinite values, labels out of range, or nothing to
        learn from.
    TrainingStopped
        A network's loss is not a number.

    Notes
    -----
    Rows that were never observed (all NaN) are left out and counted.

    Examples
    --------
    >>> from geocube_ml.spec.models import ForestSpec
    >>> bright = np.arange(40) % 2
    >>> series = np.float32(bright[:, None, None] + np.zeros((40, 3, 2)))
    >>> fitted = fit_model(ForestSpec(trees=5), series, bright)
    >>> fitted.predict_proba(series[:2]).argmax(axis=1)
    array([0, 1])
    """
    if isinstance(spec, PatchSpec):
        raise InputError(
            f"{spec.kind} looks at what lies around a pixel, which series of single pixels do not "
            "say: give `train_model` the cube (`cube=`), or take a model of series."
        )
    rows = Rows.of(series, label, n_class, validation, layout, weight)
    _check_spec(spec, rows)
    held = rows.validation
    if isinstance(spec, EnsembleSpec):
        model: Model = _fit_ensemble(spec, rows, workers, folder, watch, progress)
    else:
        model = _fit_one(spec, rows, workers, folder, watch, progress)
    temperature, scores = _judged(model, rows)
    if refit and held.any():
        if isinstance(spec, TableSpec):
            model, held = _fit_table(spec, rows, workers, refit=True), np.zeros_like(held)
        elif isinstance(model, EnsembleModel):
            _refit_tables(model, rows, workers)
            if not any(isinstance(part, SeriesSpec) for part in model.spec.of.values()):
                held = np.zeros_like(held)
    facts = {
        "n_train": int((~held).sum()),
        "n_validation": int(held.sum()),
        "n_unobserved": rows.n_unobserved,
        "validation": scores,
    }
    return Fitted(model, temperature, facts)


def _check_spec(spec: ModelSpec, rows: Rows) -> None:
    """Refuse what a spec asks for classes where a number is estimated."""
    if rows.n_class is not None:
        return
    if isinstance(spec, EnsembleSpec):
        for name, part in spec.of.items():
            with _of_ensemble(name):
                _check_spec(part, rows)
    asked = {"loss": "cross-entropy", "sampling": "all", "class_weights": "equal"}
    for name, usual in asked.items():
        if getattr(spec, name, usual) != usual:
            raise InputError(
                f"`{name}: {getattr(spec, name)}` is of classes, but a number is estimated. Leave "
                "it out."
            )


def _fit_one(
    spec: SingleSpec, rows: Rows, workers: int, folder: Place | None, watch: Watcher | None,
    progress: bool,
) -> Model:  # fmt: skip
    """A model of one kind; no table learns from the validation rows yet."""
    if isinstance(spec, SeriesSpec):
        return _fit_networks(spec, rows, folder, watch, progress)
    return _fit_table(spec, rows, workers, refit=False)


def _fit_ensemble(
    spec: EnsembleSpec, rows: Rows, workers: int, folder: Place | None, watch: Watcher | None,
    progress: bool,
) -> EnsembleModel:  # fmt: skip
    """Its models one after the other; the networks of all of them are counted through."""
    parts: dict[str, Model] = {}
    before = 0
    for name, part in spec.parts.items():
        watch_part = None if watch is None else _counted_from(before, watch)
        own = None if folder is None else folder / name
        with _of_ensemble(name):
            parts[name] = _fit_one(part, rows, workers, own, watch_part, progress)
        before += getattr(part, "members", 0)
    return EnsembleModel(spec, parts)


@contextlib.contextmanager
def _of_ensemble(name: str) -> Iterator[None]:
    """Name the model of an ensemble that is wrong."""
    try:
        yield
    except TrainingStopped as error:  # it has the last good network: it comes out as it is
        error.add_note(f"It is {name}, of the ensemble.")
        raise
    except InputError as error:
        raise InputError(f"{name}, of the ensemble: {error}") from error


def _counted_from(first: int, watch: Watcher) -> Watcher:
    def told(member: int, said: dict[str, Any]) -> None:
        watch(first + member, said)

    return told


def _refit_tables(model: EnsembleModel, rows: Rows, workers: int) -> None:
    """Fit those models of an ensemble to all rows that need none to validate."""
    for name, part in model.spec.parts.items():
        if isinstance(part, TableSpec):
            model.parts[name] = _fit_table(part, rows, workers, refit=True)


def _fit_table(spec: TableSpec, rows: Rows, workers: int, *, refit: bool) -> Model:
    """To all rows, or to those that do not validate."""
    some = rows if refit or isinstance(spec, BoostingSpec) else rows.only(~rows.validation)
    arguments: dict[str, Any] = {"layout": rows.layout, "weight": some.weight, "workers": workers}
    match spec:
        case ForestSpec():
            return fit_forest(spec, some.series, some.label, some.n_class, **arguments)
        case BoostingSpec():  # the validation rows say how many rounds there are
            return fit_boosting(
                spec, some.series, some.label, some.n_class, validation=some.validation,
                refit=refit, **arguments,
            )  # fmt: skip
        case RocketSpec():
            return fit_rocket(spec, some.series, some.label, some.n_class, **arguments)


def _fit_networks(
    spec: SeriesSpec, rows: Rows, folder: Place | None, watch: Watcher | None, progress: bool
) -> NetworkModel:
    """A network a member."""
    n_train = int((~rows.validation).sum())
    if n_train < 2:  # a batch is normalized by its own spread
        raise InputError(
            f"A network needs at least 2 rows to train on, got {n_train}. Label more polygons, or "
            "take a forest."
        )
    target, layout = rows.target(), rows.layout
    scaling = Scaling.learn(rows.series[~rows.validation])
    if rows.n_class is None:
        values = torch.from_numpy(target.standardized(rows.label))
    else:
        values = torch.from_numpy(rows.label.astype(np.int64))
    weight = None if rows.weight is None else torch.from_numpy(rows.weight)
    of_class = None
    if spec.class_weights == "balanced" and rows.n_class is not None:
        of_class = balanced_weights(rows.label[~rows.validation], rows.n_class)
    loss, n_step = make_loss(spec, target, of_class), rows.series.shape[1]

    def feed_of(seed: int) -> RowsFeed:
        return RowsFeed.of(
            rows.series, scaling, values, weight, rows.validation, layout, spec, seed
        )

    what = ""
    if folder is not None:
        what = digest([spec.result(), rows.digest(), repr(layout), rows.n_class])
    with one_thread():  # a step on a hundred series is too small to share
        networks, histories = fit_members(
            lambda: build_network(spec, layout, n_step, target.n_out), feed_of, loss, spec, target,
            digest=what, folder=folder, watch=watch, progress=progress,
        )  # fmt: skip
    return NetworkModel(spec, layout, n_step, target, scaling, networks, histories)


def _judged(model: Model, rows: Rows) -> tuple[float, dict[str, float]]:
    """The temperature that makes a model as sure as it is right, and its scores, on validation."""
    held = rows.validation
    if not held.any():
        return 1.0, {}
    series, label = rows.series[held], rows.label[held]
    if rows.n_class is None:
        error = model.predict(series) - label
        return 1.0, {"rmse": float(np.sqrt((error**2).mean())), "bias": float(error.mean())}
    prob, temperature = model.predict_proba(series), 1.0
    if held.sum() >= FEWEST_FOR_TEMPERATURE:
        weight = None if rows.weight is None else rows.weight[held]
        temperature = fit_temperature(prob, label, weight)
    matrix = confusion(label, prob.argmax(axis=1), rows.n_class)
    scores = {
        "overall": overall_accuracy(matrix),
        "macro_f1": macro_f1(matrix),
        "log_loss": log_loss(soften(prob, temperature), label),
    }
    return temperature, scores
