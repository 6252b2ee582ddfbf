"""The grid that a recipe asks for, and the tiles that cover it."""

import math
import pickle

import numpy as np
import pystac
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import Transformer

from geocube_ml.errors import GridMismatch, InputError, SpecError
from geocube_ml.grid import Grid, area_on, make_grid
from geocube_ml.spec.grid import GridSpec, StoreSpec

UTM = "EPSG:32633"


def store_of(chunk, shards=1, tiles=1):
    return StoreSpec(chunk=chunk, shard=chunk * shards, tile=chunk * shards * tiles)


@settings(max_examples=60)
@given(
    rows=st.integers(1, 300), cols=st.integers(1, 300), chunk=st.integers(16, 70),
    shards=st.integers(1, 3), tiles=st.integers(1, 3),
)  # fmt: skip
def test_tiles_cover_the_grid_exactly_once(rows, cols, chunk, shards, tiles):
    store = store_of(chunk, shards, tiles)
    grid = Grid(GeoBox((rows, cols), Affine(10, 0, 0, 0, -10, 0), UTM), store)
    seen = np.zeros((rows, cols), int)
    for tile in grid.tiles:
        seen[tile.y, tile.x] += 1
        assert tile.y.start % store.shard == tile.x.start % store.shard == 0
        assert tile.y.stop % store.shard == 0 or tile.y.stop == rows
        assert tile.x.stop % store.shard == 0 or tile.x.stop == cols
    assert (seen == 1).all()
    names = [tile.name for tile in grid.tiles]
    assert names == sorted(set(names))


@given(
    left=st.floats(400_000, 600_000), bottom=st.floats(1e6, 9e6), width=st.floats(5, 5_000),
    height=st.floats(5, 5_000), resolution=st.sampled_from([10, 20, 30, 120, 2.5]),
)  # fmt: skip
def test_bounds_grow_to_whole_pixels(left, bottom, width, height, resolution):
    bounds = (left, bottom, left + width, bottom + height)
    grid = make_grid(GridSpec(crs=UTM, resolution=resolution, bounds=bounds))
    got = grid.geobox.boundingbox.bbox
    slack = 0.011 * resolution  # what lies within a hundredth of a pixel's edge is on the edge
    for edge, asked, sign in zip(got, bounds, (-1, -1, 1, 1), strict=True):
        assert edge / resolution == pytest.approx(round(edge / resolution), abs=1e-6)
        assert -slack <= sign * (edge - asked) < resolution + slack
    assert grid.geobox.resolution.xy == (resolution, -resolution)


def test_bounds_on_whole_pixels_are_kept():
    bounds = (265_760, 5_130_100, 272_320, 5_133_600)
    grid = make_grid(GridSpec(crs=UTM, resolution=10, bounds=bounds))
    assert grid.geobox.boundingbox.bbox == bounds
    assert grid.shape == (350, 656)


@pytest.mark.parametrize("crs", [UTM, "EPSG:3035", "EPSG:3857", "+proj=laea +lat_0=45 +lon_0=14"])
def test_a_bbox_in_degrees_lies_inside_its_grid(crs):
    west, south, east, north = bbox = (14.0, 45.0, 15.5, 46.0)
    grid = make_grid(GridSpec(crs=crs, resolution=100, bbox=bbox))
    left, bottom, right, top = grid.geobox.boundingbox.bbox
    to_grid = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    lon, lat = np.meshgrid(np.linspace(west, east, 31), np.linspace(south, north, 31))
    x, y = to_grid.transform(lon, lat)
    slack = 2  # m; curved edges are followed in steps of a hundredth of a degree
    assert x.min() >= left - slack
    assert x.max() <= right + slack
    assert y.min() >= bottom - slack
    assert y.max() <= top + slack
    assert left >= x.min() - 101
    assert top <= y.max() + 101
    outline = grid.lonlat().geom
    assert outline.buffer(1e-4).contains(shapely.box(*bbox))


def test_the_outline_across_the_antimeridian_is_in_two_parts():
    grid = make_grid(
        GridSpec(crs="EPSG:32660", resolution=1000, bounds=(600_000, 7e6, 750_000, 7.1e6))
    )
    outline = grid.lonlat().geom
    assert outline.geom_type == "MultiPolygon"
    assert sorted(round(part.bounds[0]) for part in outline.geoms) == [-180, 179]
    assert outline.area < 6
    assert not outline.intersects(shapely.Point(0, 63.5))


