"""A cube becomes longer, or gets another source; what is there is not made again."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine

from geocube_ml.run import main
from geocube_ml.steps import cube as cube_step
from geocube_ml.steps import tiles
from geocube_ml.store.cube import CubeStore, open_cube
from tests.steps.conftest import stamps, tree

NO_LABELS = {"labels": None, "evaluate": None, "store": {"chunk": 32, "shard": 64, "tile": 64,
             "steps": 3}}  # fmt: skip


def period(start, end):
    return {**NO_LABELS, "period": {"start": start, "end": end}}


@pytest.fixture
def made(monkeypatch):
    """Names of the units that are computed, in order."""
    seen = []
    whole = tiles.TileWriter.__call__

    def noted(self, task, attempt):
        seen.append(task.unit.name)
        return whole(self, task, attempt)

    monkeypatch.setattr(tiles.TileWriter, "__call__", noted)
    return seen


@pytest.fixture(scope="module")
def at_once(values, tmp_path_factory):
    """A run's folder by its months, made once for all tests; to be left as it is."""
    found = {}

    def run(start, end):
        if (start, end) not in found:
            folder = tmp_path_factory.mktemp("at_once")
            kept = {key: values[key] for key in ("name", "sources", "grid")}
            changes = {key: value for key, value in period(start, end).items() if value}
            path = folder / "recipe.yaml"
            path.write_text(yaml.safe_dump(kept | changes | {"out": str(folder / "out")}))
            assert main([str(path)]) == 0
            found[start, end] = folder / "out"
        return found[start, end]

    return run


def blocks(names):
    return sorted({name.rsplit(".", 1)[0] for name in names})


def test_months_that_are_added_rewrite_only_the_last_block(recipe, tmp_path, made, at_once):
    assert main([str(recipe(period("2022-03", "2022-07")))]) == 0
    assert blocks(made) == ["s2.2022-03.2022-05", "s2.2022-06.2022-07"]
    n = len(made)
    first = {
        k: v
        for k, v in tree(tmp_path / "out/cube.zarr").items()
        if k.startswith("s2") and "/c/0/" in k
    }
    before = open_cube(tmp_path / "out/cube.zarr").load()
    made.clear()

    assert main([str(recipe(period("2022-03", "2022-10")))]) == 0
    assert blocks(made) == ["s2.2022-06.2022-08", "s2.2022-09.2022-10"]
    assert len(made) == n
    cube = open_cube(tmp_path / "out/cube.zarr").load()
    xr.testing.assert_equal(cube.isel(time=slice(0, 5)), before)
    after = tree(tmp_path / "out/cube.zarr")
    assert {k: after[k] for k in first} == first
    assert tree(at_once("2022-03", "2022-10") / "cube.zarr") == after


def test_a_crash_while_a_cube_grows_leaves_the_old_one_readable(
    recipe, tmp_path, monkeypatch, at_once
):
    shutil.copytree(at_once("2022-03", "2022-07"), tmp_path / "out")
    before = open_cube(tmp_path / "out/cube.zarr").load()
    whole, written = CubeStore.write, []

    def fails(self, *args, **kwargs):
        written.append(1)
        if len(written) > 3:
            raise MemoryError("killed")
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(CubeStore, "write", fails)
    longer = recipe(period("2022-03", "2022-10"))
    assert main([str(longer)]) != 0
    assert len(written) > 3
    cube = open_cube(tmp_path / "out/cube.zarr").load()
    xr.testing.assert_identical(cube, before)
    plain = xr.open_zarr(tmp_path / "out/cube.zarr", mask_and_scale=False)
    np.testing.assert_array_equal(plain["s2"], before["s2"])

    monkeypatch.setattr(CubeStore, "write", whole)
    assert main([str(longer)]) == 0
    assert open_cube(tmp_path / "out/cube.zarr").sizes["time"] == 8
    again = at_once("2022-03", "2022-10") / "cube.zarr"
    assert tree(again) == tree(tmp_path / "out/cube.zarr")


@pytest.mark.parametrize(
    ("start", "end"),
    [("2022-03", "2022-06"), ("2022-02", "2022-08"), ("2022-04", "2022-08")],
)
def test_a_period_that_does_not_begin_with_the_old_one_is_refused(
    recipe, tmp_path, capsys, at_once, start, end
):
    shutil.copytree(at_once("2022-03", "2022-07"), tmp_path / "out")
    assert main([str(recipe(period(start, end)))]) == 2
    said = capsys.readouterr().err
    assert "period." in said
    assert "2022-0" in said


