"""Mosaics against a definition in plain numpy; lazy and eager; what is opened, and what is not."""

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dask
import numpy as np
import pystac
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.cube import observe as observe_module
from geocube_ml.cube.lazy import lazy_cube
from geocube_ml.cube.mosaic import LeftOut, make_mosaic
from geocube_ml.cube.observe import Observer, Window
from geocube_ml.cube.scenes import scenes_by_step
from geocube_ml.errors import AccessError, InputError, MissingError, ReadError
from geocube_ml.grid import Grid, make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

QUARTER = PeriodSpec(start="2022-01", end="2022-03")
YEAR = PeriodSpec(start="2022-01", end="2022-12")
ALL = (slice(0, 64), slice(0, 96))


def twice(coarse):
    """20 m on 10 m: each place is a quarter from its pixel's centre; nodata takes no part."""
    values = np.pad(np.where(coarse == 0, np.nan, coarse.astype(float)), 1, constant_values=np.nan)
    rows, cols = coarse.shape
    out = np.zeros((2 * rows, 2 * cols))
    for y, x in np.ndindex(2 * rows, 2 * cols):
        i, j = y // 2 + 1, x // 2 + 1
        up, left = (-1, 1)[y % 2], (-1, 1)[x % 2]
        near = np.array([values[i, j], values[i + up, j], values[i, j + left],
                         values[i + up, j + left]])  # fmt: skip
        share = np.array([9, 3, 3, 1]) / 16 * ~np.isnan(near)
        known = not np.isnan(near[0])
        out[y, x] = np.rint(np.nansum(near * share) / share.sum()) if known else 0
    return out


def placed(values, column, shape, fill):
    """On the cube's grid: rows agree, columns are shifted."""
    out = np.full(shape, fill, values.dtype)
    first, last = max(column, 0), min(column + values.shape[1], shape[1])
    out[: values.shape[0], first:last] = values[:, first - column : last - column]
    return out


def defined(tiny, month):
    """(fine, coarse, count) of a month, from the arrays as they were written."""
    days = {}
    for name, day, baseline, column, fine, coarse, scl in tiny.seen:
        if day[:7] == month:
            days.setdefault(day, []).append((baseline, name, column, fine, twice(coarse), scl))
    shape = tiny.grid.shape
    count, stacks = np.zeros(shape, int), ([], [])
    for granules in days.values():
        taken = np.zeros(shape, bool)
        seen = [np.full(shape, np.nan), np.full(shape, np.nan)]
        # newest baseline first, then by name
        for baseline in sorted({g[0] for g in granules}, reverse=True):
            for _, _, column, fine, coarse, scl in sorted(
                (g for g in granules if g[0] == baseline), key=lambda g: g[1]
            ):
                classes = placed(scl.repeat(2, 0).repeat(2, 1), column, shape, 0)
                clear = np.isin(classes, (4, 5))
                taken |= clear
                for into, band in zip(seen, (fine, coarse), strict=True):
                    counts = placed(band.astype(float), column, shape, 0)
                    if baseline >= "04.00":
                        counts = np.where(counts > 0, np.maximum(counts - 1000, 1), 0)
                    use = clear & (counts > 0) & np.isnan(into)
                    into[use] = counts[use]
        count += taken
        for stack, one in zip(stacks, seen, strict=True):
            stack.append(one)
    out = []
    for stack in stacks:
        planes = np.stack(stack) if stack else np.full((1, *shape), np.nan)
        lit = ~np.isnan(planes).all(0)
        middle = np.zeros(shape)
        middle[lit] = np.floor(np.nanmedian(planes[:, lit], axis=0))
        out.append(middle)
    return *out, count


@pytest.fixture(scope="module")
def items(tiny):
    return find_items(tiny.source(), QUARTER)


@pytest.fixture(scope="module")
def mosaic(tiny, items):
    return make_mosaic(items, tiny.source(), tiny.grid, QUARTER)


