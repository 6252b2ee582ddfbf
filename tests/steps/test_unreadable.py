"""Items that cannot be read: the run stops at them, or leaves them out and says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import rasterio
import yaml

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.files import read_json
from geocube_ml.grid import make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.run import main
from geocube_ml.spec.recipe import read_recipe
from geocube_ml.store.cube import open_cube
from tests.steps.conftest import by_size, cut_short, stamps, tree

Recipe = Callable[..., Path]

PART = "s2.2022-01.2022-12."
TILES = {f"{PART}{row:04d}_{col:04d}" for row in range(2) for col in range(4)}


class Damaged(NamedTuple):
    items: Path
    cut: Path
    """An asset that is half there."""
    gone: Path
    """An asset that is not there."""
    mend: Callable[[], None]


@pytest.fixture
def damaged(copied: Path) -> Damaged:
    """The clearest B11 is cut short, and the mask of the next is missing."""
    first, second = by_size(copied, "B11")[:2]
    gone = second.with_name("SCL.tif")
    whole, mask = cut_short(first), gone.read_bytes()
    gone.unlink()

    def mend() -> None:
        first.write_bytes(whole)
        gone.write_bytes(mask)

    return Damaged(copied / "items", first, gone, mend)


def left_out(out: Path) -> dict[str, list[dict[str, str]]]:
    """What each tile was made without."""
    return {path.stem: read_json(path) for path in (out / "records/cube/left_out").iterdir()}


def test_what_cannot_be_read_is_left_out_and_listed(recipe, archive, damaged, tmp_path, capsys):
    path = recipe({"unreadable": "leave-out", "sources.s2.items": {"catalog": str(damaged.items)}})
    assert main([str(path), "cube"]) == 0
    out = tmp_path / "out"
    listed = left_out(out)

    # who, and why
    assert set(listed) <= TILES
    reasons = {damaged.cut: "cut short", damaged.gone: "no file"}
    for entries in listed.values():
        assert entries
        for entry in entries:
            assert set(entry) == {"item", "asset", "href", "reason"}
            href = Path(entry["href"])
            assert (href.parent.name, href.stem) == (entry["item"], entry["asset"])
            assert reasons[href.resolve()] in entry["reason"].lower()
    found = {(entry["item"], entry["asset"]) for some in listed.values() for entry in some}
    cut, gone = damaged.cut.parent.name, damaged.gone.parent.name
    assert found == {(cut, "B11"), (gone, "SCL")}

    # and where it is said
    tiles = Counter(entry["item"] for entries in listed.values() for entry in entries)
    cube = open_cube(out / "cube.zarr")
    said = cube["s2"].attrs["items_left_out"]
    assert said == "; ".join(f"{item} ({n} tiles)" for item, n in sorted(tiles.items()))
    assert read_json(out / "records/cube/done.json")["facts"]["left_out"] == dict(tiles)
    for name in TILES:
        record = read_json(out / f"records/cube/tiles/{name}.json")
        assert record["left_out"] == len(listed.get(name, []))
        assert record["attempt"] == 1

    # a tile is as if the items that it was made without did not exist, and the others as ever
    values = read_recipe(recipe(name="whole.yaml"))
    (source,) = values.sources.values()
    items = find_items(source, values.period)
    grid = make_grid(values.grid, values.store)
    whole, changed = make_mosaic(items, source, grid, values.period), 0
    for tile in grid.tiles:
        without = {entry["item"] for entry in listed.get(PART + tile.name, [])}
        kept = [item for item in items if item.id not in without]
        window = range(12), range(3), tile.y, tile.x
        want, count = make_mosaic(kept, source, grid, values.period).read(*window)
        here = cube.isel(y=tile.y, x=tile.x)
        np.testing.assert_array_equal(here["s2"].values, want)
        np.testing.assert_array_equal(here["s2_clear"].values, count)
        if without:
            full, full_count = whole.read(*window)
            changed += not (np.array_equal(full, want) and np.array_equal(full_count, count))
    assert changed

    before = stamps(out / "records")
    damaged.mend()
    assert main([str(path), "cube"]) == 0  # what is done is done, with the list beside it
    assert "was done already" in capsys.readouterr().out
    assert stamps(out / "records") == before
    assert main([str(path), "cube", "--redo"]) == 0
    assert not (out / "records/cube/left_out").exists()
    cube = open_cube(out / "cube.zarr")
    assert "items_left_out" not in cube["s2"].attrs
    np.testing.assert_array_equal(
        cube["s2"].values, whole.read(range(12), range(3), *(slice(0, n) for n in grid.shape))[0]
    )


def test_a_whole_archive_leaves_no_list(recipe, tmp_path):
    assert main([str(recipe({"unreadable": "leave-out"})), "cube"]) == 0
    assert not (tmp_path / "out/records/cube/left_out").exists()
    assert "items_left_out" not in open_cube(tmp_path / "out/cube.zarr")["s2"].attrs
    assert read_json(tmp_path / "out/records/cube/done.json")["facts"]["left_out"] == {}


def test_a_list_of_an_attempt_that_did_not_last_does_not_count(
    recipe, damaged, tmp_path, monkeypatch
):
    """The first attempt lists what it left out and fails then; the next one can read all."""
    from geocube_ml.steps import tiles

    write, failed = tiles.write_json, []

    def flaky(path: Path, content: object) -> None:
        if path.parent.name == "tiles" and (path.parents[1] / "left_out" / path.name).exists():
            failed.append(path.stem)
            if len(failed) == 1:
                damaged.mend()
                raise OSError(5, "Input/output error")
        write(path, content)

    monkeypatch.setattr(tiles, "write_json", flaky)
    path = recipe(
        {
            "unreadable": "leave-out",
            "sources.s2.items": {"catalog": str(damaged.items)},
            "cluster": {"workers": 1},
        }
    )
    assert main([str(path), "cube"]) == 0
    assert failed[0] in left_out(tmp_path / "out")
    assert read_json(tmp_path / f"out/records/cube/tiles/{failed[0]}.json")["attempt"] == 2
    assert "items_left_out" not in open_cube(tmp_path / "out/cube.zarr")["s2"].attrs
    assert read_json(tmp_path / "out/records/cube/done.json")["facts"]["left_out"] == {}


def test_a_missing_file_stops_before_the_first_tile_and_a_damaged_one_at_its_tiles(
    recipe, damaged, tmp_path, capsys
):
    path = recipe({"sources.s2.items": {"catalog": str(damaged.items)}})
    assert main([str(path), "cube"]) == 2
    assert str(damaged.gone) in capsys.readouterr().err
    assert not (tmp_path / "out/cube.zarr").exists()

    whole = damaged.cut.read_bytes()
    damaged.mend()
    damaged.cut.write_bytes(whole)
    assert main([str(path), "cube"]) == 3
    said = capsys.readouterr().err
    assert f"Item {damaged.cut.parent.name}, asset B11" in said
    assert "`unreadable: leave-out`" in said

    # as the text advises: tiles that are there stay
    records = tmp_path / "out/records/cube/tiles"
    before = stamps(records)
    path = recipe({"unreadable": "leave-out", "sources.s2.items": {"catalog": str(damaged.items)}})
    assert main([str(path), "cube"]) == 0
    assert {name: stamps(records)[name] for name in before} == before
    assert set(left_out(tmp_path / "out")) == TILES - {Path(name).stem for name in before}


def test_a_file_cut_short_fails_its_tiles_and_a_run_makes_them_once_it_is_mended(
    recipe, cube_alone, copied, tmp_path, capsys
):
    cut = by_size(copied, "B04")[0]
    whole = cut_short(cut)
    path = recipe({"sources.s2.items": {"catalog": str(copied / "items")}})
    out = tmp_path / "out"
    capsys.readouterr()

    assert main([str(path), "cube"]) == 3
    said = capsys.readouterr()
    made = {path.stem for path in (out / "records/cube/tiles").iterdir()}
    failed = sorted(TILES - made)
    assert made
    assert failed
    first, *causes, last = said.err.splitlines()
    assert first == (
        f"error: {len(failed)} of 8 tiles of the step `cube` could not be made, the others are "
        "written."
    )
    (cause,) = causes  # told once, for all its tiles
    shown, _, more = cause.removeprefix("  ").partition(" (")[0].partition(" and ")
    tiles = shown.split(", ")
    assert set(tiles) <= set(failed)
    assert len(tiles) + int(more.partition(" ")[0] or 0) == len(failed)
    assert f"(tried 3 times): Item {cut.parent.name}, asset B04: " in cause
    assert str(cut) in cause
    assert "cut short" in cause
    assert "run the same command again" in last
    assert "Traceback" not in said.err
    assert not (out / "records/cube/done.json").exists()
    (run,) = (out / "runs").iterdir()
    (step,) = read_json(run)["steps"]
    assert f"error: {step['failed']}\n" == said.err

    there, want = (open_cube(folder / "cube.zarr") for folder in (out, cube_alone))
    recipe_ = read_recipe(path)
    for tile in make_grid(recipe_.grid, recipe_.store).tiles:
        if f"{PART}{tile.name}" in made:
            here = {"y": tile.y, "x": tile.x}
            assert there["s2"].isel(here).equals(want["s2"].isel(here))

    assert main([str(path), "labels"]) == 2  # nothing is built on a part
    assert "`cube` is needed first" in capsys.readouterr().err

    before = stamps(out)
    cut.write_bytes(whole)
    assert main([str(path), "cube"]) == 0
    after = stamps(out)
    for name in made:
        row, col = (int(part) for part in name.removeprefix(PART).split("_"))
        kept = [f"records/cube/tiles/{name}.json", f"cube.zarr/s2/c/0/0/{row}/{col}"]
        assert [after[file] for file in kept] == [before[file] for file in kept]
    assert tree(out / "cube.zarr") == tree(cube_alone / "cube.zarr")


def test_tiles_that_failed_come_last_in_the_next_run(recipe, copied, tmp_path, capsys):
    """Else a run that goes on would meet only failures at first, and give up."""
    cut_short(by_size(copied, "B04")[0])
    path = recipe({"sources.s2.items": {"catalog": str(copied / "items")}})
    assert main([str(path), "cube"]) == 3
    failed = read_json(tmp_path / "out/records/cube/failed.json")
    records = tmp_path / "out/records/cube/tiles"
    assert failed == sorted(TILES - {record.stem for record in records.iterdir()})
    for record in records.iterdir():
        record.unlink()
    assert main([str(path), "cube"]) == 3
    assert "could not be made, the others are written" in capsys.readouterr().err
    assert {record.stem for record in records.iterdir()} == TILES - set(failed)


def without_crs(path: Path) -> None:
    """Write a raster anew, as it is but for its CRS."""
    with rasterio.open(path) as src:
        values, profile = src.read(), src.profile
    del profile["crs"]
    path.unlink()
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values)


def test_a_raster_that_does_not_say_where_it_lies_is_left_out_as_others(
    recipe, copied, tmp_path, capsys
):
    bare = by_size(copied, "B11")[0]
    without_crs(bare)
    items = {"sources.s2.items": {"catalog": str(copied / "items")}}
    assert main([str(recipe(items)), "cube"]) == 3
    said = capsys.readouterr().err
    assert f"(tried once): Item {bare.parent.name}, asset B11: {bare} has no CRS" in said

    assert main([str(recipe({**items, "unreadable": "leave-out"})), "cube"]) == 0
    (entries,) = {tuple(map(str, some)) for some in left_out(tmp_path / "out").values()}
    assert len(entries) == 1
    assert "has no CRS" in entries[0]
    listed = open_cube(tmp_path / "out/cube.zarr")["s2"].attrs["items_left_out"]
    assert listed.startswith(f"{bare.parent.name} (")


@pytest.mark.parametrize("harm", [without_crs, cut_short])
def test_a_plain_file_that_cannot_be_placed_is_left_out_as_others(tmp_path, capsys, harm):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, left in (("a", 0), ("b", 320), ("c", 160)):
        place = rasterio.transform.from_origin(500_000 + left, 5_000_000, 10, 10)
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", width=32, height=32, count=1, nodata=0,
            dtype="uint16", crs="EPSG:32633", transform=place,
        ) as dst:  # fmt: skip
            dst.write(np.full((1, 32, 32), 7, "uint16"))
    harm(folder / "c.tif")
    if harm is cut_short:
        (folder / "c.tif").write_bytes((folder / "c.tif").read_bytes()[:100])
    recipe = {
        "name": "plain", "out": str(tmp_path / "out"),
        "sources": {"soil": {"sensor": {"bands": {"v": "image"}, "static": True},
                             "items": {"files": str(folder)}}},
        "grid": {"crs": "EPSG:32633", "resolution": 10,
                 "bounds": [500_000, 4_999_680, 500_640, 5_000_000]},
        "store": {"chunk": 32, "shard": 32, "tile": 32},
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main([str(path)]) == 2
    assert "Item c, asset image: " in capsys.readouterr().err

    path.write_text(yaml.safe_dump(recipe | {"unreadable": "leave-out"}))
    assert main([str(path)]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    assert (cube["soil"] == 7).all()
    assert cube["soil"].attrs["items_left_out"] == "c (2 tiles)"