@pytest.mark.parametrize(
    ("crs", "more", "said"),
    [
        ("EPSG:4326", {"bbox": (14, 45, 15, 46)}, ["geographic", "EPSG:32633"]),
        ("EPSG:4326", {"bounds": (14, 45, 15, 46)}, ["geographic", "EPSG:32633"]),
        ("EPSG:4326", {"bbox": (-71, -34, -70, -33)}, ["geographic", "EPSG:32719"]),
        ("EPSG:4326", {"bbox": (179, 10, 180, 11)}, ["geographic", "EPSG:32660"]),
        ("EPSG:2263", {"bounds": (9e5, 1e5, 9.1e5, 1.1e5)}, ["US survey foot", "UTM zone"]),
        ("EPSG:2263", {"bbox": (-74, 40, -73.9, 40.1)}, ["US survey foot", "EPSG:32618"]),
        ("EPSG:999999", {"bounds": (0, 0, 1, 1)}, ["EPSG:999999", "not a coordinate"]),
        ("nonsense", {"bounds": (0, 0, 1, 1)}, ["nonsense", "EPSG:32633, as WKT"]),
    ],
)
def test_a_crs_that_is_not_in_metres_is_refused_with_another(crs, more, said):
    with pytest.raises(SpecError) as caught:
        make_grid(GridSpec(crs=crs, resolution=10, **more))
    assert all(word in str(caught.value) for word in said)


# -- the items' own grid --------------------------------------------------------------------


def item_on(name, transform, shape=(100, 101), code=UTM):
    item = _item(name)
    asset = pystac.Asset("x.tif")
    asset.extra_fields = {
        "proj:shape": list(shape),
        "proj:transform": list(transform),
        "proj:code": code,
    }
    item.add_asset("ndvi", asset)
    return item


def _item(name):
    return pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": name,
            "geometry": None,
            "properties": {"datetime": "2022-01-01T00:00:00Z"},
            "links": [],
            "assets": {},
        }
    )


ODD = (9.9948, 0, 465_181.05, 0, -9.9974, 5_080_254.63)


def test_like_takes_the_items_own_grid_to_the_last_digit():
    grid = make_grid(GridSpec(like="ndvi"), store_of(32), [item_on("a", ODD), item_on("b", ODD)])
    assert tuple(grid.geobox.transform[:6]) == ODD
    assert grid.shape == (100, 101)
    assert grid.store.chunk == 32


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"transform": (*ODD[:2], ODD[2] + 5, *ODD[3:])}, "465186"),
        ({"transform": ODD, "shape": (100, 102)}, "100 x 102"),
        ({"transform": ODD, "code": "EPSG:32632"}, "b has"),
    ],
)
def test_like_refuses_items_that_differ_and_names_both(other, said):
    with pytest.raises(GridMismatch) as caught:
        make_grid(GridSpec(like="ndvi"), items=[item_on("a", ODD), item_on("b", **other)])
    text = str(caught.value)
    assert said in text
    assert "a has 100 x 101 pixels" in text
    assert "State crs" in text


def test_like_refuses_what_no_grid_can_be():
    degrees = item_on("a", (1e-4, 0, 14, 0, -1e-4, 46), code="EPSG:4326")
    with pytest.raises(SpecError, match=r"EPSG:4326 is geographic"):
        make_grid(GridSpec(like="ndvi"), items=[degrees])
    turned = item_on("a", (math.sqrt(50), math.sqrt(50), 5e5, math.sqrt(50), -math.sqrt(50), 5e6))
    with pytest.raises(InputError, match=r"ndvi of a lies on a rotated grid"):
        make_grid(GridSpec(like="ndvi"), items=[turned])
    with pytest.raises(SpecError, match=r"there are none"):
        make_grid(GridSpec(like="ndvi"))
    with pytest.raises(InputError, match=r"a has no asset 'clm'"):
        make_grid(GridSpec(like="clm"), items=[item_on("a", ODD)])


# -- the area to map ------------------------------------------------------------------------


def area_of(shape, crs="EPSG:4326"):
    return Geometry(shape, crs)


