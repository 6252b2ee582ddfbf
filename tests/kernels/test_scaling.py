from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.scaling import (
    PROB_NODATA,
    PROB_STEPS,
    most_likely,
    pack_probability,
    stack,
    to_physical,
)

shares = st.floats(0, 1, width=32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_a_packed_probability_is_off_by_half_a_step_at_most(dtype, data):
    prob = data.draw(npst.arrays(dtype, st.integers(0, 20), elements=shares))
    packed = pack_probability(prob)
    assert packed.dtype == np.uint8
    assert (np.abs(packed / PROB_STEPS - prob) <= 1 / 500 + 1e-6).all()


def test_probabilities_that_are_stored_come_back():
    steps = np.arange(PROB_STEPS + 1)
    np.testing.assert_array_equal(pack_probability(np.float32(steps / PROB_STEPS)), steps)


def test_no_probability_is_nodata_and_nothing_else_is():
    got = pack_probability(np.float32([np.nan, 0, 1, 1.0000001]))
    assert got.tolist() == [PROB_NODATA, 0, PROB_STEPS, PROB_STEPS]


@given(
    npst.arrays("uint16", st.integers(0, 20)),
    st.sampled_from([1.0, 1e-4, 2.75e-5]),
    st.sampled_from([0, 65_535]),
    st.sampled_from([0.0, -0.2, 500.0]),
)
def test_physical_values_are_counts_by_scale_and_offset(counts, scale, nodata, offset):
    got = to_physical(counts, nodata, scale, offset)
    assert got.dtype == np.float32
    want = [np.nan if c == nodata else c * scale + offset for c in counts.tolist()]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_counts_of_any_type_become_single_floats(dtype):
    got = to_physical(np.array([1, 2], dtype), nodata=1, scale=0.5)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.float32([np.nan, 1]))


parts = st.lists(st.integers(1, 3), max_size=3)


@given(parts, parts, st.integers(0, 4), st.integers(1, 3))
def test_channels_are_those_of_series_then_static_ones_at_every_step(moving, still, n, steps):
    count = iter(range(10_000))

    def filled(*shape):
        return np.float32([next(count) for _ in range(int(np.prod(shape)))]).reshape(shape)

    series = [filled(n, steps, size) for size in moving]
    static = [filled(n, size) for size in still]
    if not series and not static:
        return
    got = stack(series, static)
    assert got.shape == (n, steps if series else 1, sum(moving) + sum(still))
    for pixel in range(n):
        for step in range(got.shape[1]):
            want = [v for one in series for v in one[pixel, step]]
            want += [v for one in static for v in one[pixel]]
            assert got[pixel, step].tolist() == want


def test_counts_are_not_changed_in_place():
    counts = np.float32([1, -1])
    to_physical(counts, nodata=-1, scale=1.0)
    assert counts.tolist() == [1, -1]


@given(st.data())
def test_the_map_has_the_first_of_the_most_likely_classes(data):
    shape = (data.draw(st.integers(1, 5)), data.draw(st.integers(0, 8)))
    prob = data.draw(npst.arrays("float32", shape, elements=st.sampled_from([0, 0.25, 0.5, 1])))
    unknown = data.draw(npst.arrays(bool, shape[1]))
    prob[:, unknown] = np.nan
    got = most_likely(prob, unknown=255)
    assert got.dtype == np.uint8
    for code, column, none in zip(got.tolist(), prob.T.tolist(), unknown, strict=True):
        assert code == (255 if none else column.index(max(column)))
