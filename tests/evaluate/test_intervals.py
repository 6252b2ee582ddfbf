from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import metrics

from geocube_ml.data.samples import gather_samples
from geocube_ml.evaluate import MAJORITY, evaluate_models
from geocube_ml.evaluate.folds import Groups, folds_of, groups_of
from geocube_ml.evaluate.notes import _lacking
from geocube_ml.evaluate.scores import Judged
from geocube_ml.evaluate.tally import Tally, figures_of
from geocube_ml.evaluate.tasks import FoldTask, judge_fold
from geocube_ml.kernels.calibration import expected_calibration_error, soften
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.models import ForestSpec
from geocube_ml.spec.samples import SamplesSpec
from tests.seasons import NAMES, curves, fit_of, make_cube, scheme

N = len(NAMES)
TREES = ForestSpec(trees=5)
BLOCK = EvaluateSpec(splits=("block",), resamples=200)


@pytest.fixture(scope="module")
def samples():
    """Small blocks, so that there are enough for an interval."""
    return gather_samples(make_cube((61, 80)), SamplesSpec(block_m=60, per_polygon=3))


class Told:
    """Answers with the class whose curve is nearest, in a share of the pixels."""

    spec, halo = SimpleNamespace(drop_source=0), 0

    def __init__(self, share, sure=0.9):
        self.share, self.sure = share, sure

    def predict_proba(self, series):
        want = 1e-4 * curves(np.arange(N), series.shape[1], series.shape[2], N)
        far = np.nanmean((series[:, None] - want) ** 2, axis=(2, 3))
        peak = far.argmin(axis=1)
        # wrong in some pixels that are drawn, but always the same
        odd = np.nan_to_num(series).sum(axis=(1, 2)) * 6180.34 % 1 > self.share
        code = np.where(odd, (peak + 1) % N, peak)
        prob = np.full((len(series), N), (1 - self.sure) / (N - 1), "float32")
        prob[np.arange(len(series)), code] = self.sure
        return prob


def told(name, share, **more):
    return ModelBundle(name, Told(share), fit_of(make_cube()), scheme(), {}, **more)


def judge(samples, spec=BLOCK, seed=0, **shares):
    bundles = {name: told(name, share) for name, share in shares.items()}
    return evaluate_models(samples, bundles, dict.fromkeys(shares, TREES), spec, seed=seed)


@pytest.fixture(scope="module")
def said(samples):
    return judge(samples, good=0.95, bad=0.4)


def of(said, model):
    (one,) = [score for score in said["scores"] if score["model"] == model]
    return one


def test_all_figures_are_scikit_learns(samples, said):
    held = samples["fold_block"].values == 0
    truth = samples["label"].values[held]
    prob = told("good", 0.95).predict_proba({"s2": samples["s2"].values[held]})
    codes, score = prob.argmax(axis=1), of(said, "good")
    each = {"labels": range(N), "average": None}
    for key, of_class in (
        ("users", metrics.precision_score), ("producers", metrics.recall_score),
        ("iou", metrics.jaccard_score), ("f1", metrics.f1_score),
    ):  # fmt: skip
        assert score[key] == pytest.approx(of_class(truth, codes, **each).tolist(), abs=1e-6)
    assert score["balanced"] == pytest.approx(metrics.balanced_accuracy_score(truth, codes))
    want = metrics.log_loss(truth, prob, labels=range(N))
    assert score["log_loss"] == pytest.approx(want, abs=1e-4)
    assert score["ece"] == pytest.approx(expected_calibration_error(prob, truth), abs=1e-5)
    assert np.sum(score["reliability"], axis=2)[:, 0].tolist() == [len(truth)] * 2


