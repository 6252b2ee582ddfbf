"""The price of a cube is what a run pays."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import geocube_ml.cube.mosaic as mosaic_module
from geocube_ml.cube.catalog import find_items
from geocube_ml.cube.grid import Grid, make_grid
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.cube.plan import missing_files, price
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SensorSpec, SourceSpec

PERIOD = PeriodSpec(start="2022-01", end="2022-04")
YEAR = PeriodSpec(start="2022-01", end="2022-12")


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
            {"B10": (band, 10, 0), "B11": (band, 10, 0),
             "SCL": (np.full((64, 64), 4, "uint8"), 10, 0)},
        )  # fmt: skip
    return folder


def mosaic_of(folder, *, masked=True, edge=32):
    sensor = SensorSpec(
        bands={"a": "B10", "b": "B11"}, mask={"asset": "SCL", "clear": [4]} if masked else None
    )
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(folder / "items")))
    geobox = GeoBox((64, 128), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    grid = Grid(geobox, StoreSpec(chunk=16, shard=edge, tile=edge))
    return make_mosaic(find_items(source, PERIOD), source, grid, PERIOD)


@pytest.mark.parametrize("masked", [True, False])
def test_on_a_cloudless_archive_the_price_is_what_a_run_pays(cloudless, monkeypatch, masked):
    mosaic = mosaic_of(cloudless, masked=masked)
    opened, decoded = [], []
    whole = mosaic_module.read_onto

    def counted(href, *args, **kwargs):
        values = whole(href, *args, **kwargs)
        opened.append((Path(href).parent.name, Path(href).stem))
        decoded.append(values.nbytes)
        return values

    monkeypatch.setattr(mosaic_module, "read_onto", counted)
    written = 0
    for tile in mosaic.grid.tiles:
        values, count = mosaic.read(range(4), range(2), tile.y, tile.x)
        written += values.nbytes + count.nbytes
    told = price(mosaic)
    assert (told.tiles, told.items, told.days, told.months) == (8, 4, 3, 4)
    assert told.write_bytes == written == 4 * 64 * 128 * (2 * 2 + 1)
    # by hand: each item, two tiles high; two wide, and a third that its margin touches,
    # whose mask is opened in vain
    assert told.reads == 4 * 2 * 3 * 3
    within = [n for n in opened if n[1] != ("SCL" if masked else "B10")]
    assert len(within) == 4 * 2 * 2 * 2 if masked else len(within) == 4 * 2 * 2
    assert len(opened) <= told.reads
    assert sum(decoded) <= told.read_bytes


def test_without_neighbours_the_price_is_exact(cloudless, reads):
    mosaic = mosaic_of(cloudless)
    west = Grid(mosaic.grid.geobox[:, :60], mosaic.grid.store)  # out of the eastern tile's margin
    mosaic = make_mosaic(find_items(mosaic.source, PERIOD), mosaic.source, west, PERIOD)
    for tile in west.tiles:
        mosaic.read(range(4), range(2), tile.y, tile.x)
    told = price(mosaic)
    assert told.reads == len(reads) == 2 * 2 * 2 * 3  # items, rows and columns of tiles, assets
    assert told.read_bytes == 2 * 64 * 60 * (2 * 2 + 1)


def test_the_price_opens_nothing(cloudless, reads, monkeypatch):
    monkeypatch.setattr("rasterio.open", lambda *_: pytest.fail("opened"))
    price(mosaic_of(cloudless))
    assert reads == []


@pytest.mark.parametrize("bands", [(), ("red",), ("blue", "swir16")])
@pytest.mark.parametrize("edge", [32, 64])
def test_workers_hold_no_more_than_they_are_said_to(archive, planetary, bands, edge):
    source = SourceSpec(sensor=planetary, items=ItemsSpec(catalog=str(archive.items)), bands=bands)
    spec = GridSpec(crs=archive.crs, resolution=10, bounds=archive.bounds)
    grid = make_grid(spec, StoreSpec(chunk=16, shard=edge, tile=edge))
    mosaic = make_mosaic(find_items(source, YEAR), source, grid, YEAR)
    said = price(mosaic).worker_bytes
    whole = max(grid.tiles, key=lambda t: (t.y.stop - t.y.start) * (t.x.stop - t.x.start))
    peak = min(peak_of(mosaic, whole) for _ in range(3))  # threads of other tests count too
    assert peak <= said <= 3 * peak


def peak_of(mosaic, tile):
    everything = (range(len(mosaic.months)), range(len(mosaic.source.chosen)))
    mosaic.read([0], [0], tile.y, tile.x)  # what is held once for all tiles
    tracemalloc.start()
    try:
        mosaic.read(*everything, tile.y, tile.x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_lines_are_for_people(cloudless):
    *lines, memory = price(mosaic_of(cloudless)).lines()
    assert lines == [
        "4 items of 3 days in 4 months",
        "8 tiles, one task each",
        "at most 72 windows to read, 123 kB decoded",
        "164 kB to write before compression",
    ]
    assert memory.endswith("of pixels in each worker's memory")


def test_files_that_are_not_there_are_counted(cloudless):
    mosaic = mosaic_of(cloudless)
    assert missing_files(mosaic) == []
    away = cloudless / "cogs" / "W0115" / "B11.tif"
    hidden = away.rename(away.with_suffix(".away"))
    try:
        (said,) = missing_files(mosaic)
    finally:
        hidden.rename(away)
    assert said == f"1 of 12 files that the items name are not there: {away}."


def test_remote_files_are_not_looked_for(cloudless):
    mosaic = mosaic_of(cloudless)
    for scenes in mosaic.scenes.values():
        for scene in scenes:
            for granule in scene.granules:
                for key in granule.hrefs:
                    granule.hrefs[key] = f"https://example.org/{key}.tif"
    assert missing_files(mosaic) == []
