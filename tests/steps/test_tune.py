from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from geocube_ml.data.folds import HOLDOUT
from geocube_ml.data.table import read_samples
from geocube_ml.run import main
from geocube_ml.spec.recipe import read_recipe
from geocube_ml.train import tune
from tests.steps.conftest import tree

SEARCH = {
    "trials": 2,
    "folds": 2,
    "models": {"forest": {"min_leaf": [1, 40], "trees": [3, 5, 7]}},
}


@pytest.fixture
def path(finished, recipe):
    """A recipe whose run is done, and which searches a forest."""
    return str(recipe({"tune": SEARCH}))


def test_the_best_is_written_beside_the_recipes_own_setting(path, tmp_path, capsys):
    before = tree(tmp_path / "out/models"), Path(path).read_bytes()
    assert main([path, "tune"]) == 0
    said = capsys.readouterr().out
    assert "forest: macro-F1" in said
    assert "by the recipe" in said
    assert "the recipe stays as it is" in said
    assert (tree(tmp_path / "out/models"), Path(path).read_bytes()) == before
    folder = tmp_path / "out/tuning"
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert [(row["model"], row["trial"]) for row in rows] == [("forest", n) for n in "012"]
    best = max((row for row in rows if row["state"] == "complete"), key=lambda r: float(r["value"]))
    written = yaml.safe_load((folder / "forest.yaml").read_text())
    for setting in filter(None, best["settings"].split("; ")):
        field, _, value = setting.partition(": ")
        assert written["models"]["forest"].get(field, 1) == int(value)

    changed = yaml.safe_load(Path(path).read_text())
    changed["models"] |= written["models"]
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(changed))
    assert read_recipe(again).models["forest"].kind == "forest", "it can be copied into a recipe"


def test_a_search_makes_no_other_step_anew(path, capsys):
    assert main([path, "tune"]) == 0
    capsys.readouterr()
    assert main([path]) == 0
    said = capsys.readouterr().out
    assert said.count("was done already") == 8
    assert main([path, "tune"]) == 0
    assert "was done already" in capsys.readouterr().out


def test_the_hold_out_has_no_part_in_a_trial(path, tmp_path, monkeypatch):
    samples = read_samples(tmp_path / "out/samples.zarr")
    free = samples["fold_block"].values != HOLDOUT
    fits = []
    real = tune.fit_model

    def spy(spec, series, label, n_class, **given):
        fits.append(series)
        return real(spec, series, label, n_class, **given)

    monkeypatch.setattr(tune, "fit_model", spy)
    assert main([path, "tune"]) == 0
    assert len(fits) == 3 * 2
    counts = samples["s2"].values[free]
    known = np.where(counts == samples["s2"].attrs["nodata"], np.nan, counts * np.float32(1e-4))
    rows = {row.tobytes() for row in known.astype("float32").round(4)}
    assert {row.tobytes() for row in fits[0].round(4)} <= rows
    assert len(fits[0]) <= free.sum() < len(free)


def test_a_search_that_was_interrupted_goes_on(path, tmp_path, monkeypatch):
    fits = []
    real = tune.fit_model

    def stop(*args, **given):
        fits.append(1)
        if len(fits) == 5:  # in the middle of the last trial
            raise KeyboardInterrupt
        return real(*args, **given)

    monkeypatch.setattr(tune, "fit_model", stop)
    assert main([path, "tune"]) == 130
    assert main([path, "tune"]) == 0
    assert len(fits) == 5 + 2, "two trials were kept"
    text = (tmp_path / "out/tuning/trials.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]


def test_more_trials_go_on_from_those_that_are_known(path, recipe, tmp_path, capsys):
    assert main([path, "tune"]) == 0
    before = (tmp_path / "out/tuning/trials.csv").read_text()
    recipe({"tune": SEARCH | {"trials": 4}})
    assert main([path, "tune"]) == 0
    after = (tmp_path / "out/tuning/trials.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 1 + 5
    recipe({"tune": SEARCH | {"trials": 4, "seed": 1}})
    capsys.readouterr()
    assert main([path, "tune"]) == 2
    assert "tune.seed was 0, is 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"forrest": {}}, "names 'forrest', but models has tempcnn, forest"),
        ({"forest": {"treez": [1, 5]}}, "no field 'treez'"),
        ({"forest": {"trees": [0, 5]}}, "forest.trees: 0"),
        ({"forest": {"trees": 5}}, "trees"),
    ],
)
def test_a_search_that_makes_no_sense_is_said_before_anything_runs(models, said, recipe, capsys):
    assert main([str(recipe({"tune": {"models": models}})), "tune"]) == 2
    assert said in capsys.readouterr().err
