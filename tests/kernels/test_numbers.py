"""Errors of numbers, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geocube_ml.kernels.numbers import ERRORS, errors_of_numbers, sums_of_numbers

LABEL = np.array([10.0, 20.0, 30.0, 40.0])
ESTIMATE = np.array([12.0, 20.0, 27.0, 46.0])


def told(estimate, label, about=0.0):
    sums = sums_of_numbers(estimate, label, np.zeros(len(label), int), 1, about)[0]
    return {name: float(value) for name, value in errors_of_numbers(sums).items()}


def test_figures_of_four_rows_by_hand():
    # errors 2, 0, -3, 6; squares 4, 0, 9, 36; the labels' squares about 25: 225, 25, 25, 225
    assert told(ESTIMATE, LABEL) == pytest.approx(
        {"rmse": 3.5, "mae": 2.75, "bias": 1.25, "r2": 1 - 49 / 500}
    )


@given(
    pairs=hnp.arrays(
        float, st.tuples(st.integers(2, 30), st.just(2)), elements=st.floats(-1e3, 1e3)
    ),
    about=st.floats(-1e3, 1e3),
)
def test_figures_follow_from_the_sums_of_groups(pairs, about):
    label, estimate = np.round(pairs.T, 3)
    group = np.arange(len(label)) % 3
    sums = sums_of_numbers(estimate, label, group, 3, about)
    got, error = errors_of_numbers(sums.sum(axis=0)), estimate - label
    spread = ((label - label.mean()) ** 2).sum()
    assert got["rmse"] == pytest.approx(np.sqrt((error**2).mean()), abs=1e-9)
    assert got["mae"] == pytest.approx(np.abs(error).mean(), abs=1e-9)
    assert got["bias"] == pytest.approx(error.mean(), abs=1e-9)
    if spread > 1e-3:
        assert got["r2"] == pytest.approx(1 - (error**2).sum() / spread, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("same", [0.1, 250.3, -7.0])
def test_labels_that_are_all_equal_have_no_r2(same):
    label = np.full(17, same)
    got = told(label + 2, label, about=3.3)
    assert np.isnan(got["r2"])
    assert got["rmse"] == pytest.approx(2)


def test_far_from_zero_the_digits_are_kept():
    label = LABEL + 1e8
    assert told(ESTIMATE + 1e8, label, about=label.mean())["r2"] == pytest.approx(1 - 49 / 500)


def test_no_rows_have_no_figures():
    got = errors_of_numbers(np.zeros((2, 6)))
    assert set(got) == set(ERRORS)
    assert all(np.isnan(value).all() for value in got.values())
