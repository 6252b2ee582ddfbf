"""What a new user gets wrong: one paragraph, both values, the next step, exit code 2."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely

from geocube_ml.run import main

Recipe = Callable[..., Path]


def refused(path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The error of a run that is refused."""
    assert main([str(path), *args]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1, "one paragraph"
    assert "Traceback" not in said
    return said


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"sampels": {}}, ["'sampels'", "did you mean 'samples'"]),
    ({"labels.insett_m": 3}, ["labels.insett_m", "did you mean 'inset_m'"]),
    ({"period": {"start": "2030-01", "end": "2030-02"}}, ["24 outside the period", "2030-01"]),
    ({"grid.bounds": [0, 0, 1000, 1000]}, ["24 outside the grid"]),
    (
        {
            "sources.s2.items.max_cloud_cover": 0,
            "period": {"start": "2022-01", "end": "2022-01"},
        },
        ["outside the period", "cloudier than max_cloud_cover 0 %", "Widen one of these filters"],
    ),
    ({"grid.crs": None}, ["grid", "CRS is missing", "EPSG:32633"]),
    ({"grid.crs": "EPSG:4326"}, ["EPSG:4326", "geographic", "metres"]),
    ({"grid.crs": "EPSG:2263"}, ["foot", "metres"]),
    ({"labels.class_column": "klass"}, ["'klass'", "class"]),
    ({"labels.path": "nowhere.gpkg"}, ["nowhere.gpkg", "labels.path"]),
    ({"sources.s2.items": {"catalog": "nowhere"}}, ["nowhere", "items.catalog"]),
    ({"models": {"../oops": {"kind": "forest"}}}, ["letters, digits", "'../oops'"]),
    ({"models": {"best possible": {"kind": "forest"}}}, ["best possible"]),
    (
        {"grid": {"crs": "EPSG:32633", "resolution": 10, "bbox": [14, 45, 15, 95]}},
        ["degrees", "95"],
    ),
    ({"labels.path": "."}, ["no label file"]),
    ({"store.tile": 100}, ["100", "whole number of shards of 64"]),
    ({"period": {"start": "2022-13", "end": "2022-14"}}, ["YYYY-MM", "2022-13"]),
]


@pytest.mark.parametrize(("changes", "expected"), CASES, ids=lambda v: "-".join(v))
def test_bad_recipes_are_refused_in_one_paragraph(changes, expected, recipe, tmp_path, capsys):
    said = refused(recipe(changes), capsys)
    for text in expected:
        assert text in said
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels.inset_m": 200}, ["No labelled pixel", "inset_m"]),
        ({"samples.block_m": 100_000}, ["5 folds", "samples.block_m"]),
    ],
    ids=["inset_m", "block_m"],
)
def test_what_only_the_cube_can_tell_is_refused_once_it_is_made(
    changes, expected, with_cube, recipe, tmp_path, capsys
):
    said = refused(recipe(changes), capsys)
    for text in expected:
        assert text in said
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_an_asset_that_the_items_do_not_have_is_named_with_its_neighbours(recipe, archive, capsys):
    sensor = {"bands": {"red": "B4"}, "mask": {"asset": "SCL", "clear": [4, 5]}}
    said = refused(
        recipe({"sources.s2": {"sensor": sensor, "items": {"catalog": str(archive.items)}}}), capsys
    )
    assert "24 of 24 items" in said
    assert "no asset 'B4'" in said
    assert "Did you mean 'B04'" in said


def test_a_missing_file_is_said_before_anything_is_written(recipe, copied, tmp_path, capsys):
    gone = sorted(copied.glob("cogs/*/B04.tif"))[3]
    gone.unlink()
    path = recipe({"sources.s2.items": {"catalog": str(copied / "items")}})
    said = refused(path, capsys)
    assert str(gone) in said
    assert "1 of 96 files" in said
    assert not (tmp_path / "out/cube.zarr").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels.class_column": "clas"}, "Did you mean 'class'?"),
        ({"labels.classes": [{"name": "banana"}]}, "no value of 'class' is a class"),
        ({"labels.path": "nowhere.gpkg"}, "no label file"),
    ],
)
def test_labels_are_looked_at_before_the_cube_is_made(recipe, tmp_path, capsys, change, said):
    assert said in refused(recipe(change), capsys)
    assert not (tmp_path / "out/records").exists()


def test_a_cube_alone_has_no_use_for_labels(recipe):
    period = {"start": "2022-06", "end": "2022-06"}
    assert main([str(recipe({"labels.path": "nowhere.gpkg", "period": period})), "cube"]) == 0


def test_a_source_that_is_not_named_any_more_is_told_by_its_name(recipe, values, tmp_path, capsys):
    one, other = ({**values["sources"]["s2"], "bands": [band]} for band in ("red", "nir"))
    period = {"start": "2022-06", "end": "2022-06"}
    alone = {"labels": None, "evaluate": None, "period": period}
    assert main([str(recipe({**alone, "sources": {"s2": one, "infra": other}}))]) == 0
    capsys.readouterr()
    gone = refused(recipe({**alone, "sources": {"s2": one}}), capsys)
    assert "it has the source `infra`, which the recipe does not name any more. " in gone
    assert (
        "Name the source `infra` again, take another `out:`, or make it anew with: cube --redo"
        in gone
    )
    renamed = refused(recipe({**alone, "sources": {"s2": one, "infrared": other}}), capsys)
    assert "does not name any more, but the source `infrared`, which it lacks" in renamed
    for said in (gone, renamed):
        assert "not taken away or renamed" in said
        assert len(said) < 500


