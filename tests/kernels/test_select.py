from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.select import _BLOCK, take_observation, where

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
