from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.attention import AttentionTempCNN, weigh
from geocube_ml.models.networks.build import SeriesNetwork, seen_steps
from geocube_ml.models.networks.encoders import build_encoder
from geocube_ml.models.networks.inceptiontime import InceptionTime, filter_lengths
from geocube_ml.models.networks.ltae import LTAE, sinusoids
from geocube_ml.models.networks.recurrent import Recurrent
from geocube_ml.models.networks.tempcnn import TempCNN
from geocube_ml.spec.networks import (
    AttentionEncoder,
    InceptionTimeEncoder,
    LTAEEncoder,
    RecurrentEncoder,
    TempCNNEncoder,
)

SMALL = {
    "tempcnn": TempCNNEncoder(width=4),
    "tempcnn-attention": AttentionEncoder(width=4, heads=2),
    "ltae": LTAEEncoder(width=8, heads=2, key=3),
    "gru": RecurrentEncoder(kind="gru", width=3),
    "lstm": RecurrentEncoder(kind="lstm", width=3, layers=1),
    "inceptiontime": InceptionTimeEncoder(width=2, dropout=0.1),
}
WEIGHING = ["tempcnn-attention", "ltae"]


@pytest.fixture(params=SMALL)
def spec(request):
    return SMALL[request.param]


def series(n, channels, steps, seed=0):
    """Values, 0 where missing, and which steps were observed: all, none, and some."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.rand(n, steps, generator=draw) < 0.6
    seen[:1], seen[1:2] = True, False
    return torch.randn(n, channels, steps, generator=draw) * seen[:, None], seen


def encoder(spec, channels, steps):
    torch.manual_seed(1)
    return build_encoder(spec, channels, steps)


def size(module):
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(("channels", "steps"), [(2, 1), (1, 2), (11, 7), (3, 23)])
def test_any_series_has_as_many_features_as_the_encoder_says(spec, channels, steps):
    found = encoder(spec, channels, steps)
    x, seen = series(5, channels, steps)
    for features in (found.train()(x, seen), found.eval()(x, seen)):
        assert features.shape == (5, found.width)
        assert features.isfinite().all()  # of the series without observation, too


def test_every_weight_is_learnt(spec):
    found = encoder(spec, 3, 7)
    x, seen = series(16, 3, 7)
    torch.manual_seed(0)
    (found(x, seen) * torch.randn(found.width)).sum().backward()
    for name, weight in found.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_series_are_judged_one_by_one_and_always_alike(spec):
    found = encoder(spec, 3, 7).eval()
    x, seen = series(9, 3, 7)
    features = found(x, seen)
    torch.testing.assert_close(found(x, seen), features, rtol=0, atol=0)
    torch.testing.assert_close(found(x.flip(0), seen.flip(0)), features.flip(0))
    torch.testing.assert_close(found(x[4:5], seen[4:5]), features[4:5])


def test_the_order_of_the_steps_counts(spec):
    found = encoder(spec, 2, 12).eval()
    x, seen = series(3, 2, 12)
    once, turned = found(x[:1], seen[:1]), found(x[:1].flip(2), seen[:1])
    assert not torch.allclose(once, turned, rtol=0.001)


def test_dropout_thins_the_features_in_training_alone(spec):
    found = encoder(spec, 3, 7)
    x, seen = series(9, 3, 7)
    assert not torch.equal(found(x, seen), found(x, seen))


# --- attention


@pytest.mark.parametrize("kind", WEIGHING)
def test_what_stands_in_an_unobserved_step_changes_nothing(kind):
    found = encoder(SMALL[kind], 3, 7).eval()
    x, seen = series(9, 3, 7)
    other = torch.where(seen[:, None], x, 100 * torch.randn(x.shape))
    torch.testing.assert_close(found(other, seen), found(x, seen), rtol=0, atol=0)


@pytest.mark.parametrize("kind", WEIGHING)
def test_heads_weigh_the_observed_steps_and_no_other(kind):
    found = encoder(SMALL[kind], 3, 7).eval()
    x, seen = series(9, 3, 7)
    weights = found.attention(x, seen)
    assert weights.shape == (9, 2, 7)
    assert (weights[(~seen)[:, None].expand_as(weights)] == 0).all()
    some = seen.any(dim=1)
    torch.testing.assert_close(weights[some].sum(dim=2), torch.ones(int(some.sum()), 2))
    assert (weights[~some] == 0).all()
    assert not torch.allclose(weights[0, 0], weights[0, 1])  # each has its own


@pytest.mark.parametrize("kind", WEIGHING)
def test_a_head_that_looks_at_one_step_reads_that_step(kind):
    """The features of a series with one observed step are those of the step, whatever the query."""
    found = encoder(SMALL[kind], 3, 7).eval()
    x, _ = series(4, 3, 7)
    seen = torch.zeros(4, 7, dtype=torch.bool)
    seen[:, 5] = True
    before = found(x, seen)
    found.query.data.mul_(-7)
    torch.testing.assert_close(found(x, seen), before)


def test_the_weights_are_a_softmax_of_scaled_scores():
    """Counted by hand: two keys of length 4, so that scores are halved."""
    score = torch.tensor([[[2.0, 99.0, 4.0]]])
    seen = torch.tensor([[True, False, True]])
    high = math.e / (1 + math.e)
    torch.testing.assert_close(weigh(score, seen, 4), torch.tensor([[[1 - high, 0, high]]]))


def test_positions_are_sines_and_cosines_of_ever_longer_periods():
    found = sinusoids(30, 6, 1000).numpy()
    for pair in range(3):
        at = np.arange(30) / 1000 ** (2 * pair / 6)
        np.testing.assert_allclose(found[2 * pair], np.sin(at), atol=1e-6)
        np.testing.assert_allclose(found[2 * pair + 1], np.cos(at), atol=1e-6)


# --- layouts, counted by hand


@pytest.mark.parametrize(("channels", "steps"), [(4, 12), (11, 36), (2, 1)])
def test_tempcnn_is_the_papers(channels, steps):
    """Three convolutions of 64 filters over 5 steps and a dense layer of 256, all normalized."""
    found = TempCNN(TempCNNEncoder(), channels, steps)
    convs = (channels * 5 * 64 + 64) + 2 * (64 * 5 * 64 + 64)
    assert size(found) == convs + (64 * steps * 256 + 256) + 2 * (3 * 64 + 256)
    kinds = [type(m).__name__ for m in found.modules() if not list(m.children())]
    assert kinds == [*["Conv1d", "BatchNorm1d", "ReLU", "Dropout"] * 3, "Flatten",
                     "Linear", "BatchNorm1d", "ReLU", "Dropout"]  # fmt: skip
    assert {m.p for m in found.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}


def test_attention_has_no_weights_that_grow_with_the_steps_but_positions():
    long, short = (AttentionTempCNN(AttentionEncoder(), 4, steps) for steps in (40, 10))
    assert size(long) - size(short) == 30 * 64
    convs = (4 * 5 * 64 + 64) + 2 * (64 * 5 * 64 + 64) + 2 * 3 * 64
    heads = (64 * 64 + 64) + (64 * 256 + 256) + 64
    assert size(short) == convs + heads + 10 * 64 + 2 * 256


def test_ltae_is_the_papers():
    """16 heads with keys of 8 numbers, each of a sixteenth of 128 channels; no weight a step."""
    embedding = (10 * 128 + 128) + 2 * 128
    keys = 16 * (8 * 8 + 8) + 16 * 8
    mlp = (128 * 128 + 128) + 2 * 128 + 2 * 128
    for steps in (1, 30):
        assert size(LTAE(LTAEEncoder(), 10, steps)) == embedding + keys + mlp


@pytest.mark.parametrize(("kind", "gates"), [("gru", 3), ("lstm", 4)])
def test_recurrent_cells_have_their_gates_in_two_directions_and_layers(kind, gates):
    found = Recurrent(RecurrentEncoder(kind=kind), 5, 9)
    cells = [2 * gates * (64 * n_in + 64 * 64 + 2 * 64) for n_in in (5, 2 * 64)]
    assert size(found) == sum(cells) + 2 * found.width
    assert found.width == 6 * 64


def test_inceptiontime_is_the_papers():
    """Six modules of 4 x 32 filters behind bottlenecks of 32, two shortcuts; filters made odd."""
    found = InceptionTime(InceptionTimeEncoder(), 6, 200)
    filters = 32 * 32 * (41 + 21 + 11)
    modules = [n_in * 32 + filters + n_in * 32 + 2 * 128 for n_in in (6, *[128] * 5)]
    shortcuts = [n_in * 128 + 2 * 128 for n_in in (6, 128)]
    assert size(found) == sum(modules) + sum(shortcuts)


@pytest.mark.parametrize("steps", [1, 2, 9, 39, 60])
def test_filters_are_odd_and_never_longer_than_a_step_more_than_the_series(steps):
    lengths = filter_lengths(40, steps)
    assert all(length % 2 == 1 for length in lengths)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] <= min(41, steps + 1)


def test_a_depth_that_is_no_multiple_of_three_ends_without_a_shortcut():
    found = InceptionTime(InceptionTimeEncoder(width=2, depth=4), 3, 9)
    assert [block.shortcut is not None for block in found.blocks] == [True, False]


# --- recurrent


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_states_are_read_at_the_ends_and_over_the_observed_steps(kind):
    found = encoder(RecurrentEncoder(kind=kind, width=3, dropout=0), 2, 5).eval()
    x, _ = series(1, 2, 5)
    seen = torch.tensor([[False, True, False, True, False]])
    states = found.states(x.transpose(1, 2))[0][0]
    kept = states[[1, 3]]
    want = torch.cat([states[4, :3], states[0, 3:], kept.mean(dim=0), kept.amax(dim=0)])
    scale = math.sqrt(1 + 1e-5)  # of a batch normalization that has seen nothing
    torch.testing.assert_close(found(x, seen)[0] * scale, want)


# --- a network of series


def test_a_network_hears_of_the_steps_that_any_series_has():
    layout = Layout((2, 1), (3,))
    inputs = torch.zeros(1, 9, 4)
    inputs[0, 6] = torch.tensor([1.0, 0, 0, 0])
    inputs[0, 7] = torch.tensor([0.0, 0, 1, 0])
    inputs[0, 8] = 1  # terrain is there at every step, and says of none that it was observed
    assert seen_steps(inputs, layout).tolist() == [[True, False, True, False]]
    assert seen_steps(inputs[:, 3:][:, [0, 1, 2, 5]], Layout((), (3,))).all()


def test_a_network_is_its_encoder_and_one_layer(spec):
    layout = Layout((2, 1), (3,))
    network = SeriesNetwork(spec, layout, 6, 5).eval()
    inputs = torch.zeros(4, 9, 6)
    inputs[:, :6] = torch.randn(4, 6, 6)
    inputs[:, 6:] = 1
    features = network.encoder(inputs, torch.ones(4, 6, dtype=torch.bool))
    torch.testing.assert_close(network(inputs), network.head(features))
    assert network(inputs).shape == (4, 5)
