"""The price of a cube is what a run pays."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube import observe, scenes
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.grid import Grid
from geocube_ml.items.catalog import find_items
from geocube_ml.price import reach, sampled
from geocube_ml.price.memory import worker_bytes
from geocube_ml.price.plan import missing_files, price
from geocube_ml.price.reads import Near, busiest, reads_of
from geocube_ml.raster import counted
from geocube_ml.raster.header import cost, read_header
from geocube_ml.spec.composite import BestSpec, MedianSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

PERIOD = PeriodSpec(start="2022-01", end="2022-04")


@pytest.fixture(scope="module")
def cloudless(tmp_path_factory, write_item):
    """Four items of three days in two months; tiles side by side, all of it clear."""
    folder = tmp_path_factory.mktemp("cloudless")
    rng = np.random.default_rng(0)
    for name, when, column in (
        ("W0105", "2022-01-05T10:00:00Z", 0),
        ("E0105", "2022-01-05T10:00:09Z", 64),
        ("W0115", "2022-01-15T10:00:00Z", 0),
        ("E0303", "2022-03-03T10:00:00Z", 64),
    ):
        band = rng.integers(1, 9000, (64, 64)).astype("uint16")
        write_item(
            folder, name, when, 500_000 + 10 * column, 5_000_000,
            {"B10": (band, 10, 0), "B11": (band[::2, ::2].copy(), 20, 0),
             "SCL": (np.full((64, 64), 4, "uint8"), 10, 0)},
        )  # fmt: skip
    return folder


def mosaic_of(folder, *, masked=True, edge=32, geobox=None, composite=None, **mask):
    mask = {"asset": "SCL", "clear": [4], **mask}
    sensor = SensorSpec(bands={"a": "B10", "b": "B11"}, mask=mask if masked else None)
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(folder / "items")))
    geobox = geobox or GeoBox((64, 128), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    grid = Grid(geobox, StoreSpec(chunk=16, shard=edge, tile=edge, steps=3))
    items = find_items(source, PERIOD)
    return make_mosaic(items, source, grid, PERIOD, composite=composite or MedianSpec())


@pytest.fixture
def asked(monkeypatch):
    """What each read of a mosaic asked for: path, window and how."""
    seen = []
    whole = observe.read_onto

    def noted(href, geobox, **how):
        seen.append((href, geobox, how["bands"], how["resampling"], how["coarsening"]))
        return whole(href, geobox, **how)

    monkeypatch.setattr(observe, "read_onto", noted)
    return seen


def run(mosaic):
    """What was read, and what was written, tile by tile."""
    written = 0
    with counted() as counts:
        for tile in mosaic.grid.tiles:
            every = range(len(mosaic.steps)), range(len(mosaic.source.chosen))
            values, count = mosaic.read(*every, tile.y, tile.x)
            written += values.nbytes + count.nbytes
    return counts, written


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"masked": False},
        {"edge": 16, "grow": 3, "nodata": 0},
        {"composite": BestSpec(cloud_distance=20)},
        {"geobox": GeoBox((50, 70), Affine(10, 0, 500_205, 0, -10, 4_999_800), "EPSG:32633")},
    ],
    ids=["masked", "without a mask", "small tiles", "best pixel", "off the pixels"],
)
def test_what_is_read_and_what_is_spared_is_the_price(cloudless, asked, more):
    mosaic = mosaic_of(cloudless, **more)
    counts, written = run(mosaic)
    told = price({"s2": mosaic})
    assert told.sources["s2"].exact
    assert told.write_bytes == written
    assert counts.decoded_bytes > 0

    # every asset of every granule that touches a tile, as the tile itself sees it
    planned = []
    for tile in mosaic.grid.tiles:
        near = list(mosaic.within(tile.y, tile.x).granules)
        for read in reads_of(mosaic):
            window = observe.Window(tile.y, tile.x).padded(read.rim).of(mosaic.grid.geobox)
            how = (read.bands, read.resampling, read.coarsening)
            planned += [(granule.hrefs[read.asset], window, *how) for granule in near]
    assert told.windows == len(planned)
    spared = list(planned)
    for one in asked:
        spared.remove(one)  # what was read was planned, and once
    left = sum(cost(read_header(href), *how).decoded_bytes for href, *how in spared)
    assert counts.decoded_bytes + left == told.decoded_bytes


def test_masks_are_read_in_any_case(tiny, asked):
    source = tiny.source(mask={"asset": "SCL", "clear": [6]})  # nowhere
    period = PeriodSpec(start="2022-01", end="2022-03")
    mosaic = make_mosaic(find_items(source, period), source, tiny.grid, period)
    counts, _ = run(mosaic)
    told = price({"s2": mosaic}).sources["s2"]
    assert len(asked) == told.masks.windows
    assert counts.decoded_bytes == told.masks.decoded_bytes


def test_counted_by_hand(cloudless):
    told = price({"s2": mosaic_of(cloudless)}, threads=2)
    source = told.sources["s2"]
    assert (told.tiles, source.items, source.days, source.steps) == (8, 4, 3, 4)
    assert told.tasks == 8 * 2  # four months in blocks of three
    # each item, two tiles high; two wide, and a third that its margin touches
    assert source.masks.windows == 4 * 2 * 3
    assert source.bands.windows == 4 * 2 * 3 * 2
    # an item is one block; the third tile does not reach it, but where it is resampled
    assert source.masks.blocks == 4 * 2 * 2
    assert told.write_bytes == 4 * 64 * 128 * (2 * 2 + 1)
    assert told.objects == 8 * 2 * 2


def test_what_items_on_one_grid_have_in_common_is_found_once(cloudless, monkeypatch):
    outlines, windows = [], []
    outline, way = scenes._outline, reach.way
    monkeypatch.setattr(scenes, "_outline", lambda *args: outlines.append(args) or outline(*args))
    monkeypatch.setattr(reach, "way", lambda *args: windows.append(args) or way(*args))
    price({"s2": mosaic_of(cloudless)})
    assert len(outlines) == 2  # of four items
    # for each grid of three assets: windows are of one size, looked at as a pixel and as a whole
    assert len(windows) <= 2 * 3 * 2


def test_without_a_connection_the_rest_is_told(cloudless):
    mosaic = mosaic_of(cloudless)
    for granule in mosaic.granules:
        for key in granule.hrefs:
            granule.hrefs[key] = f"http://127.0.0.1:9/{granule.id}/{key}.tif"
    told = price({"s2": mosaic})
    assert (told.windows, told.decoded_bytes, told.seconds) == (None, None, None)
    assert (told.tasks, told.write_bytes) == (16, 4 * 64 * 128 * 5)
    _, why, *_ = told.lines()
    assert why.startswith("  what is read cannot be told: asset B10 of E0303 cannot be opened: ")
    assert "127.0.0.1" in why
    assert len(why) < 300
    assert missing_files({"s2": mosaic}) == []


def test_a_raster_in_another_crs_takes_memory_whether_or_not_items_say_so(cloudless):
    mosaic = mosaic_of(cloudless)
    samples = sampled.sample(mosaic)
    moved = {
        asset: tuple(replace(header, crs="EPSG:32634") for header in headers)
        for asset, headers in samples.headers.items()
    }
    tiles = mosaic.grid.tiles
    most = busiest(mosaic, Near.of(mosaic, tiles), len(tiles))
    there = worker_bytes(mosaic, most, replace(samples, headers=moved), 1)
    assert there > worker_bytes(mosaic, most, samples, 1)


def test_the_lines_are_for_people(cloudless):
    *lines, memory, duration = price({"s2": mosaic_of(cloudless)}, threads=2).lines()
    assert lines == [
        "s2: 4 items of 3 days in 4 time steps",
        "  at most 72 windows of rasters to read, 25.2 MB decoded in 56 blocks",
        "  of these 24 masks in any case, 4.19 MB",
        lines[3],
        "  told from 9 headers of 3 items, as if all were alike",
        "8 tiles, 16 tasks",
        lines[6],
    ]
    assert lines[3].startswith("  from the disk at most about ")
    assert lines[6].startswith("164 kB to write in at most 32 objects, about ")
    assert memory.endswith("of memory for a process of 2 threads")
    assert duration.startswith("roughly ")


def test_sources_are_added_up(cloudless):
    one = mosaic_of(cloudless)
    both = price({"a": one, "b": mosaic_of(cloudless, masked=False)})
    each = [price({"a": one}), price({"b": mosaic_of(cloudless, masked=False)})]
    for name in ("tasks", "windows", "decoded_bytes", "write_bytes", "objects"):
        assert getattr(both, name) == sum(getattr(p, name) for p in each)
    assert both.worker_bytes == max(p.worker_bytes for p in each)
    assert both.tiles == 8


def test_files_that_are_not_there_are_counted(cloudless):
    mosaics = {"s2": mosaic_of(cloudless)}
    assert missing_files(mosaics) == []
    away = cloudless / "cogs" / "W0115" / "B11.tif"
    hidden = away.rename(away.with_suffix(".away"))
    try:
        (said,) = missing_files(mosaics)
    finally:
        hidden.rename(away)
    assert said == f"1 of 12 files that the items name are not there: {away}."


def test_a_plan_asks_for_each_header_once_and_not_for_long(cloudless, monkeypatch):
    given = []
    whole = sampled.read_header
    monkeypatch.setattr(
        sampled, "read_header", lambda href, storage: given.append(storage) or whole(href, storage)
    )
    sampled.sample(mosaic_of(cloudless))
    assert len(given) == 1 + 3 * 3  # whether there is any, then each asset of three items
    assert {storage.attempts for storage in given} == {1}
    assert max(storage.deadline_s for storage in given) < StorageSpec().deadline_s
