"""Which models are fitted, and how they are judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from geocube_ml.spec.base import EXECUTION, Location, Spec


class TempCNNSpec(Spec):
    """Temporal convolutional network of Pelletier et al. (2019)."""

    kind: Literal["tempcnn"] = "tempcnn"

    width: int = Field(64, ge=1)
    """Filters of each convolution."""

    kernel: int = Field(5, ge=1)
    """Time steps that a filter spans; odd, so that it has a middle."""

    dropout: float = Field(0.5, ge=0, lt=1)
    """Share of activations dropped in training."""

    jitter: float = Field(0.2, ge=0)
    """Spread of a random offset of each band in training, in standard deviations of the band; half
    of it for the gain of a series and for single months."""

    epochs: int = Field(20, ge=1)
    """At most so many passes over the samples."""

    patience: int = Field(20, ge=1)
    """Epochs without a better validation loss before training stops.  Fewer than `epochs` saves
    time and gives up the end of the schedule, where the learning rate is lowest."""

    batch: int = Field(128, ge=2)
    """Samples a step."""

    learning_rate: float = Field(2e-3, gt=0)
    """Peak of the one-cycle schedule."""

    weight_decay: float = Field(1e-2, ge=0)
    """Of AdamW."""

    seed: int = 0
    """Of the initial weights, the shuffling, the jitter and the dropout."""

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"a filter spans an odd number of steps, got {kernel}")
        return kernel


class ForestSpec(Spec):
    """Random forest of Breiman (2001), the baseline."""

    kind: Literal["forest"] = "forest"

    trees: int = Field(200, ge=1)
    """Number of trees."""

    min_leaf: int = Field(1, ge=1)
    """Samples that a leaf keeps at least."""

    seed: int = 0
    """Of the bootstrap and the feature draws."""


ModelSpec = Annotated[TempCNNSpec | ForestSpec, Field(discriminator="kind")]

Split = Literal["block", "random", "polygon", "group", "split"]


class EvaluateSpec(Spec):
    """How the models are judged."""

    splits: tuple[Split, ...] = Field(("block", "random"), min_length=1)
    """``block``: the hold-out of spatial blocks that no model trained on.  ``random``: pixels
    drawn at random, polygons shared between training and test (optimistic, for contrast).
    ``polygon``: cross-validation by polygon over all folds.  ``group``: each value of
    `samples.group_column` in turn is left out.  ``split``: the ``test`` rows of
    `samples.split_column`, which then are the hold-out that no model trained on."""

    reference: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A class raster that is known to be true everywhere (simulations), or None."""

    bound: Location | None = Field(None, json_schema_extra=EXECUTION)
    """The best possible class raster (simulations), judged on the same pixels, or None."""


class PredictSpec(Spec):
    """What is written to the map."""

    model: str | None = None
    """Name of the model that draws the map; the recipe's first by default."""