@pytest.fixture(scope="module")
def whole(mosaic):
    """Read at once: values (month, band, y, x) and counts (month, y, x)."""
    return mosaic.read(range(3), range(2), *ALL)


def test_a_mosaic_is_numpys_median_of_the_clear_observations(tiny, whole):
    values, count = whole
    for at, month in enumerate(step.name for step in QUARTER.steps):
        fine, coarse, n = defined(tiny, month)
        np.testing.assert_array_equal(count[at], n, err_msg=month)
        np.testing.assert_array_equal(values[at, 0], fine, err_msg=month)
        np.testing.assert_array_equal(values[at, 1], coarse, err_msg=month)
    assert values.dtype == "uint16"
    assert count.dtype == "uint8"
    assert set(np.unique(count[0])) == {0, 1, 2, 3}


def test_two_tiles_of_one_day_are_one_observation(tiny, items, mosaic):
    scenes = scenes_by_step(items, tiny.source(), tiny.grid.geobox, QUARTER.steps)
    assert [scene.day for scene in scenes["2022-01"]] == ["2022-01-05", "2022-01-15", "2022-01-25"]
    assert [len(scene.granules) for scene in scenes["2022-01"]] == [2, 1, 2]
    _, count = mosaic.read([0], (), slice(0, 44), slice(40, 56))  # the overlap: 5 items, 3 days
    assert count.max() == 3


def test_the_newest_baseline_comes_first_and_offsets_differ_item_by_item(tiny, items):
    scenes = scenes_by_step(items, tiny.source(), tiny.grid.geobox, QUARTER.steps)
    said = [(g.id, g.offset.counts) for s in scenes["2022-01"] for g in s.granules]
    assert said == [("E0105", 0), ("W0105", 0), ("W0115", 0), ("W0125", 1000), ("E0125", 0)]
    march = [(g.id, g.offset.counts) for g in scenes["2022-03"][0].granules]
    assert march == [("E0310again", 1000), ("E0310", 1000)]
    assert list(scenes) == ["2022-01", "2022-03"]


def test_a_month_without_items_and_ground_without_tiles_stay_nodata(whole):
    values, count = whole
    assert not values[1].any()
    assert not count[1].any()
    assert not values[:, :, 44:].any()
    assert not count[:, 44:].any()


def test_the_nodata_swath_never_counts(tiny, mosaic):
    _, day, _, column, fine, *_ = next(s for s in tiny.seen if s[0] == "W0115")
    swath = placed(fine, column, tiny.grid.shape, 0) == 0
    scenes = {"2022-01": tuple(s for s in mosaic.scenes["2022-01"] if s.day == day)}
    only = dataclasses.replace(mosaic, scenes=scenes)
    values, count = only.read([0], [0], *ALL)
    assert swath[:44, :56].any()
    assert not count[0][swath].any()
    assert not values[0, 0][swath].any()


@pytest.mark.parametrize(
    ("source", "fine"),
    [
        ({"offset": "none"}, 900),  # the counts as they are
        ({}, 1),  # 900 less 1000 stays the darkest surface
    ],
)
def test_one_pixel_counted_by_hand(tmp_path, tiny, write_item, source, fine):
    one = np.full((32, 32), 900, "uint16")
    one[0, 0] = 0
    scl = np.full((16, 16), 4, "uint8")
    folder = tmp_path / "one"
    write_item(
        folder, "A", "2022-01-05T10:00:00Z", 500_000, 5_000_000,
        {"B10": (one, 10, 0), "B20": (scl.astype("uint16"), 20, 0), "SCL": (scl, 20, 0)},
        **{"s2:processing_baseline": "04.00"},
    )  # fmt: skip
    asked = tiny.source(**source).model_copy(update={"items": ItemsSpec(catalog=str(folder))})
    mosaic = make_mosaic(find_items(asked, QUARTER), asked, tiny.grid, QUARTER)
    values, count = mosaic.read([0], [0], slice(0, 2), slice(0, 2))
    assert values[0, 0].tolist() == [[0, fine], [fine, fine]]
    assert count[0].tolist() == [[1, 1], [1, 1]]


