"""Four times the area is four times the work, and a task stays as it is."""

import pickle
import tracemalloc
from datetime import datetime

import numpy as np
import pystac
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube import observe
from geocube_ml.cube.lazy import lazy_cube
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.grid import Grid
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

PERIOD = PeriodSpec(start="2022-01", end="2022-02")
STORE = StoreSpec(chunk=256, shard=512, tile=512)


def mosaic(size):
    """Three scenes of four bands and a mask that cover just the grid."""
    geobox = GeoBox((size, size), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    outline = geobox.extent.to_crs("EPSG:4326")
    items = []
    for day in ("2022-01-05", "2022-01-15", "2022-02-05"):
        item = pystac.Item(
            day, outline.json, list(outline.boundingbox), datetime.fromisoformat(day), {},
        )  # fmt: skip
        for key in ("blue", "green", "red", "nir", "scl"):
            item.add_asset(
                key,
                pystac.Asset(
                    f"/archive/{day}/{key}.tif",
                    extra_fields={
                        "proj:shape": [size, size], "proj:code": "EPSG:32633",
                        "proj:transform": list(geobox.transform[:6]),
                    },
                ),
            )  # fmt: skip
        items.append(item)
    sensor = SensorSpec(
        bands={name: name for name in ("blue", "green", "red", "nir")},
        mask={"asset": "scl", "clear": [4]},
    )
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog="items"))
    return make_mosaic(items, source, Grid(geobox, STORE), PERIOD)


@pytest.fixture
def reads(monkeypatch):
    """Bytes of every window that is read; no raster is there."""
    seen = []

    def four(href, geobox, *, bands, dtype, **_):
        found = np.full((len(bands), *geobox.shape), 4, dtype or "uint8")
        seen.append(found.nbytes)
        return found

    monkeypatch.setattr(observe, "read_onto", four)
    return seen


def done(made):
    """Every tile of a mosaic: what each is sent, and the most memory that one takes."""
    sent, most = [], 0
    for tile in made.grid.tiles:
        cut = made.within(tile.y, tile.x)
        sent.append(len(pickle.dumps(cut)))
        tracemalloc.start()
        cut.read(range(len(cut.steps)), range(4), tile.y, tile.x)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return sent, most


def test_tasks_reads_and_bytes_grow_in_proportion_and_memory_not_at_all(reads):
    found = {}
    for size in (1024, 2048, 4096):
        reads.clear()
        sent, most = done(mosaic(size))
        found[size] = (len(sent), len(reads), sum(reads), max(sent), most)
    tasks, n, total, sent, memory = found[1024]
    assert (tasks, n) == (4, 4 * 3 * 5)
    assert total == 3 * 1024 * 1024 * (4 * 2 + 1)
    for factor, size in ((4, 2048), (16, 4096)):
        assert found[size][:3] == (factor * tasks, factor * n, factor * total)
        assert found[size][3] <= sent + 200
        assert found[size][4] <= memory * 1.05  # a window more that is not freed yet


def test_the_lazy_cubes_tasks_grow_in_proportion(reads):
    tasks = {
        size: len(dict(lazy_cube({"s2": mosaic(size)})["s2"].data.__dask_graph__())) - 1
        for size in (1024, 2048, 4096)
    }
    assert tasks == {1024: 2 * 4 * 16, 2048: 2 * 4 * 64, 4096: 2 * 4 * 256}
    assert reads == []
