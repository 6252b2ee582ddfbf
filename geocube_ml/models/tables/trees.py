"""Forests and boosted trees as models, without the library that fitted them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from geocube_ml.kernels.trees import LEAF, Trees, float32_below
from geocube_ml.models.layout import Layout
from geocube_ml.models.tables.columns import check_classes, check_finite
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import BoostingSpec, ForestSpec

_AT_ONCE = 16_384  # rows; their columns and numbers are a few megabytes
_ARRAYS = (
    "first", "column", "feature", "threshold", "missing_left", "left", "right", "value",
)  # fmt: skip


@dataclass
class TreesModel:
    """Trees over the flattened series; each node says where missing values go.

    Parameters
    ----------
    spec : ForestSpec or BoostingSpec
        The answers of a forest's trees are averaged, those of boosted trees are summed.
    layout : Layout
    n_step : int
    target : Target
    trees : Trees
    baseline : (n_out,) float64
        What the sum begins with.
    classes : (k,) int64
        Codes of the classes that there were to learn; of a regression none.
    history : list of dict
        Of boosted trees the validation loss of each round, if there was one.
    """

    spec: ForestSpec | BoostingSpec
    layout: Layout
    n_step: int
    target: Target
    trees: Trees
    baseline: NDArray[np.float64]
    classes: NDArray[np.int64]
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        n_class, classes = self.target.n_class, self.classes
        check_classes(classes, n_class)
        n_out = _n_out(self.spec, classes)
        n_feature = self.layout.n_feature(self.n_step)
        if (self.trees.n_out, self.trees.n_feature) != (n_out, n_feature):
            raise ValueError(
                f"the trees have {self.trees.n_feature} columns and {self.trees.n_out} numbers, "
                f"by the description {n_feature} and {n_out}"
            )
        if self.baseline.shape != (n_out,) or not np.isfinite(self.baseline).all():
            raise ValueError(f"the baseline must be {n_out} finite numbers")
        if isinstance(self.spec, ForestSpec) and not len(self.trees.first):
            raise ValueError("the forest has no trees")

    @property
    def halo(self) -> int:
        """A series is judged by itself."""
        return 0

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        self.target.check(classes=True)
        found = self._sums(series)
        if isinstance(self.spec, BoostingSpec):
            found = _probabilities(found, len(self.classes))
        prob = np.zeros((len(series), self.target.n_class or 0), np.float32)
        prob[:, self.classes] = found  # classes that were not there to learn stay at 0
        return prob

    def predict(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n,) in the unit of the labels."""
        self.target.check(classes=False)
        return self._sums(series)[:, 0].astype(np.float32)

    def _sums(self, series: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, n_out) of all trees; of a forest their mean."""
        check_finite(series)
        out = np.tile(self.baseline, (len(series), 1))
        for start in range(0, len(series), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            self.trees.add(self.layout.flat(series[some]), out[some])
        return out / len(self.trees.first) if isinstance(self.spec, ForestSpec) else out

    def state(self) -> dict[str, NDArray[Any]]:
        """The trees, what their sum begins with, and the classes."""
        arrays = {name: getattr(self.trees, name) for name in _ARRAYS}
        return arrays | {"baseline": self.baseline, "classes": self.classes}

    def said(self) -> dict[str, Any]:
        """The course of the training, and how many columns there were."""
        return {"history": self.history, "columns": self.trees.n_feature}

    @classmethod
    def restored(
        cls, spec: ForestSpec | BoostingSpec, layout: Layout, n_step: int, target: Target,
        state: dict[str, NDArray[Any]], said: dict[str, Any],
    ) -> TreesModel:  # fmt: skip
        """What `state` and `said` were of.

        Raises
        ------
        ValueError, KeyError
            They do not fit each other, or are no trees.
        """
        classes = state["classes"]
        arrays = {name: state[name] for name in _ARRAYS}
        n_out = _n_out(spec, classes)
        trees = Trees(**arrays, n_feature=said["columns"], n_out=n_out)
        return cls(spec, layout, n_step, target, trees, state["baseline"], classes, said["history"])


def _n_out(spec: ForestSpec | BoostingSpec, classes: NDArray[np.int64]) -> int:
    """Numbers that the trees answer: two classes are one to boosted trees, the odds."""
    if isinstance(spec, BoostingSpec) and classes.size <= 2:
        return 1
    return max(classes.size, 1)


def _probabilities(sums: NDArray[np.float64], n_class: int) -> NDArray[np.float64]:
    """Of the sums of boosted trees."""
    if n_class == 1:
        return np.ones((len(sums), 1))
    if n_class == 2:
        second = expit(sums[:, 0])
        return np.stack([1 - second, second], axis=1)
    found: NDArray[np.float64] = softmax(sums, axis=1)
    return found


@dataclass
class Part:
    """One tree, its nodes counted from 0; children stand behind their parent.

    Parameters
    ----------
    column : int
        Of the answer, as of `Trees`.
    leaf : (node,) bool
    feature, threshold, missing_left, left, right : (node,)
        As of `Trees`, of no meaning in leaves.
    value : (leaf, width) float64
        What the leaves answer, in their order.
    """

    column: int
    leaf: NDArray[np.bool_]
    feature: NDArray[Any]
    threshold: NDArray[np.float64]
    missing_left: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    value: NDArray[np.float64]


def joined(parts: Sequence[Part], n_feature: int, n_out: int) -> Trees:
    """All trees in a row; each answer is kept once, as most leaves of a forest are of one class."""
    values = [part.value for part in parts] or [np.zeros((0, 1))]
    value, row = np.unique(np.concatenate(values), axis=0, return_inverse=True)
    size = np.array([len(part.leaf) for part in parts], np.int64)
    first = np.cumsum(size) - size
    shift = np.repeat(first, size)
    leaf = _column(parts, "leaf", np.bool_)
    left, right = (_column(parts, side, np.int64) + shift for side in ("left", "right"))
    left[leaf], right[leaf] = row.ravel(), 0
    threshold = _column(parts, "threshold", np.float64)
    return Trees(
        first,
        np.array([part.column for part in parts], np.int32),
        np.where(leaf, LEAF, _column(parts, "feature", np.int32)).astype(np.int32),
        np.where(leaf, 0, float32_below(threshold)).astype(np.float32),
        _column(parts, "missing_left", np.bool_) & ~leaf,
        left.astype(np.int32),
        right.astype(np.int32),
        value,
        n_feature,
        n_out,
    )


def _column(parts: Sequence[Part], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    found = [getattr(part, name) for part in parts]
    return np.concatenate([np.zeros(0, dtype), *found]).astype(dtype)
