from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.models.forest import fit_forest
from geocube_ml.models.layout import Layout
from geocube_ml.spec.models import ForestSpec
from tests.seasons import NAMES, curves

N = len(NAMES)
TREES = ForestSpec(trees=8)


def test_the_forest_does_not_depend_on_its_threads(series):
    x, label = series
    one, two = (fit_forest(TREES, x, label, N, workers=w) for w in (1, 2))
    np.testing.assert_array_equal(one.predict_proba(x), two.predict_proba(x))
    assert two.forest.n_jobs == 1  # prediction is parallel over tiles


def test_the_spec_reaches_the_forest(series):
    x, label = series
    got = fit_forest(ForestSpec(trees=3, min_leaf=50, seed=4), x, label, N).forest
    assert (got.n_estimators, got.min_samples_leaf, got.random_state) == (3, 50, 4)
    assert min(tree.tree_.weighted_n_node_samples.min() for tree in got.estimators_) >= 50


def test_a_class_that_was_never_seen_gets_nothing(series):
    x, label = series
    some = np.isin(label, [1, 3])
    prob = fit_forest(TREES, x[some], label[some], N + 2).predict_proba(x)
    assert prob.shape == (len(x), N + 2)
    assert (prob[:, [0, 2, 4, 5]] == 0).all()
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-6)
    assert (prob[some].argmax(axis=1) == label[some]).mean() > 0.9


def test_a_month_that_nobody_saw_is_no_obstacle(series):
    x, label = series
    dark = x.copy()
    dark[:, 2] = np.nan
    got = fit_forest(TREES, dark, label, N)
    np.testing.assert_allclose(got.predict_proba(dark).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(got.predict_proba(x).sum(axis=1), 1, rtol=1e-6)


def test_months_missing_only_in_prediction(series):
    x, label = series
    full = np.where(np.isnan(x), 0.2, x).astype("float32")
    prob = fit_forest(TREES, full, label, N).predict_proba(x)
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-6)


def test_a_static_channel_is_taken_once(series):
    """Not once a step, or a draw of features would take it six times as often."""
    x, label = series
    height = np.repeat(label[:, None, None].astype("float32"), x.shape[1], axis=1)
    both = np.concatenate([x, height], axis=2)
    got = fit_forest(TREES, both, label, N, layout=Layout((3,), (1,)))
    assert got.forest.n_features_in_ == 3 * 6 + 1
    features = np.concatenate([x.reshape(len(x), -1), label[:, None]], axis=1)
    want = got.forest.predict_proba(features.astype("float32"))
    np.testing.assert_array_equal(got.predict_proba(both), want.astype("float32"))


def test_it_learns_seasonal_curves():
    rng = np.random.default_rng(0)
    label = np.arange(600) % N
    x = (1e-4 * (curves(label, 12, 4, N) + rng.normal(0, 300, (600, 12, 4)))).astype("float32")
    x[rng.random((600, 12)) < 0.3] = np.nan
    got = fit_forest(ForestSpec(trees=40), x[:400], label[:400], N)
    assert (got.predict_proba(x[400:]).argmax(axis=1) == label[400:]).mean() > 0.9


def test_rows_that_weigh_more_are_answered_more_often(series):
    x, _ = series
    mixed = np.where(np.arange(len(x)) % 2 == 0, 0, 1)  # no series says which
    weight = np.where(mixed == 1, 9, 1).astype("float32")
    got = fit_forest(ForestSpec(trees=20, min_leaf=40), x, mixed, 2, weight=weight)
    assert got.predict_proba(x)[:, 1].mean() == pytest.approx(0.9, abs=0.03)
