"""Several sources, each seen by an encoder of its own, joined late.

Mena, Arenas and Dengel (2025), Increasing the Robustness of Model Predictions to Missing Sensors in
Earth Observation, arXiv:2407.15512; and Mena, Arenas, Nuske and Dengel (2024), Common Practices and
Taxonomy in Deep Multiview Fusion for Remote Sensing Applications, IEEE JSTARS 17, 4797-4818, which
names the places where sources may be joined.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from geocube_ml.errors import InputError
from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.encoders import Encoder, build_encoder
from geocube_ml.spec.networks import FusionSpec

_STATIC_WIDTH = 32  # features of a source without a time axis
_NEVER = -1e4  # a log-weight that is 0 in every precision, and no infinity


class SourceEncoders(nn.Module):
    """Features of each source by itself, of one size of numbers.

    Parameters
    ----------
    spec : FusionSpec
        What encoder each source has.
    layout : Layout
        Whose channels are where.
    n_step : int
        Time steps.

    Raises
    ------
    InputError
        `encoders` names a source that is not there.
    """

    def __init__(self, spec: FusionSpec, layout: Layout, n_step: int) -> None:
        super().__init__()
        unknown = [name for name in spec.encoders if name not in layout.names]
        if unknown:
            raise InputError(
                f"`encoders` names {', '.join(unknown)}, but the sources are "
                f"{', '.join(layout.names)}. Correct the name, or remove its entry."
            )
        self.layout = layout
        static = layout.names[len(layout.series) :]
        encoders: list[Encoder | Dense] = []
        for name, size in zip(layout.names, layout.sizes, strict=True):
            if name in static and name not in spec.encoders:
                encoders.append(Dense(size + 1))
            else:
                encoder = spec.encoders.get(name, spec.encoder)
                encoders.append(build_encoder(encoder, size + 1, n_step))
        self.encoders = nn.ModuleList(encoders)  # in the order of the sources
        self.widths = [encoder.width for encoder in encoders]
        # so that no source is heard for the size of its numbers alone
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.widths)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """(n, channel + source, step) -> (n, width) of each source."""
        found = []
        parts = self.layout.slices.values()
        for at, (part, encoder, norm) in enumerate(
            zip(parts, self.encoders, self.norms, strict=True), start=self.layout.n_channel
        ):
            flag = inputs[:, at : at + 1]
            seen = flag > 0
            own = torch.cat([inputs[:, part].masked_fill(~seen, 0), flag], dim=1)
            found.append(norm(encoder(own, seen[:, 0])))
        return found


class FeatureFusion(nn.Module):
    """The features of all sources side by side, and one layer that decides.

    Where a source is not there, features that are learnt stand in for its own.

    Parameters
    ----------
    spec, layout, n_step
        As of `SourceEncoders`.
    n_out : int
        Classes, or 1 for a number.
    """

    def __init__(self, spec: FusionSpec, layout: Layout, n_step: int, n_out: int) -> None:
        super().__init__()
        self.layout = layout
        self.sources = SourceEncoders(spec, layout, n_step)
        self.absent = nn.ParameterList(torch.zeros(width) for width in self.sources.widths)
        self.head = nn.Linear(sum(self.sources.widths), n_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channel + source, step) standardized series and flags -> (n, n_out)."""
        there = source_there(inputs, self.layout)
        joined = [
            torch.where(there[:, at : at + 1], features, absent.to(features.dtype))
            for at, (features, absent) in enumerate(
                zip(self.sources(inputs), self.absent, strict=True)
            )
        ]
        out: Tensor = self.head(torch.cat(joined, dim=1))
        return out


class DecisionFusion(nn.Module):
    """Each source decides by itself; the answers of those that are there are averaged.

    Averaged are probabilities, with a weight a source that is learnt; or numbers.  What comes out
    is the logarithm of the averaged probabilities, whose softmax they are.  Where no source is
    there, all classes are equally likely, and a number is the mean.

    Parameters
    ----------
    spec, layout, n_step
        As of `SourceEncoders`.
    n_out : int
        Classes, or 1 for a number.
    """

    def __init__(self, spec: FusionSpec, layout: Layout, n_step: int, n_out: int) -> None:
        super().__init__()
        self.layout = layout
        self.n_out = n_out
        self.sources = SourceEncoders(spec, layout, n_step)
        self.heads = nn.ModuleList(nn.Linear(width, n_out) for width in self.sources.widths)
        self.weight = nn.Parameter(torch.zeros(len(layout.sizes)))  # logarithms

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channel + source, step) standardized series and flags -> (n, n_out)."""
        there = source_there(inputs, self.layout)
        answers = torch.stack(self.answers(inputs), dim=1).float()  # (n, source, n_out)
        log_weight = torch.log_softmax(self.weight.masked_fill(~there, _NEVER), dim=1)[:, :, None]
        absent = ~there[:, :, None]
        if self.n_out == 1:
            return (log_weight.exp() * answers.masked_fill(absent, 0)).sum(dim=1)
        log_prob = torch.log_softmax(answers, dim=2).masked_fill(absent, -math.log(self.n_out))
        return torch.logsumexp(log_weight + log_prob, dim=1)

    def answers(self, inputs: Tensor) -> list[Tensor]:
        """(n, channel + source, step) -> (n, n_out) of each source, there or not."""
        features = self.sources(inputs)
        return [head(own) for head, own in zip(self.heads, features, strict=True)]


class Dense(nn.Module):
    """Two dense layers for the values of a source without a time axis."""

    def __init__(self, n_channel: int) -> None:
        super().__init__()
        self.width = _STATIC_WIDTH
        self.layers = nn.Sequential(
            nn.Linear(n_channel, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
        )

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG002
        """(n, channel, step), the same at each step -> (n, width) features."""
        features: Tensor = self.layers(series[:, :, 0])
        return features


def source_there(inputs: Tensor, layout: Layout) -> Tensor:
    """(n, channel + source, step) -> (n, source) bool: observed at any step."""
    return inputs[:, layout.n_channel :].amax(dim=2) > 0
