"""Models of tables: they see a series as one row of numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from geocube_ml.spec.base import Spec
from geocube_ml.spec.training import SEEDS


class ForestSpec(Spec):
    """Random forest of Breiman (2001), the baseline."""

    kind: Literal["forest"] = "forest"

    trees: int = Field(200, ge=1)
    """Number of trees."""

    min_leaf: int = Field(1, ge=1)
    """Samples that a leaf keeps at least."""

    class_weights: Literal["equal", "balanced"] = "equal"
    """``balanced`` counts each sample by n / (classes x n of its class)."""

    seed: int = Field(0, ge=0, le=SEEDS)
    """Of the bootstrap and the feature draws."""


class BoostingSpec(Spec):
    """Gradient boosting over histograms (Ke et al. 2017, scikit-learn's)."""

    kind: Literal["boosting"] = "boosting"

    rounds: int = Field(200, ge=1)
    """Trees a class at most; fewer where the validation blocks get no better."""

    patience: int = Field(20, ge=1)
    """Rounds without a better validation loss before it stops."""

    learning_rate: float = Field(0.1, gt=0)
    """Share of each tree's answer that is added."""

    leaves: int = Field(31, ge=2)
    """Leaves of a tree at most."""

    min_leaf: int = Field(20, ge=1)
    """Samples that a leaf keeps at least."""

    class_weights: Literal["equal", "balanced"] = "equal"
    """``balanced`` counts each sample by n / (classes x n of its class)."""

    seed: int = Field(0, ge=0, le=SEEDS)
    """Of the draws of the histograms' borders."""


class RocketSpec(Spec):
    """MiniRocket of Dempster et al. (2021), and a ridge on its features."""

    kind: Literal["minirocket"] = "minirocket"

    features: int = Field(10_000, ge=84)
    """Shares of positive values that are computed of a series; rounded down to a multiple of 84."""

    class_weights: Literal["equal", "balanced"] = "equal"
    """``balanced`` counts each sample by n / (classes x n of its class)."""

    seed: int = Field(0, ge=0, le=SEEDS)
    """Of the series that biases are taken from, and the channels that a filter sees."""
