"""The cube on disk: the same whatever the order, whole shards, and read by everybody."""

import json
import warnings

import numpy as np
import pytest
import rioxarray
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.cube.grid import Grid
from geocube_ml.cube.store import DIGEST, CubeStore, Variable, open_cube
from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.source import ItemsSpec, SensorSpec, SourceSpec

SHAPE = (70, 100)
MONTHS = tuple(f"2022-{month:02d}" for month in range(1, 6))
GRID = Grid(
    GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633"),
    StoreSpec(chunk=16, shard=32, tile=64, steps=4),
)
SOURCE = SourceSpec(
    sensor=SensorSpec(
        title="NDVI", dtype="int16", nodata=-32768, scale=0.0001, bands={"ndvi": "n", "evi": "e"}
    ),
    items=ItemsSpec(catalog="."),
)
VARIABLES = [
    Variable(
        "s2", ("time", "s2_band", "y", "x"), (5, 2, *SHAPE), "int16", -32768, band_attrs(SOURCE)
    ),
    Variable("s2_clear", ("time", "y", "x"), (5, *SHAPE), "uint8", 0, CLEAR_ATTRS),
]
COORDS = cube_coords(GRID, MONTHS, {"s2": ["ndvi", "evi"]})


def create(path, digest="d1"):
    store = CubeStore(path, GRID)
    store.create(VARIABLES, COORDS, digest, {"title": "test"})
    return store


def values_of(tile):
    rng = np.random.default_rng([tile.iy, tile.ix])
    shape = (tile.y.stop - tile.y.start, tile.x.stop - tile.x.start)
    return {
        "s2": rng.integers(-2000, 10_000, (5, 2, *shape)).astype("int16"),
        "s2_clear": rng.integers(0, 9, (5, *shape)).astype("uint8"),
    }


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def filled(tmp_path):
    store = create(tmp_path / "cube.zarr")
    for tile in GRID.tiles:
        store.write(tile, values_of(tile))
    return store


def test_tiles_written_in_any_order_and_twice_leave_the_same_files(filled, tmp_path):
    other = create(tmp_path / "other.zarr")
    for tile in [*GRID.tiles[::-1], GRID.tiles[1]]:
        other.write(tile, values_of(tile))
        create(tmp_path / "other.zarr")  # as a resumed run does
    assert contents(other.path) == contents(filled.path)


def test_what_was_written_is_read(filled):
    cube = open_cube(filled.path)
    for tile in GRID.tiles:
        part = cube.isel(y=tile.y, x=tile.x)
        for name, block in values_of(tile).items():
            np.testing.assert_array_equal(part[name], block, strict=True)
    assert cube.s2.chunks == ((4, 1), (1, 1), (16, 16, 16, 16, 6), (16,) * 6 + (4,))


def test_creating_again_changes_nothing(filled):
    before = contents(filled.path)
    create(filled.path)
    assert contents(filled.path) == before


def test_a_later_step_adds_its_variable_and_leaves_the_rest(filled):
    before = contents(filled.path)
    label = Variable("label", ("y", "x"), SHAPE, "uint8", 255, {"grid_mapping": "spatial_ref"})
    filled.create([label], cube_coords(GRID, (), {}), "d2")
    after = contents(filled.path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"label"}
    cube = open_cube(filled.path)
    assert cube.attrs["title"] == "test"
    assert (cube.label == 255).all()


def test_a_chunk_never_written_reads_as_fill(tmp_path):
    store = create(tmp_path / "cube.zarr")
    store.write(GRID.tiles[0], values_of(GRID.tiles[0]))
    cube = open_cube(store.path)
    assert (cube.s2.isel(x=slice(64, None)) == -32768).all()
    assert (cube.s2_clear.isel(y=slice(64, None)) == 0).all()
    assert cube.s2.dtype == "int16"


def test_shards_are_whole_numbers_of_chunks_and_tiles_of_shards(filled):
    group = zarr.open_group(filled.path, mode="r")
    assert group["s2"].chunks == (4, 1, 16, 16)
    assert group["s2"].shards == (4, 2, 32, 32)
    assert group["s2_clear"].chunks == (4, 16, 16)
    assert group["s2_clear"].shards == (4, 32, 32)
    # one object a shard: 5 months in 2, 70 rows in 3, 100 columns in 4
    assert len(list((filled.path / "s2" / "c").rglob("*/*/*/*"))) == 2 * 1 * 3 * 4
    for tile in GRID.tiles:
        assert tile.y.start % 32 == tile.x.start % 32 == 0


