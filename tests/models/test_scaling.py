from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.models.scaling import Scaling

VALUES = st.one_of(st.just(np.nan), st.floats(-4, 4, width=32))


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays("float32", npst.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=VALUES)
)
def test_mean_and_spread_are_numpys_of_what_was_observed(series):
    got = Scaling.learn(series)
    for band in range(series.shape[2]):
        seen = series[..., band][~np.isnan(series[..., band])].astype("float64")
        mean, std = (seen.mean(), seen.std()) if seen.size else (0, 1)
        np.testing.assert_allclose(got.mean[band], mean, atol=1e-6)
        if seen.size and (seen == seen[0]).all():
            std = 1
        np.testing.assert_allclose(got.std[band], std, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays("float32", npst.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=VALUES)
)
def test_what_reaches_a_network_is_finite_and_says_which_months_are_missing(series):
    n, months, bands = series.shape
    got = Scaling.learn(series).apply(series)
    assert got.shape == (n, bands + 1, months)
    assert got.dtype == "float32"
    assert got.flags.c_contiguous
    assert np.isfinite(got).all()
    missing = np.isnan(series)
    assert (got[:, :-1][missing.transpose(0, 2, 1)] == 0).all()
    np.testing.assert_array_equal(got[:, -1] == 0, missing.all(axis=2))


def test_two_bands_scaled_by_hand():
    series = np.float32([[[1, 7], [3, 7]], [[np.nan, np.nan], [5, 7]]])  # (pixel, month, band)
    scaling = Scaling.learn(series)
    assert scaling.mean.tolist() == [3, 7]
    np.testing.assert_allclose(scaling.std, [np.sqrt(8 / 3), 1])
    got = scaling.apply(series)
    far = 2 / np.sqrt(8 / 3)
    np.testing.assert_allclose(
        got, [[[-far, 0], [0, 0], [1, 1]], [[0, far], [0, 0], [0, 1]]], rtol=1e-6
    )


def test_each_source_has_a_channel_that_says_where_it_was_observed():
    """Two sources, of two bands and of one, at three steps; counted by hand."""
    nan = np.nan
    series = np.float32([[[1, nan, nan], [nan, nan, 5], [nan, nan, nan]]])
    got = Scaling.learn(series).apply(series, (2, 1))
    assert got.shape == (1, 3 + 2, 3)
    assert got[0, 3:].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert Scaling.learn(series).apply(series)[0, 3].tolist() == [1, 1, 0]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1234.567])
def test_a_constant_band_is_not_blown_up(value):
    series = np.full((997, 7, 1), value, "float32")
    scaling = Scaling.learn(series)
    assert scaling.std.tolist() == [1]
    assert np.abs(scaling.apply(series + np.float32(0.5))[:, 0]).max() < 0.6


def test_scaling_is_learnt_without_its_validation_rows(series, network):
    x, _ = series
    held = np.arange(len(x)) % 5 == 0
    want = Scaling.learn(x[~held])
    np.testing.assert_array_equal(network.scaling.mean, want.mean)
    np.testing.assert_array_equal(network.scaling.std, want.std)
    assert not np.array_equal(want.mean, Scaling.learn(x).mean)
