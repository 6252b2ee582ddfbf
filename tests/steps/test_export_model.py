from __future__ import annotations

import hashlib
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import yaml

from geocube_ml.data.table import read_samples
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.run import main
from geocube_ml.steps.export_model import _metrics
from tests.stac import faults

MODELS = ("tempcnn", "forest")


@pytest.fixture(scope="module")
def out(undisturbed, values, tmp_path_factory):
    """A run that is done, with its models exported."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(undisturbed, folder / "out")
    changed = values | {"out": str(folder / "out"), "dataset": {"licence": "CC-BY-4.0"}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed))
    assert main([str(path), "export-model"]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def items(out):
    return {
        name: json.loads((out / f"export/models/{name}/item.json").read_text()) for name in MODELS
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_schemas_accept_the_item_of_each_model(name, items):
    assert faults(items[name]) == []


@pytest.mark.parametrize("name", MODELS)
def test_onnx_answers_as_the_bundle_of_the_run(name, out):
    samples = read_samples(out / "samples.zarr")
    counts = {"s2": samples["s2"].values[::7]}
    bundle = ModelBundle.load(out / "models" / name)
    session = onnxruntime.InferenceSession(
        out / f"export/models/{name}/model.onnx", providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"series": bundle.fit.stacked(counts)})[0]
    np.testing.assert_allclose(found, bundle.predict_proba(counts), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_exported_is_the_model_of_the_run(name, out, items):
    exported = ModelBundle.load(out / "export/models" / name)
    assert exported.digest() == ModelBundle.load(out / "models" / name).digest()
    for asset in items[name]["assets"].values():
        content = (out / "export/models" / name / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()


def test_the_item_says_when_and_how_good_and_on_what_terms(out, items):
    scores = json.loads((out / "scores.json").read_text())["scores"]
    for name, item in items.items():
        told = item["properties"]
        assert item["id"] == f"small_{name}"
        assert told["license"] == "CC-BY-4.0"
        assert told["start_datetime"] == "2022-01-01T00:00:00Z"
        assert told["end_datetime"] == "2022-12-31T23:59:59Z"
        own = [score["macro_f1"] for score in scores if score["model"] == name]
        found = [one["macro_f1"] for one in told["geocube_ml:metrics"]]
        assert found[: len(own)] == own
        assert own


def test_the_item_publishes_no_labels(tmp_path):
    path = tmp_path / "scores.json"
    score = {"model": "m", "split": "group", "rmse": 2.5, "pairs": [[1, 2]], "left_out": [{}],
             "confusion": [[1]], "reliability": [[1]]}  # fmt: skip
    path.write_text(json.dumps({"scores": [score]}))
    records = SimpleNamespace(facts=lambda _: {})
    found = _metrics(SimpleNamespace(records=records, scores_path=path), "m")
    assert found == [{"model": "m", "split": "group", "rmse": 2.5}]


def test_without_the_extra_the_rest_is_written_and_the_lack_is_said(
    finished, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main([str(finished), "export-model"]) == 0
    assert "geocube-ml[onnx]" in capsys.readouterr().out
    folder = tmp_path / "out/export/models/forest"
    item = json.loads((folder / "item.json").read_text())
    assert set(item["assets"]) == {"weights", "bundle"}
    assert not (folder / "model.onnx").exists()
    assert faults(item) == []
