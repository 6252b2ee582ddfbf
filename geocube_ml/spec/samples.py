"""Which labelled pixels become samples, and how they are cut into folds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import Spec

Statistic = Literal["mean", "median", "std"]


class SamplesSpec(Spec):
    """Which labelled pixels become samples, and how they are cut into folds.

    Rules of the draw hold in this order: first the least distance, then so many a polygon, then a
    share or a number of each class.  They are drawn by their labels alone: samples that turn out
    to have no observation are left out afterwards and not replaced, so a class may have fewer than
    was asked for, or, ``balanced``, than another; how many it got is told with the table.

    Models of a run are trained on what is neither tested nor nearer to that than the gap.  What is
    tested is the first fold of blocks; with a given split what is ``test`` there, while
    ``validation`` only tells networks when to stop.
    """

    unit: Literal["pixel", "polygon"] = "pixel"
    """What a sample is: a labelled pixel, or a polygon, whose pixels are summed up."""

    statistics: tuple[Statistic, ...] = Field(("median", "std"), min_length=1)
    """Of polygons: how the pixels of each are summed up, weighted by the share of a pixel that lies
    within.  The first stands for the source itself, the others beside it (``s2_std``)."""

    per_polygon: int | None = Field(None, ge=1)
    """At most so many pixels of one polygon, drawn at random; all by default."""

    min_distance_m: float | None = Field(None, gt=0)
    """Least distance between two samples in metres, of polygons between the means of their pixels;
    none by default."""

    per_class: int | None = Field(None, ge=1)
    """At most so many samples of one class, drawn at random from its polygons in turn."""

    share: float | None = Field(None, gt=0, le=1)
    """Share of each class's samples that is drawn; all by default."""

    balanced: bool = False
    """Draw as many samples of each class as the rarest has."""

    n_fold: int = Field(5, ge=2)
    """Number of folds, at random, by polygon and by spatial block."""

    block_m: float = Field(1000, gt=0)
    """Edge of a spatial block in metres."""

    gap_m: float = Field(0, ge=0)
    """Samples nearer than this to one that is tested, in metres, are not trained on: to the block
    fold, to any fold of blocks or groups in turn, or to ``test`` of a given split, of which what
    trains keeps as far from ``validation``, and that from ``test``.  Of polygons, the distance is
    that between their outlines."""

    group_column: str | None = None
    """Column of the labels (a region, a year) whose values are the folds of ``fold_group``; one of
    a source's `columns`."""

    split_column: str | None = None
    """Column of the labels that says ``train``, ``validation`` or ``test``; one of a source's
    `columns`."""

    value_column: str | None = None
    """Column of the labels with a number (biomass, yield, height): models then estimate it, and
    classes only say what is labelled; a file that has numbers and no class takes a `class_name` of
    your own, such as ``plot``.  One of a source's `columns`.  Labels without a number are left out
    and counted."""

    value_units: str = ""
    """Unit of that number, for the map and the report."""

    seed: int = 0
    """Of the draws and of the folds."""

    @field_validator("value_units")
    @classmethod
    def _no_date(cls, units: str) -> str:
        if " since " in units:
            raise ValueError(
                f"`value_units: {units}` is read as dates wherever CF is; write "
                f"`{units.partition(' since ')[0]}`"
            )
        return units

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if self.per_class is not None and self.share is not None:
            raise ValueError(
                f"`per_class: {self.per_class}` and `share: {self.share:g}` both say how many "
                "samples a class has; remove one of the two"
            )
        if self.unit == "polygon" and self.per_polygon is not None:
            raise ValueError(
                f"`per_polygon: {self.per_polygon}` is of pixels, but `unit: polygon` makes one "
                "sample of each polygon; remove one of the two"
            )
        if len(set(self.statistics)) < len(self.statistics):
            raise ValueError(f"`statistics` must differ, got {', '.join(self.statistics)}")
        return self
