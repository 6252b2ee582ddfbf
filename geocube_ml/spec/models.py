"""Which models are fitted, and which draws the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import Spec, check_name
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
from geocube_ml.spec.training import SEEDS

SeriesSpec = TempCNNSpec | AttentionSpec | LTAESpec | RecurrentSpec | InceptionTimeSpec | FusionSpec
"""Networks that see the series of one pixel."""

PatchSpec = UNetSpec | DeepLabSpec
"""Networks that see what lies around a pixel too."""

NetworkSpec = SeriesSpec | PatchSpec
TableSpec = ForestSpec | BoostingSpec | RocketSpec

SingleSpec = SeriesSpec | TableSpec
"""Models that see one pixel, and can answer beside others."""


class EnsembleSpec(Spec):
    """Models of several kinds, whose answers are averaged (Hansen and Salamon 1990).

    Networks and trees err at different pixels, so that their mean errs less often.
    """

    kind: Literal["ensemble"] = "ensemble"

    of: dict[str, Annotated[SingleSpec, Field(discriminator="kind")]] = {}
    """Name to model, as in a recipe; a TempCNN, MiniRocket and a forest by default."""

    seed: int = Field(0, ge=0, le=SEEDS)
    """Is added to the seed of each."""

    @field_validator("of", mode="before")
    @classmethod
    def _named(cls, of: Any) -> Any:
        if of is None or of == {}:
            of = {"tempcnn": {}, "minirocket": {}, "forest": {}}
        return by_name(of)

    @field_validator("of")
    @classmethod
    def _sorted(cls, of: dict[str, SingleSpec]) -> dict[str, SingleSpec]:
        for name in of:
            check_name("model", name)
        return dict(sorted(of.items()))  # their sum is rounded in one order, a bundle's too

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.of) < 2:
            raise ValueError(
                f"an ensemble is of two models or more, got {', '.join(self.of)} alone; networks "
                "of one kind that differ by their seeds are `members` of that model"
            )
        return self

    @property
    def parts(self) -> dict[str, SingleSpec]:
        """The models, each with the seed that it is fitted with."""
        return {
            name: spec.model_copy(update={"seed": (spec.seed + self.seed) % (SEEDS + 1)})
            for name, spec in self.of.items()
        }

    @property
    def drop_source(self) -> float:
        """Above 0 if every model accepts cubes that lack sources."""
        return min(getattr(spec, "drop_source", 0.0) for spec in self.of.values())


ModelSpec = Annotated[
    SeriesSpec | PatchSpec | TableSpec | EnsembleSpec, Field(discriminator="kind")
]


def by_name(models: Any) -> Any:
    """Models as one writes them, ``forest: {trees: 500}``: the name is the kind where it is one."""
    if not isinstance(models, Mapping):
        return models
    return {
        name: {"kind": name, **(value or {})} if isinstance(value, Mapping | None) else value
        for name, value in models.items()
    }


class _One(Spec):
    model: ModelSpec
    """The only one."""


def model_spec(kind: str, **fields: Any) -> ModelSpec:
    """The spec of a model by its kind, as a recipe names it.

    Parameters
    ----------
    kind : str
        ``tempcnn``, ``tempcnn-attention``, ``ltae``, ``lstm``, ``gru``, ``inceptiontime``,
        ``fusion``, ``unet``, ``deeplab``, ``forest``, ``boosting``, ``minirocket`` or ``ensemble``.
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
