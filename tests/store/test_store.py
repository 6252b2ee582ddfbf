"""The cube on disk: the same whatever the order, whole shards, and read by everybody."""

import json
import warnings

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.env import GDALVersion

from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.grid import Grid
from geocube_ml.spec.composite import MedianSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.store.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.store.cube import DIGEST, CubeStore, Variable, open_cube

SHAPE = (70, 100)
STEPS = PeriodSpec(start="2022-01", end="2022-05").steps
GRID = Grid(
    GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633"),
    StoreSpec(chunk=16, shard=32, tile=64, steps=4),
)
SENSOR = SensorSpec(
    title="NDVI", dtype="int16", nodata=-32768, scale=0.0001, bands={"ndvi": "n", "evi": "e"}
)
ATTRS = band_attrs(SENSOR, MedianSpec())
VARIABLES = [
    Variable("s2", ("time", "s2_band", "y", "x"), (5, 2, *SHAPE), "int16", -32768, ATTRS),
    Variable("s2_clear", ("time", "y", "x"), (5, *SHAPE), "uint8", 0, CLEAR_ATTRS),
]
COORDS = cube_coords(GRID, STEPS, {"s2": ["ndvi", "evi"]})


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
    consolidated = {name for name in before if after[name] != before[name]}
    assert consolidated == {"zarr.json"}
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
        "nodata": -32768, "_FillValue": -32768, "cell_methods": "time: median", DIGEST: "d1",
    }  # fmt: skip
    assert cube.attrs == {"Conventions": "CF-1.11", "title": "test"}
    assert [str(t)[:10] for t in cube.time.values] == [str(step.start) for step in STEPS]
    assert cube.time.attrs["standard_name"] == "time"
    assert cube.s2_band.values.tolist() == ["ndvi", "evi"]
    assert cube.s2_clear.attrs["long_name"] == "number of clear observations"
    said = json.loads((filled.path / "s2" / "zarr.json").read_text())
    assert said["fill_value"] == -32768
    assert said["dimension_names"] == ["time", "s2_band", "y", "x"]
    assert said["attributes"]["grid_mapping"] == "spatial_ref"


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


def test_a_plain_reader_gets_physical_values_and_nan_for_what_is_missing(tmp_path):
    store = create(tmp_path / "cube.zarr")
    block = np.full((5, 2, 64, 64), 5000, "int16")
    block[0, 0, 0, 0] = -32768
    store.write(GRID.tiles[0], {"s2": block})
    plain = xr.open_zarr(store.path)
    first = plain.s2.isel(time=0, s2_band=0, y=0)
    assert np.isnan(first[0])
    assert float(first[1]) == pytest.approx(0.5)
    assert first.isel(x=slice(64, None)).isnull().all()  # never written
    assert (plain.s2_clear == 0).all()  # a count of none is a count
    counts = xr.open_zarr(store.path, mask_and_scale=False)
    assert counts.s2.dtype == "int16"
    assert int(counts.s2[0, 0, 0, 0]) == int(counts.s2[0, 0, 69, 99]) == -32768
    assert counts.s2.rio.nodata == open_cube(store.path).s2.rio.nodata == -32768
    assert np.isnan(plain.s2.rio.nodata)
    assert plain.s2.rio.encoded_nodata == -32768


def test_a_nodata_of_nan_is_kept_in_valid_json(tmp_path):
    store = CubeStore(tmp_path / "cube.zarr", GRID)
    attrs = {"nodata": float("nan"), "grid_mapping": "spatial_ref"}
    store.create(
        [Variable("radar", ("y", "x"), SHAPE, "float32", np.nan, attrs)],
        cube_coords(GRID, (), {}),
        "d",
    )
    for name in ("zarr.json", "radar/zarr.json"):
        json.loads((store.path / name).read_text(), parse_constant=pytest.fail)
    assert np.isnan(open_cube(store.path).radar.attrs["nodata"])
    assert xr.open_zarr(store.path).radar.isnull().all()


def test_it_opens_with_its_crs_wherever_it_is_opened_from(filled):
    for decode in ("all", True):
        plain = xr.open_zarr(filled.path, decode_coords=decode)
        assert set(plain.data_vars) == {"s2", "s2_clear"}
        assert plain.rio.crs.to_epsg() == 32633
        assert plain.s2.odc.geobox == GRID.geobox
        assert plain.time_bnds.dims == ("time", "nv")
    cube = open_cube(filled.path)
    assert cube.s2.odc.geobox == GRID.geobox
    assert cube.s2.odc.nodata == cube.s2.rio.nodata == -32768
    assert cube.s2.isel(x=slice(10, 40)).rio.transform() == GRID.geobox[:, 10:40].transform


