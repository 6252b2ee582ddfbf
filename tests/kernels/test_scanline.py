"""Shapes to pixels: beside GDAL, beside shapely, and the same in any window."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from geocube_ml.kernels.edges import edges_of
from geocube_ml.kernels.scanline import (
    CENTRE,
    FREE,
    OVERLAPPING,
    TOUCHING,
    fill,
    near,
)

SHAPE = (24, 31)
TO_CRS = Affine(8, 0, 500_000, 0, -8, 5_000_192)  # of halves exactly, so that edges meet centres
quarters = st.tuples(st.integers(-16, 140), st.integers(-16, 112))  # of a pixel


@st.composite
def polygons(draw):
    """Any valid polygon, mostly with vertices on centres and edges of pixels, and with holes."""
    ring = draw(st.lists(quarters, min_size=3, max_size=9, unique=True))
    ring = np.array(ring, float)
    if draw(st.booleans()):
        ring += 0.1 * np.sin(np.arange(ring.size)).reshape(ring.shape)
    centre = ring.mean(axis=0)
    ring = ring[np.argsort(np.arctan2(*(ring - centre).T), kind="stable")]
    shape = shapely.make_valid(shapely.Polygon(ring))
    if draw(st.booleans()):
        x, y = draw(quarters)
        shape = shape.difference(shapely.box(x, y, x + 12, y + 12))
    parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
    assume(parts)
    several = shapely.MultiPolygon(parts)
    return shapely.transform(several, lambda xy: xy * 2 + np.array([500_000, 5_000_000]))


def filled(shapes, values=None, shape=SHAPE, corner=(0, 0), **how):
    out = np.full(shape, FREE, np.int32)
    values = np.arange(len(shapes)) if values is None else np.asarray(values)
    fill(edges_of(shapes, TO_CRS), values.astype(np.int32), out, corner, **how)
    return out


def squares(half):
    col, row = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    x, y = 500_000 + 8 * col, 5_000_192 - 8 * row
    return shapely.box(x - 8 * half, y - 8 * half, x + 8 * half, y + 8 * half)


def centres():
    return shapely.centroid(squares(0.5))


@settings(max_examples=60)
@given(st.lists(polygons(), min_size=1, max_size=4))
def test_pixels_are_those_that_gdal_fills(shapes):
    """Also of centres on upright edges.  A slanted edge meets one only up to rounding, and one on a
    level edge GDAL gives to the shapes on both sides.
    """
    burnt = rasterize(
        [(shape, at) for at, shape in reversed(list(enumerate(shapes)))],
        out_shape=SHAPE, transform=TO_CRS, fill=FREE, dtype="int32",
    )  # fmt: skip
    x0, y0, x1, y1 = edges_of(shapes, TO_CRS).ends.T
    lines = shapely.linestrings(np.stack([[x0, x1], [y0, y1]]).T[x0 != x1])
    col, row = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    apart = shapely.distance(shapely.points(col, row), shapely.MultiLineString(lines.tolist()))
    decided = ~(apart < 1e-9)
    np.testing.assert_array_equal(filled(shapes)[decided], burnt[decided])


@settings(max_examples=30)
@given(polygons(), st.booleans())
def test_pixels_have_their_centre_or_all_of_them_inside(shape, whole):
    got = filled([shape], whole=whole) == 0
    if whole:
        inside = shapely.contains(shape, squares(0.5))
        apart = shapely.distance(shape.boundary, squares(0.5))
        np.testing.assert_array_equal(got, inside & (apart > 1e-3))
    else:
        decided = shapely.distance(shape.boundary, centres()) > 1e-6
        np.testing.assert_array_equal(got[decided], shapely.contains(shape, centres())[decided])


@settings(max_examples=30)
@given(
    st.lists(polygons(), min_size=1, max_size=4),
    st.tuples(st.integers(0, 20), st.integers(0, 25), st.integers(1, 12), st.integers(1, 12)),
    st.booleans(),
)
def test_a_window_has_the_pixels_that_the_whole_has(shapes, window, whole):
    top, left, rows, cols = window
    rows, cols = min(rows, SHAPE[0] - top), min(cols, SHAPE[1] - left)
    every = edges_of(shapes, TO_CRS)
    part = every.within((top, left), (rows, cols), 4)
    assert part.n_shape == len(shapes)
    here = slice(top, top + rows), slice(left, left + cols)

    out = np.full((rows, cols), FREE, np.int32)
    fill(part, np.arange(len(shapes), dtype=np.int32), out, (top, left), whole=whole)
    np.testing.assert_array_equal(out, filled(shapes, whole=whole)[here])

    beside, by_whole = np.zeros((rows, cols), bool), np.zeros(SHAPE, bool)
    near(part, 20.0, beside, (top, left), size=(8, 8))
    near(every, 20.0, by_whole, (0, 0), size=(8, 8))
    np.testing.assert_array_equal(beside, by_whole[here])


@settings(max_examples=40)
@given(polygons(), st.integers(0, 40), st.sampled_from([CENTRE, OVERLAPPING, TOUCHING]))
def test_near_is_what_shapely_finds_so_near(shape, reach, half):
    got = np.zeros(SHAPE, bool)
    near(edges_of([shape], TO_CRS), float(reach), got, (0, 0), half=half, size=(8, 8))
    distance = shapely.distance(shape.boundary, squares(half) if half else centres())
    decided = abs(distance - reach) > 1e-6
    np.testing.assert_array_equal(got[decided], (distance <= reach)[decided])


def test_near_is_measured_in_metres_where_pixels_are_not_square():
    point = edges_of([shapely.Point(50, -15)], Affine(10, 0, 0, 0, -30, 0))
    out = np.zeros((3, 10), bool)
    near(point, 16.0, out, (0, 0), size=(30, 10))
    assert np.argwhere(out).tolist() == [[0, x] for x in (3, 4, 5, 6)]


def test_what_only_touches_a_pixel_is_told_from_what_overlaps_it():
    square = edges_of([shapely.box(500_016, 5_000_016, 500_032, 5_000_032)], TO_CRS)  # 2 x 2
    touched, overlapped = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    near(square, 0.0, touched, (0, 0), half=TOUCHING)
    near(square, 0.0, overlapped, (0, 0), half=OVERLAPPING)
    assert touched.sum() == 16
    assert overlapped.sum() == 0


def test_the_least_value_wins_whatever_the_order():
    first, second = (
        shapely.box(500_000, 5_000_000, 500_080, 5_000_080),
        shapely.box(500_040, 5_000_000, 500_120, 5_000_080),
    )
    for shapes, values in (([first, second], [4, 7]), ([second, first], [7, 4])):
        out = filled(shapes, values)
        assert (out[-10:, :10] == 4).all()
        assert (out[-10:, 10:15] == 7).all()
        assert (out != FREE).sum() == 150


def test_polygons_that_share_an_edge_through_centres_share_no_pixel():
    cut = [shapely.box(500_000 + 20 * k, 5_000_004, 500_020 + 20 * k, 5_000_100) for k in range(4)]
    levels = [shapely.box(500_004, 5_000_000 + 20 * k, 500_100, 5_000_020 + 20 * k) for k in (0, 1)]
    for shapes in (cut, levels):
        parts = sum((filled([shape]) != FREE).astype(int) for shape in shapes)
        assert parts.max() == 1
        together = shapely.union_all(shapes)
        np.testing.assert_array_equal(parts == 1, filled([together]) != FREE)


def test_a_point_has_the_pixel_that_it_lies_in():
    spots = [shapely.Point(500_000 + 8 * x + 1, 5_000_192 - 8 * y - 7) for x, y in [(0, 0), (5, 3)]]
    for whole in (False, True):
        out = filled([*spots, shapely.Point(499_999, 5_000_100)], whole=whole)
        assert np.argwhere(out != FREE).tolist() == [[0, 0], [3, 5]]
    out = filled([shapely.MultiPoint(spots)])
    assert np.argwhere(out == 0).tolist() == [[0, 0], [3, 5]]


def test_shapes_of_several_kinds_are_taken_apart():
    box = shapely.box(500_000, 5_000_184, 500_016, 5_000_192)
    point, line = shapely.Point(500_081, 5_000_101), shapely.LineString([(5e5, 5e6), (6e5, 6e6)])
    nested = shapely.GeometryCollection([line, shapely.GeometryCollection([box, point])])
    out = filled([shapely.Point(), nested, shapely.Polygon(), line, box])
    assert np.argwhere(out == 1).tolist() == [[0, 0], [0, 1], [11, 10]]
    assert (out == FREE).sum() == out.size - 3
    assert filled([]).min() == FREE


def test_blocked_pixels_are_left_as_they_are():
    blocked = np.zeros(SHAPE, bool)
    blocked[:, :4] = True
    out = filled([shapely.box(500_000, 5_000_000, 500_080, 5_000_192)], blocked=blocked)
    assert (out == 0).sum() == 24 * 6
    assert (out[:, :4] == FREE).all()


def test_a_repeated_vertex_is_no_point():
    ring = [(500_001, 5_000_001), (500_001, 5_000_001), (500_003, 5_000_001), (500_002, 5_000_003)]
    assert filled([shapely.Polygon(ring)]).min() == FREE


def test_a_rotated_grid_has_the_pixels_of_the_turned_shape():
    turned = Affine.rotation(30) * Affine.scale(8, -8)
    square = shapely.box(2, 2, 5, 9)  # in pixels
    shape = shapely.transform(square, lambda xy: np.array([turned * tuple(p) for p in xy]))
    out = np.full((12, 12), FREE, np.int32)
    fill(edges_of([shape], turned), np.zeros(1, np.int32), out, (0, 0))
    assert np.argwhere(out == 0).min(axis=0).tolist() == [2, 2]
    assert (out == 0).sum() == 21


def test_each_shape_needs_a_value():
    with pytest.raises(ValueError, match="1 shapes, 2 values"):
        filled([shapely.box(0, 0, 1, 1)], [0, 1])
