from __future__ import annotations

import pytest
import torch

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.stacking import n_stacked, stacked
from geocube_ml.models.networks.unet import UNet
from geocube_ml.spec.networks import UNetSpec
from tests.models.networks.reach import reach

LAYOUT = Layout((2, 1), (2,))  # two series and a static source
STEPS = 3


def unet(n_out=3, **more):
    torch.manual_seed(0)
    return UNet(UNetSpec(**({"width": 4, "depth": 2} | more)), LAYOUT, STEPS, n_out).eval()


def shown(n, high, wide, seed=0):
    """Inputs of `n` windows: 5 channels and 3 flags."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 8, STEPS, high, wide, generator=generator)


def test_steps_are_stacked_and_static_channels_come_once():
    inputs = torch.arange(8)[:, None] * 10 + torch.arange(STEPS)
    found = stacked(inputs[None, :, :, None, None], LAYOUT).flatten().tolist()
    series = [10 * channel + step for channel in (0, 1, 2, 5, 6) for step in range(STEPS)]
    assert found == [*series, 30, 40, 70]
    assert n_stacked(LAYOUT, STEPS) == len(found)


def test_the_layout_is_the_papers():
    """Two convolutions of 3 x 3 a level, twice the channels below, joined on the way up."""
    network = unet(width=8, depth=2, n_out=5)
    n = n_stacked(LAYOUT, STEPS)
    pairs = [(n, 8), (8, 16), (16, 32), (32, 16), (16, 8)]
    convs = sum(9 * (a * b + b * b) + 2 * 2 * b for a, b in pairs)
    ups = (4 * 32 * 16 + 16) + (4 * 16 * 8 + 8)
    assert sum(p.numel() for p in network.parameters()) == convs + ups + 8 * 5 + 5


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (16, 16), (17, 31)])
def test_every_pixel_of_any_window_has_an_answer(size):
    assert unet()(shown(2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_halo_is_how_far_a_pixel_sees(depth):
    network = unet(depth=depth, width=8)
    assert network.stride == 2**depth
    assert network.halo - network.stride < reach(network) <= network.halo


def test_a_window_is_judged_by_itself():
    network = unet()
    inputs = shown(3, 12, 20)
    torch.testing.assert_close(network(inputs)[1:2], network(inputs[1:2]))
