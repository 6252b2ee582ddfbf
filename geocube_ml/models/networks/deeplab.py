"""DeepLabV3+: atrous filters of several widths over a coarse picture, and fine features beside it.

Chen, Zhu, Papandreou, Schroff and Adam (2018), Encoder-Decoder with Atrous Separable Convolution
for Semantic Image Segmentation, ECCV 2018, LNCS 11211, 833-851.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.stacking import n_stacked, padded, stacked
from geocube_ml.spec.networks import DeepLabSpec

_STRIDE = 4  # pixels of a cell of the coarse picture: a field of 10 m pixels is a few cells wide
_LOW = 24  # channels of the fine features, few beside the coarse ones, as in the paper


class DeepLab(nn.Module):
    """A small encoder of residual blocks, the atrous pyramid, and the decoder of the paper.

    The paper's pyramid also has the mean of the whole picture.  It is left out: with it, the answer
    for a pixel would depend on the window that it is looked at in, and tiles would not meet.

    Parameters
    ----------
    spec : DeepLabSpec
        Width, rates, dropout.
    layout : Layout
        Whose channels are where.
    n_step : int
        Time steps.
    n_out : int
        Classes, or 1 for a number.

    Attributes
    ----------
    stride : int
        Pixels of a cell of the coarse picture.  Windows must begin at a multiple of it.
    halo : int
        Pixels around a pixel that can decide its answer, rounded up to the stride.
    """

    def __init__(self, spec: DeepLabSpec, layout: Layout, n_step: int, n_out: int) -> None:
        super().__init__()
        self.layout = layout
        self.stride = _STRIDE
        self.halo = -(-_radius(max(spec.rates)) // _STRIDE) * _STRIDE
        width, wide = spec.width, 4 * spec.width
        self.stem = _conv(n_stacked(layout, n_step), width, 3)
        self.encoder = nn.Sequential(
            _Residual(width, 2 * width, 2), _Residual(2 * width, wide, 2), _Residual(wide, wide, 1)
        )
        self.pyramid = nn.ModuleList(
            [_conv(wide, 2 * width, 1), *(_separable(wide, 2 * width, rate) for rate in spec.rates)]
        )
        self.project = _conv(2 * width * (1 + len(spec.rates)), 2 * width, 1)
        self.low = _conv(width, _LOW, 1)
        self.decoder = nn.Sequential(
            _separable(2 * width + _LOW, 2 * width, 1), _separable(2 * width, 2 * width, 1)
        )
        self.dropout = nn.Dropout2d(spec.dropout)
        self.head = nn.Conv2d(2 * width, n_out, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channel + source, step, h, w) standardized series and flags -> (n, n_out, h, w)."""
        high, wide = inputs.shape[-2:]
        fine = self.stem(padded(stacked(inputs, self.layout), self.stride))
        coarse = self.encoder(fine)
        coarse = self.project(torch.cat([branch(coarse) for branch in self.pyramid], dim=1))
        coarse = functional.interpolate(coarse, scale_factor=self.stride, mode="bilinear")
        x = self.decoder(torch.cat([coarse, self.low(fine)], dim=1))
        out: Tensor = self.head(self.dropout(x))
        return out[..., :high, :wide]


class _Residual(nn.Module):
    """Two separable convolutions, the first with a stride, and a shortcut past them."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            _separable(n_in, n_out, 1, stride), _separable(n_out, n_out, 1, rectified=False)
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, n_in, h, w) -> (n, n_out, h / stride, w / stride)."""
        return functional.relu(self.convs(x) + self.shortcut(x))


def _conv(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    """A convolution, normalized and rectified."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def _separable(
    n_in: int, n_out: int, rate: int, stride: int = 1, *, rectified: bool = True
) -> nn.Sequential:
    """A convolution of 3 x 3 cells, `rate` apart, channel by channel, and one across channels."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_in, 3, stride, padding=rate, dilation=rate, groups=n_in, bias=False),
        nn.BatchNorm2d(n_in),
        nn.Conv2d(n_in, n_out, 1, bias=False),
        nn.BatchNorm2d(n_out),
        *([nn.ReLU(inplace=True)] if rectified else []),
    )


def _radius(rate: int) -> int:
    """Pixels to either side that a pixel's answer can depend on.

    In pixels: the stem reaches 1, the residual blocks 1 + 2 and 2 + 4 and 4 + 4, the pyramid 4 a
    cell of its widest rate, bilinear weights one cell more, the decoder 2; and a cell is as wide as
    its pixels.

    Examples
    --------
    >>> _radius(6)
    51
    """
    encoder = 1 + (1 + 2) + (2 + 4) + (4 + 4)
    return encoder + _STRIDE * rate + _STRIDE + 2 + _STRIDE - 1
