from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from geocube_ml.errors import InputError
from geocube_ml.export.onnx import to_onnx
from geocube_ml.kernels.calibration import soften
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit, FitSource
from geocube_ml.models.tables.boosting import fit_boosting
from geocube_ml.models.tables.forest import fit_forest
from geocube_ml.models.tables.rocket import fit_rocket
from geocube_ml.spec.networks import (
    AttentionEncoder,
    DeepLabSpec,
    FusionSpec,
    InceptionTimeEncoder,
    LTAEEncoder,
    RecurrentEncoder,
    TempCNNSpec,
    UNetSpec,
)
from geocube_ml.spec.tables import BoostingSpec, ForestSpec, RocketSpec
from tests.export.models import CLASSES, FIT, ONE, make_series, untrained


def expected(bundle, series):
    """What the bundle answers, from physical values."""
    numbers = bundle.model.target.n_class is None
    found = (bundle.model.predict if numbers else bundle.model.predict_proba)(series)
    if not numbers:
        moved = np.moveaxis(found, 1, -1)
        flat = soften(moved.reshape(-1, moved.shape[-1]), bundle.temperature)
        found = np.moveaxis(flat.reshape(moved.shape), -1, 1)
    deciding = bundle.fit.layout.n_series or bundle.fit.layout.n_channel
    missing = np.isnan(series[:, :, :deciding]).all(axis=(1, 2))
    return np.where(missing if numbers else missing[:, None], np.nan, found)


def answers(path, series):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"series": series})[0]


def assert_equal_answers(bundle, folder, *series):
    path = folder / "model.onnx"
    to_onnx(bundle, path)
    for some in series:
        found = answers(path, some)
        want = expected(bundle, some)
        assert found.shape == want.shape
        assert np.isfinite(want).any()
        np.testing.assert_allclose(found, want, atol=1e-5)


def many_and_one(fit=FIT):
    """The number of samples is free: many, and a single one that was observed."""
    many = make_series(300, fit)
    return many, many[~np.isnan(many[:, :, :3]).all(axis=(1, 2))][:1]


EACH = {
    "s2": InceptionTimeEncoder(width=2, depth=3),
    "s1": LTAEEncoder(width=8, heads=2),
    "dem": AttentionEncoder(width=4, heads=2),
}
RECURRENT = {
    "s2": RecurrentEncoder(width=2, layers=1),
    "s1": RecurrentEncoder(kind="lstm", width=2, layers=1),
}


def test_onnx_answers_as_the_encoders_in_the_unit_of_the_labels(tmp_path):
    bundle = untrained(FusionSpec(encoders=EACH), n_class=None)
    assert_equal_answers(bundle, tmp_path, *many_and_one())
    assert answers(tmp_path / "model.onnx", make_series(50)).shape == (50,)


def test_onnx_answers_as_sources_that_decide_by_themselves(tmp_path):
    bundle = untrained(FusionSpec(how="decision", encoders=RECURRENT))
    assert_equal_answers(bundle, tmp_path, *many_and_one())


def test_members_are_averaged_before_they_are_softened(tmp_path):
    bundle = untrained(TempCNNSpec(width=4, members=2), ONE)
    assert_equal_answers(bundle, tmp_path, *many_and_one(ONE))
    written = (tmp_path / "model.onnx").read_bytes()
    told = [word for word in (b".py", b"geocube_ml/", b"stack_trace") if word in written]
    assert told == [], "it names code or folders of this machine"


@pytest.mark.parametrize("spec", [UNetSpec(width=4, depth=1), DeepLabSpec(width=4, rates=(1,))])
def test_onnx_answers_as_the_network_for_patches_of_any_size(spec, tmp_path):
    pictures = [make_series(n, ONE, area) for n, area in ((3, (20, 28)), (2, (17, 9)))]
    pictures[0][1, :, :, :5] = np.nan  # a part was never observed
    assert_equal_answers(untrained(spec, ONE), tmp_path, pictures[0], pictures[1][1:])


