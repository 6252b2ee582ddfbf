from __future__ import annotations

import contextlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError, MissingError, ReadError
from geocube_ml.raster import counted, read_onto
from geocube_ml.raster import read as read_module
from geocube_ml.raster.blocks import opened_tiff

UTM = "EPSG:32633"
LEFT, TOP = 500_000, 5_000_000
SHAPE = (83, 101)  # whole blocks of neither kind
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16}
STRIPED = {"tiled": False, "blockysize": 7}


def grid(rows=SHAPE[0], cols=SHAPE[1], res=10, left=LEFT, top=TOP, crs=UTM):
    return GeoBox((rows, cols), Affine(res, 0, left, 0, -res, top), crs)


WINDOWS = {
    "whole": grid(),
    "inside": grid()[17:60, 33:70],
    "one pixel": grid()[82:83, 100:101],
    "beyond the edges": grid(120, 140, left=LEFT - 130, top=TOP + 90),
    "finer": grid(90, 80, res=5, left=LEFT + 100, top=TOP - 200),
    "half a pixel off": grid(90, 80, left=LEFT + 5, top=TOP + 5),
    "another zone": grid()[20:50, 20:50].to_crs("EPSG:32632", resolution=10),
}


@pytest.fixture
def write(tmp_path):
    """Write a GeoTIFF of some bands; its name back."""

    def write(values, *, name="a.tif", crs=UTM, transform=None, tags=None, **options):
        count, height, width = values.shape
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", count=count, dtype=values.dtype.name,
            height=height, width=width, crs=crs, transform=transform or grid().transform,
            **options,
        ) as dst:  # fmt: skip
            dst.write(values)
            dst.update_tags(**(tags or {}))
        return str(tmp_path / name)

    return write


def noise(count, dtype, seed=0, shape=SHAPE):
    """Bands that differ, a tenth of each nodata (0)."""
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 50
    values = rng.integers(1, 60, (count, *shape)) + smooth
    if np.dtype(dtype).kind == "f":
        values = values / 7
    values[rng.random(values.shape) < 0.1] = 0
    return values.astype(dtype)


@contextlib.contextmanager
def gdal_only(monkeypatch):
    """Read as if no GeoTIFF were understood."""

    @contextlib.contextmanager
    def nothing(href):
        yield None

    with monkeypatch.context() as patch:
        patch.setattr(read_module, "opened_tiff", nothing)
        yield


def both(monkeypatch, href, at, **how):
    """What is read without GDAL and with it."""
    with counted() as direct:
        one = read_onto(href, at, **how)
    with gdal_only(monkeypatch), counted() as by_gdal:
        other = read_onto(href, at, **how)
    assert (direct.blocks, direct.decoded_bytes) == (by_gdal.blocks, by_gdal.decoded_bytes)
    assert by_gdal.compressed_bytes == 0
    return one, other, direct


def is_direct(href):
    with opened_tiff(href) as tiff:
        return tiff is not None


CODED = [
    (compress, predictor, dtype)
    for compress, predictor, dtype in product(
        ["none", "deflate", "lzw", "zstd"],
        [1, 2, 3],
        ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"],
    )
    if (predictor == 1 or compress != "none") and (predictor < 3 or dtype.startswith("float"))
]


@pytest.mark.parametrize(("compress", "predictor", "dtype"), CODED)
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("blocks", [TILED, STRIPED], ids=["tiled", "striped"])
def test_blocks_are_decoded_to_what_gdal_reads(
    write, monkeypatch, compress, predictor, dtype, interleave, blocks
):
    coding = {} if compress == "none" else {"compress": compress, "predictor": predictor}
    href = write(noise(3, dtype), nodata=0, interleave=interleave, **coding, **blocks)
    assert is_direct(href)
    for at, bands in product((WINDOWS["whole"], WINDOWS["inside"]), ((1,), (3, 1))):
        one, other, counts = both(
            monkeypatch, href, at, bands=bands, nodata=0, dtype=dtype, resampling="bilinear"
        )
        np.testing.assert_array_equal(one, other)
        assert one.any()
        assert counts.compressed_bytes > 0


