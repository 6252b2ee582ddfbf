"""The conditions on items, and what is said where they leave none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import pystac
from odc.geo.geom import Geometry, box

from geocube_ml.errors import NoItemsError
from geocube_ml.items.item import footprint_bounds, solar_day
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import ItemsSpec

_SHOWN = 5  # collections


@dataclass(frozen=True)
class Filter:
    """One condition on items, and how it is said when it removed all of them."""

    said: str
    """What is wrong with an item that it removes, with what was asked for."""
    key: str
    """Of the recipe, where it is stated."""
    keep: Callable[[pystac.Item], bool]
    theirs: Callable[[Sequence[pystac.Item]], str]
    """What the items that it removed have in place of that; empty if nothing is to be said."""


def filters_of(spec: ItemsSpec, period: PeriodSpec | None, area: Geometry | None) -> list[Filter]:
    """The conditions of a source, in the order in which they are applied."""
    filters = []
    if spec.collections:
        said = f"of another collection than {', '.join(spec.collections)}"
        names = frozenset(spec.collections)
        filters.append(
            Filter(said, "items.collections", lambda i: i.collection_id in names, _collections)
        )
    if period is not None:
        first, last = (day.isoformat() for day in period.days)
        filters.append(
            Filter(
                f"outside the period {period.start} to {period.end}",
                "period",
                lambda item: first <= solar_day(item) <= last,
                lambda items: days_of(map(solar_day, items)),
            )
        )
    if area is not None:
        filters.append(
            Filter(
                f"outside the grid ({place_of([area.boundingbox.bbox])})",
                "grid",
                lambda item: touches(item, area),
                lambda items: place_of(map(footprint_bounds, items)),
            )
        )
    filters.append(
        Filter(
            f"cloudier than max_cloud_cover {spec.max_cloud_cover:g} %",
            "items.max_cloud_cover",
            lambda item: _cover(item) <= spec.max_cloud_cover,
            lambda items: _range([_cover(item) for item in items], " %"),
        )
    )
    if spec.exclude:
        out = frozenset(spec.exclude)
        filters.append(
            Filter("named in `exclude`", "items.exclude", lambda i: i.id not in out, lambda _: "")
        )
    return filters


def filtered(
    found: list[pystac.Item], filters: Sequence[Filter], spec: ItemsSpec, where: str
) -> list[pystac.Item]:
    """The items that pass all conditions.

    Raises
    ------
    NoItemsError
        None does; says how many each condition removed, what was asked for, and what these have.
    """
    if not found:
        raise NoItemsError(f"No items in {where}, of whatever period and place. {_look(spec)}")
    kept, lost = found, list[tuple[Filter, list[pystac.Item]]]()
    for one in filters:
        passed: list[pystac.Item] = []
        gone: list[pystac.Item] = []
        for item in kept:
            (passed if one.keep(item) else gone).append(item)
        if gone:
            lost.append((one, gone))
        kept = passed
    if kept:
        return kept
    removed, keys = [], []
    for one, gone in lost:
        theirs = one.theirs(gone)
        removed.append(f"{len(gone)} {one.said}{f' (theirs: {theirs})' if theirs else ''}")
        keys.append(f"`{one.key}`")
    which = "that filter" if len(removed) == 1 else "one of these filters"
    raise NoItemsError(
        f"None of the {len(found)} items in {where} is left: {', then '.join(removed)}. "
        f"Widen {which} in the recipe ({', '.join(keys)}), or name other items."
    )


def days_of(days: Iterable[str]) -> str:
    """The first and the last of some days.

    Examples
    --------
    >>> days_of(["2019-11-28", "2019-05-02"]), days_of(["2019-05-02"])
    ('2019-05-02 to 2019-11-28', '2019-05-02')
    """
    ordered = sorted(days)
    return " to ".join(dict.fromkeys([ordered[0], ordered[-1]]))


def place_of(bounds: Iterable[tuple[float, float, float, float]]) -> str:
    """Where some places lie in all, in degrees; west is above east across the antimeridian.

    Examples
    --------
    >>> place_of([(14.0, 45.0, 15.0, 46.0), (14.5, 44.0, 15.51, 45.0)])
    'west 14.0000, south 44.0000, east 15.5100, north 46.0000'
    """
    wests, souths, easts, norths = zip(*bounds, strict=True)
    return (
        f"west {min(wests):.4f}, south {min(souths):.4f}, east {max(easts):.4f}, "
        f"north {max(norths):.4f}"
    )


def _look(spec: ItemsSpec) -> str:
    if spec.geoparquet:
        return "The GeoParquet has no rows: name another one, or write it anew."
    return (
        'Look for *.json files with "type": "Feature" there, or in a catalog for links to items; '
        "or correct `items.catalog`."
    )


def _collections(items: Sequence[pystac.Item]) -> str:
    names = sorted({str(item.collection_id or "none") for item in items})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _cover(item: pystac.Item) -> float:
    """Percent that the catalogue says is cloudy; 0 where it does not say."""
    return float(item.properties.get("eo:cloud_cover") or 0)


def _range(values: Collection[float], unit: str) -> str:
    ends = dict.fromkeys([f"{min(values):.4g}", f"{max(values):.4g}"])
    return " to ".join(ends) + unit


def touches(item: pystac.Item, area: Geometry) -> bool:
    """Whether an item's outline has a point in common with an area in EPSG:4326."""
    west, south, east, north = footprint_bounds(item)
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return any(box(w, south, e, north, "EPSG:4326").intersects(area) for w, e in spans)
