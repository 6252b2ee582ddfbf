"""A STAC API, as a small server on this machine speaks it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from odc.geo.geom import box

from geocube_ml.cube.catalog import find_items, items_digest, pin_items, read_items
from geocube_ml.errors import InputError, MissingError, NoItemsError
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SensorSpec, SourceSpec

YEAR = PeriodSpec(start="2022-01", end="2022-12")
AREA = box(14.99, 45.0, 15.02, 45.2, "EPSG:4326")
CONFORMS = [
    f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search", "collections")
]


class Handler(BaseHTTPRequestHandler):
    """Answers the landing page, and searches two items a page."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = f"http://127.0.0.1:{self.server.server_port}"
        links = [{"rel": "self", "href": url}, {"rel": "root", "href": url}]
        search = {
            "rel": "search",
            "href": f"{url}/search",
            "method": "POST",
            "type": "application/geo+json",
        }
        self.answer(
            {
                "type": "Catalog", "stac_version": "1.0.0", "id": "stub", "description": "stub",
                "conformsTo": self.server.conforms, "links": [*links, search],
            }
        )  # fmt: skip

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        first = int(asked.get("token", 0))
        if self.server.fail_at is not None and first >= self.server.fail_at:
            self.send_error(503, "overloaded")
            return
        found = [item for item in self.server.items if self.matches(item, asked)]
        url = f"http://127.0.0.1:{self.server.server_port}/search"
        more = {
            "rel": "next", "href": url, "method": "POST", "merge": False,
            "body": asked | {"token": str(first + 2)},
        }  # fmt: skip
        self.answer(
            {
                "type": "FeatureCollection",
                "features": found[first : first + 2],
                "links": [more] if first + 2 < len(found) else [],
            }
        )

    def matches(self, item, asked):
        start, _, end = asked.get("datetime", "0/9").partition("/")
        west, south, east, north = item["bbox"]
        ring = (asked.get("intersects") or {"coordinates": [[[west, south]]]})["coordinates"][0]
        lons, lats = [p[0] for p in ring], [p[1] for p in ring]
        return (
            item["collection"] in asked["collections"]
            and start <= item["properties"]["datetime"] <= end
            and (min(lons) <= east and max(lons) >= west)
            and (min(lats) <= north and max(lats) >= south)
        )

    def answer(self, value):
        text = json.dumps(value) if self.server.text is None else self.server.text
        body = text.encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api(tiny):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.items = [
        json.loads(file.read_text()) for file in sorted((tiny.folder / "items").glob("*.json"))
    ]
    for item in server.items:
        for key, asset in item["assets"].items():
            asset["href"] = f"https://example.org/{item['id']}/{key}.tif"
    server.asked, server.fail_at, server.text = [], None, None
    server.status, server.conforms = 200, CONFORMS
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
        items=ItemsSpec(stac_api=url, collections=collections, **more),
    )


def test_every_page_is_read_and_items_are_in_order(api):
    found = find_items(source_of(api), YEAR, AREA)
    assert [item.id for item in found] == [
        "E0105", "W0105", "W0115", "E0125", "W0125", "E0310", "E0310again",
    ]  # fmt: skip
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
        find_items(source_of(url), YEAR)
    assert time.monotonic() - begun < 5


def test_an_api_that_fails_on_a_later_page_is_an_error_and_not_a_short_list(api):
    api.fail_at = 4
    with pytest.raises(MissingError, match=r"did not answer"):
        find_items(source_of(api), YEAR)


@pytest.mark.parametrize("status", [404, 500])
def test_an_api_that_refuses_is_named(api, status):
    api.status, api.text = status, "no"
    with pytest.raises(MissingError, match=r"did not answer: no"):
        find_items(source_of(api), YEAR)


@pytest.mark.parametrize("text", ["<html>", "{}"])
def test_a_page_that_is_no_api_is_an_input_error(api, text):
    api.text = text
    with pytest.raises(InputError, match=r"is not a STAC API that can be searched"):
        find_items(source_of(api), YEAR)


def test_an_api_without_search_is_an_input_error(api):
    api.conforms = CONFORMS[:1]
    with pytest.raises(InputError, match=r"is not a STAC API that can be searched"):
        find_items(source_of(api), YEAR)
