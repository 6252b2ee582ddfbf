"""A STAC API, as a small server on this machine speaks it."""

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pystac
import pytest
from odc.geo.geom import box, multipolygon

from geocube_ml.errors import InputError, MissingError, NoItemsError
from geocube_ml.grid import make_grid
from geocube_ml.items import web
from geocube_ml.items.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.spec.grid import GridSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

YEAR = PeriodSpec(start="2022-01", end="2022-12")
AREA = box(14.99, 45.0, 15.02, 45.2, "EPSG:4326")
CONFORMS = [
    f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search", "collections")
]
FILTERS = [
    "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
]
PATIENT = StorageSpec(attempts=3, deadline_s=20)
HASTY = StorageSpec(attempts=5, deadline_s=0.5)
"""Against a server that hangs, for a second; others may be slow."""


class Handler(BaseHTTPRequestHandler):
    """Answers the landing page, and searches; what goes wrong is said in `server.faults`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = f"http://127.0.0.1:{self.server.server_port}"
        if urlsplit(self.path).path == "/search":
            asked = dict(parse_qsl(urlsplit(self.path).query))
            asked["collections"] = asked["collections"].split(",")
            for key in ("intersects", "filter"):
                if key in asked:
                    asked[key] = json.loads(asked[key])
            self.search(asked)
            return
        links = [{"rel": "self", "href": url}, {"rel": "root", "href": url}]
        links += [
            {"rel": "search", "href": f"{url}/search", "type": "application/geo+json",
             "method": method}
            for method in self.server.methods
        ]  # fmt: skip
        self.answer(
            {
                "type": "Catalog", "stac_version": "1.0.0", "id": "stub", "description": "stub",
                "conformsTo": self.server.conforms, "links": links,
            }
        )  # fmt: skip

    def do_POST(self):
        self.search(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def search(self, asked):
        self.server.asked.append(asked)
        first, size = int(asked.get("token", 0)), int(asked["limit"])
        if self.server.fail_at is not None and first >= self.server.fail_at:
            self.send_error(503, "overloaded")
            return
        if "filter" in asked and self.server.no_such_property:
            self.send_error(400, "no such property")
            return
        found = [item for item in self.server.items if self.matches(item, asked)]
        if first in self.server.empty_at:
            page, then = [], first
            self.server.empty_at.remove(first)
        else:
            page, then = found[first : first + size], first + size
        self.answer(
            {
                "type": "FeatureCollection",
                "features": page,
                "links": [self.next_link(asked, then)] if then < len(found) else [],
            },
            self.server.faults.pop(0) if self.server.faults else None,
        )

    def next_link(self, asked, first):
        if self.command == "GET":
            path, _, query = self.path.partition("?")
            pairs = [pair for pair in query.split("&") if not pair.startswith("token=")]
            again = len(self.server.asked)  # so that no two links are the same
            return {"rel": "next", "href": f"{path}?{'&'.join(pairs)}&n={again}&token={first}"}
        body = asked | {"token": str(first), "n": len(self.server.asked)}
        return {"rel": "next", "href": "/search", "method": "POST", "merge": False, "body": body}

    def matches(self, item, asked):
        start, _, end = asked.get("datetime", "/9").partition("/")
        west, south, east, north = item["bbox"]
        shape = asked.get("intersects") or {"coordinates": [[[west, south]]], "type": "Polygon"}
        parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        return (
            item["collection"] in asked["collections"]
            and start <= (item["properties"]["datetime"] or "") <= end
            and any(
                min(p[0] for p in ring) <= east and max(p[0] for p in ring) >= west
                and min(p[1] for p in ring) <= north and max(p[1] for p in ring) >= south
                for ring, *_ in parts
            )
            and passes(asked.get("filter", True), item)
        )  # fmt: skip

    def answer(self, value, fault=None):
        text = json.dumps(value) if self.server.text is None else self.server.text
        body = text.encode()
        status, headers = self.server.status, {}
        if isinstance(fault, tuple):
            status, headers = fault
        if fault == "hang":
            time.sleep(1)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, said in headers.items():
            self.send_header(name, said)
        self.end_headers()
        with contextlib.suppress(OSError):  # who hung up does not listen
            self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
            if fault == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)


def passes(condition, item):
    """CQL2-JSON, as much of it as is asked here."""
    if not isinstance(condition, dict):
        return condition
    if "property" in condition:
        return item["properties"].get(condition["property"])
    values = [passes(arg, item) for arg in condition["args"]]
    return {
        "and": lambda: all(values),
        "or": lambda: any(values),
        "isNull": lambda: values[0] is None,
        "<=": lambda: None not in values and values[0] <= values[1],
        "=": lambda: values[0] == values[1],
    }[condition["op"]]()


@pytest.fixture
def api(tiny, monkeypatch):
    monkeypatch.setattr(web, "_FIRST_WAIT_S", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.items = [
        json.loads(file.read_text()) for file in sorted((tiny.folder / "items").glob("*.json"))
    ]
    for item in server.items:
        for key, asset in item["assets"].items():
            asset["href"] = f"https://example.org/{item['id']}/{key}.tif"
    server.asked, server.faults, server.empty_at = [], [], []
    server.fail_at, server.text, server.no_such_property = None, None, False
    server.status, server.conforms, server.methods = 200, CONFORMS, ["POST"]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def source_of(api, collections=("tiny",), **more):
    url = api if isinstance(api, str) else f"http://127.0.0.1:{api.server_port}"
    return SourceSpec(
        sensor=SensorSpec(bands={"fine": "B10"}),
        items=ItemsSpec(stac_api=url, collections=collections, **{"page_size": 2, **more}),
    )


def find(api, period=YEAR, area=AREA, storage=PATIENT, **items):
    return find_items(source_of(api, **items), period, area, storage)


def ids(items):
    return [item.id for item in items]


ALL = ["E0105", "W0105", "W0115", "E0125", "W0125", "E0310", "E0310again"]


def test_every_page_is_read_and_items_are_in_order(api):
    found = find_items(source_of(api), YEAR, AREA)
    assert ids(found) == ALL
    assert found[0].assets["B10"].href == "https://example.org/E0105/B10.tif"
    assert len(api.asked) == 4  # seven items, two a page


def test_the_api_is_asked_for_a_day_more_at_either_end(api):
    find_items(source_of(api), PeriodSpec(start="2022-01", end="2022-03"), AREA)
    asked = api.asked[0]
    assert asked["datetime"] == "2021-12-31T00:00:00Z/2022-04-01T23:59:59Z"
    assert asked["collections"] == ["tiny"]
    assert asked["intersects"]["type"] == "Polygon"


def test_december_ends_in_the_next_year(api):
    find_items(source_of(api), YEAR)
    assert api.asked[0]["datetime"] == "2021-12-31T00:00:00Z/2023-01-01T23:59:59Z"
    assert "intersects" not in api.asked[0]


@pytest.mark.parametrize(
    ("period", "asked"),
    [
        (
            {"start": "2022-01-11", "end": "2022-03-10", "step": "dekad"},
            "2022-01-10T00:00:00Z/2022-03-11T23:59:59Z",
        ),
        (
            {"start": "2022-01-01", "end": "2022-03-01", "step": "30 days"},
            "2021-12-31T00:00:00Z/2022-03-02T23:59:59Z",
        ),
        (  # the last of the steps reaches beyond the end
            {"start": "2022-01-01", "end": "2022-03-02", "step": "30 days"},
            "2021-12-31T00:00:00Z/2022-04-01T23:59:59Z",
        ),
    ],
)
def test_the_api_is_asked_for_the_days_of_all_steps(api, period, asked):
    find_items(source_of(api), PeriodSpec(**period))
    assert api.asked[0]["datetime"] == asked


@pytest.fixture
def static(api):
    """A source of layers that do not change, at the server."""
    source = source_of(api)
    sensor = source.sensor.model_copy(update={"static": True})
    return source.model_copy(update={"sensor": sensor})


@pytest.mark.parametrize("period", [None, YEAR])
def test_of_a_static_source_no_date_is_asked_for(api, static, period):
    api.items[0]["properties"]["datetime"] = None
    found = find_items(static, period, AREA)
    assert len(found) == len(ALL)
    assert found[0].datetime is None
    assert not [asked for asked in api.asked if "datetime" in asked]


def test_when_a_static_source_has_nothing_no_period_is_told(static):
    with pytest.raises(NoItemsError) as caught:
        find_items(static, YEAR, box(0, 0, 1, 1, "EPSG:4326"))
    said = str(caught.value)
    assert (
        "has no item of tiny within the grid (west 0.0000, south 0.0000, east 1.0000, north "
        "1.0000). Of these collections it has 0 within the grid alone, 7 in all (all: of 2022-01-05"
        " to 2022-03-10; west 14."
    ) in said
    assert "(`grid`), or correct `items.collections`" in said
    assert "period" not in said


def test_without_a_period_all_dates_are_asked_for(api):
    assert ids(find_items(source_of(api), None, AREA)) == ALL
    assert "datetime" not in api.asked[0]


def test_what_is_pinned_needs_no_api(api, tmp_path):
    found = find_items(source_of(api), YEAR)
    pin_items(found, tmp_path / "items.parquet")
    asked = len(api.asked)
    back = read_items(tmp_path / "items.parquet")
    assert [item.id for item in back] == [item.id for item in found]
    assert len(api.asked) == asked
    pin_items(find_items(source_of(api), YEAR), tmp_path / "again.parquet")
    assert items_digest(read_items(tmp_path / "again.parquet")) == items_digest(back)


def test_clouds_are_filtered_here(api):
    with pytest.raises(NoItemsError, match=r"7 cloudier than max_cloud_cover 10 %"):
        find_items(source_of(api, max_cloud_cover=10), YEAR)


@pytest.mark.parametrize(
    ("collections", "period", "area", "said"),
    [
        (("tiny",), ("2020-01", "2020-12"), AREA, "0 within the period alone, 7 within the grid"),
        (("tiny",), None, box(0, 0, 1, 1, "EPSG:4326"), "7 within the period alone, 0 within the"),
        (("other",), None, AREA, "0 within the grid alone, 0 in all"),
    ],
)
def test_when_nothing_is_found_the_condition_that_removes_all_is_told(
    api, collections, period, area, said
):
    when = YEAR if period is None else PeriodSpec(start=period[0], end=period[1])
    with pytest.raises(NoItemsError) as caught:
        find_items(source_of(api, collections), when, area)
    assert said in str(caught.value)


def test_an_api_that_is_not_there_fails_quickly(api):
    url = "http://127.0.0.1:9"  # discard: nobody listens
    begun = time.monotonic()
    with pytest.raises(MissingError, match=r"127.0.0.1:9 did not answer.*pinned"):
        find(url)
    assert time.monotonic() - begun < 200


def test_an_api_that_fails_on_a_later_page_is_an_error_and_not_a_short_list(api):
    api.fail_at = 4
    with pytest.raises(MissingError, match=r"did not answer"):
        find(api)
    assert len(api.asked) == 2 + PATIENT.attempts


@pytest.mark.parametrize("status", [404, 500])
def test_an_api_that_refuses_is_named(api, status):
    api.status, api.text = status, "no"
    with pytest.raises(MissingError, match=r"did not answer: no"):
        find(api)


@pytest.mark.parametrize("text", ["<html>", "{}"])
def test_a_page_that_is_no_api_is_an_input_error(api, text):
    api.text = text
    with pytest.raises(InputError, match=r"is not a STAC API that can be searched"):
        find_items(source_of(api), YEAR)


def test_an_api_without_search_is_an_input_error(api):
    api.conforms = CONFORMS[:1]
    with pytest.raises(InputError, match=r"is not a STAC API that can be searched"):
        find_items(source_of(api), YEAR)


# -- pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [["GET"], ["GET", "POST"]])
def test_apis_are_asked_as_they_say(api, methods):
    api.methods, api.conforms = methods, CONFORMS + FILTERS
    assert ids(find(api, max_cloud_cover=60)) == ALL
    assert api.asked[0]["limit"] == ("2" if methods == ["GET"] else 2)
    assert api.asked[0]["filter-lang"] == "cql2-json"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "fault",
    [
        *[(status, {}) for status in (429, 500, 502, 503, 504)],
        (503, {"Retry-After": "0"}),
        (429, {"Retry-After": "Thu, 01 Jan 2015 00:00:00 GMT"}),
        "cut",
        "hang",
    ],
    ids=str,
)
def test_a_page_that_fails_twice_is_asked_for_again(api, fault, method):
    api.methods, api.faults = [method], [None, fault, fault]
    if fault == "hang":
        assert ids(find(api, storage=HASTY)) == ALL
        assert len(api.asked) >= 4 + 2  # what is slow here and now is asked for again, too
    else:
        assert ids(find(api)) == ALL
        assert len(api.asked) == 4 + 2


@pytest.mark.parametrize("fault", [(503, {}), "cut", "hang"], ids=str)
def test_a_page_that_never_comes_is_an_error(api, fault):
    api.faults = [None, *[fault] * HASTY.attempts]
    with pytest.raises(MissingError, match=r"did not answer"):
        find(api, storage=HASTY if fault == "hang" else PATIENT)


def test_the_server_says_how_long_to_wait(api, monkeypatch):
    waited = []
    monkeypatch.setattr(web.time, "sleep", waited.append)
    api.faults = [(429, {"Retry-After": "7"}), (503, {})]
    assert ids(find(api)) == ALL
    assert waited[0] == 7
    assert 0.01 <= waited[1] <= 0.02


def test_a_wait_of_hours_is_not_waited_for(api):
    api.faults = [(429, {"Retry-After": "7200"})]
    with pytest.raises(MissingError, match=r"did not answer"):
        find(api)
    assert len(api.asked) == 1


def test_what_is_refused_is_not_asked_for_again(api):
    api.faults = [(403, {})]
    with pytest.raises(MissingError, match=r"refuses access.*netrc"):
        find(api)
    assert len(api.asked) == 1


def test_an_empty_page_is_not_the_last(api):
    api.empty_at = [0, 4, 4, 4]
    assert ids(find(api)) == ALL


def test_a_page_that_leads_to_itself_is_an_error(api, monkeypatch):
    monkeypatch.setattr(
        Handler, "next_link", lambda *_: {"rel": "next", "href": "/search?token=2", "method": "GET",
                                          "body": {}})  # fmt: skip
    monkeypatch.setattr(Handler, "do_GET", _first_two(Handler.do_GET))
    with pytest.raises(InputError, match=r"again and again after"):
        find(api)


def _first_two(landing):
    def do_get(self):
        if self.path.startswith("/search"):
            link = self.next_link()
            self.answer({"type": "FeatureCollection", "features": [], "links": [link]})
        else:
            landing(self)

    return do_get


def test_empty_pages_without_end_are_an_error(api):
    api.empty_at = [2] * 100
    with pytest.raises(InputError, match=r"again and again after 2 items"):
        find(api)


@pytest.mark.parametrize("text", ['{"detail": "busy"}', '{"features": null}'])
def test_a_page_that_is_no_page_is_an_error_and_not_the_end(api, monkeypatch, text):
    whole = Handler.answer

    def answer(self, value, fault=None):
        whole(self, json.loads(text) if len(self.server.asked) == 2 else value, fault)

    monkeypatch.setattr(Handler, "answer", answer)
    with pytest.raises(InputError, match=r"something else than a page of items"):
        find(api)


def test_an_item_on_two_pages_is_taken_once(api):
    api.items.insert(4, json.loads(json.dumps(api.items[0])))
    api.items[4]["assets"]["B10"]["href"] += "?st=1&se=2&sig=other"
    api.items[4]["assets"]["B10"]["href"] = api.items[4]["assets"]["B10"]["href"].replace(
        "example.org", "a.blob.core.windows.net"
    )
    assert ids(find(api)) == ALL


def test_an_item_that_was_replaced_between_two_pages_is_an_error(api):
    api.items.append(json.loads(json.dumps(api.items[0])))
    api.items[-1]["properties"]["s2:processing_baseline"] = "05.09"
    with pytest.raises(InputError, match=r"two items E0105 of the collection tiny .*again"):
        find(api)


# -- conditions -----------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [0, 44, 45, 50, 70])
def test_clouds_are_the_same_whichever_side_filters(api, percent):
    for item, cover in zip(api.items, (0, 44, 44.5, 45, 50.1, None, 99), strict=True):
        item["properties"]["eo:cloud_cover"] = cover
    del api.items[2]["properties"]["eo:cloud_cover"]
    here = ids(find(api, max_cloud_cover=percent))
    assert "filter" not in api.asked[0]
    api.asked.clear()
    api.conforms = CONFORMS + FILTERS
    assert ids(find(api, max_cloud_cover=percent)) == here
    assert len(api.asked) == -(-len(here) // 2)  # and no page that is filtered away
    api.asked.clear()
    api.no_such_property = True
    assert ids(find(api, max_cloud_cover=percent)) == here


@pytest.mark.parametrize("conforms", [CONFORMS, CONFORMS + FILTERS], ids=["here", "there"])
def test_what_clouds_leave_is_said_the_same_whichever_side_filters(api, conforms):
    api.conforms = conforms
    with pytest.raises(NoItemsError, match=r"7 cloudier than max_cloud_cover 10 %"):
        find(api, max_cloud_cover=10)


@pytest.mark.parametrize("n", range(4))
def test_conditions_are_sent_only_to_what_understands_all_of_them(api, n):
    api.conforms = CONFORMS + FILTERS[:n]
    find(api, max_cloud_cover=90)
    assert ("filter" in api.asked[0]) == (n == 3)


def test_no_condition_is_sent_that_the_recipe_does_not_state(api):
    api.conforms = CONFORMS + FILTERS
    find(api)
    assert set(api.asked[0]) == {"limit", "collections", "datetime", "intersects"}


ONE = {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]}


def test_a_filter_is_applied_by_the_api(api):
    api.conforms = CONFORMS + FILTERS
    for item in api.items[:3]:
        item["properties"]["platform"] = "sentinel-2a"
    kept = sorted(item["id"] for item in api.items[:3])
    assert sorted(ids(find(api, filter=ONE))) == kept
    assert api.asked[0]["filter"] == ONE
    assert sorted(ids(find(api, filter=ONE, max_cloud_cover=60))) == kept
    assert api.asked[-1]["filter"]["op"] == "and"


def test_a_filter_that_the_api_does_not_understand_is_refused(api):
    with pytest.raises(InputError, match=r"does not say that it understands CQL2.*items.filter"):
        find(api, filter=ONE)
    assert api.asked == []


def test_a_filter_that_leaves_nothing_is_told(api):
    api.conforms = CONFORMS + FILTERS
    never = {"op": "=", "args": [{"property": "platform"}, "none"]}
    with pytest.raises(NoItemsError, match=r"0 that pass `filter` alone, 7 in all"):
        find(api, filter=never)


@pytest.mark.parametrize("fails", ["datetime", "intersects", "neither"])
def test_what_an_api_does_not_answer_when_nothing_is_found_is_unknown(api, monkeypatch, fails):
    """It did answer that it has nothing of what is wanted, which stays what is told."""
    search = Handler.search

    def refuses(self, asked):
        conditions = {"datetime", "intersects"} & asked.keys()
        if conditions == ({fails} if fails != "neither" else set()):
            self.send_error(400, "no such query")
        else:
            search(self, asked)

    monkeypatch.setattr(Handler, "search", refuses)
    with pytest.raises(NoItemsError) as caught:
        find(api, PeriodSpec(start="2020-01", end="2020-12"))
    said = str(caught.value)
    within, inside = (
        "an unknown number" if fails == name else n
        for name, n in (("datetime", "0"), ("intersects", "7"))
    )
    every = "an unknown number in all. Widen" if fails == "neither" else "7 in all (all: of 2022"
    assert f"has {within} within the period alone, {inside} within the grid alone, {every}" in said
    assert ".." not in said.replace("127.0.0.1", "")


def test_items_without_a_place_do_not_hide_that_nothing_was_found(api, monkeypatch):
    answer = Handler.answer

    def bare(self, value, fault=None):
        for item in value.get("features", []):
            item.update(bbox=None, geometry=None)
        answer(self, value, fault)

    monkeypatch.setattr(Handler, "matches", lambda *args: "datetime" not in args[-1])
    monkeypatch.setattr(Handler, "answer", bare)
    with pytest.raises(NoItemsError, match=r"0 within the period alone, .*7 in all\. Widen"):
        find(api)


def test_a_search_that_the_api_refuses_is_told(api):
    api.conforms, api.no_such_property = CONFORMS + FILTERS, True
    with pytest.raises(MissingError, match=r"refuses the search.*Correct"):
        find(api, filter=ONE)


# -- where ----------------------------------------------------------------------------------


def test_a_grid_across_the_antimeridian_is_asked_for_in_two_parts(api):
    for item, (west, east) in zip(
        api.items, [(179.5, 180), (-180, -179.5), (170, 171), (0, 1), (-171, -170), (-1, 0),
                    (179.9, -179.9)], strict=True,
    ):  # fmt: skip
        ring = [[west, 57], [east, 57], [east, 58], [west, 58], [west, 57]]
        item |= {"bbox": [west, 57, east, 58], "geometry": {"type": "Polygon",
                                                           "coordinates": [ring]}}  # fmt: skip
    api.items.pop()  # the small server does not understand it
    grid = make_grid(GridSpec(crs="EPSG:32601", resolution=100,
                              bounds=(300_000, 6_330_000, 340_000, 6_360_000)))  # fmt: skip
    area = grid.lonlat()
    assert area.geom_type == "MultiPolygon"
    found = find(api, PeriodSpec(start="2021-12", end="2022-12"), area)
    assert {round(item.bbox[0], 1) for item in found} == {179.5, -180}
    assert api.asked[0]["intersects"]["type"] == "MultiPolygon"


def test_an_area_of_two_parts_finds_both(api):
    parts = [[[(w, 45), (w + 0.001, 45), (w + 0.001, 45.2), (w, 45.2), (w, 45)]]
             for w in (15.0, 15.012)]  # fmt: skip
    assert len(find(api, area=multipolygon(parts, "EPSG:4326"))) == 7


# -- a real API -----------------------------------------------------------------------------


@pytest.fixture
def loaded(stac_api, items_of):
    """Items of a collection of its own on a real API, every other without a cloud cover."""

    def load(name, **changes):
        found = items_of(name, **changes)
        stac_api.load(found)
        return found

    load.url = stac_api.url
    return load


@pytest.fixture
def items_of(tiny):
    def make(name, bounds=None):
        found = []
        for file in sorted((tiny.folder / "items").glob("*.json")):
            item = json.loads(file.read_text()) | {"collection": name}
            for key, asset in item["assets"].items():
                asset["href"] = f"https://example.org/{item['id']}/{key}.tif"
            found.append(pystac.Item.from_dict(item))
        for item, cover in zip(found, (0, 44, 44.5, 45, 50.1, None, 99), strict=True):
            item.properties["eo:cloud_cover"] = cover
        del found[2].properties["eo:cloud_cover"]
        return found

    return make


@pytest.mark.parametrize("percent", [0, 44, 44.5, 45, 60])
def test_a_real_api_and_a_folder_give_the_same(loaded, tmp_path, percent):
    made = loaded("clouds")
    for item in made:
        (tmp_path / f"{item.id}.json").write_text(json.dumps(item.to_dict()))
    more = {"collections": ("clouds",), "max_cloud_cover": percent}
    there = find_items(source_of(loaded.url, **more), YEAR, AREA)
    sensor = source_of(loaded.url, **more).sensor
    folder = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(tmp_path), **more))
    here = find_items(folder, YEAR, AREA)
    assert ids(there) == ids(here)
    assert items_digest(there) == items_digest(here)


def test_a_real_api_applies_a_filter(loaded):
    loaded("filters")
    most = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 44]}
    found = find_items(source_of(loaded.url, ("filters",), filter=most), YEAR, AREA)
    assert {item.properties["eo:cloud_cover"] for item in found} == {0, 44}
    wrong = {"op": "less", "args": []}
    with pytest.raises((InputError, MissingError), match=r"filter"):
        find_items(source_of(loaded.url, ("filters",), filter=wrong), YEAR, AREA)
    with pytest.raises(NoItemsError, match=r"of other within.*0 in all"):
        find_items(source_of(loaded.url, ("other",)), YEAR, AREA)


# -- what must not be in a recipe -----------------------------------------------------------


@pytest.mark.parametrize("url", ["https://name:word@host", "https://host/v1?subscription-key=k"])
def test_keys_are_not_taken_from_a_recipe_and_not_shown(url):
    with pytest.raises(ValueError, match=r"must not|holds a name or password") as caught:
        ItemsSpec.read({"stac_api": url, "collections": ["c"]}, where="recipe.yaml")
    assert "word" not in str(caught.value).replace("password", "")
    assert "key=k" not in str(caught.value)


def test_a_filter_needs_an_api():
    with pytest.raises(ValueError, match=r"`filter` is applied by a STAC API.*`catalog`"):
        ItemsSpec(catalog="items", filter=ONE)


def test_passwords_come_from_netrc(api, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []
    search = Handler.search
    monkeypatch.setattr(
        Handler,
        "search",
        lambda self, asked: (seen.append(self.headers["Authorization"]), search(self, asked)),
    )
    find(api)
    assert seen[0].startswith("Basic ")
