"""Forests and boosted trees answer as the library that fitted them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from geocube_ml.models.layout import Layout
from geocube_ml.models.tables.boosting import fit_boosting
from geocube_ml.models.tables.forest import fit_forest
from geocube_ml.models.tables.trees import TreesModel
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import BoostingSpec, ForestSpec
from tests.seasons import make_series

FOREST = ForestSpec(trees=6, seed=3)
BOOSTING = BoostingSpec(rounds=8, min_leaf=5, seed=3)
KINDS = ["forest", "boosting"]
LAYOUT = Layout((3,))


def learnt(n_class, gaps):
    """Series and labels: classes, or a number in the hundreds."""
    x, label = make_series(160)
    label = label.astype(int)
    if not gaps:
        x = np.where(np.isnan(x), np.float32(0.2), x)
    if n_class is None:
        return x, 300 + 40 * label + 100 * np.nan_to_num(x[:, 2, 0])
    return x, label % n_class


def fitted(kind, x, label, n_class, **more):
    if kind == "forest":
        return fit_forest(FOREST, x, label, n_class, **more)
    return fit_boosting(BOOSTING, x, label, n_class, **more)


def peers(kind, x, label, n_class):
    """What the library says itself."""
    columns = x.reshape(len(x), -1)
    if kind == "forest":
        made = RandomForestRegressor if n_class is None else RandomForestClassifier
        return made(6, random_state=3).fit(columns, label)
    made = HistGradientBoostingRegressor if n_class is None else HistGradientBoostingClassifier
    return made(
        max_iter=8, min_samples_leaf=5, random_state=3, early_stopping=False
    ).fit(columns, label)  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return fitted(request.param, *learnt(4, gaps=True), 4)


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize("n_class", [2, 4, None])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_library_where_values_are_missing_too(kind, n_class, gaps):
    """Values that were never missing in training are missing in half of the rows."""
    x, label = learnt(n_class, gaps)
    peer = peers(kind, x, label, n_class)
    rows = np.concatenate([x, learnt(n_class, gaps=True)[0][::-1]])
    rows[-1] = np.nan
    got = fitted(kind, x, label, n_class)
    columns = rows.reshape(len(rows), -1)
    if n_class is None:
        np.testing.assert_allclose(got.predict(rows), peer.predict(columns), rtol=1e-6)
    else:
        prob = got.predict_proba(rows)
        assert prob.dtype == np.float32
        np.testing.assert_allclose(prob, peer.predict_proba(columns), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_was_never_seen_gets_nothing(kind):
    x, label = learnt(4, gaps=True)
    for codes in ([1, 3], [0, 2, 3], [2]):
        some = np.isin(label, codes)
        prob = fitted(kind, x[some], label[some], 6).predict_proba(x)
        assert prob.shape == (160, 6)
        assert (prob[:, np.setdiff1d(range(6), codes)] == 0).all()
        np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-6)
        assert (prob[some].argmax(axis=1) == label[some]).mean() > 0.9


def test_nothing_depends_on_the_threads():
    x, label = learnt(2, gaps=True)
    short = BoostingSpec(rounds=2, min_leaf=5)
    for fit, spec in ((fit_forest, FOREST), (fit_boosting, short)):
        one, two = (fit(spec, x, label, 2, workers=w).state() for w in (1, 2))
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_without_values_and_values_without_steps_are_no_obstacle(kind):
    x, label = learnt(4, gaps=True)
    x[:, 2], x[:, 3] = np.nan, 7
    held = np.arange(160) % 4 == 0
    x[~held, 1] = np.nan  # no value where the rounds are learnt
    got = fitted(kind, x, label, 4, validation=held)
    assert (got.predict_proba(x).argmax(axis=1) == label).mean() > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_weigh_more_are_answered_more_often(kind):
    x = np.zeros((100, 2, 1), np.float32)  # no series says which
    label = np.where(np.arange(100) < 50, 0, 1)
    weight = np.where(label == 1, 9, 1).astype("float32")
    got = fitted(kind, x, label, 2, weight=weight)
    assert got.predict_proba(x)[0, 1] == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_weight_0_are_not_answered(kind):
    x, label = learnt(4, gaps=True)
    x[label != 0, 2] = np.nan  # a step that only they have
    weight = np.where(label == 0, 0.0, 1.0)
    got = fitted(kind, x, label, 4, weight=weight, validation=np.arange(160) % 4 == 0)
    assert (got.predict_proba(x)[:, 0] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_weights_count_the_classes_equally(kind):
    x = np.zeros((100, 2, 1), np.float32)
    label = np.where(np.arange(100) < 90, 0, 1)
    fit = fit_forest if kind == "forest" else fit_boosting
    spec = FOREST if kind == "forest" else BOOSTING
    even = fit(spec.model_copy(update={"class_weights": "balanced"}), x, label, 2)
    assert even.predict_proba(x)[0, 1] == pytest.approx(0.5, abs=0.15)
    assert fit(spec, x, label, 2).predict_proba(x)[0, 1] == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_values_and_labels_that_are_none_are_refused(kind):
    x, label = learnt(4, gaps=True)
    x[3, 2] = np.inf
    with pytest.raises(ValueError, match="3 of 2880 values of the series are infinite"):
        fitted(kind, x, label, 4)
    x[3, 2] = 0
    with pytest.raises(ValueError, match="codes must be 0 to 2, got 0 to 3"):
        fitted(kind, x, label, 3)
    with pytest.raises(ValueError, match="1 of 160 numbers to learn are not finite"):
        fitted(kind, x, np.where(np.arange(160) == 4, np.nan, 1.0), None)
    with pytest.raises(ValueError, match="got 160 and 159"):
        fitted(kind, x, label[1:], 4)
    with pytest.raises(ValueError, match="got -1 to 1"):
        fitted(kind, x, label, 4, weight=np.where(label == 0, -1, 1))


def test_a_static_channel_is_one_column():
    x, label = learnt(4, gaps=True)
    height = np.repeat(label[:, None, None].astype("float32"), x.shape[1], axis=1)
    both = np.concatenate([x, height], axis=2)
    got = fit_forest(FOREST, both, label, 4, layout=Layout((3,), (1,)))
    assert got.trees.n_feature == 3 * 6 + 1
    columns = np.concatenate([x.reshape(160, -1), label[:, None]], axis=1).astype("float32")
    want = RandomForestClassifier(6, random_state=3).fit(columns, label).predict_proba(columns)
    np.testing.assert_allclose(got.predict_proba(both), want, atol=1e-6)


def test_the_specs_reach_the_trees():
    x, label = learnt(4, gaps=True)
    got = fit_forest(ForestSpec(trees=3, min_leaf=60), x, label, 4)
    assert len(got.trees.first) == 3
    assert len(got.trees.feature) <= 9  # 160 rows make two leaves of 60
    got = fit_boosting(BoostingSpec(rounds=3, leaves=2, min_leaf=5), x, label, 4)
    assert len(got.trees.first) == 12  # a tree a class a round
    assert len(got.trees.feature) == 36  # of a split each


def test_validation_rows_decide_the_rounds_and_all_rows_are_learnt():
    x, label = learnt(4, gaps=True)
    held = np.arange(160) % 4 == 0
    noisy = np.where(held, np.roll(label, 1), label)  # what is learnt does not hold there
    spec = BoostingSpec(rounds=30, patience=3, min_leaf=5)
    got = fit_boosting(spec, x, noisy, 4, validation=held)
    loss = [said["loss"] for said in got.history]
    rounds = max(int(np.argmin(loss)), 1)
    assert len(loss) < 31  # it stopped
    assert len(got.trees.first) == 4 * rounds
    same = fit_boosting(BoostingSpec(rounds=rounds, min_leaf=5), x, noisy, 4)
    np.testing.assert_array_equal(got.predict_proba(x), same.predict_proba(x))
    assert len(fit_boosting(spec, x, label, 4).trees.first) == 120


@pytest.mark.parametrize("of", ["all", "one class learnt", "classes not learnt"])
def test_validation_rows_that_say_nothing_stop_nothing(of):
    x, label = learnt(4, gaps=True)
    held = {
        "all": np.ones(160, bool),
        "one class learnt": label > 0,
        "classes not learnt": label > 1,
    }[of]
    spec = BoostingSpec(rounds=2, min_leaf=5)
    assert len(fit_boosting(spec, x, label, 4, validation=held).trees.first) == 8


def test_what_was_kept_answers_to_the_last_bit(model, tmp_path):
    x, _ = learnt(4, gaps=True)
    safetensors.numpy.save_file(model.state(), tmp_path / "weights.safetensors")
    state = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    again = TreesModel.restored(model.spec, LAYOUT, 6, Target(4), state, model.said())
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", np.int64([0, 1, 2])),
        ("classes", np.int64([0, 1, 2, 4])),
        ("classes", np.int64([0, 2, 1, 3])),
        ("classes", np.zeros(0, np.int64)),
        ("classes", np.float64([0, 1, 2, 3])),
        ("baseline", np.zeros(5)),
        ("baseline", np.full(4, np.nan)),
        ("left", np.zeros(3, np.int32)),
        ("feature", None),
    ],
)
def test_a_state_that_does_not_fit_is_refused(model, name, value):
    state = model.state()
    state[name] = state[name] + np.int32(18) if value is None else value
    with pytest.raises(ValueError, match=r"."):
        TreesModel.restored(model.spec, LAYOUT, 6, Target(4), state, model.said())


def test_a_description_that_does_not_fit_is_refused(model):
    for layout, n_step, target in (
        (Layout((2,)), 6, Target(4)),
        (LAYOUT, 5, Target(4)),
        (LAYOUT, 6, Target(3)),
        (LAYOUT, 6, Target(None)),
    ):
        with pytest.raises(ValueError, match=r"."):
            TreesModel.restored(model.spec, layout, n_step, target, model.state(), model.said())
