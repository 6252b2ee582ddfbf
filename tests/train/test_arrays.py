from __future__ import annotations

import csv
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors import safe_open

from geocube_ml.errors import InputError, TrainingStopped
from geocube_ml.kernels.calibration import soften
from geocube_ml.models.layout import Layout
from geocube_ml.spec.models import BoostingSpec, ForestSpec, RocketSpec, TempCNNSpec, UNetSpec
from geocube_ml.train import fit_model, loop
from geocube_ml.train.checkpoint import checkpoint_path
from tests.seasons import NAMES, curves, make_series

N = len(NAMES)


@pytest.fixture(scope="module")
def series():
    return make_series()


def spec(**more):
    return TempCNNSpec(**({"width": 8, "epochs": 4, "batch": 32} | more))


def fit(series, n=None, held=(), spec=spec, **more):
    x, label = (part[:n] for part in series)
    validation = np.zeros(len(x), bool)
    validation[list(held)] = True
    return fit_model(spec(**more), x, label, N, validation=validation)


def assert_same_weights(a, b):
    a, b = a.model.state(), b.model.state()
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


# --- the loop


def test_the_same_seed_gives_the_same_weights(series):
    one, again, other = (fit(series, seed=seed) for seed in (3, 3, 4))
    assert_same_weights(one, again)
    assert one.model.history == again.model.history
    a, b = (found.model.state()["0.head.weight"] for found in (one, other))
    assert not np.array_equal(a, b)


def test_fitting_leaves_torchs_random_state_alone(series):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = fit(series)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert_same_weights(one, fit(series))


def test_early_stopping_keeps_the_best_weights(series):
    x, label = series
    held = np.arange(len(x)) < 60  # the better it learns, the worse it does there
    wrong = np.where(held, (label + 1) % N, label)
    told = []
    got = fit_model(
        spec(epochs=40, patience=3, learning_rate=0.02, dropout=0, warmup=0), x, wrong, N,
        validation=held, watch=lambda member, said: told.append((member, said["epoch"])),
    )  # fmt: skip
    (history,) = got.model.history
    losses = [said["validation_loss"] for said in history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 40
    assert told == [(0, k + 1) for k in range(len(losses))]
    prob = got.predict_proba(x[held])
    of_right = prob[np.arange(60), wrong[held]]
    assert -np.log(of_right).mean() == pytest.approx(min(losses), rel=1e-4)


def test_without_validation_it_trains_its_full_length(series):
    got = fit(series, epochs=5, patience=1)
    (history,) = got.model.history
    assert len(history) == 5
    assert all(said["validation_loss"] is said["macro_f1"] is None for said in history)
    assert got.temperature == 1


def test_validation_rows_are_not_trained_on(series):
    x, label = series
    held = np.arange(len(x)) % 5 == 0
    other = np.where(held[:, None, None], 9, x).astype("float32")
    a, b = (fit_model(spec(epochs=1), s, label, N, validation=held) for s in (x, other))
    assert_same_weights(a, b)  # one epoch has one candidate, whatever its validation loss


def test_the_history_says_loss_score_and_learning_rate(series):
    (history,) = fit(series, held=range(0, 240, 5), epochs=6).model.history
    assert [said["epoch"] for said in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["macro_f1"] > history[0]["macro_f1"]
    rates = [said["learning_rate"] for said in history]
    assert rates[0] < rates[1] == max(rates)
    assert rates[-1] == 0


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 65])
def test_few_samples_are_enough(series, n):
    """One row beyond a whole number of batches must not become a batch of its own."""
    got = fit(series, n, epochs=2)
    assert np.isfinite(got.model.history[0][-1]["loss"])
    assert got.predict_proba(series[0][:5]).shape == (5, N)


def test_members_are_the_networks_of_seeds_one_after_the_other(series):
    both = fit(series, members=2, seed=5, epochs=2)
    alone = [fit(series, seed=seed, epochs=2) for seed in (5, 6)]
    x = series[0][:20]
    want = np.mean([one.predict_proba(x) for one in alone], axis=0)
    np.testing.assert_allclose(both.predict_proba(x), want, atol=1e-6)
    assert [len(history) for history in both.model.history] == [2, 2]


