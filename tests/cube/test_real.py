"""Mosaics of real scenes: the offset, the overlap of two tiles, months without a clear pixel."""

import numpy as np
import pytest
import rasterio

from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.grid import make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.items.item import asset_geobox
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec

AUGUST = PeriodSpec(start="2023-08", end="2023-08")
BANDS = ("blue", "green", "red", "nir")
CLEAR = (2, 4, 5, 6, 7)


@pytest.fixture(scope="module")
def croatia(data, earth_search):
    return SourceSpec(
        sensor=earth_search,
        items=ItemsSpec(catalog=str(data / "croatia_s2_scenes" / "items")),
        bands=BANDS,
    )


@pytest.fixture(scope="module")
def items(croatia):
    found = find_items(croatia, AUGUST)
    assert len(found) == 10
    return found


def raw(item, key):
    with rasterio.open(item.assets[key].href) as src:
        return src.read(1)


@pytest.mark.parametrize("tile", ["33TWL", "33TWM"])
def test_on_its_own_grid_a_tile_is_numpys_median_of_its_files(croatia, items, tile):
    own = [item for item in items if tile in item.id]
    assert len(own) == 5
    grid = make_grid(GridSpec(like="red"), StoreSpec(chunk=256, shard=512, tile=1024), own)
    assert grid.geobox == asset_geobox(own[0], "red")
    mosaic = make_mosaic(own, croatia, grid, AUGUST)
    rows, cols = grid.shape
    values, count = mosaic.read([0], range(4), slice(0, rows), slice(0, cols))
    clear = np.stack([np.isin(raw(item, "scl"), CLEAR) for item in own])
    np.testing.assert_array_equal(count[0], clear.sum(axis=0))
    assert set(np.unique(count)) == {0, 1, 2, 3, 4, 5}
    for k, band in enumerate(BANDS):
        planes = np.stack([raw(item, band) for item in own]).astype(float)
        planes[~clear | (planes == 0)] = np.nan
        lit = ~np.isnan(planes).all(axis=0)
        want = np.zeros(grid.shape)
        want[lit] = np.floor(np.nanmedian(planes[:, lit], axis=0))
        np.testing.assert_array_equal(values[0, k], want, err_msg=band)


def test_an_offset_that_is_applied_is_not_taken_off_again(croatia, items):
    """raster:bands list -0.1 all the same."""
    assert items[0].assets["red"].extra_fields["raster:bands"][0]["offset"] == -0.1
    scenes = make_mosaic(items, croatia, _grid(), AUGUST).scenes["2023-08"]
    assert {g.offset.counts for scene in scenes for g in scene.granules} == {0}
    assert [len(scene.granules) for scene in scenes] == [2] * 5


def _grid():
    spec = GridSpec(
        crs="EPSG:32633", resolution=120, bounds=(499_980, 5_064_000, 609_780, 5_126_160)
    )
    return make_grid(spec, StoreSpec(chunk=128, shard=256, tile=256))


@pytest.fixture(scope="module")
def both(croatia, items):
    """Values (band, y, x), counts, and the rows that either tile covers."""
    grid = _grid()
    mosaic = make_mosaic(items, croatia, grid, AUGUST)
    rows, cols = grid.shape
    values, count = mosaic.read([0], range(4), slice(0, rows), slice(0, cols))
    return mosaic, values[0], count[0]


def test_five_days_are_at_most_five_observations(both):
    _, values, count = both
    assert count.max() == 5
    assert (count > 0).mean() > 0.9
    # a band may lack a value where the mask, resampled by another chain, calls it clear
    for band in values:
        assert not (band[count == 0]).any()
        assert ((band > 0) == (count > 0)).mean() > 0.999


def test_there_is_no_seam_where_one_tile_takes_over_from_the_other(both):
    mosaic, values, _ = both
    scene = mosaic.scenes["2023-08"][0]
    edges = sorted(
        bound
        for g in scene.granules
        for bound in (g.outline.bounds[1] + 2, g.outline.bounds[3] - 2)
    )  # of both tiles, in rows of the grid; the middle two lie inside
    inner = [round(edge) for edge in edges if 5 < edge < values.shape[1] - 5]
    assert len(inner) == 2
    for band in values.astype(int):
        step = np.abs(np.diff(band, axis=0))
        step = np.where((band[1:] > 0) & (band[:-1] > 0), step, -1)
        for edge in inner:
            # terrain differs from row to row: compare with rows as near as can be
            rows = step[edge - 20 : edge + 20]
            usual = [np.median(row[row >= 0]) for row in rows]
            across = step[edge - 1]
            assert (across >= 0).sum() > 500
            assert np.median(across[across >= 0]) <= 1.2 * max(np.delete(usual, 19))


def test_in_the_overlap_two_tiles_agree(croatia, items, both):
    """The tiles' grids are half a pixel apart: each alone gives nearly the same mosaic."""
    alone = []
    for tile in ("33TWL", "33TWM"):
        own = [item for item in items if tile in item.id]
        mosaic = make_mosaic(own, croatia, _grid(), AUGUST)
        rows, cols = mosaic.grid.shape
        alone.append(mosaic.read([0], [3], slice(0, rows), slice(0, cols)))
    (one, n), (other, m) = alone
    shared = (n[0] == m[0]) & (n[0] > 0) & (one[0, 0] > 0) & (other[0, 0] > 0)
    assert shared.sum() > 10_000
    fits = {}
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = np.roll(other[0, 0], (dy, dx), (0, 1))
            fits[dy, dx] = np.corrcoef(one[0, 0][shared], moved[shared])[0, 1]
    assert max(fits, key=fits.get) == (0, 0)
    a, b = (v[0, 0][shared].astype(float) for v in (one, other))
    assert abs(np.median(a - b)) < 100  # of some 3000 counts; taken off twice it were 1000
    mixed = both[1][3][shared]
    assert (np.abs(mixed - a) <= np.abs(mixed - b)).mean() > 0.9  # TWL comes first by its name


