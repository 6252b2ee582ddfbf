from __future__ import annotations

import math

import pytest
import torch

from geocube_ml.errors import InputError
from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.build import SeriesNetwork, build_network
from geocube_ml.models.networks.fusion import Dense, source_there
from geocube_ml.models.networks.ltae import LTAE
from geocube_ml.models.networks.tempcnn import TempCNN
from geocube_ml.spec.networks import FusionSpec, LTAEEncoder, TempCNNEncoder

THREE = Layout((2, 1), (3,), ("s2", "s1", "dem"))
LAYOUTS = [Layout((2,), (), ("s2",)), Layout((2,), (3,), ("s2", "dem")), THREE]
SMALL = TempCNNEncoder(width=4)
STEPS = 5
FEATURE = FusionSpec(how="feature", encoder=SMALL)
DECISION = FusionSpec(how="decision", encoder=SMALL)


def network(spec, layout=THREE, n_out=4):
    """In its answering state, after a look at some data so that its normalizations differ."""
    torch.manual_seed(3)
    found = build_network(spec, layout, STEPS, n_out)
    for weight in found.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    found.train()(inputs(layout, 32))
    return found.eval()


def inputs(layout=THREE, n=6, without=()):
    """Every source is there, but of `without`; one step of the series is missing."""
    draw = torch.Generator().manual_seed(0)
    flags = torch.ones(n, len(layout.sizes), STEPS)
    flags[:, : len(layout.series), 2] = 0
    for name in without:
        flags[:, layout.names.index(name)] = 0
    values = torch.randn(n, layout.n_channel, STEPS, generator=draw)
    values[:, layout.n_series :] = values[:, layout.n_series :, :1]
    for at, part in enumerate(layout.slices.values()):
        values[:, part] *= flags[:, at : at + 1]
    return torch.cat([values, flags], dim=1)


@pytest.mark.parametrize("how", ["input", "feature", "decision"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: "-".join(layout.names))
def test_any_number_of_sources_is_joined_and_all_that_is_heard_is_learnt(how, layout):
    found = network(FusionSpec(how=how, encoder=SMALL), layout)
    x = torch.cat([inputs(layout, 6), inputs(layout, 2, without=["s2"])])
    out = found(x)
    assert out.shape == (8, 4)
    assert out.isfinite().all()
    torch.testing.assert_close(found(x), out, rtol=0, atol=0)
    torch.testing.assert_close(found(x.flip(0)), out.flip(0))

    torch.manual_seed(0)
    (found.train()(x) * torch.randn(8, 4)).sum().backward()
    learnt = dict(found.named_parameters())
    # of one source there is nothing to weigh; others that always are there have no stand-in
    learnt.pop("absent.1", None), learnt.pop("absent.2", None)
    if len(layout.sizes) == 1:
        learnt.pop("weight", None)
    for name, weight in learnt.items():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


@pytest.mark.parametrize("spec", [FEATURE, DECISION], ids=["feature", "decision"])
@pytest.mark.parametrize("name", THREE.names)
def test_a_source_that_is_not_there_says_nothing(spec, name):
    found = network(spec)
    x = inputs(without=[name])
    other = x.clone()
    other[:, THREE.slices[name]] = 50 * torch.randn(other[:, THREE.slices[name]].shape)
    torch.testing.assert_close(found(other), found(x), rtol=0, atol=0)
    there = inputs()
    assert not torch.allclose(found(there), found(x))


@pytest.mark.parametrize("n_out", [1, 4])
@pytest.mark.parametrize("how", ["input", "feature", "decision"])
def test_no_source_at_all_is_no_nan(how, n_out):
    found = network(FusionSpec(how=how, encoder=SMALL), n_out=n_out)
    x = torch.cat([inputs(), torch.zeros(2, 9, STEPS)])
    out = found(x)
    assert out.isfinite().all()
    torch.testing.assert_close(out[:6], found(x[:6]))  # nor does it change the others
    if how == "decision":
        want = [[0.0]] * 2 if n_out == 1 else [[-math.log(4)] * 4] * 2
        torch.testing.assert_close(out[6:], torch.tensor(want))
    out.sum().backward()
    assert all(w.grad.isfinite().all() for w in found.parameters() if w.grad is not None)


def test_what_is_there_is_what_was_observed_at_any_step():
    x = torch.cat([inputs(n=1), inputs(n=1, without=["s1"]), inputs(n=1, without=["s2", "dem"])])
    x[2, THREE.n_channel + 1, 1:] = 0
    assert source_there(x, THREE).tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0]]


