import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.kernels.doubt import against, class_distance, farther, votes


def test_distance_is_numpys_median_of_other_groups_medians_in_the_classs_spread():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(90, 7))
    series[rng.random(series.shape) < 0.3] = np.nan
    group = rng.integers(0, 27, 90)
    label = group % 3
    got = class_distance(series, label, group, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of groups without a value
        voices = {one: np.nanmedian(series[group == one], axis=0) for one in np.unique(group)}
    for row in range(90):
        for code in range(3):
            every = np.stack([voices[one] for one in voices if one % 3 == code])
            others = np.stack([voices[one] for one in voices
                               if one % 3 == code and one != group[row]])  # fmt: skip
            spread = 1.4826 * np.nanmedian(np.abs(every - np.nanmedian(every, axis=0)), axis=0)
            far = np.abs(series[row] - np.nanmedian(others, axis=0)) / spread
            np.testing.assert_allclose(got[row, code], np.nanmean(far), rtol=1e-5)
    assert np.isnan(got[:, 3]).all()


def test_a_large_group_does_not_vouch_for_itself():
    """60 of 100 series of a class are one wrong field."""
    rng = np.random.default_rng(0)
    group = np.r_[np.zeros(60, int), 1 + np.arange(40) // 10, 5 + np.arange(100) // 10]
    label = (group >= 5).astype(int)
    middle = np.where((group == 0) | (group >= 5), 1.0, 0.0)
    series = middle[:, None] + rng.normal(0, 0.05, (200, 6))
    doubt = farther(class_distance(series, label, group, 2), label)
    assert doubt[:60].min() > 0.8
    assert doubt[60:].max() < 0.3


def test_a_class_of_equal_series_and_a_band_that_never_changes_are_finite():
    series = np.array([[1.0, 5], [1, 5], [2, 5], [3, 5]])
    got = class_distance(series, np.array([0, 0, 1, 1]), np.arange(4), 2)
    assert np.isfinite(got).all()
    assert got[0, 0] == 0 < got[2, 0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8))
def test_votes_are_those_of_the_k_nearest_of_other_groups(seed, k):
    rng = np.random.default_rng(seed)
    n, m = 12, 9
    group, label = rng.integers(0, 4, 30), rng.integers(0, 3, 30)
    found, own = rng.integers(0, 30, (n, m)), rng.integers(0, 4, n)
    got = votes(found, own, group, label, k, 3)
    for row in range(n):
        others = [label[at] for at in found[row] if group[at] != own[row]][:k]
        want = np.bincount(others, minlength=3) / max(len(others), 1) if others else np.zeros(3)
        np.testing.assert_allclose(got[row], want, rtol=1e-6)


def test_more_for_another_class_is_more_doubt():
    share = np.stack([1 - np.linspace(0, 1, 9), np.linspace(0, 1, 9)], axis=1)
    label = np.zeros(9, int)
    for doubt in (against(share, label), farther(share[:, ::-1], label)):
        assert (np.diff(doubt) > 0).all()
        assert (doubt[0], doubt[4], doubt[-1]) == (0, 0.5, 1)
