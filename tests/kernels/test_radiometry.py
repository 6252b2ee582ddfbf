from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.radiometry import lower, take_clear


@given(npst.arrays("uint16", st.integers(0, 30)), st.integers(0, 2000))
def test_each_count_is_lowered_but_stays_data(values, by):
    got = lower(values, by, nodata=0)
    assert got.dtype == np.uint16
    assert got.tolist() == [0 if v == 0 else max(v - by, 1) for v in values.tolist()]


@pytest.mark.parametrize(
    ("dtype", "nodata", "value", "want"),
    [
        ("uint16", 0, 1000, 1),  # 0 would be nodata
        ("uint16", 0, 1001, 1),
        ("uint16", 65_535, 500, 0),  # the highest value is nodata: none lies above it
        ("uint16", 65_535, 65_535, 65_535),
        ("int16", -9999, 500, -500),
        ("int16", -32_768, -32_768, -32_768),
    ],
)
def test_dark_surfaces_and_nodata_by_hand(dtype, nodata, value, want):
    got = lower(np.array([value], dtype), 1000, nodata)
    assert got.dtype == dtype
    assert got.tolist() == [want]


def test_lowering_by_nothing_changes_nothing():
    values = np.uint16([0, 1, 65_535])
    np.testing.assert_array_equal(lower(values, 0, 0), values)


@given(
    npst.arrays("int16", st.integers(0, 30)),
    st.integers(1, 2000) | st.integers(1, 70_000),
    st.sampled_from([-32_768, -9999, 0, 32_767]),
)
def test_counts_with_a_sign_do_not_leave_their_dtype(values, by, nodata):
    got = lower(values, by, nodata)
    assert got.dtype == np.int16
    darkest = nodata + 1 if nodata < 32_767 else -32_768
    assert got.tolist() == [v if v == nodata else max(v - by, darkest) for v in values.tolist()]


@given(st.data())
def test_clear_pixels_are_taken_lowered_and_once(data):
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    by = 0 if dtype == "float32" else data.draw(st.sampled_from([0, 1, 100]))
    nodata = {"uint8": 255, "uint16": 0, "int16": -9999, "float32": np.nan}[dtype]
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 5)))
    elements = (
        st.sampled_from([nodata, 0.5, -3.0])
        if dtype == "float32"
        else st.sampled_from([nodata, np.iinfo(dtype).min, np.iinfo(dtype).max, 7, 120])
    )
    values = data.draw(npst.arrays(dtype, shape, elements=elements))
    into = data.draw(npst.arrays(dtype, shape, elements=st.integers(0, 9)))
    mask, clear = (data.draw(npst.arrays(bool, (shape[1], shape[0]))).T for _ in range(2))
    taken = mask & ~clear & has_data(values, nodata)
    want = np.where(taken, lower(values, by, nodata), into), clear | taken
    got = into.copy(), clear.copy()
    take_clear(values, mask, by, nodata, *got)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
