"""The demo, trained for less long, against the truth that its simulator knows; and its notebook."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from geocube_ml.files import read_json
from geocube_ml.run import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped one with a fifth of its training, after which its models are as good."""
    folder = tmp_path_factory.mktemp("demo")
    values = yaml.safe_load((ROOT / "catalogs/demo.yaml").read_text())
    values["samples"]["per_polygon"] = 20
    values["models"]["tempcnn"]["epochs"] = 8
    values["models"]["forest"]["trees"] = 40
    values["cluster"] = {"workers": 1}  # scenes are simulated here: processes take long to begin
    (folder / "sources").symlink_to(ROOT / "catalogs/sources")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def demo(recipe: Path) -> Path:
    """What its run leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOCUBE_ML_OUT", str(recipe.parent))
        assert main([str(recipe)]) == 0
    return recipe.parent / "demo"


def test_the_series_model_comes_close_to_the_best_possible_and_beats_the_forest(demo):
    scores = read_json(demo / "scores.json")
    f1 = {s["model"]: s["macro_f1"] for s in scores["reference"]}
    assert f1["tempcnn"] >= 0.9 * f1["best possible"]
    assert f1["tempcnn"] > f1["forest"]


def test_the_report_shows_both_models_and_the_flattering_split(demo):
    page = (demo / "report.html").read_text()
    for text in ("tempcnn", "forest", "best possible", "majority class", "optimism"):
        assert text in page
    scores = read_json(demo / "scores.json")
    by = {(s["model"], s["split"]): s["macro_f1"] for s in scores["scores"]}
    assert by["forest", "random"] > by["forest", "block"]


def executed(name: str, recipe: Path, folder: Path) -> str:
    """What a notebook prints that is run on the demo's files."""
    path = ROOT / "notebooks" / name
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    shipped = '"../catalogs/demo.yaml"'
    assert shipped in code[0].source
    code[0].source = code[0].source.replace(shipped, repr(str(recipe)))
    for cell in code:  # how well a model learns is seen above
        cell.source = cell.source.replace('{"epochs": 8}', '{"epochs": 1}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOCUBE_ML_OUT", str(recipe.parent))
        # the kernel talks over a socket file, and keeps its settings to itself
        patch.setenv("IPYTHONDIR", str(folder))
        client = NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env={**os.environ})
    printed = "".join(
        out.get("text", "") for cell in code for out in cell.outputs if out.output_type == "stream"
    )
    assert "cube      was done already" in printed
    return printed


def test_the_notebook_runs_and_is_kept_without_outputs(demo, recipe, tmp_path):
    printed = executed("00_quickstart.ipynb", recipe, tmp_path)
    assert "tempcnn" in printed
    assert (demo / "corner.tif").exists()


def test_the_notebook_on_labels_finds_most_of_those_that_were_changed(demo, recipe, tmp_path):
    printed = executed("01_labels_and_samples.ipynb", recipe, tmp_path)
    found, wrong, _, n = map(int, re.search(
        r"(\d+) of (\d+) wrong labels are among the worst (\d+) of (\d+)", printed
    ).groups())  # fmt: skip
    assert wrong == n // 20
    assert found >= 0.6 * wrong
    assert "samples x months x bands" in printed