def test_a_small_grid_has_small_shards(tmp_path):
    grid = Grid(GRID.geobox[:20, :40], StoreSpec(chunk=16, shard=512, tile=512))
    label = Variable("label", ("y", "x"), (20, 40), "uint8", 255, {})
    CubeStore(tmp_path / "c", grid).create([label], cube_coords(grid, (), {}), "d")
    assert zarr.open_array(tmp_path / "c" / "label", mode="r").shards == (32, 48)


def test_it_opens_with_its_crs_in_rioxarray_and_odc_geo(filled):
    assert rioxarray.__version__
    cube = open_cube(filled.path)
    assert cube.rio.crs.to_epsg() == 32633
    assert cube.s2.rio.transform() == GRID.geobox.transform
    assert cube.odc.geobox == GRID.geobox
    plain = xr.open_zarr(filled.path, consolidated=False, decode_coords="all")
    assert plain.s2_clear.rio.crs.to_epsg() == 32633


def test_it_says_what_it_is_in_cf(filled):
    cube = open_cube(filled.path)
    assert cube.s2.dims == ("time", "s2_band", "y", "x")
    assert cube.s2.attrs == {
        "long_name": "NDVI", "units": "1", "scale_factor": 0.0001, "add_offset": 0.0,
        "nodata": -32768, DIGEST: "d1",
    }  # fmt: skip
    assert [str(t)[:10] for t in cube.time.values] == [f"{month}-01" for month in MONTHS]
    assert cube.time.attrs["standard_name"] == "time"
    assert cube.s2_band.values.tolist() == ["ndvi", "evi"]
    assert cube.s2_clear.attrs["long_name"] == "number of clear observations"
    said = json.loads((filled.path / "s2" / "zarr.json").read_text())
    assert said["fill_value"] == -32768
    assert said["dimension_names"] == ["time", "s2_band", "y", "x"]
    assert said["attributes"]["grid_mapping"] == "spatial_ref"


def test_scaled_values_mask_what_is_missing(tmp_path):
    store = create(tmp_path / "cube.zarr")
    tile = GRID.tiles[0]
    block = np.full((5, 2, 64, 64), 5000, "int16")
    block[0, 0, 0, 0] = -32768
    store.write(tile, {"s2": block})
    raw = open_cube(store.path).s2.isel(y=0, x=slice(0, 2), time=0, s2_band=0)
    assert raw.values.tolist() == [-32768, 5000]


def test_no_warning_on_the_way(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Use .@. matmul", PendingDeprecationWarning)
        store = create(tmp_path / "cube.zarr")
        store.write(GRID.tiles[0], values_of(GRID.tiles[0]))
        open_cube(store.path).isel(y=slice(0, 5)).compute(scheduler="sync")
    said = json.loads((store.path / "s2_band" / "zarr.json").read_text())
    assert said["data_type"] == "string"


def test_another_digest_is_refused_with_both(filled):
    before = contents(filled.path)
    with pytest.raises(StaleTarget, match=r"'s2'.*d1.*d2.*--redo"):
        create(filled.path, "d2")
    assert contents(filled.path) == before


def test_what_an_interruption_left_is_swept(filled):
    before = contents(filled.path)
    for name in ("s2/c/0/0/0/0.1f2e.partial", "x.partial", "s2_clear/zarr.json.9a.partial"):
        (filled.path / name).write_bytes(b"half")
    (filled.path / "folder.partial").mkdir()
    (filled.path / "folder.partial" / "y").write_bytes(b"half")
    create(filled.path)
    assert contents(filled.path) == before


def test_there_is_no_cube(tmp_path):
    with pytest.raises(MissingError, match=r"no cube at .*cube.zarr.*step `cube`"):
        open_cube(tmp_path / "cube.zarr")


def test_a_tile_of_another_recipe_is_not_written(filled):
    store, before = filled, contents(filled.path)
    tile = store.grid.tiles[0]
    other = {name: block * 0 for name, block in values_of(tile).items()}
    with pytest.raises(StaleTarget, match=r"made anew by another recipe .*d1.*d2"):
        store.write(tile, other, "d2")
    assert contents(store.path) == before
    store.write(tile, values_of(tile), "d1")
    assert contents(store.path) == before
