"""Random forest (Breiman 2001, Machine Learning 45), the baseline; fitted by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from geocube_ml.kernels.trees import Trees
from geocube_ml.models.layout import Layout
from geocube_ml.models.tables.columns import check_finite, check_labels, row_weights
from geocube_ml.models.tables.trees import Part, TreesModel, joined
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import ForestSpec


def fit_forest(
    spec: ForestSpec,
    series: NDArray[np.float32],
    label: NDArray[Any],
    n_class: int | None,
    *,
    layout: Layout | None = None,
    weight: NDArray[np.floating[Any]] | None = None,
    workers: int = 1,
    validation: NDArray[np.bool_] | None = None,  # noqa: ARG001  every table model has it
) -> TreesModel:
    """Fit a random forest.

    Parameters
    ----------
    spec : ForestSpec
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) integer, or float of a regression
        Codes 0 to `n_class` - 1, or numbers.
    n_class : int or None
        None for a regression.
    layout : Layout, optional
        Whose channels are where, of one series by default.
    weight : (n,) float, optional
        How much each row counts: in the choice of splits, and in the answers of the leaves.
    workers : int
        Threads; the forest does not depend on their number.
    validation : (n,) bool, optional
        Of no use here: a forest has nothing to stop, and learns from all rows.

    Returns
    -------
    TreesModel

    Raises
    ------
    InputError
        Values are infinite, or labels are no codes or numbers.
    """
    layout = layout or Layout((series.shape[2],))
    check_finite(series)
    check_labels(label, n_class, len(series))
    columns = layout.flat(series)
    kind = RandomForestRegressor if n_class is None else RandomForestClassifier
    forest = kind(
        spec.trees, min_samples_leaf=spec.min_leaf, random_state=spec.seed, n_jobs=workers
    )
    counts = row_weights(label, n_class, spec.class_weights, weight)
    forest.fit(columns, label, sample_weight=counts)
    classes = np.zeros(0, np.int64) if n_class is None else forest.classes_.astype(np.int64)
    target = Target.of_values(label) if n_class is None else Target(n_class)
    trees = _trees(forest, columns.shape[1])
    baseline = np.zeros(trees.n_out)
    return TreesModel(spec, layout, series.shape[1], target, trees, baseline, classes)


def _trees(forest: Any, n_feature: int) -> Trees:
    """The trees of a random forest."""
    parts = []
    for one in forest.estimators_:
        tree = one.tree_
        nodes = tree.__getstate__()["nodes"]
        leaf = nodes["left_child"] < 0
        parts.append(
            Part(
                0, leaf, nodes["feature"], nodes["threshold"], nodes["missing_go_to_left"],
                nodes["left_child"], nodes["right_child"],
                tree.value[leaf, 0],
            )
        )  # fmt: skip
    return joined(parts, n_feature, parts[0].value.shape[1])
