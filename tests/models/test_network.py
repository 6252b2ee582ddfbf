from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from geocube_ml.errors import InputError
from geocube_ml.models.layout import Layout
from geocube_ml.models.network import _entropy, _jittered, _loss, _tensor, fit_network, one_thread
from geocube_ml.models.tempcnn import TempCNN
from geocube_ml.spec.models import TempCNNSpec
from tests.seasons import NAMES, curves

N = len(NAMES)


def spec(**more):
    return TempCNNSpec(**({"width": 8, "epochs": 4, "batch": 32} | more))


def fit(series, n=None, held=(), **more):
    x, label = (part[:n] for part in series)
    validation = np.zeros(len(x), bool)
    validation[list(held)] = True
    return fit_network(spec(**more), x, label, N, validation=validation)


def weights(classifier):
    return {k: v.numpy() for k, v in classifier.network.state_dict().items()}


def assert_same_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


# --- the layout


@pytest.mark.parametrize(("channels", "steps", "classes"), [(4, 12, 9), (11, 36, 13), (2, 1, 2)])
def test_the_layout_is_the_papers(channels, steps, classes):
    """Three convolutions of 64 filters over 5 steps, a dense layer of 256, batch normalization."""
    network = TempCNN(TempCNNSpec(), channels, steps, classes)
    convs = (channels * 5 * 64 + 64) + 2 * (64 * 5 * 64 + 64)
    dense = (64 * steps * 256 + 256) + (256 * classes + classes)
    norms = 2 * (3 * 64 + 256)
    assert sum(p.numel() for p in network.parameters()) == convs + dense + norms

    kinds = [type(m).__name__ for m in network.modules() if not list(m.children())]
    assert kinds == [*["Conv1d", "BatchNorm1d", "ReLU", "Dropout"] * 3, "Flatten",
                     "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]  # fmt: skip
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}
    assert network(torch.zeros(3, channels, steps)).shape == (3, classes)


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_odd_kernel_keeps_the_number_of_steps(kernel, steps):
    network = TempCNN(spec(kernel=kernel), 4, steps, 3)
    assert network.convs(torch.zeros(2, 4, steps)).shape == (2, 8, steps)


# --- fitting


def test_the_same_seed_gives_the_same_weights(series):
    one, again, other = (fit(series, seed=seed) for seed in (3, 3, 4))
    assert_same_weights(one, again)
    assert one.history == again.history
    assert not np.array_equal(weights(one)["head.1.weight"], weights(other)["head.1.weight"])


def test_fitting_leaves_torchs_random_state_alone(series):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = fit(series)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert_same_weights(one, fit(series))


def test_early_stopping_keeps_the_best_weights(series):
    x, label = series
    wrong = np.where(np.arange(len(x)) < 60, (label + 1) % N, label).astype("uint8")
    told = []
    held = np.arange(len(x)) < 60  # the better it learns, the worse it does there
    got = fit_network(
        spec(epochs=40, patience=3, learning_rate=0.02, dropout=0), x, wrong, N, validation=held,
        note=lambda done, most: told.append((done, most)),
    )  # fmt: skip
    losses = [seen for _, seen in got.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 40
    assert told == [(k + 1, 40) for k in range(len(losses))]
    target = torch.from_numpy(wrong[held].astype("int64"))
    assert _loss(got.network, _tensor(got.scaling, got.layout, x[held]), target) == pytest.approx(
        min(losses)
    )


def test_without_validation_it_trains_its_full_length(series):
    got = fit(series, epochs=5, patience=1)
    assert len(got.history) == 5
    assert all(seen is None for _, seen in got.history)


def test_validation_rows_are_not_trained_on(series):
    x, label = series
    held = np.arange(len(x)) % 5 == 0
    other = np.where(held[:, None, None], 9, x).astype("float32")
    a, b = (fit_network(spec(epochs=1), s, label, N, validation=held) for s in (x, other))
    assert_same_weights(a, b)  # one epoch has one candidate, whatever its validation loss


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 65])
def test_few_samples_are_enough(series, n):
    """One row beyond a whole number of batches must not become a batch of its own."""
    got = fit(series, n, epochs=2)
    assert np.isfinite(got.history[-1][0])
    assert got.predict_proba(series[0][:5]).shape == (5, N)


def test_a_class_with_one_row_and_a_single_class(series):
    x, label = series
    lone = np.flatnonzero(label == 2)[:1]
    rows = np.r_[np.flatnonzero(label == 0)[:20], lone]
    fit((x[rows], label[rows]), epochs=2)
    fit((x[rows[:20]], label[rows[:20]]), epochs=2)


@pytest.mark.parametrize(("n", "held", "left"), [(1, (), 1), (5, range(4), 1), (3, range(3), 0)])
def test_fewer_than_two_rows_are_refused(series, n, held, left):
    with pytest.raises(InputError, match=rf"at least 2 rows to train on, got {left}\b"):
        fit(series, n, held)


