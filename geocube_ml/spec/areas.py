"""How points are drawn by which a map is checked, and its areas are estimated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from geocube_ml.spec.base import EXECUTION, Location, Spec

Allocation = Literal["proportional", "equal", "rare"]


class AreasSpec(Spec):
    """A stratified random sample of a map's pixels, which people look at.

    The strata are the classes of the map.  Steps `sample-map` and `areas` run where they are named.
    """

    points: int | None = Field(None, ge=2)
    """How many; by default as many as `target_error` takes."""

    target_error: float = Field(0.01, gt=0, lt=0.5)
    """Standard error of the overall accuracy that is aimed at (Cochran 1977, equation 5.25)."""

    expected: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """Class to the user's accuracy that is expected of it; 0.8 of others."""

    allocation: Allocation = "rare"
    """How points are shared among the classes: ``proportional`` to their areas, ``equal``, or
    ``rare``: at least `fewest` of each, the rest proportional."""

    fewest: int = Field(50, ge=2)
    """Points of a class at least, by ``rare``."""

    seed: int = 0
    """Of the draw."""

    interpreted: Location | None = Field(None, json_schema_extra=EXECUTION)
    """The file of points with what people saw there; by default the one that `sample-map` wrote."""

    level: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals."""
