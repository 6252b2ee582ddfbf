from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.kernels.scaling import to_physical
from geocube_ml.kernels.scatter import scatter, scatter_labels, scatter_rows
from geocube_ml.kernels.standardize import standardize


@settings(max_examples=40)
@given(
    dtype=st.sampled_from(("uint8", "uint16", ">u2", "int16", "float32")),
    depth=st.integers(1, 13),
    pixels=st.integers(1, 700),
    share=st.sampled_from((0.1, 1.0)),
    seed=st.integers(0, 99),
)
def test_pixels_go_to_their_rows_as_by_an_index(dtype, depth, pixels, share, seed):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 120, (depth + 2, pixels)).astype(dtype)
    order = rng.permutation(depth + 2)[:depth]
    at = np.flatnonzero(rng.random(pixels) < share)
    dest = rng.permutation(pixels + 3)[: len(at)]
    native = planes.dtype.newbyteorder("=")
    out = np.full((pixels + 3, depth), 99, native)
    scatter(planes, order, at, dest, out)
    want = np.full_like(out, 99)
    want[dest] = planes[order][:, at].T
    np.testing.assert_array_equal(out, want)

    rows = np.full_like(out, 99)
    scatter_rows(planes.T[:, order], at, dest, rows)
    np.testing.assert_array_equal(rows, want)


def test_places_outside_are_refused_before_anything_is_written():
    out, two = np.zeros((2, 3), np.uint16), np.array([0, 1])
    planes, order = np.ones((3, 4), np.uint16), np.arange(3)
    for at, dest in (([0, 4], two), ([-1, 0], two), (two, [0, 2])):
        with pytest.raises(IndexError, match="positions must be 0 to"):
            scatter(planes, order, np.array(at), np.array(dest), out)
        with pytest.raises(IndexError, match="positions must be 0 to"):
            scatter_rows(planes.T, np.array(at), np.array(dest), out)
    with pytest.raises(IndexError, match="positions must be 0 to 2, got 1 to 3"):
        scatter(planes, order + 1, two, two, out)
    with pytest.raises(ValueError, match="do not fit rows of 3 values"):
        scatter(planes, order[:2], two, two, out)
    with pytest.raises(ValueError, match="must be contiguous"):
        scatter(planes, order, two, two, np.zeros((3, 2), np.uint16).T)
    with pytest.raises(ValueError, match="do not fit rows"):
        scatter_rows(planes.T.astype(np.float32), two, two, out)
    label = np.uint8([[[1, 255], [2, 3]]])
    fields = np.zeros(3, np.uint8), *(np.zeros(3, np.int32) for _ in range(3))
    with pytest.raises(ValueError, match="3 pixels have a label, but 2 were counted"):
        scatter_labels(label, label.astype(np.int32), 255, (0, 0), two, fields)
    assert not out.any()


@settings(max_examples=40)
@given(
    kind=st.sampled_from((("uint16", 0), ("float32", np.nan), ("uint16", 70_000))),
    static=st.booleans(),
    area=st.sampled_from((1, 6)),
    beside=st.booleans(),
    seed=st.integers(0, 99),
)
def test_floats_are_those_of_numpy_bit_for_bit(kind, static, area, beside, seed):
    dtype, nodata = kind
    rng = np.random.default_rng(seed)
    n, steps, bands = 5, 4, 3
    counts = rng.integers(1, 100, (n, 1 if static else steps, bands, area)).astype(dtype)
    missing = rng.random(counts.shape) < 0.5
    if np.isnan(nodata) or nodata < 2**16:
        counts[missing] = nodata
    mean, std = rng.random((2, bands)).astype(np.float32) + 1
    whole = np.zeros((n, steps, bands + 2 * beside, area), np.float32)
    out, observed = whole[:, :, beside : beside + bands], np.zeros((n, steps, area), bool)
    standardize(counts, nodata, 1e-4, 0.3, mean, std, -7, out, observed)

    physical = to_physical(np.broadcast_to(counts, (n, steps, bands, area)), nodata, 1e-4, 0.3)
    want = (physical - mean[:, None]) / std[:, None]
    np.testing.assert_array_equal(out, np.where(np.isnan(want), np.float32(-7), want))
    np.testing.assert_array_equal(observed, (~np.isnan(want)).any(axis=2))
    assert not whole[:, :, bands + beside :].any()