def test_a_temperature_changes_losses_and_nothing_else(samples):
    bundles = {"a": told("a", 0.7), "b": told("b", 0.7, temperature=2.0)}
    got = evaluate_models(samples, bundles, dict.fromkeys("ab", TREES), BLOCK)
    a, b = of(got, "a"), of(got, "b")
    held = samples["fold_block"].values == 0
    raw = bundles["b"].predict_proba({"s2": samples["s2"].values[held]}, calibrated=False)
    truth = samples["label"].values[held]
    assert a["log_loss"] == b["log_loss"] == a["log_loss_softened"] != b["log_loss_softened"]
    want = metrics.log_loss(truth, soften(raw, 2.0), labels=range(N))
    assert b["log_loss_softened"] == pytest.approx(want, abs=1e-4)
    assert (b["temperature"], b["confusion"], b["macro_f1"]) == (2, a["confusion"], a["macro_f1"])
    assert all(b["difference"][key]["value"] == 0 for key in ("macro_f1", "ece", "log_loss"))


def test_intervals_hold_the_figures_and_follow_the_seed(samples, said):
    for score in said["scores"]:
        for key in ("overall", "macro_f1", "balanced", "kappa", "log_loss", "ece"):
            low, high = score["interval"][key]
            assert low <= score[key] <= high
            assert low < high or score["model"] == MAJORITY
        for value, ends in zip(score["f1"], score["interval"]["f1"], strict=True):
            assert ends is None or ends[0] <= value <= ends[1]
    assert judge(samples, good=0.95, bad=0.4) == said
    other = judge(samples, seed=1, good=0.95, bad=0.4)
    assert of(other, "good")["interval"] != of(said, "good")["interval"]
    assert of(other, "good")["macro_f1"] == of(said, "good")["macro_f1"]


def test_models_are_compared_with_the_first_forest_on_the_same_resamples(samples, said):
    assert said["baseline"] == "good"
    assert of(said, "good")["difference"] is None
    lead = of(said, "bad")["difference"]
    by = of(said, "bad")["macro_f1"] - of(said, "good")["macro_f1"]
    assert lead["to"] == "good"
    assert lead["macro_f1"]["value"] == pytest.approx(by, abs=1e-6)
    assert lead["macro_f1"]["interval"][1] < 0  # surely worse
    assert lead["log_loss"]["interval"][0] > 0
    twins = judge(samples, a=0.7, b=0.7)
    assert of(twins, "b")["difference"]["kappa"] == {"value": 0.0, "interval": [0.0, 0.0]}


def test_whole_blocks_are_drawn_where_there_are_enough_of_them(samples, said):
    held = samples["fold_block"].values == 0
    n = len(np.unique(samples["block"].values[held]))
    want = {"unit": "blocks", "n": n, "resamples": 200, "level": 0.95}
    assert of(said, "good")["resampled"] == want
    assert n >= 10
    few = samples.assign(block=samples["block"] % 7)
    got = judge(few, good=0.95)
    assert of(got, "good")["resampled"]["unit"] == "polygons"
    assert any("fewer than 10 blocks are tested: intervals" in note for note in got["notes"])


def test_too_few_groups_have_no_interval_and_that_is_noted(samples):
    held = np.flatnonzero(samples["fold_block"].values == 0)
    keep = np.unique(samples["polygon"].values[held])[:6]
    gone = np.isin(np.arange(samples.sizes["sample"]), held)
    gone &= ~np.isin(samples["polygon"].values, keep)
    got = judge(samples.sel(sample=~gone), good=0.9, bad=0.3)
    assert (of(got, "good")["interval"], of(got, "good")["resampled"]) == (None, None)
    assert of(got, "bad")["difference"]["macro_f1"]["interval"] is None
    assert any("6 polygons are tested (fewer than 10), too few for an interval" in note
               for note in got["notes"])  # fmt: skip
    json.dumps(got, allow_nan=False)


def test_no_resamples_no_intervals(samples):
    got = judge(samples, BLOCK.model_copy(update={"resamples": 0}), good=0.9)
    assert of(got, "good")["interval"] is None


