from __future__ import annotations

import http.server
import threading
from functools import partial

import dask.array as da
import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geocube_ml.errors import InputError, MissingError, ReadError
from geocube_ml.raster import hex_to_rgb, read_onto, write_cog

UTM = "EPSG:32633"
LEFT, TOP = 500_000, 5_000_000


def grid(rows=8, cols=9, res=10, left=LEFT, top=TOP, crs=UTM):
    return GeoBox((rows, cols), Affine(res, 0, left, 0, -res, top), crs)


@pytest.fixture
def write(tmp_path):
    """Write a GeoTIFF; its name back."""

    def write(values, at=None, *, nodata=None, name="a.tif", crs=UTM, transform=None):
        height, width = values.shape
        transform = transform or (at or grid()).transform
        profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype.name, "nodata": nodata}
        with rasterio.open(
            tmp_path / name,
            "w",
            height=height,
            width=width,
            crs=crs,
            transform=transform,
            **profile,
        ) as dst:
            dst.write(values, 1)
        return str(tmp_path / name)

    return write


def noise(shape, seed=0, dtype="uint16", share=0.1):
    """Counts from 1, some of them nodata (0)."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 10_000, shape).astype(dtype)
    values[rng.random(shape) < share] = 0
    return values


def hills(shape, res=10):
    """A surface without edges, in which places can be told apart."""
    y, x = np.mgrid[: shape[0], : shape[1]] * res
    return (3000 + 1000 * np.sin(x / 170) + 1000 * np.cos(y / 230)).astype("uint16")


def read_one(*args, **kwargs):
    """The first band."""
    (values,) = read_onto(*args, **kwargs)
    return values


read = partial(read_one, nodata=0, dtype="uint16")


# -- where the pixels coincide --------------------------------------------------------------


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(1, 12), st.integers(1, 12))
def test_an_aligned_raster_is_copied_and_nodata_beyond_its_edges(write, row, col, rows, cols):
    values = noise((8, 9))
    href = write(values)
    got = read(href, grid(rows, cols, left=LEFT + 10 * col, top=TOP - 10 * row))
    want = np.pad(values, 24)[24 + row :, 24 + col :][:rows, :cols]
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, want)


def test_footprints_with_few_decimals_are_still_aligned(write):
    values = noise((8, 9))
    shifted = Affine(10, 0, LEFT + 0.004, 0, -10, TOP - 0.004)
    got = read(write(values, transform=shifted), grid(), resampling="bilinear")
    np.testing.assert_array_equal(got, values)


# -- half a pixel off, coarser, finer, elsewhere ---------------------------------------------


def test_half_a_pixel_off_is_the_mean_of_four_by_hand(write):
    href = write(np.uint16([[10, 20], [30, 40]]))
    at = grid(1, 1, left=LEFT + 5, top=TOP - 5)
    assert read(href, at, resampling="bilinear").tolist() == [[25]]


def test_three_tenths_of_a_pixel_off_is_still_in_the_same_pixel(write):
    values = noise((8, 9))
    got = read(write(values), grid(left=LEFT + 3, top=TOP + 3))
    np.testing.assert_array_equal(got, values)


def test_a_finer_grid_repeats_the_pixel_that_it_lies_in(write):
    values = noise((4, 5))
    got = read(write(values, grid(res=20)), grid(8, 10))
    np.testing.assert_array_equal(got, values.repeat(2, axis=0).repeat(2, axis=1))


def test_a_coarser_grid_averages_what_has_data(write):
    values = noise((16, 18), share=0.3)
    got = read(write(values), grid(8, 9, res=20), coarsening="average")
    blocks = values.reshape(8, 2, 9, 2).swapaxes(1, 2).reshape(8, 9, 4).astype(float)
    count = (blocks > 0).sum(-1)
    want = np.where(count, blocks.sum(-1) / np.maximum(count, 1), 0)
    assert ((got == 0) == (count == 0)).all()
    np.testing.assert_allclose(got, want, atol=0.51)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("crs", "left", "top", "res"),
    [
        (UTM, LEFT + 203, TOP - 104, 10),
        (UTM, LEFT + 200, TOP - 100, 7),
        ("EPSG:32632", None, None, 10),
        ("EPSG:3857", None, None, 15),
    ],
)
def test_another_grid_is_as_gdal_warps_it(write, method, crs, left, top, res):
    source = grid(120, 130)
    values = hills((120, 130))
    if left is None:
        where = source[40:80, 40:80].to_crs(crs, resolution=res)
        left, top = where.transform.c, where.transform.f
    at = grid(30, 30, res=res, left=left, top=top, crs=crs)
    got = read(write(values, source), at, resampling=method)
    want = np.zeros((30, 30), "uint16")
    reproject(
        values, want, src_transform=source.transform, src_crs=UTM, dst_transform=at.transform,
        dst_crs=crs, resampling=Resampling[method], tolerance=0, XSCALE=1, YSCALE=1,
    )  # fmt: skip
    assert (want > 0).all()
    if method == "bilinear":
        np.testing.assert_allclose(got.astype(int), want, atol=2)
    else:  # a place on the edge of two pixels may fall to either
        assert (got == want).mean() > 0.99


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    ("res", "crs"), [(10, UTM), (25, UTM), (6.3, UTM), (10, "EPSG:32632"), (30, "EPSG:32632")]
)
def test_a_window_has_the_values_of_the_whole(write, method, dtype, res, crs):
    source = grid(90, 100)
    href = write(noise((90, 100), dtype=dtype), source, nodata=0)
    where = source.to_crs(crs, resolution=res) if crs != UTM else source
    left, top = where.transform.c - 33, where.transform.f + 33  # partly beyond the edges
    at = grid(40, 40, res=res, left=left, top=top, crs=crs)
    how = partial(read_one, href, nodata=0, dtype=dtype, resampling=method, coarsening=method)
    whole = how(at)
    assert (whole > 0).any()
    for window in np.s_[0:7, 0:40], np.s_[13:31, 5:6], np.s_[22:40, 17:39]:
        np.testing.assert_array_equal(how(at[window]), whole[window])


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_places_on_the_edge_of_two_pixels_fall_to_the_same_in_every_window(write, method):
    """Their coordinates are sums of 0.7, whose last digits depend on where one begins to count."""
    href = write(noise((60, 60)), grid(60, 60, res=0.7))
    at = grid(50, 50, res=0.7, left=LEFT + 0.35, top=TOP - 0.35)
    whole = read(href, at, resampling=method)
    for row, col in np.ndindex(50, 50):
        if row == col or row == 7:
            one = read(href, at[row : row + 1, col : col + 1], resampling=method)
            assert one == whole[row, col]


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("res", [10, 7, 30])
def test_nodata_is_mixed_into_no_value(write, method, res):
    """Of values around 5000 and nodata 0 a mixture would lie between."""
    values = np.where(noise((60, 60), share=0.3) > 0, 5000, 0).astype("uint16")
    at = grid(20, 20, res=res, left=LEFT + 3, top=TOP - 3)
    got = read(write(values), at, resampling=method, coarsening=method)
    assert {5000} <= set(np.unique(got)) <= {0, 5000}


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
def test_a_raster_with_south_up_is_the_same_raster(write, method):
    values = noise((30, 30))
    south_up = Affine(10, 0, LEFT, 0, 10, TOP - 300)
    hrefs = write(values), write(values[::-1], name="b.tif", transform=south_up)
    for at in grid(30, 30), grid(20, 20, left=LEFT + 3), grid(10, 10, res=30):
        one, other = (read(h, at, resampling=method, coarsening=method) for h in hrefs)
        assert ((one == 0) == (other == 0)).all()
        # an average is summed in another order, so a half may be rounded the other way
        np.testing.assert_allclose(one.astype(int), other, atol=method == "average")


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize("res", [10, 30])
@pytest.mark.parametrize("left", [LEFT + 10_000, LEFT + 10_003, LEFT - 10_003])
def test_where_a_raster_does_not_reach_there_is_nodata(write, method, res, left):
    got = read_one(
        write(noise((8, 9))), grid(left=left, res=res),
        nodata=65_535, dtype="uint16", resampling=method, coarsening=method,
    )  # fmt: skip
    assert (got == 65_535).all()


# -- nodata -----------------------------------------------------------------------------------

GRIDS = {"copied": grid(), "sampled": grid(left=LEFT + 3), "averaged": grid(4, 4, res=20)}


@pytest.mark.parametrize("at", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize(
    ("dtype", "stated"),
    [("uint8", None), ("uint8", 255), ("int16", -1), ("float32", np.nan), ("float32", -1.0)],
)
@pytest.mark.parametrize(
    ("asked", "result"),
    [(0, "uint8"), (-9999, "int16"), (-9999.0, "int16"), (65_535, "uint16"), (np.nan, "float32")],
)
def test_the_rasters_own_nodata_becomes_the_one_asked_for(
    write, at, method, dtype, stated, asked, result
):
    """Whatever the two are, and whether or not the raster's dtype has the one asked for."""
    values = np.full((5, 5), 7, dtype)
    missing = asked if stated is None else stated
    if dtype == "float32" or np.iinfo(dtype).min <= missing <= np.iinfo(dtype).max:
        values[2, 2] = missing
    got = read_one(
        write(values, nodata=stated), at,
        nodata=asked, dtype=result, resampling=method, coarsening="average",
    )  # fmt: skip
    assert got.dtype == result
    gone = np.isnan(got) if np.isnan(asked) else got == asked
    np.testing.assert_allclose(got[~gone], 7, rtol=1e-6)
    assert gone[-1].all()  # beyond the edge
    assert not gone[0, 0]


