"""Tiles that abut are the raster that they were cut from."""

import contextlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError, MissingError, ReadError
from geocube_ml.raster import Wanted, cost, counted, read_header, read_joined, read_onto
from geocube_ml.spec.storage import StorageSpec

UTM, DEGREES = "EPSG:32633", "EPSG:4326"
STEP = 1 / 3600
PLACES = {
    UTM: Affine(30, 0, 500_000, 0, -30, 5_100_000),
    # as of Copernicus GLO-30: half a pixel off the degree
    DEGREES: Affine(STEP, 0, 15 - STEP / 2, 0, -STEP, 46 + STEP / 2),
}
SHAPE = (90, 100)
CUTS = {
    "two": ([0, 90], [0, 37, 100]),
    "four": ([0, 41, 90], [0, 37, 100]),
    "nine": ([0, 20, 21, 90], [0, 33, 66, 100]),
}


def surface(shape=SHAPE, dtype="float32"):
    rows, cols = np.indices(shape)
    rough = np.random.default_rng(0).normal(0, 20, shape)
    return (500 + 3 * cols - 2 * rows + 90 * np.sin(rows / 6) * np.cos(cols / 5) + rough).astype(
        dtype
    )


def write(path, values, transform, crs, *, nodata=-32768, mask=None, **how):
    planes = values if values.ndim == 3 else values[None]
    with rasterio.open(
        path, "w", driver="GTiff", height=planes.shape[1], width=planes.shape[2],
        count=len(planes), dtype=planes.dtype, crs=crs, transform=transform, nodata=nodata,
        tiled=True, blockxsize=16, blockysize=16, compress="deflate", **how,
    ) as dst:  # fmt: skip
        dst.write(planes)
        if mask is not None:
            dst.write_mask(mask)
    return str(path)


def cut(folder, values, crs, edges, *, overlap=0, mask=None, **how):
    """Paths of tiles, from the north-west on; of places that are stated in 15 digits."""
    found = []
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            rows = slice(max(top - overlap, 0), bottom + overlap)
            cols = slice(max(left - overlap, 0), right + overlap)
            there = PLACES[crs] * Affine.translation(cols.start, rows.start)
            there = Affine(*(float(f"{number:.15g}") for number in there[:6]))
            own = None if mask is None else mask[rows, cols]
            path = folder / f"tile-{top}-{left}.tif"
            found.append(write(path, values[..., rows, cols], there, crs, mask=own, **how))
    return found


def wanted(**how):
    fields = {"nodata": -9999, "dtype": np.dtype("float32")}
    return Wanted(**fields | {"resampling": "bilinear", "coarsening": "average"} | how)


def joined(hrefs, geobox, how, *, own_first=False, naming=lambda _: contextlib.nullcontext()):
    return read_joined(
        hrefs, geobox, how, own_first=own_first, naming=naming, storage=StorageSpec()
    )


def fused(layers, nodata):
    """The first that has data, pixel by pixel."""
    first, *others = layers
    values = first.copy()
    for layer in others:
        values = np.where(values == nodata, layer, values)
    return values


def onto(crs, kind):
    """A window that reaches beyond the tiles on two sides."""
    size = {"finer": 9.7, "as fine": 30, "coarser": 93}[kind]
    n = {"finer": (250, 260), "as fine": (80, 90), "coarser": (30, 32)}[kind]
    left, top = {UTM: (500_011, 5_100_095), DEGREES: (500_017, 5_094_390)}[crs]
    return GeoBox(n, Affine(size, 0, left, 0, -size, top), UTM)


def close(got, want):
    """Equal but for the last bits of a mean, whose weights are of coordinates."""
    np.testing.assert_array_equal(got == -9999, want == -9999)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert (want == -9999).any()
    assert (want != -9999).mean() > 0.5


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("crs", PLACES)
@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("finer", "nearest"), ("finer", "bilinear"), ("finer", "cubic"),
        ("as fine", "bilinear"), ("as fine", "average"),
        ("coarser", "nearest"), ("coarser", "average"), ("coarser", "mode"),
    ],
)  # fmt: skip
def test_tiles_are_the_raster_that_they_were_cut_from(tmp_path, cuts, crs, kind, method):
    values = surface().round(-1) if method == "mode" else surface()
    values[60:64, 35:39] = -32768  # along the border too
    whole = write(tmp_path / "whole.tif", values, PLACES[crs], crs)
    tiles = cut(tmp_path, values, crs, CUTS[cuts])
    at, how = onto(crs, kind), wanted(resampling=method, coarsening=method)
    want = read_onto(whole, at, **vars(how))
    layers = joined(tiles, at, how)
    close(fused(layers, -9999), want)
    # and this is no matter of course
    alone = fused([read_onto(href, at, **vars(how)) for href in tiles], -9999)
    assert np.array_equal(alone, want) == (method == "nearest")


