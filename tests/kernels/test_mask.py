from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from geocube_ml.errors import InputError
from geocube_ml.kernels.mask import bits_clear, has_data, is_clear, shrunk_and_grown, within

DTYPES = ("uint8", "uint16", "int16")
QUALITY = ("uint8", "uint16", "uint32", "int8", "int16", "int32", ">u2")
areas = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9))


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


@pytest.mark.parametrize("clear", [range(0, 250, 2), range(3, 240), [-1, 0, 255, 256, 70_000]])
def test_long_lists_of_classes_are_taken_too(clear):
    classes = np.arange(256, dtype="uint8")
    assert is_clear(classes, clear).tolist() == [c in clear for c in range(256)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_clear_where_no_class_is(dtype):
    assert not is_clear(np.arange(10, dtype=dtype), ()).any()


@given(st.data())
def test_data_is_what_is_neither_nodata_nor_nan(data):
    dtype = data.draw(st.sampled_from((*DTYPES, "float32")))
    values = data.draw(npst.arrays(dtype, st.integers(0, 20)))
    nodata = data.draw(st.sampled_from([0, 255, -9999.0, 0.5, np.nan, None, *values.tolist()]))
    assert has_data(values, nodata).tolist() == [v == v and v != nodata for v in values.tolist()]


@pytest.mark.parametrize("dtype", QUALITY)
@given(data=st.data())
def test_bits_are_clear_where_all_are_0_and_all_fields_have_one_of_their_values(dtype, data):
    size = 8 * np.dtype(dtype).itemsize
    quality = data.draw(npst.arrays(dtype, st.integers(0, 8)))
    position = st.integers(0, size - 1)
    bits = data.draw(st.lists(position, max_size=2))
    fields = []
    for first in data.draw(st.lists(position, max_size=2)):
        width = data.draw(st.integers(1, min(4, size - first)))
        fields.append((first, width, data.draw(st.sets(st.integers(0, 2**width), min_size=1))))
    got = bits_clear(quality, bits, fields)
    assert got.dtype == bool
    for value, clear in zip(quality.tolist(), got.tolist(), strict=True):
        assert clear == (
            all(not value >> bit & 1 for bit in bits)  # negative ones are two's complements
            and all((value >> first) % 2**width in values for first, width, values in fields)
        )


def test_quality_bits_by_hand():
    """Landsat's QA_PIXEL of clear land, water, a cloud, its shadow, and fill."""
    quality = np.uint16([21_824, 21_952, 22_280, 23_888, 1])
    assert bits_clear(quality, [0, 1, 2, 3, 4]).tolist() == [True, True, False, False, False]
    low_confidence = [(8, 2, (0, 1)), (10, 2, (0, 1))]
    assert bits_clear(quality, fields=low_confidence).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("dtype", "bits", "fields", "told"),
    [
        ("uint8", [8], [], "bit 8, but the quality band is uint8 with the bits 0 to 7"),
        ("uint16", [1], [(15, 2, (0,))], "bit 16, but the quality band is uint16"),
        ("float32", [1], [], "whole numbers, but the quality band is float32"),
    ],
)
def test_bits_that_a_band_lacks_are_not_taken_for_clear(dtype, bits, fields, told):
    with pytest.raises(InputError, match=told):
        bits_clear(np.zeros(3, dtype), bits, fields)


@given(st.data())
def test_a_threshold_holds_its_bounds(data):
    dtype = data.draw(st.sampled_from((*DTYPES, "float32")))
    values = data.draw(npst.arrays(dtype, st.integers(0, 20)))
    bound = st.none() | st.sampled_from([0, 40.5, -3, 70_000, *values[values == values].tolist()])
    low, high = data.draw(bound), data.draw(bound)
    got = within(values, low, high)
    assert got.dtype == bool
    assert got.tolist() == [
        v == v and (low is None or v >= low) and (high is None or v <= high)
        for v in values.tolist()
    ]


def near(mask, radius):
    """Whether each pixel is within `radius` of one that is True; a pair at a time."""
    places = np.argwhere(mask)
    out = np.zeros(mask.shape, bool)
    for at in np.ndindex(mask.shape):
        out[at] = len(places) and ((places - at) ** 2).sum(axis=1).min() <= radius**2
    return out


@given(areas, st.integers(0, 6), st.integers(0, 6))
def test_areas_are_shrunk_and_grown_by_disks(unclear, shrink, grow):
    before = unclear.copy()
    got = shrunk_and_grown(unclear, shrink, grow)
    assert got.dtype == bool
    np.testing.assert_array_equal(got, near(~near(~unclear, shrink), grow))
    np.testing.assert_array_equal(unclear, before)


@pytest.mark.parametrize("radius", [1, 5, 17, 40, 100])
def test_disks_are_those_of_a_distance_transform(radius):
    rng = np.random.default_rng(radius)
    unclear = rng.random((130, 90)) < 0.003
    far = ndimage.distance_transform_edt(~unclear)
    np.testing.assert_array_equal(shrunk_and_grown(unclear, 0, radius), far <= radius)
    np.testing.assert_array_equal(shrunk_and_grown(~unclear, radius, 0), far > radius)


@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(0, 6))
def test_a_window_with_a_halo_has_the_areas_of_the_whole(seed, shrink, grow):
    unclear = np.random.default_rng(seed).random((40, 44))
    unclear = ndimage.uniform_filter(unclear, 5) > 0.47
    halo = shrink + grow
    padded = unclear[12 - halo : 25 + halo, 14 - halo : 30 + halo]
    got = shrunk_and_grown(padded, shrink, grow)[halo : halo + 13, halo : halo + 16]
    np.testing.assert_array_equal(got, shrunk_and_grown(unclear, shrink, grow)[12:25, 14:30])


def test_areas_by_hand():
    specks = np.zeros((7, 9), bool)
    specks[1:4, 1] = True  # a line vanishes
    specks[2:7, 4:9] = True  # a cloud at the edge keeps that edge
    got = shrunk_and_grown(specks, 1, 0)
    want = np.zeros((7, 9), bool)
    want[3:7, 5:9] = True
    np.testing.assert_array_equal(got, want)
    one = np.zeros((5, 5), bool)
    one[2, 2] = True
    assert shrunk_and_grown(one, 0, 2).astype(int).tolist() == [
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
    ]
    assert not shrunk_and_grown(one, 1, 3).any()


def test_a_radius_is_not_negative():
    with pytest.raises(ValueError, match="shrink -1 and grow 2"):
        shrunk_and_grown(np.ones((2, 2), bool), -1, 2)
