from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from geocube_ml.models.target import Target
from geocube_ml.spec.models import TempCNNSpec
from geocube_ml.train.losses import balanced_weights, focal_loss, make_loss, squared_error

N = 4


def drawn(n=50, *area, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, N, *area, generator=generator, dtype=dtype)
    label = torch.randint(0, N, (n, *area), generator=generator)
    return logits, label


def test_without_gamma_it_is_cross_entropy():
    logits, label = drawn()
    assert torch.isclose(focal_loss(logits, label, gamma=0), cross_entropy(logits, label))
    smooth = focal_loss(logits, label, gamma=0, smoothing=0.1)
    assert torch.isclose(smooth, cross_entropy(logits, label, label_smoothing=0.1))


def test_it_is_weighted_as_torch_weights_classes():
    logits, label = drawn()
    of_class = torch.tensor([1, 3, 0.5, 2])
    want = cross_entropy(logits, label, weight=of_class)
    assert torch.isclose(focal_loss(logits, label, gamma=0, of_class=of_class), want)
    assert torch.isclose(focal_loss(logits, label, of_class[label], gamma=0), want)
    both = focal_loss(logits, label, of_class[label], gamma=0, of_class=of_class)
    assert torch.isclose(both, cross_entropy(logits, label, weight=of_class**2))


@pytest.mark.parametrize("gamma", [0.5, 1, 2, 5])
def test_it_is_the_papers_formula(gamma):
    logits, label = drawn()
    right = torch.softmax(logits, dim=1)[torch.arange(len(label)), label]
    want = (-((1 - right) ** gamma) * right.log()).mean()
    assert torch.isclose(focal_loss(logits, label, gamma=gamma), want)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_its_gradient_is_that_of_small_steps(gamma, smoothing):
    logits, label = drawn(6, dtype=torch.float64)
    logits.requires_grad_()
    weight = torch.rand(6, dtype=torch.float64) + 0.1

    def loss(x):
        return focal_loss(x, label, weight, gamma=gamma, smoothing=smoothing)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_the_gradient_is_a_number_where_the_answer_is_certain():
    logits = torch.tensor([[200.0, 0, 0, 0], [0, 0, 0, 200.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma=0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_pixels_without_a_label_count_nothing():
    logits, label = drawn(3, 5, 4)
    label[:, 1] = 255
    alone = focal_loss(logits[:, :, [0, 2, 3, 4]], label[:, [0, 2, 3, 4]])
    assert torch.isclose(focal_loss(logits, label), alone)
    label[:] = 255
    assert focal_loss(logits, label) == 0


def test_numbers_are_judged_by_their_squared_error():
    out = torch.tensor([[1.0], [2.0], [5.0]])
    values = torch.tensor([0.0, 4.0, torch.nan])
    assert squared_error(out, values) == pytest.approx((1 + 4) / 2)
    assert squared_error(out, values, torch.tensor([3.0, 1, 9])) == pytest.approx((3 + 4) / 4)
    assert squared_error(out, values * torch.nan) == 0


def test_balanced_classes_count_equally():
    label = np.array([0, 0, 0, 1, 3, 3])
    weights = balanced_weights(label, N)
    np.testing.assert_allclose(np.bincount(label, weights[label], N), [2, 2, 0, 2])


@pytest.mark.parametrize("loss", ["cross-entropy", "focal"])
def test_a_spec_names_its_loss(loss):
    logits, label = drawn()
    of_class = np.float32([1, 2, 3, 4])
    spec = TempCNNSpec(loss=loss, gamma=1.5, label_smoothing=0.05)
    got, counted = make_loss(spec, Target(N), of_class)(logits, label, None)
    gamma = 1.5 if loss == "focal" else 0
    want = focal_loss(
        logits, label, gamma=gamma, smoothing=0.05, of_class=torch.from_numpy(of_class)
    )
    assert torch.equal(got, want)
    assert counted == torch.from_numpy(of_class)[label].sum()


def test_the_loss_of_numbers_says_what_it_is_over():
    out, values = torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0.0, 4.0, torch.nan])
    weight = torch.tensor([3.0, 1, 9])
    got, counted = make_loss(TempCNNSpec(), Target(), None)(out, values, weight)
    assert (got, counted) == (squared_error(out, values, weight), 4)


def test_parts_make_the_loss_of_the_whole():
    """However rows are cut into parts: their losses are averaged by what counted in each."""
    logits, label = drawn(90)
    label = label.sort().values
    weight = torch.rand(90)
    loss = make_loss(TempCNNSpec(class_weights="balanced"), Target(N), np.float32([1, 9, 3, 5]))
    parts = [loss(logits[at], label[at], weight[at]) for at in torch.arange(90).split(20)]
    mean = sum(found * counted for found, counted in parts) / sum(part for _, part in parts)
    assert torch.isclose(mean, loss(logits, label, weight)[0])
