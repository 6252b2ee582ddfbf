"""Plain GeoTIFFs as items: what a catalogue would say is read from their names and headers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac
import rasterio
from odc.geo.geobox import GeoBox
from pystac.utils import datetime_to_str
from shapely import box, unary_union
from shapely.geometry import mapping

from geocube_ml.errors import (
    AccessError,
    GeocubeError,
    InputError,
    MissingError,
    NoItemsError,
    ReadError,
    SpecError,
    UnplacedError,
    told_of,
)
from geocube_ml.files import Place, below, place, redacted
from geocube_ml.items.item import footprint_bounds
from geocube_ml.items.stored import item_of, reached
from geocube_ml.raster import from_raster
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec

_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}|(\*)|([{}])")
_CODES = {
    "%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%j": r"\d{1,3}",
    "%b": r"[^\W\d_]+", "%B": r"[^\W\d_]+", "%H": r"\d{2}", "%M": r"\d{2}", "%S": r"\d{2}",
    "%f": r"\d{1,6}", "%%": "%",
}  # fmt: skip
_ENDING = re.compile(r"\.\w+$")
_ONLY_ASSET = "image"
_NOON = timedelta(hours=12)
_CLOCK = re.compile("%[HMSf]")


@dataclass(frozen=True)
class _File:
    """A file whose path fits the pattern."""

    path: str
    """Below the folder."""
    href: str
    asset: str
    when: datetime | None
    """UTC; midnight where the path says the day alone."""
    clock: bool
    """Whether it says the time of day."""
    id: str
    """Of the item that it belongs to."""


def geotiff_items(
    source: SourceSpec, storage: StorageSpec, *, leave_out: bool = False
) -> list[pystac.Item]:
    """The GeoTIFFs of a folder as STAC items, made in memory.

    Parameters
    ----------
    source : SourceSpec
        `items.files` is the folder, `items.pattern` says what the path of a file below it means.
        The headers of the assets that are wanted are read.
    storage : StorageSpec
        How stores are reached, how patiently, and how many headers are read at a time.
    leave_out : bool
        Whether a file that is damaged or has no CRS is no error yet: its item is listed without
        its grid, and placed by its other files, or anywhere that the items of the folder reach.
        Whoever reads it leaves it out, and says so.

    Returns
    -------
    list of pystac.Item
        One for each set of files that differ in ``{asset}`` alone.  Its id is what the other
        fields hold, and the day; its datetime is noon (UTC) of the day (midnight across the
        antimeridian, where it is noon then), or the time (UTC) that the pattern has beside the
        day, or None where it has no ``{date:...}``.  ``proj:code`` (or
        ``proj:wkt2``), ``proj:shape`` and ``proj:transform`` are the assets'.

    Raises
    ------
    SpecError
        The pattern cannot be read, or lacks ``{date:...}`` though the source is a series.
    NoItemsError
        No file fits the pattern.
    InputError
        Two files are one asset of one item; or the place cannot be listed.
    UnplacedError
        A file has no CRS (with `leave_out` every file).
    MissingError
        There is no such folder.
    ReadError, StorageError
        A file (with `leave_out` every file), or the store, cannot be read.
    """
    location, pattern = str(source.items.files), source.items.pattern
    expression, formats = _compiled(pattern)
    if not formats and not source.sensor.static:
        raise SpecError(
            f"The pattern {pattern!r} does not say where the date of a file stands, but the source "
            "is a series. Add {date:%Y%m%d} (as of strptime) to `items.pattern`, or `static: true` "
            "to the sensor, to make one layer of all files."
        )
    root = _folder(location, storage)
    with reached(root):
        ending = _ENDING.search(pattern)
        paths = below(root, ending[0] if ending else ".tif")
    start = len(str(root).rstrip("/")) + 1
    listed = [(str(path)[start:], str(path)) for path in paths]
    files = [
        file
        for path, href in listed
        if (file := _fitting(path, href, expression, formats, root.name)) is not None
    ]
    if not files:
        raise NoItemsError(_nothing(location, pattern, [path for path, _ in listed]))
    items = _grouped(files)
    wanted = [
        (key, file)
        for assets in items.values()
        for key, file in assets.items()
        if key in source.assets
    ]
    found = dict(zip((f.href for _, f in wanted), _grids(wanted, storage, leave_out), strict=True))
    grids = {href: grid for href, grid in found.items() if isinstance(grid, GeoBox)}
    lacking = [error for error in found.values() if isinstance(error, GeocubeError)]
    if lacking and not grids:
        raise lacking[0]
    listed_items = [_item(name, assets, grids) for name, assets in items.items()]
    return _placed(listed_items) if lacking else listed_items


def _compiled(pattern: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern as a regular expression, and the format of its date (``date``), if any."""
    parts, seen, formats, at = [], set[str](), dict[str, str](), 0
    for match in _FIELD.finditer(pattern):
        name, form, anything, brace = match.groups()
        parts.append(re.escape(pattern[at : match.start()]))
        at = match.end()
        if brace:
            raise SpecError(
                f"`items.pattern` is {pattern!r}, in which a {brace!r} stands alone; fields are "
                "written {asset}, {date:%Y%m%d}, {id}."
            )
        if anything:
            parts.append(".*?")
        elif name in seen:
            parts.append(f"(?P={name})")
        elif name == "date":
            if not form:
                raise SpecError(
                    f"`items.pattern` is {pattern!r}; say how the date is written: {{date:%Y%m%d}}."
                )
            formats[name] = form
            parts.append(f"(?P<date>{_of_date(form, pattern)})")
        elif form is not None:
            raise SpecError(
                f"`items.pattern` is {pattern!r}; only the date has a format, write {{{name}}}."
            )
        else:
            parts.append(f"(?P<{name}>[^/]+?)")
        seen.add(str(name))
    return re.compile("".join([*parts, re.escape(pattern[at:])])), formats


