from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.radiometry import lower


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