@pytest.mark.parametrize("at", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("stored", ["plain", "masked"])
@pytest.mark.parametrize("own", [True, False])
def test_data_of_the_value_that_is_to_mean_nodata_are_refused_with_both(write, at, stored, own):
    """Fill that the file does not call so, or data that would get lost: both are wrong pixels."""
    values = np.full((5, 5), 700, "int16")
    values[1, 1], values[2, 2] = 0, -1
    href = write(values, nodata=-1)
    if stored == "masked":  # then GDAL reads it, and what is masked is no data
        with rasterio.open(href, "r+") as dst:
            dst.write_mask(values != 0)
    asked = partial(
        read_one, href, at, nodata=0, dtype="int16", coarsening="average", own_nodata=own
    )
    if not own or stored == "masked":
        assert (asked() != 700).any()
        return
    with pytest.raises(
        InputError, match=r"has pixels of the value 0 \(1 in what is read\), .*`nodata`.*nodata -1"
    ):
        asked()


def test_a_mean_that_comes_to_the_nodata_asked_for_stays_data(write):
    values = np.int16([[-5, 5], [5, -5]])
    at = grid(1, 1, res=20)
    for kind in ("int16", "float32"):
        href = write(values.astype(kind), nodata=-99)
        got = read_one(href, at, nodata=0, dtype=kind, coarsening="average")
        assert 0 < got[0, 0] <= 1
    thirds = write(np.float32([[0, 1], [0, 0]]), nodata=-1)
    assert read_one(thirds, at, nodata=-1, dtype="int16", coarsening="average") == 0


def test_nan_is_no_data_whatever_the_raster_states(write):
    values = np.float32([[1, np.nan], [-1, 4]])
    for stated, last in ((None, [-1, 4]), (-1, [0, 4])):
        got = read_one(write(values, nodata=stated), grid(2, 2), nodata=0, dtype="int16")
        assert got.tolist() == [[1, 0], last]


@pytest.mark.parametrize("res", [20, 30, 60, 120])
def test_averages_end_where_the_raster_ends_in_any_window(write, res):
    href = write(hills((96, 110)))
    whole = grid(60, 60, res=res, left=LEFT - 10 * res, top=TOP + 10 * res)
    got = read(href, whole, coarsening="average")
    x = LEFT - 10 * res + res * (np.arange(60) + 0.5)
    y = TOP + 10 * res - res * (np.arange(60) + 0.5)
    outside = (x < LEFT) | (x >= LEFT + 1100)
    below = (y > TOP) | (y <= TOP - 960)
    assert not got[:, outside].any()
    assert not got[below].any()
    for rows, cols in ((slice(8, 14), slice(8, 14)), (slice(11, 40), slice(5, 33))):
        part = read(href, whole[rows, cols], coarsening="average")
        np.testing.assert_array_equal(part, got[rows, cols])


# -- what cannot be read ----------------------------------------------------------------------


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingError, match=r"There is no file .*nothing\.tif"):
        read(str(tmp_path / "nothing.tif"), grid())


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "at", [grid(600, 600), grid(600, 600, left=LEFT + 3), grid(90, 90, res=60)]
)
def test_a_file_that_is_cut_short_is_told(tmp_path, share, at):
    href = tmp_path / "cut.tif"
    write_cog(href, noise((600, 600)), grid(600, 600), nodata=0, blocksize=128)
    whole = href.read_bytes()
    href.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ReadError, match=r"cut\.tif cannot be read \(.+\)"):
        read(str(href), at, resampling="bilinear", coarsening="average")