@pytest.mark.parametrize(
    ("fit", "spec"),
    [
        (fit_forest, ForestSpec(trees=7)),
        (fit_boosting, BoostingSpec(rounds=5, min_leaf=3)),
        (fit_rocket, RocketSpec(features=200)),
    ],
    ids=["forest", "boosting", "minirocket"],
)
@pytest.mark.parametrize("codes", [(0, 1, 2, 3), (0, 2, 3), (1, 3), None])
def test_onnx_answers_as_the_table_model(fit, spec, codes, tmp_path):
    """Of all classes, with classes that were not there to learn, of two, and of numbers."""
    series = make_series(240)
    bright = np.nan_to_num(series[:, :, 0], nan=0.3).mean(axis=1)
    rank = bright.argsort().argsort()
    label = bright.astype("float64") if codes is None else np.array(codes)[rank % len(codes)]
    model = fit(spec, series, label, None if codes is None else 4, layout=FIT.layout)
    bundle = ModelBundle("fields", model, FIT, CLASSES, {}, 0.8)
    assert_equal_answers(bundle, tmp_path, series, *many_and_one())


@pytest.mark.parametrize("fit", [fit_forest, fit_boosting, fit_rocket])
def test_a_value_on_a_threshold_goes_the_same_way(fit, tmp_path):
    """Few values that all lie on thresholds, of one source and of long series."""
    rng = np.random.default_rng(3)
    series = rng.integers(0, 4, (300, 20, 1)).astype("float32") / 3
    label = (series[:, :3, 0].sum(axis=1) * 3).astype(int) % 3
    spec = {fit_forest: ForestSpec(trees=5), fit_boosting: BoostingSpec(rounds=5)}.get(
        fit, RocketSpec(features=84 * 6)
    )
    model = fit(spec, series, label, 3)
    source = FitSource(name="s2", bands=("red",), nodata=0)
    long = Fit(sources=(source,), steps=tuple(f"01-{day:02d}" for day in range(1, 21)))
    assert_equal_answers(ModelBundle("x", model, long, CLASSES), tmp_path, series)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    rng = np.random.default_rng(0)
    series = make_series(60)
    model = fit_forest(ForestSpec(trees=2), series, rng.integers(0, 4, 60), 4, layout=FIT.layout)
    bundle = ModelBundle("fields", model, FIT, CLASSES, {}, 1.25)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    to_onnx(bundle, path)
    return bundle, onnx.load(path)


def test_the_file_says_what_it_is_of(written):
    bundle, model = written
    said = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(said["classes"]) == list(CLASSES.names)
    assert json.loads(said["sources"]) == {
        "s2": ["red", "nir", "swir"], "s1": ["vv", "vh"], "dem": ["height", "slope"],
    }  # fmt: skip
    assert json.loads(said["channels"])[3:6] == ["s1/vv", "s1/vh", "dem/height"]
    assert json.loads(said["steps"]) == list(FIT.steps)
    assert said["digest"] == bundle.digest()
    assert float(said["temperature"]) == 1.25


def test_a_reader_of_a_year_ago_knows_its_operators(written):
    _, model = written
    assert {opset.domain: opset.version for opset in model.opset_import} == {
        "": 20, "ai.onnx.ml": 3,
    }  # fmt: skip
    assert model.ir_version == 9


def test_a_forest_of_one_class_is_refused(tmp_path):
    series = make_series(30)
    model = fit_boosting(BoostingSpec(rounds=2), series, np.zeros(30, int), 4, layout=FIT.layout)
    with pytest.raises(InputError, match="one class only"):
        to_onnx(ModelBundle("x", model, FIT, CLASSES), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_extra_it_is_named(package, written, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"geocube-ml\[onnx\]"):
        to_onnx(written[0], tmp_path / "model.onnx")
