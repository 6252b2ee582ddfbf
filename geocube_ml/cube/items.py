"""What one STAC item says about its assets: where they lie, what was done to their counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube.signatures import unsigned
from geocube_ml.errors import GeocubeError, InputError
from geocube_ml.raster import opened, signed_when_read
from geocube_ml.spec.storage import StorageSpec

BOA_OFFSET = 1000
"""Counts that Sentinel-2's processing baseline 04.00 and later add."""

_STORAGE = StorageSpec()
_HALF_GLOBE = 180.0  # degrees

_PRODUCT_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")


@dataclass(frozen=True)
class Offset:
    """What must be taken off an item's counts, and how that is known."""

    counts: int
    evidence: str


def boa_offset(item: pystac.Item) -> Offset:
    """What baseline 04.00 added to a Sentinel-2 L2A item's counts and is still in them.

    Parameters
    ----------
    item : pystac.Item
        Of Planetary Computer, Earth Search, or with the same properties.

    Returns
    -------
    Offset
        1000 counts or none.

    Raises
    ------
    InputError
        The item does not say which processing baseline made it.

    Notes
    -----
    Earth Search states in ``earthsearch:boa_offset_applied`` that it has taken the offset off
    already; its ``raster:bands`` list -0.1 all the same and are not looked at.
    """
    properties = item.properties
    if properties.get("earthsearch:boa_offset_applied") is True:
        return Offset(0, "earthsearch:boa_offset_applied is true")
    baseline, key = _baseline(properties)
    if baseline is None:
        raise InputError(
            f"Item {item.id} does not say its processing baseline (s2:processing_baseline, or "
            "_N0400_ in s2:product_uri), so whether its counts carry the offset of baseline "
            "04.00 is not known. Add the property, or set the sensor's `offset: none`."
        )
    return Offset(
        BOA_OFFSET if baseline >= (4, 0) else 0, f"{key} {baseline[0]:02}.{baseline[1]:02}"
    )


def _baseline(properties: dict[str, Any]) -> tuple[tuple[int, int] | None, str]:
    stated = str(properties.get("s2:processing_baseline", ""))
    if match := re.fullmatch(r"(\d+)\.(\d+)", stated):
        return (int(match[1]), int(match[2])), "s2:processing_baseline"
    if match := _PRODUCT_BASELINE.search(str(properties.get("s2:product_uri", ""))):
        return (int(match[1]), int(match[2])), "s2:product_uri"
    return None, ""


def solar_day(item: pystac.Item) -> str:
    """The local solar date, ``YYYY-MM-DD``: one overpass never straddles it.

    Raises
    ------
    InputError
        The item has no date.
    """
    when = item.datetime or item.common_metadata.start_datetime
    if when is None:
        raise InputError(
            f"Item {item.id} has neither datetime nor start_datetime. Add one, or leave it out."
        )
    west, _, east, _ = footprint_bounds(item)
    east = east + 360 if east < west else east  # across the antimeridian
    return (_utc(when) + timedelta(hours=(west + east) / 2 / 15)).date().isoformat()


def footprint_bounds(item: pystac.Item) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees; west is above east across the antimeridian.

    Raises
    ------
    InputError
        The item has neither bbox nor geometry.
    """
    if item.bbox is not None:
        west, south, east, north = item.bbox if len(item.bbox) == 4 else (
            *item.bbox[0:2], *item.bbox[3:5])  # fmt: skip
        if item.geometry is None or east - west <= _HALF_GLOBE:
            return west, south, east, north
    if item.geometry is None:
        raise InputError(f"Item {item.id} has neither bbox nor geometry. Add one.")
    lons, lats = zip(*_positions(item.geometry["coordinates"]), strict=True)
    west, east = min(lons), max(lons)
    if east - west > _HALF_GLOBE:  # no scene is so wide: it lies across the antimeridian
        west, east = min(lon for lon in lons if lon > 0), max(lon for lon in lons if lon < 0)
    return west, min(lats), east, max(lats)


def asset_geobox(item: pystac.Item, key: str, storage: StorageSpec = _STORAGE) -> GeoBox:
    """The grid of an asset, from the projection extension or else from the file itself.

    Raises
    ------
    InputError
        The item has no such asset.
    ReadError, MissingError
        The file had to be opened and could not be.
    """
    stated = stated_geobox(item, key)
    if stated is not None:
        return stated
    href = asset_href(item, key)
    try:
        with opened(href, storage) as src:
            return GeoBox((src.height, src.width), src.transform, str(src.crs))
    except GeocubeError as error:
        raise type(error)(f"Item {item.id}, asset {key}: {error}") from error


def stated_geobox(item: pystac.Item, key: str) -> GeoBox | None:
    """The grid of an asset if the projection extension states it all, else None."""
    asset = item.assets.get(key)
    said = item.properties | (asset.extra_fields if asset else {})
    shape, transform = said.get("proj:shape"), said.get("proj:transform")
    code = said.get("proj:code") or (
        f"EPSG:{said['proj:epsg']}" if said.get("proj:epsg") is not None else None
    )
    if shape is None or transform is None or code is None:
        return None
    return GeoBox((int(shape[0]), int(shape[1])), Affine(*transform[:6]), code)


def asset_href(item: pystac.Item, key: str) -> str:
    """Path or URL of an asset, without the signature that it gets when it is read.

    Raises
    ------
    InputError
        The item has no such asset.
    """
    if key not in item.assets:
        raise InputError(
            f"Item {item.id} has no asset {key!r}; it has {', '.join(sorted(item.assets))}."
        )
    asset = item.assets[key]
    href = str(asset.get_absolute_href() or asset.href)
    return unsigned(href) if signed_when_read(href) else href


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _positions(coordinates: Any) -> list[tuple[float, float]]:
    if isinstance(coordinates[0], int | float):
        return [(float(coordinates[0]), float(coordinates[1]))]
    return [position for part in coordinates for position in _positions(part)]
