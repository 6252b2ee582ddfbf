"""TempCNN: convolutions along time.

Pelletier, Webb and Petitjean (2019), Temporal Convolutional Neural Network for the Classification
of Satellite Image Time Series, Remote Sensing 11(5), 523.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from geocube_ml.spec.networks import TempCNNEncoder


class TempCNN(nn.Module):
    """Three convolutions over time, and one dense layer over all their steps.

    Parameters
    ----------
    spec : TempCNNEncoder
        Width, kernel, dropout.
    n_channel, n_step : int
        Channels and time steps of the input.
    """

    def __init__(self, spec: TempCNNEncoder, n_channel: int, n_step: int) -> None:
        super().__init__()
        widths = [n_channel, *[spec.width] * 3]
        self.width = 4 * spec.width
        self.convs = nn.Sequential(
            *[layer for a, b in pairwise(widths) for layer in conv(a, b, spec.kernel, spec.dropout)]
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(spec.width * n_step, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
        )

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG002
        """(n, channel, step), (n, step) bool -> (n, width) features."""
        features: Tensor = self.dense(self.convs(series))
        return features


def conv(n_in: int, n_out: int, kernel: int, dropout: float) -> list[nn.Module]:
    """A convolution over time, normalized, rectified and thinned."""
    return [
        nn.Conv1d(n_in, n_out, kernel, padding="same"),
        nn.BatchNorm1d(n_out),
        nn.ReLU(),
        nn.Dropout(dropout),
    ]
