"""The steps `doctor` and `decide`, from flipped labels to a label file with decisions."""

import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from geocube_ml.files import read_json
from geocube_ml.grid import Tile
from geocube_ml.run import main
from geocube_ml.steps.doctor import DoubtWork
from geocube_ml.store.cube import open_cube
from tests.seasons import make_cube, stored


@pytest.fixture(scope="module")
def judged(values, archive, tmp_path_factory):
    """A recipe whose labels are judged; a tenth of its fields have the class of others."""
    folder = tmp_path_factory.mktemp("judged")
    fields = gpd.read_file(archive.labels)
    rng = np.random.default_rng(3)
    wrong = rng.choice(len(fields), round(0.1 * len(fields)), replace=False)
    names = np.array(archive.classes.names, object)
    true = fields["class"].to_numpy(object)
    given = true.copy()
    code = np.searchsorted(np.sort(names), true[wrong].astype(str))
    given[wrong] = np.sort(names)[(code + rng.integers(1, len(names), len(wrong))) % len(names)]
    fields.assign(**{"class": given}).to_file(folder / "labels.gpkg", layer="fields")
    changed = values | {
        "out": str(folder / "out"),
        "labels": values["labels"] | {"path": str(folder / "labels.gpkg")},
        "doctor": {"trees": 60, "listed": 0.15},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed, sort_keys=False))
    assert main([str(path), "cube", "labels", "samples", "doctor"]) == 0
    return path, pd.DataFrame({"true": true, "given": given})


