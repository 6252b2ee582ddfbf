"""How series are varied in training."""

from __future__ import annotations

from pydantic import Field

from geocube_ml.spec.base import Spec


class AugmentSpec(Spec):
    """How series are varied in training; by default they are not.

    What is missing stays missing, and labels stay as they are.
    """

    shift: int = Field(0, ge=0)
    """Most time steps by which a series moves, earlier or later; what comes in is missing."""

    drop: float = Field(0, ge=0, lt=1)
    """Share of the time steps of each source that are dropped."""

    jitter: float = Field(0, ge=0)
    """Spread of the noise that is added to each value, in standard deviations of the band."""

    scale: float = Field(0, ge=0)
    """Spread of the factor of each band of a series, around 1."""

    clouds: float = Field(0, ge=0, le=1)
    """Share of the series that a run of simulated clouds comes over."""

    cloud_steps: int = Field(3, ge=1)
    """Most time steps of a run."""

    cloud_sources: tuple[str, ...] = ()
    """Sources that clouds come over; every series by default."""

    bright: float = Field(0, ge=0, le=1)
    """Share of the runs that no mask saw: values are brighter there, and not missing."""

    brightness: float = Field(3, ge=0)
    """Most that such a run adds to each band, in standard deviations of the band."""

    seed: int = Field(0, ge=0)
    """With the epoch and the number of the batch it decides every draw."""