def _of_date(form: str, pattern: str) -> str:
    parts = []
    for part in re.findall(r"%.|[^%]+|%", form):
        if part.startswith("%") and part not in _CODES:
            raise SpecError(
                f"`items.pattern` is {pattern!r}; of a date are known {', '.join(_CODES)}, got "
                f"{part!r}."
            )
        parts.append(_CODES.get(part, re.escape(part)))
    return "".join(parts)


def _folder(location: str, storage: StorageSpec) -> Place:
    if location.startswith(("http://", "https://")):
        raise InputError(
            f"{location} is a web site, whose files cannot be listed. Name a folder of this "
            "machine or of a store (s3://bucket/prefix), or items that list the files, as "
            "`catalog` or `geoparquet`."
        )
    root = place(location, storage)
    with reached(root):
        there = root.is_dir() if not location.startswith("s3://") else True
    if not there:
        raise MissingError(f"There is no folder {location}. Correct `items.files`.")
    return root


def _fitting(
    path: str, href: str, expression: re.Pattern[str], formats: dict[str, str], folder: str
) -> _File | None:
    match = expression.fullmatch(path)
    if match is None:
        return None
    fields = match.groupdict()
    asset, date, when = fields.pop("asset", _ONLY_ASSET), fields.pop("date", None), None
    parts = list(fields.values())
    if date is not None:
        try:
            when = datetime.strptime(date, formats["date"]).replace(tzinfo=UTC)
        except ValueError:
            return None  # digits, but no day of the calendar
        clock = _CLOCK.search(formats["date"])
        parts.append(f"{when:%Y-%m-%dT%H%M%S}" if clock else f"{when:%Y-%m-%d}")
        return _File(path, href, asset, when, clock is not None, "_".join(parts))
    return _File(path, href, asset, None, False, "_".join(parts) or folder)


def _grouped(files: Iterable[_File]) -> dict[str, dict[str, _File]]:
    """Item to asset to file."""
    items: dict[str, dict[str, _File]] = defaultdict(dict)
    for file in files:
        first = items[file.id].setdefault(file.asset, file)
        if first is not file:
            raise InputError(
                f"Two files are the asset {file.asset!r} of the item {file.id}: {first.path} and "
                f"{file.path}. Name what differs in `items.pattern`, as {{version}}, or remove "
                "one of them."
            )
    return dict(items)


