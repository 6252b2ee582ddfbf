"""Overviews: on an exact grid, of the pixels with data, and found by their factor."""

import json
import pickle

import numpy as np
import pytest
import rioxarray
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

import geocube_ml.store.overviews as overviews
from geocube_ml.errors import MissingError
from geocube_ml.grid import Grid
from geocube_ml.kernels.coarsen import block_mean, block_mode
from geocube_ml.spec.composite import MedianSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.store.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.store.cube import CubeStore, Variable, open_cube
from geocube_ml.store.overviews import (
    OverviewWork,
    overview_grid,
    overview_levels,
    overview_store,
    overview_variables,
    pyramid,
)

SHAPE = (150, 205)  # no multiple of 4 or 16
GRID = Grid(
    GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633"),
    StoreSpec(chunk=16, shard=32, tile=64, steps=4),
)
SENSOR = SensorSpec(dtype="uint16", scale=0.0001, bands={"red": "r", "nir": "n"})
ATTRS = band_attrs(SENSOR, MedianSpec())
NAMES = ("s2", "s2_clear", "class")


@pytest.fixture(autouse=True)
def small_screen(monkeypatch):
    monkeypatch.setattr(overviews, "ENOUGH", 16)


def parts(months):
    codes = {"flag_values": [0, 1, 2], "nodata": 255, "grid_mapping": "spatial_ref"}
    dims = ("time", "s2_band", "y", "x")
    variables = [
        Variable("s2", dims, (months, 2, *SHAPE), "uint16", 0, ATTRS, "d"),
        Variable("s2_clear", ("time", "y", "x"), (months, *SHAPE), "uint8", 0, CLEAR_ATTRS, "d"),
        Variable("class", ("y", "x"), SHAPE, "uint8", 255, codes, "d"),
    ]
    steps = PeriodSpec(start="2022-01", end=f"2022-{months:02d}").steps
    return variables, steps


def data(months):
    rng = np.random.default_rng(1)
    s2 = rng.integers(0, 5, (12, 2, *SHAPE)).astype("uint16")[:months] * 1000
    clear = rng.integers(0, 9, (12, *SHAPE)).astype("uint8")[:months]
    return {"s2": s2, "s2_clear": clear, "class": rng.choice(np.uint8([0, 1, 2, 255]), SHAPE)}


def make(path, months):
    """A cube and its overviews, as a step makes them; may be called again with more months."""
    variables, steps = parts(months)
    bands = {"s2": ["red", "nir"]}
    base = CubeStore(path, GRID)
    levels = [(overview_store(base, factor), factor) for factor in overview_levels(GRID)]
    for store, factor in [(base, 1), *levels]:
        mine = variables if factor == 1 else overview_variables(variables, GRID, factor)
        coords = cube_coords(store.grid, steps, bands)
        store.create(mine, coords)
        work = OverviewWork(path, factor, NAMES)
        for tile in store.grid.tiles:
            for start in range(0, months, 4):
                block = slice(start, min(start + 4, months))
                if factor == 1:
                    values = {n: v[..., tile.y, tile.x] for n, v in data(months).items()}
                    values |= {n: values[n][block] for n in ("s2", "s2_clear")}
                else:
                    values = work(tile, block)
                store.write(tile, values, "d", block)
        store.commit(mine, coords)
    base.describe("", pyramid(GRID))
    return base


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overviews, "ENOUGH", 16)
        return make(tmp_path_factory.mktemp("cube") / "cube.zarr", 6)


def test_levels_go_on_until_the_longer_edge_is_small_enough(monkeypatch):
    assert overview_levels(GRID) == (4, 16)  # 52, then 13 columns
    monkeypatch.undo()
    for edge, factors in ((1024, ()), (1025, (4,)), (4096, (4,)), (4097, (4, 16))):
        shape = (10, edge)
        grid = Grid(GeoBox(shape, GRID.geobox.transform, GRID.geobox.crs), StoreSpec())
        assert overview_levels(grid) == factors


