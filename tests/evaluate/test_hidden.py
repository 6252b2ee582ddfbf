from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from geocube_ml.data.samples import gather_samples
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError, SpecError
from geocube_ml.evaluate import evaluate_models, fold_tasks
from geocube_ml.evaluate.hidden import dropped_source, first_steps
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.models import ForestSpec, FusionSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.seasons import NAMES, add_radar, add_terrain, make_cube, make_still, scheme

N = len(NAMES)
STEP = 4  # the one that the model looks at
TREES = ForestSpec(trees=4)


@pytest.fixture(scope="module")
def samples():
    cube = add_terrain(add_radar(make_cube((49, 63), cloudy=0)))
    return gather_samples(cube, SamplesSpec(block_m=60, per_polygon=3))


class OneStep:
    """Knows the class by one step of the first optical band alone."""

    halo = 0

    def __init__(self, channel, levels, drop_source=0.0):
        self.channel, self.levels = channel, levels
        self.spec = SimpleNamespace(drop_source=drop_source)

    def predict_proba(self, series):
        seen = series[:, STEP, self.channel]
        far = np.abs(np.nan_to_num(seen, nan=-9.0)[:, None] - self.levels)
        prob = np.eye(N, dtype="float32")[far.argmin(axis=1)]
        prob[np.isnan(seen)] = 1 / N
        return prob


def one_step(samples, **more):
    fit = Fit.model_validate(described(samples))
    if "s2" not in fit.names:
        return ModelBundle("blind", OneStep(0, np.full(N, 99.0)), fit, scheme(), {})
    channel = fit.layout.slices["s2"].start
    values, label = samples["s2"].values[:, STEP, 0] * 1e-4, samples["label"].values
    levels = np.array([np.median(values[(label == k) & (values > 0)]) for k in range(N)])
    return ModelBundle("one", OneStep(channel, levels, **more), fit, scheme(), {})


@pytest.fixture
def fitted(monkeypatch, samples):
    """What models are fitted to; each fit is a model that looks at one step."""
    shown = []
    whole = one_step(samples)

    def fit(known, spec, **options):
        shown.append((known, options))
        if "s2" not in known:
            return one_step(known)
        fit_known = Fit.model_validate(described(known))
        model = OneStep(fit_known.layout.slices["s2"].start, whole.model.levels)
        return ModelBundle("one", model, fit_known, scheme(), {})

    monkeypatch.setattr("geocube_ml.evaluate.tasks.train_model", fit)
    return SimpleNamespace(shown=shown, whole=whole)


