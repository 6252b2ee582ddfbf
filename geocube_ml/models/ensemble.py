"""Models side by side, whose answers are averaged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.models.layout import Layout
from geocube_ml.models.model import Model
from geocube_ml.models.target import Target
from geocube_ml.spec.models import EnsembleSpec


@dataclass
class EnsembleModel:
    """Models of series that were fitted to the same rows.

    Parameters
    ----------
    spec : EnsembleSpec
    parts : dict of name to Model
        As in `spec.of`, of one layout.  Models of numbers standardize each by the rows that it was
        fitted to, so that their targets differ.
    """

    spec: EnsembleSpec
    parts: dict[str, Model]

    def __post_init__(self) -> None:
        if list(self.parts) != list(self.spec.of):
            raise ValueError(f"models {list(self.parts)}, but {list(self.spec.of)} in the spec")

    @property
    def layout(self) -> Layout:
        """Whose channels are where."""
        return next(iter(self.parts.values())).layout

    @property
    def target(self) -> Target:
        """What it answers; of a number, mean and spread are those of the first model alone."""
        return next(iter(self.parts.values())).target

    @property
    def n_step(self) -> int:
        """Time steps of a series."""
        return next(iter(self.parts.values())).n_step

    @property
    def halo(self) -> int:
        """A series is judged by itself."""
        return 0

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        return _mean([part.predict_proba(series) for part in self.parts.values()])

    def predict(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n,) in the unit of the labels."""
        return _mean([part.predict(series) for part in self.parts.values()])

    def state(self) -> dict[str, NDArray[Any]]:
        """All that its models learnt, with a model's name and ``/`` before each of its names."""
        return {
            f"{name}/{key}": values
            for name, part in self.parts.items()
            for key, values in part.state().items()
        }

    def said(self) -> dict[str, Any]:
        """What there is to say of each, by name, and its target."""
        return {
            name: {"target": asdict(part.target), "learnt": part.said()}
            for name, part in self.parts.items()
        }


def _mean(answers: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    total = answers[0].copy()
    for answer in answers[1:]:
        total += answer
    total /= len(answers)
    return total
