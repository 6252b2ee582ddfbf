from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.composite import _STRIP, _exchanges, clear_mean, clear_median

NODATA = {"uint8": 255, "uint16": 0, "int16": -9999, "float32": -1.0}


def median(values, clear, nodata):
    """What `clear_median` should say, a pixel at a time."""
    out = np.full(values.shape[1:], nodata, values.dtype)
    for at in np.ndindex(out.shape):
        kept = values[:, *at][clear[:, *at]]
        if kept.size and np.issubdtype(values.dtype, np.integer):
            out[at] = np.floor(np.median(kept))
        elif kept.size:
            out[at] = np.median(kept)
    return out


@pytest.mark.parametrize("dtype", NODATA)
@settings(max_examples=60)
@given(data=st.data())
def test_median_is_numpys_median_of_the_clear_values(dtype, data):
    n = data.draw(st.integers(0, 40))
    shape = (n, *data.draw(npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4)))
    elements = (
        st.floats(-(2.0**99), 2.0**99, width=32)
        if dtype == "float32"
        else st.sampled_from([np.iinfo(dtype).min, np.iinfo(dtype).max])
        | st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    values = data.draw(npst.arrays(dtype, shape, elements=elements))
    clear = data.draw(npst.arrays(bool, shape))
    got = clear_median(values, clear, NODATA[dtype])
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, median(values, clear, NODATA[dtype]))


def mean(values, clear, nodata):
    """What `clear_mean` should say, a pixel at a time, in fractions."""
    out = np.full(values.shape[1:], nodata, values.dtype)
    for at in np.ndindex(out.shape):
        kept = [Fraction(value) for value in values[:, *at][clear[:, *at]].tolist()]
        if kept:
            exact = sum(kept) / len(kept)
            whole = np.issubdtype(values.dtype, np.integer)
            out[at] = round(exact) if whole else float(exact)
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@settings(max_examples=60)
@given(data=st.data())
def test_mean_is_the_sum_by_the_count_rounded_half_to_even(dtype, data):
    n = data.draw(st.integers(0, 20))
    shape = (n, *data.draw(npst.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=4)))
    values = data.draw(npst.arrays(dtype, shape))
    clear = data.draw(npst.arrays(bool, shape))
    got = clear_mean(values, clear, NODATA[dtype])
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, mean(values, clear, NODATA[dtype]))


@given(data=st.data())
def test_the_mean_of_floats_is_good_to_their_last_digit(data):
    shape = data.draw(st.tuples(st.integers(0, 20), st.integers(0, 5)))
    elements = st.floats(-(2.0**60), 2.0**60, width=32)
    values = data.draw(npst.arrays("float32", shape, elements=elements))
    clear = data.draw(npst.arrays(bool, shape))
    got = clear_mean(values, clear, -1)
    assert got.dtype == np.float32
    largest = np.abs(values).max(initial=0)  # sums of 64 bits lose what is 2**-50 of it
    np.testing.assert_allclose(got, mean(values, clear, -1), rtol=2**-23, atol=largest * 2**-45)


def test_means_by_hand():
    values = np.int16([[-3, 3, 1], [-2, 4, 2], [9, 0, 4]])
    clear = np.array([[True, True, True], [True, True, True], [False, False, True]])
    assert clear_mean(values, clear, -9999).tolist() == [-2, 4, 2]  # of -2.5, 3.5 and 7 / 3
    huge = np.full((300, 1), 65_535, "uint16")
    assert clear_mean(huge, np.ones((300, 1), bool), 0).tolist() == [65_535]


@pytest.mark.parametrize("method", [clear_median, clear_mean])
@pytest.mark.parametrize("dtype", NODATA)
def test_a_window_has_the_values_of_the_whole(method, dtype):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 200, (7, 300, 301)).astype(dtype)
    clear = rng.random((7, 300, 301)) < 0.4
    clear[2, :250] = False  # blocks that a plane has no part in
    clear[3, :250] = True  # and others that are clear throughout
    window = np.s_[:, 101:259, 40:290]
    np.testing.assert_array_equal(
        method(values[window], clear[window], NODATA[dtype]),
        method(values, clear, NODATA[dtype])[window[1:]],
    )


