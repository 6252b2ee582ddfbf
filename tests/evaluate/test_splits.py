from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from sklearn import metrics

from geocube_ml.data.folds import trained_on
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import InputError
from geocube_ml.evaluate import (
    BOUND,
    MAJORITY,
    HeldOut,
    evaluate_models,
    evaluate_reference,
)
from geocube_ml.evaluate.folds import splits_of
from geocube_ml.kernels.sampling import blocks
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.network import one_thread
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import ForestSpec, TempCNNSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.seasons import (
    NAMES,
    add_radar,
    add_terrain,
    curves,
    fit_of,
    make_cube,
    make_still,
    scheme,
)

N = len(NAMES)
BLOCK_M = 100
SAMPLES = SamplesSpec(block_m=BLOCK_M)
TREES = ForestSpec(trees=6)
MODELS = {"net": TempCNNSpec(width=8, epochs=2, batch=64), "forest": TREES}
ALL = EvaluateSpec(splits=("block", "random", "polygon"))


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
    return gather_samples(cube, SAMPLES)


@pytest.fixture(scope="module")
def bundles(samples):
    return {name: train_model(samples, spec, name=name) for name, spec in MODELS.items()}


@pytest.fixture(scope="module")
def said(samples, bundles):
    return evaluate_models(samples, bundles, MODELS, ALL, seed=3)


class Sharp:
    """Answers with the class whose curve is nearest."""

    halo = 0

    def predict_proba(self, series):
        want = 1e-4 * curves(np.arange(N), series.shape[1], series.shape[2], N)
        far = np.nanmean((series[:, None] - want) ** 2, axis=(2, 3))
        return np.eye(N, dtype="float32")[far.argmin(axis=1)]


def sharp(name="sharp"):
    return ModelBundle(name, Sharp(), fit_of(make_cube()), scheme(), {})


def score_of(said, model, split):
    (one,) = [s for s in said["scores"] if (s["model"], s["split"]) == (model, split)]
    return one


