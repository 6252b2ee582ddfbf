from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml

from geocube_ml.errors import InputError
from geocube_ml.run import main
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.steps.export_dataset import discard
from geocube_ml.store.cube import open_cube
from tests.steps.conftest import stamps

STEPS = ["cube", "labels", "samples"]
CHIP = 24  # chunks have 32 pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def write(values, folder):
    """Writes the recipe of the module, with another data set or other samples."""

    def write(dataset=None, samples=None):
        changed = copy.deepcopy(values) | {"out": str(folder / "out")}
        changed["dataset"] = {"chip": CHIP, "licence": "CC-BY-4.0"} | (dataset or {})
        changed["samples"] |= samples or {}
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        return str(path)

    return write


@pytest.fixture(scope="module")
def out(write, folder):
    """What its run leaves, with the data set."""
    assert main([write(), *STEPS, "export-dataset"]) == 0
    return folder / "out"


def test_the_step_needs_samples_and_says_so(recipe, capsys):
    path = str(recipe({"dataset": {"chip": CHIP}}))
    assert main([path, "export-dataset"]) == 2
    assert "The step `cube` is needed first" in capsys.readouterr().err


def test_chips_and_series_are_those_of_the_run(out):
    cube = open_cube(out / "cube.zarr", chunks=None)
    table = pd.read_csv(out / "dataset/splits.csv", dtype={"id": str})
    chips = table[table.kind == "chip"]
    assert len(chips) > 3
    for name in chips.id:
        row, col = (int(part) * CHIP for part in name.split("_"))
        window = {"y": slice(row, row + CHIP), "x": slice(col, col + CHIP)}
        with rasterio.open(out / f"dataset/chips/images/s2_{name}.tif") as src:
            image = src.read().reshape(12, 3, CHIP, CHIP)
            assert src.descriptions[35] == "2022-12 s2 swir16"
        want = cube["s2"].isel(window).values
        np.testing.assert_array_equal(image[..., : want.shape[2], : want.shape[3]], want)
        with rasterio.open(out / f"dataset/chips/masks/{name}.tif") as src:
            mask = src.read(1)[: want.shape[2], : want.shape[3]]
        label = cube["label"].isel(window).values
        assert (mask != UNKNOWN).any()
        np.testing.assert_array_equal(mask[mask != UNKNOWN], label[mask != UNKNOWN])
    series = pd.read_parquet(out / "dataset/series.parquet")
    assert len(series) == (table.kind == "sample").sum()
    assert np.stack(series["s2_red"]).shape == (len(series), 12)


def test_the_sheet_tells_of_the_run(out):
    text = (out / "dataset/datasheet.md").read_text()
    facts = json.loads((out / "records/samples/done.json").read_text())["facts"]
    for told in (f"{facts['samples']:,} labelled series", "2022-01-01 to 2022-12-31", "EPSG:32633",
                 "at least 10 m inside", "`labels.gpkg`: column `class`", "Digest of `cube`",
                 "at most 20 pixels a polygon", "ha in all"):  # fmt: skip
        assert told in text
    collection = json.loads((out / "dataset/collection.json").read_text())
    assert collection["id"] == "small"
    assert collection["license"] == "CC-BY-4.0"


def test_what_is_done_stays_and_another_data_set_is_refused_until_it_is_made_anew(
    out, write, capsys
):
    before = stamps(out / "dataset")
    assert main([write(), "export-dataset"]) == 0
    assert "was done already" in capsys.readouterr().out
    assert stamps(out / "dataset") == before

    other = write({"chips": "none"})
    assert main([other, "export-dataset"]) == 2
    said = capsys.readouterr().err
    assert "dataset.chips was cog, is none" in said
    assert "export-dataset --redo" in said
    assert stamps(out / "dataset") == before

    assert main([other, "export-dataset", "--redo"]) == 0
    assert not (out / "dataset/chips").exists()
    assert main([write(samples={"seed": 1}), "export-dataset"]) == 2
    assert "samples.seed was 0, is 1" in capsys.readouterr().err


def test_a_folder_of_others_by_that_name_is_not_removed(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/scene.tif").write_text("years of work")
    with pytest.raises(InputError, match=r"scene\.tif and is no data set"):
        discard(SimpleNamespace(out=tmp_path))
    assert (tmp_path / "dataset/scene.tif").exists()


def test_a_plan_says_how_many_chips_there_may_be(recipe, values, capsys):
    left, bottom, right, top = values["grid"]["bounds"]
    most = -(-(top - bottom) // (10 * CHIP)) * -(-(right - left) // (10 * CHIP))
    path = str(recipe({"dataset": {"chip": CHIP}}))
    assert main([path, "export-dataset", "--dry-run"]) == 0
    assert f"at most {most:.0f} chips as cog" in capsys.readouterr().out


def test_a_chip_that_is_too_large_is_refused_and_can_be_corrected(out, write, capsys):
    assert main([write({"chip": 4096}), "export-dataset", "--redo"]) == 2
    assert "`dataset.chip: 4096` is larger than the cube" in capsys.readouterr().err
    assert main([write({"chips": "none"}), "export-dataset"]) == 0
