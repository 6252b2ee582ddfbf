from __future__ import annotations

import copy
import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pystac
import pytest
import shapely

from geocube_ml.errors import InputError
from geocube_ml.export.mlm import EXTENSIONS, mlm_item
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.tables.forest import fit_forest
from geocube_ml.models.tables.rocket import fit_rocket
from geocube_ml.spec.models import EnsembleSpec
from geocube_ml.spec.networks import FusionSpec, LTAEEncoder, TempCNNSpec, UNetSpec
from geocube_ml.spec.tables import ForestSpec, RocketSpec
from geocube_ml.train import fit_model
from tests.export.models import CLASSES, FIT, ONE, make_series, untrained
from tests.stac import faults

AREA = shapely.box(10.5, 45.25, 11, 45.5)
YEAR = datetime(2023, 4, 1, tzinfo=UTC), datetime(2023, 8, 31, 23, 59, 59, tzinfo=UTC)
METRICS = [{"split": "block", "macro_f1": 0.81}]


def described(bundle, folder, **changed):
    bundle.save(folder)
    told = {"name": "fields_tempcnn", "area": AREA, "interval": YEAR, "licence": "CC-BY-4.0"}
    return mlm_item(bundle, folder, **told | changed)


def table(fit, spec):
    series = make_series(60)
    label = np.random.default_rng(0).integers(0, 4, 60)
    return ModelBundle("x", fit(spec, series, label, 4, layout=FIT.layout), FIT, CLASSES)


def ensemble():
    series, label = make_series(60), np.arange(60) % 4
    spec = EnsembleSpec(of={"forest": {"trees": 2}, "tempcnn": {"width": 4, "epochs": 1}})
    return ModelBundle("x", fit_model(spec, series, label, layout=FIT.layout).model, FIT, CLASSES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: untrained(TempCNNSpec(width=4), ONE),
        lambda: untrained(FusionSpec(encoders={"s1": LTAEEncoder(width=8, heads=2)}, members=2)),
        lambda: untrained(UNetSpec(width=4, depth=1)),
        lambda: untrained(TempCNNSpec(width=4), n_class=None),
        lambda: table(fit_forest, ForestSpec(trees=2)),
        lambda: table(fit_rocket, RocketSpec(features=84)),
        ensemble,
    ],
    ids=["one source", "fusion", "patches", "a number", "forest", "minirocket", "ensemble"],
)
def test_the_schemas_accept_the_item(make, tmp_path):
    item = described(make(), tmp_path, metrics=METRICS)
    said = json.loads(json.dumps(item.to_dict(include_self_link=False)))
    assert faults(said) == []


@pytest.fixture(scope="module")
def bundle():
    return untrained(FusionSpec(), temperature=1.25)


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    bundle.save(folder)
    (folder / "model.onnx").write_bytes(b"a graph")
    return folder


@pytest.fixture(scope="module")
def said(bundle, folder):
    item = mlm_item(bundle, folder, name="fields_fusion", area=AREA, interval=YEAR, metrics=METRICS)
    return item.to_dict(include_self_link=False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda item: item["properties"].pop("mlm:input"),
        lambda item: item["properties"].pop("bands"),
        lambda item: item["properties"].update({"mlm:name": "?"}),
        lambda item: item["properties"].update({"mlm:unknown": 1}),
        lambda item: item["properties"]["mlm:input"][0]["input"]["dim_order"].remove("bands"),
        lambda item: item["properties"]["mlm:output"][0]["classification:classes"][0].pop("value"),
        lambda item: item["properties"]["mlm:input"][0]["input"].update(data_type="real"),
        lambda item: item["properties"]["bands"][0].update({"raster:scale": "1"}),
        lambda item: item["assets"]["weights"].pop("mlm:artifact_type"),
        lambda item: item["assets"]["weights"].update({"file:size": "12"}),
        lambda item: item.pop("geometry"),
    ],
)
def test_the_schemas_see_what_is_wrong(spoil, said):
    """Each schema that is needed is looked into: of MLM, what it refers to, file, raster, core."""
    wrong = copy.deepcopy(said)
    spoil(wrong)
    assert faults(said) == []
    assert faults(wrong) != []


