"""From a spec to a network."""

from __future__ import annotations

from torch import Tensor, nn

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.deeplab import DeepLab
from geocube_ml.models.networks.encoders import build_encoder
from geocube_ml.models.networks.fusion import DecisionFusion, FeatureFusion
from geocube_ml.models.networks.unet import UNet
from geocube_ml.spec.models import NetworkSpec
from geocube_ml.spec.networks import DeepLabSpec, EncoderSpec, FusionSpec, UNetSpec


def build_network(spec: NetworkSpec, layout: Layout, n_step: int, n_out: int) -> nn.Module:
    """A network with random weights.

    Parameters
    ----------
    spec : spec of a network
    layout : Layout
        Whose channels are where.
    n_step : int
        Time steps.
    n_out : int
        Classes, or 1 for a number.

    Returns
    -------
    nn.Module
        Of series: (n, channel + source, step) -> (n, n_out); of patches:
        (n, channel + source, step, h, w) -> (n, n_out, h, w).  Inputs are those of
        `Scaling.apply`, outputs logits or a standardized number.
    """
    match spec:
        case FusionSpec(how="input"):
            return SeriesNetwork(spec.encoder, layout, n_step, n_out)
        case FusionSpec(how="feature"):
            return FeatureFusion(spec, layout, n_step, n_out)
        case FusionSpec():
            return DecisionFusion(spec, layout, n_step, n_out)
        case UNetSpec():
            return UNet(spec, layout, n_step, n_out)
        case DeepLabSpec():
            return DeepLab(spec, layout, n_step, n_out)
        case _:
            return SeriesNetwork(spec, layout, n_step, n_out)


class SeriesNetwork(nn.Module):
    """An encoder of all channels, and one layer that decides."""

    def __init__(self, spec: EncoderSpec, layout: Layout, n_step: int, n_out: int) -> None:
        super().__init__()
        self.layout = layout
        self.encoder = build_encoder(spec, layout.n_channel + len(layout.sizes), n_step)
        self.head = nn.Linear(self.encoder.width, n_out)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, channel + source, step) standardized series and flags -> (n, n_out)."""
        out: Tensor = self.head(self.encoder(inputs, seen_steps(inputs, self.layout)))
        return out


def seen_steps(inputs: Tensor, layout: Layout) -> Tensor:
    """(n, step) bool: the steps at which a series was observed, or anything without series."""
    flags = inputs[:, layout.n_channel :]
    deciding = flags[:, : len(layout.series)] if layout.series else flags
    return deciding.amax(dim=1) > 0
