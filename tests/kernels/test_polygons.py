from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geocube_ml.kernels.polygons import burn, inset, overlaps

TO_CRS = Affine(10, 0, 500_000, 0, -10, 5_000_400)
SHAPE = (40, 40)

distances = st.integers(0, 600).map(lambda n: n / 10)
corner = st.tuples(st.integers(0, 400), st.integers(0, 400))


@st.composite
def polygons(draw):
    """Any simple polygon within the map: concave ones, slivers, ones with a hole, two parts."""
    ring = draw(st.lists(corner, min_size=3, max_size=8, unique=True))
    centre = np.mean(ring, axis=0)
    ring.sort(key=lambda p: np.arctan2(p[1] - centre[1], p[0] - centre[0]))
    shape = shapely.make_valid(shapely.Polygon(ring))
    if draw(st.booleans()):
        shape = shape.difference(shapely.Point(draw(corner)).buffer(draw(st.integers(1, 90))))
    shape = shapely.union_all([p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"])
    assume(shape.area > 0)
    return shapely.transform(shape, lambda xy: xy + np.array([500_000, 5_000_000]))


def centres():
    col, row = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    return shapely.points(500_000 + 10 * col, 5_000_400 - 10 * row)


def burnt(shapes, values, fill=255):
    return burn(shapes, values, transform=TO_CRS, shape=SHAPE, fill=fill, dtype="uint8")


@settings(max_examples=60)
@given(polygons(), distances)
def test_labelled_centres_are_at_least_inset_from_the_edge(polygon, distance):
    label = burnt(inset(np.array([polygon]), distance), [3])
    inside = centres()[label == 3]
    depth = shapely.distance(inside, polygon.boundary)
    # round a corner that points inward the buffer's edge is an arc of chords
    assert (depth >= 0.998 * distance - 1e-6).all()
    assert shapely.covers(polygon.buffer(1e-6), inside).all()


@settings(max_examples=40)
@given(polygons(), distances)
def test_centres_deeper_than_inset_are_labelled(polygon, distance):
    label = burnt(inset(np.array([polygon]), distance), [3])
    deep = shapely.covers(polygon, centres())
    # GEOS smooths dents narrower than a hundredth of the distance before it buffers
    deep &= shapely.distance(centres(), polygon.boundary) > 1.02 * distance + 1e-6
    assert (label[deep] == 3).all()


@settings(max_examples=40)
@given(st.lists(st.tuples(polygons(), st.integers(0, 5)), max_size=4))
def test_a_pixel_has_the_value_of_the_last_polygon_over_its_centre(drawn):
    shapes, values = [s for s, _ in drawn], [v for _, v in drawn]
    got = burnt(shapes, values)
    want = np.full(SHAPE, 255, "uint8")
    undecided = np.zeros(SHAPE, bool)  # on an edge
    for shape, value in drawn:
        want[shapely.covers(shape, centres())] = value
        undecided |= shapely.distance(shape.boundary, centres()) < 1e-6
    assert got.dtype == np.uint8
    assert (got == want)[~undecided].all()


def test_empty_polygons_are_skipped():
    gone = inset(np.array([shapely.box(500_000, 5_000_000, 500_030, 5_000_030)]), 15)
    assert shapely.is_empty(gone).all()
    assert (burnt(gone, [1], fill=7) == 7).all()
    assert (burnt([], [], fill=7) == 7).all()


def test_each_polygon_needs_a_value():
    with pytest.raises(ValueError, match="shorter"):
        burnt([shapely.box(0, 0, 1, 1)], [])


def test_an_inset_is_not_negative():
    with pytest.raises(ValueError, match=r"at least 0 m, got -1"):
        inset(np.array([shapely.box(0, 0, 1, 1)]), -1)


def test_a_square_by_hand():
    """30 m of 3 x 3 pixels; 10 m in from its edge lies one pixel."""
    square = np.array([shapely.box(500_100, 5_000_100, 500_130, 5_000_130)])
    assert (burnt(square, [1]) == 1).sum() == 9
    assert np.argwhere(burnt(inset(square, 10), [1]) == 1).tolist() == [[28, 11]]


@settings(max_examples=40)
@given(st.lists(st.tuples(polygons(), st.integers(0, 2)), max_size=5))
def test_overlaps_are_the_pairs_of_two_classes_that_share_ground(drawn):
    shapes, codes = np.array([s for s, _ in drawn], object), np.array([c for _, c in drawn], int)
    got = {(i, j): shared for i, j, shared in overlaps(shapes, codes)}
    want = {
        (i, j)
        for i, j in combinations(range(len(shapes)), 2)
        if codes[i] != codes[j] and shapes[i].intersection(shapes[j]).area > 0
    }
    assert set(got) == want
    for (i, j), shared in got.items():
        assert shared.area == pytest.approx(shapes[i].intersection(shapes[j]).area)


def test_three_over_one_another_are_three_pairs():
    shapes = np.array([shapely.box(k, k, k + 10, k + 10) for k in (0, 2, 4)])
    got = overlaps(shapes, np.array([0, 1, 2]))
    assert sorted((i, j, shared.area) for i, j, shared in got) == [
        (0, 1, 64), (0, 2, 36), (1, 2, 64),
    ]  # fmt: skip


@pytest.mark.parametrize("other", [shapely.box(10, 0, 20, 10), shapely.box(10, 10, 20, 20)])
def test_neighbours_that_only_touch_do_not_overlap(other):
    shapes = np.array([shapely.box(0, 0, 10, 10), other])
    assert overlaps(shapes, np.array([0, 1])) == []


def test_polygons_of_one_class_may_overlap():
    shapes = np.array([shapely.box(0, 0, 10, 10)] * 2)
    assert overlaps(shapes, np.array([1, 1])) == []
