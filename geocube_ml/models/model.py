"""What every model is: spec in, arrays in, probabilities or numbers out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geocube_ml.models.layout import Layout
from geocube_ml.models.target import Target
from geocube_ml.spec.models import ModelSpec


class Model(Protocol):
    """A fitted model; what the bundle keeps and the map is drawn with."""

    @property
    def spec(self) -> ModelSpec:
        """What it was asked to be."""

    @property
    def layout(self) -> Layout:
        """Whose channels are where."""

    @property
    def n_step(self) -> int:
        """Time steps of a series."""

    @property
    def target(self) -> Target:
        """What it answers."""

    @property
    def halo(self) -> int:
        """Pixels around a pixel that decide its answer; 0 of a model of series."""

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of classes.

        Parameters
        ----------
        series : (n, time, channel) float32, or (n, time, channel, h, w) of a model with a halo
            Physical values, NaN where missing.

        Returns
        -------
        (n, class) or (n, class, h, w) float32
            Sum to 1 over the classes, before any temperature.
        """

    def predict(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) or (n, h, w) float32 numbers in their unit, of a model of numbers."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All that was learnt, by name: what safetensors keeps and the digest is over."""

    def said(self) -> dict[str, Any]:
        """What else there is to say of it, JSON-able: the course of its training."""
