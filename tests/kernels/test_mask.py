from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.mask import has_data, is_clear

DTYPES = ("uint8", "uint16", "int16")


@given(st.data())
def test_clear_is_membership(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    classes = data.draw(npst.arrays(dtype, npst.array_shapes(min_side=0, max_dims=3, max_side=5)))
    clear = data.draw(
        st.sets(st.integers(-2, 300) | st.sampled_from(classes.ravel().tolist() or [0]))
    )
    got = is_clear(classes, clear)
    assert got.dtype == bool
    assert got.shape == classes.shape
    assert got.ravel().tolist() == [int(c) in clear for c in classes.ravel()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_clear_where_no_class_is(dtype):
    assert not is_clear(np.arange(10, dtype=dtype), ()).any()


@given(st.data())
def test_data_is_what_is_neither_nodata_nor_nan(data):
    dtype = data.draw(st.sampled_from((*DTYPES, "float32")))
    values = data.draw(npst.arrays(dtype, st.integers(0, 20)))
    nodata = data.draw(st.sampled_from([0, 255, -9999.0, np.nan, *values.tolist()]))
    assert has_data(values, nodata).tolist() == [v == v and v != nodata for v in values.tolist()]
