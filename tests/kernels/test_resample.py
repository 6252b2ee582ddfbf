from __future__ import annotations

from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.resample import bilinear, nearest

NODATA = -9999

sides = st.integers(1, 7)
places = st.floats(-2, 9, width=32).map(lambda x: round(x, 3)) | st.integers(-4, 18).map(
    lambda x: x / 2  # edges and centres
)


@st.composite
def rasters(draw, dtype="int16"):
    shape = (draw(sides), draw(sides))
    elements = st.integers(-3000, 3000) | st.just(NODATA)
    return draw(npst.arrays(dtype, shape, elements=elements))


def containing(values, row, col):
    """The pixel that a place lies in, or nodata."""
    y, x = floor(row), floor(col)
    inside = 0 <= y < values.shape[0] and 0 <= x < values.shape[1]
    return values[y, x] if inside else NODATA


def weighted(values, row, col):
    """The mean of the pixels less than one pixel from a place, weighted by nearness; slow."""
    if containing(values, row, col) == NODATA:
        return NODATA
    total = weight = 0.0
    for y, x in np.ndindex(values.shape):
        share = max(0, 1 - abs(row - y - 0.5)) * max(0, 1 - abs(col - x - 0.5))
        if values[y, x] != NODATA:
            total += share * float(values[y, x])
            weight += share
    return total / weight


@given(rasters(), st.lists(st.tuples(places, places), min_size=1, max_size=10))
def test_nearest_is_the_pixel_that_a_place_lies_in(values, at):
    row, col = np.transpose(at)
    got = nearest(values, row, col, NODATA)
    assert got.dtype == values.dtype
    assert got.tolist() == [containing(values, *place) for place in at]


@settings(max_examples=200)
@given(rasters(), st.lists(st.tuples(places, places), min_size=1, max_size=10))
def test_bilinear_is_the_weighted_mean_of_what_has_data(values, at):
    row, col = np.transpose(at)
    got = bilinear(values, row, col, NODATA)
    assert got.dtype == values.dtype
    for value, place in zip(got.tolist(), at, strict=True):
        assert value == pytest.approx(weighted(values, *place), abs=0.502)  # rounded to a count


@given(rasters(), st.lists(st.tuples(places, places), min_size=1, max_size=10))
def test_floats_are_not_rounded_and_nan_takes_no_part(values, at):
    row, col = np.transpose(at)
    floats = np.where(values == NODATA, np.nan, values / 8).astype("float32")
    got = bilinear(floats, row, col, np.nan)
    want = [weighted(values, *place) for place in at]
    want = [np.nan if value == NODATA else value / 8 for value in want]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("method", [nearest, bilinear])
@given(values=rasters(), at=st.lists(st.tuples(places, places), min_size=1, max_size=10))
def test_nodata_is_exactly_where_the_containing_pixel_is(method, values, at):
    got = method(values, *np.transpose(at), NODATA)
    assert (got == NODATA).tolist() == [containing(values, *place) == NODATA for place in at]


@pytest.mark.parametrize("method", [nearest, bilinear])
@given(values=rasters(), at=st.lists(st.tuples(places, places), min_size=1, max_size=10))
def test_no_value_lies_beyond_its_neighbours(method, values, at):
    """So nodata, which lies far below all of them, was not mixed in."""
    got = method(values, *np.transpose(at), NODATA)
    known = values[values != NODATA]
    for value in got[got != NODATA]:
        assert known.min() <= value <= known.max()


@pytest.mark.parametrize("method", [nearest, bilinear])
@pytest.mark.parametrize("value", [1, 65_534])
def test_a_flat_raster_stays_flat(method, value):
    rng = np.random.default_rng(0)
    flat = np.full((20, 20), value, "uint16")
    assert (method(flat, *rng.uniform(0, 20, (2, 500)), nodata=65_535) == value).all()


@given(st.integers(-40, 40), st.integers(-40, 40), st.lists(places, min_size=1, max_size=9))
def test_a_ramp_is_reproduced_away_from_the_edges(by_row, by_col, at):
    y, x = np.mgrid[:12, :12] + 0.5
    ramp = (by_row * y + by_col * x).astype("float32")
    row = np.clip(at, 0.5, 11.5)[:, None]
    col = np.clip(at, 0.5, 11.5)[None, :]
    got = bilinear(ramp, row, col, np.nan)
    np.testing.assert_allclose(got, by_row * row + by_col * col, atol=1e-3)


@pytest.mark.parametrize("method", [nearest, bilinear])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_window_of_the_raster_gives_the_same_values(method, dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10_000, (60, 50)).astype(dtype)
    row, col = rng.uniform(21, 39, 400).round(6), rng.uniform(16, 34, 400).round(6)
    np.testing.assert_array_equal(
        method(values[20:40, 15:35], row - 20, col - 15, 0), method(values, row, col, 0)
    )


@pytest.mark.parametrize("method", [nearest, bilinear])
def test_a_row_and_a_column_of_places_make_a_grid(method):
    values = np.random.default_rng(0).integers(0, 5, (8, 9)).astype("uint8")
    row, col = np.linspace(-1, 9, 23)[:, None], np.linspace(-1, 10, 31)[None, :]
    every_row, every_col = (axis.copy() for axis in np.broadcast_arrays(row, col))
    np.testing.assert_array_equal(
        method(values, row, col, 0), method(values, every_row, every_col, 0)
    )


def test_bilinear_by_hand():
    values = np.int16([[10, 20], [30, NODATA]])
    row, col = np.array([0.5, 1.0, 0.75, 1.6]), np.array([1.0, 0.999, 1.25, 1.6])
    assert bilinear(values, row, col, NODATA).tolist() == [
        15,  # between 10 and 20
        20,  # of 10, 20 and 30 in equal parts: the fourth has no data
        18,  # (3 * 10 + 9 * 20 + 1 * 30) / 13
        NODATA,
    ]


starts = st.sampled_from([-1.3, -0.25, 0.0, 0.125, 0.25, 0.5])
steps = st.sampled_from([0.125, 1 / 6, 0.25, 0.5, 0.7, 1.0, 1.05])


@pytest.mark.parametrize("method", [nearest, bilinear])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "int32"])
@settings(max_examples=100)
@given(data=st.data())
def test_places_on_a_grid_have_the_values_of_places_one_by_one(method, dtype, data):
    """To the last bit, so that no window differs that is a single pixel or a turned grid."""
    elements = st.integers(0, 200)
    shape = (data.draw(sides), data.draw(sides))
    values = data.draw(npst.arrays("uint8", shape, elements=elements)).astype(dtype)
    row, col = (
        (np.arange(data.draw(st.integers(1, 12))) * data.draw(steps) + data.draw(starts)).round(6)
        for _ in range(2)
    )
    got = method(values, row[:, None], col[None, :], 0)
    one_by_one = method(values, *np.meshgrid(row, col, indexing="ij"), 0)
    np.testing.assert_array_equal(got, one_by_one)
    assert got.dtype == dtype


@pytest.mark.parametrize("method", [nearest, bilinear])
@pytest.mark.parametrize("share", [0, 0.02])
def test_many_places_on_a_grid_are_cut_into_blocks_that_nobody_sees(method, share):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 9000, (310, 300)).astype("uint16")
    values[rng.random(values.shape) < share] = 0
    row, col = np.arange(610)[:, None] / 2 + 0.25, np.arange(590)[None, :] / 2 + 0.25
    whole = method(values, row, col, 0)
    for some in (slice(0, 1), slice(50, 171), slice(609, 610)):
        np.testing.assert_array_equal(method(values, row[some], col, 0), whole[some])
