"""Which models are fitted, and which draws the map."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from geocube_ml.spec.base import Spec
from geocube_ml.spec.networks import (
    AttentionSpec,
    DeepLabSpec,
    FusionSpec,
    InceptionTimeSpec,
    LTAESpec,
    RecurrentSpec,
    TempCNNSpec,
    UNetSpec,
)
from geocube_ml.spec.tables import BoostingSpec, ForestSpec, RocketSpec

SeriesSpec = TempCNNSpec | AttentionSpec | LTAESpec | RecurrentSpec | InceptionTimeSpec | FusionSpec
"""Networks that see the series of one pixel."""

PatchSpec = UNetSpec | DeepLabSpec
"""Networks that see what lies around a pixel too."""

NetworkSpec = SeriesSpec | PatchSpec
TableSpec = ForestSpec | BoostingSpec | RocketSpec

ModelSpec = Annotated[SeriesSpec | PatchSpec | TableSpec, Field(discriminator="kind")]


class _One(Spec):
    model: ModelSpec
    """The only one."""


def model_spec(kind: str, **fields: Any) -> ModelSpec:
    """The spec of a model by its kind, as a recipe names it.

    Parameters
    ----------
    kind : str
        ``tempcnn``, ``tempcnn-attention``, ``ltae``, ``lstm``, ``gru``, ``inceptiontime``,
        ``fusion``, ``unet``, ``deeplab``, ``forest``, ``boosting`` or ``minirocket``.
    **fields
        As in a recipe.

    Returns
    -------
    ModelSpec

    Raises
    ------
    SpecError
        There is no such kind or field; names the nearest one.

    Examples
    --------
    >>> model_spec("forest", trees=50).trees
    50
    """
    return _One.read({"model": {"kind": kind, **fields}}, where=kind).model


class PredictSpec(Spec):
    """What is written to the map."""

    model: str | None = None
    """Name of the model that draws the map; the recipe's first by default."""

    applicability: bool = False
    """Write how far each pixel is from what was trained on, too: ``dissimilarity`` and
    ``applicable`` (Meyer and Pebesma 2021)."""
