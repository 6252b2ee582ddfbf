from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from geocube_ml.kernels.calibration import (
    FLOOR,
    calibration_error,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    row_losses,
    soften,
)


def drawn(n, true_temperature, n_class=5, seed=0):
    """Labels drawn from softened logits, and the probabilities of the logits as they are."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, n_class))
    honest = softmax(logits / true_temperature)
    label = (honest.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return softmax(logits).astype("float32"), label.astype("uint8")


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_by_which_labels_were_drawn_is_found(true):
    prob, label = drawn(20_000, true)
    assert fit_temperature(prob, label) == pytest.approx(true, rel=0.06)


def test_no_other_temperature_has_a_lower_loss():
    prob, label = drawn(500, 2.0)
    best = fit_temperature(prob, label)
    loss = log_loss(soften(prob, best), label)
    for other in (0.3, 0.8 * best, 0.97 * best, 1.03 * best, 1.3 * best, 8):
        assert log_loss(soften(prob, other), label) > loss


def test_the_calibration_error_of_an_overconfident_model_falls_on_other_rows():
    prob, label = drawn(4000, 3.0)
    temperature = fit_temperature(prob[:2000], label[:2000])
    before = expected_calibration_error(prob[2000:], label[2000:])
    after = expected_calibration_error(soften(prob[2000:], temperature), label[2000:])
    assert before > 0.1
    assert after < 0.04


def test_softening_changes_no_class_and_sums_to_one():
    prob, _ = drawn(300, 1.0)
    for temperature in (0.2, 3.0, 20.0):
        soft = soften(prob, temperature)
        np.testing.assert_array_equal(soft.argmax(axis=1), prob.argmax(axis=1))
        np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(soften(prob, 1), prob)


def test_a_forest_that_says_never_of_what_happens_has_a_finite_loss():
    prob = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], "float32")
    label = np.array([0, 0, 0, 1])
    assert log_loss(prob, label) == pytest.approx(-np.log(FLOOR) / 4, rel=1e-6)
    temperature = fit_temperature(prob, label)
    # softened, it says what happens: 3 in 4
    assert soften(prob, temperature)[0, 0] == pytest.approx(0.75, abs=0.01)


def test_where_every_row_is_right_the_temperature_has_an_end():
    prob = np.tile(np.float32([0.6, 0.4]), (50, 1))
    assert fit_temperature(prob, np.zeros(50, int)) == pytest.approx(0.2, rel=0.01)


def test_weights_decide_and_rows_that_say_nothing_do_not():
    prob, label = drawn(2000, 2.0)
    odd = prob.copy()
    odd[:500] = np.nan
    assert fit_temperature(odd, label) == pytest.approx(fit_temperature(prob[500:], label[500:]))
    weight = np.r_[np.zeros(500), np.ones(1500)]
    assert fit_temperature(prob, label, weight) == pytest.approx(
        fit_temperature(prob[500:], label[500:]), rel=1e-4
    )
    unknown = np.where(np.arange(2000) < 500, 255, label)
    assert log_loss(prob, unknown) == pytest.approx(log_loss(prob[500:], label[500:]))


def test_without_a_row_or_a_second_class_nothing_is_learnt():
    nothing = np.empty((0, 3), "float32")
    assert fit_temperature(nothing, np.empty(0, int)) == 1
    assert fit_temperature(np.ones((4, 1), "float32"), np.zeros(4, int)) == 1
    assert fit_temperature(np.full((2, 2), np.nan, "float32"), np.zeros(2, int)) == 1
    assert np.isnan(log_loss(nothing, np.empty(0, int)))
    assert np.isnan(expected_calibration_error(nothing, np.empty(0, int)))


def test_the_log_loss_is_scikit_learns():
    prob, label = drawn(400, 1.0)
    prob = np.maximum(prob, 2 * FLOOR)
    prob /= prob.sum(axis=1, keepdims=True)
    want = metrics.log_loss(label, prob, labels=range(5))
    assert log_loss(prob, label) == pytest.approx(want, rel=1e-5)
    assert row_losses(prob, label).mean() == pytest.approx(want, rel=1e-5)


def test_the_calibration_error_is_that_of_a_plain_loop():
    prob, label = drawn(700, 2.0)
    sure, right = prob.max(axis=1), prob.argmax(axis=1) == label
    want = 0.0
    for low in np.arange(15) / 15:
        here = (sure > low) & (sure <= low + 1 / 15 + 1e-9)
        if here.any():
            want += here.mean() * abs(sure[here].mean() - right[here].mean())
    assert expected_calibration_error(prob, label) == pytest.approx(want, abs=1e-6)


def test_groups_are_counted_by_themselves_and_add_up():
    prob, label = drawn(300, 1.0)
    group = np.arange(300) % 7
    each = reliability(prob, label, 10, group)
    assert each.shape == (7, 3, 10)
    np.testing.assert_allclose(each.sum(axis=0), reliability(prob, label, 10))
    one = reliability(prob[group == 3], label[group == 3], 10)
    np.testing.assert_allclose(each[3], one)
    np.testing.assert_allclose(calibration_error(each)[3], calibration_error(one))