def test_it_is_opened_with_one_request_for_all_metadata(filled, monkeypatch):
    asked = []
    get = zarr.storage.LocalStore.get

    async def counted(self, key, *args, **kwargs):
        asked.append(key)
        return await get(self, key, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
    open_cube(filled.path)
    assert [key for key in asked if key.endswith("json")] == ["zarr.json"]


def test_consolidated_metadata_say_what_each_array_says(filled):
    label = Variable("label", ("y", "x"), SHAPE, "uint8", 255, {"nodata": 255})
    for change in (
        lambda: filled.create([label], cube_coords(GRID, (), {}), "d2"),
        lambda: filled.describe("s2", {"items_left_out": "one"}),
        lambda: filled.describe("", {"title": "another"}),
        lambda: filled.commit(VARIABLES, COORDS, "d1", {"title": "a third"}),
        lambda: filled.remove(["label"]),
    ):
        change()
        below = json.loads((filled.path / "zarr.json").read_text())["consolidated_metadata"]
        own = {
            path.parent.name: json.loads(path.read_text())
            for path in filled.path.glob("*/zarr.json")
        }
        assert below["metadata"] == own
    assert open_cube(filled.path).attrs["title"] == "a third"


def test_metadata_that_are_not_consolidated_are_read_but_not_written(filled):
    values = open_cube(filled.path).load()
    document = json.loads((filled.path / "zarr.json").read_text())
    del document["consolidated_metadata"]
    (filled.path / "zarr.json").write_text(json.dumps(document))
    xr.testing.assert_identical(open_cube(filled.path).load(), values)
    with pytest.raises(StaleTarget, match=r"no consolidated metadata.*--redo"):
        create(filled.path)


def test_the_zarr_conventions_say_where_it_lies(filled):
    group = json.loads((filled.path / "zarr.json").read_text())["attributes"]
    assert {one["name"] for one in group["zarr_conventions"]} == {"proj:", "spatial"}
    assert group["proj:code"] == "EPSG:32633"
    assert group["spatial:dimensions"] == ["y", "x"]
    assert group["spatial:bbox"] == [500_000, 4_999_300, 501_000, 5_000_000]
    assert "spatial:transform" not in group  # has its place in the arrays
    for name in ("s2", "s2_clear"):
        said = json.loads((filled.path / name / "zarr.json").read_text())
        attrs = said["attributes"]
        assert attrs["spatial:transform"] == [10, 0, 500_000, 0, -10, 5_000_000]
        assert attrs["spatial:shape"] == list(SHAPE) == said["shape"][-2:]
        assert set(attrs["spatial:dimensions"]) <= set(said["dimension_names"])
        assert attrs["spatial:registration"] == "pixel"
        assert [one["uuid"] for one in attrs["zarr_conventions"]] == [
            "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"
        ]


def test_a_slice_of_an_opened_cube_does_not_say_that_it_is_the_whole(filled):
    cube = open_cube(filled.path)
    for attrs in (cube.attrs, *(variable.attrs for variable in cube.variables.values())):
        assert not [name for name in attrs if ":" in name or name == "zarr_conventions"]


def test_a_crs_without_a_code_is_told_as_wkt(tmp_path):
    own = CRS.from_proj4("+proj=laea +lat_0=45 +lon_0=15 +datum=WGS84 +units=m")
    grid = Grid(GeoBox(SHAPE, GRID.geobox.transform, own), GRID.store)
    label = Variable("label", ("y", "x"), SHAPE, "uint8", 255, {"grid_mapping": "spatial_ref"})
    CubeStore(tmp_path / "c", grid).create([label], cube_coords(grid, (), {}), "d")
    attrs = json.loads((tmp_path / "c" / "zarr.json").read_text())["attributes"]
    assert "proj:code" not in attrs
    assert CRS.from_wkt(attrs["proj:wkt2"]) == own
    assert open_cube(tmp_path / "c").rio.crs == own


def test_gdal_reads_it_where_its_driver_knows_the_codecs(filled):
    with rasterio.open(filled.path) as group:
        listed = {name.rpartition("/")[2] for name in group.subdatasets}
    assert {"s2", "s2_clear"} <= listed
    if GDALVersion.runtime() < GDALVersion.parse("3.13"):
        with pytest.raises(rasterio.errors.RasterioIOError, match="Unsupported codec"):
            rasterio.open(f'ZARR:"{filled.path}":/s2:0:0')
        pytest.skip("GDAL before 3.13 knows no sharded arrays of Zarr 3")
    with rasterio.open(f'ZARR:"{filled.path}":/s2:0:0') as plane:
        assert plane.crs.to_epsg() == 32633
        assert plane.transform == GRID.geobox.transform
        assert plane.nodata == -32768
        np.testing.assert_array_equal(plane.read(1), open_cube(filled.path).s2[0, 0])


def test_a_cube_is_written_elsewhere_as_xarray_likes_it(tmp_path):
    store = create(tmp_path / "cube.zarr")
    part = open_cube(store.path)
    part.to_zarr(tmp_path / "part.zarr", zarr_format=3, consolidated=False)
    xr.testing.assert_equal(open_cube(tmp_path / "part.zarr").load(), part.load())