@settings(max_examples=40)
@given(
    corners=st.lists(
        st.tuples(st.floats(13.0, 13.2), st.floats(46.0, 46.1)), min_size=3, max_size=8
    ),
    tile=st.sampled_from([16, 48, 160]),
)
def test_tiles_that_are_made_hold_every_pixel_of_the_area_and_each_meets_it(corners, tile):
    hull = shapely.convex_hull(shapely.MultiPoint(corners))
    assume(hull.area > 1e-5)
    store = StoreSpec(chunk=16, shard=16, tile=tile)
    grid = make_grid(GridSpec(crs=UTM, resolution=60), store, area=area_of(hull))
    area = area_on(grid.geobox, area_of(hull))
    rows, cols = grid.shape
    made = np.zeros((rows, cols), bool)
    for one in grid.tiles:
        assert shapely.intersects(area, grid.geobox[one.y, one.x].extent.geom)
        made[one.y, one.x] = True
    at = grid.geobox.transform
    x, y = at.c + at.a * (np.arange(cols) + 0.5), at.f + at.e * (np.arange(rows) + 0.5)
    inside = shapely.contains_xy(area, *np.meshgrid(x, y))
    assert made[inside].all()
    assert grid.ground.area == pytest.approx(made.sum() * 3600)
    slack = 0.011 * 60
    assert shapely.buffer(grid.geobox.extent.geom, slack).contains(area)


def test_without_a_crs_it_is_the_utm_zone_of_the_area():
    for shape, code in [
        (shapely.box(14, 45, 14.01, 45.01), 32633),
        (shapely.box(-71, -34, -70.99, -33.99), 32719),
        (shapely.box(179.9, -1, 180, -0.9), 32760),
    ]:
        grid = make_grid(GridSpec(resolution=10), area=area_of(shape))
        assert grid.geobox.crs.epsg == code
        assert grid.made is None


def test_straight_edges_in_degrees_are_arcs_on_the_grid():
    """A parallel at 60 degrees north bends by kilometres over ten degrees of longitude."""
    grid = make_grid(GridSpec(resolution=100), area=area_of(shapely.box(10, 60, 20, 60.5)))
    area = area_on(grid.geobox, area_of(shapely.box(10, 60, 20, 60.5)))
    to_grid = Transformer.from_crs("EPSG:4326", grid.geobox.crs, always_xy=True)
    lon = np.linspace(10.001, 19.999, 97)
    for lat, inside in ((59.9999, False), (60.0001, True), (60.4999, True), (60.5001, False)):
        x, y = to_grid.transform(lon, np.full_like(lon, lat))
        assert (shapely.contains_xy(area, x, y) == inside).all()


def test_a_boundary_of_many_vertices_makes_no_task_larger():
    ring = shapely.Point(500_000, 5_000_000).buffer(30_000, quad_segs=50_000)
    grid = make_grid(GridSpec(crs=UTM, resolution=10), store_of(256), area=area_of(ring, crs=UTM))
    assert len(grid.tiles) < 24 * 24
    assert len(pickle.dumps(grid)) < 2000


@pytest.mark.parametrize(
    ("shape", "crs", "spec", "error", "said"),
    [
        (shapely.box(0, 50, 20, 51), "EPSG:4326", {}, SpecError, "no UTM zone is right"),
        (shapely.box(0, 85, 1, 86), "EPSG:4326", {}, SpecError, "85.00 to 86.00 north"),
        (
            shapely.MultiPolygon([shapely.box(179, 10, 180, 11), shapely.box(-180, 10, -179, 11)]),
            "EPSG:4326", {"crs": "EPSG:32660"}, InputError, "across the antimeridian",
        ),
        (
            shapely.box(14, 45, 15, 46), "EPSG:4326", {"crs": "EPSG:4326"}, SpecError,
            "is geographic",
        ),
    ],
)  # fmt: skip
def test_an_area_that_no_grid_covers_is_refused(shape, crs, spec, error, said):
    with pytest.raises(error, match=said):
        make_grid(GridSpec(resolution=10, **spec), area=area_of(shape, crs))


def test_an_area_outside_a_stated_grid_is_refused_with_both_places():
    grid = make_grid(GridSpec(crs=UTM, resolution=10, bounds=(500_000, 5e6, 501_000, 5.001e6)))
    with pytest.raises(InputError, match=r"lies outside the grid: .* 600000, 5000000") as caught:
        area_on(grid.geobox, area_of(shapely.box(6e5, 5e6, 6.01e5, 5.001e6), UTM))
    assert "500000, 5000000, 501000" in str(caught.value)


def test_a_grid_of_an_area_needs_one():
    with pytest.raises(SpecError, match=r"neither an extent nor an area"):
        make_grid(GridSpec(resolution=10))
