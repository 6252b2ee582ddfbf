"""Gradient boosting over histograms (Ke et al. 2017, NeurIPS 30); fitted by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from geocube_ml.kernels.trees import Trees
from geocube_ml.models.layout import Layout
from geocube_ml.models.tables.columns import check_finite, check_labels, row_weights
from geocube_ml.models.tables.trees import Part, TreesModel, joined
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import BoostingSpec


def fit_boosting(
    spec: BoostingSpec,
    series: NDArray[np.float32],
    label: NDArray[Any],
    n_class: int | None,
    *,
    layout: Layout | None = None,
    weight: NDArray[np.floating[Any]] | None = None,
    workers: int = 1,
    validation: NDArray[np.bool_] | None = None,
    refit: bool = True,
) -> TreesModel:
    """Fit boosted trees.

    Parameters
    ----------
    spec : BoostingSpec
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) integer, or float of a regression
        Codes 0 to `n_class` - 1, or numbers.
    n_class : int or None
        None for a regression.
    layout : Layout, optional
        Whose channels are where, of one series by default.
    weight : (n,) float, optional
        How much each row counts in the loss; rows of weight 0 are left out.
    workers : int
        Threads; the trees do not depend on their number.
    validation : (n,) bool, optional
        Rows that decide how many rounds there are: those with the lowest loss on them, when fitted
        on the others.  Then so many rounds are fitted.  Without, all rounds are.
    refit : bool
        Whether these rounds are fitted to the validation rows too.

    Returns
    -------
    TreesModel
        Its history is the validation loss of each round; that of round 0 is the baseline's.

    Raises
    ------
    InputError
        Values are infinite, or labels are no codes or numbers.
    """
    layout = layout or Layout((series.shape[2],))
    check_finite(series)
    check_labels(label, n_class, len(series))
    columns = layout.flat(series)
    counts = row_weights(label, n_class, spec.class_weights, weight)
    if counts is not None:
        counted = counts > 0
        columns, label, counts = columns[counted], label[counted], counts[counted]
        validation = None if validation is None else validation[counted]
    rounds, history = spec.rounds, list[dict[str, float]]()
    with threadpool_limits(workers, user_api="openmp"):
        if validation is not None and validation.any():
            rounds, history = _rounds(spec, columns, label, n_class, counts, validation)
            if not refit:
                columns, label = columns[~validation], label[~validation]
                counts = None if counts is None else counts[~validation]
        classes = np.zeros(0, np.int64) if n_class is None else np.unique(label).astype(np.int64)
        target = Target.of_values(label) if n_class is None else Target(n_class)
        if len(classes) == 1:  # nothing to tell apart
            trees, baseline = joined([], columns.shape[1], 1), np.zeros(1)
            return TreesModel(spec, layout, series.shape[1], target, trees, baseline, classes)
        boosting = _boosting(spec, n_class, rounds)
        boosting.fit(_searchable(columns), label, sample_weight=counts)
    trees = _trees(boosting, columns.shape[1])
    baseline = boosting._baseline_prediction.astype(np.float64).ravel()
    return TreesModel(spec, layout, series.shape[1], target, trees, baseline, classes, history)


def _boosting(spec: BoostingSpec, n_class: int | None, rounds: int, **more: Any) -> Any:
    kind = HistGradientBoostingRegressor if n_class is None else HistGradientBoostingClassifier
    return kind(
        max_iter=rounds,
        learning_rate=spec.learning_rate,
        max_leaf_nodes=spec.leaves,
        min_samples_leaf=spec.min_leaf,
        random_state=spec.seed,
        **({"early_stopping": False} | more),
    )


def _searchable(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Columns without a value become 0: they are split as little, and the library takes them."""
    return np.where(np.isnan(columns).all(axis=0), np.float32(0), columns)


def _rounds(
    spec: BoostingSpec, columns: NDArray[np.float32], label: NDArray[Any], n_class: int | None,
    counts: NDArray[np.float64] | None, validation: NDArray[np.bool_],
) -> tuple[int, list[dict[str, float]]]:  # fmt: skip
    """How many rounds have the lowest loss on the validation rows, and all the losses."""
    learnt = ~validation
    judged = validation
    if n_class is not None:  # no row of the validation part can be right that no class is learnt of
        judged = validation & np.isin(label, label[learnt])
        if len(np.unique(label[learnt])) < 2:
            return spec.rounds, []
    if not learnt.any() or not judged.any():
        return spec.rounds, []
    boosting = _boosting(
        spec, n_class, spec.rounds, early_stopping=True, n_iter_no_change=spec.patience, tol=0
    )
    boosting.fit(
        _searchable(columns[learnt]),
        label[learnt],
        sample_weight=None if counts is None else counts[learnt],
        X_val=columns[judged],
        y_val=label[judged],
        sample_weight_val=None if counts is None else counts[judged],
    )
    loss = -boosting.validation_score_
    history = [{"round": float(at), "loss": float(value)} for at, value in enumerate(loss)]
    return max(int(loss.argmin()), 1), history


def _trees(boosting: Any, n_feature: int) -> Trees:
    """The trees of histogram gradient boosting, round by round, a class after the other."""
    parts = []
    for round_ in boosting._predictors:
        for column, predictor in enumerate(round_):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            parts.append(
                Part(
                    column, leaf, nodes["feature_idx"], nodes["num_threshold"],
                    nodes["missing_go_to_left"], nodes["left"], nodes["right"],
                    nodes["value"][leaf, None],
                )
            )  # fmt: skip
    return joined(parts, n_feature, boosting.n_trees_per_iteration_)
