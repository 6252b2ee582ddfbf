"""Where the map lies, and how the cube is cut on disk."""

from __future__ import annotations

from math import isfinite
from typing import Self

from pydantic import Field, model_validator

from geocube_ml.spec.base import EXECUTION, Location, Spec

Bounds = tuple[float, float, float, float]


class GridSpec(Spec):
    """The grid of the cube: CRS, resolution and extent, or the items' own.

    With none of `bounds`, `bbox` and `like` it covers the area to map: `boundary`, or without it
    the convex hull of the labels.  Tiles outside of that area are not made.
    """

    crs: str | None = None
    """A projected CRS in metres, such as ``EPSG:32633``; where the grid covers an area, the UTM
    zone of that area by default."""

    resolution: float | None = Field(None, gt=0)
    """Edge of a pixel in metres."""

    bounds: Bounds | None = None
    """Left, bottom, right, top in the units of `crs`; grown to whole pixels."""

    bbox: Bounds | None = None
    """West, south, east, north in degrees (EPSG:4326), in place of `bounds`."""

    like: str | None = None
    """An asset whose own grid is taken, in place of all the above, as ``B04``, or with its source,
    as ``dem/data``, where several sources read one of that name; all items of that source must
    share it."""

    boundary: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A vector file of polygons, on this machine or in a store; their union is the area to map.
    The cube covers it, or what `bounds`, `bbox` or `like` say; what lies outside is not mapped.
    What it holds decides the result, not where it lies."""

    boundary_layer: str | None = Field(None, json_schema_extra=EXECUTION)
    """Layer of `boundary`, where that has several."""

    @property
    def covers_area(self) -> bool:
        """Whether the extent is that of the area to map."""
        return not (self.like or self.bounds or self.bbox)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.boundary_layer and not self.boundary:
            raise ValueError(
                f"`boundary_layer: {self.boundary_layer}` is a layer of `boundary`, which is "
                "missing; add it"
            )
        stated = [name for name in ("crs", "resolution", "bounds", "bbox") if getattr(self, name)]
        if self.like:
            if stated:
                raise ValueError(
                    f"`like: {self.like}` takes the whole grid from the items, but "
                    f"{', '.join(stated)} is given too; remove one of the two"
                )
            return self
        if self.crs is None and not self.covers_area:
            raise ValueError(
                "the CRS is missing; add `crs:` (a projected one in metres, such as EPSG:32633) "
                "or `like:` with the name of an asset whose grid is taken"
            )
        if self.resolution is None:
            raise ValueError("the resolution is missing; add `resolution:` in metres")
        if self.covers_area:
            return self
        if self.bounds and self.bbox:
            raise ValueError("give either `bounds` (in the CRS) or `bbox` (in degrees), got both")
        west, south, east, north = self.bounds or self.bbox or (0, 0, 0, 0)
        if not all(isfinite(edge) for edge in (west, south, east, north)):
            raise ValueError(f"the extent must be finite, got {west}, {south}, {east}, {north}")
        if self.bbox and not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
            raise ValueError(
                "`bbox` is in degrees, longitudes to 180 and latitudes to 90, got "
                f"{west}, {south}, {east}, {north}; metres go into `bounds`"
            )
        if west >= east or south >= north:
            raise ValueError(
                f"the extent is empty: left {west}, bottom {south}, right {east}, top {north}; "
                "the order is left, bottom, right, top"
            )
        return self


class StoreSpec(Spec):
    """How the cube is cut: a tile is a whole number of shards, a shard of chunks."""

    chunk: int = Field(256, ge=16)
    """Edge in pixels of a chunk, the smallest piece that is read."""

    shard: int = Field(512, ge=16)
    """Edge in pixels of a shard, one object in the store."""

    tile: int = Field(1024, ge=16)
    """Edge in pixels of a tile, the unit of work and of resume."""

    steps: int = Field(12, ge=1)
    """Time steps that a chunk and a shard span."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.shard % self.chunk:
            raise ValueError(
                f"a shard of {self.shard} pixels is not a whole number of chunks of {self.chunk}; "
                f"take {self.shard // self.chunk * self.chunk or self.chunk}"
            )
        if self.tile % self.shard:
            raise ValueError(
                f"a tile of {self.tile} pixels is not a whole number of shards of {self.shard}; "
                f"take {max(self.tile // self.shard, 1) * self.shard}"
            )
        return self