@pytest.fixture
def run(judged, tmp_path):
    """A copy of it that a test may change, and what is true of its features."""
    shutil.copytree(judged[0].parent, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(judged[0].read_text().replace(str(judged[0].parent), str(tmp_path / "run")))
    return recipe, judged[1]


def listed(folder):
    return pd.read_csv(folder / "labels_doubtful.csv", keep_default_na=False)


def test_flipped_fields_of_the_simulated_archive_are_listed(judged):
    path, fields = judged
    out = path.parent / "out"
    labels = gpd.read_parquet(out / "labels.parquet")
    wrong = labels["feature"][(fields["true"] != fields["given"]).to_numpy()[labels["feature"]]]
    table = listed(out)
    assert len(table) <= np.ceil(0.15 * len(labels))
    # classes of ten fields and three bands: a forest is wrong of a third of what is right
    assert np.isin(wrong, table["feature"]).mean() >= 0.5
    found = table[table["feature"].isin(wrong)]
    right = found["suggested"].to_numpy() == fields["true"].to_numpy()[found["feature"]]
    assert right.mean() >= 0.5
    assert (np.diff(table["doubt"]) <= 0).all()
    facts = read_json(out / "records" / "doctor" / "done.json")["facts"]
    assert facts["listed"] == len(table)
    assert facts["worst"][0]["feature"] == table["feature"][0]
    seen = gpd.read_file(out / "labels_doubtful.gpkg")
    assert seen.crs.to_epsg() == 4326
    assert seen["reason"].tolist() == table["reason"].tolist()


def test_the_layer_holds_a_doubt_where_a_label_is(judged):
    out = judged[0].parent / "out"
    cube = open_cube(out / "cube.zarr")
    doubt, label, polygon = (cube[name].values for name in ("doubt", "label", "polygon"))
    every = pd.read_parquet(out / "labels_doubt.parquet")
    judged_ones = every["polygon"][every["doubt"].notna()]
    assert ((doubt != 255) == np.isin(polygon, judged_ones)).all()
    assert (doubt[label == 255] == 255).all()
    # of a pixel that is no sample the doubt is its label's
    large = every[every["samples"] == 20].iloc[0]
    counts = np.bincount(doubt[polygon == large["polygon"]], minlength=256)
    assert counts.argmax() == round(250 * large["doubt"])
    assert counts[counts > 0].sum() > 20 >= counts.sum() - counts.max()
    assert cube["doubt"].attrs["nodata"] == 255


def test_of_several_labels_of_a_pixel_the_most_doubtful_is_written(tmp_path):
    """Two label layers; samples of both, of the first alone, of none."""
    polygon = xr.DataArray(np.array([[[1, 1, 1, 0]], [[2, 2, 2, 2]]], "int32"),
                           dims=("label_layer", "y", "x"))  # fmt: skip
    whole = make_cube((1, 4))
    label = xr.where(polygon > 0, 0, 255).astype("uint8")
    cube = whole.assign(
        label=label.assign_attrs(whole["label"].attrs),
        polygon=polygon.assign_attrs(whole["polygon"].attrs),
    )
    stored(cube, tmp_path / "cube.zarr")
    labels = pd.DataFrame({"polygon": [1, 2], "block": 0, "code": 0, "doubt": [0.4, 0.6]})
    labels.to_parquet(tmp_path / "labels.parquet")
    # row, column, polygon, doubt
    spots = np.array([[0, 0, 1, 200], [0, 0, 2, 50], [0, 1, 1, 25]])
    work = DoubtWork(tmp_path / "cube.zarr", tmp_path / "labels.parquet", "key", 100.0, spots)
    got = work(Tile(0, 0, slice(0, 1), slice(0, 4)), True)
    assert got.values["doubt"].tolist() == [[200, 150, 150, 150]]


def test_decisions_go_back_into_the_labels_and_the_labels_are_made_anew(run, capsys):
    path, fields = run
    out = path.parent / "out"
    table = listed(out)
    true = fields["true"].to_numpy()[table["feature"]]
    wrong = table["class"].to_numpy() != true
    assert wrong.any()
    table["decision"] = np.where(wrong, "relabel", "keep")
    table["decision_class"] = np.where(wrong, true, "")
    table.to_csv(out / "labels_doubtful.csv", index=False)

    assert main([str(path), "decide"]) == 0
    said = capsys.readouterr().out
    assert f"{len(table)} decisions were written" in said
    assert "run: labels samples doctor --redo" in said
    after = gpd.read_file(path.parent / "labels.gpkg")
    relabelled = table["feature"][wrong]
    assert after["decision_class"].to_numpy()[relabelled].tolist() == true[wrong].tolist()
    held = (path.parent / "labels.gpkg").read_bytes()

    # what is made of the labels as they were is refused until it is made anew
    assert main([str(path), "samples"]) == 2
    assert "labels samples doctor decide --redo" in capsys.readouterr().err
    assert main([str(path), "decide", "--redo"]) == 0
    assert "0 decisions were written" in capsys.readouterr().out
    assert (path.parent / "labels.gpkg").read_bytes() == held

    assert main([str(path), "labels", "samples", "doctor", "--redo"]) == 0
    labels = gpd.read_parquet(out / "labels.parquet").set_index("feature")
    kept = [feature for feature in relabelled if feature in labels.index]
    assert (labels["class"].loc[kept].to_numpy() == fields["true"].to_numpy()[kept]).all()
    again = listed(out)
    assert not set(again["feature"]) & set(table["feature"])  # what was decided is not asked again
    assert not (out / "labels_doubtful_1.csv").exists()


def test_decisions_that_are_in_no_label_file_are_not_lost(run, capsys):
    path, _ = run
    out = path.parent / "out"
    table = listed(out)
    table.loc[0, ["decision", "decision_class"]] = ["relabel", "no such class"]
    table.to_csv(out / "labels_doubtful.csv", index=False)
    assert main([str(path), "decide"]) == 2
    assert "has 'no such class'" in capsys.readouterr().err
    assert main([str(path), "doctor", "--redo"]) == 0
    assert listed(out)["decision"].eq("").all()
    aside = pd.read_csv(out / "labels_doubtful_1.csv", keep_default_na=False)
    assert aside["decision_class"][0] == "no such class"


def test_decide_without_the_doctor_says_what_to_do(recipe, capsys):
    assert main([str(recipe()), "decide"]) == 2
    assert "Run it, fill in `decision`" in capsys.readouterr().err