def test_a_loss_that_is_not_a_number_is_refused(series):
    with pytest.raises(InputError, match=r"loss of epoch \d+ is (nan|inf).*1e\+30 now"):
        fit(series, learning_rate=1e30)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("place", ["trained", "held"])
def test_infinite_values_are_refused(series, place):
    x = series[0].copy()
    x[2 if place == "trained" else 0, 0, 0] = np.inf
    with pytest.raises(InputError, match="infinite values"):
        fit((x, series[1]), held=[0, 1])


@pytest.mark.parametrize(("steps", "bands"), [(1, 1), (1, 240), (2, 3)])
def test_any_number_of_steps_and_bands_can_be_learnt(steps, bands):
    rng = np.random.default_rng(0)
    label = np.arange(240) % N
    x = (label[:, None, None] + rng.normal(0, 0.2, (240, steps, bands))).astype("float32")
    got = fit((x[:160], label[:160]), width=16, epochs=12, jitter=0, dropout=0)
    assert (got.predict_proba(x[160:]).argmax(axis=1) == label[160:]).mean() > 0.9


def test_jitter_leaves_gaps_masks_and_the_stillness_of_static_channels_alone():
    """Two bands of a series, one of another, one static; by channel, then three masks."""
    layout = Layout((2, 1), (1,))
    inputs = torch.rand(5, 4 + 3, 6)
    observed = (torch.rand(5, 3, 6) < 0.6).float()
    observed[:, 2] = (torch.arange(5) > 1).float()[:, None]  # of the static source: all or nothing
    inputs[:, 4:] = observed
    there = observed[:, [0, 0, 1, 2]]
    inputs[:, :4] *= there
    inputs[:, 3] = inputs[:, 3, :1]
    got = _jittered(inputs, layout, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(got[:, 4:], observed)
    assert (got[:, :4][there == 0] == 0).all()
    assert (got[:, :4][there == 1] != inputs[:, :4][there == 1]).all()
    assert torch.equal(got[:, 3], got[:, 3, :1].expand(5, 6))
    moved = (got - inputs)[:, :3]
    assert (moved.std(dim=2) > 0).all()


# --- predicting


def test_what_stands_behind_a_missing_month_changes_nothing(network, series):
    """Scaled series are 0 where nothing was observed; the mask tells a mean from a gap."""
    x = np.where(np.isnan(series[0]), 0.2, series[0])[:20].astype("float32")
    gap = x.copy()
    gap[:, 2] = np.nan
    filled = network.scaling.apply(gap)
    assert (filled[:, :-1, 2] == 0).all()
    assert (filled[:, -1, 2] == 0).all()
    assert (filled[:, -1, [0, 1, 3, 4, 5]] == 1).all()
    mean = x.copy()
    mean[:, 2] = network.scaling.mean
    assert not np.allclose(network.predict_proba(gap), network.predict_proba(mean), atol=1e-6)


def test_more_series_than_a_forward_pass_takes(network, series):
    x = np.tile(series[0], (18, 1, 1))  # 4320, more than two passes
    got = network.predict_proba(x)
    np.testing.assert_allclose(got, np.tile(got[:240], (18, 1)), atol=1e-6)


def test_dropout_is_off_when_predicting(network, series):
    network.network.train()
    np.testing.assert_array_equal(
        network.predict_proba(series[0][:9]), network.predict_proba(series[0][:9])
    )
    assert not network.network.training


def test_one_thread_gives_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_it_learns_seasonal_curves():
    rng = np.random.default_rng(0)
    label = np.arange(800) % N
    x = (1e-4 * (curves(label, 12, 4, N) + rng.normal(0, 300, (800, 12, 4)))).astype("float32")
    x[rng.random((800, 12)) < 0.3] = np.nan
    got = fit((x[:600], label[:600]), width=16, epochs=8)
    assert (got.predict_proba(x[600:]).argmax(axis=1) == label[600:]).mean() > 0.9


def test_fits_side_by_side_are_those_one_after_the_other(series):
    seeds = (0, 1, 2)
    want = [fit(series, seed=seed, epochs=2) for seed in seeds]
    with ThreadPoolExecutor(len(seeds)) as pool:
        got = list(pool.map(lambda seed: fit(series, seed=seed, epochs=2), seeds))
    for a, b in zip(want, got, strict=True):
        assert_same_weights(a, b)


def test_the_loss_is_weighted_as_torch_weights_classes():
    """A weight a class, given to each of its rows."""
    of_class = torch.tensor([1, 3, 0.5, 2])
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, N, generator=generator)
    target = torch.randint(0, N, (50,), generator=generator)
    want = torch.nn.functional.cross_entropy(logits, target, weight=of_class)
    assert torch.isclose(_entropy(logits, target, of_class[target]), want)
    plain = torch.nn.functional.cross_entropy(logits, target)
    assert _entropy(logits, target, None) == plain
    assert not torch.isclose(want, plain)
