"""Items become scenes: what one overpass saw of the grid, step by step."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from os.path import commonprefix
from typing import Any

import pystac
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.affinity import affine_transform

from geocube_ml.items.item import (
    Offset,
    asset_href,
    boa_offset,
    footprint_bounds,
    solar_day,
    stated_geobox,
)
from geocube_ml.raster.window import step_of
from geocube_ml.spec.period import PeriodSpec, TimeStep
from geocube_ml.spec.source import SourceSpec

STATIC = TimeStep(date.min, date.max, "static")
"""The one step of a source without a time axis."""

_MARGIN = 2.0  # pixels; resampling looks so far beyond a footprint's edge
_AROUND = 2.0
"""Pixels of a static raster itself: so far away, it may have a part in what another one shows."""
_AROUND_UNSTATED = 32.0
"""The same in pixels of the grid, of a raster of which no size is stated."""


@dataclass(frozen=True)
class Granule:
    """One item, as far as reading it goes."""

    id: str
    hrefs: dict[str, str]
    """Asset to path or URL."""
    offset: Offset
    """What is taken off its counts."""
    outline: Any
    """Footprint as a shapely polygon in pixels of the grid, (column, row)."""
    cloud_cover: float | None = None
    """Share of the item that its catalogue says is cloudy, 0 to 1."""
    grids: Mapping[str, GeoBox] = field(default_factory=dict, compare=False, repr=False)
    """Of the assets whose grid the item states; not pickled, as a task has no use for it."""

    def touches(self, y: slice, x: slice) -> bool:
        """Whether it can have a pixel in a window of the grid."""
        return bool(self.outline.intersects(shapely.box(x.start, y.start, x.stop, y.stop)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with what its addresses share told once: it is most of what a task is sent."""
        shared = commonprefix(list(self.hrefs.values()))  # noqa: RUF071  of any text
        ends = {asset: href[len(shared) :] for asset, href in self.hrefs.items()}
        return _unpickled, (self.id, shared, ends, self.offset, self.outline, self.cloud_cover)


def _unpickled(id: str, shared: str, ends: dict[str, str], *rest: Any) -> Granule:
    return Granule(id, {asset: shared + end for asset, end in ends.items()}, *rest)


@dataclass(frozen=True)
class Scene:
    """The granules of one solar day: one observation of each pixel that any of them covers."""

    day: str
    """``YYYY-MM-DD``, or nothing for items without a date."""
    granules: tuple[Granule, ...]
    cloud_cover: float | None = None
    """Mean of what its items' catalogue says is cloudy, 0 to 1; of all of them, whatever window is
    looked at."""

    def within(self, y: slice, x: slice) -> tuple[Granule, ...]:
        """The granules that touch a window of the grid."""
        return tuple(g for g in self.granules if g.touches(y, x))


def time_steps(source: SourceSpec, period: PeriodSpec | None) -> tuple[TimeStep, ...]:
    """The steps of a source: those of the period, or the one of a source without a time axis."""
    if source.sensor.static:
        return (STATIC,)
    assert period is not None  # noqa: S101  a recipe with a series has a period
    return period.steps


def scenes_by_step(
    items: Iterable[pystac.Item],
    source: SourceSpec,
    geobox: GeoBox,
    steps: Sequence[TimeStep],
) -> dict[str, tuple[Scene, ...]]:
    """Scenes of each time step, in the order of their days.

    Parameters
    ----------
    items : iterable of pystac.Item
    source : SourceSpec
        The assets that are read, and the rule for offsets.
    geobox : GeoBox
        The grid.
    steps : sequence of TimeStep
        In order, without a gap between them.  Items outside are left out.

    Returns
    -------
    dict of the step's name to scenes
        Steps without a scene are not in it.  Within a scene the newest processing baseline
        comes first, and where granules overlap the first that is clear and has data counts.

    Raises
    ------
    InputError
        An item does not say what its offset is, lacks an asset, or has no date.
    """
    static = source.sensor.static
    places = _Places(geobox, static)
    days: dict[str, list[tuple[str, Granule]]] = defaultdict(list)
    for item in items:
        day = _stated_day(item) if static else solar_day(item)
        days[day].append((_baseline(item), _granule(item, source, places)))

    starts = [step.start for step in steps]
    found: dict[str, list[Scene]] = defaultdict(list)
    for day in sorted(days):
        at = bisect_right(starts, date.fromisoformat(day)) - 1 if day else 0
        if at < 0 or (day and not steps[at].holds(date.fromisoformat(day))):
            continue
        ordered = sorted(days[day], key=lambda pair: pair[1].id)
        ordered.sort(key=lambda pair: pair[0], reverse=True)
        granules = tuple(granule for _, granule in ordered)
        covers = [g.cloud_cover for g in granules if g.cloud_cover is not None]
        cloud_cover = sum(covers) / len(covers) if covers else None
        found[steps[at].name].append(Scene(day, granules, cloud_cover))
    return {name: tuple(scenes) for name, scenes in found.items()}


