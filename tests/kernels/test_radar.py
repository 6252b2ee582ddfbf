from __future__ import annotations

from math import log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.radar import to_decibel, to_power

NODATA = [-9999.0, 0.0, 1.0, np.nan]
decibels = st.floats(-60, 40, width=32)


def same(value, nodata):
    return value == nodata or (value != value and nodata != nodata)


@pytest.mark.parametrize("nodata", NODATA)
@given(data=st.data())
def test_power_is_ten_to_a_tenth_of_the_decibels(nodata, data):
    values = data.draw(npst.arrays("float32", 6, elements=decibels | st.just(nodata)))
    got = to_power(values, nodata)
    assert got.dtype == np.float32
    for value, before in zip(got.tolist(), values.tolist(), strict=True):
        assert same(value, nodata) == same(before, nodata)
        if not same(before, nodata):
            assert value == pytest.approx(10 ** (before / 10), rel=3e-6)


@pytest.mark.parametrize("nodata", NODATA)
@given(data=st.data())
def test_decibels_are_ten_logarithms_of_what_is_above_zero(nodata, data):
    powers = st.floats(2.0**-20, 2.0**14, width=32) | st.floats(-2, 0, width=32) | st.just(1)
    values = data.draw(npst.arrays("float32", 6, elements=powers | st.just(nodata)))
    got = to_decibel(values, nodata)
    assert got.dtype == np.float32
    for value, before in zip(got.tolist(), values.tolist(), strict=True):
        data_before = before > 0 and not same(before, nodata)
        assert same(value, nodata) != data_before
        if data_before:
            assert value == pytest.approx(10 * log10(before), rel=1e-6, abs=1e-6)


@given(npst.arrays("float32", npst.array_shapes(min_dims=0, min_side=0), elements=decibels))
def test_there_and_back_is_where_it_was(values):
    back = to_decibel(to_power(values, -9999), -9999)
    assert back.shape == values.shape
    np.testing.assert_allclose(back, values, atol=2e-5)


def test_conversions_by_hand():
    assert to_power(np.float32([-20, 0, 30, -9999]), -9999).tolist() == pytest.approx(
        [0.01, 1, 1000, -9999], rel=1e-6
    )
    got = to_decibel(np.float32([0.01, 1, 1000, 0, -1, np.nan, -9999]), -9999)
    assert got.tolist() == pytest.approx([-20, 0, 30, -9999, -9999, -9999, -9999], rel=1e-6)


def test_a_power_of_one_stays_data_where_nodata_is_zero():
    got = to_decibel(np.float32([1, 0]), nodata=0).tolist()
    assert got[0] != 0
    assert got == pytest.approx([0, 0], abs=1e-30)