def _half_a_pixel_off(plane, rows):
    """Pixels of a file seen from places on their left edges, and with `rows` on their upper edges:
    the mean of the pixels around a place, without nodata; nothing where its own pixel has none."""
    near = [plane, np.pad(plane, ((0, 0), (1, 0)))[:, :-1]]
    if rows:
        near += [np.pad(values, ((1, 0), (0, 0)))[:-1] for values in near]
    near = np.stack(near).astype(float)
    near[near == 0] = np.nan
    out = np.zeros(plane.shape)
    known = plane > 0
    out[known] = np.rint(np.nanmean(near[:, known], axis=0))
    return out


def test_both_tiles_together_are_numpys_median_of_their_files(croatia, items, both):
    """On one grid, days counted once, nodata of one tile filled from the other."""
    _, values, count = both
    shape = count.shape
    days = {}
    for item in sorted(items, key=lambda item: item.id):
        wide = {}
        for key in (*BANDS, "scl"):
            found = raw(item, key)
            wide[key] = np.zeros(shape)
            # the grid's edges are whole multiples of 120 m: half a pixel west of both files, and
            # half a pixel below the rows of 33TWM
            north = "33TWM" in item.id
            moved = found if key == "scl" else _half_a_pixel_off(found, north)
            if north:
                wide[key][:299, :915] = moved[1:]
            else:  # its first row lies (5126160 - 5100000) / 120 rows down
                wide[key][218:518, :915] = moved
        days.setdefault(item.id.split("_")[2], []).append(wide)
    assert {len(tiles) for tiles in days.values()} == {2}

    clear = {day: [np.isin(tile["scl"], CLEAR) for tile in tiles] for day, tiles in days.items()}
    want = sum(np.logical_or(*masks).astype(int) for masks in clear.values())
    np.testing.assert_array_equal(count, want)
    for k, band in enumerate(BANDS):
        planes = []
        for day, tiles in days.items():
            plane = np.full(shape, np.nan)
            for tile, mask in zip(tiles, clear[day], strict=True):  # 33TWL first, by its name
                use = mask & (tile[band] > 0) & np.isnan(plane)
                plane[use] = tile[band][use]
            planes.append(plane)
        lit = ~np.isnan(planes).all(axis=0)
        middle = np.zeros(shape)
        middle[lit] = np.floor(np.nanmedian(np.stack(planes)[:, lit], axis=0))
        np.testing.assert_array_equal(values[k], middle, err_msg=band)


@pytest.fixture(scope="module")
def slovenia(data):
    sensor = SensorSpec(
        dtype="int16", nodata=-32768, scale=0.0001, bands={"ndvi": "ndvi"},
        mask={"asset": "clm", "clear": [0]},
    )  # fmt: skip
    source = SourceSpec(
        sensor=sensor, items=ItemsSpec(catalog=str(data / "slovenia_s2_ndvi" / "items"))
    )
    period = PeriodSpec(start="2015-07", end="2017-12")
    found = find_items(source, period)
    assert len(found) == 68
    grid = make_grid(GridSpec(like="ndvi"), StoreSpec(chunk=32, shard=64, tile=64), found)
    return found, make_mosaic(found, source, grid, period)


def test_months_without_a_clear_observation_stay_missing(slovenia):
    found, mosaic = slovenia
    values, count = mosaic.read(range(30), [0], slice(0, 101), slice(0, 100))
    by_month = {}
    for item in found:
        by_month.setdefault(f"{item.datetime:%Y-%m}", []).append(item)
    unlit = []
    months = [step.name for step in mosaic.steps]
    for at, month in enumerate(months):
        days = {}
        for item in by_month.get(month, ()):
            clear = raw(item, "clm") == 0
            plane = np.where(clear, raw(item, "ndvi").astype(float), np.nan)
            days.setdefault(f"{item.datetime:%d}", []).append((clear, plane))
        n = sum((np.logical_or.reduce([c for c, _ in day]).astype(int) for day in days.values()),
                np.zeros((101, 100), int))  # fmt: skip
        np.testing.assert_array_equal(count[at], n, err_msg=month)
        assert (values[at, 0][n == 0] == -32768).all()
        if all(len(day) == 1 for day in days.values()) and days:
            planes = np.stack([day[0][1] for day in days.values()])
            lit = ~np.isnan(planes).all(axis=0)
            want = np.floor(np.nanmedian(planes[:, lit], axis=0))
            np.testing.assert_array_equal(values[at, 0][lit], want, err_msg=month)
        if not n.any():
            unlit.append(month)
    assert unlit  # there are such months, with items and without
    assert (values[[months.index(month) for month in unlit]] == -32768).all()
    assert values.min() == -32768
    assert values[values > -32768].min() > -10_001
