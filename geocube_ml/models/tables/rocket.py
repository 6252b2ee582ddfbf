"""MiniRocket (Dempster et al. 2021): a ridge on the features of `kernels.minirocket`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits

from geocube_ml.errors import InputError
from geocube_ml.kernels.minirocket import Filters, draw_filters, features, weighed
from geocube_ml.models.layout import Layout
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tables.columns import check_classes, check_finite, check_labels, row_weights
from geocube_ml.models.tables.ridge import fit_ridge
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import RocketSpec

_AT_ONCE = 4_096  # series that are standardized at a time
_FEW = 128  # series whose features a thread makes at a time

_FILTERS = ("dilation", "each", "channel", "end", "bias")


@dataclass
class RocketModel:
    """Filters over the standardized series, and the weights of what they find.

    Where values are missing the series are 0, the mean, and filters see flags of what was observed
    too, if that differed between the series that were learnt.  What has no time axis goes beside
    the features.

    Parameters
    ----------
    spec : RocketSpec
    layout : Layout
    n_step : int
    target : Target
    scaling : Scaling
    seen : (k,) int64
        Which channels of `Scaling.apply` the filters see.
    filters : Filters
    weight : (column, k) float32
        Of the features, then of the channels without a time axis and their flags.
    intercept : (k,) float64
    classes : (k,) int64
        Codes of the classes that there were to learn; of a regression none.
    facts : dict
        The ridge's penalty, and what its answers were multiplied by to become probabilities.
    """

    spec: RocketSpec
    layout: Layout
    n_step: int
    target: Target
    scaling: Scaling
    seen: NDArray[np.int64]
    filters: Filters
    weight: NDArray[np.float32]
    intercept: NDArray[np.float64]
    classes: NDArray[np.int64]
    facts: dict[str, float]

    def __post_init__(self) -> None:
        n_class, classes = self.target.n_class, self.classes
        check_classes(classes, n_class)
        n_out = len(classes) if n_class is not None else 1
        shape = (len(self.filters.bias) + len(_static(self.layout)), n_out)
        if self.weight.shape != shape or self.intercept.shape != (n_out,):
            raise ValueError(
                f"weights {self.weight.shape} and {self.intercept.shape} in the file, "
                f"{shape} and {(n_out,)} by the description"
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.intercept).all()):
            raise ValueError("a weight is no number")
        shapes = (self.scaling.mean.shape, self.scaling.std.shape)
        if shapes != ((self.layout.n_channel,),) * 2:
            raise ValueError(f"the scaling's bands: {shapes} of {self.layout.n_channel}")
        if self.seen.dtype != np.int64 or not np.isin(self.seen, _moving(self.layout)).all():
            raise ValueError(f"the filters see channels {self.seen.tolist()}, which are no series")

    @property
    def halo(self) -> int:
        """A series is judged by itself."""
        return 0

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        self.target.check(classes=True)
        prob = np.zeros((len(series), self.target.n_class or 0), np.float32)
        prob[:, self.classes] = softmax(self._answers(series), axis=1)
        return prob

    def predict(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n,) in the unit of the labels."""
        self.target.check(classes=False)
        return self.target.physical(self._answers(series)[:, 0])

    def _answers(self, series: NDArray[np.float32]) -> NDArray[np.float64]:
        check_finite(series)
        out = np.tile(self.intercept, (len(series), 1))
        n_feature, static = len(self.filters.bias), _static(self.layout)
        for start in range(0, len(series), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            inputs = self.scaling.apply(series[some], self.layout.sizes)
            weighed(self.filters, inputs[:, self.seen], self.weight[:n_feature], out[some])
            # one sum a row: BLAS would make it depend on the rows beside it
            out[some] += np.einsum("ns,sk->nk", inputs[:, static, 0], self.weight[n_feature:])
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """The scaling, filters and weights."""
        found: dict[str, NDArray[Any]] = {name: getattr(self.filters, name) for name in _FILTERS}
        return found | {
            "mean": self.scaling.mean,
            "std": self.scaling.std,
            "seen": self.seen,
            "weight": self.weight,
            "intercept": self.intercept,
            "classes": self.classes,
        }

    def said(self) -> dict[str, Any]:
        """What was chosen."""
        return dict(self.facts)

    @classmethod
    def restored(
        cls, spec: RocketSpec, layout: Layout, n_step: int, target: Target,
        state: dict[str, NDArray[Any]], said: dict[str, Any],
    ) -> RocketModel:  # fmt: skip
        """What `state` and `said` were of.

        Raises
        ------
        ValueError, KeyError
            They do not fit each other.
        """
        seen = state["seen"]
        arrays = {name: state[name] for name in _FILTERS}
        filters = Filters(**arrays, n_channel=len(seen), n_step=n_step)
        scaling = Scaling(state["mean"], state["std"])
        learnt = {name: state[name] for name in ("weight", "intercept", "classes")}
        return cls(spec, layout, n_step, target, scaling, seen, filters, **learnt, facts=said)


def fit_rocket(
    spec: RocketSpec,
    series: NDArray[np.float32],
    label: NDArray[Any],
    n_class: int | None,
    *,
    layout: Layout | None = None,
    weight: NDArray[np.floating[Any]] | None = None,
    workers: int = 1,
    validation: NDArray[np.bool_] | None = None,  # noqa: ARG001  every table model has it
) -> RocketModel:
    """Fit MiniRocket and a ridge.

    Parameters
    ----------
    spec : RocketSpec
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) integer, or float of a regression
        Codes 0 to `n_class` - 1, or numbers.
    n_class : int or None
        None for a regression.
    layout : Layout, optional
        Whose channels are where, of one series by default.
    weight : (n,) float, optional
        How much each row counts in the ridge; series of weight 0 are left out.
    workers : int
        Threads; answers depend on their number by rounding only.
    validation : (n,) bool, optional
        Of no use here: the ridge judges itself on each row without having learnt it.

    Returns
    -------
    RocketModel
        Probabilities are the softmax of the ridge's answers, 1 for a class and -1 for the others,
        times the number that gives the rows that were left out the lowest log loss.

    Raises
    ------
    InputError
        Values are infinite, labels are no codes or numbers, or no channel has a time axis.
    """
    layout = layout or Layout((series.shape[2],))
    if not layout.series:
        raise InputError("MiniRocket needs a source with a time axis. Take a forest or boosting.")
    check_finite(series)
    check_labels(label, n_class, len(series))
    counts = row_weights(label, n_class, spec.class_weights, weight)
    if counts is not None:
        counted = counts > 0
        series, label, counts = series[counted], label[counted], counts[counted]
    scaling = Scaling.learn(series)
    inputs = scaling.apply(series, layout.sizes)
    seen = _differing(inputs, _moving(layout))
    filters = draw_filters(inputs[:, seen], spec.features, spec.seed)
    static = inputs[:, _static(layout), 0]
    moving = np.ascontiguousarray(inputs[:, seen])

    def rows(some: slice) -> NDArray[np.float32]:
        parts = np.array_split(moving[some], -(-len(moving[some]) // _FEW))
        found = list(pool.map(lambda part: features(filters, part), parts))
        return np.concatenate([np.concatenate(found), static[some]], axis=1)

    classes = np.zeros(0, np.int64) if n_class is None else np.unique(label).astype(np.int64)
    if n_class is None:
        target = Target.of_values(label)
        wanted = target.standardized(label).astype(np.float64)[:, None]
    else:
        target = Target(n_class)
        wanted = np.where(label[:, None] == classes, 1.0, -1.0)
    with ThreadPoolExecutor(workers) as pool, threadpool_limits(workers, user_api="blas"):
        ridge = fit_ridge(rows, len(series), wanted, counts)
    facts = {"penalty": ridge.penalty}
    scale = 1.0
    if n_class is not None:
        scale = facts["scale"] = _scale(ridge.left_out, np.searchsorted(classes, label), counts)
    return RocketModel(
        spec,
        layout,
        series.shape[1],
        target,
        scaling,
        seen,
        filters,
        (scale * ridge.weight).astype(np.float32),
        scale * ridge.intercept,
        classes,
        facts,
    )


def _moving(layout: Layout) -> NDArray[np.int64]:
    """Channels of `Scaling.apply` that change with time: bands, and a flag a series."""
    flags = layout.n_channel + np.arange(len(layout.series))
    return np.concatenate([np.arange(layout.n_series), flags])


def _static(layout: Layout) -> NDArray[np.int64]:
    """Channels of `Scaling.apply` that do not."""
    every = np.arange(layout.n_channel + len(layout.sizes))
    return np.setdiff1d(every, _moving(layout))


def _differing(inputs: NDArray[np.float32], channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those that are not the same everywhere; if all are, the first."""
    some = inputs[:, channels]
    differing = some.max(axis=(0, 2)) > some.min(axis=(0, 2))
    return channels[differing] if differing.any() else channels[:1]


def _scale(
    answers: NDArray[np.float64], place: NDArray[np.int64], counts: NDArray[np.float64] | None
) -> float:
    """What (n, k) answers are multiplied by before the softmax, for the lowest log loss."""

    def loss(log_scale: float) -> float:
        of_label = log_softmax(np.exp(log_scale) * answers, axis=1)[np.arange(len(place)), place]
        return -float(np.average(of_label, weights=counts))

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))
