"""What a data set that others use is written as."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from geocube_ml.spec.base import Spec


class DatasetSpec(Spec):
    """What the step `export-dataset` writes."""

    chips: Literal["zarr", "cog", "none"] = "cog"
    """Format of the image chips and their masks; the series are written in any case."""

    chip: int = Field(64, ge=8)
    """Edge of a chip in pixels; edges of the cube make smaller ones, filled up with nodata."""

    min_labelled: float = Field(0.0, ge=0, le=1)
    """Least share of a chip's pixels that are labelled; any labelled pixel is enough by default."""

    licence: str = "proprietary"
    """SPDX identifier (``CC-BY-4.0``) of what is written, and of the models; or ``proprietary``."""

    title: str | None = None
    """Of the collection; the recipe's name by default."""

    description: str = ""
    """What it is of, who labelled it and how, for the data sheet."""

    providers: tuple[str, ...] = ()
    """Who made it."""

    citation: str | None = None
    """How it is cited."""