def test_items_that_are_pinned_stay_as_a_cube_grows(recipe, tmp_path, archive, at_once):
    """What the catalogue has of the old months by now is not looked at."""
    items = tmp_path / "items"
    shutil.copytree(archive.items, items)
    for each in items.glob("*.json"):
        each.write_text(each.read_text().replace("../cogs", str(archive.folder / "cogs")))
    changes = {"sources.s2.items": {"catalog": str(items)}}
    assert main([str(recipe({**period("2022-03", "2022-07"), **changes}))]) == 0
    for each in items.glob("*.json"):
        if "2022-04" in json.loads(each.read_text())["properties"]["datetime"]:
            each.unlink()
    assert main([str(recipe({**period("2022-03", "2022-10"), **changes}))]) == 0
    again = open_cube(at_once("2022-03", "2022-10") / "cube.zarr")
    xr.testing.assert_equal(open_cube(tmp_path / "out/cube.zarr").load(), again.load())


def layer(tmp_path, archive):
    """A plain GeoTIFF of heights on the archive's ground."""
    import rasterio
    from rasterio.transform import from_bounds

    left, bottom, right, top = archive.bounds
    shape = (40, 40)
    folder: Path = tmp_path / "dem"
    folder.mkdir(exist_ok=True)
    heights = np.add.outer(np.arange(40), np.arange(40)).astype("float32")
    with rasterio.open(
        folder / "heights.tif", "w", driver="GTiff", width=40, height=40, count=1,
        dtype="float32", crs=archive.crs, nodata=-9999,
        transform=from_bounds(left - 50, bottom - 50, right + 50, top + 50, *shape),
    ) as dst:  # fmt: skip
        dst.write(heights, 1)
    return {
        "sensor": {
            "static": True, "dtype": "float32", "nodata": -9999,
            "bands": {"elevation": "image", "slope": {"asset": "image", "derive": "slope"}},
        },
        "items": {"files": str(folder)},
    }  # fmt: skip


def test_a_source_that_is_added_leaves_the_others_as_they_are(recipe, tmp_path, archive, made):
    few = period("2022-06", "2022-07")
    assert main([str(recipe(few))]) == 0
    s2 = tree(tmp_path / "out/cube.zarr/s2")
    made.clear()
    more = {**few, "sources.dem": layer(tmp_path, archive)}
    assert main([str(recipe(more))]) == 0
    assert blocks(made) == ["dem"]
    cube = open_cube(tmp_path / "out/cube.zarr")
    assert cube["dem"].dims == ("dem_band", "y", "x")
    assert "dem_clear" not in cube
    assert (cube["dem"].sel(dem_band="slope") > 0).all()
    assert tree(tmp_path / "out/cube.zarr/s2") == s2
    assert main([str(recipe(few))]) == 2  # and is not forgotten again


def raster(path, zeros=False):
    """64 x 64 pixels of 7 that state the nodata -1."""
    path.parent.mkdir(exist_ok=True)
    values = np.full((1, 64, 64), 7, "int16")
    if zeros:
        values[:, :20, :20] = 0
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=1, dtype="int16", nodata=-1,
        crs="EPSG:32633", transform=Affine(10, 0, 500_000, 0, -10, 5_000_000),
    ) as dst:  # fmt: skip
        dst.write(values)


@pytest.fixture
def plain(tmp_path):
    """Write a recipe of folders of rasters: name to nodata, and what else the items say."""

    def write(sources, **more):
        recipe = {
            "name": "plain", "out": str(tmp_path / "out"),
            "sources": {
                name: {
                    "sensor": {
                        "bands": {"v": "image"}, "static": "period" not in more,
                        "dtype": "int16", "nodata": nodata,
                    },
                    "items": {"files": str(tmp_path / name), **items},
                }
                for name, (nodata, items) in sources.items()
            },
            "grid": {
                "crs": "EPSG:32633", "resolution": 10,
                "bounds": [500_000, 4_999_360, 500_640, 5_000_000],
            },
            "store": {"chunk": 32, "shard": 32, "tile": 32},
            **more,
        }  # fmt: skip
        path = tmp_path / "plain.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return str(path)

    return write


def test_a_source_that_is_refused_can_be_corrected_or_left_out_again(plain, tmp_path, capsys, made):
    raster(tmp_path / "soil/a.tif")
    raster(tmp_path / "dem/a.tif", zeros=True)
    alone = {"soil": (-1, {})}
    assert main([plain(alone)]) == 0
    before, facts = tree(tmp_path / "out/cube.zarr"), tree(tmp_path / "out/records/cube")
    made.clear()

    assert main([plain({**alone, "dem": (0, {})})]) == 2
    assert "State `nodata: -1` in the sensor" in capsys.readouterr().err
    assert tree(tmp_path / "out/records/cube") == {**facts, **prices(tmp_path)}
    assert main([plain(alone)]) == 0
    assert not made
    assert tree(tmp_path / "out/cube.zarr") == before

    assert main([plain({**alone, "dem": (0, {})})]) == 2
    assert main([plain({**alone, "dem": (-1, {})})]) == 0
    assert blocks(made) == ["dem"]
    assert not (tmp_path / "out/records/cube/before.json").exists()


def prices(tmp_path):
    """What of the records of a cube may differ after a growth that was refused."""
    now = tree(tmp_path / "out/records/cube")
    return {name: now[name] for name in now if name.startswith(("nodata_", "offsets_"))}