def test_an_extension_whose_schema_is_not_there_is_not_skipped(said):
    other = {**said, "stac_extensions": [*said["stac_extensions"], "https://example.org/x.json"]}
    with pytest.raises(Exception, match=r"example\.org"):
        faults(other)


def test_the_input_is_what_the_model_takes(said):
    (given,) = said["properties"]["mlm:input"]
    assert given["bands"] == [
        "s2/red", "s2/nir", "s2/swir", "s1/vv", "s1/vh", "dem/height", "dem/slope",
    ]  # fmt: skip
    assert given["input"] == {
        "shape": [-1, 5, 7], "dim_order": ["batch", "time", "bands"], "data_type": "float32",
    }  # fmt: skip
    assert given["value_scaling"] is None, "the model standardizes by itself"


def test_bands_tell_scale_nodata_and_the_statistics_of_the_training(said, bundle):
    bands = {band["name"]: band for band in said["properties"]["bands"]}
    assert (bands["s2/red"]["raster:scale"], bands["s2/red"]["nodata"]) == (1e-4, 0)
    assert bands["s1/vv"]["nodata"] == "nan"
    found = [band["statistics"]["mean"] for band in said["properties"]["bands"]]
    np.testing.assert_allclose(found, bundle.model.scaling.mean)


def test_the_output_names_the_classes_and_their_colours(said):
    (given,) = said["properties"]["mlm:output"]
    assert given["result"]["shape"] == [-1, 4]
    assert given["classification:classes"][2] == {
        "value": 2, "name": "forêt", "description": "forêt", "color_hint": "C2703D",
    }  # fmt: skip


def test_a_number_is_told_with_its_name_and_unit(tmp_path):
    bundle = untrained(TempCNNSpec(width=4), ONE, n_class=None)
    bundle.facts["quantity"] = {"column": "biomass", "units": "t/ha"}
    (given,) = described(bundle, tmp_path).properties["mlm:output"]
    assert "biomass in t/ha" in given["description"]
    assert given["result"] == {"shape": [-1], "dim_order": ["batch"], "data_type": "float32"}


def test_files_have_their_sizes_and_checksums(said, folder):
    assets = said["assets"]
    assert set(assets) == {"weights", "bundle", "onnx"}
    for asset in assets.values():
        content = (folder / asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert assets["onnx"]["mlm:framework"] == "ONNX"


def test_the_item_tells_how_the_model_was_made(said, bundle):
    told = said["properties"]
    assert told["mlm:architecture"] == "feature fusion of TempCNN"
    assert told["mlm:framework"] == "PyTorch"
    assert told["mlm:hyperparameters"]["drop_source"] == 0.2
    assert told["geocube_ml:training"] == {"n_train": 60}
    assert told["geocube_ml:metrics"] == METRICS
    assert told["geocube_ml:digest"] == bundle.digest()
    assert (told["start_datetime"], told["end_datetime"]) == (
        "2023-04-01T00:00:00Z", "2023-08-31T23:59:59Z",
    )  # fmt: skip


def test_pystac_reads_what_was_written(said, tmp_path):
    path = tmp_path / "item.json"
    path.write_text(json.dumps(said))
    item = pystac.Item.from_file(path)
    assert item.bbox == [10.5, 45.25, 11, 45.5]
    assert set(item.stac_extensions) == set(EXTENSIONS.values())


@pytest.mark.parametrize("name", ["_x", "3_a", "fields-été"])
def test_any_name_of_a_model_becomes_one_that_the_schema_accepts(name, bundle, folder):
    item = mlm_item(bundle, folder, name=name, area=AREA, interval=YEAR)
    assert faults(item.to_dict(include_self_link=False)) == []


def test_a_licence_that_is_no_identifier_is_refused(bundle, folder):
    with pytest.raises(InputError, match="SPDX"):
        mlm_item(bundle, folder, name="x", area=AREA, interval=YEAR, licence="ask me first")


def test_a_folder_without_the_model_is_refused(bundle, tmp_path):
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        mlm_item(bundle, tmp_path, name="x", area=AREA, interval=YEAR)
