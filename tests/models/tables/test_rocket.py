from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from geocube_ml.kernels.minirocket import features
from geocube_ml.models.layout import Layout
from geocube_ml.models.tables import rocket as module
from geocube_ml.models.tables.rocket import RocketModel, fit_rocket
from geocube_ml.models.target import Target
from geocube_ml.spec.tables import RocketSpec
from tests.seasons import make_series

SPEC = RocketSpec(features=84 * 3)
LAYOUT = Layout((3,))


@pytest.fixture(scope="module")
def series():
    return make_series(160)


@pytest.fixture(scope="module")
def model(series):
    return fit_rocket(SPEC, *series, 4)


def test_it_learns_seasonal_curves(model):
    x, label = make_series(100, seed=1)
    prob = model.predict_proba(x)
    assert (prob.dtype, prob.shape) == (np.float32, (100, 4))
    np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-6)
    assert (prob.argmax(axis=1) == label).mean() > 0.9


def test_an_answer_does_not_depend_on_the_series_beside_it(model, series, monkeypatch):
    x, _ = series
    want = model.predict_proba(x)
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    np.testing.assert_array_equal(model.predict_proba(x), want)
    np.testing.assert_array_equal(model.predict_proba(x[31:32]), want[31:32])


def test_probabilities_are_the_softmax_of_features_times_weights(model, series):
    x, _ = series
    inputs = model.scaling.apply(x)
    assert model.seen.tolist() == [0, 1, 2, 3]  # the bands, and what was observed
    answers = features(model.filters, inputs).astype(float) @ model.weight + model.intercept
    want = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(x), want, atol=1e-6)


def test_flags_that_are_the_same_everywhere_are_seen_by_no_filter(series):
    x, label = series
    full = np.where(np.isnan(x), np.float32(0.2), x)
    full[:, :, 1] = 7
    got = fit_rocket(SPEC, full, label, 4)
    assert got.seen.tolist() == [0, 2]
    np.testing.assert_allclose(got.predict_proba(x).sum(axis=1), 1, rtol=1e-6)


def test_a_static_channel_goes_beside_the_features():
    x, _ = make_series(160)
    height = np.random.default_rng(0).normal(500, 200, 160).astype("float32")
    label = (height > 500).astype(int)
    height[:20] = np.nan
    both = np.concatenate([x, np.repeat(height[:, None, None], 6, axis=1)], axis=2)
    got = fit_rocket(SPEC, both, label, 2, layout=Layout((3,), (1,)))
    assert got.weight.shape == (84 * 3 + 2, 2)  # and whether it is known
    assert (got.predict_proba(both)[20:].argmax(axis=1) == label[20:]).mean() > 0.9
    one = both.copy()
    one[:, 3:, 3] = -1  # it is taken from the first step
    np.testing.assert_array_equal(got.predict_proba(one), got.predict_proba(both))


@pytest.mark.parametrize("n_step", [1, 2, 9])
def test_short_series_can_be_told_apart(n_step):
    rng = np.random.default_rng(0)
    label = np.arange(120) % 3
    x = (label[:, None, None] + rng.normal(0, 0.2, (120, n_step, 2))).astype("float32")
    got = fit_rocket(SPEC, x, label, 3)
    assert (got.predict_proba(x).argmax(axis=1) == label).mean() > 0.95


def test_series_that_are_constant_or_missing_are_answered_by_the_shares_of_the_classes():
    label = np.where(np.arange(100) < 75, 0, 1)
    for value in (5, np.nan):
        x = np.full((100, 6, 2), value, np.float32)
        prob = fit_rocket(SPEC, x, label, 2).predict_proba(x)
        np.testing.assert_allclose(prob, np.tile(np.float32([0.75, 0.25]), (100, 1)), atol=0.02)


def test_classes_that_were_never_seen_get_nothing(series):
    x, label = series
    for codes in ([1, 3], [2]):
        some = np.isin(label, codes)
        prob = fit_rocket(SPEC, x[some], label[some], 6).predict_proba(x)
        assert (prob[:, np.setdiff1d(range(6), codes)] == 0).all()
        assert (prob[some].argmax(axis=1) == label[some]).mean() > 0.9


