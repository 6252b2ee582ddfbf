from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.kernels.applicability import (
    dissimilarity,
    filled_features,
    learn_known,
    nearest,
)


def cloud(n=300, seed=0):
    """Rows around four centres, one fold each but the last, which two folds share."""
    rng = np.random.default_rng(seed)
    fold = np.arange(n) % 5
    centre = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 1, 0], [1, 1, 0]])[fold]
    rows = centre + rng.normal(0, 0.2, (n, 3)) * [1, 1, 0] + [100, -5, 7]
    return (rows * [1, 50, 1]).astype("float32"), fold


def test_the_index_is_that_of_the_definition():
    """Standardized, the nearest row of training over the mean distance of two rows."""
    rows, fold = cloud()
    known = learn_known(rows, fold)
    new = rows[:40] + np.random.default_rng(1).normal(0, 1, (40, 3)).astype("float32")
    spread = rows.std(axis=0)
    spread[2] = np.inf  # a constant says nothing
    a, b = ((x - rows.mean(axis=0)) / spread for x in (rows, new))
    far = np.sqrt(((b[:, None] - a[None]) ** 2).sum(axis=2)).min(axis=1)
    pairs = np.sqrt(((a[:, None] - a[None]) ** 2).sum(axis=2))
    apart = pairs[np.triu_indices(len(a), 1)].mean()
    np.testing.assert_allclose(dissimilarity(new, known), far / apart, rtol=2e-3, atol=1e-4)
    own = np.array([pairs[k][fold != fold[k]].min() for k in range(len(a))]) / apart
    low, high = np.percentile(own, [25, 75])
    want = own[own <= high + 1.5 * (high - low)].max()
    assert known.threshold == pytest.approx(want, rel=2e-3)


def test_training_rows_have_no_distance_and_far_ones_are_above_the_threshold():
    rows, fold = cloud()
    known = learn_known(rows, fold)
    assert dissimilarity(rows, known).max() < 1e-3
    far = dissimilarity(rows + np.float32([10, 0, 0]), known)
    assert (far > known.threshold).all()
    assert (far > 1).all()


def test_a_feature_of_no_weight_does_not_count():
    rows, fold = cloud()
    known = learn_known(rows, fold, weight=np.array([1, 0, 1]))
    assert dissimilarity(rows + np.float32([0, 900, 0]), known).max() < 1e-3


def test_a_missing_feature_counts_as_the_mean_of_training():
    rows, fold = cloud()
    known = learn_known(rows, fold)
    odd, mean = rows[:5].copy(), rows[:5].copy()
    odd[:, 0], mean[:, 0] = np.nan, rows[:, 0].mean()
    np.testing.assert_allclose(dissimilarity(odd, known), dissimilarity(mean, known), atol=1e-5)


def test_gaps_are_on_straight_lines_and_ends_hold():
    series = np.float32([[[np.nan], [2], [np.nan], [4], [np.nan]], [[np.nan]] * 5])
    filled = filled_features(series)
    assert filled[0, :, 0].tolist() == [2, 2, 3, 4, 4]
    assert np.isnan(filled[1]).all()


def test_the_nearest_does_not_depend_on_how_many_are_compared_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    rows, others = rng.random((50, 8), np.float32), rng.random((30, 8), np.float32)
    whole = nearest(rows, others)
    monkeypatch.setattr("geocube_ml.kernels.applicability._PAIRS", 64)
    np.testing.assert_allclose(nearest(rows, others), whole)


def test_kept_rows_follow_the_seed_and_few_of_them_change_little():
    rows, fold = cloud(3000)
    all_of, some = learn_known(rows, fold), learn_known(rows, fold, most=1000, seed=1)
    assert len(some.rows) == 1000
    assert some.apart == pytest.approx(all_of.apart, rel=0.05)
    again = learn_known(rows, fold, most=1000, seed=1)
    np.testing.assert_array_equal(again.rows, some.rows)


def test_a_fold_of_one_row_is_kept_among_many():
    rows, _ = cloud(3000)
    fold = np.zeros(3000, int)
    fold[2500] = 1
    known = learn_known(rows, fold, most=50)
    assert len(known.rows) == 50
    assert np.isfinite(known.threshold)


@pytest.mark.parametrize(
    ("rows", "fold", "said"),
    [
        (np.eye(4, dtype="float32"), np.zeros(4, int), "two folds"),
        (np.ones((4, 2), "float32"), np.arange(4), "all training rows are alike"),
    ],
)
def test_one_fold_or_rows_that_are_alike_are_refused(rows, fold, said):
    with pytest.raises(ValueError, match=said):
        learn_known(rows, fold)
