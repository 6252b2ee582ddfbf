"""L-TAE: lightweight attention over time.

Sainte Fare Garnot and Landrieu (2020), Lightweight Temporal Self-Attention for Classifying
Satellite Image Time Series, Advanced Analytics and Learning on Temporal Data, LNCS 12588, 171-181.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geocube_ml.models.networks.attention import weigh
from geocube_ml.spec.networks import LTAEEncoder


class LTAE(nn.Module):
    """Heads that each weigh the steps of their own share of the channels.

    A head has one query, which is learnt and the same for all series (the paper's master query),
    and makes keys of its group of channels; the channels themselves are the values.

    Parameters
    ----------
    spec : LTAEEncoder
        Width, heads, key, period, dropout.
    n_channel, n_step : int
        Channels and time steps of the input.
    """

    positions: Tensor

    def __init__(self, spec: LTAEEncoder, n_channel: int, n_step: int) -> None:
        super().__init__()
        group = spec.width // spec.heads
        self.width = spec.width
        self.heads = spec.heads
        self.embed = nn.Linear(n_channel, spec.width)
        self.norm = nn.LayerNorm(spec.width)
        same = sinusoids(n_step, group, spec.period).repeat(spec.heads, 1)
        self.register_buffer("positions", same, persistent=False)  # (width, step), of the spec
        self.key = nn.Conv1d(spec.width, spec.heads * spec.key, 1, groups=spec.heads)
        self.query = nn.Parameter(torch.randn(spec.heads, spec.key))
        self.dense = nn.Sequential(
            nn.Linear(spec.width, spec.width),
            nn.BatchNorm1d(spec.width),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.LayerNorm(spec.width),
        )

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:
        """(n, channel, step), (n, step) bool -> (n, width) features."""
        steps = self._steps(series)
        value = torch.unflatten(steps, 1, (self.heads, -1))
        weights = self._weights(steps, seen)
        pooled = torch.einsum("nht,nhct->nhc", weights, value).flatten(1)
        features: Tensor = self.dense(pooled)
        return features

    def attention(self, series: Tensor, seen: Tensor) -> Tensor:
        """(n, channel, step), (n, step) bool -> (n, head, step) weights, as of `weigh`."""
        return self._weights(self._steps(series), seen)

    def _steps(self, series: Tensor) -> Tensor:
        embedded: Tensor = self.norm(self.embed(series.transpose(1, 2))).transpose(1, 2)
        return embedded + self.positions

    def _weights(self, steps: Tensor, seen: Tensor) -> Tensor:
        key = torch.unflatten(self.key(steps), 1, (self.heads, -1))
        return weigh(torch.einsum("hk,nhkt->nht", self.query, key), seen, key.shape[2])


def sinusoids(n_step: int, width: int, period: float) -> Tensor:
    """Positions of Vaswani et al. (2017): sines and cosines in turn, each pair slower.

    Parameters
    ----------
    n_step, width : int
        Time steps, and numbers that say where a step is.
    period : float
        Of the last pair, in time steps times 2 pi (their 10 000).

    Returns
    -------
    (width, n_step) float32

    Examples
    --------
    >>> sinusoids(3, 4, 100).numpy().round(2)
    array([[ 0.  ,  0.84,  0.91],
           [ 1.  ,  0.54, -0.42],
           [ 0.  ,  0.1 ,  0.2 ],
           [ 1.  ,  1.  ,  0.98]], dtype=float32)
    """
    pair = torch.arange(width, dtype=torch.float64) // 2
    rate = period ** (-2 * pair / width)
    shift = (torch.arange(width) % 2) * math.pi / 2
    step = torch.arange(n_step, dtype=torch.float64)
    return torch.sin(rate[:, None] * step + shift[:, None]).float()
