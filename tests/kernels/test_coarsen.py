"""Blocks of pixels, held against a plain loop."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geocube_ml.kernels.coarsen import block_mean, block_mode

SHAPES = array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)


def blocks(values, factor):
    """(place in the result, pixels) of each block."""
    *leading, rows, cols = values.shape
    for place in np.ndindex(*leading, -(-rows // factor), -(-cols // factor)):
        *front, y, x = place
        part = values[(*front, slice(y * factor, (y + 1) * factor), slice(x * factor, None))]
        yield place, part[:, :factor].ravel()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@given(shape=SHAPES, factor=st.integers(1, 5), missing=st.booleans(), data=st.data())
def test_the_mean_is_of_the_pixels_with_data(dtype, shape, factor, missing, data):
    values = data.draw(arrays(dtype, shape, elements=st.integers(0, 100)))
    nodata = 7 if missing else None
    found = block_mean(values, factor, nodata)
    assert found.dtype == values.dtype
    for place, pixels in blocks(values, factor):
        kept = [float(v) for v in pixels if v != nodata]
        want = sum(kept) / len(kept) if kept else 7
        want = np.float32(want) if dtype == "float32" else round(want)
        if kept and want == nodata:  # beside it, so that it does not read as missing
            want = np.nextafter(np.float32(7), np.float32(8)) if dtype == "float32" else 8
        assert found[place] == want


def test_nan_is_missing():
    values = np.float32([[1, np.nan, np.nan], [2, 3, np.nan]])
    np.testing.assert_array_equal(block_mean(values, 2, np.nan), np.float32([[2, np.nan]]))


def test_large_values_do_not_overflow():
    values = np.full((4, 4), 65_535, "uint16")
    assert block_mean(values, 4, 0).tolist() == [[65_535]]


@given(shape=SHAPES, factor=st.integers(1, 4), missing=st.booleans(), data=st.data())
def test_the_mode_is_the_code_of_most_pixels_with_data(shape, factor, missing, data):
    codes = data.draw(arrays("uint8", shape, elements=st.sampled_from([0, 1, 2, 255])))
    nodata = 255 if missing else None
    found = block_mode(codes, factor, nodata)
    for place, pixels in blocks(codes, factor):
        votes = Counter(int(code) for code in pixels if code != nodata)
        most = max(votes.values(), default=0)
        want = min((code for code, n in votes.items() if n == most), default=255)
        assert found[place] == want
