"""Finding the items of a source, wherever they are listed.

Where they are listed is the matter of `stored` (folders, static catalogs), `pin` (GeoParquet),
`stac_api` and `geotiffs` (plain files); here they are filtered and checked, the same for all.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pystac
from odc.geo.geom import Geometry

from geocube_ml.errors import InputError
from geocube_ml.files import place
from geocube_ml.items.filters import filtered, filters_of
from geocube_ml.items.geotiffs import geotiff_items
from geocube_ml.items.item import solar_day
from geocube_ml.items.pin import items_digest, pin_items, read_items
from geocube_ml.items.signatures import check_renewable, unsigned, unsigned_fields
from geocube_ml.items.stac_api import search
from geocube_ml.items.stored import quiet, stored_items
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec

__all__ = ["find_items", "items_digest", "pin_items", "read_items"]

_STORAGE = StorageSpec()


def find_items(
    source: SourceSpec,
    period: PeriodSpec | None,
    area: Geometry | None = None,
    storage: StorageSpec = _STORAGE,
    *,
    leave_out: bool = False,
) -> list[pystac.Item]:
    """The items of a source that fall into the period and touch the area.

    Parameters
    ----------
    source : SourceSpec
        Where to look, and the assets that each item must have.
    period : PeriodSpec or None
        Its days, by the items' local solar date; None takes all.  Of a static sensor all items
        are taken in any case, also those without a date.
    area : Geometry in EPSG:4326, optional
        All items by default.
    storage : StorageSpec
        How stores and web servers are reached, and how patiently.
    leave_out : bool
        Whether a plain file that cannot be placed is listed all the same, as `geotiff_items`
        does; reading it will fail, and leave it out.

    Returns
    -------
    list of pystac.Item
        In the order of their dates, then their ids, each once; asset hrefs are absolute, and
        without a signature.

    Raises
    ------
    MissingError
        The folder or file is not there, or the API does not answer, be it with its last page.
    NoItemsError
        Nothing was found; says which condition removed how many, what was asked and what is there.
    InputError
        Items lack an asset that the recipe names, are not STAC, are two of one name, or can be
        read only until a signature ends.
    StorageError
        A store or site cannot be reached, or refuses.
    """
    spec = source.items
    if source.sensor.static:
        period = None
    filters = filters_of(spec, period, area)
    where = str(spec.catalog or spec.geoparquet or spec.stac_api or spec.files)
    with quiet():
        found = _listed(source, period, area, storage, leave_out)
    if spec.files:  # an item of which no file is wanted has no place, so this comes first
        _check_assets(found, source.assets, where)
    kept = _once(filtered(found, filters, spec, where), where)
    _check_assets(kept, source.assets, where)
    check_renewable(kept, source.assets)
    for item in kept:
        for asset in item.assets.values():
            asset.href = unsigned(asset.href)
            asset.extra_fields = unsigned_fields(asset.extra_fields)
    undated = source.sensor.static
    return sorted(kept, key=lambda item: (_date(item) if undated else solar_day(item), item.id))


def _listed(
    source: SourceSpec,
    period: PeriodSpec | None,
    area: Geometry | None,
    storage: StorageSpec,
    leave_out: bool,
) -> list[pystac.Item]:
    """What the place lists; an API leaves out what does not match."""
    spec = source.items
    if spec.stac_api:
        return search(spec, period, area, storage)
    if spec.geoparquet:
        return read_items(place(spec.geoparquet, storage))
    if spec.files:
        return geotiff_items(source, storage, leave_out=leave_out)
    return stored_items(str(spec.catalog), storage)


def _date(item: pystac.Item) -> str:
    return "" if item.datetime is None else item.datetime.date().isoformat()


def _once(items: Sequence[pystac.Item], where: str) -> list[pystac.Item]:
    """Each item once: a list that changes while its pages are read gives some twice."""
    found: dict[tuple[str | None, str], pystac.Item] = {}
    for item in items:
        first = found.setdefault((item.collection_id, item.id), item)
        if first is not item and items_digest([first]) != items_digest([item]):
            raise InputError(
                f"{where} has two items {item.id} of the collection {item.collection_id} that "
                "say different things. Search again, in case one was just replaced; or leave one "
                "of them out."
            )
    return list(found.values())


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
