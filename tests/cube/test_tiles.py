"""Work on tiles: each once, and no tile half done when an error comes out."""

import threading
import time

import dask.array as da
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.cube.grid import Grid
from geocube_ml.cube.tiles import for_each_tile
from geocube_ml.spec.grid import StoreSpec


@pytest.fixture
def tiles():
    geobox = GeoBox((60, 70), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    return Grid(geobox, StoreSpec(chunk=16, shard=16, tile=16)).tiles


@pytest.mark.parametrize("workers", [1, 3])
def test_each_tile_is_worked_on_once_and_counted(tiles, workers):
    names, notes = [], []
    for_each_tile(
        tiles, lambda tile: names.append(tile.name), workers=workers,
        note=lambda *done: notes.append(done),
    )  # fmt: skip
    assert sorted(names) == sorted(tile.name for tile in tiles)
    assert notes == [(n, 20) for n in range(1, 21)]


def test_no_tiles_are_no_work():
    for_each_tile([], lambda _: pytest.fail("worked"), workers=2)


def test_the_first_error_comes_out_when_the_tiles_under_way_are_finished(tiles):
    both, log = threading.Barrier(2), []

    def work(tile):
        log.append(("begun", tile.name))
        if len(log) <= 2:
            both.wait(5)
            if log[0] == ("begun", tile.name):
                raise ValueError(tile.name)
        time.sleep(0.2)
        log.append(("done", tile.name))

    with pytest.raises(ValueError, match=r"\d{4}_\d{4}") as caught:
        for_each_tile(tiles, work, workers=2)
    seen = list(log)
    begun = {name for what, name in seen if what == "begun"}
    assert {name for what, name in seen if what == "done"} == begun - {str(caught.value)}
    assert len(begun) <= 4  # not all twenty
    time.sleep(0.3)
    assert log == seen  # nothing goes on behind the caller's back


def test_dask_inside_a_tile_is_not_counted(tiles):
    notes = []
    for_each_tile(
        tiles[:3], lambda _: da.ones(8, chunks=2).sum().compute(), workers=2,
        note=lambda *done: notes.append(done),
    )  # fmt: skip
    assert notes == [(1, 3), (2, 3), (3, 3)]


def test_at_most_so_many_tiles_at_a_time(tiles):
    lock, now, most = threading.Lock(), [0], [0]

    def work(_):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    for_each_tile(tiles, work, workers=2)
    assert most[0] == 2
