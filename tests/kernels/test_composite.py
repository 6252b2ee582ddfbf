from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.composite import _BLOCK, _exchanges, clear_median

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


def test_what_is_not_clear_changes_nothing():
    rng = np.random.default_rng(0)
    values = rng.integers(1, 10_000, (9, 50)).astype("uint16")
    clear = rng.random((9, 50)) < 0.4
    other = np.where(clear, values, rng.integers(0, 65_536, (9, 50))).astype("uint16")
    np.testing.assert_array_equal(clear_median(other, clear, 0), clear_median(values, clear, 0))


def test_nan_that_is_not_clear_takes_no_part():
    values = np.float32([[1, np.nan], [np.nan, np.nan], [3, np.nan]])
    got = clear_median(values, ~np.isnan(values), np.nan)
    np.testing.assert_array_equal(got, np.float32([2, np.nan]))


def test_pixels_beyond_one_block_are_not_forgotten():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 65_536, (5, 2, _BLOCK // 2 + 3)).astype("uint16")
    got = clear_median(values, np.ones(values.shape, bool), 0)
    np.testing.assert_array_equal(got, np.median(values, axis=0))


def test_even_counts_are_rounded_down_and_not_towards_zero():
    """Counted by hand."""
    clear = np.ones((2, 2), bool)
    got = clear_median(np.int16([[-3, 3], [-2, 4]]), clear, -9999)
    assert got.tolist() == [-3, 3]  # of -2.5 and 3.5


@pytest.mark.parametrize("n", range(15))
def test_the_exchanges_sort_every_sequence_of_zeros_and_ones(n):
    """Then they sort every sequence (the 0-1 principle)."""
    planes = (np.arange(2**n)[None] >> np.arange(n)[:, None]) & 1
    for i, j in _exchanges(n):
        planes[[i, j]] = np.sort(planes[[i, j]], axis=0)
    assert (np.diff(planes, axis=0) >= 0).all()
