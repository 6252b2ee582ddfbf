from __future__ import annotations

import pytest
import torch

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.deeplab import DeepLab
from geocube_ml.spec.networks import DeepLabSpec
from tests.models.networks.reach import reach

LAYOUT = Layout((2, 1), (2,))
STEPS = 3


def deeplab(n_out=3, **more):
    torch.manual_seed(0)
    spec = DeepLabSpec(**({"width": 4, "rates": (1, 2)} | more))
    return DeepLab(spec, LAYOUT, STEPS, n_out).eval()


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (16, 16), (17, 31)])
def test_every_pixel_of_any_window_has_an_answer(size):
    assert deeplab()(torch.randn(2, 8, STEPS, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("rates", [(1,), (2, 5), (5, 2)])
def test_the_halo_is_how_far_a_pixel_sees(rates):
    network = deeplab(rates=rates)
    assert network.halo % network.stride == 0
    assert network.halo - 2 * network.stride < reach(network) <= network.halo


def test_each_rate_has_a_filter_of_its_own():
    network = deeplab(rates=(2, 4, 6))
    dilated = [m.dilation[0] for m in network.pyramid.modules()
               if isinstance(m, torch.nn.Conv2d) and m.groups > 1]  # fmt: skip
    assert dilated == [2, 4, 6]
    assert len(network.pyramid) == 4  # and one of single cells


def test_filters_of_the_encoder_are_separable():
    network = deeplab(width=16)
    wide = [m for m in network.encoder.modules()
            if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]  # fmt: skip
    assert len(wide) == 6
    assert all(m.groups == m.in_channels for m in wide)


def test_a_window_is_judged_by_itself():
    network = deeplab()
    inputs = torch.randn(3, 8, STEPS, 12, 20)
    torch.testing.assert_close(network(inputs)[1:2], network(inputs[1:2]))