def test_half_a_pixel_beyond_a_border_by_hand(tmp_path):
    """Between the centres of two pixels of 30 m, one a tile, lie two of 15 m."""
    for at, value in enumerate((100, 200)):
        there = PLACES[UTM] * Affine.translation(at, 0)
        write(tmp_path / f"{at}.tif", np.full((1, 1), value, "float32"), there, UTM)
    hrefs = [str(tmp_path / f"{at}.tif") for at in (0, 1)]
    at = GeoBox((2, 4), Affine(15, 0, 500_000, 0, -15, 5_100_000), UTM)
    west, east = joined(hrefs, at, wanted())
    assert west.tolist() == [[[100, 125, -9999, -9999]] * 2]
    assert east.tolist() == [[[-9999, -9999, 175, 200]] * 2]
    at = GeoBox((1, 1), Affine(60, 0, 500_000, 0, -60, 5_100_000), UTM)
    layers = joined(hrefs, at, wanted())
    assert fused(layers, -9999).tolist() == [[[-9999]]]  # the centre lies below both
    at = GeoBox((1, 1), Affine(60, 0, 500_000, 0, -40, 5_100_000), UTM)
    assert fused(joined(hrefs, at, wanted()), -9999).tolist() == [[[150]]]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Folder, and the paths of four tiles in degrees."""
    folder = tmp_path_factory.mktemp("four")
    return cut(folder, surface(), DEGREES, CUTS["four"])


WHOLES = {}


@pytest.mark.parametrize("kind", ["finer", "as fine", "coarser"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_window_has_the_values_of_the_whole(four, kind, data):
    at = onto(DEGREES, kind)
    if kind not in WHOLES:
        WHOLES[kind] = fused(joined(four, at, wanted()), -9999)
    rows, cols = (
        slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))))
        for n in at.shape
    )
    got = fused(joined(four, at[rows, cols], wanted()), -9999)
    np.testing.assert_array_equal(got, WHOLES[kind][:, rows, cols])


@pytest.mark.parametrize("crs", PLACES)
@pytest.mark.parametrize("kind", ["finer", "as fine", "coarser"])
def test_what_is_read_is_what_each_tile_would_take_by_itself(tmp_path, crs, kind):
    tiles = cut(tmp_path, surface(), crs, CUTS["four"])
    whole, how = onto(crs, kind), wanted()
    rows, cols = whole.shape
    halves = whole[: rows // 2], whole[rows // 3 : rows // 2 + 1, cols // 4 :], whole[-1:, -1:]
    for at in (whole, *halves):
        with counted() as counts:
            joined(tiles, at, how)
        costs = [cost(read_header(href), at, (1,), "bilinear", "average") for href in tiles]
        assert counts.blocks == sum(one.blocks for one in costs)
        assert counts.decoded_bytes == sum(one.decoded_bytes for one in costs)
        assert counts.opens == sum(one.blocks > 0 for one in costs)


@pytest.mark.parametrize("how", ["mask", "alpha", "nan"])
@pytest.mark.parametrize("kind", ["finer", "coarser"])
def test_what_tiles_mask_is_missing_in_their_neighbours_too(tmp_path, how, kind):
    values, mask = surface(), np.full(SHAPE, 255, "uint8")
    mask[30:50, 30:40] = 0
    given_, more = values, {"nodata": None}
    if how == "mask":
        more["mask"] = mask
    elif how == "alpha":
        values = values.round().clip(1).astype("uint16")
        given_ = np.stack([values, np.where(mask, 65_535, 0).astype("uint16")])
        more["alpha"] = "YES"
    else:
        given_ = np.where(mask == 0, np.float32(np.nan), values)
        more["nodata"] = np.nan
    whole = write(tmp_path / "whole.tif", given_, PLACES[UTM], UTM, **more)
    tiles = cut(tmp_path, given_, UTM, CUTS["four"], **more)
    at = onto(UTM, kind)
    missing = np.where(mask == 0, 0, values).astype("float32")
    plain = write(tmp_path / "plain.tif", missing, PLACES[UTM], UTM, nodata=0)
    got = fused(joined(tiles, at, wanted()), -9999)
    close(got, read_onto(whole, at, **vars(wanted())))
    close(got, read_onto(plain, at, **vars(wanted())))


def test_of_tiles_that_overlap_the_first_with_data_gives_a_pixel(tmp_path):
    values = surface()
    tiles = cut(tmp_path, values, UTM, CUTS["two"], overlap=6)
    there = PLACES[UTM] * Affine.translation(31, 0)
    raised = values[:, 31:] + 1000
    raised[:, :2] = -32768
    tiles[1] = write(tmp_path / "raised.tif", raised, there, UTM)
    for order, mixed in (
        (tiles, np.hstack([values[:, :43], values[:, 43:] + 1000])),
        (tiles[::-1], np.hstack([values[:, :33], values[:, 33:] + 1000])),
    ):
        whole = write(tmp_path / "whole.tif", mixed, PLACES[UTM], UTM)
        for kind in ("finer", "coarser"):
            at = onto(UTM, kind)
            want = read_onto(whole, at, **vars(wanted()))
            close(fused(joined(order, at, wanted()), -9999), want)


def test_each_comes_first_in_its_own_result_where_that_is_asked_for(tmp_path):
    values = surface()
    tiles = cut(tmp_path, values, UTM, CUTS["two"], overlap=6)
    there = PLACES[UTM] * Affine.translation(31, 0)
    tiles[1] = write(tmp_path / "raised.tif", values[:, 31:] + 1000, there, UTM)
    at = onto(UTM, "finer")
    west, east = joined(tiles, at, wanted(), own_first=True)
    for got, edge in ((west, 43), (east, 31)):
        mixed = np.hstack([values[:, :edge], values[:, edge:] + 1000])
        whole = write(tmp_path / "whole.tif", mixed, PLACES[UTM], UTM)
        want = read_onto(whole, at, **vars(wanted()))
        np.testing.assert_array_equal(got[got != -9999], want[got != -9999])
    # as far as each reaches
    alone = [read_onto(href, at, **vars(wanted())) for href in tiles]
    for got, own in zip((west, east), alone, strict=True):
        np.testing.assert_array_equal(got == -9999, own == -9999)


def test_a_tile_behind_others_is_not_read(tmp_path):
    values = surface()
    tiles = cut(tmp_path, values, UTM, CUTS["four"])
    again = write(tmp_path / "again.tif", values[:41, :37], PLACES[UTM], UTM)
    at = onto(UTM, "finer")
    with counted() as counts:
        layers = joined([*tiles, again], at, wanted())
    assert counts.opens == 4
    np.testing.assert_array_equal(layers[0], layers[4])


@pytest.mark.parametrize(
    "other", ["shifted", "of other pixels", "of another CRS", "dtype", "nodata"]
)
def test_what_is_of_another_lattice_is_left_to_be_read_by_itself(tmp_path, other):
    values = surface(dtype="int16")
    tiles = cut(tmp_path, values, UTM, CUTS["four"])
    there, crs, nodata, own = (
        PLACES[UTM] * Affine.translation(37, 41),
        UTM,
        -32768,
        values[41:, 37:],
    )
    if other == "shifted":
        there *= Affine.translation(0.01, 0)
    elif other == "of other pixels":
        there *= Affine.scale(1.001, 1)
    elif other == "of another CRS":
        crs = "EPSG:32634"
    elif other == "dtype":
        own = own.astype("float32")
    else:
        nodata = -1
    tiles[3] = write(tmp_path / "other.tif", own, there, crs, nodata=nodata)
    layers = joined(tiles, onto(UTM, "finer"), wanted())
    assert [layer is None for layer in layers] == [False, False, False, True]
    three = joined(tiles[:3], onto(UTM, "finer"), wanted())
    for got, want in zip(layers, three, strict=False):
        np.testing.assert_array_equal(got, want)


def test_two_lattices_are_joined_each_by_itself(tmp_path):
    values = surface()
    tiles = cut(tmp_path, values, UTM, CUTS["two"])
    (tmp_path / "other").mkdir()
    off = Affine.translation(0.5, 200)
    others = []
    for at, path in enumerate(tiles):
        with rasterio.open(path) as src:
            there = src.transform * off
            others.append(write(tmp_path / "other" / f"{at}.tif", src.read(), there, UTM))
    at = onto(UTM, "finer")
    mixed = [tiles[0], others[0], others[1], tiles[1]]
    got = joined(mixed, at, wanted())
    for places, hrefs in (((0, 3), tiles), ((1, 2), others)):
        for place, want in zip(places, joined(hrefs, at, wanted()), strict=True):
            np.testing.assert_array_equal(got[place], want)


@pytest.mark.parametrize("harm", ["gone", "cut", "lacks a band", "no CRS"])
def test_what_is_wrong_with_a_tile_is_raised_under_its_name(tmp_path, four, harm):
    tiles, said = list(four), []
    tiles[2] = str(tmp_path / "harmed.tif")
    with rasterio.open(four[2]) as src:
        values, there = src.read(), src.transform
    if harm != "gone":
        write(tiles[2], values, there, None if harm == "no CRS" else DEGREES)
    if harm == "cut":
        path = tmp_path / "harmed.tif"
        path.write_bytes(path.read_bytes()[:3000])

    @contextlib.contextmanager
    def naming(at):
        try:
            yield
        except (InputError, MissingError, ReadError) as error:
            said.append((at, type(error)))
            raise

    how = wanted(bands=(2,)) if harm == "lacks a band" else wanted()
    kind = {"gone": MissingError, "cut": ReadError}.get(harm, InputError)
    with pytest.raises(kind):
        joined(tiles, onto(DEGREES, "finer"), how, naming=naming)
    ((at, found),) = said
    assert at == (0 if harm == "lacks a band" else 2)
    assert issubclass(found, kind)


def test_bands_are_joined_together(tmp_path):
    values = np.stack([surface(), -surface(), surface() + 7])
    whole = write(tmp_path / "whole.tif", values, PLACES[UTM], UTM)
    tiles = cut(tmp_path, values, UTM, CUTS["four"])
    for kind in ("finer", "coarser"):
        at, how = onto(UTM, kind), wanted(bands=(3, 1))
        close(fused(joined(tiles, at, how), -9999), read_onto(whole, at, **vars(how)))


def test_whole_numbers_stay_whole(tmp_path):
    values = surface(dtype="int16")
    whole = write(tmp_path / "whole.tif", values, PLACES[UTM], UTM)
    tiles = cut(tmp_path, values, UTM, CUTS["four"])
    how = wanted(dtype=np.dtype("int16"))
    for kind in ("finer", "coarser"):
        at = onto(UTM, kind)
        layers = joined(tiles, at, how)
        assert {layer.dtype for layer in layers} == {np.dtype("int16")}
        np.testing.assert_array_equal(fused(layers, -9999), read_onto(whole, at, **vars(how)))


def test_tiles_on_the_two_sides_of_the_world_are_not_one_array(tmp_path):
    """One lattice in degrees, and 360 of them apart: each is read by itself."""
    values = surface((40, 40))
    paths = [
        write(tmp_path / f"{left}.tif", values, Affine(0.001, 0, left, 0, -0.001, -17), DEGREES)
        for left in (179.96, -180.0)
    ]
    near = GeoBox((80, 80), Affine(100, 0, 815_000, 0, -100, 8_120_000), "EPSG:32760")
    assert joined(paths, near, wanted()) == [None, None]
    for href in paths:
        assert (read_onto(href, near, **vars(wanted())) != -9999).any()


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 1), (1, 2, 0)])
def test_tiles_that_touch_by_another_one_are_joined_in_any_order(tmp_path, order):
    tiles = cut(tmp_path, surface(), UTM, ([0, 90], [0, 33, 66, 100]))
    at, how = onto(UTM, "finer"), wanted()
    want = joined(tiles, at, how)
    got = joined([tiles[place] for place in order], at, how)
    for place, layer in zip(order, got, strict=True):
        np.testing.assert_array_equal(layer, want[place])


def test_complex_numbers_are_refused(tmp_path):
    path = write(tmp_path / "c.tif", surface().astype("complex64"), PLACES[UTM], UTM, nodata=None)
    with pytest.raises(InputError, match=r"c\.tif holds complex64 values.*amplitude"):
        read_onto(path, onto(UTM, "finer"), **vars(wanted()))