def test_without_a_mask_every_observation_with_data_counts(tiny, items):
    source = tiny.source(mask=None)
    values, count = make_mosaic(items, source, tiny.grid, QUARTER).read([0], [0], *ALL)
    days = {}
    for _, day, _, column, fine, *_ in tiny.seen:
        if day < "2022-02":
            seen = placed(fine, column, tiny.grid.shape, 0) > 0
            days[day] = days.get(day, False) | seen
    np.testing.assert_array_equal(count[0], sum(d.astype(int) for d in days.values()))
    np.testing.assert_array_equal(values[0, 0] > 0, count[0] > 0)


# -- windows and chunks ---------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_window_is_cut_from_the_whole(mosaic, whole, data):
    y, x = (slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2,
            unique=True)))) for n in (64, 96))  # fmt: skip
    months = data.draw(st.lists(st.integers(0, 2), max_size=3))
    bands = data.draw(st.lists(st.integers(0, 1), max_size=2))
    values, count = mosaic.read(months, bands, y, x)
    np.testing.assert_array_equal(values, whole[0][np.ix_(months, bands)][..., y, x], strict=True)
    np.testing.assert_array_equal(count, whole[1][months][..., y, x], strict=True)


@pytest.mark.parametrize("chunk", [16, 48, 112])
def test_lazy_equals_eager_for_any_chunks(tiny, items, whole, chunk):
    grid = tiny.cut(chunk=chunk, shard=chunk, tile=chunk)
    cube = lazy_cube({"s2": make_mosaic(items, tiny.source(), grid, QUARTER)})
    assert cube.s2.chunks[:2] == ((1, 1, 1), (1, 1))
    assert cube.s2.chunks[2][0] == min(chunk, 64)
    done = cube.compute(scheduler="sync")
    np.testing.assert_array_equal(done.s2, whole[0], strict=True)
    np.testing.assert_array_equal(done.s2_clear, whole[1], strict=True)


@pytest.fixture(scope="module")
def across(archive, planetary):
    """Two bands of two months of the simulated archive, tiles in two UTM zones."""
    source = SourceSpec(
        sensor=planetary, items=ItemsSpec(catalog=str(archive.items)), bands=("red", "swir16")
    )
    period = PeriodSpec(start="2022-06", end="2022-07")
    spec = GridSpec(crs=archive.crs, resolution=10, bounds=archive.bounds)
    grid = make_grid(spec, StoreSpec(chunk=16, shard=16, tile=16))
    items = find_items(source, period, grid.lonlat())
    return make_mosaic(items, source, grid, period)


def test_lazy_equals_eager_across_zones_for_any_window(across):
    rows, cols = across.grid.shape
    values, count = across.read(range(2), range(2), slice(0, rows), slice(0, cols))
    assert (count > 0).mean() > 0.5
    zones = {g.id.split("_T")[1][:2] for s in across.scenes["2022-06"] for g in s.granules}
    assert zones == {"32", "33"}
    cube = lazy_cube({"s2": across}).compute(scheduler="sync")
    np.testing.assert_array_equal(cube.s2, values)
    np.testing.assert_array_equal(cube.s2_clear, count)
    for y, x in ((slice(3, 20), slice(30, 31)), (slice(0, 1), slice(0, cols))):
        part, n = across.read([1], [1], y, x)
        np.testing.assert_array_equal(part[0, 0], values[1, 1, y, x])
        np.testing.assert_array_equal(n[0], count[1, y, x])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_slicing_before_compute_is_slicing_after(lazy, computed, data):
    """Ints, steps (backwards too), lists and masks; one list at a time, as dask has it."""
    key, listed = [], False
    for n in lazy.shape:
        kinds = ["int", "slice"] + ([] if listed else ["list", "mask"])
        kind = data.draw(st.sampled_from(kinds))
        listed |= kind in ("list", "mask")
        key.append(
            data.draw(
                {
                    "int": st.integers(-n, n - 1),
                    "slice": st.slices(n),
                    "list": st.lists(st.integers(-n, n - 1), min_size=1, max_size=4),
                    "mask": st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
                }[kind]
            )
        )
    indexers = dict(zip(lazy.dims, key, strict=True))
    got = lazy.isel(indexers).compute(scheduler="sync")
    xr.testing.assert_identical(got, computed.isel(indexers))


