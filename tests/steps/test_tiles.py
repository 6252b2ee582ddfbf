"""Tiles and their records: what is recorded is what the cube holds, however it came about."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.errors import FullDisk, ReadError, StorageError
from geocube_ml.files import read_json
from geocube_ml.grid import Tile, make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.raster import counted
from geocube_ml.run import main
from geocube_ml.spec.recipe import read_recipe
from geocube_ml.steps.tiles import content_hash
from geocube_ml.store.cube import DIGEST, CubeStore, open_cube
from tests.steps.conftest import stamps, tree

Recipe = Callable[..., Path]

MADE = {
    "cube": ["s2", "s2_clear"],
    "labels": ["label", "polygon"],
    "predict": ["class", "prob"],
}

PARTS = {"cube": "s2.2022-01.2022-12."}
"""What the names of a step's records begin with."""


def tiles(path: Path) -> tuple[Tile, ...]:
    recipe = read_recipe(path)
    return make_grid(recipe.grid, recipe.store).tiles


def records(out: Path, step: str = "cube") -> dict[str, dict[str, Any]]:
    folder = out / "records" / step / "tiles"
    return {path.stem: read_json(path) for path in folder.iterdir()}


def held(cube: xr.Dataset, variables: list[str], tile: Tile) -> dict[str, str]:
    """Hashes of what a cube has there."""
    return {name: content_hash(cube[name].isel(y=tile.y, x=tile.x).values) for name in variables}


def made_by(out: Path, variable: str) -> str:
    """The digest that a variable of the cube bears."""
    digest: str = read_json(out / "cube.zarr" / variable / "zarr.json")["attributes"][DIGEST]
    return digest


