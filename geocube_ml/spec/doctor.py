"""How doubtful labels are looked for."""

from __future__ import annotations

from pydantic import Field

from geocube_ml.spec.base import Spec


class DoctorSpec(Spec):
    """How doubtful labels are looked for."""

    trees: int = Field(300, ge=10)
    """Of the forest whose answers, out of the folds by polygon, are held against the labels."""

    neighbours: int = Field(15, ge=1)
    """Nearest series that are asked for their class."""

    listed: float = Field(0.15, gt=0, le=1)
    """Share of the labels that the table of the worst holds."""

    seed: int = 0
    """Of the forest."""
