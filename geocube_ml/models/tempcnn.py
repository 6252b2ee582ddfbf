"""TempCNN: convolutions along time.

Pelletier, Webb and Petitjean (2019), Temporal Convolutional Neural Network for the Classification
of Satellite Image Time Series, Remote Sensing 11(5), 523.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from geocube_ml.spec.models import TempCNNSpec


class TempCNN(nn.Module):
    """Three convolutions over time, one dense layer, one logit a class.

    Parameters
    ----------
    spec : TempCNNSpec
        Width, kernel, dropout.
    n_channel, n_step, n_class : int
        Channels and time steps of the input; classes.
    """

    def __init__(self, spec: TempCNNSpec, n_channel: int, n_step: int, n_class: int) -> None:
        super().__init__()
        widths = [n_channel, *[spec.width] * 3]
        self.convs = nn.Sequential(
            *[layer for a, b in pairwise(widths) for layer in _conv(a, b, spec)]
        )
        dense = 4 * spec.width
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(spec.width * n_step, dense),
            nn.BatchNorm1d(dense),
            nn.ReLU(),
            nn.Dropout(spec.dropout),
            nn.Linear(dense, n_class),
        )

    def forward(self, series: Tensor) -> Tensor:
        """(n, channel, step) standardized series -> (n, class) logits."""
        logits: Tensor = self.head(self.convs(series))
        return logits


def _conv(n_in: int, n_out: int, spec: TempCNNSpec) -> list[nn.Module]:
    return [
        nn.Conv1d(n_in, n_out, spec.kernel, padding="same"),
        nn.BatchNorm1d(n_out),
        nn.ReLU(),
        nn.Dropout(spec.dropout),
    ]
