"""Months are appended: equal to a cube made at once, and whole at every moment."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

import geocube_ml.store.metadata as metadata_module
from geocube_ml.errors import StaleTarget
from geocube_ml.files import place
from geocube_ml.grid import Grid
from geocube_ml.spec.composite import MedianSpec
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.store.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.store.cube import CubeStore, Variable, open_cube

SHAPE = (20, 40)
BLOCK = 4
GRID = Grid(
    GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633"),
    StoreSpec(chunk=16, shard=32, tile=32, steps=BLOCK),
)
SENSOR = SensorSpec(title="NDVI", dtype="int16", nodata=-99, bands={"ndvi": "n", "evi": "e"})


def parts(months, names=("s2",), bands=("ndvi", "evi"), digest="d"):
    """What `create` and `commit` take for a cube of so many months."""
    steps = PeriodSpec(start="2022-01", end=f"2022-{months:02d}").steps
    attrs = {**band_attrs(SENSOR, MedianSpec()), "items": f"of {months} months"}
    variables = []
    for name in names:
        dims, shape = ("time", f"{name}_band", "y", "x"), (months, len(bands), *SHAPE)
        variables += [
            Variable(name, dims, shape, "int16", -99, attrs, digest),
            Variable(
                f"{name}_clear", ("time", "y", "x"), (months, *SHAPE), "uint8", 0, CLEAR_ATTRS,
                digest,
            ),
        ]  # fmt: skip
    return variables, cube_coords(GRID, steps, {name: list(bands) for name in names})


def values_of(tile, steps, names=("s2",), bands=2):
    """A month's values do not depend on how many months there are."""
    shape = (tile.y.stop - tile.y.start, tile.x.stop - tile.x.start)
    found = {}
    for name in names:
        rng = [np.random.default_rng([len(name), tile.iy, tile.ix, step]) for step in steps]
        found[name] = np.stack([r.integers(-9, 999, (bands, *shape)) for r in rng]).astype("int16")
        found[f"{name}_clear"] = np.stack([r.integers(0, 9, shape) for r in rng]).astype("uint8")
    return found


def blocks(first, last):
    """Blocks of steps that hold those from `first` on."""
    start = first // BLOCK * BLOCK
    return [slice(b, min(b + BLOCK, last)) for b in range(start, last, BLOCK)]


def fill(store, first, last, names=("s2",)):
    for tile in GRID.tiles:
        for block in blocks(first, last):
            values = values_of(tile, range(block.start, block.stop), names)
            store.write(tile, values, "d", block)


def make(path, months, names=("s2",)):
    store = CubeStore(path, GRID)
    wanted = parts(months, names)
    store.create(*wanted)
    fill(store, 0, months, names)
    store.commit(*wanted)
    return store


def append(store, before, months, names=("s2",)):
    wanted = parts(months, names)
    store.create(*wanted)
    fill(store, before, months, names)
    store.commit(*wanted)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def half(tmp_path):
    """Six months, so that the second block of four is half full."""
    return make(tmp_path / "cube.zarr", 6)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """Eleven months made in one go."""
    return make(tmp_path_factory.mktemp("once") / "cube.zarr", 11)


def test_an_appended_cube_equals_one_made_at_once_object_by_object(half, at_once):
    before = contents(half.path)
    append(half, 6, 11)
    after = contents(half.path)
    assert after == contents(at_once.path)
    shards = {name for name in before if name.startswith("s2/c/")}
    untouched = {name for name in shards if before[name] == after[name]}
    assert {name.split("/")[2] for name in untouched} == {"0"}  # the first block
    assert {name.split("/")[2] for name in shards - untouched} == {"1"}


def test_a_cube_of_one_month_grows_too(tmp_path, at_once):
    store = make(tmp_path / "cube.zarr", 1)
    for before, months in ((1, 3), (3, 4), (4, 11)):
        append(store, before, months)
    assert contents(store.path) == contents(at_once.path)


def test_nothing_new_is_seen_before_the_commit(half):
    before = open_cube(half.path).load()
    half.create(*parts(11))
    fill(half, 6, 11)
    assert half.lengths() == {"s2": 6, "s2_clear": 6}
    xr.testing.assert_identical(open_cube(half.path).load(), before)
    half.commit(*parts(11))
    assert half.lengths() == {"s2": 11, "s2_clear": 11}
    grown = open_cube(half.path)
    assert grown.sizes["time"] == 11
    assert grown.s2.attrs["items"] == "of 11 months"
    xr.testing.assert_equal(grown.isel(time=slice(6)).load(), before)