def test_rows_of_a_group_are_drawn_together():
    """All rows of a polygon are right or all are wrong: ten times the rows, the same interval."""
    rng = np.random.default_rng(0)
    group = np.arange(40)
    prob = np.eye(2, dtype="float32")[rng.integers(0, 2, 40)]
    label = np.zeros(40, int)
    shares = np.array([0.5, 0.5])
    one = Tally.of(prob, label, group, shares=shares)
    ten = Tally.of(prob.repeat(10, 0), label.repeat(10), group.repeat(10), shares=shares)
    np.testing.assert_allclose(ten.sums, 10 * one.sums)
    a, b = figures_of(one.sums, 2), figures_of(ten.sums, 2)
    np.testing.assert_allclose(a["overall"], b["overall"])


def test_folds_that_are_judged_apart_are_one_table(samples):
    """Sums of folds that share groups add up, whatever their order."""
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(N), 90).astype("float32")
    label, group = rng.integers(0, N, 90), rng.integers(0, 12, 90)
    shares = np.full(N, 1 / N)
    whole = Tally.of(prob, label, group, shares=shares)
    cut = [Tally.of(prob[at], label[at], group[at], shares=shares)
           for at in (slice(50, 90), slice(50))]  # fmt: skip
    joined = Tally.joined(cut)
    np.testing.assert_array_equal(joined.group, whole.group)
    np.testing.assert_allclose(joined.sums, whole.sums)
    assert len(joined.temperatures) == 2


