"""A layer of tiles is the layer of the one raster that they were cut from."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.errors import ReadError
from geocube_ml.grid import Grid
from geocube_ml.items.catalog import find_items
from geocube_ml.price.plan import price
from geocube_ml.raster import counted
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

NODATA = -32768
STEP = 1 / 3600
# as of Copernicus GLO-30, half a pixel off the degrees; four tiles meet in the grid
CORNER = Affine(STEP, 0, 15 - STEP / 2, 0, -STEP, 46 + STEP / 2)
SHAPE = (110, 120)
TILES = {
    "N46E014": np.s_[:57, :52], "N46E015": np.s_[:57, 52:],
    "N45E014": np.s_[57:, :52], "N45E015": np.s_[57:, 52:],
}  # fmt: skip
GRIDS = {
    "finer": GeoBox((250, 210), Affine(10, 0, 500_083, 0, -10, 5_094_290), "EPSG:32633"),
    "coarser": GeoBox((40, 30), Affine(70, 0, 500_083, 0, -70, 5_094_290), "EPSG:32633"),
    "another zone": GeoBox((120, 90), Affine(20, 0, 35_100, 0, -20, 5_111_700), "EPSG:32634"),
}


def surface():
    rows, cols = np.indices(SHAPE)
    return (900 + 4 * cols - 3 * rows + 80 * np.sin(rows / 7) * np.cos(cols / 6)).astype("float32")


def write(folder, values, tiles, crs="EPSG:4326", corner=CORNER):
    """Tiles of a surface, by their name."""
    for name, (rows, cols) in tiles.items():
        there = corner * Affine.translation(cols.start or 0, rows.start or 0)
        tile = values[rows, cols]
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", height=tile.shape[0], count=1,
            width=tile.shape[1], dtype=tile.dtype, crs=crs, transform=there, nodata=NODATA,
            tiled=True, blockxsize=16, blockysize=16, compress="deflate",
        ) as dst:  # fmt: skip
            dst.write(tile, 1)
    return folder


def source_of(folder):
    bands = {"elevation": "image"} | {
        kind: {"asset": "image", "derive": kind} for kind in ("slope", "aspect")
    }
    fields = {"bands": bands, "static": True, "dtype": "float32", "nodata": NODATA}
    items = ItemsSpec(files=str(folder), pattern="{tile}.tif")
    return SourceSpec(sensor=SensorSpec(**fields), items=items)


def mosaic_of(folder, geobox, *, without=(), **how):
    source = source_of(folder)
    items = [item for item in find_items(source, None) if item.id not in without]
    grid = Grid(geobox, StoreSpec(chunk=16, shard=32, tile=32))
    return make_mosaic(items, source, grid, None, **how)


def whole_of(mosaic):
    rows, cols = mosaic.grid.shape
    return mosaic.read([0], range(len(mosaic.source.chosen)), slice(0, rows), slice(0, cols))[0][0]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    values = surface()
    values[54:60, 80:84] = NODATA
    return write(tmp_path_factory.mktemp("tiles"), values, TILES)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    values = surface()
    values[54:60, 80:84] = NODATA
    return write(tmp_path_factory.mktemp("one"), values, {"all": np.s_[:, :]})


@pytest.fixture(scope="module", params=GRIDS)
def at(request):
    return GRIDS[request.param]


def test_elevation_slope_and_aspect_of_tiles_are_those_of_the_whole(tiles, one, at):
    got, want = whole_of(mosaic_of(tiles, at)), whole_of(mosaic_of(one, at))
    assert (got[0] != NODATA).mean() > 0.5
    assert (got[0] == NODATA).any()
    np.testing.assert_array_equal(got == NODATA, want == NODATA)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], atol=1e-3)
    assert np.median(want[1]) > 1  # degrees, so that a thousandth is little
    turned = abs((got[2] - want[2] + 180) % 360 - 180)
    assert turned.max() < 0.01


WHOLES = {}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_window_is_cut_from_the_whole(tiles, at, data):
    mosaic = mosaic_of(tiles, at)
    if at not in WHOLES:
        WHOLES[at] = whole_of(mosaic)
    y, x = (
        slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))))
        for n in at.shape
    )
    got, _ = mosaic.within(y, x).read([0], range(3), y, x)
    np.testing.assert_array_equal(got[0], WHOLES[at][:, y, x])


def test_tiles_far_larger_than_pixels_of_the_grid_reach_into_every_window(tmp_path):
    """Pixels of 300 m on a grid of 10 m: half of one is 15 pixels of the grid."""
    corner = Affine(300, 0, 500_000, 0, -300, 5_100_000)
    values = surface()[:8, :8]
    halves = {"W": np.s_[:, :4], "E": np.s_[:, 4:]}
    (tmp_path / "one").mkdir()
    write(tmp_path, values, halves, "EPSG:32633", corner)
    write(tmp_path / "one", values, {"all": np.s_[:, :]}, "EPSG:32633", corner)
    geobox = GeoBox((240, 240), Affine(10, 0, 500_000, 0, -10, 5_100_000), "EPSG:32633")
    want = whole_of(mosaic_of(tmp_path / "one", geobox))
    mosaic = mosaic_of(tmp_path, geobox)
    np.testing.assert_array_equal(whole_of(mosaic), want)
    for x in (slice(100, 108), slice(119, 120), slice(132, 140)):
        got, _ = mosaic.within(slice(0, 240), x).read([0], range(3), slice(0, 240), x)
        np.testing.assert_array_equal(got[0], want[..., x])


def test_the_price_is_what_is_read(tiles, at):
    mosaic = mosaic_of(tiles, at)
    with counted() as counts:
        for tile in mosaic.grid.tiles:
            mosaic.within(tile.y, tile.x).read([0], range(3), tile.y, tile.x)
    told = price({"dem": mosaic}).sources["dem"]
    assert told.exact
    assert counts.decoded_bytes == told.bands.decoded_bytes
    assert counts.blocks == told.bands.blocks
    assert 0 < counts.opens <= told.bands.windows


def test_a_neighbour_that_cannot_be_read_is_named_or_left_out(tmp_path, at):
    write(tmp_path, surface(), TILES)
    want = whole_of(mosaic_of(tmp_path, at, without=["N45E014"]))
    path = Path(tmp_path / "N45E014.tif")
    items = find_items(source_of(tmp_path), None)
    path.write_bytes(path.read_bytes()[:2000])
    made = [
        make_mosaic(items, source_of(tmp_path), Grid(at, StoreSpec()), None, unreadable=how)
        for how in ("stop", "leave-out")
    ]
    rows, cols = (slice(0, n) for n in at.shape)
    with pytest.raises(ReadError, match=r"Item N45E014, asset image: .*cut short or damaged"):
        made[0].read([0], range(3), rows, cols)
    values, _, left_out = made[1].read_listing([0], range(3), rows, cols)
    np.testing.assert_array_equal(values[0], want)
    assert [(out.item, out.asset, out.href) for out in left_out] == [
        ("N45E014", "image", str(path))
    ]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_tiles_in_a_store_are_joined_as_those_on_a_disk(tiles, serve_files, monkeypatch, share):
    monkeypatch.setattr("geocube_ml.raster.remote._FIRST_WAIT_S", 0.01)
    server, at = serve_files(tiles), GRIDS["finer"]
    items = find_items(source_of(tiles), None)
    for item in items:
        for asset in item.assets.values():
            asset.href = asset.href.replace(str(tiles), server.url)
    grid = Grid(at, StoreSpec())
    far = make_mosaic(
        items, source_of(tiles), grid, None, storage=StorageSpec(attempts=8, deadline_s=2)
    )
    faults = ["slow_down", "too_many", "reset", "lost", "reset_body", "truncated"]
    with server.faults(share, faults=faults, at_most=2, seed=1), counted() as counts:
        values = whole_of(far)
    with counted() as near:
        want = whole_of(mosaic_of(tiles, at))
    np.testing.assert_array_equal(values, want)
    if not share:
        assert (counts.blocks, counts.opens) == (near.blocks, near.opens)


def test_tiles_of_a_date_are_joined_on_both_sides_of_greenwich(tmp_path):
    """Midnight of one date is in the west of another solar day."""
    corner = Affine(STEP, 0, -52 * STEP, 0, -STEP, 46)
    values = surface()
    dated = {
        "20210422_W": np.s_[:, :52], "20210422_E": np.s_[:, 52:],
        "20210423_S": np.s_[100:, :],
    }  # fmt: skip
    write(tmp_path, values, dated, corner=corner)
    source = source_of(tmp_path)
    items = source.items.model_copy(update={"pattern": "{date:%Y%m%d}_{tile}.tif"})
    source = source.model_copy(update={"items": items})
    at = GeoBox((200, 100), Affine(10, 0, 267_200, 0, -10, 5_098_200), "EPSG:32631")
    mosaic = make_mosaic(find_items(source, None), source, Grid(at, StoreSpec()), None)
    (scenes,) = mosaic.scenes.values()
    assert [(scene.day, len(scene.granules)) for scene in scenes] == [
        ("2021-04-22", 2), ("2021-04-23", 1),
    ]  # fmt: skip
    (tmp_path / "one").mkdir()
    write(tmp_path / "one", values, {"all": np.s_[:, :]}, corner=corner)
    got, want = whole_of(mosaic), whole_of(mosaic_of(tmp_path / "one", at))
    assert (want[0] != NODATA).mean() > 0.5
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)


def test_where_a_tile_is_masked_another_one_shows_its_own_pixels(tmp_path, write_item):
    """Tiles that overlap and disagree, each with a mask of its own."""
    values, step = surface()[:60, :80], 30
    clear = np.ones((60, 50), "uint8")
    clear[:, 35:] = 0  # of the first, in the overlap
    for name, first, raised, mask in (
        ("A", 0, 0, clear), ("B", 30, 1000, np.ones((60, 50), "uint8")),
    ):  # fmt: skip
        write_item(
            tmp_path / "dem", name, "2021-04-22T00:00:00Z", 500_000 + step * first, 5_000_000,
            {"image": (values[:, first : first + 50] + raised, step, NODATA),
             "clear": (mask, step, None)},
        )  # fmt: skip
    sensor = SensorSpec(
        bands={"elevation": "image"}, mask={"asset": "clear", "clear": [1]}, static=True,
        dtype="float32", nodata=NODATA,
    )  # fmt: skip
    items = ItemsSpec(catalog=str(tmp_path / "dem" / "items"))
    source = SourceSpec(sensor=sensor, items=items)
    at = GeoBox((180, 240), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    mosaic = make_mosaic(find_items(source, None), source, Grid(at, StoreSpec()), None)
    got = mosaic.read([0], [0], slice(0, 180), slice(0, 240))[0][0, 0]
    assert (got != NODATA).all()
    edge = 3 * 35  # from here on the first tile is masked
    assert got[:, :edge].max() < got[:, edge:].min()
