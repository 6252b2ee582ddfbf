"""What networks of patches share: the steps stacked, and sizes that they can halve."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from geocube_ml.models.layout import Layout


def n_stacked(layout: Layout, n_step: int) -> int:
    """Channels of what `stacked` returns."""
    return (layout.n_series + len(layout.series)) * n_step + sum(layout.static) + len(layout.static)


def stacked(inputs: Tensor, layout: Layout) -> Tensor:
    """(n, channel + source, step, h, w) -> (n, feature, h, w).

    Features are the channels and flags of the series at each step, and those of static sources
    once.
    """
    cut, n_channel, n_series = layout.n_series, layout.n_channel, len(layout.series)
    flags = inputs[:, n_channel:]
    parts = [
        inputs[:, :cut].flatten(1, 2),
        flags[:, :n_series].flatten(1, 2),
        inputs[:, cut:n_channel, 0],
        flags[:, n_series:, 0],
    ]
    return torch.cat(parts, dim=1)


def padded(picture: Tensor, stride: int) -> Tensor:
    """(n, feature, h, w) with zeros below and to the right, so that `stride` divides h and w."""
    high, wide = picture.shape[-2:]
    return functional.pad(picture, (0, -wide % stride, 0, -high % stride))