def _stated_day(item: pystac.Item) -> str:
    """The date of what does not change with time, or nothing.

    It is of no overpass: tiles of one date are together on both sides of Greenwich.
    """
    when = item.datetime or item.common_metadata.start_datetime
    return "" if when is None else when.date().isoformat()


def _baseline(item: pystac.Item) -> str:
    return str(item.properties.get("s2:processing_baseline", ""))


def _granule(item: pystac.Item, source: SourceSpec, places: _Places) -> Granule:
    cloud = item.properties.get("eo:cloud_cover")
    grids = places.grids(item, source.assets)
    return Granule(
        id=item.id,
        hrefs={key: _href(item, key) for key in source.assets},
        offset=boa_offset(item) if source.sensor.offset == "sentinel-2-boa" else _NO_OFFSET,
        outline=places.outline(item, grids),
        cloud_cover=None if cloud is None else float(cloud) / 100,
        grids=grids,
    )


def _href(item: pystac.Item, key: str) -> str:
    asset = item.assets.get(key)
    if asset is not None and "://" in asset.href and "?" not in asset.href:
        return asset.href  # nothing is to be done to it, a million times
    return asset_href(item, key)


_NO_OFFSET = Offset(0, "none")


class _Places:
    """Where items lie on a grid; found once for all that share theirs, as of a tile of
    Sentinel-2.
    """

    def __init__(self, geobox: GeoBox, static: bool) -> None:
        self._geobox, self._static = geobox, static
        self._stated: dict[tuple[Any, ...], GeoBox] = {}
        self._grids: dict[tuple[Any, ...], Mapping[str, GeoBox]] = {}
        self._outlines: dict[tuple[Any, ...], Any] = {}

    def grids(self, item: pystac.Item, assets: Sequence[str]) -> Mapping[str, GeoBox]:
        """The grids of assets, as far as they are stated; one mapping for all that are alike."""
        stated = {}
        for key in assets:
            grid = self._of(item, key)
            if grid is not None:
                stated[key] = grid
        same = (*stated, *map(id, stated.values()))  # these live as long as this
        return self._grids.setdefault(same, stated)

    def _of(self, item: pystac.Item, key: str) -> GeoBox | None:
        asset = item.assets.get(key)
        if asset is None:
            return None
        own, shared = asset.extra_fields, item.properties
        shape, transform = own.get("proj:shape"), own.get("proj:transform")
        said = (
            tuple(shape) if shape else _text(shared.get("proj:shape")),
            tuple(transform) if transform else _text(shared.get("proj:transform")),
            *[own.get(name) or shared.get(name) for name in _PROJECTION],
        )
        if said in self._stated:
            return self._stated[said]
        grid = stated_geobox(item, key)
        if grid is not None:
            self._stated[said] = grid
        return grid

    def outline(self, item: pystac.Item, grids: Mapping[str, GeoBox]) -> Any:
        """Where rasters reach, which is more than where an item's geometry says data are."""
        if not grids:
            outline = item.geometry or shapely.geometry.mapping(
                shapely.box(*footprint_bounds(item))
            )
            there = Geometry(outline, "EPSG:4326").to_crs(str(self._geobox.crs), resolution=0.05)
            return _in_pixels(there, self._geobox, _AROUND_UNSTATED if self._static else _MARGIN)
        known = tuple(map(id, grids.values()))
        if known not in self._outlines:
            self._outlines[known] = _outline(grids, self._geobox, self._static)
        return self._outlines[known]


_PROJECTION = ("proj:code", "proj:epsg", "proj:wkt2")


def _text(value: Any) -> Any:
    """A list as what can be looked up."""
    return tuple(value) if isinstance(value, list) else value


def _outline(grids: Mapping[str, GeoBox], geobox: GeoBox, static: bool) -> Any:
    # the assets of an item cover the same ground
    widest = max(
        grids.values(), key=lambda box: abs(box.transform.determinant) * box.shape[0] * box.shape[1]
    )
    extent = widest.extent
    step = max(extent.boundingbox.span_x, extent.boundingbox.span_y) / 20
    margin = _MARGIN
    if static:
        margin = max([margin, *(_AROUND * _size(grid, geobox) for grid in grids.values())])
    if extent.crs != geobox.crs:  # edges bend; `to_crs` cuts them as well, but takes milliseconds
        extent = Geometry(shapely.segmentize(extent.geom, step), extent.crs)
    return _in_pixels(extent.to_crs(str(geobox.crs)), geobox, margin)


def _size(grid: GeoBox, geobox: GeoBox) -> float:
    """Pixels of the cube's grid that one of another spans, at most."""
    steps = step_of(str(grid.crs), grid.transform, (grid.shape.y, grid.shape.x), geobox)
    return 1 / min(steps)


def _in_pixels(there: Geometry, geobox: GeoBox, margin: float) -> Any:
    to_pixels = ~geobox.transform
    matrix = (to_pixels.a, to_pixels.b, to_pixels.d, to_pixels.e, to_pixels.c, to_pixels.f)
    return affine_transform(there.geom, matrix).buffer(margin)
