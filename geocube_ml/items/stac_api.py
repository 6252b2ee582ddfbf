"""Searching a STAC API: all pages of it, or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any
from urllib.parse import urljoin

import pystac
from odc.geo.geom import Geometry
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import DoesNotConformTo

from geocube_ml.errors import GeocubeError, InputError, MissingError, NoItemsError
from geocube_ml.files import redacted
from geocube_ml.items.filters import days_of, place_of
from geocube_ml.items.item import footprint_bounds, solar_day
from geocube_ml.items.stored import item_of
from geocube_ml.items.web import patient_io
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import ItemsSpec
from geocube_ml.spec.storage import StorageSpec

_CQL2 = (r"/item-search#filter$", r"/cql2/1\.0/conf/cql2-json$", r"/cql2/1\.0/conf/basic-cql2$")
"""What an API must say to understand the conditions that are sent: comparisons, and isNull."""

_EMPTY_PAGES = 10  # in a row; a page may be empty where the API filters after it cuts pages
_BAD_REQUEST = 400
_REFUSED = (401, 403)
_COUNTED = 100  # items; enough to say which condition leaves none
_WRONG = (ClientTypeError, DoesNotConformTo, pystac.STACError, ValueError, KeyError, TypeError,
          AttributeError)  # fmt: skip
"""What is raised for an answer that is none of a STAC API."""
_FAULTS = (GeocubeError, APIError, OSError, *_WRONG)


def search(
    spec: ItemsSpec, period: PeriodSpec | None, area: Geometry | None, storage: StorageSpec
) -> list[pystac.Item]:
    """What an API has of the collections, within the period and the area.

    Parameters
    ----------
    spec : ItemsSpec
        Its `filter` is applied by the API.  Its `max_cloud_cover` is too where the API says that
        it understands such conditions; the caller filters all the same.
    period : PeriodSpec, optional
        A day more at either end, as steps go by solar date; all of time without it.
    area : Geometry in EPSG:4326, optional
        May have several parts, as it has across the antimeridian.
    storage : StorageSpec
        How patiently.

    Returns
    -------
    list of pystac.Item
        As the API sends them; an item may come twice if the catalogue changes meanwhile.

    Raises
    ------
    MissingError
        The API, or any page of its answer, does not come.
    InputError
        It is no API that can be searched, or does not understand `filter`.
    NoItemsError
        It has nothing; says which condition leaves nothing.
    """
    url = str(spec.stac_api)
    try:
        io = patient_io(storage)
        client = Client.open(url, stac_io=io, timeout=io.timeout)
        return _search(_Api(client, io, spec), period, area)
    except GeocubeError:
        raise
    except (APIError, OSError) as error:
        raise MissingError(_unanswered(spec, error)) from error
    except _WRONG as error:
        raise InputError(
            f"{url} is not a STAC API that can be searched ({error}). Name the address of its "
            "landing page, or a static catalog as `catalog`."
        ) from error


class _Api:
    """The collections of an API, as far as searching goes."""

    def __init__(self, client: Client, io: StacApiIO, spec: ItemsSpec) -> None:
        self._client = client
        self._io = io
        self.spec = spec
        said = client.get_conforms_to()
        self.filters = all(any(re.search(part, uri) for uri in said) for part in _CQL2)
        methods = {link.extra_fields.get("method", "GET") for link in client.get_links("search")}
        self._method = "GET" if methods == {"GET"} else "POST"

    def features(self, *filters: dict[str, Any] | None, **conditions: Any) -> Iterator[Any]:
        """Every item of every page; of `filters` those that are given, all at once."""
        stated = [one for one in filters if one]
        query = self._client.search(
            method=self._method,
            collections=list(self.spec.collections),
            filter=None if not stated else _all_of(stated),
            filter_lang="cql2-json" if stated else None,
            limit=self.spec.page_size,
            **conditions,
        )
        parameters = query.get_parameters()
        page = self._io.read_json(query.url, method=query.method, parameters=parameters)
        href, asked, n, empty = query.url, set[str](), 0, 0
        while True:
            features = page.get("features")
            if not isinstance(features, list):
                raise InputError(
                    f"{href} answered with something else than a page of items: "
                    f"{json.dumps(page)[:200]}. Ask those who run it."
                )
            yield from features
            n, empty = n + len(features), 0 if features else empty + 1
            links = [link for link in page.get("links", []) if link.get("rel") == "next"]
            if not links or (empty and n >= page.get("numberMatched", float("inf"))):
                return
            follow = links[0] | {"href": urljoin(href, links[0]["href"])}
            if empty > _EMPTY_PAGES or (again := json.dumps(follow, sort_keys=True)) in asked:
                raise InputError(
                    f"{self.spec.stac_api} sends the same page, or empty ones, again and again "
                    f"after {n} items. Try another `page_size`, or ask those who run it."
                )
            asked.add(again)
            page = self._io.read_json(pystac.Link.from_dict(follow), parameters=parameters)


def _search(api: _Api, period: PeriodSpec | None, area: Geometry | None) -> list[pystac.Item]:
    spec = api.spec
    if spec.filter is not None and not api.filters:
        raise InputError(
            f"{spec.stac_api} does not say that it understands CQL2-JSON filters. Leave out "
            "`items.filter`; `max_cloud_cover` works with every API."
        )
    where = {
        "datetime": None if period is None else _interval(period),
        "intersects": None if area is None else area.json,
    }
    found: list[Any] = []
    fair = _at_most(spec.max_cloud_cover) if api.filters and spec.max_cloud_cover < 100 else None
    if fair is not None:
        try:
            found = list(api.features(spec.filter, fair, **where))
        except APIError as error:
            if getattr(error, "status_code", None) != _BAD_REQUEST:
                raise  # else it has no such property to filter by, whatever it says of itself
    if not found:
        found = list(api.features(spec.filter, **where))
    if not found:
        raise NoItemsError(_nothing_matched(api, period, area, where))
    return [item_of(item) for item in found]


def _at_most(percent: float) -> dict[str, Any]:
    """The condition of `max_cloud_cover`, as it is applied here too."""
    cover = {"property": "eo:cloud_cover"}
    missing = {"op": "isNull", "args": [cover]}
    return {"op": "or", "args": [missing, {"op": "<=", "args": [cover, percent]}]}


def _all_of(conditions: list[dict[str, Any]]) -> dict[str, Any]:
    return conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions}


def _nothing_matched(
    api: _Api, period: PeriodSpec | None, area: Geometry | None, where: dict[str, Any]
) -> str:
    """Which of the conditions that the API applied itself leaves nothing, as far as it tells.

    What it does not answer here must not hide that it has nothing, which it did answer.
    """

    def first(*filters: dict[str, Any] | None, **conditions: Any) -> list[Any] | None:
        try:
            return list(islice(api.features(*filters, **conditions), _COUNTED))
        except _FAULTS:
            return None

    def some(*filters: dict[str, Any] | None, **conditions: Any) -> str:
        return _number(first(*filters, **conditions))

    spec = api.spec
    conditions, counts = [], []
    asked = {"period": period, "grid": area, "items.filter": spec.filter}
    keys = [f"`{key}`" for key, value in asked.items() if value is not None]
    if area is not None:
        conditions.append(f"grid ({place_of([area.boundingbox.bbox])})")
    if period is not None:
        conditions.append(f"period {period.start} to {period.end}")
        counts.append(f"{some(datetime=where['datetime'])} within the period alone")
    if area is not None:
        counts.append(f"{some(intersects=where['intersects'])} within the grid alone")
    if spec.filter is not None:
        counts.append(f"{some(spec.filter)} that pass `filter` alone")
    within = f" within the {' and the '.join(conditions)}" if conditions else ""
    every = first()
    return (
        f"The STAC API {spec.stac_api} has no item of {', '.join(spec.collections)}{within}"
        f"{' that passes `filter`' if spec.filter else ''}. Of these collections it has "
        f"{', '.join([*counts, f'{_number(every)} in all'])}{_theirs(every or [])}. "
        f"{_widen(keys)}orrect `items.collections`."
    )


def _widen(keys: Sequence[str]) -> str:
    return f"Widen the condition that leaves none ({', '.join(keys)}), or c" if keys else "C"


def _number(features: Sequence[Any] | None) -> str:
    if features is None:
        return "an unknown number"
    n = len(features)
    return f"{n} or more" if n == _COUNTED else str(n)


def _theirs(features: Sequence[Any]) -> str:
    """When and where the items of a collection are, as far as they were asked for."""
    try:
        items = [item_of(feature) for feature in features]
        days = [day for item in items for day in _day(item)]
        said = [f"of {days_of(days)}"] if days else []
        if items:
            said.append(place_of(map(footprint_bounds, items)))
    except _FAULTS:  # as of an item without bbox and geometry
        return ""
    which = f"the first {len(items)}" if len(items) == _COUNTED else "all"
    return f" ({which}: {'; '.join(said)})" if said else ""


def _day(item: pystac.Item) -> list[str]:
    try:
        return [solar_day(item)]
    except InputError:  # of a layer that does not change
        return []


def _interval(period: PeriodSpec) -> str:
    """A day more at either end, as the steps go by solar date."""
    first, last = period.days
    return f"{first - timedelta(days=1)}T00:00:00Z/{last + timedelta(days=1)}T23:59:59Z"


def _unanswered(spec: ItemsSpec, error: Exception) -> str:
    """What an API said in place of an answer, and what to do."""
    url, status = spec.stac_api, getattr(error, "status_code", None)
    text = " ".join(redacted(str(error)).split())
    said = f"{text[:300]} ..." if len(text) > 300 else text
    if status == _BAD_REQUEST:
        return (
            f"The STAC API {url} refuses the search: {said}. Correct `collections`, `filter` or "
            "the grid."
        )
    if status in _REFUSED:
        return (
            f"The STAC API {url} refuses access: {said}. A name and password are taken from "
            "~/.netrc."
        )
    return (
        f"The STAC API {url} did not answer: {said}. Check the address and the network"
        f"{'' if spec.filter is None else ', and `items.filter`'}; try later, or with a smaller "
        "`page_size`. A run whose items are pinned needs no API."
    )
