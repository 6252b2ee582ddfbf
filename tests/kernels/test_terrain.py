from __future__ import annotations

from math import atan, atan2, cos, degrees, hypot, radians, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.terrain import terrain

NODATA = -9999
KINDS = ("slope", "aspect", "northness", "eastness")
heights = st.integers(-50, 50) | st.just(NODATA)
elevations = npst.arrays(
    "int16", st.tuples(st.integers(2, 6), st.integers(2, 6)), elements=heights
)  # fmt: skip


def horn(window, spacing, kind):
    """One pixel of a 3 x 3 window, as GDAL's formulas have it."""
    centre = window[1][1]
    if centre == NODATA:
        return NODATA
    (a, b, c), (d, _, f), (g, h, i) = [
        [centre if v == NODATA else v for v in row] for row in window
    ]
    dx = ((c + f + f + i) - (a + d + d + g)) / (8 * spacing)
    dy = ((g + h + h + i) - (a + b + b + c)) / (8 * spacing)
    if kind == "slope":
        return degrees(atan(hypot(dx, dy)))
    if dx == dy == 0:
        return NODATA if kind == "aspect" else 0
    aspect = degrees(atan2(dy, -dx))  # anticlockwise from east
    aspect = 450 - aspect if aspect > 90 else 90 - aspect
    if kind == "aspect":
        return aspect % 360
    part = cos if kind == "northness" else sin
    return part(radians(aspect)) * sin(atan(hypot(dx, dy)))


@pytest.mark.parametrize("kind", KINDS)
@given(elevations, st.sampled_from([1.0, 10.0, 30.0]))
def test_each_pixel_is_by_horn_and_missing_neighbours_are_level(kind, elevation, spacing):
    got = terrain(elevation, spacing, NODATA, kind)
    assert got.dtype == np.float32
    assert got.shape == (elevation.shape[0] - 2, elevation.shape[1] - 2)
    for y, x in np.ndindex(got.shape):
        want = horn(elevation[y : y + 3, x : x + 3].tolist(), spacing, kind)
        assert got[y, x] == pytest.approx(want, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("down_to", "aspect"),
    [
        ((0, 1), 90), ((1, 0), 180), ((0, -1), 270), ((-1, 0), 0),
        ((-1, 1), 45), ((1, 1), 135), ((1, -1), 225), ((-1, -1), 315),
    ],
)  # fmt: skip
def test_aspect_is_where_the_ground_falls_to_clockwise_from_north(down_to, aspect):
    """Rows run from north to south: (0, 1) is a fall towards the east."""
    y, x = np.mgrid[:5, :6]
    plane = (1000 - 10 * (down_to[0] * y + down_to[1] * x)).astype("float32")
    steep = radians(atan(hypot(*down_to)) * 180 / np.pi)
    got = {kind: terrain(plane, 10, NODATA, kind) for kind in KINDS}
    np.testing.assert_allclose(got["aspect"], aspect, atol=1e-4)
    np.testing.assert_allclose(got["slope"], degrees(steep), rtol=1e-6)
    np.testing.assert_allclose(got["northness"], cos(radians(aspect)) * sin(steep), atol=1e-6)
    np.testing.assert_allclose(got["eastness"], sin(radians(aspect)) * sin(steep), atol=1e-6)


def test_level_ground_has_no_aspect():
    level = np.full((4, 4), 0.1, "float32")
    assert (terrain(level, 10, NODATA, "aspect") == NODATA).all()
    for kind in ("slope", "northness", "eastness"):
        assert (terrain(level, 10, NODATA, kind) == 0).all()


def test_an_aspect_is_below_360():
    """A fall to the north, and by next to nothing to the west."""
    y, x = np.mgrid[:3, :3].astype(float)
    assert terrain(1000 * y + 1e-9 * x, 10, NODATA, "aspect").tolist() == [[0]]


@pytest.mark.parametrize("nodata", [np.nan, NODATA])
def test_nodata_is_where_the_centre_is_and_nowhere_else(nodata):
    rng = np.random.default_rng(0)
    elevation = rng.uniform(0, 900, (12, 14)).astype("float32")
    elevation[rng.random(elevation.shape) < 0.5] = nodata
    missing = np.isnan(elevation) if np.isnan(nodata) else elevation == nodata
    for kind in ("slope", "northness", "eastness"):
        got = terrain(elevation, 20, nodata, kind)
        found = np.isnan(got) if np.isnan(nodata) else got == nodata
        np.testing.assert_array_equal(found, missing[1:-1, 1:-1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_has_the_values_of_the_whole(kind):
    rng = np.random.default_rng(0)
    elevation = rng.uniform(0, 900, (30, 31)).astype("float32")
    whole = terrain(elevation, 20, NODATA, kind)
    window = terrain(elevation[10:22, 5:19], 20, NODATA, kind)
    np.testing.assert_array_equal(window, whole[10:20, 5:17])


def test_a_rim_of_one_pixel_is_needed():
    with pytest.raises(ValueError, match=r"one pixel more on each side, got the shape \(1, 5\)"):
        terrain(np.zeros((1, 5), "float32"), 10, NODATA, "slope")
