"""How the clear observations of a time step become one value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from geocube_ml.spec.base import Spec


class MedianSpec(Spec):
    """Median of each band by itself."""

    method: Literal["median"] = "median"


class MeanSpec(Spec):
    """Mean of each band by itself; of radar in linear power, also where it is kept in decibels."""

    method: Literal["mean"] = "mean"


class MedoidSpec(Spec):
    """The observation that is nearest to all others: its bands belong together.

    Flood (2013), Remote Sensing 5, 6481.
    """

    method: Literal["medoid"] = "medoid"


class GeomedianSpec(Spec):
    """Geometric median over all bands together.

    Roberts et al. (2017), IEEE TGRS 55, 6254.
    """

    method: Literal["geomedian"] = "geomedian"

    tolerance: float = Field(1e-4, gt=0)
    """Of the iteration, in physical units (reflectance)."""

    iterations: int = Field(100, ge=1)
    """At most so many."""


class BestSpec(Spec):
    """Best available pixel: the observation with the highest score.

    After Griffiths et al. (2013), IEEE JSTARS 6, 2088; White et al. (2014), Can. J. Remote Sens.
    40, 192.  The score is the sum of three parts, each from 0 to 1 and with a weight.
    """

    method: Literal["best"] = "best"

    cloud: float = Field(1.0, ge=0)
    """Weight of the distance to what is not clear."""

    cloud_distance: int = Field(50, ge=1, le=1000)
    """Pixels from which on the distance counts as far enough."""

    middle: float = Field(1.0, ge=0)
    """Weight of nearness to the middle of the step."""

    middle_days: float | None = Field(None, gt=0)
    """Spread of nearness in days (one standard deviation of a bell); a quarter of the step's length
    by default."""

    coverage: float = Field(0.5, ge=0)
    """Weight of how much of the scene is clear, by its items' ``eo:cloud_cover``."""


def _short(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


CompositeSpec = Annotated[
    Annotated[
        MedianSpec | MeanSpec | MedoidSpec | GeomedianSpec | BestSpec,
        Field(discriminator="method"),
    ],
    BeforeValidator(_short),
]
