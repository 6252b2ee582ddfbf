"""Items become scenes: what one overpass saw of the grid, month by month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import pystac
import shapely
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from shapely.affinity import affine_transform

from geocube_ml.cube.items import (
    Offset,
    asset_href,
    boa_offset,
    footprint_bounds,
    solar_day,
    stated_geobox,
)
from geocube_ml.spec.source import SourceSpec

_MARGIN = 2.0  # pixels; resampling looks so far beyond a footprint's edge


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

    def touches(self, y: slice, x: slice) -> bool:
        """Whether it can have a pixel in a window of the grid."""
        return bool(self.outline.intersects(shapely.box(x.start, y.start, x.stop, y.stop)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with what its addresses share told once: it is most of what a task is sent."""
        shared = commonprefix(list(self.hrefs.values()))  # noqa: RUF071  of any text
        ends = {asset: href[len(shared) :] for asset, href in self.hrefs.items()}
        return _unpickled, (self.id, shared, ends, self.offset, self.outline)


def _unpickled(id: str, shared: str, ends: dict[str, str], offset: Offset, outline: Any) -> Granule:
    hrefs = {asset: shared + end for asset, end in ends.items()}
    return Granule(id, hrefs, offset, outline)


@dataclass(frozen=True)
class Scene:
    """The granules of one solar day: one observation of each pixel that any of them covers."""

    day: str
    granules: tuple[Granule, ...]

    def within(self, y: slice, x: slice) -> tuple[Granule, ...]:
        """The granules that touch a window of the grid."""
        return tuple(g for g in self.granules if g.touches(y, x))


def scenes_by_month(
    items: Sequence[pystac.Item], source: SourceSpec, geobox: GeoBox
) -> dict[str, tuple[Scene, ...]]:
    """Scenes of each month, in the order of their days.

    Parameters
    ----------
    items : sequence of pystac.Item
    source : SourceSpec
        The assets that are read, and the rule for offsets.
    geobox : GeoBox
        The grid.

    Returns
    -------
    dict of ``YYYY-MM`` to scenes
        Months without a scene are not in it.  Within a scene the newest processing baseline
        comes first, and where granules overlap the first that is clear counts.

    Raises
    ------
    InputError
        An item does not say what its offset is, or lacks an asset.
    """
    days: dict[str, list[pystac.Item]] = defaultdict(list)
    for item in items:
        days[solar_day(item)].append(item)

    months: dict[str, list[Scene]] = defaultdict(list)
    for day in sorted(days):
        ordered = sorted(days[day], key=lambda item: item.id)
        ordered.sort(key=_baseline, reverse=True)
        granules = tuple(_granule(item, source, geobox) for item in ordered)
        months[day[:7]].append(Scene(day, granules))
    return {month: tuple(scenes) for month, scenes in months.items()}


def _baseline(item: pystac.Item) -> str:
    return str(item.properties.get("s2:processing_baseline", ""))


def _granule(item: pystac.Item, source: SourceSpec, geobox: GeoBox) -> Granule:
    return Granule(
        id=item.id,
        hrefs={key: asset_href(item, key) for key in source.assets},
        offset=boa_offset(item) if source.sensor.offset == "sentinel-2-boa" else Offset(0, "none"),
        outline=_outline(item, source.assets, geobox),
    )


def _outline(item: pystac.Item, assets: Sequence[str], geobox: GeoBox) -> Any:
    """Where the item's rasters reach, which is more than where its geometry says data are."""
    stated = [box for key in assets if (box := stated_geobox(item, key)) is not None]
    if stated:
        # the assets of an item cover the same ground
        extent = max((box.extent for box in stated), key=lambda e: float(e.area))
        step = max(extent.boundingbox.span_x, extent.boundingbox.span_y) / 20
        there = extent.to_crs(str(geobox.crs), resolution=step)
    else:
        outline = item.geometry or shapely.geometry.mapping(shapely.box(*footprint_bounds(item)))
        there = Geometry(outline, "EPSG:4326").to_crs(str(geobox.crs), resolution=0.05)
    to_pixels = ~geobox.transform
    matrix = (to_pixels.a, to_pixels.b, to_pixels.d, to_pixels.e, to_pixels.c, to_pixels.f)
    return affine_transform(there.geom, matrix).buffer(_MARGIN)
