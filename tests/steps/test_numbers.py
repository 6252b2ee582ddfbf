"""A recipe whose models estimate a number."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml

from geocube_ml.data.table import read_samples
from geocube_ml.errors import SpecError
from geocube_ml.files import read_json
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.predict import predict_map, predict_tile
from geocube_ml.run import main
from geocube_ml.spec.recipe import Recipe, read_recipe
from geocube_ml.steps.predict import PredictTile
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.cube import open_cube

MODELS = {
    "forest": {"trees": 15},
    "stump": {"kind": "forest", "trees": 2},
    "ensemble": {"of": {"tempcnn": {"epochs": 1, "width": 4}, "forest": {"trees": 5}}},
}


def plots_of(archive, folder):
    """The archive's fields, without their classes, each with a number by what grows on it."""
    fields = gpd.read_file(archive.labels)
    code = fields["class"].map({name: at for at, name in enumerate(archive.classes.names)})
    agb = 20.0 * code + np.arange(len(fields)) % 5
    agb[::9] = np.nan
    path = folder / "plots.gpkg"
    gpd.GeoDataFrame({"agb": agb}, geometry=fields.geometry, crs=fields.crs).to_file(path)
    return path


@pytest.fixture(scope="module")
def recipe_path(values, archive, cube_alone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    shutil.copytree(cube_alone, folder / "out")
    labels = {"path": "plots.gpkg", "class_name": "plot", "columns": ["agb"], "inset_m": 10}
    plots_of(archive, folder)
    samples = values["samples"] | {"value_column": "agb", "value_units": "Mg/ha"}
    changed = {
        "labels": labels, "samples": samples, "models": MODELS, "out": "out",
        "evaluate": {"splits": ["block", "random"], "resamples": 100}, "dataset": {"chips": "none"},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | changed, sort_keys=False))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def out(recipe_path):
    """What all steps write, and a data set; to be left as it is."""
    assert main([str(recipe_path)]) == 0
    assert main([str(recipe_path), "export-dataset"]) == 0
    return recipe_path.parent / "out"


def test_the_map_is_of_the_number(out, no_compute):
    cube = open_cube(out / "cube.zarr")
    assert {"class", "prob", "class_name"}.isdisjoint(cube.variables)
    estimate = cube["estimate"]
    assert (estimate.dtype, estimate.dims) == ("float32", ("y", "x"))
    said = {name: estimate.attrs[name] for name in ("long_name", "units", "model")}
    assert said == {"long_name": "agb", "units": "Mg/ha", "model": "forest"}
    assert estimate.encoding["grid_mapping"] == "spatial_ref"
    assert np.isnan(estimate.attrs["nodata"])
    observed = (cube["s2"] != 0).any(["time", "s2_band"]).values
    np.testing.assert_array_equal(np.isfinite(estimate), observed)

    bundle = ModelBundle.load(out / "models/forest")
    with no_compute():
        lazy = predict_map(cube, bundle)
    assert list(lazy.data_vars) == ["estimate"]
    assert lazy["estimate"].attrs.items() >= {"long_name": "agb", "units": "Mg/ha"}.items()
    np.testing.assert_array_equal(lazy["estimate"], estimate)


def test_a_window_is_the_same_however_it_is_cut_and_nothing_where_nothing_was_seen(out):
    cube = open_cube(out / "cube.zarr", chunks=None)
    part = cube.isel(y=slice(10, 50), x=slice(20, 60)).load()
    part["s2"][:, :, 3, 4] = part["s2"].attrs["nodata"]
    bundle = ModelBundle.load(out / "models/forest")
    want = part["estimate"].values.copy()
    want[3, 4] = np.nan
    for edge in (16, 64):
        got = predict_tile(part, bundle, slice(0, 40), slice(0, 40), edge)
        np.testing.assert_array_equal(got["estimate"], want)


def test_the_record_sums_the_map_up(out):
    facts = read_json(out / "records/predict/done.json")["facts"]
    estimate = open_cube(out / "cube.zarr", chunks=None)["estimate"].values.astype(float)
    assert facts["pixels"] == np.isfinite(estimate).sum()
    assert facts["pixels"] + facts["unknown"] == estimate.size
    assert facts["mean"] == pytest.approx(np.nanmean(estimate))
    assert (facts["min"], facts["max"]) == (np.nanmin(estimate), np.nanmax(estimate))
    assert (facts["column"], facts["units"]) == ("agb", "Mg/ha")