# --- features


def test_features_of_every_source_are_of_one_size():
    torch.manual_seed(0)
    fresh = build_network(FEATURE, THREE, STEPS, 4).eval()
    x = inputs()
    for features in fresh.sources(torch.cat([200 * x[:, :6], x[:, 6:]], dim=1)):
        torch.testing.assert_close(features.square().mean(dim=1), torch.ones(6), rtol=1e-3, atol=0)


def test_stand_ins_are_heard_where_a_source_is_not_there():
    found = network(FEATURE)
    both = torch.cat([inputs(n=1), inputs(n=1, without=["s1"])])
    before = found(both)
    found.absent[1].data += 1
    after = found(both)
    assert torch.equal(after[0], before[0])
    step = found.head.weight[:, found.sources.widths[0] :][:, : found.sources.widths[1]].sum(dim=1)
    torch.testing.assert_close(after[1], before[1] + step)


# --- decisions


def test_probabilities_are_averaged_by_the_weights_of_the_sources_that_are_there():
    found = network(DECISION)
    found.weight.data = torch.tensor([1.0, 2.0, 5.0]).log()
    x = torch.cat([inputs(n=3), inputs(n=3, without=["s1"])])
    s2, s1, dem = (torch.softmax(answer, dim=1) for answer in found.answers(x))
    all_there = (1 * s2 + 2 * s1 + 5 * dem) / 8
    one_not = (1 * s2 + 5 * dem) / 6
    want = torch.cat([all_there[:3], one_not[3:]])
    torch.testing.assert_close(torch.softmax(found(x), dim=1), want)
    torch.testing.assert_close(found(x).exp(), want)  # they are logarithms of probabilities


def test_numbers_are_averaged_by_the_weights_of_the_sources_that_are_there():
    found = network(DECISION, n_out=1)
    found.weight.data = torch.tensor([1.0, 2.0, 5.0]).log()
    x = torch.cat([inputs(n=1), inputs(n=1, without=["s2"])])
    s2, s1, dem = (answer[:, 0] for answer in found.answers(x))
    want = torch.stack([(s2 + 2 * s1 + 5 * dem)[0] / 8, (2 * s1 + 5 * dem)[1] / 7])
    torch.testing.assert_close(found(x)[:, 0], want)


def test_a_source_that_is_certain_and_wrong_leaves_a_finite_loss():
    found = network(DECISION)
    for head in found.heads:
        head.bias.data = torch.tensor([500.0, 0, 0, 0])
    loss = torch.nn.functional.cross_entropy(found(inputs()), torch.full((6,), 3))
    loss.backward()
    assert loss.isfinite()
    assert loss > 300
    assert all(w.grad.isfinite().all() for w in found.parameters())


# --- encoders


def test_each_source_has_the_encoder_that_is_named_for_it():
    encoders = {"s1": LTAEEncoder(width=8, heads=2)}
    found = network(FEATURE.model_copy(update={"encoders": encoders}))
    kinds = [type(encoder) for encoder in found.sources.encoders]
    assert kinds == [TempCNN, LTAE, Dense]
    named = network(DECISION.model_copy(update={"encoders": {"dem": SMALL}}))
    assert isinstance(named.sources.encoders[2], TempCNN)


def test_input_fusion_is_one_encoder_of_all_channels():
    found = network(FusionSpec(how="input", encoder=LTAEEncoder(width=8, heads=2)))
    assert isinstance(found, SeriesNetwork)
    assert isinstance(found.encoder, LTAE)
    assert found.encoder.embed.in_features == 6 + 3


@pytest.mark.parametrize("how", ["feature", "decision"])
def test_an_encoder_of_a_source_that_is_not_there_is_refused(how):
    spec = FusionSpec(how=how, encoder=SMALL, encoders={"s3": SMALL, "s2": SMALL})
    with pytest.raises(InputError, match="names s3, but the sources are s2, s1, dem"):
        build_network(spec, THREE, STEPS, 4)