def test_what_was_never_observed_is_answered_by_the_shares_of_training():
    prob = np.float32([[0.9, 0.1], [np.nan, np.nan]])
    tally = Tally.of(prob, np.array([0, 0]), np.array([0, 0]), shares=np.array([0.2, 0.8]))
    assert tally.unseen == 1
    assert tally.confusion.tolist() == [[1, 1], [0, 0]]
    said = figures_of(tally.sums.sum(axis=0), 2)
    assert said["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.2)) / 2, rel=1e-6)


def test_many_groups_are_joined_whole(samples, monkeypatch):
    monkeypatch.setattr("geocube_ml.evaluate.folds._MOST", 15)
    tested = samples["fold_polygon"].values < 3
    groups = groups_of(samples, "polygon", tested)
    polygon = samples["polygon"].values
    assert groups.joined
    assert groups.n == len(np.unique(polygon[tested]))
    assert len(np.unique(groups.code[tested])) == 15
    assert (groups.code[~tested] == -1).all()
    for one in np.unique(polygon[tested])[:20]:
        assert len(np.unique(groups.code[tested & (polygon == one)])) == 1


def test_all_folds_of_blocks_are_tested_once_and_keep_the_gap(samples):
    wide = samples.assign_attrs(gap_m=15.0)
    x, y = samples["x"].values, samples["y"].values
    tested = np.zeros(len(x), int)
    for rows, test in folds_of(wide, "blocks", 0):
        tested += test
        assert not (rows & test).any()
        far = np.hypot(x[test][:, None] - x[rows], y[test][:, None] - y[rows]).min()
        assert far >= 15
    assert (tested == 1).all()


def test_each_group_that_is_left_out_has_figures_of_its_own(samples):
    year = (samples["polygon"].values % 3).astype("int16")
    grouped = samples.assign(fold_group=("sample", year, {"groups": ["2018", "2019", "2020"]}))
    got = judge_grouped(grouped)
    (score,) = [one for one in got["scores"] if one["model"] == "forest"]
    assert [one["group"] for one in score["left_out"]] == ["2018", "2019", "2020"]
    assert [one["n_test"] for one in score["left_out"]] == np.bincount(year).tolist()
    right = sum(one["n_test"] * one["overall"] for one in score["left_out"])
    assert right / score["n_test"] == pytest.approx(score["overall"], abs=1e-5)
    assert score["resampled"]["unit"] == "blocks"  # three groups are too few
    assert any("fewer than 10 groups are tested: intervals are drawn by blocks" in note
               for note in got["notes"])  # fmt: skip


def judge_grouped(samples):
    spec = EvaluateSpec(splits=("group",), resamples=100)
    return evaluate_models(samples, {"forest": told("forest", 1)}, {"forest": TREES}, spec)


def test_no_test_row_influences_a_temperature(samples):
    """Other labels in the tested fold: the same temperature, other figures."""
    task = FoldTask("polygon", "forest", 1)
    odd = samples.copy(deep=True)
    test = samples["fold_polygon"].values == 1
    odd["label"].values[test] = (odd["label"].values[test] + 1) % N
    a, b = (judge_fold(task, one, {}, {"forest": TREES}, seed=0) for one in (samples, odd))
    assert a.temperatures == b.temperatures != (1.0,)
    assert (a.confusion != b.confusion).any()


def test_one_class_only_has_figures_but_no_kappa(samples):
    one = samples.sel(sample=samples["label"].values == 1)
    got = judge(one, good=1.0)
    score = of(got, "good")
    assert score["overall"] == 1
    assert score["kappa"] is None
    assert score["f1"] == [None, 1.0, None, None]
    json.dumps(got, allow_nan=False)


def test_a_class_with_one_test_row_has_figures_but_no_interval(samples):
    held, label = samples["fold_block"].values == 0, samples["label"].values
    own = np.flatnonzero(held & (label == 2))
    one = samples.isel(sample=np.setdiff1d(np.arange(len(label)), own[1:]))
    score = of(judge(one, good=1.0), "good")
    assert sum(score["confusion"][2]) == 1
    assert score["producers"][2] in (0, 1)
    for key in ("f1", "iou", "users", "producers"):
        assert score["interval"][key][2] is None  # a third of the resamples lack it
        assert score["interval"][key][1] is not None
    assert score["interval"]["macro_f1"] is score["interval"]["balanced"] is None
    assert score["interval"]["overall"] is not None


def test_a_class_in_two_of_twenty_groups_has_no_interval_and_that_is_noted():
    """A mean over the classes that a resample happens to have is another figure."""
    rng = np.random.default_rng(3)
    group = np.arange(20).repeat(25)
    label = np.where(rng.random(500) < 0.5, 1, 0)
    label[group < 2] = 2  # the rare one
    answer = np.where(rng.random(500) < 0.35, rng.integers(0, 3, 500), label)
    shares = np.full(3, 1 / 3)
    groups = Groups("blocks", group, 20, joined=False)
    spec = EvaluateSpec(splits=("block",), resamples=400)
    judged, other = (
        Judged.of(Tally.of(np.eye(3, dtype="float32")[codes], label, group, shares=shares),
                  groups, spec, 0)
        for codes in (answer, np.roll(answer, 7))
    )  # fmt: skip
    ends = judged.score("m", "block", {})["interval"]
    assert ends["macro_f1"] is ends["balanced"] is None
    assert [one is None for one in ends["f1"]] == [one is None for one in ends["users"]]
    assert [one is None for one in ends["iou"]] == [False, False, True]
    assert judged.above("other", other)["macro_f1"]["interval"] is None
    low, high = ends["kappa"]
    assert 0 < low < high
    lacks = judged.lacking.any(axis=1)
    assert 0.05 < lacks.mean() < 0.2
    assert judged.lacking[:, :2].sum() == 0
    (note,) = _lacking(judged.lacking, scheme(("a", "b", "rare")), "blocks")
    assert note.startswith(f"{lacks.mean():.0%} of the resamples lack a class that few blocks")
    assert note.endswith("(rare): macro-F1 and balanced accuracy have no interval, nor have the "
                         "figures of rare")  # fmt: skip


def test_a_class_that_few_resamples_lack_is_judged_by_those_that_have_it(samples):
    held, label = samples["fold_block"].values == 0, samples["label"].values
    block = samples["block"].values
    own = np.unique(block[held & (label == 2)])
    gone = held & (label == 2) & ~np.isin(block, own[:4])
    few = samples.isel(sample=~gone)
    got = judge(few, good=0.8)
    ends = of(got, "good")["interval"]
    assert ends["f1"][2][0] > 0
    assert ends["macro_f1"] is not None
    assert not any("of the resamples lack" in note for note in got["notes"])