@pytest.fixture(scope="module")
def lazy(mosaic):
    return lazy_cube({"s2": mosaic}).s2


@pytest.fixture(scope="module")
def computed(lazy):
    return lazy.compute(scheduler="sync")


# -- what is done, and what is not ----------------------------------------------------------


def test_building_computes_and_opens_nothing(tiny, reads, no_compute, monkeypatch):
    monkeypatch.setattr("rasterio.open", lambda *_: pytest.fail("opened"))
    with no_compute():
        items = find_items(tiny.source(), QUARTER, tiny.grid.lonlat())
        cube = lazy_cube({"s2": make_mosaic(items, tiny.source(), tiny.grid, QUARTER)})
        part = cube.s2.sel(time="2022-01", s2_band="fine").isel(y=slice(0, 8))
    assert part.chunks == ((1,), (8,), (16,) * 6)
    assert reads == []


def test_a_month_of_a_band_of_a_window_opens_its_files_and_masks_alone(lazy, reads):
    corner = lazy.sel(time="2022-01-01", s2_band="coarse").isel(y=slice(0, 16), x=slice(0, 16))
    corner.compute(scheduler="sync")
    west = ("W0105", "W0115", "W0125")  # the eastern tile does not reach the corner
    assert sorted(reads) == sorted((name, key) for name in west for key in ("SCL", "B20"))


def test_a_corner_of_a_chunk_reads_only_the_corner(monkeypatch, lazy):
    windows = []
    whole = Observer._load

    def noted(self, granule, asset, window, *args):
        windows.append(window)
        return whole(self, granule, asset, window, *args)

    monkeypatch.setattr(Observer, "_load", noted)
    lazy.isel(time=0, s2_band=0, y=slice(3, 5), x=slice(17, 20)).compute(scheduler="sync")
    assert windows
    assert all(window == Window(slice(3, 5), slice(17, 20)) for window in windows)


def test_one_piece_is_one_task(lazy):
    piece = lazy.isel(time=0, s2_band=1, y=slice(0, 16), x=slice(0, 16)).data
    (optimized,) = dask.optimize(piece)
    assert len(list(dask.core.flatten(optimized.__dask_keys__()))) == 1
    # the task, and the description of the mosaic that it reads from
    assert len(dict(optimized.__dask_graph__())) == 2


def test_the_whole_has_a_task_a_month_band_and_window(lazy):
    graph = dict(lazy.data.__dask_graph__())
    assert len(graph) == 3 * 2 * 4 * 6 + 1


def test_counts_alone_open_masks_alone(mosaic, reads):
    lazy_cube({"s2": mosaic}).s2_clear.isel(time=2).compute(scheduler="sync")
    assert {key for _, key in reads} == {"SCL"}
    assert {name for name, _ in reads} == {"E0310", "E0310again"}


def test_a_window_outside_every_footprint_opens_nothing(mosaic, reads):
    values, count = mosaic.read(range(3), range(2), slice(50, 64), slice(0, 96))
    assert reads == []
    assert not values.any()
    assert not count.any()


