"""Networks: what they look like, each with its paper.

An encoder turns a series into features; alone with a layer on top it is a model, and `FusionSpec`
puts one to each source.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from geocube_ml.spec.base import Spec
from geocube_ml.spec.training import TrainingSpec


class TempCNNEncoder(Spec):
    """Convolutions along time of Pelletier et al. (2019)."""

    kind: Literal["tempcnn"] = "tempcnn"

    width: int = Field(64, ge=1)
    """Filters of each convolution."""

    kernel: int = Field(5, ge=1)
    """Time steps that a filter spans; odd, so that it has a middle."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of activations dropped in training."""

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"a filter spans an odd number of steps, got {kernel}")
        return kernel


class AttentionEncoder(Spec):
    """TempCNN whose steps are weighed by attention instead of laid side by side."""

    kind: Literal["tempcnn-attention"] = "tempcnn-attention"

    width: int = Field(64, ge=1)
    """Filters of each convolution."""

    kernel: int = Field(5, ge=1)
    """Time steps that a filter spans; odd."""

    heads: int = Field(4, ge=1)
    """Ways of weighing the steps, side by side; they share the width."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of activations dropped in training."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"a filter spans an odd number of steps, got {self.kernel}")
        _shared("heads", self.heads, "width", self.width)
        return self


class LTAEEncoder(Spec):
    """Lightweight temporal attention of Garnot and Landrieu (2020)."""

    kind: Literal["ltae"] = "ltae"

    width: int = Field(128, ge=1)
    """Features of a step, which the heads share."""

    heads: int = Field(16, ge=1)
    """Master queries; each weighs the steps by its own."""

    key: int = Field(8, ge=1)
    """Length of a key."""

    period: float = Field(1000, gt=1)
    """Of the slowest positions of Vaswani et al. (2017), in time steps times 2 pi."""

    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations dropped in training."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _shared("heads", self.heads, "width", self.width)
        return self


class RecurrentEncoder(Spec):
    """Recurrent network in both directions: LSTM of Hochreiter and Schmidhuber (1997), or GRU of
    Cho et al. (2014).
    """

    kind: Literal["lstm", "gru"] = "gru"

    width: int = Field(64, ge=1)
    """State of one direction of a layer."""

    layers: int = Field(2, ge=1)
    """Layers, one upon the other."""

    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of activations dropped in training."""


class InceptionTimeEncoder(Spec):
    """Convolutions of several lengths side by side, of Ismail Fawaz et al. (2020).

    The paper averages five networks: `members: 5`.
    """

    kind: Literal["inceptiontime"] = "inceptiontime"

    width: int = Field(32, ge=1)
    """Filters of each branch; a module has four branches."""

    depth: int = Field(6, ge=1)
    """Modules; a shortcut leads past each three."""

    kernel: int = Field(40, ge=4)
    """Time steps of the longest filter; the others have a half and a quarter.  Cut to the length
    of the series."""

    dropout: float = Field(0, ge=0, lt=1)
    """Share of the pooled features dropped in training."""


EncoderSpec = Annotated[
    TempCNNEncoder | AttentionEncoder | LTAEEncoder | RecurrentEncoder | InceptionTimeEncoder,
    Field(discriminator="kind"),
]


class TempCNNSpec(TempCNNEncoder, TrainingSpec):
    """Temporal convolutional network of Pelletier et al. (2019)."""


class AttentionSpec(AttentionEncoder, TrainingSpec):
    """TempCNN with attention over time."""


class LTAESpec(LTAEEncoder, TrainingSpec):
    """Lightweight temporal attention encoder of Garnot and Landrieu (2020)."""


class RecurrentSpec(RecurrentEncoder, TrainingSpec):
    """LSTM or GRU, in both directions."""


class InceptionTimeSpec(InceptionTimeEncoder, TrainingSpec):
    """InceptionTime of Ismail Fawaz et al. (2020)."""


class FusionSpec(TrainingSpec):
    """Several sources, each seen by an encoder of its own (Mena et al. 2025)."""

    kind: Literal["fusion"] = "fusion"

    how: Literal["input", "feature", "decision"] = "feature"
    """``input``: one encoder sees the channels of all sources.  ``feature``: the features of the
    sources that are there are joined before one layer decides.  ``decision``: each source decides
    by itself, and the probabilities of those that are there are averaged with learnt weights."""

    encoder: EncoderSpec = TempCNNEncoder()
    """Of every source that `encoders` does not name; static sources have a dense layer."""

    encoders: dict[str, EncoderSpec] = {}
    """Source to its encoder."""

    drop_source: float = Field(0.2, ge=0, lt=1)
    """As of every network; here it is on, so that a source may be missing."""

    @model_validator(mode="after")
    def _one_encoder(self) -> Self:
        if self.how == "input" and self.encoders:
            raise ValueError(
                f"`how: input` has one encoder for all sources, but `encoders` names "
                f"{', '.join(self.encoders)}; remove it, or take feature or decision"
            )
        return self


class UNetSpec(TrainingSpec):
    """U-Net of Ronneberger et al. (2015) over the stacked months."""

    kind: Literal["unet"] = "unet"

    width: int = Field(16, ge=4)
    """Channels of the first level; each level below has twice as many."""

    depth: int = Field(2, ge=1, le=5)
    """Times that the picture is halved."""

    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the channels of the lowest level dropped in training."""

    patch: int = Field(64, ge=8)
    """Edge in pixels of the core of a training patch."""

    batch: int = Field(4, ge=1)
    """Patches a step."""

    learning_rate: float = Field(5e-3, gt=0)
    """As of every network; an epoch of patches has few steps."""

    jitter: float = Field(0.4, ge=0)
    """As of every network; the fields of a training part are few beside its pixels."""


class DeepLabSpec(TrainingSpec):
    """DeepLabV3+ of Chen et al. (2018) with a small residual encoder, over the stacked months."""

    kind: Literal["deeplab"] = "deeplab"

    width: int = Field(16, ge=4)
    """Channels of the first level of the encoder."""

    rates: tuple[PositiveInt, ...] = Field((2, 4, 6), min_length=1)
    """Distances in cells of the coarse level between the taps of the atrous filters."""

    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the channels before the last layer dropped in training."""

    patch: int = Field(64, ge=8)
    """Edge in pixels of the core of a training patch."""

    batch: int = Field(4, ge=1)
    """Patches a step."""

    learning_rate: float = Field(5e-3, gt=0)
    """As of every network; an epoch of patches has few steps."""


def _shared(part: str, n: int, whole: str, size: int) -> None:
    if size % n:
        raise ValueError(f"the {n} `{part}` share the {whole}, so that {size} must be a multiple")