def test_the_geotiff_is_the_map(out):
    cube = open_cube(out / "cube.zarr", chunks=None)
    (path,) = (out / "export").iterdir()
    assert path.name == "small_estimate.tif"
    with rasterio.open(path) as src:
        assert src.dtypes == ("float32",)
        assert np.isnan(src.nodata)
        assert src.tags()["units"] == "Mg/ha"
        np.testing.assert_array_equal(src.read(1), cube["estimate"])


def test_scores_are_those_of_the_samples_that_were_held_out(out):
    samples, bundle = read_samples(out / "samples.zarr"), ModelBundle.load(out / "models/forest")
    scores = json.loads((out / "scores.json").read_text())
    assert scores["quantity"] == {"column": "agb", "units": "Mg/ha"}
    assert {s["model"] for s in scores["scores"]} == {*MODELS, "training mean"}
    held = samples["fold_block"].values == 0
    error = bundle.estimate({"s2": samples["s2"].values[held]}) - samples["value"].values[held]
    score = next(s for s in scores["scores"] if (s["model"], s["split"]) == ("forest", "block"))
    assert score["rmse"] == pytest.approx(np.sqrt((error.astype(float) ** 2).mean()), rel=1e-5)
    assert score["bias"] == pytest.approx(error.mean(), rel=1e-4, abs=1e-4)
    mean = next(s for s in scores["scores"] if s["model"] == "training mean")
    assert score["rmse"] < mean["rmse"]
    headline = read_json(out / "records/evaluate/done.json")["facts"]
    assert headline["rmse"]["forest"]["block"] == score["rmse"]


def test_plots_without_a_number_are_counted(out):
    left_out = read_json(out / "records/samples/done.json")["facts"]["left_out"]
    labels = pd.read_parquet(out / "labels.parquet")
    count = left_out["without the number that models estimate"]
    assert count["labels"] == labels["agb"].isna().sum() > 0
    assert count["samples"] > count["labels"]


def test_the_page_and_the_data_set_hold_the_number(out):
    text = (out / "report.html").read_text()
    assert "estimates agb with an RMSE of" in " ".join(text.split())
    assert "agb (Mg/ha)" in text
    series = pd.read_parquet(out / "dataset/series.parquet")
    np.testing.assert_array_equal(series["agb"], series["value"])
    back = read_samples(out / "dataset/series.parquet")
    assert back["value"].attrs == {"units": "Mg/ha", "column": "agb"}


def test_a_finished_run_is_done_and_is_said_in_numbers(out, recipe_path, capsys):
    assert main([str(recipe_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("was done already") == 8
    assert "RMSE Mg/ha" in said
    assert "macro-F1" not in said
    assert "variable estimate" in said
    assert "small_estimate.tif" in said
    assert main([str(recipe_path), "predict", "--dry-run"]) == 0


@pytest.mark.parametrize("step", ["doctor", "decide"])
def test_steps_of_classes_are_refused(out, recipe_path, step, capsys):
    assert main([str(recipe_path), step]) == 2
    assert f"The step `{step}` is of classes" in capsys.readouterr().err
    assert not (out / "labels_doubtful.csv").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"evaluate": {"reference": "truth.tif"}}, r"'agb'.*evaluate\.reference is a raster of cl"),
        ({"evaluate": {"bound": "best.tif"}}, r"'agb'.*evaluate\.bound is a raster of classes"),
        ({"models": {"unet": {}}}, r"'agb'.*unet tells classes apart"),
        ({"samples": {"value_column": "height"}}, r"value_column is 'height'.*labels keep agb"),
        ({"samples": {"value_column": "agb", "value_units": "days since 2023-01-01"}},
         r"is read as dates.*write `days`"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_number_is_refused(recipe_path, change, says):
    recipe = read_recipe(recipe_path).model_dump(mode="json", exclude_unset=True)
    with pytest.raises(SpecError, match=says):
        Recipe.read(recipe | change, where="numbers.yaml")


def test_a_tile_holds_nothing_outside_the_area_to_map():
    inside = np.array([[True, False], [False, False]])

    def sevens(*_):
        return Pixels({"estimate": np.full((2, 2), 7, np.float32)})

    blank = {"estimate": np.full((), np.nan, np.float32)}
    for part in (inside, np.zeros_like(inside)):
        piece = SimpleNamespace(inside=lambda part=part: part)
        got = PredictTile(sevens, piece, blank)(None, False).values["estimate"]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, np.where(part, 7, np.nan))