def test_a_cloudy_month_opens_no_band(tiny, write_item, tmp_path, reads):
    folder = tmp_path / "cloudy"
    band, scl = np.full((32, 32), 900, "uint16"), np.full((16, 16), 9, "uint8")
    write_item(
        folder, "A", "2022-01-05T10:00:00Z", 500_000, 5_000_000,
        {"B10": (band, 10, 0), "B20": (band[::2, ::2], 20, 0), "SCL": (scl, 20, 0)},
        **{"s2:processing_baseline": "03.01"},
    )  # fmt: skip
    source = tiny.source().model_copy(update={"items": ItemsSpec(catalog=str(folder))})
    make_mosaic(find_items(source, QUARTER), source, tiny.grid, QUARTER).read(
        range(3), range(2), *ALL
    )
    assert reads == [("A", "SCL")]


def test_reading_a_tile_opens_each_mask_once(mosaic, reads):
    mosaic.read(range(3), range(2), *ALL)
    masks = [name for name, key in reads if key == "SCL"]
    assert len(masks) == len(set(masks)) == 7


# -- tokens ---------------------------------------------------------------------------------

SCRIPT = """
import json, sys
from geocube_ml.items.catalog import find_items
from geocube_ml.grid import make_grid
from geocube_ml.cube.lazy import lazy_cube
from geocube_ml.cube.mosaic import make_mosaic
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.source import SourceSpec
source = SourceSpec.model_validate_json(sys.argv[1])
period = PeriodSpec(start="2022-01", end="2022-03")
spec = GridSpec(crs="EPSG:32633", resolution=10, bounds=(500000, 4999360, 500960, 5000000))
grid = make_grid(spec, StoreSpec(chunk=16, shard=32, tile=32))
cube = lazy_cube({"s2": make_mosaic(find_items(source, period), source, grid, period)})
print(json.dumps([cube.s2.data.name, cube.s2_clear.data.name]))
"""


def test_equal_inputs_have_equal_dask_keys_in_another_process(tiny, mosaic):
    cube = lazy_cube({"s2": mosaic})
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, tiny.source().model_dump_json()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(said.stdout) == [cube.s2.data.name, cube.s2_clear.data.name]


def test_whatever_changes_a_pixel_changes_the_dask_keys(tiny, items, mosaic):
    def name(items=items, source=None, grid=tiny.grid, period=QUARTER):
        made = make_mosaic(items, source or tiny.source(), grid, period)
        return lazy_cube({"s2": made}).s2.data.name

    other = [item.clone() for item in items]
    other[0].properties["s2:processing_baseline"] = "04.00"
    elsewhere = [item.clone() for item in items]
    elsewhere[0].assets["B10"].href = "/another/archive/cogs/B10.tif"
    moved = Grid(tiny.grid.geobox.translate_pix(1, 0), tiny.grid.store)
    names = [
        name(),
        name(items=items[1:]),
        name(items=other),
        name(items=elsewhere),
        name(source=tiny.source(offset="none")),
        name(source=tiny.source(mask={"asset": "SCL", "clear": [4]})),
        name(source=tiny.source(bands={"fine": {"asset": "B10", "resampling": "nearest"}})),
        name(grid=moved),
        name(grid=tiny.cut(chunk=32, shard=32, tile=32)),
        name(period=PeriodSpec(start="2022-01", end="2022-02")),
    ]
    assert len(set(names)) == len(names)
    assert name() == names[0]
    assert name(items=items[::-1]) == names[0]


