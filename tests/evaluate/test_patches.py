"""Models that look at what lies around a pixel are judged as all others are."""

from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.data.folds import held_out
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import InputError
from geocube_ml.evaluate import HeldOut, evaluate_models, evaluate_reference
from geocube_ml.evaluate.hidden import first_steps
from geocube_ml.kernels.accuracy import confusion
from geocube_ml.models.network import one_thread
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.models import ForestSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.seasons import NAMES, make_cube

MODELS = {"unet": UNetSpec(width=4, depth=1, epochs=2, patch=16), "forest": ForestSpec(trees=4)}
SPEC = EvaluateSpec(splits=("block", "random"), early=(3,), resamples=0)
BLOCK_M = 100
N = len(NAMES)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches on busy cores: more threads would only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def cube():
    return make_cube()


@pytest.fixture(scope="module")
def samples(cube):
    return gather_samples(cube, SamplesSpec(block_m=BLOCK_M))


@pytest.fixture(scope="module")
def bundles(cube, samples):
    return {name: train_model(samples, spec, name=name, cube=cube) for name, spec in MODELS.items()}


@pytest.fixture(scope="module")
def said(cube, samples, bundles):
    return evaluate_models(samples, bundles, MODELS, SPEC, cube=cube)


def of(scores, model, split="block"):
    return next(one for one in scores if (one["model"], one["split"]) == (model, split))


def codes_of(bundle, cube):
    """(y, x) codes of a map at once."""
    prob = bundle.predict_block({"s2": cube["s2"].values})
    return np.nan_to_num(prob).argmax(axis=0)


def at(cube, samples, rows):
    """Rows and columns of samples."""
    some = samples.isel(sample=rows)
    row = (cube["y"].values[0] - some["y"].values) / 10
    return row.astype(int), ((some["x"].values - cube["x"].values[0]) / 10).astype(int)


def test_a_score_on_the_hold_out_is_that_of_the_map_there(cube, samples, bundles, said):
    test = held_out(samples)
    found = codes_of(bundles["unet"], cube)[at(cube, samples, test)]
    want = confusion(samples["label"].values[test], found, N)
    assert of(said["scores"], "unet")["confusion"] == want.tolist()


@pytest.mark.parametrize("split", ["block", "random"])
def test_all_are_judged_on_the_same_rows(said, split):
    unet, forest = (of(said["scores"], model, split) for model in MODELS)
    assert unet["n_test"] == forest["n_test"]
    assert unet["n_train"] == forest["n_train"]


def test_early_in_the_season_later_steps_are_hidden_in_the_cube_too(cube, samples, said):
    early, shown = first_steps(samples, 3), first_steps(cube, 3)
    bundle = train_model(early, MODELS["unet"], cube=shown, lenient=True)
    test = held_out(samples)
    found = codes_of(bundle, shown)[at(cube, samples, test)]
    want = confusion(samples["label"].values[test], found, N)
    # which are answered by the commonest class
    unseen = (early["s2"].values[test] == 0).all(axis=(1, 2)).sum()
    assert unseen < 10
    got = np.array(of(said["early"], "unet")["confusion"])
    assert np.abs(got - want).sum() <= 2 * unseen


@pytest.mark.parametrize("edge", [16, 512])
def test_reference_figures_are_those_of_the_map(cube, samples, bundles, edge):
    truth = np.random.default_rng(0).integers(0, N, cube["label"].shape).astype("uint8")
    got = evaluate_reference(cube, samples, bundles, truth, None, block_m=BLOCK_M, edge=edge)
    chosen = HeldOut.of(samples, BLOCK_M).pixels(cube)
    prob = bundles["unet"].predict_block({"s2": cube["s2"].values})
    chosen &= ~np.isnan(prob[0])
    want = confusion(truth[chosen], codes_of(bundles["unet"], cube)[chosen], N)
    assert got[0]["model"] == "unet"
    assert np.abs(np.array(got[0]["confusion"]) - want).sum() <= 2  # a tie may fall either way


def test_without_the_cube_they_are_refused(samples, bundles):
    with pytest.raises(InputError, match=r"unet looks at what lies around.*`cube=`"):
        evaluate_models(samples, bundles, MODELS, SPEC)
