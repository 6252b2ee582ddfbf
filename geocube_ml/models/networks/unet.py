"""U-Net: what is around a pixel, seen ever more coarsely, and led back to the pixel.

Ronneberger, Fischer and Brox (2015), U-Net: Convolutional Networks for Biomedical Image
Segmentation, MICCAI 2015, LNCS 9351, 234-241.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.stacking import n_stacked, padded, stacked
from geocube_ml.spec.networks import UNetSpec


class UNet(nn.Module):
    """Levels of two convolutions each, down by maxima and up again, joined side by side.

    Unlike the paper's it pads, so that every pixel has an answer, and it is normalized by batches:
    Group normalization would look at the whole window, and a pixel's answer depend on the tile.

    Parameters
    ----------
    spec : UNetSpec
        Width, depth, dropout.
    layout : Layout
        Whose channels are where.
    n_step : int
        Time steps.
    n_out : int
        Classes, or 1 for a number.

    Attributes
    ----------
    stride : int
        Pixels of a cell of the lowest level.  Windows must begin at a multiple of it.
    halo : int
        Pixels around a pixel that can decide its answer, rounded up to the stride.
    """

    def __init__(self, spec: UNetSpec, layout: Layout, n_step: int, n_out: int) -> None:
        super().__init__()
        self.layout = layout
        self.stride = 2**spec.depth
        self.halo = -(-_radius(spec.depth) // self.stride) * self.stride
        widths = [spec.width * 2**level for level in range(spec.depth + 1)]
        before = [n_stacked(layout, n_step), *widths]
        self.down = nn.ModuleList(map(_convs, before[: spec.depth], widths[: spec.depth]))
        self.lowest = _convs(before[spec.depth], widths[spec.depth])
        self.dropout = nn.Dropout2d(spec.dropout)
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for low, high in pairs)
        self.joined = nn.ModuleList(_convs(2 * high, high) for _, high in pairs)
        self.head = nn.Conv2d(spec.width, n_out, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channel + source, step, h, w) standardized series and flags -> (n, n_out, h, w)."""
        high, wide = inputs.shape[-2:]
        x = padded(stacked(inputs, self.layout), self.stride)
        skipped = []
        for convs in self.down:
            x = convs(x)
            skipped.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.dropout(self.lowest(x))
        for up, convs in zip(self.up, self.joined, strict=True):
            x = convs(torch.cat([skipped.pop(), up(x)], dim=1))
        out: Tensor = self.head(x)
        return out[..., :high, :wide]


def _convs(n_in: int, n_out: int) -> nn.Sequential:
    """Two convolutions of 3 x 3, each normalized and rectified."""
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [
            nn.Conv2d(n, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _radius(depth: int) -> int:
    """Pixels to either side that a pixel's answer can depend on.

    Two convolutions at a level whose cells are 2^k pixels reach 2 x 2^k; each level but the lowest
    has two such pairs, down and up.  A cell is as wide as its pixels: 2^depth - 1 more.

    Examples
    --------
    >>> [_radius(depth) for depth in (1, 2, 3)]
    [9, 23, 51]
    """
    cell = 1 << depth
    levels = sum(2 * 2 * (1 << level) for level in range(depth))
    return levels + 2 * cell + cell - 1
