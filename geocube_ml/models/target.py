"""What a model answers: one of some classes, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError


@dataclass(frozen=True)
class Target:
    """One of `n_class` classes; or a number, learnt in standard deviations from its mean.

    Parameters
    ----------
    n_class : int or None
        None where a number is estimated (biomass, yield): regression.
    mean, std : float
        Of the values of the training rows, in their unit; of no meaning for classes.
    """

    n_class: int | None = None
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def of_values(cls, values: NDArray[np.floating[Any]]) -> Self:
        """Of the numbers of the training rows, (n,)."""
        std = float(np.std(values, dtype=np.float64))
        return cls(None, float(np.mean(values, dtype=np.float64)), std if std > 0 else 1.0)

    def check(self, *, classes: bool) -> None:
        """Refuse the other question: of a model of numbers for classes, and the reverse.

        Raises
        ------
        InputError
            Names what the model answers.
        """
        if classes and self.n_class is None:
            raise InputError(
                "The model estimates a number and has no probabilities of classes: ask `predict`, "
                "of a bundle `estimate`."
            )
        if not classes and self.n_class is not None:
            raise InputError(
                f"The model tells {self.n_class} classes apart and estimates no number: ask "
                "`predict_proba`."
            )

    @property
    def n_out(self) -> int:
        """Numbers that a network puts out for a pixel."""
        return self.n_class or 1

    def standardized(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(n,) numbers in their unit -> (n,) in standard deviations."""
        return ((values - self.mean) / self.std).astype(np.float32)

    def physical(self, values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(n,) in standard deviations -> (n,) in their unit."""
        return (values * self.std + self.mean).astype(np.float32)
