"""How models of numbers are judged."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from geocube_ml.data.folds import trained_on
from geocube_ml.data.samples import gather_samples
from geocube_ml.evaluate import evaluate_models
from geocube_ml.evaluate.numbers import MEAN, Errors
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.models import ForestSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.data.tables import table_of
from tests.seasons import make_cube

MODELS = {"forest": ForestSpec(trees=15), "stump": ForestSpec(trees=2, seed=1)}
SPEC = EvaluateSpec(splits=("block", "polygon"), early=(1,), resamples=60)


@pytest.fixture(scope="module")
def samples():
    """Plots of one class, brighter the less grows on them."""
    cube = make_cube(names=("plot",), cloudy=0.3)
    field = cube["polygon"].values
    cube["s2"].values[:] = (cube["s2"].values * (1 + (field % 7) / 7)).astype("uint16")
    table = table_of(cube)
    table = table.assign(agb=400 - 50.0 * (table["polygon"] % 7))
    spec = SamplesSpec(block_m=100, value_column="agb", value_units="Mg/ha")
    return gather_samples(cube, spec, table)


@pytest.fixture(scope="module")
def bundles(samples):
    return {name: train_model(samples, spec, name=name) for name, spec in MODELS.items()}


@pytest.fixture(scope="module")
def scores(samples, bundles):
    return evaluate_models(samples, bundles, MODELS, SPEC)


def score_of(scores, model, split, part="scores"):
    (found,) = (s for s in scores[part] if (s["model"], s["split"]) == (model, split))
    return found


def assert_figures(score, estimate, label):
    error = estimate - label
    assert score["n_test"] == len(label)
    assert score["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert score["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert score["bias"] == pytest.approx(error.mean(), rel=1e-4, abs=1e-4)
    away = ((label - label.mean()) ** 2).sum()
    assert score["r2"] == pytest.approx(1 - (error**2).sum() / away, rel=1e-4, abs=1e-4)


def test_the_hold_out_is_judged_as_the_bundle_estimates_it(samples, bundles, scores):
    held = samples["fold_block"].values == 0
    label = samples["value"].values[held]
    for name, bundle in bundles.items():
        estimate = bundle.estimate({"s2": samples["s2"].values[held]}).astype(float)
        assert_figures(score_of(scores, name, "block"), estimate, label)
    # a score that could not be told from the baseline would test nothing
    assert score_of(scores, "forest", "block")["r2"] > 0.6


def test_the_baseline_is_the_mean_of_the_training_rows(samples, scores):
    value = samples["value"].values
    held, rows = samples["fold_block"].values == 0, trained_on(samples, by_block=True)
    same = np.full(held.sum(), value[rows].mean())
    assert_figures(score_of(scores, MEAN, "block"), same, value[held])


def test_folds_are_pooled(samples, scores):
    value, fold = samples["value"].values, samples["fold_polygon"].values
    told = np.empty(len(value))
    for k in np.unique(fold):
        told[fold == k] = value[fold != k].mean()
    assert_figures(score_of(scores, MEAN, "polygon"), told, value)
    assert score_of(scores, "forest", "polygon")["n_test"] == len(value)


def test_each_group_that_is_left_out_has_figures_of_its_own(samples):
    group = (samples["polygon"].values % 2).astype(np.int16)
    attrs = {"groups": ["north", "south"]}
    grouped = samples.assign(fold_group=("sample", group, attrs))
    models = {"stump": MODELS["stump"]}
    spec = EvaluateSpec(splits=("group",), resamples=0)
    found = evaluate_models(grouped, {}, models, spec)
    mean, value = score_of(found, MEAN, "group"), samples["value"].values
    assert [one["group"] for one in mean["left_out"]] == ["north", "south"]
    for code, one in enumerate(mean["left_out"]):
        here = group == code
        assert one["n_test"] == here.sum()
        assert one["bias"] == pytest.approx(value[~here].mean() - value[here].mean(), rel=1e-5)
    both = score_of(found, "stump", "group")
    parts = [one["n_test"] * one["mae"] for one in both["left_out"]]
    assert sum(parts) / both["n_test"] == pytest.approx(both["mae"], rel=1e-5)


def test_intervals_hold_the_figure_and_leads_are_drawn_together(scores):
    for score in scores["scores"]:
        for key in ("rmse", "mae", "bias", "r2"):
            low, high = score["interval"][key]
            assert low <= score[key] <= high
    assert scores["baseline"] == "forest"
    lead = score_of(scores, MEAN, "block")["difference"]
    assert lead["to"] == "forest"
    assert lead["rmse"]["interval"][0] > 0 > lead["r2"]["interval"][1]
    by = score_of(scores, MEAN, "block")["rmse"] - score_of(scores, "forest", "block")["rmse"]
    assert lead["rmse"]["value"] == pytest.approx(by, rel=1e-4)


def test_what_is_told_says_which_number_it_is(scores):
    assert scores["quantity"] == {"column": "agb", "units": "Mg/ha"}
    assert not any("F1" in note for note in scores["notes"])
    pairs = np.array(score_of(scores, "forest", "block")["pairs"])
    assert len(pairs) == score_of(scores, "forest", "block")["n_test"]
    assert set(pairs[:, 0]) <= {400.0 - 50 * k for k in range(7)}


def test_rows_that_nobody_saw_get_the_mean_and_are_counted(samples, scores):
    early = score_of(scores, "forest", "block", "early")
    held = samples["fold_block"].values == 0
    unseen = (samples["s2"].values[held][:, :1] == 0).all(axis=(1, 2))
    assert early["n_unseen"] == unseen.sum() > 0
    assert any("mean of the training rows" in note for note in early["notes"])
    found = Errors.of(
        np.array([np.nan, 5.0]), np.array([1.0, 5.0]), np.array([0, 0]), mean=3.0, about=3.0
    )
    np.testing.assert_array_equal(found.pairs, [[1, 3], [5, 5]])
    assert found.unseen == 1


def test_pairs_to_look_at_are_bounded_and_the_figures_are_not():
    label = np.arange(5000.0)
    found = Errors.of(label + 1, label, np.zeros(5000, int), mean=0.0, about=2500.0)
    assert found.sums[0, 0] == 5000
    assert found.pairs.shape == (2000, 2)
    np.testing.assert_array_equal(found.pairs[:, 1], found.pairs[:, 0] + 1)


def test_a_number_that_is_the_same_everywhere_has_no_r2(samples):
    attrs = samples["value"].attrs
    same = samples.assign(value=xr.full_like(samples["value"], 12.5).assign_attrs(attrs))
    models = {"stump": MODELS["stump"]}
    bundles = {"stump": train_model(same, models["stump"])}
    found = evaluate_models(same, bundles, models, EvaluateSpec(splits=("block",), resamples=20))
    score = score_of(found, "stump", "block")
    assert score["rmse"] == pytest.approx(0, abs=1e-5)
    assert score["r2"] is None
    assert score["interval"]["r2"] is None
    assert any("same number" in note for note in score["notes"])