def reader_sees(path, months):
    """Whether everybody who opens it finds the cube of so many months, with its values."""
    wanted = {"ours": open_cube(path), "plain": xr.open_zarr(path, mask_and_scale=False)}
    for cube in wanted.values():
        if cube.sizes["time"] != months:
            return False
        for tile in GRID.tiles:
            part = cube.isel(y=tile.y, x=tile.x)
            for name, block in values_of(tile, range(months)).items():
                np.testing.assert_array_equal(part[name], block)
        stamps = np.arange("2022-01", f"2022-{months + 1:02d}", dtype="datetime64[M]")
        np.testing.assert_array_equal(cube.time, stamps)
        np.testing.assert_array_equal(cube.time_bnds[:, 1], stamps + 1)
    return True


class Killed(BaseException):
    """As a process ends that is killed: nothing may catch it."""


class Writes:
    """Counts the objects that are put, by us or by zarr, and ends the process at one of them."""

    def __init__(self):
        self.left = self.done = 0

    def counted(self, put):
        def wrapped(*args, **kwargs):
            if self.left == 0:
                raise Killed
            self.left, self.done = self.left - 1, self.done + 1
            return put(*args, **kwargs)

        return wrapped

    def killed(self, work, after=1_000_000):
        """Whether it came to that."""
        self.left, self.done = after, 0
        try:
            work()
        except Killed:
            return True
        finally:
            self.left = -1
        return False


@pytest.fixture
def writes(monkeypatch):
    found = Writes()
    found.left = -1
    monkeypatch.setattr(metadata_module, "_write", found.counted(metadata_module._write))
    monkeypatch.setattr("zarr.storage._local._put", found.counted(zarr.storage._local._put))
    return found


def test_a_crash_at_any_write_leaves_the_old_cube_or_the_new_one(half, at_once, writes):
    saved = half.path.with_name("saved.zarr")
    shutil.copytree(half.path, saved)
    seen, whole, killed = [], contents(at_once.path), True
    while killed:
        shutil.rmtree(half.path)
        shutil.copytree(saved, half.path)
        killed = writes.killed(lambda: append(half, 6, 11), after=len(seen))
        old, new = reader_sees(half.path, 6), reader_sees(half.path, 11)
        assert old != new
        seen.append(new)
        append(half, 6, 11)
        assert contents(half.path) == whole
    assert len(seen) > 15
    assert seen == [False] * (len(seen) - 1) + [True]  # one write makes the difference


def test_a_crash_while_a_cube_is_first_made_leaves_none_or_one_that_opens(tmp_path, writes):
    killed, after = True, 0
    while killed:
        store = CubeStore(tmp_path / f"{after}.zarr", GRID)
        killed = writes.killed(lambda: store.create(*parts(6)), after)  # noqa: B023
        assert (store.path / "zarr.json").exists() != killed
        store.create(*parts(6))
        assert (open_cube(store.path).s2 == -99).all()
        after += 1
    assert after > 5


def test_an_append_that_is_given_up_does_no_harm(half, writes):
    before = contents(half.path)
    other = half.path.with_name("other.zarr")
    shutil.copytree(half.path, other)
    writes.killed(lambda: append(CubeStore(other, GRID), 6, 11))
    assert writes.killed(lambda: append(half, 6, 11), after=writes.done - 1)
    half.create(*parts(6))
    assert reader_sees(half.path, 6)
    documents = {name: content for name, content in before.items() if name.endswith("s2/zarr.json")}
    assert {name: contents(half.path)[name] for name in documents} == documents


def test_a_series_that_comes_new_with_more_months_is_as_long_as_the_rest(half, tmp_path):
    wanted = parts(11, ("s2", "radar"))
    half.create(*wanted)
    now = open_cube(half.path)
    assert now.sizes["time"] == 6
    assert (now.radar == -99).all()
    fill(half, 6, 11)
    fill(half, 0, 11, ("radar",))
    half.commit(*wanted)
    once = make(tmp_path / "once.zarr", 11, ("s2", "radar"))
    assert contents(half.path) == contents(once.path)


def test_fewer_months_are_refused(half):
    before = contents(half.path)
    with pytest.raises(StaleTarget, match=r"6 time steps.* only 5.*appended, not taken away"):
        half.create(*parts(5))
    assert contents(half.path) == before