# -- files that fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda path: path.unlink(), MissingError),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), ReadError),
        (lambda path: path.write_text("not a raster"), ReadError),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_item(tiny, write_item, tmp_path, harm, error):
    folder = tmp_path / "harmed"
    rng = np.random.default_rng(0)
    band, scl = rng.integers(1, 9000, (64, 64)).astype("uint16"), np.full((32, 32), 4, "uint8")
    write_item(
        folder, "S2-harmed", "2022-01-05T10:00:00Z", 500_000, 5_000_000,
        {"B10": (band, 10, 0), "B20": (band[::2, ::2], 20, 0), "SCL": (scl, 20, 0)},
        **{"s2:processing_baseline": "03.01"},
    )  # fmt: skip
    source = tiny.source().model_copy(update={"items": ItemsSpec(catalog=str(folder))})
    items = find_items(source, QUARTER)
    harm(folder / "cogs" / "S2-harmed" / "B20.tif")
    cube = lazy_cube({"s2": make_mosaic(items, source, tiny.grid, QUARTER)})
    with pytest.raises(error, match=r"S2-harmed, asset B20") as caught:
        cube.s2.isel(time=0, s2_band=1).compute(scheduler="sync")
    assert "B20.tif" in str(caught.value)
    # the other band is not concerned
    cube.s2.isel(time=0, s2_band=0).compute(scheduler="sync")


def test_the_cube_says_what_it_is(mosaic):
    cube = lazy_cube({"optical": mosaic})
    assert list(cube.data_vars) == ["optical", "optical_clear"]
    assert cube.optical.dims == ("time", "optical_band", "y", "x")
    assert cube.optical_band.values.tolist() == ["fine", "coarse"]
    starts = cube.time.values
    assert [str(t)[:10] for t in starts] == ["2022-01-01", "2022-02-01", "2022-03-01"]
    assert all(a < b for a, b in pairwise(starts))
    assert cube.optical.attrs["nodata"] == 0
    assert cube.odc.crs.epsg == 32633
    assert cube.odc.geobox == mosaic.grid.geobox


# -- what is left out -----------------------------------------------------------------------


@pytest.fixture
def harmed(tiny, tmp_path):
    """A copy of the archive to harm."""
    shutil.copytree(tiny.folder, tmp_path / "harmed")
    return dataclasses.replace(tiny, folder=tmp_path / "harmed")


def mosaic_of(tiny, *, without=(), **how):
    items = [item for item in find_items(tiny.source(), QUARTER) if item.id not in without]
    return make_mosaic(items, tiny.source(), tiny.grid, QUARTER, **how)


