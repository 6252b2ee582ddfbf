from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError, MissingError
from geocube_ml.raster import (
    cost,
    counted,
    read_header,
    read_onto,
    read_overview,
    tiff,
    write_cog,
)

GRID = GeoBox((300, 410), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
FINER = GeoBox((200, 200), Affine(5, 0, 500_100, 0, -5, 4_999_500), "EPSG:32633")
WINDOWS = {
    "a block": GRID[:128, :128],
    "inside": GRID[100:290, 120:300],
    "beyond": GeoBox((50, 50), Affine(10, 0, 490_000, 0, -10, 5_000_000), "EPSG:32633"),
    "finer": FINER,
    "coarser": GeoBox((20, 20), Affine(40, 0, 500_000, 0, -40, 5_000_000), "EPSG:32633"),
    "another zone": GRID[30:60, 20:50].to_crs("EPSG:32632", resolution=10),
}


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).integers(1, 9000, (3, *GRID.shape)).astype("uint16")


@pytest.fixture(scope="module")
def cog(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cog")
    return str(write_cog(folder / "a.tif", values, GRID, nodata=0, blocksize=128))


@pytest.fixture(scope="module")
def apart(values, tmp_path_factory):
    """The same with its bands apart, in a compression that GDAL alone reads."""
    href = str(tmp_path_factory.mktemp("apart") / "a.tif")
    with rasterio.open(
        href, "w", driver="GTiff", count=3, dtype="uint16", height=300, width=410,
        crs="EPSG:32633", transform=GRID.transform, nodata=0, tiled=True, blockxsize=128,
        blockysize=128, interleave="band", compress="lzma",
    ) as dst:  # fmt: skip
        dst.write(values)
    return href


@pytest.mark.parametrize("at", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("bands", [(1,), (3, 1)])
def test_what_is_read_is_what_was_foretold(cog, apart, at, method, bands):
    for href in (cog, apart):
        price = cost(read_header(href), at, bands, method, method)
        with counted() as counts:
            read_onto(
                href, at, bands=bands, nodata=0, dtype="uint16",
                resampling=method, coarsening=method,
            )  # fmt: skip
        assert (price.blocks, price.decoded_bytes) == (counts.blocks, counts.decoded_bytes)
        if counts.compressed_bytes:
            assert price.compressed_bytes == counts.compressed_bytes
        assert (price.blocks == 0) == (at is WINDOWS["beyond"])


def test_a_price_by_hand(cog, apart):
    """Rows 100 to 290 and columns 120 to 300 lie in all rows and columns of blocks but the last
    column: 9 blocks of 128 x 128 pixels of 2 bytes, with 3 bands or one each."""
    together = cost(read_header(cog), WINDOWS["inside"], (1, 2), "nearest", "average")
    assert (together.blocks, together.decoded_bytes) == (9, 9 * 128 * 128 * 2 * 3)
    assert together.requests == 3
    each = cost(read_header(apart), WINDOWS["inside"], (1, 2), "nearest", "average")
    assert (each.blocks, each.decoded_bytes) == (18, 18 * 128 * 128 * 2)
    assert each.requests == 6


def test_headers_by_gdal_and_without_it_say_the_same(cog, values, tmp_path):
    plain, other = tmp_path / "plain.tif", tmp_path / "other.tif"
    for path, compress in ((plain, "deflate"), (other, "packbits")):
        with rasterio.open(
            path, "w", driver="GTiff", count=3, dtype="uint16", height=300, width=410,
            crs="EPSG:32633", transform=GRID.transform, nodata=0, compress=compress,
        ) as dst:  # fmt: skip
            dst.write(values)
            dst.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    one, two = read_header(str(plain)), read_header(str(other))
    for name in (
        "height", "width", "count", "dtype", "crs", "transform", "nodata", "block", "interleaved",
        "overviews",
    ):  # fmt: skip
        assert getattr(one, name) == getattr(two, name), name
    assert one.overviews == ((150, 205), (75, 103))
    assert one.block_bytes.shape == two.block_bytes.shape
    for path, header in ((plain, one), (other, two)):
        assert header.file_bytes == path.stat().st_size
        assert 0.5 < header.block_bytes.sum() / header.file_bytes < 1


def test_a_header_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingError, match="There is no file"):
        read_header(str(tmp_path / "no.tif"))


def test_a_coarse_look_is_an_overview_or_every_few_pixels(cog, apart, values):
    with rasterio.open(cog, overview_level=1) as src:
        second = src.read([3, 1])
    got, nodata = read_overview(cog, 150, (3, 1))
    np.testing.assert_array_equal(got, second)
    assert nodata == 0
    got, _ = read_overview(cog, 1000)
    np.testing.assert_array_equal(got, values[:1])
    got, _ = read_overview(apart, 41)
    assert got.shape == (1, 30, 41)
    assert np.isin(got, values[0]).all()
    with pytest.raises(InputError, match="has 3 bands, but band 4 is asked for"):
        read_overview(cog, 41, (4,))


def test_counts_are_of_one_thread_and_of_every_block_around(cog):
    def read(_=None):
        return read_onto(cog, WINDOWS["a block"], nodata=0, dtype="uint16")

    with counted() as outer:
        read()
        with counted() as inner, ThreadPoolExecutor(2) as pool:
            list(pool.map(read, range(4)))
            read()
        read()
    read()
    assert (inner.opens, inner.blocks) == (1, 1)
    assert (outer.opens, outer.blocks) == (3, 3)


def test_layouts_are_forgotten_where_there_are_many(monkeypatch, tmp_path):
    monkeypatch.setattr(tiff._Layouts, "_MOST_BLOCKS", 1000)
    layouts = tiff._Layouts()
    for at in range(20):
        layouts.put((at,), None)
    assert len(layouts._kept) == 5  # one weighs as much as 200 blocks
    assert layouts.get((0,)) == (False, None)
    assert layouts.get((19,)) == (True, None)


@pytest.mark.parametrize("stated", [None, 7])
def test_a_coarse_look_has_nodata_where_a_mask_hides_what_is_there(tmp_path, stated):
    valid = np.full((64, 64), 255, "uint8")
    valid[:, 32:] = 0
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 2, "dtype": "uint8"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "a.tif", "w", nodata=stated, **profile) as dst,
    ):
        dst.write(np.full((2, 64, 64), 5, "uint8"))
        dst.write_mask(valid)
    got, nodata = read_overview(str(tmp_path / "a.tif"), 16, (1, 2), nodata=9)
    assert nodata == (9 if stated is None else stated)
    assert (got[:, :, :8] == 5).all()
    assert (got[:, :, 8:] == nodata).all()
    if stated is None:
        assert (read_overview(str(tmp_path / "a.tif"), 16)[0] == 5).all()  # nothing can say it