def assert_figures(score, truth, codes):
    """As scikit-learn computes them, over the classes that the truth has."""
    present = np.unique(truth)
    assert score["n_test"] == len(truth)
    np.testing.assert_array_equal(
        score["confusion"], metrics.confusion_matrix(truth, codes, labels=range(N))
    )
    f1 = metrics.f1_score(truth, codes, labels=present, average=None, zero_division=0)
    assert score["overall"] == pytest.approx(metrics.accuracy_score(truth, codes), abs=1e-6)
    assert score["macro_f1"] == pytest.approx(f1.mean(), abs=1e-6)
    assert score["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, codes), abs=1e-6)
    assert [score["f1"][k] for k in present] == pytest.approx(list(f1), abs=1e-6)
    assert all(score["f1"][k] is None for k in set(range(N)) - set(present))


def codes_of(bundle, samples, rows):
    return bundle.predict_proba({"s2": samples["s2"].values[rows]}).argmax(axis=1)


# --- figures


@pytest.mark.parametrize("name", MODELS)
def test_the_block_split_judges_the_given_bundles_as_they_are(said, samples, bundles, name):
    held = samples["fold_block"].values == 0
    score = score_of(said, name, "block")
    assert_figures(score, samples["label"].values[held], codes_of(bundles[name], samples, held))
    assert score["n_train"] == (~held).sum()


def test_the_block_split_fits_nothing(samples, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was fitted")

    monkeypatch.setattr("geocube_ml.evaluate.tasks.train_model", refuse)
    got = evaluate_models(samples, {"a": sharp()}, {"a": TREES}, EvaluateSpec(splits=("block",)))
    assert score_of(got, "a", "block")["overall"] > 0.95


def test_the_random_split_has_as_many_test_rows(said, samples):
    held = int((samples["fold_block"] == 0).sum())
    for model in (*MODELS, MAJORITY):
        random, block = (score_of(said, model, split) for split in ("random", "block"))
        assert random["n_test"] == block["n_test"] == held
        assert random["n_train"] == block["n_train"] == samples.sizes["sample"] - held


def spied(monkeypatch):
    """Rows that models are fitted to, in the order of the fits."""
    fitted = []

    def fit(samples, spec, **options):
        fitted.append(options["rows"])
        return train_model(samples, spec, **options)

    monkeypatch.setattr("geocube_ml.evaluate.tasks.train_model", fit)
    return fitted


def test_figures_are_scikit_learns_over_the_pooled_folds(samples, bundles, monkeypatch):
    fitted = spied(monkeypatch)
    spec = EvaluateSpec(splits=("polygon",))
    score = score_of(
        evaluate_models(samples, bundles, {"forest": TREES}, spec), "forest", "polygon"
    )
    label, polygon = samples["label"].values, samples["polygon"].values
    assert len(fitted) == 5
    assert (np.sum([~rows for rows in fitted], axis=0) == 1).all()  # each tested once
    codes = np.full(len(label), -1)
    for rows in fitted:
        assert not set(polygon[rows]) & set(polygon[~rows])
        codes[~rows] = codes_of(train_model(samples, TREES, rows=rows), samples, ~rows)
    assert_figures(score, label, codes)
    assert score["n_train"] == int(np.mean([rows.sum() for rows in fitted]))
    assert score["test_polygons"] == len(np.unique(polygon))


def test_the_random_split_follows_its_seed(samples, bundles, monkeypatch):
    fitted = spied(monkeypatch)
    for seed in (1, 1, 2):
        evaluate_models(
            samples, bundles, {"forest": TREES}, EvaluateSpec(splits=("random",)), seed=seed
        )
    np.testing.assert_array_equal(fitted[0], fitted[1])
    assert not np.array_equal(fitted[0], fitted[2])


def test_the_majority_class_is_that_of_the_training_rows(said, samples):
    label = samples["label"].values
    held = samples["fold_block"].values == 0
    common = np.bincount(label[~held]).argmax()
    score = score_of(said, MAJORITY, "block")
    assert_figures(score, label[held], np.full(held.sum(), common))
    assert score["kappa"] == 0

    want = np.zeros((N, N), int)
    for k in range(5):
        test = samples["fold_polygon"].values == k
        want[:, np.bincount(label[~test]).argmax()] += np.bincount(label[test], minlength=N)
    np.testing.assert_array_equal(score_of(said, MAJORITY, "polygon")["confusion"], want)


def test_polygons_are_counted(said, samples):
    held = samples["fold_block"].values == 0
    polygon = samples["polygon"].values
    score = score_of(said, "forest", "block")
    assert score["train_polygons"] == len(np.unique(polygon[~held]))
    assert score["test_polygons"] == len(np.unique(polygon[held]))


def test_scores_are_json_and_complete(said):
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["classes"]["names"] == list(NAMES)
    assert said["reference"] == []
    want = [(m, s) for s in ALL.splits for m in (*MODELS, MAJORITY)]
    assert [(s["model"], s["split"]) for s in said["scores"]] == want


def test_the_note_counts_the_fits(samples, bundles):
    told = []
    evaluate_models(samples, bundles, {"forest": TREES}, ALL, note=lambda *n: told.append(n))
    assert told == [(k, 7) for k in range(1, 8)]  # one, one, and five folds


# --- autocorrelation


def test_pixels_of_one_polygon_flatter_the_random_split():
    """All pixels of a polygon are alike and say nothing of the class: only memory helps."""
    cube = make_cube((60, 75), alike=True, cloudy=0)
    samples = gather_samples(cube, SAMPLES)
    trees = {"forest": ForestSpec(trees=15)}
    bundles = {"forest": train_model(samples, trees["forest"])}
    got = evaluate_models(samples, bundles, trees, ALL)
    overall = {split: score_of(got, "forest", split)["overall"] for split in ALL.splits}
    assert overall["random"] > 0.97
    assert overall["block"] < 0.5
    assert overall["polygon"] < 0.5


# --- what a reader must know


def test_few_polygons_are_noted(samples, bundles):
    got = evaluate_models(samples, bundles, {"forest": TREES}, ALL)
    n = len(np.unique(samples["polygon"].values[samples["fold_block"].values == 0]))
    assert n < 30
    assert any(
        note.startswith(f"Spatial hold-out: only {n} polygons are tested") for note in got["notes"]
    )
    assert not any(note.startswith("By polygon, cross-validated: only") for note in got["notes"])


def without(samples, code, held):
    """No sample of a class in the hold-out, or none outside of it."""
    gone = (samples["label"].values == code) & ((samples["fold_block"].values == 0) == held)
    return samples.sel(sample=~gone)


def test_a_class_that_the_hold_out_lacks_is_noted_and_has_no_f1(samples, bundles):
    few = without(samples, 1, held=True)
    got = evaluate_models(few, bundles, MODELS, EvaluateSpec(splits=("block",)))
    assert "Spatial hold-out: no test pixel of maize; its F1 is not known" in got["notes"]
    held = few["fold_block"].values == 0
    for name in MODELS:
        score = score_of(got, name, "block")
        assert score["f1"][1] is None
        assert_figures(score, few["label"].values[held], codes_of(bundles[name], few, held))


def test_a_fold_without_a_class_is_noted_and_no_obstacle(samples):
    one = samples.copy(deep=True)
    label, fold = one["label"].values, one["fold_polygon"].values
    lone = (label == 2) & (fold != 4)
    one = one.sel(sample=~lone)  # all of grassland in one fold
    bundles = {name: train_model(one, spec, lenient=True) for name, spec in MODELS.items()}
    got = evaluate_models(one, bundles, MODELS, EvaluateSpec(splits=("polygon",)))
    assert (
        "By polygon, cross-validated: no training pixel of grassland in 1 of 5 folds"
        in got["notes"]
    )
    assert score_of(got, "forest", "polygon")["f1"][2] == 0
    assert score_of(got, "forest", "polygon")["n_test"] == one.sizes["sample"]


def test_few_polygons_of_a_class_are_noted(samples, bundles):
    label, held = samples["label"].values, samples["fold_block"].values == 0
    polygon = samples["polygon"].values
    keep = np.unique(polygon[held & (label == 0)])[:1]
    few = samples.sel(sample=~(held & (label == 0)) | np.isin(polygon, keep))
    got = evaluate_models(few, bundles, MODELS, EvaluateSpec(splits=("block",)))
    assert "Spatial hold-out: only 1 test polygon of winter wheat" in got["notes"]


# --- against a raster that is true


@pytest.fixture(scope="module")
def truth(cube):
    """The class of each pixel, fields and their edges; some of it unknown."""
    reference = cube["label"].values.copy()
    reference[:, 1:] = np.where(reference[:, 1:] == UNKNOWN, reference[:, :-1], reference[:, 1:])
    reference[12:15] = UNKNOWN
    return reference


@pytest.fixture(scope="module")
def dark(cube):
    """The cube with a corner that was never observed."""
    dark = cube.copy(deep=True)
    dark["s2"][:, :, :, 20:24] = 0
    return dark


def judged(cube, samples, reference):
    """Pixels that count, by a plain loop."""
    held = samples["fold_block"].values == 0
    inside = set(samples["block"].values[held].tolist())
    trained = set(samples["polygon"].values[~held].tolist()) - {0}
    out = np.zeros(reference.shape, bool)
    for i, y in enumerate(cube["y"].values):
        for j, x in enumerate(cube["x"].values):
            out[i, j] = (
                int(blocks(np.array([x]), np.array([y]), BLOCK_M)[0]) in inside
                and int(cube["polygon"].values[i, j]) not in trained
                and reference[i, j] != UNKNOWN
                and bool((cube["s2"].values[:, :, i, j] != 0).any())
            )
    return out


@pytest.mark.parametrize("edge", [512, 16, 7])
@pytest.mark.parametrize("lazy", [False, True])
def test_reference_figures_are_those_of_a_plain_loop(dark, samples, bundles, truth, edge, lazy):
    every = {**bundles, "sharp": sharp()}
    got = evaluate_reference(
        dark.chunk(y=16, x=16) if lazy else dark, samples, every, truth, None,
        block_m=BLOCK_M, edge=edge,
    )  # fmt: skip
    chosen = judged(dark, samples, truth)
    assert 50 < chosen.sum() < chosen.size / 3
    assert [s["model"] for s in got] == list(every)
    counts = dark["s2"].values[:, :, chosen].transpose(2, 0, 1)
    for score, bundle in zip(got, every.values(), strict=True):
        assert score["split"] == "reference"
        assert_figures(score, truth[chosen], bundle.predict_proba({"s2": counts}).argmax(axis=1))
    json.dumps(got, allow_nan=False)


def test_no_pixel_of_a_training_polygon_is_judged(cube, samples, truth):
    """Some training polygons reach into a held-out block; only others' pixels are counted."""
    held = samples["fold_block"].values == 0
    trained = samples["polygon"].values[~held]
    own = np.isin(cube["polygon"].values, trained[trained > 0])
    y, x = np.meshgrid(cube["y"].values, cube["x"].values, indexing="ij")
    inside = np.isin(blocks(x, y, BLOCK_M), samples["block"].values[held])
    assert (own & inside).any()
    wrong = np.where(own | ~inside, (truth + 1) % N, truth).astype("uint8")
    wrong[truth == UNKNOWN] = UNKNOWN
    a, b = (
        evaluate_reference(cube, samples, {"a": sharp()}, reference, None, block_m=BLOCK_M)
        for reference in (truth, wrong)
    )
    assert a == b


def test_all_are_judged_on_the_same_pixels(dark, samples, bundles, truth):
    """Also where the best possible map has no answer."""
    bound = truth.copy()
    bound[::3] = UNKNOWN
    got = evaluate_reference(dark, samples, bundles, truth, bound, block_m=BLOCK_M, edge=16)
    assert [s["model"] for s in got] == [*MODELS, BOUND]
    assert {s["n_test"] for s in got} == {judged(dark, samples, bound).sum()}
    assert got[-1]["overall"] == 1
    assert len({tuple(np.sum(s["confusion"], axis=1)) for s in got}) == 1


def test_the_note_counts_the_windows(cube, samples, truth):
    told = []
    evaluate_reference(
        cube, samples, {"a": sharp()}, truth, None, block_m=BLOCK_M, edge=20,
        note=lambda *n: told.append(n),
    )  # fmt: skip
    assert told == [(k, 6) for k in range(1, 7)]


def test_a_reference_that_is_unknown_everywhere_has_no_figures(cube, samples):
    blank = np.full(cube["label"].shape, UNKNOWN, "uint8")
    (score,) = evaluate_reference(cube, samples, {"a": sharp()}, blank, None, block_m=BLOCK_M)
    assert score["n_test"] == 0
    assert (score["overall"], score["macro_f1"], score["kappa"]) == (None, None, None)
    assert score["f1"] == [None] * N


def test_background_between_the_polygons_is_judged():
    """It has no polygon, so that training on some of it elsewhere excludes none of it here."""
    cube = make_cube(background=3)
    samples = gather_samples(cube, SAMPLES)
    reference = cube["label"].values
    (score,) = evaluate_reference(cube, samples, {"a": sharp()}, reference, None, block_m=BLOCK_M)
    chosen = judged(cube, samples, reference)
    assert (chosen & (cube["polygon"].values == 0)).any()
    assert score["n_test"] == chosen.sum()


# --- several sources


@pytest.mark.parametrize("still", [False, True], ids=["three", "still"])
def test_models_of_several_sources_are_judged(still):
    cube = make_still(bands=20) if still else add_terrain(add_radar(make_cube()))
    names = ("dem", "enmap") if still else ("s1", "s2", "dem")
    samples = gather_samples(cube, SAMPLES)
    bundles = {name: train_model(samples, spec, name=name) for name, spec in MODELS.items()}
    said = evaluate_models(samples, bundles, MODELS, ALL)
    held = samples["fold_block"].values == 0
    reference = cube["label"].values
    found = evaluate_reference(
        cube.chunk(y=16, x=16), samples, bundles, reference, None, block_m=BLOCK_M, edge=16
    )
    unseen = np.logical_and.reduce(
        [~np.isin(cube["polygon"].values, samples["polygon"].values[~held]), reference != UNKNOWN]
    )
    y, x = np.meshgrid(cube["y"].values, cube["x"].values, indexing="ij")
    unseen &= np.isin(blocks(x, y, BLOCK_M), samples["block"].values[held])
    for score, (name, bundle) in zip(found, bundles.items(), strict=True):
        counts = {n: samples[n].values[held] for n in names}
        codes = bundle.predict_proba(counts).argmax(axis=1)
        assert_figures(score_of(said, name, "block"), samples["label"].values[held], codes)
        counts = {n: np.moveaxis(cube[n].values[..., unseen], -1, 0) for n in names}
        assert_figures(score, reference[unseen], bundle.predict_proba(counts).argmax(axis=1))


def test_models_may_know_different_sources(samples, bundles, cube, truth):
    """One was trained before a radar was added to the cube."""
    every = add_radar(cube)
    radar = train_model(gather_samples(every, SAMPLES), TREES)
    both = {"old": bundles["forest"], "new": radar}
    got = evaluate_reference(every, samples, both, truth, None, block_m=BLOCK_M)
    (alone,) = evaluate_reference(
        cube, samples, {"old": bundles["forest"]}, truth, None, block_m=BLOCK_M
    )
    assert got[0] == alone
    assert got[1]["n_test"] == alone["n_test"]
    assert got[1]["confusion"] != alone["confusion"]


# --- groups, a given split, a gap


@pytest.fixture(scope="module")
def grouped(samples):
    """Three groups of polygons, some of none; and a given split."""
    group = (samples["polygon"].values % 4 - 1).astype("int16")
    part = np.array(["train", "train", "test", "validation", ""], object)
    return samples.assign(
        fold_group=("sample", group), split=("sample", part[samples["polygon"].values % 5])
    )


def test_each_group_is_left_out_once(grouped, bundles, monkeypatch):
    fitted = spied(monkeypatch)
    got = evaluate_models(grouped, bundles, {"forest": TREES}, EvaluateSpec(splits=("group",)))
    group = grouped["fold_group"].values
    assert len(fitted) == 3
    for k, rows in enumerate(fitted):
        np.testing.assert_array_equal(rows, (group != k) & (group >= 0))
    assert score_of(got, "forest", "group")["n_test"] == (group >= 0).sum()


def test_the_given_split_judges_the_bundles_and_the_block_split_fits_anew(
    grouped, bundles, monkeypatch
):
    fitted = spied(monkeypatch)
    spec = EvaluateSpec(splits=("split", "block"))
    got = evaluate_models(grouped, bundles, {"forest": TREES}, spec)
    test = grouped["split"].values == "test"
    score = score_of(got, "forest", "split")
    assert_figures(score, grouped["label"].values[test], codes_of(bundles["forest"], grouped, test))
    assert score["n_train"] == (grouped["split"].values == "train").sum()
    (rows,) = fitted
    np.testing.assert_array_equal(rows, grouped["fold_block"].values != 0)


def test_a_group_is_left_out_with_the_gap_around_it(samples, bundles, monkeypatch):
    west = samples["x"].values < np.median(samples["x"].values)
    halves = samples.assign(fold_group=("sample", west.astype("int16")))
    fitted = spied(monkeypatch)
    for gap in (0.0, 60.0):
        table = halves.assign_attrs(gap_m=gap)
        evaluate_models(table, bundles, {"forest": TREES}, EvaluateSpec(splits=("group",)))
    wide, narrow = fitted[:2], fitted[2:]
    for k in range(2):
        assert (wide[k] == (halves["fold_group"].values != k)).all()
        assert (wide[k] & ~narrow[k]).any()
        assert not (narrow[k] & ~wide[k]).any()
        near = halves["x"].values[wide[k] & ~narrow[k]]
        assert np.abs(near - np.median(halves["x"].values)).max() <= 70


def test_the_usual_splits_are_told_side_by_side(samples, grouped):
    assert splits_of(samples, EvaluateSpec()) == ("block", "polygon", "random")
    assert splits_of(grouped, EvaluateSpec()) == ("split", "polygon", "random", "group")
    assert splits_of(grouped, EvaluateSpec(splits=("random",))) == ("random",)


@pytest.mark.parametrize(("split", "field"), [("group", "group_column"), ("split", "split_column")])
def test_a_split_that_the_samples_lack_is_refused(samples, bundles, split, field):
    spec = EvaluateSpec(splits=(split,))
    with pytest.raises(InputError, match=rf"names '{split}', but .*`samples\.{field}`"):
        evaluate_models(samples, bundles, {"forest": TREES}, spec)


def test_the_distance_from_what_was_trained_on_is_told(samples, bundles):
    spec = EvaluateSpec(splits=("block",))
    wide = samples.assign_attrs(gap_m=25.0)
    for table in (samples, wide):
        got = evaluate_models(table, bundles, {"forest": TREES}, spec)
        held, used = samples["fold_block"].values == 0, trained_on(table)
        x, y = samples["x"].values, samples["y"].values
        far = np.hypot(x[held][:, None] - x[used], y[held][:, None] - y[used]).min(axis=1)
        said = f"at least {round(far.min(), 2):g} m from those that were trained on, in the median"
        assert said in got["notes"][0]
        assert score_of(got, "forest", "block")["n_train"] == used.sum()


def test_a_reference_is_judged_only_in_blocks_of_which_nothing_was_trained_on(cube, samples):
    truth = cube["label"].values
    half = samples["block"].values % 2 == 0
    part = np.where(half, "test", "train").astype(object)
    part[np.flatnonzero(half)[0]] = "train"  # of this block nobody knows what a model has seen
    given = samples.assign(split=("sample", part))
    held = HeldOut.of(given, BLOCK_M)
    lost = samples["block"].values[np.flatnonzero(half)[0]]
    assert set(held.blocks) == set(samples["block"].values[half]) - {lost}
    part[samples["polygon"].values == int(samples["polygon"][-1])] = "validation"
    told = HeldOut.of(samples.assign(split=("sample", part)), BLOCK_M)
    assert int(samples["polygon"][-1]) in told.trained  # a network stopped by it
    layered = cube.assign(polygon=xr.concat([cube["polygon"] * 0, cube["polygon"]], "label_layer"))
    np.testing.assert_array_equal(held.pixels(layered), held.pixels(cube))
    assert held.pixels(cube).shape == truth.shape
