"""Recurrent networks in both directions.

LSTM: Hochreiter and Schmidhuber (1997), Long Short-Term Memory, Neural Computation 9(8), 1735-1780.
GRU: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for Statistical
Machine Translation, EMNLP.  Both directions: Schuster and Paliwal (1997), Bidirectional Recurrent
Neural Networks, IEEE Transactions on Signal Processing 45(11), 2673-2681.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geocube_ml.spec.networks import RecurrentEncoder

_LOWEST = -1.0  # states of both lie between -1 and 1


class Recurrent(nn.Module):
    """LSTM or GRU forth and back, read at its ends and over the steps that were observed.

    Read are the last state of each direction, and mean and maximum of the states at the observed
    steps.  Steps without observation are passed, their flag tells the network so.

    Parameters
    ----------
    spec : RecurrentEncoder
        Kind, width, layers, dropout.
    n_channel, n_step : int
        Channels and time steps of the input.
    """

    def __init__(self, spec: RecurrentEncoder, n_channel: int, n_step: int) -> None:  # noqa: ARG002
        super().__init__()
        self.width = 6 * spec.width
        self.one_way = spec.width
        self.states = (nn.LSTM if spec.kind == "lstm" else nn.GRU)(
            n_channel,
            spec.width,
            spec.layers,
            batch_first=True,
            dropout=spec.dropout if spec.layers > 1 else 0,  # between layers; torch warns of one
            bidirectional=True,
        )
        self.out = nn.Sequential(nn.BatchNorm1d(self.width), nn.Dropout(spec.dropout))

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:
        """(n, channel, step), (n, step) bool -> (n, width) features."""
        states, _ = self.states(series.transpose(1, 2))  # (n, step, both ways)
        ends = [states[:, -1, : self.one_way], states[:, 0, self.one_way :]]
        unseen = ~seen[:, :, None]
        count = seen.sum(dim=1, keepdim=True).clamp_min(1)
        mean = states.masked_fill(unseen, 0).sum(dim=1) / count
        most = states.masked_fill(unseen, _LOWEST).amax(dim=1)
        features: Tensor = self.out(torch.cat([*ends, mean, most], dim=1))
        return features
