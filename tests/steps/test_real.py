"""Real input: one square kilometre in Slovenia, and two overlapping tiles in Croatia."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocube_ml.errors import InputError
from geocube_ml.files import read_json
from geocube_ml.spec.recipe import Recipe, read_recipe
from geocube_ml.steps.progress import Reporter
from geocube_ml.steps.runner import run_recipe
from geocube_ml.store.cube import open_cube

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("GEOCUBE_ML_DATA") or ROOT.parent / "shared" / "data")


def catalogued(name: str, folder: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    if not (DATA / folder).exists():
        pytest.skip(f"{folder} is not in {DATA}; GEOCUBE_ML_DATA names another folder")
    monkeypatch.setenv("GEOCUBE_ML_DATA", str(DATA))
    recipe = read_recipe(ROOT / "catalogs" / f"{name}.yaml")
    return recipe.model_copy(update={"out": str(out)})


class Lines(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def slovenia(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("slovenia")
    with pytest.MonkeyPatch.context() as patch:
        recipe = catalogued("slovenia", "slovenia_s2_ndvi", out, patch)
        quick = {"tempcnn": {"epochs": 6}, "forest": {"trees": 20}}  # of 40 and 200
        assert set(quick) == set(recipe.models)
        models = {k: spec.model_copy(update=quick[k]) for k, spec in recipe.models.items()}
        recipe = recipe.model_copy(update={"models": models})
        lines = Lines()
        run_recipe(recipe, reporter=lines)
    return out, lines.lines


def test_slovenia_lists_what_was_lost_and_why(slovenia):
    out, lines = slovenia
    losses = pd.read_csv(out / "labels_lost.csv")
    reasons = losses["reason"].str.removesuffix(" (a sliver)").value_counts()
    assert reasons["vanished under the buffer of 10 m"] == 39
    assert reasons["the class has no name"] == 4
    said = "\n".join(lines)
    assert "31 polygons with 7561 labelled pixels" in said
    assert "12 labels left out: vanished under the buffer of 10 m" in said
    assert "27 labels left out: vanished under the buffer of 10 m (a sliver)" in said
    assert "cultivated land" in said, "a class that lost all its polygons is named"


def test_slovenia_keeps_missing_months_missing(slovenia):
    cube = open_cube(slovenia[0] / "cube.zarr")
    seen = (cube["s2_clear"] > 0).any(("y", "x")).values
    data = (cube["s2"] != -32768).any(("s2_band", "y", "x")).values
    assert (seen == data).all()
    assert (~seen).sum() == 6
    assert ((cube["s2"] != -32768).any("s2_band") <= (cube["s2_clear"] > 0)).all()


def test_slovenia_gives_macro_f1_by_polygon_beside_the_majority_class(slovenia):
    scores = read_json(slovenia[0] / "scores.json")
    by_polygon = {s["model"]: s for s in scores["scores"] if s["split"] == "polygon"}
    assert 0.3 < by_polygon["majority class"]["overall"] < 0.9
    for model in ("tempcnn", "forest"):
        assert by_polygon[model]["macro_f1"] > by_polygon["majority class"]["macro_f1"]
        assert by_polygon[model]["test_polygons"] == 31
    assert any("Spatial hold-out" in n and "mean little" in n for n in scores["notes"])


def test_slovenia_is_mapped_where_it_was_seen(slovenia):
    cube = open_cube(slovenia[0] / "cube.zarr")
    assert (cube["class"] != 255).all()
    share = (cube["class"] == list(cube["class"].attrs["class_names"]).index("forest")).mean()
    assert 0.5 < float(share) < 0.95
    total = cube["prob"].sum("class_name").values
    assert np.abs(total - 250.0).max() <= len(cube["class_name"])
    assert "mean little" in (slovenia[0] / "report.html").read_text()


def test_croatia_makes_one_seamless_month(tmp_path, monkeypatch):
    recipe = catalogued("croatia", "croatia_s2_scenes", tmp_path / "out", monkeypatch)
    run_recipe(recipe, reporter=Lines())
    cube = open_cube(tmp_path / "out/cube.zarr")
    assert cube["s2_clear"].max() <= 5, "ten items, but five days"
    red = cube["s2"].sel(s2_band="red")[0].values
    assert (red == 0).mean() < 0.01
    # the offset was taken off by the provider: a second time would clip dark forest to 1
    assert (red == 1).mean() < 0.001
    assert 200 < np.median(red[red > 0]) < 600
    assert "boa_offset_applied" in cube["s2"].attrs["offset_removed"]


def test_croatia_has_no_labels_to_run_the_rest_on(tmp_path, monkeypatch):
    recipe = catalogued("croatia", "croatia_s2_scenes", tmp_path / "out", monkeypatch)
    with pytest.raises((InputError, ValueError), match="no `labels`"):
        run_recipe(recipe, ["cube", "labels"], reporter=Lines())
