from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import InputError, SpecError
from geocube_ml.spec.models import model_spec
from geocube_ml.spec.networks import LTAESpec, TempCNNSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.spec.tables import ForestSpec
from geocube_ml.spec.tune import TuneSpec
from geocube_ml.train.trials import run_trials
from geocube_ml.train.tune import held_folds, tune_arrays
from tests.seasons import make_cube

N, BLOCKS = 90, 6
SEARCH = TuneSpec(
    trials=7,
    folds=2,
    models={"forest": {"min_leaf": (1, 30), "class_weights": ("equal", "balanced")}},
)


def make_rows():
    """Series of which a leaf of 30 samples learns less than one of few; and their blocks."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, N)
    series = rng.normal(0, 0.2, (N, 4, 1)).astype("float32") + label[:, None, None]
    series[rng.random(series.shape) < 0.1] = np.nan
    return series, label, np.arange(N) % BLOCKS


def search(spec=SEARCH, model=None, **changed):
    series, label, block = make_rows()
    held = held_folds(label, block, spec.folds, spec.seed)
    given = {"series": series, "label": label, "held": held} | changed
    return tune_arrays(spec=model or ForestSpec(trees=3), search=spec, **given)


def tried(found):
    """What of the trials does not depend on the machine."""
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in found.trials]


@pytest.fixture(scope="module")
def undisturbed():
    return search()


def test_the_spec_as_it_is_comes_first_and_the_best_is_kept(undisturbed):
    first, *rest = undisturbed.trials
    assert (first["number"], first["values"], first["value"]) == (0, {}, undisturbed.own)
    assert [trial["number"] for trial in rest] == list(range(1, 8))
    done = [trial for trial in undisturbed.trials if trial["state"] == "complete"]
    best = max(done, key=lambda trial: trial["value"])
    assert undisturbed.value == best["value"]
    assert undisturbed.best.trees == 3, "what is not searched stays"
    for field, value in best["values"].items():
        assert getattr(undisturbed.best, field) == value


def test_trials_differ_and_lie_in_the_space(undisturbed):
    values = [trial["values"] for trial in undisturbed.trials[1:]]
    assert all(1 <= value["min_leaf"] <= 30 for value in values)
    assert {value["class_weights"] for value in values} == {"equal", "balanced"}
    assert len({json.dumps(value) for value in values}) > 4


@pytest.mark.parametrize("after", [1, 5])
def test_a_search_that_was_stopped_tries_the_same_as_an_undisturbed_one(
    after, undisturbed, tmp_path
):
    study = tmp_path / "study.json"

    def stop(done, total, said=""):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(study=study, told=stop)
    kept = json.loads(study.read_text())["trials"]
    assert len(kept) == after + 1
    again = search(study=study)
    assert tried(again) == tried(undisturbed)
    assert again.trials[: after + 1] == kept, "what was tried is not tried again"


def test_more_trials_go_on_from_what_is_kept(undisturbed, tmp_path):
    study = tmp_path / "study.json"
    search(SEARCH.model_copy(update={"trials": 2}), study=study)
    assert tried(search(study=study)) == tried(undisturbed)


def test_a_study_of_other_data_is_refused(tmp_path):
    study = tmp_path / "study.json"
    few = SEARCH.model_copy(update={"trials": 1})
    search(few, study=study)
    series = make_rows()[0]
    with pytest.raises(InputError, match="of another search"):
        search(few, study=study, series=series + 1)
    with pytest.raises(InputError, match="of another search"):
        search(few, study=study, model=ForestSpec(trees=4))
    study.write_text(study.read_text()[:-20])
    with pytest.raises(InputError, match="damaged"):
        search(few, study=study)


def test_a_held_out_row_is_judged_and_never_learnt(monkeypatch):
    """Each trial fits once a fold, and the rows that are judged validate there."""
    from geocube_ml.train import tune

    fits = []
    real = tune.fit_model

    def spy(spec, series, label, n_class, **given):
        fits.append(given)
        return real(spec, series, label, n_class, **given)

    monkeypatch.setattr(tune, "fit_model", spy)
    search(SEARCH.model_copy(update={"trials": 1}))
    assert len(fits) == 2 * 2
    assert all(given["refit"] is False for given in fits)
    block = make_rows()[2]
    held = np.array([given["validation"] for given in fits[:2]])
    assert (held.sum(axis=0) == 1).all()
    for fold in held:
        assert not set(block[fold]) & set(block[~fold]), "a block lies in one fold"


def test_rows_in_the_gap_around_a_fold_are_not_learnt_meanwhile(monkeypatch):
    from geocube_ml.train import tune

    samples = gather_samples(make_cube(), SamplesSpec(block_m=100, gap_m=50))
    fits = []
    real = tune.fit_model

    def spy(spec, series, label, n_class, **given):
        fits.append((len(label), int(given["validation"].sum())))
        return real(spec, series, label, n_class, **given)

    monkeypatch.setattr(tune, "fit_model", spy)
    few = SEARCH.model_copy(update={"trials": 1, "folds": 2})
    tune.tune_model(samples, ForestSpec(trees=3), few)
    tune.tune_model(samples.assign_attrs(gap_m=0.0), ForestSpec(trees=3), few)
    rows, held = np.array(fits).reshape(2, -1, 2).transpose(2, 0, 1)
    assert (rows[0] - held[0] < rows[1] - held[1]).all()


def test_a_trial_that_does_badly_is_given_up_early():
    """Where each epoch says how good a trial will be, half of them need not go on."""
    spec = ForestSpec(trees=3)
    tune = TuneSpec(trials=20, models={"forest": {"min_leaf": (1, 1000)}})
    epochs = []

    def score(tried, report):
        for epoch in range(1, 11):
            report(-float(tried.min_leaf), epoch)
            epochs.append(tried.min_leaf)
        return -float(tried.min_leaf)

    found = run_trials(spec, tune.space("forest", spec), tune, score, None, "", None)
    assert {trial["state"] for trial in found.trials} == {"complete", "pruned"}
    pruned = [trial for trial in found.trials if trial["state"] == "pruned"]
    assert all(len(trial["steps"]) == 1 for trial in pruned)
    assert len(epochs) < 21 * 10 - 9 * len(pruned) + 1
    assert found.value == -1, "the spec as it is was the best"
    assert found.best == spec


def test_the_epochs_of_a_network_are_told():
    spec = TempCNNSpec(width=4, epochs=2, batch=16)
    tune = TuneSpec(trials=1, folds=2, models={"tempcnn": {"learning_rate": (1e-3, 1e-2)}})
    _, trial = search(tune, spec).trials
    steps = [int(step) for step in trial["steps"]]
    assert steps == [1, 2, 999_999, 1_000_001, 1_000_002, 1_999_999]


def test_an_ensemble_is_judged_by_its_mean_alone():
    small = {"width": 4, "epochs": 2, "batch": 16}
    spec = model_spec("ensemble", of={"a": {"kind": "tempcnn", **small}, "forest": {"trees": 2},
                                      "b": {"kind": "tempcnn", **small, "epochs": 1}})  # fmt: skip
    tune = TuneSpec(trials=1, folds=2, models={"ensemble": {"of.forest.min_leaf": (1, 9)}})
    found = search(tune, spec)
    steps = [int(step) for step in found.trials[1]["steps"]]
    assert steps == [999_999, 1_999_999]
    tried = found.trials[1]["values"]["of.forest.min_leaf"]
    best = found.best.of["forest"].min_leaf
    assert best == (tried if found.trials[1]["value"] > found.own else 1)


def test_values_that_the_spec_refuses_together_are_kept_as_failed():
    spec = TuneSpec(trials=6, folds=2, models={"ltae": {"width": (6, 8, 9), "heads": (2, 3)}})
    found = search(spec, LTAESpec(width=6, heads=2, epochs=1, batch=64))
    failed = [trial for trial in found.trials if trial["state"] == "fail"]
    assert failed
    assert all(trial["values"]["width"] % trial["values"]["heads"] for trial in failed)
    assert all("share the width" in trial["note"] for trial in failed)


def test_a_search_ends_with_its_minutes():
    found = search(SEARCH.model_copy(update={"minutes": 1e-6}))
    assert len(found.trials) == 1


def test_numbers_are_judged_by_their_rmse():
    _, label, block = make_rows()
    value = 10.0 * label
    held = held_folds(value, block, 2, 0)
    few = SEARCH.model_copy(update={"trials": 2})
    found = search(few, label=value, held=held)
    assert -10 < found.value < 0
    assert found.value >= found.own


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"treez": (1, 2)}, "no field 'treez'"),
        ({"min_leaf": (0, 4)}, "min_leaf"),
        ({"class_weights": ("equal", "heavy")}, "heavy"),
        ({"kind": ("forest", "tempcnn")}, "no field 'kind'"),
    ],
)
def test_a_space_that_the_model_refuses_is_named(fields, said):
    with pytest.raises(SpecError, match=said):
        search(TuneSpec(trials=1, folds=2, models={"forest": fields}))


def test_more_folds_than_blocks_are_refused():
    _, label, block = make_rows()
    with pytest.raises(InputError, match="6 spatial blocks, fewer than the 7"):
        held_folds(label, block, 7, 0)


def test_models_of_patches_are_refused():
    with pytest.raises(InputError, match="around a pixel"):
        search(SEARCH, UNetSpec())


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"geocube-ml\[tune\]"):
        search()