def what_is_read(path: Path, cube: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Of each tile what its record must say: what reading it takes, and what the cube shows."""
    recipe = read_recipe(path)
    source = recipe.sources["s2"]
    grid = make_grid(recipe.grid, recipe.store)
    items = find_items(source, recipe.period)
    mosaic = make_mosaic(
        items, source, grid, recipe.period, composite=recipe.composite_of("s2")
    )  # fmt: skip
    found = {}
    for tile in grid.tiles:
        with counted() as counts:
            mosaic.read(range(len(mosaic.steps)), range(len(source.chosen)), tile.y, tile.x)
        clear = cube["s2_clear"].isel(y=tile.y, x=tile.x).values
        found[tile.name] = {
            "windows": counts.opens,
            "decoded_bytes": counts.decoded_bytes,
            "seen": clear.any(axis=(1, 2)).astype(int).tolist(),
        }
    return found


def agree(path: Path, out: Path, step: str = "cube") -> Counter[int]:
    """How many tiles took how many attempts; all records must tell what the cube holds."""
    found, cube = records(out, step), open_cube(out / "cube.zarr", chunks=None)
    part = PARTS.get(step, "")
    read: dict[str, Any] = what_is_read(path, cube) if step == "cube" else {}
    if step == "labels":
        for tile in tiles(path):
            label = cube["label"].values[tile.y, tile.x]
            pixels = np.bincount(label[label != 255]).tolist()
            read[tile.name] = {"classes": pixels, "rasters": []}
    if step != "cube":  # a variable of the cube outlives its growth, so it has one of its own
        digest = read_json(out / f"records/{step}/begun.json")["digest"]
        assert made_by(out, MADE[step][0]) == digest
    assert set(found) == {part + tile.name for tile in tiles(path)}
    for tile in tiles(path):
        record = found[part + tile.name]
        assert record == {
            "step": step,
            "tile": part + tile.name,
            "digest": made_by(out, MADE[step][0]),
            "content": held(cube, MADE[step], tile),
            "attempt": record["attempt"],
            "left_out": 0,
        } | ({"read": read[tile.name]} if tile.name in read else {})
    return Counter(record["attempt"] for record in found.values())


class Flaky:
    """Writes only a tile's first variable, and then fails: some tiles, some times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        self.left: Counter[str] = Counter()
        self.seen: list[str] = []
        write = CubeStore.write

        def flaky(
            store: CubeStore, tile: Tile, values: dict[str, Any], digest: str, steps: slice | None
        ) -> None:
            self.seen.append(tile.name)
            if self.left[tile.name]:
                self.left[tile.name] -= 1
                write(store, tile, dict(list(values.items())[:1]), digest, steps)
                raise error
            write(store, tile, values, digest, steps)

        monkeypatch.setattr(CubeStore, "write", flaky)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    return Flaky(monkeypatch, OSError(errno.EIO, os.strerror(errno.EIO)))


def test_records_of_all_steps_tell_what_the_cube_holds(recipe, undisturbed):
    for step in MADE:
        assert agree(recipe(), undisturbed, step) == {1: 8}


def test_a_hash_is_of_values_dtype_and_shape():
    block = np.arange(12, dtype="uint16").reshape(3, 4)
    same = np.asfortranarray(block)
    assert content_hash(same) == content_hash(block)
    assert content_hash(block[:, ::-1][:, ::-1]) == content_hash(block)
    others = [block.T, block.astype("int16"), block.reshape(4, 3), block + 1]
    assert len({content_hash(other) for other in [block, *others]}) == 5
    assert len(content_hash(block)) == 32


def test_a_tile_that_failed_once_is_written_by_its_second_attempt(
    recipe, cube_alone, tmp_path, flaky, capsys
):
    flaky.left.update({"0000_0002": 1, "0001_0001": 2})
    path = recipe()
    assert main([str(path), "cube"]) == 0
    assert agree(path, tmp_path / "out") == {1: 6, 2: 1, 3: 1}
    found = records(tmp_path / "out")
    assert found[PARTS["cube"] + "0000_0002"]["attempt"] == 2
    assert found[PARTS["cube"] + "0001_0001"]["attempt"] == 3
    assert Counter(Counter(flaky.seen).values()) == {1: 6, 2: 1, 3: 1}
    assert capsys.readouterr().err == ""
    assert tree(tmp_path / "out/cube.zarr") == tree(cube_alone / "cube.zarr")


def test_tiles_that_fail_each_time_are_told_by_cause_and_made_by_the_next_run(
    recipe, tmp_path, flaky, capsys
):
    flaky.left.update({"0000_0002": 2, "0001_0001": 2})
    path = recipe({"cluster": {"workers": 1, "attempts": 2}})
    assert main([str(path), "cube"]) == 3
    first, second = (PARTS["cube"] + name for name in ("0000_0002", "0001_0001"))
    assert capsys.readouterr().err.splitlines()[:2] == [
        "error: 2 of 8 tiles of the step `cube` could not be made, the others are written.",
        f"  {first}, {second} (tried 2 times): OSError: [Errno 5] Input/output error",
    ]
    out = tmp_path / "out"
    found, cube = records(out), open_cube(out / "cube.zarr", chunks=None)
    assert len(found) == 6
    assert not {first, second} & set(found)
    for tile in tiles(path):
        if record := found.get(PARTS["cube"] + tile.name):
            assert held(cube, MADE["cube"], tile) == record["content"]

    before = stamps(out / "records/cube/tiles")
    flaky.seen.clear()
    assert main([str(path), "cube"]) == 0
    assert sorted(flaky.seen) == ["0000_0002", "0001_0001"]
    after = stamps(out / "records/cube/tiles")
    assert {name: after[name] for name in before} == before
    assert agree(path, out) == {1: 8}


def test_a_tile_that_a_run_left_half_written_is_written_and_recorded_by_the_next(
    recipe, tmp_path, monkeypatch
):
    flaky = Flaky(monkeypatch, FullDisk("No room is left."))
    flaky.left["0000_0003"] = 1
    path = recipe({"cluster": {"workers": 1}})
    out = tmp_path / "out"
    assert main([str(path), "cube"]) == 2
    done = set(records(out))
    assert PARTS["cube"] + "0000_0003" not in done
    assert 0 < len(done) < 8
    (tile,) = (tile for tile in tiles(path) if tile.name == "0000_0003")
    half = open_cube(out / "cube.zarr", chunks=None).isel(y=tile.y, x=tile.x)
    assert half["s2"].any()
    assert not half["s2_clear"].any()

    assert main([str(path), "cube"]) == 0
    assert agree(path, out) == {1: 8}
    again = {PARTS["cube"] + name for name in flaky.seen[-(8 - len(done)) :]}
    assert len(again) == 8 - len(done)
    assert again.isdisjoint(done)


def test_a_record_that_is_gone_is_written_anew_with_the_same_content(with_cube, tmp_path):
    out = tmp_path / "out"
    before, pixels = records(out), tree(out / "cube.zarr")
    gone = sorted(before)[::3]
    for name in gone:
        (out / f"records/cube/tiles/{name}.json").unlink()
    (out / "records/cube/done.json").unlink()
    kept = stamps(out / "records/cube/tiles")

    assert main([str(with_cube), "cube"]) == 0
    assert records(out) == before
    assert tree(out / "cube.zarr") == pixels
    after = stamps(out / "records/cube/tiles")
    assert {name: after[name] for name in kept} == kept


def test_causes_are_grouped_and_not_all_are_listed(recipe, tmp_path, monkeypatch, capsys):
    def broken(store: CubeStore, tile: Tile, *_: Any) -> None:
        if tile.name == "0000_0000":
            return
        raise ReadError("https://host/a?sig=secret is gone" if tile.x.start else "as ever")

    monkeypatch.setattr(CubeStore, "write", broken)
    path = recipe({"cluster": {"workers": 1, "attempts": 1}})
    assert main([str(path), "cube"]) == 3
    said = capsys.readouterr().err
    assert "7 of 8 tiles" in said
    assert f"  {PARTS['cube']}0001_0000 (tried once): as ever\n" in said
    names = ("0000_0001", "0000_0002", "0000_0003", "0001_0001", "0001_0002")
    first = ", ".join(PARTS["cube"] + name for name in names)
    assert f"  {first} and 1 more (tried once): https://host/a" in said
    assert "secret" not in said
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "out/runs").iterdir())


def test_a_run_in_which_nothing_succeeds_gives_up(recipe, tmp_path, monkeypatch, capsys):
    seen = []

    def broken(store: CubeStore, tile: Tile, *_: Any) -> None:
        seen.append(tile.name)
        raise StorageError("403 Forbidden")

    monkeypatch.setattr(CubeStore, "write", broken)
    assert main([str(recipe()), "cube"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: The first 8 of 8 tiles all failed, so the rest is not tried.")
    assert "StorageError: 403 Forbidden" in said
    assert "the same command goes on where it stopped" in said
    assert len(set(seen)) == 8
    assert not (tmp_path / "out/records/cube/tiles").exists()
