"""What one STAC item says about its assets: where they lie, what was done to their counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.errors import GeocubeError, InputError, UnplacedError, told_of
from geocube_ml.files import redacted
from geocube_ml.items.signatures import unsigned
from geocube_ml.raster import opened, signed_when_read
from geocube_ml.spec.storage import StorageSpec

BOA_OFFSET = 1000
"""Counts that Sentinel-2's processing baseline 04.00 and later add to all reflectance bands, of
Level-1C and Level-2A alike."""

_FIRST_WITH = (4, 0)
_MADE_BY_USERS = (99, 99)  # whichever processor: the number says nothing of the offset
_A_DAY = timedelta(hours=23, minutes=59)
_HALF_GLOBE = 180.0  # degrees
_STORAGE = StorageSpec()

_BASELINES = (
    "s2:processing_baseline",
    "sentinel:processing_baseline",  # Earth Search v0
    "sentinel2:processing_baseline",
    "processing:version",  # Copernicus Data Space
)
_PRODUCTS = ("s2:product_uri", "sentinel:product_id", "sentinel2:product_title")
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_NUMBER = re.compile(r"(\d{1,2})\.(\d{2})")
_NAME = re.compile(r"_N(\d{2})(\d{2})_")
_REFLECTANCE_SCALE = (0.00009, 0.00011)  # of one count; that of aerosol and water vapour is 0.001


@dataclass(frozen=True)
class Offset:
    """What must be taken off an item's counts, and how that is known."""

    counts: int
    evidence: str
    """The metadata that decide."""
    doubt: str = ""
    """The metadata that say otherwise, if any; then the pixels must decide."""


def boa_offset(item: pystac.Item) -> Offset:
    """What baseline 04.00 added to a Sentinel-2 item's counts and is still in them.

    Parameters
    ----------
    item : pystac.Item
        Of Planetary Computer, Earth Search (v0, v1, v2), Copernicus Data Space, or with the same
        properties.

    Returns
    -------
    Offset
        1000 counts or none.

    Raises
    ------
    InputError
        Nothing in the item says it, or it is not of Sentinel-2.

    Notes
    -----
    Three things can say it, in this order:

    1. ``earthsearch:boa_offset_applied`` (``sentinel:`` in v0): true where the archive has taken
       the offset off.  Its ``raster:bands`` state an offset of -0.1 all the same; that is of the
       product as it was delivered.  False says no more than that nothing was taken off.
    2. The processing baseline, a property or part of the product's name (``_N0400_``).
    3. ``raster:bands`` (``raster:offset`` in STAC 1.1) of the reflectance assets.

    Where 2 and 3, or two statements of one kind, differ, the first decides and the other is kept
    as a doubt.  Metadata were wrong for whole months of real archives, so that
    `geocube_ml.cube.radiometry` checks each decision against the pixels.
    """
    properties = item.properties
    if _is_other(properties):
        raise InputError(
            f"Item {item.id} is not of Sentinel-2 (platform {properties.get('platform')}), so "
            "that its counts have no offset of that kind. Set the sensor's `offset: none`, and "
            "`scale` and `add_offset` as its collection says."
        )
    applied = next((key for key in _APPLIED if properties.get(key) is True), None)
    baselines = _baselines(item)
    stated = _stated_offsets(item)
    if applied is not None:
        without = [f"{said} adds none" for said, added in baselines.items() if added == 0]
        return Offset(0, f"{applied} is true", ", ".join(without))
    if baselines:
        said, added = next(iter(baselines.items()))
        doubts = [other for other, there in baselines.items() if there != added]
        if stated and stated != {added}:
            doubts.append(f"raster:bands state {_listed(stated)} counts")
        agrees = " and raster:bands" if stated == {added} else ""
        return Offset(added, f"{said}{agrees}", ", ".join(doubts))
    if stated in ({0}, {BOA_OFFSET}):
        return Offset(stated.pop(), "raster:bands")
    if _made_by_users(item):
        number = "{:02}.{:02}".format(*_MADE_BY_USERS)
        doubt = "it is of products made by users, of any processor"
        return Offset(BOA_OFFSET, f"processing baseline {number}", doubt)
    raise InputError(
        f"Item {item.id} does not say its processing baseline (s2:processing_baseline, or "
        "_N0400_ in s2:product_uri), so whether its counts carry the offset of baseline "
        "04.00 is not known. Add the property, or set the sensor's `offset: none`."
    )


def _baselines(item: pystac.Item) -> dict[str, int]:
    """Each statement of the baseline, the first to be believed first, to the counts it adds."""
    return {
        f"{key} {number[0]:02}.{number[1]:02}": BOA_OFFSET if number >= _FIRST_WITH else 0
        for key, number in _numbers(item).items()
        if number != _MADE_BY_USERS
    }


