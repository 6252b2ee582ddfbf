"""The price of a cube is what a run pays."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube import observe, scenes
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.errors import ReadError
from geocube_ml.grid import Grid
from geocube_ml.items.catalog import find_items
from geocube_ml.price import reach, reads, sampled
from geocube_ml.price import trial as trials
from geocube_ml.price.duration import Stage
from geocube_ml.price.memory import worker_bytes
from geocube_ml.price.overviews import OverviewPrice
from geocube_ml.price.parts import Cover, Part
from geocube_ml.price.parts import whole as whole_part
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
from geocube_ml.store.cube import CubeStore, Variable

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
    done = list(asked)
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
    for one in done:
        spared.remove(one)  # what was read was planned, and once
    left = sum(cost(read_header(href), *how).decoded_bytes for href, *how in spared)
    assert counts.decoded_bytes + left == told.decoded_bytes


def test_masks_are_read_in_any_case(tiny, asked):
    source = tiny.source(mask={"asset": "SCL", "clear": [6]})  # nowhere
    period = PeriodSpec(start="2022-01", end="2022-03")
    mosaic = make_mosaic(find_items(source, period), source, tiny.grid, period)
    counts, _ = run(mosaic)
    read = len(asked)
    told = price({"s2": mosaic}).sources["s2"]
    assert read == told.masks.windows
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


def test_of_very_many_grids_some_are_counted_and_windows_stay_exact(cloudless, monkeypatch):
    mosaic = mosaic_of(cloudless)
    every = price({"s2": mosaic})
    monkeypatch.setattr(reads, "_GRIDS", 1)  # of two, of two items each
    some = price({"s2": mosaic})
    assert (every.sources["s2"].exact, some.sources["s2"].exact) == (True, False)
    assert some.windows == every.windows
    assert some.decoded_bytes == pytest.approx(every.decoded_bytes, rel=0.2)
    assert any(", about 25.2 MB decoded in 56 blocks" in line for line in some.lines())
    assert price({"s2": mosaic}).decoded_bytes == some.decoded_bytes


def test_what_outlines_touch_does_not_depend_on_how_many_are_looked_at_at_once(
    cloudless, monkeypatch
):
    mosaic = mosaic_of(cloudless)
    tiles = mosaic.grid.tiles
    near = Near.of(mosaic, tiles)
    monkeypatch.setattr(reads, "_AT_A_TIME", 1)
    again = Near.of(mosaic, tiles)
    assert len(near.outlines) == 2
    for outline, some, same in zip(near.outlines, near.tiles, again.tiles, strict=True):
        touched = [
            at
            for at, tile in enumerate(tiles)
            if outline.intersects(shapely.box(tile.x.start, tile.y.start, tile.x.stop, tile.y.stop))
        ]
        assert some.tolist() == same.tolist() == touched


def test_the_most_that_a_tile_sees_in_a_month_is_counted(cloudless):
    """Of the fifth of January both, at the seam; of the fifteenth one more."""
    mosaic = mosaic_of(cloudless)
    most = busiest(mosaic, Near.of(mosaic, mosaic.grid.tiles), 8)
    assert (most.scenes, most.granules) == (2, 3)


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
    files, tried, written = lines.pop(3), lines.pop(3), lines.pop()
    assert lines == [
        "s2: 4 items of 3 days in 4 time steps",
        "  at most 72 windows of rasters to read, 25.2 MB decoded in 56 blocks",
        "  of these 24 masks in any case, 4.19 MB",
        "8 tiles, 16 tasks",
    ]
    assert files.startswith("  from the disk at most about ")
    assert tried.startswith("  told from 9 headers of 3 items, as if all were alike, and 2 windows")
    assert written.startswith("164 kB to write in at most 32 objects, about ")
    assert memory.endswith("of memory for a process of 2 threads")
    said = (
        r"about [\d.,]+ (seconds|minutes|hours|days), 2 tasks at a time, by windows made for trial;"
    )
    assert re.match(said, duration)


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


def test_only_what_is_left_is_counted(cloudless):
    """One of two blocks is there, of the other three of eight tiles."""
    mosaic = mosaic_of(cloudless)
    first, second = mosaic.during(slice(0, 3)), mosaic.during(slice(3, 4))
    tiles = mosaic.grid.tiles
    some = price({"s2": mosaic}, left={"s2": [Part(first, tiles[3:])]}, done={"s2": 11})
    rest = price({"s2": mosaic}, left={"s2": [Part(first, tiles[:3]), Part(second, tiles)]})
    every = price({"s2": mosaic})
    assert (some.tasks, rest.tasks, every.tasks) == (5, 11, 16)
    for name in ("windows", "decoded_bytes", "write_bytes", "objects"):
        assert getattr(some, name) + getattr(rest, name) == getattr(every, name)
    lines = some.lines()
    assert lines[0] == "s2: 4 items of 3 days in 3 time steps, for 5 of 16 tasks"
    assert "8 tiles; 11 of 16 tasks are done, 5 left" in lines


def test_what_is_done_takes_nothing(cloudless):
    mosaic = mosaic_of(cloudless)
    told = price({"s2": mosaic}, left={"s2": []}, done={"s2": 16})
    assert (told.tasks, told.windows, told.decoded_bytes, told.write_bytes) == (0, 0, 0, 0)
    assert told.stored_bytes == 0
    lines = told.lines()
    assert lines[:2] == ["s2: is there", "8 tiles; 16 of 16 tasks are done, 0 left"]
    assert told.sources["s2"].samples.opened == 9  # what is told of files stays the same
    assert len(lines) == 2  # nothing of nothing: no bytes, no memory, no time


def test_where_overviews_alone_are_left_nothing_else_is_told(cloudless):
    above = OverviewPrice(4, 3_000_000, 1_000_000, 8, (3, 1), 1_000_000)
    mosaic = mosaic_of(cloudless)
    lines = price({"s2": mosaic}, left={"s2": []}, done={"s2": 16}, overviews=above).lines()
    assert lines[2].startswith("overviews: 4 tasks, reading 3 MB of the cube and writing 1 MB")
    assert lines[3].endswith("of memory for a process of 1 thread")
    assert "1 task at a time, by usual rates;" in lines[4]
    assert not any("to write in" in line for line in lines)


def tried(clear, encoded, seconds=1.0, *, timed=True):
    return trials.Tried(seconds, 1, 1000, 1000, 1000, encoded, seconds, clear, timed)


def test_a_window_with_hardly_a_clear_pixel_does_not_say_how_a_cube_compresses():
    """Its chunk takes 400 bytes, whatever is in it: 400 times as much as its clear pixels."""
    scant, plain = tried(0.001, 400), tried(0.5, 200)
    assert trials.Trial((scant, plain)).ratio == pytest.approx(0.4)
    assert trials.Trial((scant,)).ratio == 1
    assert trials.Trial((scant, tried(0.0, 0))).ratio == 1


def test_what_is_compiled_meanwhile_does_not_count_in_the_time_of_a_window():
    first, rest = tried(1.0, 500, 20.0, timed=False), tried(1.0, 500, 0.1)
    trial = trials.Trial((first, rest))
    assert (trial.opening, trial.encoding) == (pytest.approx(0.1), pytest.approx(1e-4))
    assert trial.reading(1000, 1000, remote=False) == pytest.approx(0.1)
    assert trials.Trial((first, tried(0.0, 0, 0.1))).opening == 20  # better than nothing


@pytest.mark.parametrize("remote", [False, True])
def test_one_window_more_is_made_where_the_first_would_be_all(cloudless, monkeypatch, remote):
    """The first read of this process waits, as for a compiler."""
    monkeypatch.setattr(trials, "is_remote", lambda _: remote)
    whole, seen = observe.read_onto, []

    def slow(href, geobox, **how):
        if not seen:
            time.sleep(0.5)
        seen.append(href)
        return whole(href, geobox, **how)

    monkeypatch.setattr(observe, "read_onto", slow)
    mosaic = mosaic_of(cloudless).during(slice(0, 1))
    told = trials.trial(whole_part(mosaic), Cover.of(whole_part(mosaic)))
    first, second = told.windows
    assert (first.timed, second.timed) == (False, True)
    assert first.seconds >= 0.5
    assert told.opening == second.seconds / second.opens


def test_stored_bytes_are_those_of_windows_that_are_made(cloudless, tmp_path):
    """Noise from 1 to 8999 has 13.1 of 16 bits; half of the pixels of a month have no scene."""
    mosaic = mosaic_of(cloudless, masked=False)
    store = CubeStore(tmp_path / "cube.zarr", mosaic.grid)
    variables = [
        Variable("s2", ("time", "band", "y", "x"), (4, 2, 64, 128), "uint16", 0, {}),
        Variable("clear", ("time", "y", "x"), (4, 64, 128), "uint8", 0, {}),
    ]
    store.create(variables, {}, "test")
    for tile in mosaic.grid.tiles:
        values, count = mosaic.read(range(4), range(2), tile.y, tile.x)
        for steps in (slice(0, 3), slice(3, 4)):
            store.write(tile, {"s2": values[steps], "clear": count[steps]}, "test", steps)
    stored = sum(p.stat().st_size for p in (tmp_path / "cube.zarr").rglob("c/**/*") if p.is_file())
    told = price({"s2": mosaic})
    assert told.sources["s2"].trial is not None
    assert told.stored_bytes == pytest.approx(stored, rel=0.25)


def test_where_no_window_can_be_made_sizes_are_told_as_of_the_files(cloudless, monkeypatch):
    def damaged(*args, **kwargs):
        raise ReadError("damaged")

    monkeypatch.setattr(observe, "read_onto", damaged)
    told = price({"s2": mosaic_of(cloudless)})
    assert told.sources["s2"].trial is None
    assert told.stored_bytes > 0
    assert told.seconds > 0
    assert "if it compresses as what is read" in "".join(told.lines())
    assert "by usual rates" in told.lines()[-1]


def test_a_duration_is_of_whole_rounds_of_tasks():
    """Five tasks of two seconds each."""
    stage = Stage(5, 10.0)
    assert [stage.lasts(n) for n in (1, 2, 4, 5, 9)] == [10, 6, 4, 2, 2]


def test_a_store_is_asked_for_few_rasters(cloudless, monkeypatch):
    monkeypatch.setattr(trials, "is_remote", lambda _: True)
    monkeypatch.setattr(trials, "_OPENS", {True: 3, False: 200})
    told = price({"s2": mosaic_of(cloudless)})
    tried = told.sources["s2"].trial
    assert len(tried.windows) == 2
    assert all(0 < one.opens <= 3 for one in tried.windows)