def test_labels_outside_the_cube_say_where_both_lie(with_cube, recipe, tmp_path, capsys):
    path = tmp_path / "far.gpkg"
    gpd.GeoDataFrame(
        {"class": ["maize"]}, geometry=[shapely.box(20, 50, 20.01, 50.01)], crs="EPSG:4326"
    ).to_file(path)
    said = refused(recipe({"labels.path": str(path)}), capsys)
    assert "west 20.0000" in said
    assert "the cube west" in said


def test_labels_without_a_crs_are_refused(recipe, tmp_path, capsys):
    path = tmp_path / "bare.parquet"
    gpd.GeoDataFrame({"class": ["maize"]}, geometry=[shapely.box(0, 0, 1, 1)]).to_parquet(path)
    assert "no CRS" in refused(recipe({"labels.path": str(path)}), capsys)


def test_a_store_of_another_recipe_is_refused(with_cube, recipe, capsys):
    said = refused(recipe({"sources.s2.bands": ["red", "nir"]}), capsys, "cube")
    assert "another" in said
    assert "B11" in said
    assert "--redo" in said


def test_a_cube_of_another_recipe_is_refused_without_its_records_too(
    with_cube, recipe, tmp_path, capsys
):
    shutil.rmtree(tmp_path / "out/records")
    said = refused(recipe({"sources.s2.bands": ["red", "nir", "swir22"]}), capsys, "cube")
    assert "another recipe" in said


def test_damaged_items_are_named(recipe, copied, capsys):
    broken = sorted((copied / "items").glob("*.json"))[0]
    broken.write_text(broken.read_text()[:100])
    said = refused(recipe({"sources.s2.items": {"catalog": str(copied / "items")}}), capsys)
    assert str(broken) in said


def test_an_item_that_does_not_say_its_baseline_is_refused(recipe, copied, capsys):
    first = sorted((copied / "items").glob("*.json"))[0]
    item = json.loads(first.read_text())
    del item["properties"]["s2:processing_baseline"]
    item["properties"].pop("s2:product_uri", None)
    first.write_text(json.dumps(item))
    said = refused(recipe({"sources.s2.items": {"catalog": str(copied / "items")}}), capsys)
    assert item["id"] in said
    assert "offset" in said


def test_a_full_disk_is_said_and_the_run_goes_on_once_there_is_room(recipe, tmp_path, capsys):
    small = tmp_path / "out"
    small.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command to make a small disk with")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        path = recipe()
        said = refused(path, capsys, "cube")
        assert "full" in said
        assert "MB are free" in said
        subprocess.run(["mount", "-o", "remount,size=50m", str(small)], check=True)
        assert main([str(path), "cube"]) == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_full_disk_is_told_from_other_failures(recipe, capsys, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geocube_ml.store.cube.CubeStore.write", full)
    assert "is full" in refused(recipe(), capsys, "cube")


def test_a_polygon_that_vanishes_is_listed_and_not_fatal(
    with_cube, recipe, archive, tmp_path, capsys
):
    frame = gpd.read_file(archive.labels).to_crs(archive.crs)
    sliver = frame.geometry.iloc[0].centroid.buffer(4)
    frame.loc[len(frame)] = frame.iloc[0].to_dict() | {"geometry": sliver}
    path = tmp_path / "labels.geojson"
    frame.to_crs("EPSG:4326").to_file(path)
    assert main([str(recipe({"labels.path": str(path)})), "cube", "labels"]) == 0
    assert "vanished under the buffer of 10 m" in capsys.readouterr().out
    listed = (tmp_path / "out/labels_lost.csv").read_text()
    assert f"\nlabels.geojson,{len(frame) - 1}," in listed


def test_an_output_folder_that_is_a_file_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert "cannot be used" in refused(recipe(), capsys)


def test_an_unknown_step_and_contradicting_options_are_refused(recipe, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([str(recipe()), "tarin"])
    assert stopped.value.code == 2
    assert "unknown step 'tarin'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(recipe()), "--dry-run", "--redo"])


def test_a_recipe_that_is_not_there(tmp_path, capsys):
    assert "no file" in refused(tmp_path / "nope.yaml", capsys)


def test_a_recipe_that_is_corrected_as_an_error_says_goes_on(recipe, copied, capsys):
    """What stopped before anything was written left nothing to be made anew."""
    gone = sorted(copied.glob("cogs/*/B04.tif"))[3]
    gone.unlink()
    items = {"catalog": str(copied / "items")}
    assert "leave their items out" in refused(recipe({"sources.s2.items": items}), capsys, "cube")
    without = {"sources.s2.items": items | {"exclude": [gone.parent.name]}}
    assert main([str(recipe(without)), "cube"]) == 0
    assert "inset_m" in refused(recipe({**without, "labels.inset_m": 200}), capsys, "labels")
    assert main([str(recipe(without)), "labels"]) == 0