def _grids(
    wanted: Sequence[tuple[str, _File]], storage: StorageSpec, leave_out: bool
) -> list[GeoBox | GeocubeError]:
    """The grid of each file, from its header; or why there is none, of one that is left out."""

    def grid(of: tuple[str, _File]) -> GeoBox | GeocubeError:
        key, file = of
        try:
            return from_raster(file.href, _grid, storage)
        except GeocubeError as error:
            told = told_of(error, f"Item {file.id}, asset {key}")
            if leave_out and _of_one(error):
                return told
            raise told from error

    with ThreadPoolExecutor(min(storage.requests, len(wanted)) or 1) as pool:
        futures = [pool.submit(grid, one) for one in wanted]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _of_one(error: GeocubeError) -> bool:
    """Whether it is the fault of one file: no outage, and no access that is refused."""
    if isinstance(error, AccessError):
        return False
    return isinstance(error, ReadError | MissingError) and not getattr(error, "passing", False)


def _grid(src: rasterio.DatasetReader) -> GeoBox:
    if src.crs is None:
        raise UnplacedError(
            f"{redacted(src.name)} has no CRS. Write one into it (gdal_edit.py -a_srs EPSG:...), "
            "or leave it out."
        )
    return GeoBox((src.height, src.width), src.transform, str(src.crs))


def _item(name: str, assets: dict[str, _File], grids: dict[str, GeoBox]) -> pystac.Item:
    first = next(iter(assets.values()))
    boxes = [grids[file.href] for file in assets.values() if file.href in grids]
    content: dict[str, Any] = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "links": [],
        "properties": {} if first.when is None else {"datetime": first.when.isoformat()},
        "geometry": _footprint(boxes),
        "assets": {
            key: {"href": file.href, **(_stated(grids[file.href]) if file.href in grids else {})}
            for key, file in sorted(assets.items())
        },
    }  # fmt: skip
    item = item_of(content)
    if boxes:
        west, south, east, north = footprint_bounds(item)
        item.bbox = [west, south, east, north]
        if item.datetime is not None and not first.clock and west < east:
            item.datetime += _NOON  # across the antimeridian midnight in UTC is noon of the sun
            # as it is written in a pin, so that the digests of both are one
            item.properties["datetime"] = datetime_to_str(item.datetime)
    return item


def _placed(items: Sequence[pystac.Item]) -> list[pystac.Item]:
    """The items, those without a place where any of the others is: none may miss them."""
    known = [box(*_spread(item)) for item in items if item.bbox is not None]
    outline = unary_union(known).envelope
    for item in items:
        if item.bbox is None:
            item.geometry, item.bbox = mapping(outline), list(outline.bounds)
    return list(items)


def _spread(item: pystac.Item) -> tuple[float, float, float, float]:
    """West, south, east, north with west below east: around the globe at the antimeridian."""
    west, south, east, north = footprint_bounds(item)
    return (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)


def _stated(grid: GeoBox) -> dict[str, Any]:
    """The grid in terms of the projection extension."""
    epsg = None if grid.crs is None else grid.crs.to_epsg()
    code = {"proj:wkt2": str(grid.crs)} if epsg is None else {"proj:code": f"EPSG:{epsg}"}
    return code | {"proj:shape": list(grid.shape), "proj:transform": list(grid.transform[:6])}


def _footprint(boxes: Sequence[GeoBox]) -> dict[str, Any] | None:
    """Where the largest of the rasters lies, in degrees; in two parts across the antimeridian."""
    if not boxes:
        return None
    widest = max(
        boxes, key=lambda box: abs(box.transform.determinant) * box.shape[0] * box.shape[1]
    )
    extent = widest.extent
    step = max(extent.boundingbox.span_x, extent.boundingbox.span_y) / 20  # edges are bent
    degrees = extent.to_crs("EPSG:4326", resolution=step, wrapdateline=True)
    return dict(degrees.json)


def _nothing(location: str, pattern: str, paths: Sequence[str]) -> str:
    if not paths:
        return (
            f"No file in {location} fits the pattern {pattern!r}: there is none with that ending. "
            "Correct `items.files` or `items.pattern`."
        )
    return (
        f"None of the {len(paths)} files in {location} fits the pattern {pattern!r}; the first is "
        f"{paths[0]}. Correct `items.pattern`: a field such as {{id}} stands for a part of a "
        "name, * for anything, folders too."
    )
