"""How networks are trained, whatever they look like."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.base import EXECUTION, Spec

SEEDS = 2**32 - 1
"""The highest seed that all generators take."""


class TrainingSpec(Spec):
    """How a network is trained; every network's spec has these fields beside its own."""

    epochs: int = Field(20, ge=1)
    """At most so many passes over the samples."""

    patience: int = Field(20, ge=1)
    """Epochs without a better validation loss before training stops.  Fewer than `epochs` saves
    time and gives up the end of the schedule, where the learning rate is lowest."""

    batch: int = Field(128, ge=2)
    """Samples a step; patches have their own number."""

    learning_rate: float = Field(2e-3, gt=0)
    """Highest of the schedule: it rises to this from a 25th and falls as a cosine to nothing."""

    warmup: float = Field(0.3, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""

    weight_decay: float = Field(1e-2, ge=0)
    """Of AdamW."""

    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    """``focal`` counts samples less that are answered rightly already (Lin et al. 2017)."""

    gamma: float = Field(2.0, ge=0)
    """Of the focal loss: 0 is cross entropy."""

    label_smoothing: float = Field(0, ge=0, lt=1)
    """Share of each label that is spread over all classes; a hedge against wrong labels."""

    class_weights: Literal["equal", "balanced"] = "equal"
    """How much a sample counts in the loss by its class: ``balanced`` counts the classes of the
    training rows equally, each sample by n / (classes x n of its class)."""

    sampling: Literal["all", "oversample", "balanced"] = "all"
    """What an epoch shows: ``all`` rows once; ``oversample`` repeats rows of the rarer classes
    until each has as many as the commonest; ``balanced`` draws as many of each, in an epoch as long
    as there are rows.  Batches are mixed from these."""

    jitter: float = Field(0.2, ge=0)
    """Spread of a random offset of each band in training, in standard deviations of the band; half
    of it for the gain of a series and for single months."""

    augment: AugmentSpec = AugmentSpec()
    """Further ways in which series are varied in training."""

    drop_source: float = Field(0, ge=0, lt=1)
    """Share of the training samples from which one source, drawn at random, is taken.  Above 0 the
    model accepts cubes that lack sources, as long as one of its series is there (without series:
    one of its layers)."""

    members: int = Field(1, ge=1)
    """Networks that are trained, on seeds one after the other; their probabilities are averaged."""

    seed: int = Field(0, ge=0, le=SEEDS)
    """Of the initial weights, the shuffling, the variations and the dropout."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra=EXECUTION)
    """``auto`` takes a CUDA device where there is one."""

    mixed: bool = Field(True, json_schema_extra=EXECUTION)
    """Whether a CUDA device computes in mixed precision (bfloat16 where it has it)."""

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.sampling != "all" and self.class_weights == "balanced":
            raise ValueError(
                f"`sampling: {self.sampling}` and `class_weights: balanced` would count rare "
                "classes twice; take one of the two"
            )
        return self
