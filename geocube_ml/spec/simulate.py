"""The simulated Sentinel-2 archive: how large, how cloudy, how many labels."""

from __future__ import annotations

from pydantic import Field

from geocube_ml.spec.base import EXECUTION, Location, Spec


class SimSpec(Spec):
    """Parameters of a simulated archive; the same values give the same files."""

    folder: Location = Field(json_schema_extra=EXECUTION)
    """Where the archive is written."""

    seed: int = 0
    """Of everything that is drawn."""

    size: int = Field(384, ge=64, le=10980, multiple_of=2)
    """Edge of one scene in 10 m pixels; two tiles overlap by a quarter."""

    year: int = Field(2022, ge=2016, le=2100)
    """The year that is observed; the baseline changes on 25 January 2022, or in April of
    other years."""

    revisit_days: int = Field(5, ge=1)
    """Days between two scenes of a tile."""

    cloud_cover: float = Field(0.5, ge=0, le=0.95)
    """Mean share of a scene that is cloud or shadow."""

    label_share: float = Field(0.35, gt=0, le=1)
    """Share of the fields whose polygon is among the labels."""