def test_fits_side_by_side_are_those_one_after_the_other(series):
    seeds = (0, 1, 2)
    want = [fit(series, seed=seed, epochs=2) for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        got = list(pool.map(lambda seed: fit(series, seed=seed, epochs=2), seeds))
    for a, b in zip(want, got, strict=True):
        assert_same_weights(a, b)


def test_it_learns_seasonal_curves():
    rng = np.random.default_rng(0)
    label = np.arange(800) % N
    x = (1e-4 * (curves(label, 12, 4, N) + rng.normal(0, 300, (800, 12, 4)))).astype("float32")
    x[rng.random((800, 12)) < 0.3] = np.nan
    got = fit((x[:600], label[:600]), width=16, epochs=8)
    assert (got.predict_proba(x[600:]).argmax(axis=1) == label[600:]).mean() > 0.9


@pytest.mark.parametrize(("steps", "bands"), [(1, 1), (1, 240), (2, 3)])
def test_any_number_of_steps_and_bands_can_be_learnt(steps, bands):
    rng = np.random.default_rng(0)
    label = np.arange(240) % N
    x = (label[:, None, None] + rng.normal(0, 0.2, (240, steps, bands))).astype("float32")
    got = fit((x[:160], label[:160]), width=16, epochs=12, jitter=0, dropout=0)
    assert (got.predict_proba(x[160:]).argmax(axis=1) == label[160:]).mean() > 0.9


# --- a training that was stopped


def interrupted(series, tmp_path, after, **more):
    """Fit with a folder, stop after an epoch, and go on."""
    x, label = series
    held = np.arange(len(x)) % 5 == 0

    def stop(member, said):
        if (member, said["epoch"]) == after:
            raise KeyboardInterrupt

    arguments = {"validation": held, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fit_model(spec(**more), x, label, N, **arguments, watch=stop)
    told = []
    got = fit_model(spec(**more), x, label, N, **arguments, watch=lambda *said: told.append(said))
    return got, fit_model(spec(**more), x, label, N, validation=held), told


@pytest.mark.parametrize("sampling", ["all", "balanced"])
def test_a_training_goes_on_to_the_same_weights(series, tmp_path, sampling):
    got, want, told = interrupted(series, tmp_path, (0, 2), sampling=sampling)
    assert_same_weights(got, want)
    assert got.model.history == want.model.history
    assert [said["epoch"] for _, said in told] == [3, 4]


def test_members_that_are_done_are_not_trained_again(series, tmp_path):
    got, want, told = interrupted(series, tmp_path, (1, 1), members=2, epochs=2)
    assert_same_weights(got, want)
    assert [(member, said["epoch"]) for member, said in told] == [(1, 2)]


def test_a_patience_that_has_run_out_is_remembered(series, tmp_path):
    x, label = series
    held = np.arange(len(x)) < 60
    wrong = np.where(held, (label + 1) % N, label)
    hasty = spec(epochs=40, patience=2, learning_rate=0.02, dropout=0, warmup=0)
    one, two = (fit_model(hasty, x, wrong, N, validation=held, folder=tmp_path) for _ in range(2))
    assert_same_weights(one, two)
    assert len(two.model.history[0]) < 40


def test_what_is_kept_of_another_training_is_refused(series, tmp_path):
    x, label = series
    fit_model(spec(), x, label, N, folder=tmp_path)
    with pytest.raises(InputError, match=r"another training.*Remove the file"):
        fit_model(spec(seed=9), x, label, N, folder=tmp_path)
    with pytest.raises(InputError, match="another training"):
        fit_model(spec(), x, (label + 1) % N, N, folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(series, tmp_path):
    fit_model(spec(), *series, N, folder=tmp_path)
    kept = checkpoint_path(tmp_path, 0)
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"damaged.*Remove the file"):
        fit_model(spec(), *series, N, folder=tmp_path)


def test_curves_are_a_table_and_events(series, tmp_path):
    got = fit_model(spec(members=2), *series, N, folder=tmp_path)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["member"], row["epoch"]) for row in rows] == [
        (str(m), str(e)) for m in range(2) for e in range(1, 5)
    ]
    assert float(rows[5]["loss"]) == got.model.history[1][1]["loss"]
    events = sorted((tmp_path / "tensorboard").glob("member-*/events.out.tfevents.*"))
    assert len(events) == 2
    assert all(b"learning_rate" in path.read_bytes() for path in events)