@pytest.mark.parametrize("method", [clear_median, clear_mean])
@pytest.mark.parametrize("dtype", [">u2", "int32", "float64"])
def test_other_dtypes_and_byte_orders_are_understood(method, dtype):
    values = np.array([[1, 258], [4, 258], [40, 1]])
    clear = np.array([[True, True], [True, True], [True, False]])
    got = method(values.astype(dtype), clear, 0)
    assert got.dtype == dtype
    assert got.tolist() == [4 if method is clear_median else 15, 258]


@pytest.mark.parametrize("method", [clear_median, clear_mean])
def test_the_arrays_that_come_in_are_left_as_they_are(method):
    values, clear = np.float32([[1, 5], [3, 2], [2, 2]]), np.array([[True, False]] * 3)
    method(values, clear, -1)
    assert values.tolist() == [[1, 5], [3, 2], [2, 2]]
    assert clear.tolist() == [[True, False]] * 3


@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_order_of_time_is_irrelevant(n, random):
    rng = np.random.default_rng(n)
    values = rng.integers(-500, 500, (n, 7)).astype("int16")
    clear = rng.random((n, 7)) < 0.6
    order = list(range(n))
    random.shuffle(order)
    np.testing.assert_array_equal(
        clear_median(values[order], clear[order], -9999), clear_median(values, clear, -9999)
    )


@pytest.mark.parametrize("method", [clear_median, clear_mean])
def test_what_is_not_clear_changes_nothing(method):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 10_000, (9, 50)).astype("uint16")
    clear = rng.random((9, 50)) < 0.4
    other = np.where(clear, values, rng.integers(0, 65_536, (9, 50))).astype("uint16")
    np.testing.assert_array_equal(method(other, clear, 0), method(values, clear, 0))


@pytest.mark.parametrize("method", [clear_median, clear_mean])
def test_nan_that_is_not_clear_takes_no_part(method):
    values = np.float32([[1, np.nan], [np.nan, np.nan], [3, np.nan]])
    got = method(values, ~np.isnan(values), np.nan)
    np.testing.assert_array_equal(got, np.float32([2, np.nan]))


def test_pixels_beyond_one_block_are_not_forgotten():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 65_536, (5, 2, _STRIP // 2 + 3)).astype("uint16")
    clear = np.ones(values.shape, bool)
    np.testing.assert_array_equal(clear_median(values, clear, 0), np.median(values, axis=0))
    np.testing.assert_array_equal(clear_mean(values, clear, 0), np.rint(values.mean(axis=0)))


def test_even_counts_are_rounded_down_and_not_towards_zero():
    """Counted by hand."""
    clear = np.ones((2, 2), bool)
    got = clear_median(np.int16([[-3, 3], [-2, 4]]), clear, -9999)
    assert got.tolist() == [-3, 3]  # of -2.5 and 3.5


def test_infinite_values_are_values():
    values = np.float32([[np.inf, -np.inf], [1, 1], [np.inf, -np.inf], [0, 0]])
    clear = np.array([[True, True]] * 3 + [[False, False]])
    assert clear_median(values, clear, -1).tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize("n", range(1, 15))
@pytest.mark.parametrize("both", [False, True])
def test_the_exchanges_bring_the_middle_of_every_sequence_of_zeros_and_ones(n, both):
    """Then they do of every sequence (the 0-1 principle)."""
    at = (n - 1) // 2
    places = [at, at + 1] if both and n > 1 else [at]
    planes = (np.arange(2**n)[None] >> np.arange(n)[:, None]) & 1
    want = np.sort(planes, axis=0)[places]
    for i, j in _exchanges(n, tuple(places)):
        planes[i], planes[j] = np.sort(planes[[i, j]], axis=0)
    assert (planes[places] == want).all()
