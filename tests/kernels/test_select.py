from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.coarsen import block_mean
from geocube_ml.kernels.composite import clear_mean, clear_median
from geocube_ml.kernels.geomedian import geometric_median
from geocube_ml.kernels.resample import bilinear
from geocube_ml.kernels.select import _BLOCK, beside_nodata, take_observation, where

DTYPES = ("uint8", "int16", "uint16", "float32", "float64")


@given(st.data())
def test_where_is_numpys(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(npst.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))
    values, others = (data.draw(npst.arrays(dtype, shape)) for _ in range(2))
    mask = data.draw(npst.arrays(bool, shape))
    got = where(mask, values, others)
    assert got.dtype == dtype
    assert got.shape == shape
    assert got.tobytes() == np.where(mask, values, others).tobytes()  # every bit, NaN too


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_stands_for_an_array(dtype):
    values = np.arange(_BLOCK + 7).astype(dtype)
    mask = np.random.default_rng(0).random(values.shape) < 0.5
    got = where(mask, values, 9)
    np.testing.assert_array_equal(got, np.where(mask, values, np.array(9, dtype)))


def test_parts_of_arrays_are_taken_as_they_lie():
    values = np.arange(48, dtype="uint16").reshape(6, 8)
    others, mask = values + 100, values % 3 == 0
    part = np.s_[::2, 1::3]
    np.testing.assert_array_equal(
        where(mask[part], values[part], others[part]), np.where(mask, values, others)[part]
    )


def test_shapes_are_one():
    with pytest.raises(ValueError, match=r"mask \(2,\), values \(3,\)"):
        where(np.ones(2, bool), np.zeros(3), 0)


@given(st.data())
def test_an_observation_is_taken_with_all_its_bands(data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5)))
    values = data.draw(npst.arrays("int16", shape))
    chosen = data.draw(npst.arrays("intp", shape[2], elements=st.integers(-1, shape[0] - 1)))
    got = take_observation(values, chosen, nodata=-7)
    assert got.dtype == np.int16
    assert got.shape == shape[1:]
    for pixel, step in enumerate(chosen):
        want = values[step, :, pixel] if step >= 0 else [-7] * shape[1]
        assert got[:, pixel].tolist() == list(want)


@pytest.mark.parametrize(
    ("dtype", "nodata", "low", "high", "found"),
    [("int16", 0, -5, 5, 1), ("uint16", 255, 254, 256, 256), ("float32", -1, -3, 1, None)],
)
def test_what_is_computed_of_data_never_is_nodata(dtype, nodata, low, high, found):
    pair = np.array([[[low]], [[high]]], dtype)
    clear = np.ones(pair.shape, bool)
    row = np.array([[low, high]], dtype)
    options = {"scale": 1.0, "tolerance": 1e-3, "iterations": 20}
    every = [
        clear_median(pair, clear, nodata),
        clear_mean(pair, clear, nodata),
        geometric_median(pair[:, None], clear, nodata, **options),
        block_mean(row, 2, nodata),
        bilinear(row, np.array([0.5]), np.array([1.0]), nodata),
        bilinear(row, np.array([[0.5]]), np.array([[1.0]]), nodata),
    ]
    for one in every:
        assert one.dtype == dtype
        assert one.item() != nodata
        assert one.item() == (pytest.approx(nodata, abs=1e-6) if found is None else found)


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0), ("uint8", 255), ("float32", np.nan)])
def test_what_data_cannot_come_to_stays(dtype, nodata):
    values = np.array([nodata, 1], dtype)
    np.testing.assert_array_equal(beside_nodata(values.copy(), nodata), values)