def test_each_level_is_the_block_mean_of_the_one_before(made):
    want = data(6)
    for factor in (4, 16):
        cube = open_cube(made.path, overview=factor)
        want = {
            "s2": block_mean(want["s2"], 4, 0),
            "s2_clear": block_mean(want["s2_clear"], 4, None),
            "class": block_mode(want["class"], 4, 255),
        }
        for name, values in want.items():
            np.testing.assert_array_equal(cube[name], values, strict=True)


def test_coordinates_are_the_centres_of_coarse_pixels(made):
    for factor in (4, 16):
        cube = open_cube(made.path, overview=factor)
        assert cube.odc.geobox == overview_grid(GRID, factor).geobox
        assert float(cube.x[0]) == 500_000 + 10 * factor / 2
        assert float(cube.y[0]) == 5_000_000 - 10 * factor / 2
        assert rioxarray.__version__
        assert cube.rio.transform() == GRID.geobox.transform @ Affine.scale(factor)
        assert cube.sizes["x"] == -(-205 // factor)
        assert cube.sizes["y"] == -(-150 // factor)
        assert cube.rio.crs.to_epsg() == 32633
        # the mean of the fine pixels' centres, but for those that reach over the edge
        fine = open_cube(made.path).x.values[: 205 // factor * factor].reshape(-1, factor)
        np.testing.assert_allclose(cube.x.values[: len(fine)], fine.mean(axis=1))


def test_an_overview_says_how_it_was_made(made):
    cube = open_cube(made.path, overview=4)
    assert cube.s2.attrs["cell_methods"] == "time: median area: mean"
    assert cube["class"].attrs["cell_methods"] == "area: mode"
    assert cube.s2.attrs["scale_factor"] == 0.0001
    np.testing.assert_array_equal(cube.time, open_cube(made.path).time)


def test_the_cube_itself_is_what_it_was(made):
    cube = open_cube(made.path)
    assert set(cube.data_vars) == set(NAMES)
    np.testing.assert_array_equal(cube.s2, data(6)["s2"])
    plain = xr.open_zarr(made.path, group="overviews/16", mask_and_scale=False)
    np.testing.assert_array_equal(plain.s2, open_cube(made.path, overview=16).s2)


def test_the_levels_are_listed_by_the_multiscales_convention(made):
    attrs = json.loads((made.path / "zarr.json").read_text())["attributes"]
    names = {one["name"] for one in attrs["zarr_conventions"]}
    assert names == {"multiscales", "proj:", "spatial"}
    layout = attrs["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == [".", "overviews/4", "overviews/16"]
    assert [level.get("derived_from") for level in layout] == [None, ".", "overviews/4"]
    for level, factor in zip(layout, (1, 4, 16), strict=True):
        relative = 1.0 if factor == 1 else 4.0
        assert level["transform"] == {"scale": [relative] * 2, "translation": [0.0, 0.0]}
        grid = overview_grid(GRID, factor)
        assert level["spatial:shape"] == list(grid.shape)
        assert Affine(*level["spatial:transform"]) == grid.geobox.transform
        group = json.loads((made.path / level["asset"] / "zarr.json").read_text())
        assert group["attributes"]["proj:code"] == "EPSG:32633"
        array = json.loads((made.path / level["asset"] / "s2" / "zarr.json").read_text())
        assert array["attributes"]["spatial:transform"] == level["spatial:transform"]


def test_appended_overviews_equal_those_made_at_once(tmp_path, made):
    grown = make(tmp_path / "cube.zarr", 5)
    make(grown.path, 6)
    assert contents(grown.path) == contents(made.path)


def test_no_more_than_a_shard_is_read_at_a_time(made, monkeypatch):
    seen = []
    mean = overviews.block_mean
    monkeypatch.setattr(
        overviews, "block_mean", lambda v, *rest: (seen.append(v.shape[-2:]), mean(v, *rest))[1]
    )
    work = OverviewWork(made.path, 4, ("s2",))
    tile = overview_store(made, 4).grid.tiles[0]
    assert pickle.loads(pickle.dumps(work))(tile)["s2"].shape == (6, 2, 32, 32)
    assert seen == [(32, 32)] * 16


def test_an_overview_that_is_not_there_is_named(made, tmp_path):
    with pytest.raises(MissingError, match="no overview of factor 8"):
        open_cube(made.path, overview=8)
    with pytest.raises(MissingError, match="no cube at"):
        open_cube(tmp_path / "none.zarr", overview=4)


def test_what_is_removed_is_removed_from_the_overviews(tmp_path):
    store = make(tmp_path / "cube.zarr", 4)
    store.remove(["class"])
    for factor in (None, 4, 16):
        assert "class" not in open_cube(store.path, overview=factor)
        assert "s2" in open_cube(store.path, overview=factor)
    assert not list(store.path.rglob("class"))


def test_a_mean_of_decibels_is_of_linear_power(tmp_path):
    """Counted by hand: of 0 and 10 dB in equal parts it is 10 log10 5.5, not 5."""
    sensor = SensorSpec(
        dtype="float32", nodata=-9999, power="decibel",
        bands={"vv": {"asset": "vv", "resampling": "nearest", "coarsening": "nearest"}},
    )  # fmt: skip
    attrs = band_attrs(sensor, MedianSpec())
    assert attrs["units"] == "dB"
    dims = ("time", "s1_band", "y", "x")
    variable = Variable("s1", dims, (1, 1, *SHAPE), "float32", -9999, attrs, "d")
    steps = PeriodSpec(start="2022-01", end="2022-01").steps
    values = np.zeros((1, 1, *SHAPE), "float32")
    values[..., ::2] = 10
    values[..., :4, :3] = -9999  # of the first block one column is left, of 10 or of 0 dB
    values[..., :4, 4:8] = -9999
    base = CubeStore(tmp_path / "cube.zarr", GRID)
    for factor in (1, 4, 16):
        store = base if factor == 1 else overview_store(base, factor)
        mine = [variable] if factor == 1 else overview_variables([variable], GRID, factor)
        coords = cube_coords(store.grid, steps, {"s1": ["vv"]})
        store.create(mine, coords)
        work = OverviewWork(base.path, factor, ("s1",))
        for tile in store.grid.tiles:
            cut = {"s1": values[..., tile.y, tile.x]} if factor == 1 else work(tile)
            store.write(tile, cut, "d", slice(0, 1))
        store.commit(mine, coords)
    half = 10 * np.log10((1 + 10) / 2)
    once = open_cube(base.path, overview=4)["s1"].values[0, 0]
    assert once[0, 0] == pytest.approx(values[0, 0, 0, 3], abs=1e-5)
    assert once[0, 1] == -9999
    np.testing.assert_allclose(once[1:-1, 1:-1], half, rtol=1e-5)
    twice = open_cube(base.path, overview=16)["s1"].values[0, 0]
    np.testing.assert_allclose(twice[1:-1, 1:-1], half, rtol=1e-5)  # each block counts the same


def test_xarray_opens_all_levels_as_groups_and_the_overviews_as_a_tree(made):
    """Not the cube with them: a tree's children share the sizes of what they lie in."""
    groups = xr.open_groups(made.path, engine="zarr", mask_and_scale=False)
    assert set(groups) == {"/", "/overviews", "/overviews/4", "/overviews/16"}
    np.testing.assert_array_equal(groups["/"].s2, open_cube(made.path).s2)
    tree = xr.open_datatree(made.path, group="overviews", engine="zarr", mask_and_scale=False)
    for factor in (4, 16):
        want = open_cube(made.path, overview=factor)
        np.testing.assert_array_equal(tree[f"{factor}/s2"], want.s2)
