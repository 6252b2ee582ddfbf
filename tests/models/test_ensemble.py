"""Models side by side: from the recipe over the training to the bundle, ONNX and the item."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from geocube_ml.errors import InputError, SpecError, TrainingStopped
from geocube_ml.evaluate.tasks import _fitting
from geocube_ml.export.onnx import to_onnx
from geocube_ml.kernels.calibration import soften
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.kinds import restored_model
from geocube_ml.models.layout import Layout
from geocube_ml.spec.base import written
from geocube_ml.spec.models import EnsembleSpec, model_spec
from geocube_ml.spec.training import SEEDS
from geocube_ml.spec.tune import changed, usual_space
from geocube_ml.steps.tune import _changes
from geocube_ml.train import fit_model
from geocube_ml.train.members import checkpoints_of, epochs_of
from tests.export.models import CLASSES, ONE, make_series
from tests.seasons import NAMES

N = len(NAMES)
SMALL = {
    "tempcnn": {"width": 8, "epochs": 3, "batch": 32},
    "trees": {"kind": "forest", "trees": 8},
    "minirocket": {"features": 168},
}


def spec(**more):
    return model_spec("ensemble", **({"of": SMALL} | more))


@pytest.fixture(scope="module")
def held(series):
    return np.arange(len(series[0])) % 5 == 0


@pytest.fixture(scope="module")
def fitted(series, held):
    return fit_model(spec(), *series, N, validation=held)


def test_it_answers_with_the_mean_of_its_models(series, held, fitted):
    x, label = series
    alone = [
        fit_model(part, x, label, N, validation=held).predict_proba(x)
        for part in spec().of.values()
    ]
    np.testing.assert_allclose(fitted.predict_proba(x), np.mean(alone, axis=0), atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.05


def test_the_temperature_is_that_of_the_mean_before_tables_learn_the_rows_that_decide_it(
    series, held, fitted
):
    x, label = series
    before = fit_model(spec(), x, label, N, validation=held, refit=False)
    assert fitted.temperature == before.temperature
    assert fitted.facts == before.facts
    assert not np.array_equal(fitted.predict_proba(x), before.predict_proba(x))


def test_tables_alone_learn_from_all_rows_and_say_so(series, held):
    of = {"forest": {"trees": 4}, "boosting": {"rounds": 3}}
    both, forest = (
        fit_model(asked, *series, N, validation=held)
        for asked in (spec(of=of), model_spec("forest", trees=4))
    )
    assert both.facts["n_train"] == forest.facts["n_train"] == len(held)
    part = both.model.parts["forest"].state()
    assert all(np.array_equal(values, part[key]) for key, values in forest.model.state().items())


def test_of_numbers_it_answers_with_their_mean(series):
    x, _ = series
    value = 40 + 10 * np.nan_to_num(x[:, :, 0], nan=0.3).mean(axis=1).astype(float)
    model = fit_model(spec(), x, value).model
    parts = [part.predict(x) for part in model.parts.values()]
    np.testing.assert_allclose(model.predict(x), np.mean(parts, axis=0), rtol=1e-6)
    with pytest.raises(InputError, match=r"tempcnn, of the ensemble: .sampling: balanced.* is of "):
        fit_model(spec(of={"tempcnn": {"sampling": "balanced"}, "forest": {}}), x, value)


def test_its_seed_is_added_to_that_of_each(series):
    parts = spec(of={"tempcnn": {"seed": 4}, "forest": {}}, seed=3).parts
    assert {name: part.seed for name, part in parts.items()} == {"tempcnn": 7, "forest": 3}
    assert spec(of={"tempcnn": {"seed": SEEDS}, "forest": {}}, seed=2).parts["tempcnn"].seed == 1
    one, again, other = (fit_model(spec(seed=n), *series, N).model.state() for n in (1, 1, 2))
    assert all(np.array_equal(values, again[key]) for key, values in one.items())
    assert not np.array_equal(one["tempcnn/0.head.weight"], other["tempcnn/0.head.weight"])


def test_networks_are_counted_through_and_each_goes_on_where_it_was_stopped(series, tmp_path):
    of = {
        "first": {"kind": "tempcnn", "width": 4, "epochs": 2, "members": 2},
        "forest": {"trees": 3},
        "gru": {"width": 4, "layers": 1, "epochs": 3},
    }
    asked = spec(of=of)
    told = []
    one = fit_model(asked, *series, N, folder=tmp_path, watch=lambda member, _: told.append(member))
    assert told == [0, 0, 1, 1, 2, 2, 2]
    kept = checkpoints_of(asked, tmp_path)
    assert [path.exists() for path in kept] == [True] * 3
    assert epochs_of(asked) == [2, 2, 3]
    assert (tmp_path / "gru/curves.csv").exists()
    told.clear()
    again = fit_model(
        asked, *series, N, folder=tmp_path, watch=lambda member, _: told.append(member)
    )
    assert told == []
    state = again.model.state()
    assert all(np.array_equal(values, state[key]) for key, values in one.model.state().items())


@pytest.mark.parametrize("n_class", [4, None])
def test_a_bundle_gives_it_back(n_class, tmp_path):
    bundle = ModelBundle("both", _of_one(n_class), ONE, CLASSES, {}, 1.3)
    bundle.save(tmp_path / "both")
    again = ModelBundle.load(tmp_path / "both")
    assert again.digest() == bundle.digest()
    series = make_series(50, ONE)
    want, found = (
        (one.model.predict_proba if n_class else one.model.predict)(series)
        for one in (bundle, again)
    )
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state, _: state.pop("minirocket/seen"), "seen"),
        (lambda _, said: said.pop("trees"), "trees"),
        (lambda _, said: said["trees"]["target"].update(n_class=3), "trees answers 3 classes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(spoil, said):
    model = _of_one()
    state, told = model.state(), model.said()
    spoil(state, told)
    with pytest.raises((KeyError, ValueError), match=said):
        restored_model(model.spec, model.layout, model.n_step, model.target, state, told)


def _of_one(n_class=4):
    """Fitted to the samples of the models that are exported; of numbers on rows of another mean."""
    series = make_series(240, ONE)
    bright = np.nan_to_num(series[:, :, 0], nan=0.3).mean(axis=1)
    label = bright.astype(float) if n_class is None else bright.argsort().argsort() % n_class
    held = bright > np.quantile(bright, 0.8) if n_class is None else None
    return fit_model(spec(), series, label, n_class, validation=held).model


@pytest.mark.parametrize("n_class", [4, None])
def test_onnx_answers_as_the_bundle(n_class, tmp_path):
    bundle = ModelBundle("both", _of_one(n_class), ONE, CLASSES, {}, 1.7 if n_class else 1.0)
    to_onnx(bundle, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    series = make_series(60, ONE)
    missing = np.isnan(series).all(axis=(1, 2))
    assert missing.any()
    if n_class is None:
        want = np.where(missing, np.nan, bundle.model.predict(series))
    else:
        want = soften(bundle.model.predict_proba(series), bundle.temperature)
        want = np.where(missing[:, None], np.nan, want)
    found = session.run(None, {"series": series})[0]
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_it_lacks_sources_only_if_each_of_its_models_may():
    fusion = {"fusion": {}, "tempcnn": {"drop_source": 0.1}}
    assert spec(of=fusion).drop_source == pytest.approx(0.1)
    assert spec(of=fusion | {"forest": {}}).drop_source == 0


def test_what_a_fusion_in_it_says_of_a_source_that_is_left_out_goes():
    of = {"fusion": {"encoders": {"s1": {"kind": "ltae"}}}, "forest": {}}
    left = _fitting(spec(of=of), "s1")
    assert left.of["fusion"].encoders == {}
    assert left.of["forest"] == spec(of=of).of["forest"]


def test_fields_of_its_models_are_searched():
    assert changed(spec(), {"of.trees.min_leaf": 5}).of["trees"].min_leaf == 5
    said = r"no field 'of\.trees\.leaf'.*ensemble\.of\.trees has .*min_leaf"
    with pytest.raises(ValueError, match=said):
        changed(spec(), {"of.trees.leaf": 5})
    usual = usual_space(spec())
    assert usual["of.trees.min_leaf"] == usual_space(model_spec("forest"))["min_leaf"]
    assert usual["of.tempcnn.learning_rate"] == (3e-4, 1e-2)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"forest": {}}, r"two models or more, got forest alone.*`members`"),
        ({"forest": {}, "a/b": {"kind": "tempcnn"}}, "letters, digits"),
        ({"forest": {}, "unet": {}}, "unet"),
        ({"forest": {}, "ensemble": {}}, "ensemble"),
        ({"forest": {"treees": 4}, "tempcnn": {}}, "trees"),
        ([], "of"),
    ],
)
def test_what_cannot_be_averaged_is_refused(of, said):
    with pytest.raises(SpecError, match=said):
        spec(of=of)


def test_a_network_that_goes_astray_comes_out_with_its_last_good_weights(series):
    of = {"tempcnn": {"width": 4, "epochs": 3, "learning_rate": 1e30}, "forest": {"trees": 2}}
    with pytest.raises(TrainingStopped) as stopped:
        fit_model(spec(of=of), *series, N)
    assert stopped.value.__notes__ == ["It is tempcnn, of the ensemble."]
    assert all(part.isfinite().all() for part in stopped.value.network.state_dict().values())


def test_who_is_wrong_is_named():
    layers = np.random.default_rng(0).random((40, 1, 2)).astype("float32")
    with pytest.raises(InputError, match=r"minirocket, of the ensemble: .*time axis"):
        fit_model(spec(), layers, np.arange(40) % 2, layout=Layout((), (2,)))


def test_what_a_search_finds_can_be_written_into_a_recipe():
    asked = spec(of={"trees": {"kind": "forest", "trees": 9}, "fusion": {"encoders": {"s1": {
        "kind": "gru"}}}}, seed=2)  # fmt: skip
    told = written(asked)
    assert told == {
        "kind": "ensemble",
        "seed": 2,
        "of": {
            "fusion": {"kind": "fusion", "encoders": {"s1": {"kind": "gru"}}},
            "trees": {"kind": "forest", "trees": 9},
        },
    }
    assert EnsembleSpec.model_validate(told) == asked
    assert _changes(asked, changed(asked, {"of.trees.min_leaf": 3})) == {"of.trees.min_leaf": 3}


def test_by_default_it_is_of_a_network_filters_and_trees():
    assert list(EnsembleSpec().of) == ["forest", "minirocket", "tempcnn"]
    assert EnsembleSpec() == EnsembleSpec.model_validate(EnsembleSpec().model_dump())