@pytest.mark.parametrize("at", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("count", [1, 4])
def test_every_window_has_the_values_that_gdal_reads(write, monkeypatch, at, method, count):
    href = write(noise(count, "uint16"), nodata=0, compress="deflate", predictor=2, **TILED)
    one, other, _ = both(
        monkeypatch, href, at, bands=range(1, count + 1), nodata=65_535, dtype="uint16",
        resampling=method, coarsening=method,
    )  # fmt: skip
    np.testing.assert_array_equal(one, other)
    assert len(one) == count
    assert len(np.unique(one)) > 1 or at is WINDOWS["one pixel"]


def test_only_the_blocks_of_a_window_are_decoded_and_each_once(write):
    href = write(noise(4, "uint16"), interleave="pixel", compress="deflate", **TILED)
    with counted() as counts:
        read_onto(href, grid()[16:48, 32:64], bands=(4, 2, 1), nodata=0, dtype="uint16")
    assert (counts.opens, counts.blocks) == (1, 2)
    assert counts.decoded_bytes == 2 * 16 * 32 * 4 * 2


def test_nearest_needs_no_block_around_the_window_and_bilinear_does(write):
    href = write(noise(1, "uint16"), compress="deflate", **TILED)
    at = grid(32, 64, res=5, left=LEFT + 320, top=TOP - 160)
    blocks = {}
    for method in ("nearest", "bilinear"):
        with counted() as counts:
            read_onto(href, at, nodata=0, dtype="uint16", resampling=method)
        blocks[method] = counts.blocks
    assert blocks == {"nearest": 1, "bilinear": 9}


@pytest.mark.parametrize("nodata", [None, 7])
@pytest.mark.parametrize("stored", [0, 255])
def test_blocks_that_were_left_out_are_nodata(tmp_path, monkeypatch, nodata, stored):
    href = str(tmp_path / "sparse.tif")
    with rasterio.open(
        href, "w", driver="GTiff", count=1, dtype="uint8", height=64, width=64, crs=UTM,
        transform=grid().transform, nodata=nodata, sparse_ok=True, tiled=True, blockxsize=32,
        blockysize=32, compress="deflate",
    ) as dst:  # fmt: skip
        dst.write(np.full((1, 32, 32), 3, "uint8"), window=((0, 32), (32, 64)))
    assert is_direct(href)
    one, other, _ = both(monkeypatch, href, grid(64, 64), nodata=stored, dtype="uint8")
    np.testing.assert_array_equal(one, other)
    assert one[0, 0, 32] == 3
    assert one[0, 40, 0] == (0 if nodata is None else stored)


@pytest.mark.parametrize(
    ("crs", "direct"),
    [
        ("EPSG:32633", True), ("EPSG:3035", True), ("EPSG:3857", True), ("EPSG:4326", True),
        ("EPSG:2154", True), ("EPSG:31370", True), ("EPSG:4258", True),
        ("EPSG:2263", False),  # feet
        ("EPSG:32633+5773", False),
        ("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m", False),
    ],
)  # fmt: skip
def test_a_crs_is_what_gdal_says_it_is(write, crs, direct):
    transform = Affine(1e-4, 0, 15, 0, -1e-4, 45) if crs in ("EPSG:4326", "EPSG:4258") else None
    href = write(noise(1, "uint8"), crs=crs, transform=transform, **TILED)
    with opened_tiff(href) as tiff, rasterio.open(href) as src:
        assert (tiff is not None) == direct
        if tiff:
            assert tiff.header.crs == str(src.crs)
            assert tiff.header.transform.almost_equals(src.transform, 1e-12)


def test_pixels_that_are_points_lie_where_gdal_puts_them(write):
    href = write(noise(1, "uint8"), tags={"AREA_OR_POINT": "Point"}, **TILED)
    with opened_tiff(href) as tiff, rasterio.open(href) as src:
        assert tiff.header.transform == src.transform == grid().transform


@pytest.mark.parametrize(
    "options",
    [
        {"transform": Affine(10, 2, LEFT, 1, -10, TOP)},
        {"transform": Affine(10, 0, LEFT, 0, 10, TOP)},
        {"compress": "lzma"}, {"compress": "packbits"}, {"compress": "lerc_deflate"},
        {"nbits": 4}, {"endianness": "big"}, {"crs": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_left_to_gdal(write, options):
    assert not is_direct(write(noise(1, "uint8"), **options, **TILED))


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("compress", ["none", "deflate", "lzw", "zstd"])
@pytest.mark.parametrize("at", ["whole", "half a pixel off"])
def test_a_file_that_is_cut_short_is_told_as_gdal_tells_it(write, monkeypatch, share, compress, at):
    href = Path(write(noise(1, "uint16"), compress=compress, **TILED))
    whole = href.read_bytes()
    href.write_bytes(whole[: int(share * len(whole))])
    told = []
    for way in (contextlib.nullcontext(), gdal_only(monkeypatch)):
        # a tag at the end of the file, such as its CRS, is an input that is not there
        with way, pytest.raises((ReadError, InputError), match=r"a\.tif") as error:
            read_onto(str(href), WINDOWS[at], nodata=0, dtype="uint16", resampling="bilinear")
        told.append((error.type, str(error.value)))
    assert told[0] == told[1]


@pytest.mark.parametrize("compress", ["deflate", "zstd"])
def test_a_damaged_block_is_told_and_the_others_are_read(write, compress):
    values = noise(1, "uint16")
    href = write(values, compress=compress, **TILED)
    with tifffile.TiffFile(href) as tiff:
        start, size = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    with open(href, "r+b") as file:
        file.seek(start + size // 2)
        file.write(b"\0" * (size // 2))
    with pytest.raises(ReadError, match=r"a\.tif cannot be read \(.+\)"):
        read_onto(href, grid(), nodata=0, dtype="uint16")
    got = read_onto(href, grid()[:16], nodata=0, dtype="uint16")
    np.testing.assert_array_equal(got, values[:, :16])


def test_a_block_that_lies_beyond_the_file_is_told(write):
    href = write(noise(1, "uint16"), compress="deflate", **TILED)
    with tifffile.TiffFile(href) as tiff:
        tag = tiff.pages[0].tags["TileOffsets"]
    with open(href, "r+b") as file:
        file.seek(tag.valueoffset + 4 * 3)
        file.write(struct.pack("<I", 4_000_000_000))
    with pytest.raises(ReadError, match=r"a\.tif cannot be read"):
        read_onto(href, grid(), nodata=0, dtype="uint16")


def test_a_file_that_goes_away_or_changes_is_seen(write):
    href = write(noise(1, "uint16", seed=1), compress="deflate", **TILED)
    first = read_onto(href, grid(), nodata=0, dtype="uint16")
    other = write(noise(1, "uint16", seed=2), name="b.tif", compress="zstd", **STRIPED)
    os.replace(other, href)
    second = read_onto(href, grid(), nodata=0, dtype="uint16")
    np.testing.assert_array_equal(first, noise(1, "uint16", seed=1))
    np.testing.assert_array_equal(second, noise(1, "uint16", seed=2))
    os.remove(href)
    with pytest.raises(MissingError, match="There is no file"):
        read_onto(href, grid(), nodata=0, dtype="uint16")


def test_threads_read_the_same_files_at_once(write):
    hrefs = [
        write(noise(2, "uint16", seed), name=f"{seed}.tif", compress="deflate", **TILED)
        for seed in range(4)
    ]

    def read(seed):
        return read_onto(hrefs[seed], grid(), bands=(1, 2), nodata=0, dtype="uint16")

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(read, [0, 1, 2, 3] * 16))
    for at, values in enumerate(got):
        np.testing.assert_array_equal(values, noise(2, "uint16", at % 4))


@pytest.mark.parametrize("at", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("bands", [(3,), (1, 0)])
def test_a_band_that_a_raster_lacks_is_named(write, monkeypatch, at, bands):
    href = write(noise(2, "uint8"))
    for way in (contextlib.nullcontext(), gdal_only(monkeypatch)):
        with way, pytest.raises(InputError, match=rf"a\.tif has 2 bands, but band {bands[-1]} is"):
            read_onto(href, at, bands=bands, nodata=0, dtype="uint8")


def test_fractions_are_refused_where_whole_numbers_are_asked_for(write, monkeypatch):
    href = write(noise(1, "float32"), nodata=0)
    for way in (contextlib.nullcontext(), gdal_only(monkeypatch)):
        with way, pytest.raises(InputError, match="State the `dtype`"):
            read_onto(href, grid(), nodata=0, dtype="uint16")


def test_bands_may_differ_in_their_nodata(tmp_path):
    """Of a VRT, as a GeoTIFF has one for all its bands."""
    for name, nodata in (("a", 1), ("b", 2)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", count=1, dtype="uint8", height=1,
            width=3, crs=UTM, transform=grid().transform,
        ) as dst:  # fmt: skip
            dst.write(np.uint8([[[1, 2, 3]]]))
        (tmp_path / f"{name}.txt").write_text(str(nodata))
    band = (
        '<VRTRasterBand dataType="Byte" band="{}"><NoDataValue>{}</NoDataValue><SimpleSource>'
        '<SourceFilename relativeToVRT="1">{}.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
    )
    with rasterio.open(tmp_path / "a.tif") as src:
        wkt = src.crs.to_wkt().replace('"', "&quot;")
    (tmp_path / "both.vrt").write_text(
        f'<VRTDataset rasterXSize="3" rasterYSize="1"><SRS>{wkt}</SRS>'
        f"<GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform>"
        f"{band.format(1, 1, 'a')}{band.format(2, 2, 'b')}</VRTDataset>"
    )
    got = read_onto(str(tmp_path / "both.vrt"), grid(1, 3), bands=(1, 2), nodata=0, dtype="uint8")
    assert got.tolist() == [[[0, 2, 3]], [[1, 0, 3]]]