def test_after_the_step_that_a_model_needs_is_hidden_it_knows_nothing(samples, fitted):
    spec = EvaluateSpec(splits=("block",), early=(STEP, STEP + 1), resamples=50)
    got = evaluate_models(samples, {"one": fitted.whole}, {"one": TREES}, spec)
    (whole, *_), (before, after) = got["scores"], got["early"]
    assert (before["steps"], after["steps"]) == (STEP, STEP + 1)
    assert after["confusion"] == whole["confusion"]
    assert whole["overall"] > 0.7
    assert np.count_nonzero(np.sum(before["confusion"], axis=0)) == 1  # one answer to all
    assert before["difference"]["to"] == "one with everything"
    assert before["difference"]["overall"]["interval"][1] < 0
    assert after["difference"]["overall"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert [one["until"] for one in got["early"]] == ["2024-01-01", "2024-02-01"]
    json.dumps(got, allow_nan=False)


def test_models_are_fitted_to_series_that_are_cut_the_same(samples, fitted):
    spec = EvaluateSpec(splits=("block",), early="every", resamples=0)
    evaluate_models(samples, {"one": fitted.whole}, {"one": TREES}, spec)
    assert len(fitted.shown) == samples.sizes["time"] - 1
    for n, (known, options) in enumerate(fitted.shown, start=1):
        for name in ("s1", "s2"):
            gone = known[name].values[:, n:]
            assert np.isnan(gone).all() if name == "s1" else (gone == 0).all()
            np.testing.assert_array_equal(known[name].values[:, :n], samples[name].values[:, :n])
            assert known[name].dtype == samples[name].dtype
        np.testing.assert_array_equal(known["dem"].values, samples["dem"].values)
        assert options["rows"] is None  # those of the bundles


def test_a_source_is_left_out_of_the_fit_and_of_the_judging(samples, fitted):
    spec = EvaluateSpec(splits=("block",), without="each", resamples=50)
    got = evaluate_models(samples, {"one": fitted.whole}, {"one": TREES}, spec)
    assert [(one["without"], one["how"]) for one in got["without"]] == [
        (name, "fitted anew") for name in ("s1", "s2", "dem")
    ]
    for (known, _), name in zip(fitted.shown, ("s1", "s2", "dem"), strict=True):
        assert name not in known
        assert f"{name}_band" not in known.dims
    radar, optical, terrain = got["without"]
    (whole, *_) = got["scores"]
    assert got["whole"] == []  # they stand in `scores`
    assert radar["confusion"] == terrain["confusion"] == whole["confusion"]
    assert optical["difference"]["overall"]["value"] < -0.3


def test_models_that_allow_it_are_asked_without_a_source_as_they_are(samples, fitted):
    tolerant = one_step(samples, drop_source=0.2)
    spec = EvaluateSpec(splits=("random",), without=("s2",), resamples=0)
    got = evaluate_models(samples, {"one": tolerant}, {"one": FusionSpec()}, spec)
    anew, as_is = got["without"]
    assert (anew["how"], as_is["how"]) == ("fitted anew", "as it is")
    assert as_is["difference"]["overall"]["value"] < -0.3
    names = [task.name for task in fold_tasks(samples, {"one": FusionSpec()}, spec, 0)]
    assert names == ["random-one-0", "block-one-0", "block-one-0-without_s2",
                     "block-one-0-lacking_s2"]  # fmt: skip
    assert {score["split"] for score in got["scores"]} == {"random"}
    whole, majority = got["whole"]
    assert (whole["model"], whole["split"], majority["split"]) == ("one", "block", "block")
    by = as_is["difference"]["overall"]["value"]
    assert by == pytest.approx(as_is["overall"] - whole["overall"], abs=2e-6)
    assert any(note.startswith("Spatial hold-out: ") for note in got["notes"])


def test_what_cannot_be_fitted_is_noted_and_the_rest_is_judged(samples, fitted, monkeypatch):
    def refuse(*_, **__):
        raise InputError("nothing is left to learn from")

    monkeypatch.setattr("geocube_ml.evaluate.tasks.train_model", refuse)
    spec = EvaluateSpec(splits=("block",), early=(1,), without=("s2",), resamples=0)
    got = evaluate_models(samples, {"one": fitted.whole}, {"one": TREES}, spec)
    assert got["early"] == got["without"] == []
    assert "one, after 1 steps: not judged. nothing is left to learn from" in got["notes"]
    assert any(note.startswith("one, without s2: not judged") for note in got["notes"])


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"early": (6,)}, "names 6, but the series have 6 steps, .* Name numbers from 1 to 5"),
        ({"without": ("s3",)}, "`evaluate.without` names s3, but the sources .* s1, s2, dem"),
    ],
)
def test_steps_and_sources_that_are_not_there_are_named(samples, field, said):
    with pytest.raises(InputError, match=said):
        fold_tasks(samples, {"a": TREES}, EvaluateSpec(**field), 0)


def test_a_table_without_series_or_with_one_source_is_refused(samples):
    still = gather_samples(make_still(bands=4), SamplesSpec(block_m=100))
    with pytest.raises(InputError, match="cuts series, but the samples have none"):
        fold_tasks(still, {"a": TREES}, EvaluateSpec(early="every"), 0)
    alone = samples.drop_dims(["s1_band", "dem_band"])
    with pytest.raises(InputError, match="the samples have s2 alone"):
        fold_tasks(alone, {"a": TREES}, EvaluateSpec(without="each"), 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"early": "evry"}, r"early: name numbers of time steps, .*; got 'evry'"),
        ({"early": [0]}, r"from 1 on, or `every`; got \[0\]"),
        ({"without": 3}, "without: name sources, .* or `each`; got 3"),
        ({"resamples": -1}, "resamples: "),
    ],
)
def test_a_wrong_field_is_one_sentence(values, said):
    with pytest.raises(SpecError, match=said) as raised:
        EvaluateSpec.read(values, where="r.yaml")
    assert str(raised.value).count("got") == 1


def test_a_lazy_cube_is_cut_lazily_too(samples):
    cube = add_radar(make_cube((20, 20)))
    cut = first_steps(cube.chunk(y=10, x=10), 2)
    assert cut["s2"].chunks is not None
    assert cut["s2"].dtype == "uint16"
    assert (cut["s2"][2:] == 0).all()
    np.testing.assert_array_equal(cut["s2"][:2], cube["s2"][:2])
    assert cut["s2"].attrs == cube["s2"].attrs
    assert "s1" not in dropped_source(cube, "s1")


def test_a_fusion_is_fitted_without_the_encoder_of_what_is_left_out(samples):
    spec = FusionSpec(
        encoder={"kind": "tempcnn", "width": 4}, encoders={"s1": {"kind": "gru", "width": 4}},
        epochs=1,
    )  # fmt: skip
    without = EvaluateSpec(splits=("block",), without=("s1",), resamples=0)
    bundles = {"fusion": train_model(samples, spec)}
    said = evaluate_models(samples, bundles, {"fusion": spec}, without)
    assert not [note for note in said["notes"] if "not judged" in note]
    assert len(said["without"]) == 2