def _made_by_users(item: pystac.Item) -> bool:
    return _MADE_BY_USERS in _numbers(item).values()


def _numbers(item: pystac.Item) -> dict[str, tuple[int, int]]:
    """Where a baseline stands to its two numbers."""
    found: dict[str, tuple[int, int]] = {}
    for key in _BASELINES:
        if match := _NUMBER.fullmatch(str(item.properties.get(key, ""))):
            found[key] = (int(match[1]), int(match[2]))
    names = {key: str(item.properties.get(key, "")) for key in _PRODUCTS} | {"its name": item.id}
    for key, name in names.items():
        if match := _NAME.search(name):
            found[key] = (int(match[1]), int(match[2]))
    return found


def _stated_offsets(item: pystac.Item) -> set[int]:
    """Counts that the reflectance assets say are to be taken off."""
    stated = set()
    for asset in item.assets.values():
        fields = asset.extra_fields
        bands = fields.get("raster:bands") or fields.get("bands") or [{}]
        for band in bands:
            scale = band.get("scale", band.get("raster:scale", fields.get("raster:scale")))
            offset = band.get("offset", band.get("raster:offset", fields.get("raster:offset")))
            if scale and offset is not None and _between(float(scale), *_REFLECTANCE_SCALE):
                stated.add(round(-float(offset) / float(scale)))
    return stated


def _between(value: float, low: float, high: float) -> bool:
    return low <= value <= high


def _listed(values: set[int]) -> str:
    return " and ".join(map(str, sorted(values)))


def _is_other(properties: dict[str, Any]) -> bool:
    """Whether an item says that it is of another mission."""
    said = [properties.get(key) for key in ("platform", "constellation")]
    named = [str(name).lower().replace(" ", "-") for name in said if name]
    return bool(named) and not any(name.startswith(("sentinel-2", "s2")) for name in named)


def solar_day(item: pystac.Item) -> str:
    """The local solar date, ``YYYY-MM-DD``: one overpass never straddles it.

    Of an item without ``datetime`` whose interval is of a day or more, the date that it starts.

    Raises
    ------
    InputError
        The item has no date.
    """
    when, until = item.datetime, None
    if when is None:
        when, until = item.common_metadata.start_datetime, item.common_metadata.end_datetime
    if when is None:
        raise InputError(
            f"Item {item.id} has neither datetime nor start_datetime. Add one, or leave it out."
        )
    if until is not None and _utc(until) - _utc(when) >= _A_DAY:
        return _utc(when).date().isoformat()  # of a composite: its first day as it stands
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
    if east - west > _HALF_GLOBE and _apart(lons):
        west, east = min(lon for lon in lons if lon > 0), max(lon for lon in lons if lon < 0)
    return west, min(lats), east, max(lats)


def _apart(lons: Sequence[float]) -> bool:
    """Whether longitudes lie at both sides of the antimeridian; else they go around the globe."""
    far = all(abs(lon) > _HALF_GLOBE / 2 for lon in lons)
    return far and any(abs(lon) < _HALF_GLOBE for lon in lons)


def asset_geobox(item: pystac.Item, key: str, storage: StorageSpec = _STORAGE) -> GeoBox:
    """The grid of an asset, from the projection extension or else from the file itself.

    Raises
    ------
    InputError
        The item has no such asset.
    ReadError, MissingError
        The file had to be opened and could not be.
    UnplacedError
        The file has no CRS.
    """
    stated = stated_geobox(item, key)
    if stated is not None:
        return stated
    href = asset_href(item, key)
    try:
        with opened(href, storage) as src:
            if src.crs is None:
                raise UnplacedError(
                    f"{redacted(href)} has no CRS. Write one into it (gdal_edit.py -a_srs "
                    "EPSG:...), or leave its item out (`items.exclude`)."
                )
            return GeoBox((src.height, src.width), src.transform, str(src.crs))
    except GeocubeError as error:
        raise told_of(error, f"Item {item.id}, asset {key}") from error


def stated_geobox(item: pystac.Item, key: str) -> GeoBox | None:
    """The grid of an asset if the projection extension states it all, else None."""
    asset = item.assets.get(key)
    said = item.properties | (asset.extra_fields if asset else {})
    shape, transform = said.get("proj:shape"), said.get("proj:transform")
    epsg = said.get("proj:epsg")
    code = said.get("proj:code") or (said.get("proj:wkt2") if epsg is None else f"EPSG:{epsg}")
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