def test_another_start_is_refused(half):
    steps = PeriodSpec(start="2022-02", end="2022-12").steps
    variables, coords = parts(11)
    coords |= {name: c for name, c in cube_coords(GRID, steps, {}).items() if "time" in name}
    with pytest.raises(StaleTarget, match=r"other values of 'time'.*18993.*19024.*days since"):
        half.create(variables, coords)


def test_other_bands_are_refused(half):
    with pytest.raises(StaleTarget, match=r"other values of 's2_band': ndvi, evi.*evi, ndvi"):
        half.create(*parts(11, bands=("evi", "ndvi")))
    with pytest.raises(StaleTarget, match=r"'s2' of .*s2_band 2.*s2_band 3"):
        half.create(*parts(11, bands=("ndvi", "evi", "more")))


def test_another_cut_is_refused(half):
    other = CubeStore(
        half.path, replace(GRID, store=StoreSpec(chunk=16, shard=16, tile=32, steps=4))
    )
    with pytest.raises(StaleTarget, match=r"'s2' of .*\(4, 2, 32, 32\).*\(4, 2, 16, 16\)"):
        other.create(*parts(11))


def test_another_type_is_refused(half):
    variables, coords = parts(6)
    variables[0] = replace(variables[0], dtype="uint16", fill=0, attrs={"nodata": 0})
    with pytest.raises(StaleTarget, match=r"int16 .*fill value -99.*uint16 .*fill value 0"):
        half.create(variables, coords)


def test_a_series_that_would_stay_behind_is_named(half):
    half.create(*parts(6, ("s2", "radar")))
    with pytest.raises(StaleTarget, match=r"series 'radar' of 6 time steps.*have 11"):
        half.create(*parts(11))
    half.remove(["radar", "radar_clear", "radar_band"])
    append(half, 6, 11)
    assert reader_sees(half.path, 11)


def test_a_part_of_a_block_is_not_written(half):
    before = contents(half.path)
    tile = GRID.tiles[0]
    for part in (slice(1, 4), slice(4, 5), slice(0, 2)):
        values = values_of(tile, range(part.start, part.stop))
        with pytest.raises(ValueError, match="not whole blocks of 4"):
            half.write(tile, values, "d", part)
    assert contents(half.path) == before


def test_static_variables_may_be_in_the_same_tile(half):
    dem = Variable(
        "dem", ("dem_band", "y", "x"), (1, *SHAPE), "float32", np.nan, {"nodata": np.nan}
    )
    half.create([dem], cube_coords(GRID, (), {"dem": ["height"]}), "e")
    tile = GRID.tiles[0]
    heights = np.full((1, 20, 32), 7, "float32")
    values = values_of(tile, range(4, 6))
    half.write(tile, {**values, "dem": heights}, {"s2": "d", "dem": "e"}, slice(4, 6))
    cube = open_cube(half.path)
    assert (cube.dem.isel(x=slice(32)) == 7).all()
    assert cube.dem.isel(x=slice(32, None)).isnull().all()
    assert np.isnan(cube.dem.attrs["nodata"])
    assert cube.dem.dims == ("dem_band", "y", "x")
    append(half, 6, 11)
    assert (open_cube(half.path).dem.isel(x=slice(32)) == 7).all()


def test_what_is_removed_is_gone_for_every_reader(half):
    half.remove(["s2_clear"])
    assert "s2_clear" not in open_cube(half.path)
    assert "s2_clear" not in xr.open_zarr(half.path)
    assert not (half.path / "s2_clear").exists()
    half.remove(["s2", "s2_band"])
    half.create(*parts(3))  # a shorter axis, as no series is left
    assert open_cube(half.path).sizes["time"] == 3


def test_an_object_store_holds_the_same_objects(s3, at_once, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    bucket = s3.bucket()
    reached = StorageSpec(s3={f"s3://{bucket}": {"endpoint_url": s3.endpoint_url}})
    store = make(place(f"s3://{bucket}/cube.zarr", reached), 6)
    half = open_cube(store.path)
    append(store, 6, 11)
    found = s3.objects(bucket, "cube.zarr")
    assert {key.partition("/")[2]: value for key, value in found.items()} == contents(at_once.path)
    # one who opened it before reads on
    np.testing.assert_array_equal(half.s2, open_cube(at_once.path).s2[:6])
    store.remove(["s2_clear"])
    assert set(open_cube(store.path).data_vars) == {"s2"}
    assert not [key for key in s3.objects(bucket) if "s2_clear" in key and key[-1] != "/"]
