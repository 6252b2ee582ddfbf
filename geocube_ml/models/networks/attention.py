"""TempCNN whose steps are weighed by attention over time.

The convolutions are those of Pelletier, Webb and Petitjean (2019), Temporal Convolutional Neural
Network for the Classification of Satellite Image Time Series, Remote Sensing 11(5), 523.  The heads
that weigh the steps are those of Vaswani et al. (2017), Attention Is All You Need, NeurIPS 30, each
with one query that is learnt.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from geocube_ml.models.networks.tempcnn import conv
from geocube_ml.spec.networks import AttentionEncoder

_MORE = 4  # features after the attention, in widths: as many as TempCNN's dense layer has


class AttentionTempCNN(nn.Module):
    """Three convolutions over time, and features pooled over the observed steps.

    Each head has weights of its own for the steps and pools its share of the features by them.
    TempCNN has a weight for each feature at each step instead; here their number does not grow with
    the steps, and a step that was not observed has no part.

    Parameters
    ----------
    spec : AttentionEncoder
        Width, kernel, heads, dropout.
    n_channel, n_step : int
        Channels and time steps of the input.
    """

    def __init__(self, spec: AttentionEncoder, n_channel: int, n_step: int) -> None:
        super().__init__()
        widths = [n_channel, *[spec.width] * 3]
        self.width = _MORE * spec.width
        self.heads = spec.heads
        self.convs = nn.Sequential(
            *[layer for a, b in pairwise(widths) for layer in conv(a, b, spec.kernel, spec.dropout)]
        )
        # pooling forgets the order: what a step says must say when it was
        self.position = nn.Parameter(0.1 * torch.randn(spec.width, n_step))
        self.key = nn.Conv1d(spec.width, spec.width, 1)
        self.value = nn.Conv1d(spec.width, self.width, 1)
        self.query = nn.Parameter(torch.randn(spec.heads, spec.width // spec.heads))
        self.dense = nn.Sequential(nn.BatchNorm1d(self.width), nn.ReLU(), nn.Dropout(spec.dropout))

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:
        """(n, channel, step), (n, step) bool -> (n, width) features."""
        steps = self._steps(series, seen)
        value = torch.unflatten(self.value(steps), 1, (self.heads, -1))
        weights = self._weights(steps, seen)
        pooled = torch.einsum("nht,nhct->nhc", weights, value).flatten(1)
        features: Tensor = self.dense(pooled)
        return features

    def attention(self, series: Tensor, seen: Tensor) -> Tensor:
        """(n, channel, step), (n, step) bool -> (n, head, step) weights, as of `weigh`."""
        return self._weights(self._steps(series, seen), seen)

    def _steps(self, series: Tensor, seen: Tensor) -> Tensor:
        known = series.masked_fill(~seen[:, None], 0)  # before a filter carries it to other steps
        steps: Tensor = self.convs(known) + self.position
        return steps

    def _weights(self, steps: Tensor, seen: Tensor) -> Tensor:
        key = torch.unflatten(self.key(steps), 1, (self.heads, -1))
        return weigh(torch.einsum("hk,nhkt->nht", self.query, key), seen, key.shape[2])


def weigh(score: Tensor, seen: Tensor, n_key: int) -> Tensor:
    """Weights of the observed steps: a softmax over them.

    Parameters
    ----------
    score : (n, head, step) float
        Products of queries and keys.
    seen : (n, step) bool
    n_key : int
        Length of a key, which the products are scaled by.

    Returns
    -------
    (n, head, step) float
        0 where nothing was observed; each row sums to 1, or to 0 if that is everywhere.
    """
    unseen = ~seen[:, None]
    # finite: a row of minus infinities would be NaN
    lowest = torch.finfo(score.dtype).min
    weights = torch.softmax((score / math.sqrt(n_key)).masked_fill(unseen, lowest), dim=2)
    return weights.masked_fill(unseen, 0)
