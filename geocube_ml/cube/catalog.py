"""Finding items: a folder, a static catalog, a GeoParquet, a STAC API; and pinning them.

The only module that talks to a catalogue.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import shapely
import stac_geoparquet.arrow
from odc.geo.geom import Geometry, box
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.warnings import DoesNotConformTo

from geocube_ml.cube.items import footprint_bounds, solar_day
from geocube_ml.errors import InputError, MissingError, NoItemsError
from geocube_ml.files import whole_file
from geocube_ml.spec.base import digest
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d*?)?0*(?:Z|\+00:00)")
_TIMEOUT = (10, 60)  # seconds to connect, to answer


@dataclass(frozen=True)
class _Filter:
    """One condition on items, and how it is said when it removed all of them."""

    said: str
    keep: Callable[[pystac.Item], bool]


def find_items(
    source: SourceSpec, period: PeriodSpec, area: Geometry | None = None
) -> list[pystac.Item]:
    """The items of a source that fall into the period and touch the area.

    Parameters
    ----------
    source : SourceSpec
        Where to look, and the assets that each item must have.
    period : PeriodSpec
        Months, by the items' local solar date.
    area : Geometry in EPSG:4326, optional
        All items by default.

    Returns
    -------
    list of pystac.Item
        In the order of their dates, then their ids; asset hrefs are absolute.

    Raises
    ------
    MissingError
        The folder or file is not there, or the API cannot be reached.
    NoItemsError
        Nothing was found; says which condition removed how many.
    InputError
        Items lack an asset that the recipe names, or are not STAC.
    """
    spec = source.items
    filters = [
        *_collections(spec.collections),
        _Filter(
            f"outside the period {period.start} to {period.end}",
            lambda item: period.start <= solar_day(item)[:7] <= period.end,
        ),
        *([] if area is None else [_Filter("outside the grid", lambda i: _touches(i, area))]),
        _Filter(
            f"cloudier than max_cloud_cover {spec.max_cloud_cover:g} %",
            lambda item: (item.properties.get("eo:cloud_cover") or 0) <= spec.max_cloud_cover,
        ),
    ]
    where = str(spec.catalog or spec.geoparquet or spec.stac_api)
    with _quiet():
        found = _search(spec, period, area) if spec.stac_api else list(_stored(spec))
    kept = _filtered(found, filters, where)
    _check_assets(kept, source.assets, where)
    return sorted(kept, key=lambda item: (solar_day(item), item.id))


def pin_items(items: Sequence[pystac.Item], path: Path) -> None:
    """Write items to a GeoParquet, so that a re-run needs no catalogue.

    Parameters
    ----------
    items : sequence of pystac.Item
    path : Path
        Replaced if it exists; written whole or not at all.

    Raises
    ------
    InputError
        A property holds text in one item and a number in another.
    """
    rows = []
    for item in items:
        row = item.to_dict(include_self_link=False, transform_hrefs=False)
        bounds = footprint_bounds(item)
        place = {
            "bbox": list(bounds),
            "geometry": row["geometry"] or shapely.geometry.mapping(shapely.box(*bounds)),
            "links": [],  # they lead back to the catalogue
        }
        rows.append(_EMPTY | dict(_without_nulls(row)) | place)
    try:
        table = stac_geoparquet.arrow.parse_stac_items_to_arrow(rows).read_all()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"The {len(rows)} items do not fit into one table ({error}). A property must be of "
            "one type in all of them; name fewer `collections`, or mend the items."
        ) from error
    with whole_file(path) as partial:
        stac_geoparquet.arrow.to_parquet(table, str(partial))


def read_items(path: Path) -> list[pystac.Item]:
    """The items of a GeoParquet, as they were pinned.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is not a GeoParquet of STAC items.
    """
    if not path.exists():
        raise MissingError(f"There is no file {path}. Correct its name, or search again.")
    try:
        rows = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(path)))
        with _quiet():
            items = [pystac.Item.from_dict(_EMPTY | dict(_without_nulls(row))) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, pystac.STACError) as error:
        raise InputError(f"{path} is not a GeoParquet of STAC items: {error}") from error
    for item in items:
        item.set_self_href(str(path.absolute().parent / f"{item.id}.json"))  # for relative hrefs
        item.make_asset_hrefs_absolute()
    return items


def items_digest(items: Iterable[pystac.Item]) -> str:
    """16 hex digits over what items say, wherever their files lie and however they are signed."""
    return digest(sorted(digest(_said(item)) for item in items))


def _said(item: pystac.Item) -> dict[str, Any]:
    assets = {
        key: asset.extra_fields | {"file": asset.href.split("?")[0].rsplit("/", 1)[-1]}
        for key, asset in item.assets.items()
    }
    said = {
        "id": item.id,
        "bbox": footprint_bounds(item),
        "properties": item.properties,
        "assets": assets,
    }
    return dict(_plain(_without_nulls(json.loads(json.dumps(said, default=str)))))


def _plain(value: Any) -> Any:
    """10 for 10.0 and one way to write a time: Parquet does not keep how they were written.

    Examples
    --------
    >>> _plain([10.0, 0.5, "2022-01-05T10:00:09.310000Z", "2022-01-05T10:00:10.000Z", "1.0"])
    [10, 0.5, '2022-01-05T10:00:09.31Z', '2022-01-05T10:00:10Z', '1.0']
    """
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := _TIME.fullmatch(value)):
        return match[1] + (match[2] or "").rstrip(".") + "Z"
    return value


def _stored(spec: ItemsSpec) -> Iterator[pystac.Item]:
    if spec.geoparquet:
        yield from read_items(Path(spec.geoparquet))
        return
    path = Path(str(spec.catalog))
    if not path.exists():
        raise MissingError(f"There is no folder or catalog {path}. Correct `items.catalog`.")
    if path.is_file():
        yield from _static(path)
        return
    for file in sorted(path.rglob("*.json")):
        item = _read_json(file)
        if item.get("type") == "Feature":
            yield _parsed(item, file)


def _static(path: Path) -> Iterator[pystac.Item]:
    content = _read_json(path)
    if content.get("type") == "Feature":
        yield _parsed(content, path)
        return
    if "links" not in content:
        raise InputError(f"{path} is neither a STAC catalog nor an item. Name another file.")
    try:
        for item in _catalog(path).get_items(recursive=True):
            item.make_asset_hrefs_absolute()
            yield item
    except (pystac.STACError, pystac.STACTypeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a STAC catalog: {error}") from error
    except FileNotFoundError as error:
        raise MissingError(
            f"{path} links to {error.filename}, which is not there. Restore it, or remove the link."
        ) from error


def _catalog(path: Path) -> pystac.Catalog:
    found = pystac.read_file(str(path))  # Catalog.from_file refuses a collection
    if not isinstance(found, pystac.Catalog):
        raise TypeError(f"it is a {type(found).__name__}")
    return found


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is not JSON ({error}); it may be cut short. Fetch it again, or remove it."
        ) from error
    return content if isinstance(content, dict) else {}


def _parsed(content: dict[str, Any], file: Path) -> pystac.Item:
    try:
        item = pystac.Item.from_dict(content, href=str(file.absolute()))
    except (pystac.STACError, pystac.STACTypeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{file} is not a STAC item: {type(error).__name__} {error}. Mend it, or remove it."
        ) from error
    item.make_asset_hrefs_absolute()
    return item


def _search(spec: ItemsSpec, period: PeriodSpec, area: Geometry | None) -> list[pystac.Item]:
    url = str(spec.stac_api)
    try:
        client = Client.open(url, timeout=_TIMEOUT)
        search = client.search(
            collections=list(spec.collections),
            datetime=_interval(period),
            intersects=None if area is None else area.json,
        )
        found = list(search.items())
        if not found:
            raise NoItemsError(_nothing_matched(client, spec, period, area))
    except (APIError, OSError) as error:
        raise MissingError(
            f"The STAC API {url} did not answer: {error}. Check the address and the network; "
            "a run whose items are pinned needs no API."
        ) from error
    except (ClientTypeError, DoesNotConformTo, pystac.STACError, ValueError, KeyError) as error:
        raise InputError(
            f"{url} is not a STAC API that can be searched ({error}). Name the address of its "
            "landing page, or a static catalog as `catalog`."
        ) from error
    return found


def _nothing_matched(
    client: Client, spec: ItemsSpec, period: PeriodSpec, area: Geometry | None
) -> str:
    """Which of the conditions that the API applied itself left nothing."""
    names = list(spec.collections)
    shape = None if area is None else area.json

    def some(**conditions: Any) -> str:
        n = len(list(client.search(collections=names, max_items=100, **conditions).items()))
        return "100 or more" if n == 100 else str(n)

    in_period = f"{period.start} to {period.end}"
    return (
        f"The STAC API {spec.stac_api} has no item of {', '.join(names)} within the grid and "
        f"{in_period}. Of these collections it has {some(datetime=_interval(period))} within the "
        f"period alone, {some(intersects=shape)} within the grid alone, {some()} in all. Widen "
        "the condition that leaves none, or correct the collection's name."
    )


def _interval(period: PeriodSpec) -> str:
    """A day more at either end, as the months go by solar date."""
    first = date.fromisoformat(period.start + "-01") - timedelta(days=1)
    year, month = map(int, period.end.split("-"))
    last = date(year + month // 12, month % 12 + 1, 1)
    return f"{first}T00:00:00Z/{last}T23:59:59Z"


def _collections(names: tuple[str, ...]) -> list[_Filter]:
    if not names:
        return []
    said = f"of another collection than {', '.join(names)}"
    return [_Filter(said, lambda item: item.collection_id in names)]


def _touches(item: pystac.Item, area: Geometry) -> bool:
    west, south, east, north = footprint_bounds(item)
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return any(box(w, south, e, north, "EPSG:4326").intersects(area) for w, e in spans)


def _filtered(
    found: list[pystac.Item], filters: Sequence[_Filter], where: str
) -> list[pystac.Item]:
    kept, removed = found, []
    for one in filters:
        passed = [item for item in kept if one.keep(item)]
        if len(passed) < len(kept):
            removed.append(f"{len(kept) - len(passed)} {one.said}")
        kept = passed
    if kept:
        return kept
    if not found:
        raise NoItemsError(
            f'No items in {where}. Look for *.json files with "type": "Feature" there, or '
            "widen the period, the grid or the collections."
        )
    raise NoItemsError(
        f"None of the {len(found)} items in {where} is left: {', then '.join(removed)}. "
        f"Widen {'that filter' if len(removed) == 1 else 'one of these filters'} in the recipe."
    )


def _check_assets(items: Sequence[pystac.Item], wanted: Sequence[str], where: str) -> None:
    for key in wanted:
        lacking = [item for item in items if key not in item.assets]
        if not lacking:
            continue
        there = sorted({name for item in items for name in item.assets})
        near = difflib.get_close_matches(key, there, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near and near[0] not in wanted else ""
        some = ", ".join(item.id for item in lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise InputError(
            f"{len(lacking)} of {len(items)} items in {where} have no asset {key!r} ({some}). "
            f"{hint}Their assets are {', '.join(there)}. Correct `asset:` in the sensor, or leave "
            "those items out."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without pystac's notes on extensions that it cannot bring up to date; none is read here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pystac\.extensions\.")
        yield


_EMPTY: dict[str, Any] = {"geometry": None, "assets": {}}
"""What an item must have, even if there is nothing in it."""


def _without_nulls(value: Any) -> Any:
    """Columns that some items lack come back from Parquet as nulls; it cannot hold empty dicts."""
    if isinstance(value, dict):
        kept = {k: _without_nulls(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v is not None and v != {}}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