def test_items_of_a_source_that_is_refused_can_be_excluded(plain, tmp_path, made):
    raster(tmp_path / "soil/a.tif")
    raster(tmp_path / "dem/a.tif", zeros=True)
    raster(tmp_path / "dem/b.tif")
    alone = {"soil": (-1, {})}
    assert main([plain(alone)]) == 0
    named = {"pattern": "{id}.tif"}
    assert main([plain({**alone, "dem": (0, named)})]) == 2
    made.clear()
    assert main([plain({**alone, "dem": (0, {**named, "exclude": ["a"]})})]) == 0
    assert blocks(made) == ["dem"]


def test_a_longer_period_that_is_refused_can_be_taken_back(plain, tmp_path, capsys, made):
    """And items of a growth are looked at, whatever was found of those before."""
    raster(tmp_path / "s/20220510.tif")
    raster(tmp_path / "s/20220610.tif")
    source = {"s": (0, {"pattern": "{date:%Y%m%d}.tif"})}
    few, more = ({"start": "2022-05", "end": end} for end in ("2022-06", "2022-07"))
    assert main([plain(source, period=few)]) == 0
    before, pin = tree(tmp_path / "out/cube.zarr"), tree(tmp_path / "out/items")
    made.clear()

    raster(tmp_path / "s/20220710.tif", zeros=True)
    assert main([plain(source, period=more)]) == 2
    assert "Item 2022-07-10, asset image" in capsys.readouterr().err
    assert main([plain(source, period=few), "--dry-run"]) == 0
    assert "cube: is done" in capsys.readouterr().out
    assert main([plain(source, period=few)]) == 0
    assert not made
    assert tree(tmp_path / "out/cube.zarr") == before
    assert tree(tmp_path / "out/items") == pin

    assert main([plain(source, period=more)]) == 2
    raster(tmp_path / "s/20220710.tif")  # the file was corrected
    assert main([plain(source, period=more)]) == 0
    assert open_cube(tmp_path / "out/cube.zarr").sizes["time"] == 3


def test_a_growth_that_is_stopped_before_its_first_tile_keeps_what_is_there(
    plain, tmp_path, capsys, monkeypatch, made
):
    raster(tmp_path / "soil/a.tif")
    raster(tmp_path / "dem/a.tif")
    alone = {"soil": (-1, {})}
    assert main([plain(alone)]) == 0
    records = tmp_path / "out/records/cube/tiles"
    before = stamps(records)
    made.clear()

    def stopped(*args):
        raise KeyboardInterrupt

    both = {**alone, "dem": (-1, {})}
    with monkeypatch.context() as patch:
        patch.setattr(cube_step, "checked_nodata", stopped)
        with contextlib.suppress(KeyboardInterrupt):
            assert main([plain(both)]) != 0
    assert stamps(records) == before
    assert main([plain(both), "--dry-run"]) == 0
    assert "4 of 8 tasks are done" in capsys.readouterr().out
    assert main([plain(both)]) == 0
    assert blocks(made) == ["dem"]
    assert before.items() <= stamps(records).items()


def test_a_growth_that_was_stopped_and_is_then_refused_can_be_taken_back(
    plain, tmp_path, monkeypatch, made
):
    raster(tmp_path / "soil/a.tif")
    raster(tmp_path / "dem/a.tif", zeros=True)
    alone, both = {"soil": (-1, {})}, {"soil": (-1, {}), "dem": (0, {})}
    assert main([plain(alone)]) == 0
    made.clear()

    def stopped(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cube_step, "checked_nodata", stopped)
        with contextlib.suppress(KeyboardInterrupt):
            assert main([plain(both)]) != 0
    assert main([plain(both)]) == 2
    assert main([plain(alone)]) == 0
    assert not made


def test_a_layer_that_becomes_a_series_is_refused(plain, tmp_path, capsys):
    raster(tmp_path / "s/a_20220501.tif")
    source = {"s": (-1, {"pattern": "{id}_{date:%Y%m%d}.tif"})}
    assert main([plain(source)]) == 0
    series = plain(source, period={"start": "2022-05", "end": "2022-06"})
    capsys.readouterr()
    assert main([series]) == 2
    said = capsys.readouterr().err
    assert "period" in said
    assert "--redo" in said
    assert main([series, "--redo"]) == 0
    assert open_cube(tmp_path / "out/cube.zarr").sizes["time"] == 2


def test_what_was_found_of_files_does_not_outlive_a_nodata_that_is_corrected(plain, tmp_path):
    raster(tmp_path / "soil/a.tif")
    raster(tmp_path / "dem/a.tif", zeros=True)
    assert main([plain({"soil": (0, {}), "dem": (0, {})})]) == 2
    assert main([plain({"soil": (-1, {}), "dem": (-1, {})})]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr")
    assert "files_nodata" not in cube["soil"].attrs
