"""Rasters of classes on the cube's grid: nearest or by mode, shrunk, and without seams."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geocube_ml.errors import InputError, MissingError, ReadError
from geocube_ml.labels.regions import LEFT_OUT, read_codes, read_region
from geocube_ml.spec.storage import StorageSpec
from tests.labelled import CRS, LEFT, TOP, grid_of, raster_of, squares_of

STORAGE = StorageSpec()


def codes_of(raster, grid):
    return read_codes(raster, grid.geobox, STORAGE)


def test_a_raster_on_the_grid_keeps_its_pixels(tmp_path):
    values = np.uint8([[1, 2, 0, 255], [9, 1, 2, 2]])
    raster = raster_of(tmp_path / "r.tif", values, table={1: 0, 2: 3})
    got = codes_of(raster, grid_of(3, 5))
    assert got[:2].tolist() == [[0, 3, 255, 255, 255], [LEFT_OUT, 0, 3, 3, 255]]
    assert (got[2] == 255).all()


def test_a_coarser_raster_gives_each_pixel_what_its_centre_lies_in(tmp_path):
    """Pixels of 30 metres, which begin 10 metres left of the grid."""
    raster = raster_of(tmp_path / "r.tif", np.uint8([[1, 2], [2, 1]]), pixel=30.0, left=LEFT - 10)
    got = codes_of(raster, grid_of(6, 6))
    top, bottom = [1, 1, 2, 2, 2, 255], [2, 2, 1, 1, 1, 255]
    assert got.tolist() == [top] * 3 + [bottom] * 3


def test_of_a_finer_raster_a_pixel_has_the_class_that_most_of_it_has(tmp_path):
    """Pixels of 5 metres.  Two values are one class; unknown counts; a tie is unknown."""
    values = np.uint8([
        [1, 2, 7, 7, 1, 255, 0, 0],
        [3, 3, 7, 9, 255, 255, 1, 1],
    ])  # fmt: skip
    table = {1: 0, 2: 0, 3: 1, 7: 2}
    got = codes_of(raster_of(tmp_path / "r.tif", values, pixel=5.0, table=table), grid_of(1, 4))
    assert got.tolist() == [[255, 2, 255, 255]]
    table = {1: 0, 2: 0, 3: 0, 7: 2}
    got = codes_of(raster_of(tmp_path / "r.tif", values, pixel=5.0, table=table), grid_of(1, 4))
    assert got.tolist() == [[0, 2, 255, 255]]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 99),
    pixel=st.sampled_from([2.0, 2.5, 5.0]),
    shift=st.integers(-6, 6),
)
def test_mode_is_what_counting_finds(tmp_path_factory, seed, pixel, shift):
    """Of a raster whose pixels fit into those of the grid, shifted by whole ones of its own."""
    rng = np.random.default_rng(seed)
    values = rng.choice(np.uint8([0, 1, 1, 2, 255]), (60, 60))
    path = tmp_path_factory.mktemp("mode") / "r.tif"
    raster = raster_of(path, values, pixel=pixel, left=LEFT + shift * pixel, table={1: 1, 2: 2})
    got = codes_of(raster, grid_of(8, 8))
    n = round(10 / pixel)
    wide = np.full((200, 200), 255, np.uint8)
    wide[50:110, 50 + shift : 110 + shift] = np.where(values == 0, 255, values)
    for y, x in np.ndindex(8, 8):
        counts = np.bincount(
            wide[50 + y * n : 50 + (y + 1) * n, 50 + x * n : 50 + (x + 1) * n].ravel(),
            minlength=256,
        )
        most = np.flatnonzero(counts == counts.max())
        assert got[y, x] == (most[0] if most.size == 1 else 255)


def test_a_raster_in_degrees_has_its_classes_where_they_are(tmp_path):
    """Of whatever size its pixels are, what lies well inside a region has its class."""
    grid = grid_of(40, 40)
    back = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, north = back.transform(LEFT - 300, TOP + 300)
    for metres in (4, 9, 25):
        step = metres / 100_000
        geobox = GeoBox((1000 // metres, 1200 // metres), Affine(step, 0, west, 0, -step, north),
                        "EPSG:4326")  # fmt: skip
        lon, lat = np.meshgrid(west + step * (np.arange(geobox.shape.x) + 0.5),
                               north - step * (np.arange(geobox.shape.y) + 0.5))  # fmt: skip
        there = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
        x, y = there.transform(lon, lat)
        values = _stripes(x, y)
        raster = raster_of(tmp_path / f"{metres}.tif", values, crs="EPSG:4326", pixel=step,
                           left=west, top=north)  # fmt: skip
        got = codes_of(raster, grid)
        centre_x = LEFT + 10 * (np.arange(40) + 0.5)
        want = _stripes(*np.meshgrid(centre_x, TOP - 10 * (np.arange(40) + 0.5)))
        edge = abs((centre_x - LEFT) % 70 - 35) > 35 - 5 - metres  # a pixel's half, and theirs
        assert (got == want)[:, ~edge].all()
        assert (~edge).sum() >= 5


def _stripes(x, y):
    return np.where((x - LEFT) // 70 % 2 == 0, 1, 2).astype(np.uint8)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("inset", [0, 15])
def test_what_is_labelled_lies_so_far_from_all_else(tmp_path, whole, inset):
    """By the definition, measured with shapely; outside of the raster counts as another class."""
    rng = np.random.default_rng(1)
    values = rng.choice(np.uint8([1, 1, 1, 2, 255]), (4, 5)).repeat(4, 0).repeat(4, 1)
    raster = raster_of(tmp_path / "r.tif", values, left=LEFT + 20, top=TOP - 20)
    grid = grid_of(20, 24)
    region = read_region(raster, grid.geobox, inset, STORAGE, whole=whole)
    squares = squares_of(grid)
    codes = np.full((20, 24), 255, np.uint8)
    codes[2:18, 2:22] = values
    np.testing.assert_array_equal(region.codes, codes)
    beyond = shapely.box(LEFT - 500, TOP - 800, LEFT + 800, TOP + 500).difference(
        shapely.box(LEFT, TOP - 200, LEFT + 240, TOP)
    )
    for y, x in np.ndindex(codes.shape):
        own = squares[y, x] if whole else squares[y, x].centroid
        apart = min(
            shapely.distance(own, squares[codes != codes[y, x]]).min(), own.distance(beyond)
        )
        known = codes[y, x] < LEFT_OUT
        assert region.kept[y, x] == (known and apart >= inset), (y, x)
        free = shapely.distance(own, squares[codes != 255]).min() >= inset
        assert region.clear[y, x] == (free and not known), (y, x)


@settings(max_examples=15)
@given(
    window=st.tuples(
        st.integers(0, 25), st.integers(0, 25), st.integers(1, 15), st.integers(1, 15)
    ),
    inset=st.sampled_from([0.0, 12.0, 33.0]),
    which=st.sampled_from(["finer", "coarser", "degrees"]),
)
def test_any_window_is_cut_from_the_whole(rasters, window, inset, which):
    grid, (top, left, rows, cols) = grid_of(40, 40), window
    whole = read_region(rasters[which], grid.geobox, inset, STORAGE)
    part = read_region(
        rasters[which], grid.geobox[top : top + rows, left : left + cols], inset, STORAGE
    )
    for name in ("codes", "kept", "clear"):
        want = getattr(whole, name)[top : top + rows, left : left + cols]
        np.testing.assert_array_equal(getattr(part, name), want, strict=True)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rasters")
    rng = np.random.default_rng(2)
    values = rng.choice(np.uint8([1, 2, 7, 255]), (30, 30)).repeat(5, 0).repeat(5, 1)
    west, north = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(
        LEFT - 20, TOP + 30
    )
    return {
        "finer": raster_of(folder / "f.tif", values, pixel=3.1, left=LEFT - 7.3),
        "coarser": raster_of(folder / "c.tif", values[::5, ::5], pixel=23.0, left=LEFT - 4),
        "degrees": raster_of(
            folder / "d.tif", values, pixel=4e-5, left=west, top=north, crs="EPSG:4326"
        ),
    }


def test_memory_is_that_of_a_strip(tmp_path, monkeypatch):
    """Of a raster a hundred times as fine, no more values are held than stated."""
    monkeypatch.setattr("geocube_ml.labels.regions._MOST", 5000)
    rng = np.random.default_rng(0)
    values = rng.choice(np.uint8([1, 1, 2]), (200, 200))
    raster = raster_of(tmp_path / "r.tif", values, pixel=1.0)
    got = codes_of(raster, grid_of(20, 20))
    counts = (values.reshape(20, 10, 20, 10) == 1).sum(axis=(1, 3))
    assert set(got[counts > 50].tolist()) == {1}
    assert set(got[counts < 50].tolist()) <= {2}


def test_values_of_any_type_are_looked_up(tmp_path):
    for dtype, values in (
        ("uint16", [110, 65_000, 110, 0]), ("int16", [-5, 110, -5, 0]),
        ("int32", [2_000_000_000, -7, 2_000_000_000, 0]), ("float32", [3, np.nan, 3, 0]),
    ):  # fmt: skip
        array = np.array([values], dtype)
        raster = raster_of(tmp_path / f"{dtype}.tif", array, nodata=None, table={})
        raster = replace(raster, table={int(values[0]): 2, 111: 1})
        second = 255 if dtype == "float32" else LEFT_OUT
        assert codes_of(raster, grid_of(1, 5)).tolist() == [[2, second, 2, 255, 255]], dtype
    far = replace(raster, table={3: 2, 2_000_000_000: 1})
    assert codes_of(far, grid_of(1, 5)).tolist() == [[2, 255, 2, 255, 255]]


def test_fractions_are_no_classes(tmp_path):
    raster = raster_of(tmp_path / "r.tif", np.float32([[1, 1.5]]), nodata=None, table={1: 1})
    with pytest.raises(InputError, match=r"r\.tif holds the number 1\.5"):
        codes_of(raster, grid_of(2, 2))


def test_a_raster_that_cannot_be_read_is_named(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.tif"
    raster = raster_of(path, rng.integers(1, 4, (600, 600)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-40_000])
    with pytest.raises(ReadError, match=r"cut\.tif"):
        read_region(raster, grid_of(600, 600).geobox, 10, STORAGE)
    with pytest.raises(MissingError, match=r"gone\.tif"):
        codes_of(replace(raster, href=str(tmp_path / "gone.tif")), grid_of(2, 2))


def test_a_raster_without_a_crs_or_the_band_is_refused(tmp_path):
    path = tmp_path / "r.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8",
        transform=Affine(10, 0, LEFT, 0, -10, TOP),
    ) as file:  # fmt: skip
        file.write(np.ones((1, 2, 2), np.uint8))
    raster = raster_of(tmp_path / "other.tif", np.ones((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"r\.tif has no CRS"):
        codes_of(replace(raster, href=str(path)), grid_of(2, 2))
    with pytest.raises(InputError, match="has 1 band, but band 2"):
        codes_of(replace(raster, band=2), grid_of(2, 2))
