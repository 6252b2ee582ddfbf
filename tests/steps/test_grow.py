"""A cube becomes longer, or gets another source; what is there is not made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geocube_ml.run import main
from geocube_ml.steps import tiles
from geocube_ml.store.cube import CubeStore, open_cube
from tests.steps.conftest import tree

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


def blocks(names):
    return sorted({name.rsplit(".", 1)[0] for name in names})


def at_once(recipe, tmp_path, changes):
    path = recipe({**changes, "out": str(tmp_path / "at_once")}, name="at_once.yaml")
    assert main([str(path)]) == 0
    return tmp_path / "at_once" / "cube.zarr"


def test_months_that_are_added_rewrite_only_the_last_block(recipe, tmp_path, made):
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
    again = at_once(recipe, tmp_path, period("2022-03", "2022-10"))
    assert tree(again) == after


def test_a_crash_while_a_cube_grows_leaves_the_old_one_readable(recipe, tmp_path, monkeypatch):
    path = recipe(period("2022-03", "2022-07"))
    assert main([str(path)]) == 0
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
    again = at_once(recipe, tmp_path, period("2022-03", "2022-10"))
    assert tree(again) == tree(tmp_path / "out/cube.zarr")


@pytest.mark.parametrize(
    ("start", "end"),
    [("2022-03", "2022-06"), ("2022-02", "2022-08"), ("2022-04", "2022-08")],
)
def test_a_period_that_does_not_begin_with_the_old_one_is_refused(recipe, capsys, start, end):
    assert main([str(recipe(period("2022-03", "2022-07")))]) == 0
    assert main([str(recipe(period(start, end)))]) == 2
    said = capsys.readouterr().err
    assert "period." in said
    assert "2022-0" in said


def test_items_that_are_pinned_stay_as_a_cube_grows(recipe, tmp_path, archive, made):
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
    assert main([str(recipe({**period("2022-03", "2022-09"), **changes}))]) == 0
    again = at_once(recipe, tmp_path, period("2022-03", "2022-09"))
    grown = open_cube(tmp_path / "out/cube.zarr")
    xr.testing.assert_equal(grown.load(), open_cube(again).load())


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