def test_a_file_that_is_no_raster_is_told(tmp_path):
    href = tmp_path / "a.tif"
    href.write_text("<html>403 Forbidden</html>")
    with pytest.raises(ReadError, match=r"a\.tif cannot be read"):
        read(str(href), grid())


def test_a_raster_without_crs_is_refused_with_the_next_step(write):
    with pytest.raises(InputError, match=r"a\.tif has no CRS, the grid is in EPSG:32633"):
        read(write(noise((8, 9)), crs=None), grid())


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves files with ranges, as an object store does, and notes what is asked for."""

    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        try:
            with open(self.translate_path(self.path), "rb") as file:
                content = file.read()
        except OSError:
            return self.send_error(404)
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Accept-Ranges", "bytes")
            return self.end_headers()
        part = content[int(first) : int(last or len(content)) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header(
            "Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        )
        self.end_headers()
        return self.wfile.write(part)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The URL of a folder, and the paths that were asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")
    asked = []
    handler = type("Handler", (_Files,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_read_opens_one_file(write, served):
    """No sidecar is asked for, and no folder listed: each would be a request."""
    url, asked = served
    values = noise((8, 9))
    write(values)
    got = read(f"{url}/a.tif", grid())
    np.testing.assert_array_equal(got, values)
    assert set(asked) == {"/a.tif"}


def test_an_address_without_a_file_is_told(served):
    url, _ = served
    with pytest.raises(MissingError, match=r"There is no http://.*/nothing\.tif"):
        read(f"{url}/nothing.tif", grid())


# -- writing ----------------------------------------------------------------------------------


def lazily(kind, values, folder):
    if kind == "zarr":
        array = zarr.create_array(
            folder / "a.zarr", shape=values.shape, chunks=(100, 100), dtype=values.dtype
        )
        array[:] = values
        return array
    return da.from_array(values, chunks=(300, 250)) if kind == "dask" else values


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask"])
def test_what_is_written_is_read_back(tmp_path, kind):
    values = noise((1100, 700))  # more than one strip of rows
    at = grid(1100, 700)
    path = write_cog(tmp_path / "new" / "a.tif", lazily(kind, values, tmp_path), at, nodata=0)
    np.testing.assert_array_equal(read(str(path), at), values)
    with rasterio.open(path) as src:
        assert (src.crs.to_epsg(), src.transform, src.nodata) == (32633, at.transform, 0)
        assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert src.overviews(1)
    assert [p.name for p in path.parent.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_dtype_and_several_bands_come_back(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 100, (3, 20, 30)).astype(dtype)
    path = write_cog(
        tmp_path / "a.tif", values, grid(20, 30),
        names=("a", "b", "c"), tags={"made_by": "test"}, scale=0.5, blocksize=128,
    )  # fmt: skip
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(), values)
        assert src.descriptions == ("a", "b", "c")
        assert src.scales == (0.5,) * 3
        assert src.tags()["made_by"] == "test"
        assert src.nodata is None


def test_classes_have_their_colours_and_nodata_is_transparent(tmp_path):
    values = np.uint8([[0, 1], [255, 1]])
    path = write_cog(
        tmp_path / "a.tif", values, grid(2, 2), nodata=255, colors=("#ff8000", "#0000ff")
    )
    with rasterio.open(path) as src:
        table = src.colormap(1)
    assert table[0] == (255, 128, 0, 255)
    assert table[1] == (0, 0, 255, 255)
    assert table[255][3] == 0


class _Failing:
    """An array whose second strip cannot be had."""

    shape = (1100, 20)
    dtype = np.dtype("uint8")

    def __getitem__(self, key):
        if key[-2].start:
            raise OSError("the store went away")
        return np.zeros((key[-2].stop, 20), "uint8")


@pytest.mark.parametrize("before", [None, b"earlier"])
def test_a_failed_write_leaves_what_was_there_before(tmp_path, before):
    path = tmp_path / "a.tif"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(OSError, match="the store went away"):
        write_cog(path, _Failing(), grid(1100, 20))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == (
        {} if before is None else {"a.tif": before}
    )


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_colour_is_its_three_bytes(red, green, blue):
    assert hex_to_rgb(f"#{red:02x}{green:02X}{blue:02x}") == (red, green, blue)


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (np.full((4, 4), 60_000, np.uint16), "int16"),
        (np.full((4, 4), 0.25, np.float32), "uint16"),
        (np.full((4, 4), 300, np.uint16), "uint8"),
    ],
)
def test_values_that_the_asked_dtype_cannot_hold_are_refused(values, asked, tmp_path):
    geobox = GeoBox.from_bbox((0, 0, 40, 40), "EPSG:32633", resolution=10)
    path = write_cog(tmp_path / "a.tif", values, geobox)
    with pytest.raises(InputError, match="State the `dtype`"):
        read_onto(str(path), geobox, nodata=0, dtype=asked)


def test_values_that_the_asked_dtype_holds_are_converted(tmp_path):
    geobox = GeoBox.from_bbox((0, 0, 40, 40), "EPSG:32633", resolution=10)
    path = write_cog(tmp_path / "a.tif", np.arange(16, dtype="uint16").reshape(4, 4), geobox)
    assert read_onto(str(path), geobox, nodata=0, dtype="uint8").max() == 15


def masked_raster(path, how):
    """A raster of 500, its right half masked; without a nodata."""
    values = np.full((16, 16), 500, "uint16")
    valid = np.full((16, 16), 255, "uint16" if how == "alpha" else "uint8")
    valid[:, 8:] = 0
    values[:, 8:] = 9000
    profile = {"driver": "GTiff", "dtype": "uint16", "crs": UTM, "transform": grid().transform}
    profile |= {"height": 16, "width": 16, "count": 2 if how == "alpha" else 1}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile, **({"ALPHA": "YES"} if how == "alpha" else {})) as dst,
    ):
        dst.write(values, 1)
        if how == "alpha":
            dst.write(valid, 2)
        else:
            dst.write_mask(valid)
    return str(path)


@pytest.mark.parametrize("how", ["mask", "alpha"])
@pytest.mark.parametrize(
    ("onto", "ways"),
    [
        (grid(16, 16), {}),
        (grid(16, 16, left=LEFT + 5), {"resampling": "bilinear"}),
        (grid(4, 4, res=40), {"coarsening": "average"}),
        (grid(5, 5, res=30), {"coarsening": "average"}),
    ],
    ids=["copied", "sampled", "averaged", "averaged across the edge"],
)
def test_what_a_raster_masks_is_missing(tmp_path, how, onto, ways):
    path = masked_raster(tmp_path / "a.tif", how)
    found = read_onto(path, onto, nodata=0, dtype="uint16", **ways)[0]
    centres = (onto.transform.c - LEFT) + onto.transform.a * (np.arange(onto.shape.x) + 0.5)
    clear, masked = centres < 75, centres > 95
    assert (found[:, clear] == 500).all()
    assert not found[:, masked].any()
    assert set(np.unique(found)) == {0, 500}


@pytest.mark.parametrize("kind", ["mask", "alpha"])
def test_an_average_of_masked_pixels_does_not_depend_on_the_window(tmp_path, kind):
    path, onto = masked_raster(tmp_path / "a.tif", kind), grid(5, 5, res=30, left=LEFT + 4)
    ways = {"nodata": 0, "dtype": "uint16", "coarsening": "cubic"}
    whole = read_onto(path, onto, **ways)
    np.testing.assert_array_equal(read_onto(path, onto[1:4, 1:4], **ways), whole[:, 1:4, 1:4])


def test_a_raster_that_is_finer_in_one_direction_is_averaged(tmp_path):
    values = np.zeros((16, 32), "uint16")
    values[:, ::2] = 100
    values[:, 1::2] = 300
    for shape, size, turned in (((16, 32), (5, -10), False), ((32, 16), (10, -5), True)):
        path = tmp_path / f"{turned}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="uint16",
            crs=UTM, transform=Affine(size[0], 0, LEFT, 0, size[1], TOP),
        ) as dst:  # fmt: skip
            dst.write(values.T if turned else values, 1)
        found = read_onto(str(path), grid(16, 16), nodata=0, dtype="uint16", coarsening="average")
        assert (found == 200).all(), turned