def test_a_bar_shows_loss_and_score(series, capsys):
    fit_model(spec(), *series, N, validation=np.arange(240) % 5 == 0, progress=True)
    said = capsys.readouterr().err
    assert "4/4" in said
    assert "macro-F1" in said


# --- models of tables


@pytest.mark.parametrize(
    "table", [ForestSpec(trees=6), BoostingSpec(rounds=5), RocketSpec(features=168)]
)
def test_tables_are_fitted_to_all_rows_once_the_temperature_is_known(series, table):
    x, label = series
    held = np.arange(len(x)) % 3 == 0
    got = fit_model(table, x, label, N, validation=held)
    validation = got.facts.pop("validation")
    assert got.facts == {"n_train": 240, "n_validation": 0, "n_unobserved": 0}
    whole = fit_model(table, x, label, N)
    if not isinstance(table, BoostingSpec):  # validation decides its rounds
        assert_same_weights(got, whole)
    assert got.temperature != 1
    assert whole.temperature == 1
    apart = fit_model(table, x, label, N, validation=held, refit=False)
    assert apart.temperature == got.temperature
    assert apart.facts["validation"] == validation
    assert (apart.facts["n_train"], apart.facts["n_validation"]) == (160, 80)
    prob = apart.predict_proba(x[held])
    right = (prob.argmax(axis=1) == label[held]).mean()
    assert validation["overall"] == pytest.approx(right)
    soft = soften(prob, apart.temperature)[np.arange(80), label[held]]
    assert validation["log_loss"] == pytest.approx(-np.log(soft).mean(), rel=1e-4)
    if not isinstance(table, BoostingSpec):
        assert_same_weights(apart, fit_model(table, x[~held], label[~held], N))


