from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocube_ml.errors import InputError
from geocube_ml.kernels.objects import summed_up

STARTS = np.array([0, 4, 5, 7])


def test_statistics_of_partial_pixels_computed_by_hand():
    """Corner, two edges and the middle of a field that begins half a pixel in."""
    values = np.uint16([[10], [20], [30], [40], [7], [0], [0]])
    share = np.array([0.25, 0.5, 0.5, 1, 0.1, 1, 0.5])
    mean, median, std = (
        summed_up(values, share, STARTS, name, nodata=0)[:, 0] for name in ("mean", "median", "std")
    )
    # (2.5 + 10 + 15 + 40) / 2.25
    np.testing.assert_allclose(mean, [30, 7, np.nan], rtol=1e-12)
    # weights below: 0.25, 0.75, 1.25 of 2.25; half is 1.125
    np.testing.assert_array_equal(median, [30, 7, np.nan])
    # 0.25 * 400 + 0.5 * 100 + 0 + 1 * 100 = 250, / 2.25
    np.testing.assert_allclose(std, [np.sqrt(250 / 2.25), 0, np.nan], rtol=1e-12)


def test_a_median_between_two_values_is_their_mean():
    values = np.float32([[1], [2], [5], [9]])
    got = summed_up(values, np.array([0.5, 0.5, 1, 0.0001]), np.array([0, 4]), "median", np.nan)
    assert got[0, 0] == 5
    got = summed_up(values[:3], np.array([0.5, 0.5, 1]), np.array([0, 3]), "median", np.nan)
    assert got[0, 0] == 3.5


@given(st.data())
def test_whole_pixels_give_numpys_statistics_of_what_is_not_nodata(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    starts = np.append(0, np.cumsum(lengths))
    values = rng.integers(-3, 4, (starts[-1], 2, 3)).astype("int16")
    for name in ("mean", "median", "std"):
        got = summed_up(values, np.ones(len(values)), starts, name, nodata=-3)
        assert got.shape == (len(lengths), 2, 3)
        for i, _ in np.ndenumerate(np.empty((len(lengths), 2, 3))):
            one = values[(slice(starts[i[0]], starts[i[0] + 1]), *i[1:])].astype(float)
            kept = one[one != -3]
            want = getattr(np, name)(kept) if kept.size else np.nan
            assert got[i] == pytest.approx(want, abs=1e-12, nan_ok=True)


@given(st.integers(0, 10_000))
def test_a_pixel_counts_as_often_as_its_share_says(seed):
    """Shares of 1/4, 2/4, ... are as many quarters of a pixel each."""
    rng = np.random.default_rng(seed)
    values, quarters = rng.integers(1, 50, 7), rng.integers(1, 5, 7)
    every = np.repeat(values, quarters)
    for name in ("mean", "median", "std"):
        got = summed_up(values[:, None], quarters / 4, np.array([0, 7]), name, nodata=0)
        assert got[0, 0] == pytest.approx(getattr(np, name)(every), rel=1e-12)


def test_another_statistic_is_refused():
    with pytest.raises(InputError, match=r"no statistic 'mode'.*mean, median, std"):
        summed_up(np.ones((1, 1)), np.ones(1), np.array([0, 1]), "mode", nodata=0)
