"""How far a network of patches sees."""

from __future__ import annotations

import torch


def reach(network, n_channel=8, steps=3):
    """Pixels to the farthest one that a pixel's answer depends on, by its gradient."""
    middle, network = 64, network.double().eval()
    edge, farthest = 2 * middle + 8, 0
    inputs = torch.randn(1, n_channel, steps, edge, edge, dtype=torch.double, requires_grad=True)
    out = network(inputs)
    for pixel in range(middle, middle + 8):  # each place within a coarse cell
        (slope,) = torch.autograd.grad(out[0, :, pixel, pixel].sum(), inputs, retain_graph=True)
        seen = (slope.abs().amax(dim=(0, 1, 2)) > 0).nonzero()
        if len(seen):  # not where all is rectified away
            farthest = max(farthest, int((seen - pixel).abs().max()))
    return farthest
