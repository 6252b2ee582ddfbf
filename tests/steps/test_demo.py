"""The demo as a new user runs it, against the truth that its simulator knows; and its notebook."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from geocube_ml.files import read_json
from geocube_ml.run import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped recipe, run as it is."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOCUBE_ML_OUT", str(folder))
        assert main([str(ROOT / "catalogs/demo.yaml")]) == 0
    return folder / "demo"


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


def test_the_notebook_runs_and_is_kept_without_outputs(demo, tmp_path):
    path = ROOT / "notebooks/00_quickstart.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOCUBE_ML_OUT", str(demo.parent))
        # the kernel talks over a socket file, and keeps its settings to itself
        patch.setenv("IPYTHONDIR", str(tmp_path))
        client = NotebookClient(
            notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env={**os.environ})
    printed = "".join(
        out.get("text", "") for cell in code for out in cell.outputs if out.output_type == "stream"
    )
    assert "tempcnn" in printed
    assert "cube      was done already" in printed
    assert (demo / "corner.tif").exists()
