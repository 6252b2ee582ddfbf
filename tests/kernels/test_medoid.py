from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels import medoid as module
from geocube_ml.kernels.medoid import medoid

NODATA = {"uint8": 255, "uint16": 0, "int16": -9999, "float32": np.nan}


def definition(values, clear, nodata):
    """What `medoid` should say, a pixel at a time."""
    out = np.full(values.shape[1:], nodata, values.dtype)
    for at in np.ndindex(values.shape[2:]):
        seen = values[:, :, *at][clear[:, *at]]
        wide = seen.astype(float)
        sums = [sum(np.linalg.norm(one - other) for other in wide) for one in wide]
        if len(seen):
            # a sum that differs by rounding alone is as near; then it is the earliest
            out[:, *at] = seen[np.argmax(sums <= min(sums) * (1 + 1e-12))]
    return out


@pytest.mark.parametrize("dtype", NODATA)
@given(data=st.data())
def test_the_medoid_is_the_observation_nearest_to_all_others(dtype, data):
    shape = data.draw(st.tuples(st.integers(0, 7), st.integers(1, 4), st.integers(0, 4)))
    elements = st.integers(0, 6) | st.integers(0, 250)
    values = data.draw(npst.arrays("int64", shape, elements=elements)).astype(dtype)
    clear = data.draw(npst.arrays(bool, (shape[0], shape[2])))
    got = medoid(values, clear, NODATA[dtype])
    assert got.dtype == dtype
    want = definition(values, clear, NODATA[dtype])
    same = (got == want) | ((got != got) & (want != want))
    for pixel in np.flatnonzero(~same.all(axis=0)):  # only where sums are equal but for rounding
        seen = values[clear[:, pixel], :, pixel].astype(float)
        first, second = (
            np.linalg.norm(seen - found[:, pixel], axis=1).sum() for found in (got, want)
        )
        assert first == pytest.approx(second, rel=1e-12)


def test_a_medoid_by_hand():
    values = np.int16([[0, 0], [0, 8], [6, 0], [1, 1], [3000, -3000]])[:, :, None]
    clear = np.array([True, True, True, True, False])[:, None]
    assert medoid(values, clear, -9999)[:, 0].tolist() == [1, 1]
    # of two, both are as far from each other
    assert medoid(values[1:3], clear[1:3], -9999)[:, 0].tolist() == [0, 8]
    assert medoid(values[4:], clear[4:], -9999)[:, 0].tolist() == [-9999, -9999]


def test_bands_of_one_pixel_come_from_one_observation():
    rng = np.random.default_rng(0)
    step = np.arange(9)[:, None, None, None]
    values = (step * 1000 + rng.integers(0, 1000, (9, 5, 20, 20))).astype("uint16")
    clear = rng.random((9, 20, 20)) < 0.6
    got = medoid(values, clear, 65_535)
    assert (got // 1000 == got[0] // 1000).all()


def test_equal_observations_give_the_earliest():
    """Told apart by their places: -0.0 and 0.0 are as near to everything."""
    values = np.float32([[-0.0], [0.0], [5.0]])[:, :, None]
    clear = np.ones((3, 1), bool)
    assert np.signbit(medoid(values, clear, -1)).all()
    assert not np.signbit(medoid(values[[1, 0, 2]], clear, -1)).any()


def test_nan_that_is_not_clear_takes_no_part():
    values = np.float32([[[1], [1]], [[np.nan], [5]], [[2], [2]], [[9], [9]]])
    clear = np.array([True, False, True, True])[:, None]
    assert medoid(values, clear, np.nan)[:, 0].tolist() == [2, 2]


def test_a_window_has_the_values_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2000, (6, 4, 31, 33)).astype("uint16")
    clear = rng.random((6, 31, 33)) < 0.6
    whole = medoid(values, clear, 0)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
    part = np.s_[..., 5:20, 9:32]
    np.testing.assert_array_equal(medoid(values[part], clear[part], 0), whole[part])
