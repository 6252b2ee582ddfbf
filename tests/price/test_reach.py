"""What many windows touch at once is what each touches by itself."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.grid import Grid
from geocube_ml.price import reach
from geocube_ml.price.reach import Windows
from geocube_ml.raster.window import Header, way
from geocube_ml.spec.grid import StoreSpec

GEOBOX = GeoBox((250, 330), Affine(10, 0, 500_010, 0, -10, 5_100_000), "EPSG:32633")
TILES = Grid(GEOBOX, StoreSpec(chunk=16, shard=64, tile=64)).tiles


def header(crs, step, *, turned=0.0, block=(16, 64), off=0.0):
    """A raster that covers a part of the grid; its pixels are `step` metres."""
    west, _, _, north = GEOBOX.extent.to_crs(crs).boundingbox.bbox
    size = step / 111_000 if crs == "EPSG:4326" else step
    transform = Affine(size, 0, west + (20 + off) * size, 0, -size, north - 30 * size)
    shape = int(2000 / step), int(2500 / step)
    return Header(
        *shape, 2, np.dtype("u2"), crs, transform * Affine.rotation(turned), (0.0, 0.0), block, True
    )


@pytest.mark.parametrize("rim", [0, 3])
@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(
    ("crs", "step", "more"),
    [
        ("EPSG:32633", 10, {}),
        ("EPSG:32633", 10, {"off": 0.5}),
        ("EPSG:32633", 20, {"block": (33, 17)}),
        ("EPSG:32633", 4, {"block": (64, 64)}),
        ("EPSG:32633", 10, {"turned": 5}),
        ("EPSG:32634", 10, {}),
        ("EPSG:3035", 20, {"block": (100, 7)}),
        ("EPSG:4326", 30, {}),
    ],
)
def test_the_blocks_of_many_windows_are_those_of_each(crs, step, more, how, rim):
    raster, windows = header(crs, step, **more), Windows(GEOBOX, TILES, rim)
    which = np.arange(len(TILES))[::3]
    found = windows.touched(raster, which, how, how)
    for at, rows, cols in zip(which, *found, strict=True):
        blocks = list(raster.touched(way(raster, windows.window(at), how, how).span))
        assert rows * cols == len(blocks)
        assert rows == len({y for y, _ in blocks})


def test_only_windows_that_end_at_the_edge_of_a_block_are_looked_at_one_by_one(monkeypatch):
    asked = []
    monkeypatch.setattr(reach, "way", lambda *args: asked.append(args) or way(*args))
    raster, windows = header("EPSG:32634", 10, block=(64, 64)), Windows(GEOBOX, TILES)
    windows.touched(raster, np.arange(len(TILES)), "bilinear", "average")
    sizes = {tuple(windows.window(at).shape) for at in range(len(TILES))}
    assert len(asked) <= len(sizes) + 2


@pytest.mark.parametrize("how", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("size", [(4.0, 12.0), (12.0, 4.0)])
def test_the_blocks_of_windows_are_those_of_each_where_pixels_are_no_squares(how, size):
    transform = Affine(size[0], 0, 500_300, 0, -size[1], 5_099_700)
    raster = Header(
        300, 300, 1, np.dtype("u2"), "EPSG:32633", transform, (0.0,), (16, 16), True
    )  # fmt: skip
    windows, which = Windows(GEOBOX, TILES), np.arange(len(TILES))
    found = windows.touched(raster, which, how, how)
    for at, rows, cols in zip(which, *found, strict=True):
        blocks = list(raster.touched(way(raster, windows.window(at), how, how).span))
        assert (rows, cols) == (len({y for y, _ in blocks}), len({x for _, x in blocks}))


def test_each_direction_has_a_step_of_its_own():
    """GLO-30 at 46 degrees north, on a grid of 30 m: 21.5 m by 30.9 m."""
    degree = 1 / 3600
    place = Affine(degree, 0, 15, 0, -degree, 46.1)
    raster = Header(360, 360, 1, np.dtype("f4"), "EPSG:4326", place, (None,), (64, 64), True)
    onto = GeoBox((8, 8), Affine(30, 0, 500_500, 0, -30, 5_100_000), "EPSG:32633")
    found = way(raster, onto, "bilinear", "average")
    assert (found.kind, found.method) == ("warp", "average")
    assert found.step == pytest.approx((1.0, 1.4), abs=0.01)