def test_rows_that_weigh_more_are_answered_more_often():
    x = np.zeros((100, 6, 1), np.float32)
    label = np.where(np.arange(100) < 50, 0, 1)
    weight = np.where(label == 1, 9.0, 1.0)
    prob = fit_rocket(SPEC, x, label, 2, weight=weight).predict_proba(x)
    assert prob[0, 1] == pytest.approx(0.9, abs=0.02)
    none = fit_rocket(SPEC, x, label, 2, weight=label.astype(float))
    assert (none.predict_proba(x)[:, 1] == 1).all()  # rows of weight 0 are not there
    even = SPEC.model_copy(update={"class_weights": "balanced"})
    few = np.where(np.arange(100) < 90, 0, 1)
    assert fit_rocket(even, x, few, 2).predict_proba(x)[0, 1] == pytest.approx(0.5, abs=0.02)


def test_probabilities_are_honest_where_series_say_nothing():
    """Scaled on rows left out: on those it learnt the ridge would be sure."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 12, 1)).astype("float32")
    prob = fit_rocket(SPEC, x, rng.integers(2, size=150), 2).predict_proba(x)
    assert prob.max() < 0.8


def test_numbers_are_answered_in_their_unit(series):
    x, label = series
    wanted = 300 + 40.0 * label
    got = fit_rocket(SPEC, x, wanted, None)
    assert np.abs(got.predict(x) - wanted).mean() < 12
    state = got.state()
    again = RocketModel.restored(SPEC, LAYOUT, 6, got.target, state, got.said())
    np.testing.assert_array_equal(again.predict(x), got.predict(x))


def test_a_seed_and_threads_leave_the_answers_as_they_are(model, series):
    x, label = series
    same = fit_rocket(SPEC, x, label, 4, workers=2)
    np.testing.assert_allclose(same.predict_proba(x), model.predict_proba(x), atol=1e-5)
    np.testing.assert_array_equal(same.filters.bias, model.filters.bias)
    other = fit_rocket(SPEC.model_copy(update={"seed": 1}), x, label, 4)
    assert not np.array_equal(other.filters.bias, model.filters.bias)


def test_what_was_kept_answers_to_the_last_bit(model, series, tmp_path):
    x, _ = series
    safetensors.numpy.save_file(model.state(), tmp_path / "weights.safetensors")
    state = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    again = RocketModel.restored(SPEC, LAYOUT, 6, Target(4), state, model.said())
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert set(again.said()) == {"penalty", "scale"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", np.zeros((252, 3), np.float32)),
        ("weight", np.full((252, 4), np.nan, np.float32)),
        ("intercept", np.zeros(3)),
        ("mean", np.zeros(2, np.float32)),
        ("seen", np.int64([0, 1, 2, 4])),
        ("seen", np.int64([0, 1, 2])),
        ("classes", np.int64([0, 1, 2, 9])),
        ("bias", np.zeros(84, np.float32)),
    ],
)
def test_a_state_that_does_not_fit_is_refused(model, name, value):
    with pytest.raises(ValueError, match=r"."):
        RocketModel.restored(
            SPEC, LAYOUT, 6, Target(4), model.state() | {name: value}, model.said()
        )


def test_input_that_nothing_can_be_learnt_from_is_refused(series, model):
    x, label = series
    damaged = x.copy()
    damaged[3, 2] = np.inf
    with pytest.raises(ValueError, match="3 of 2880 values of the series are infinite"):
        fit_rocket(SPEC, damaged, label, 4)
    with pytest.raises(ValueError, match="3 of 2880 values of the series are infinite"):
        model.predict_proba(damaged)
    with pytest.raises(ValueError, match="needs a source with a time axis"):
        fit_rocket(SPEC, x[:, :1], label, 4, layout=Layout((), (3,)))