def test_boosting_stops_at_the_rounds_of_its_temperature(series):
    """Labels that are half chance: the model that is kept has as many rounds as the judged one."""
    x, label = series
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(240) < 0.5, rng.permutation(label), label)
    held = np.arange(240) % 3 == 0
    slow = BoostingSpec(rounds=60, patience=5, min_leaf=5)
    kept, judged = (
        fit_model(slow, x, noisy, N, validation=held, refit=refit) for refit in (True, False)
    )
    rounds = [len(found.model.trees.first) // N for found in (kept, judged)]
    assert rounds[0] == rounds[1] < 60
    assert kept.temperature == judged.temperature < 2.5


def test_a_temperature_is_learnt_on_validation_rows_alone(series):
    x, label = series
    held = np.arange(len(x)) % 3 == 0
    rng = np.random.default_rng(0)
    guessed = np.where(held, rng.permutation(label), label)  # where any certainty is wrong
    sure, humbled = (
        fit_model(spec(epochs=8), x, y, N, validation=held).temperature for y in (label, guessed)
    )
    assert humbled > 2 * sure


# --- numbers


@pytest.mark.parametrize(
    "model",
    [spec(epochs=40, jitter=0, dropout=0, batch=16), ForestSpec(), BoostingSpec(min_leaf=5),
     RocketSpec(features=840)],
    ids=lambda model: model.kind,
)  # fmt: skip
def test_numbers_are_learnt_in_their_unit(model):
    rng = np.random.default_rng(0)
    biomass = rng.uniform(20, 300, 300)
    series = biomass[:, None, None] / 300 * np.linspace(0.5, 1, 6)[:, None] + [0, 0.1]
    series = (series + rng.normal(0, 0.01, series.shape)).astype("float32")
    got = fit_model(model, series[:200], biomass[:200], validation=np.arange(200) % 5 == 0)
    error = got.model.predict(series[200:]) - biomass[200:]
    assert np.sqrt((error**2).mean()) < 0.2 * biomass.std()
    assert got.temperature == 1


# --- bad input


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, _y: {"series": x[0]}, r"must be \(n, time, channel\), got \(6, 3\)"),
        (lambda x, _y: {"series": x[:, :0]}, r"got \(240, 0, 3\)"),
        (lambda _x, y: {"label": y[:9]}, r"`label` must have a value for each of the 240"),
        (lambda _x, _y: {"weight": np.ones(3)}, r"`weight` must have .* got \(3,\)"),
        (lambda _x, y: {"weight": np.where(y == 1, -1, 1)}, "Weights must be 0 or more, got -1"),
        (lambda _x, y: {"weight": np.where(y == 1, np.nan, 1)}, "not finite"),
        (lambda _x, _y: {"validation": np.ones(3, bool)}, "`validation` must have"),
        (lambda _x, y: {"label": y.astype(int) - 1}, "Codes must be 0 to 3, got -1 to 2"),
        (lambda _x, _y: {"n_class": 3}, "Codes must be 0 to 2, got 0 to 3"),
        (lambda _x, y: {"label": y.astype(str)}, "return_inverse"),
        (lambda _x, y: {"label": y.astype(float)}, "leave `n_class` out"),
        (lambda _x, y: {"label": np.where(y == 1, 255, y), "n_class": None}, "255 is unknown"),
        (lambda _x, y: {"label": y * np.inf, "n_class": None}, "numbers are not finite"),
        (lambda _x, _y: {"layout": Layout((2,))}, "has 3 channels, but the layout has 2"),
        (lambda x, _y: {"series": x * np.nan}, "240 were never observed"),
        (lambda _x, y: {"weight": y * 0}, "240 weigh 0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(series, change, says):
    x, label = series
    with np.errstate(invalid="ignore"):
        arguments = {"series": x, "label": label, "n_class": N} | change(x, label)
    with pytest.raises(InputError, match=says):
        fit_model(spec(), **arguments)


@pytest.mark.parametrize("model", [spec(), ForestSpec(), BoostingSpec(), RocketSpec()],
                         ids=lambda model: model.kind)  # fmt: skip
def test_infinite_values_are_refused(series, model):
    x = series[0].copy()
    x[2, 0, 0], x[7] = np.inf, -np.inf
    with pytest.raises(InputError, match=r"2 of 240 series have infinite values.*NaN"):
        fit_model(model, x, series[1], N)


def test_rows_that_were_never_observed_are_left_out_and_counted(series):
    x, label = (part.copy() for part in series)
    x[:30] = np.nan
    held = np.arange(240) % 7 == 0
    got = fit_model(spec(), x, label, N, validation=held)
    assert got.facts["n_unobserved"] == 30
    assert_same_weights(got, fit_model(spec(), x[30:], label[30:], N, validation=held[30:]))


def test_a_class_with_one_row_and_a_single_class(series):
    x, label = series
    rows = np.r_[np.flatnonzero(label == 0)[:20], np.flatnonzero(label == 2)[:1]]
    for model in (spec(epochs=2), ForestSpec(trees=3), BoostingSpec(rounds=2)):
        for some in (rows, rows[:20]):
            prob = fit_model(model, x[some], label[some], N).predict_proba(x)
            np.testing.assert_allclose(prob.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("n", "held", "left"), [(1, (), 1), (5, range(4), 1)])
def test_fewer_than_two_rows_are_too_few_for_a_network(series, n, held, left):
    with pytest.raises(InputError, match=rf"at least 2 rows to train on, got {left}\b"):
        fit(series, n, held)


def test_all_rows_held_out_leave_nothing(series):
    with pytest.raises(InputError, match="3 validate"):
        fit(series, 3, range(3))


def test_constant_bands_say_nothing_and_break_nothing(series):
    x = series[0].copy()
    x[:, :, 1] = 7
    assert np.isfinite(fit((x, series[1])).predict_proba(x)).all()


def test_a_loss_that_is_not_a_number_stops_with_the_last_good_weights(series, tmp_path):
    x, label = series
    with pytest.raises(TrainingStopped, match=r"loss of epoch \d+ is (nan|inf).*1e\+30 now") as at:
        fit_model(spec(learning_rate=1e30), x, label, N, folder=tmp_path)
    assert all(weight.isfinite().all() for weight in at.value.network.parameters())


def test_the_last_good_checkpoint_stays(series, tmp_path, monkeypatch):
    rate = loop.rate_at
    monkeypatch.setattr(
        loop, "rate_at", lambda spec, step, n: 1e30 if step > 20 else rate(spec, step, n)
    )
    with pytest.raises(TrainingStopped, match=r"epoch [34]") as stopped:
        fit_model(spec(), *series, N, folder=tmp_path)
    with safe_open(checkpoint_path(tmp_path, 0), framework="pt") as kept:
        weights = kept.get_tensor("network.head.weight")
        history = json.loads(kept.metadata()["course"])["history"]
    assert weights.isfinite().all()
    assert torch.equal(weights, stopped.value.network.head.weight)
    assert len(history) in (2, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_not_there_is_refused(series, device):
    with pytest.raises(InputError, match=rf"'{device}' is not there: torch sees 0 CUDA devices"):
        fit(series, device=device)


@pytest.mark.parametrize(
    "more", [{"loss": "focal"}, {"sampling": "balanced"}, {"class_weights": "balanced"}]
)
def test_what_is_of_classes_is_refused_where_a_number_is_estimated(series, more):
    (name,) = more
    with pytest.raises(InputError, match=rf"`{name}: \w+` is of classes"):
        fit_model(spec(**more), series[0], series[1].astype(float))


def test_truth_values_are_two_classes(series):
    x, label = series
    for model in (spec(epochs=1), ForestSpec(trees=3, class_weights="balanced")):
        assert fit_model(model, x, label == 1).predict_proba(x).shape == (240, 2)


def test_a_model_is_asked_what_it_answers(series):
    x, label = series
    for model in (spec(epochs=1), ForestSpec(trees=3), RocketSpec(features=84)):
        with pytest.raises(InputError, match="4 classes apart and estimates no number"):
            fit_model(model, x, label, N).model.predict(x)
        with pytest.raises(InputError, match="estimates a number and has no probabilities"):
            fit_model(model, x, label.astype(float)).model.predict_proba(x)


def test_weights_that_a_last_step_spoilt_are_no_model(series, monkeypatch):
    """The loss of the last epoch is a number, the weights after its last step are not."""
    rate = loop.rate_at
    n_batch, epochs = 8, 3

    def wild(spec, step, n):
        return float("inf") if step == epochs * n_batch - 1 else rate(spec, step, n)

    monkeypatch.setattr(loop, "rate_at", wild)
    with pytest.raises(TrainingStopped) as stopped:
        fit_model(spec(epochs=epochs), *series, N)
    state = stopped.value.network.state_dict().values()
    assert all(part.isfinite().all() for part in state)
    again = pickle.loads(pickle.dumps(stopped.value))
    assert str(again) == str(stopped.value)


def test_a_training_that_stops_leaves_its_curves(series, tmp_path, monkeypatch):
    rate = loop.rate_at
    monkeypatch.setattr(
        loop, "rate_at", lambda spec, step, n: 1e30 if step > 20 else rate(spec, step, n)
    )
    with pytest.raises(TrainingStopped):
        fit_model(spec(), *series, N, folder=tmp_path)
    with (tmp_path / "curves.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)][:2] == ["1", "2"]


def test_a_model_of_patches_needs_more_than_series(series):
    with pytest.raises(InputError, match=r"unet looks at what lies around.*`cube=`"):
        fit_model(UNetSpec(), *series, N)