HARMS = {
    "gone": lambda path: path.unlink(),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("asset", ["SCL", "B10", "B20"])
@pytest.mark.parametrize("name", ["E0105", "W0115", "E0310again"])
def test_an_item_is_left_out_as_if_it_had_never_been(harmed, name, asset, harm):
    """Its mask too: of the count, and of what it took from another item of its day."""
    path = harmed.folder / "cogs" / name / f"{asset}.tif"
    HARMS[harm](path)
    values, count, left_out = mosaic_of(harmed, unreadable="leave-out").read_listing(
        range(3), range(2), *ALL
    )
    want = mosaic_of(harmed, without=[name]).read(range(3), range(2), *ALL)
    np.testing.assert_array_equal(values, want[0], strict=True)
    np.testing.assert_array_equal(count, want[1], strict=True)
    seen = [one for one in harmed.seen if one[0] != name]
    for at, month in enumerate(step.name for step in QUARTER.steps):
        fine, _, n = defined(dataclasses.replace(harmed, seen=seen), month)
        np.testing.assert_array_equal(values[at, 0], fine)
        np.testing.assert_array_equal(count[at], n)
    (one,) = left_out
    assert (one.item, one.asset, one.href) == (name, asset, str(path))
    assert str(path) in one.reason


def test_several_items_of_a_month_are_left_out_each_for_its_own_reason(harmed):
    for name, asset in (("W0105", "B20"), ("E0105", "SCL"), ("W0115", "B10"), ("E0310", "SCL")):
        (harmed.folder / "cogs" / name / f"{asset}.tif").unlink()
    mosaic = mosaic_of(harmed, unreadable="leave-out")
    values, count, left_out = mosaic.read_listing(range(3), range(2), *ALL)
    assert {(one.item, one.asset) for one in left_out} == {
        ("W0105", "B20"), ("E0105", "SCL"), ("W0115", "B10"), ("E0310", "SCL"),
    }  # fmt: skip
    names = [one.item for one in left_out]
    want = mosaic_of(harmed, without=names).read(range(3), range(2), *ALL)
    np.testing.assert_array_equal(values, want[0])
    np.testing.assert_array_equal(count, want[1])
    np.testing.assert_array_equal(mosaic.read(range(3), range(2), *ALL)[0], values)


def test_without_a_readable_item_a_month_is_nodata(harmed):
    for path in (harmed.folder / "cogs").glob("*/SCL.tif"):
        path.unlink()
    values, count, left_out = mosaic_of(harmed, unreadable="leave-out").read_listing(
        range(3), range(2), *ALL
    )
    assert not values.any()
    assert not count.any()
    assert len(left_out) == 7


def test_only_what_a_window_needs_is_missed(harmed):
    for name in ("E0105", "E0125"):
        (harmed.folder / "cogs" / name / "B20.tif").unlink()
    mosaic = mosaic_of(harmed, unreadable="leave-out")
    corner = (slice(0, 30), slice(0, 30))  # the eastern tile does not reach it
    assert mosaic.read_listing([0], [1], *corner)[2] == ()
    assert mosaic.read_listing([0], [0], *ALL)[2] == ()  # another band
    assert {one.item for one in mosaic.read_listing([0], [1], *ALL)[2]} == {"E0105", "E0125"}


def test_nothing_is_left_out_unless_it_is_asked_for(harmed):
    (harmed.folder / "cogs" / "W0115" / "B20.tif").unlink()
    with pytest.raises(MissingError, match="Item W0115, asset B20"):
        mosaic_of(harmed).read_listing([0], [1], *ALL)
    lazy = lazy_cube({"s2": mosaic_of(harmed, unreadable="leave-out")})
    with pytest.raises(MissingError, match="Item W0115, asset B20"):
        lazy.s2.isel(time=0).compute(scheduler="sync")


@pytest.mark.parametrize("error", [AccessError, InputError])
def test_what_concerns_all_items_stops(tiny, monkeypatch, error):
    whole = observe_module.read_onto

    def refused(href, *args, **kwargs):
        if "W0115/B10" in href:
            raise error("no")
        return whole(href, *args, **kwargs)

    monkeypatch.setattr(observe_module, "read_onto", refused)
    with pytest.raises(error, match="Item W0115, asset B10: no"):
        mosaic_of(tiny, unreadable="leave-out").read([0], [0], *ALL)


def test_how_assets_are_reached_changes_no_key(tiny, mosaic):
    other = mosaic_of(tiny, storage=StorageSpec(attempts=2), unreadable="leave-out")
    assert other.digest() == mosaic.digest()


# -- on another machine ---------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_mosaic_cut_to_a_window_reads_the_same_there(mosaic, whole, data):
    y, x = (slice(*sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2,
            unique=True)))) for n in (64, 96))  # fmt: skip
    cut = pickle.loads(pickle.dumps(mosaic.within(y, x)))
    values, count = cut.read(range(3), range(2), y, x)
    np.testing.assert_array_equal(values, whole[0][..., y, x])
    np.testing.assert_array_equal(count, whole[1][..., y, x])
    inside = (slice(y.start, (y.start + y.stop + 1) // 2), x)
    np.testing.assert_array_equal(cut.read([0], [1], *inside)[0][0, 0], whole[0][0, 1][inside])


def test_a_mosaic_cut_to_a_window_keeps_what_it_is_and_drops_what_is_elsewhere(tiny):
    made = mosaic_of(tiny, storage=StorageSpec(attempts=2), unreadable="leave-out")
    corner = made.within(slice(0, 16), slice(0, 16))
    again = pickle.loads(pickle.dumps(corner))
    for one in (corner, again):
        assert (one.steps, one.storage, one.unreadable) == (
            made.steps, made.storage, made.unreadable,
        )  # fmt: skip
        assert one.source == made.source
        assert one.grid == made.grid
        ids = [g.id for scenes in one.scenes.values() for s in scenes for g in s.granules]
        assert ids == ["W0105", "W0115", "W0125"]
        hrefs = {g.id: g.hrefs for g in made.scenes["2022-01"][0].granules}
        assert one.scenes["2022-01"][0].granules[0].hrefs == hrefs["W0105"]
    assert made.within(slice(50, 64), slice(0, 96)).scenes == {}


def test_what_a_task_is_sent_is_small(data, planetary):
    """70 items of real names with all bands."""
    name = "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531"
    path = data / "stac_items" / "planetary_computer" / f"{name}.json"
    item = pystac.Item.from_file(str(path))
    items = [item.clone() for _ in range(70)]
    for k, one in enumerate(items):
        one.id = f"{item.id}_{k}"
        one.datetime = datetime(2022, 1, 1, 20, tzinfo=UTC) + timedelta(days=5 * k)
        for asset in one.assets.values():
            asset.href = asset.href.replace("2019", f"2{k:03d}")
    source = SourceSpec(sensor=planetary, items=ItemsSpec(catalog="items"))
    spec = GridSpec(
        crs="EPSG:32606", resolution=10, bounds=(420_000, 6_720_000, 460_480, 6_760_480)
    )
    grid = make_grid(spec, StoreSpec(chunk=512, shard=512, tile=512))
    made = make_mosaic(items, source, grid, PeriodSpec(start="2022-01", end="2022-12"))
    tile = grid.tiles[10]
    cut = made.within(tile.y, tile.x)
    assert sum(len(scene.granules) for scenes in cut.scenes.values() for scene in scenes) == 70
    assert len(pickle.dumps(cut)) < 100_000


# -- over the network -----------------------------------------------------------------------


def over_http(tiny, url):
    items = find_items(tiny.source(), QUARTER)
    for item in items:
        for asset in item.assets.values():
            asset.href = asset.href.replace(str(tiny.folder), url)
    return items


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_mosaic_over_the_network_is_the_local_one(tiny, whole, serve_files, monkeypatch, share):
    monkeypatch.setattr("geocube_ml.raster.remote._FIRST_WAIT_S", 0.01)
    server = serve_files(tiny.folder)
    items = over_http(tiny, server.url)
    storage = StorageSpec(attempts=8, deadline_s=2)
    made = make_mosaic(items, tiny.source(), tiny.grid, QUARTER, storage=storage)
    faults = ["slow_down", "too_many", "reset", "lost", "reset_body", "truncated"]
    with server.faults(share, faults=faults, at_most=2, seed=1):
        values, count = made.read(range(3), range(2), *ALL)
    np.testing.assert_array_equal(values, whole[0], strict=True)
    np.testing.assert_array_equal(count, whole[1], strict=True)
    assert bool(server.injected()) == bool(share)


def test_over_the_network_too_an_item_is_left_out(tiny, serve_files, monkeypatch):
    monkeypatch.setattr("geocube_ml.raster.remote._FIRST_WAIT_S", 0.01)
    server = serve_files(tiny.folder)
    items = over_http(tiny, server.url)
    made = make_mosaic(
        items, tiny.source(), tiny.grid, QUARTER,
        storage=StorageSpec(attempts=2, deadline_s=2), unreadable="leave-out",
    )  # fmt: skip
    with server.faults(faults=["truncated"], at_most=999, where=lambda r: "W0115/B20" in r.path):
        values, count, left_out = made.read_listing([0], range(2), *ALL)
    want = mosaic_of(tiny, without=["W0115"]).read([0], range(2), *ALL)
    np.testing.assert_array_equal(values, want[0])
    np.testing.assert_array_equal(count, want[1])
    (one,) = left_out
    assert isinstance(one, LeftOut)
    assert (one.item, one.asset) == ("W0115", "B20")
    assert one.href == f"{server.url}/cogs/W0115/B20.tif"
    assert "cannot be read" in one.reason
