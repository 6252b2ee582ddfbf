from __future__ import annotations

import numpy as np

from geocube_ml.kernels.bootstrap import interval, resampled_sums


def test_a_resample_is_whole_groups_with_replacement():
    """Each group has a digit of its own, so that a sum tells how often each was drawn."""
    sums = 10.0 ** np.arange(6)[:, None]
    drawn = resampled_sums(sums, 200, np.random.default_rng(0))[:, 0]
    digits = np.array([[int(one) // 10**k % 10 for k in range(6)] for one in drawn])
    assert (digits.sum(axis=1) == 6).all()
    assert 0.8 < digits.mean(axis=0).min() < digits.mean(axis=0).max() < 1.2


def test_a_seed_draws_the_same_groups_whatever_the_sums_are():
    rng = np.random.default_rng(1)
    a, b = rng.random((40, 2, 2)), rng.random((40, 3))
    both = resampled_sums(np.c_[a.reshape(40, 4), b], 50, np.random.default_rng(7))
    np.testing.assert_allclose(
        resampled_sums(a, 50, np.random.default_rng(7)), both[:, :4].reshape(50, 2, 2)
    )
    np.testing.assert_allclose(resampled_sums(b, 50, np.random.default_rng(7)), both[:, 4:])
    other = resampled_sums(b, 50, np.random.default_rng(8))
    assert not np.allclose(other, both[:, 4:])


def test_the_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch):
    sums = np.random.default_rng(0).random((30, 4))
    whole = resampled_sums(sums, 100, np.random.default_rng(3))
    monkeypatch.setattr("geocube_ml.kernels.bootstrap._AT_ONCE", 70)
    np.testing.assert_allclose(resampled_sums(sums, 100, np.random.default_rng(3)), whole)


def test_intervals_hold_the_truth_about_as_often_as_they_say_and_rows_alone_do_not():
    """40 groups of 25 rows; all rows of a group are mostly alike."""
    rng = np.random.default_rng(0)
    held, by_row = 0, 0
    n_trial = 300
    for _ in range(n_trial):
        of_group = rng.beta(3, 1, 40)  # mean 0.75
        right = rng.random((40, 25)) < of_group[:, None]
        sums = np.stack([right.sum(axis=1), np.full(40, 25)], axis=1).astype(float)
        drawn = resampled_sums(sums, 300, rng)
        low, high = interval(drawn[:, 0] / drawn[:, 1], right.mean())
        held += low <= 0.75 <= high
        error = np.sqrt(right.mean() * (1 - right.mean()) / right.size)
        by_row += abs(right.mean() - 0.75) <= 1.96 * error
    assert 0.9 < held / n_trial < 0.985
    assert by_row / n_trial < 0.8


def test_an_interval_holds_its_estimate_and_is_none_where_resamples_have_no_figure():
    values = np.c_[np.linspace(0.2, 0.4, 101), np.full(101, np.nan), np.linspace(0, 1, 101)]
    values[:4, 2] = np.nan
    ends = interval(values, np.array([0.1, 0.5, 0.5]))
    assert ends[0, 0] == 0.1
    assert 0.39 < ends[1, 0] < 0.4
    assert np.isnan(ends[:, 1]).all()
    assert np.isfinite(ends[:, 2]).all()
    values[:6, 2] = np.nan
    assert np.isnan(interval(values, 0.5)[:, 2]).all()
