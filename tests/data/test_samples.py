from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geocube_ml.data.pixels import values_at
from geocube_ml.data.samples import gather_samples
from geocube_ml.data.sources import deciding, described, source_names
from geocube_ml.errors import InputError
from geocube_ml.kernels.sampling import blocks
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.samples import SamplesSpec
from tests.seasons import add_radar, add_terrain, labelled, make_cube, make_still, stored

SPEC = SamplesSpec(block_m=100)
FOLDS = {"fold_block": "block", "fold_polygon": "polygon"}


@pytest.fixture(scope="module")
def cube():
    return make_cube()


@pytest.fixture(scope="module")
def samples(cube):
    return gather_samples(cube, SPEC)


def assert_all_labelled(samples, cube):
    """Each labelled pixel exactly once, row by row, with its own series."""
    want = labelled(cube)
    assert samples.sizes["sample"] == len(want)
    series, label, polygon, x, y = zip(*want, strict=True)
    np.testing.assert_array_equal(samples["s2"].values, np.stack(series))
    for name, values in {"label": label, "polygon": polygon, "x": x, "y": y}.items():
        np.testing.assert_array_equal(samples[name].values, values, err_msg=name)


def counted(cube, y, x):
    """The cube with its source chunked, and a list that notes each block that is read."""
    reads = []

    def note(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = cube.chunk(y=y, x=x, time=-1, s2_band=1)
    data = lazy["s2"].data
    noted = data.map_blocks(note, dtype=data.dtype, meta=data._meta)
    return lazy.assign(s2=lazy["s2"].copy(data=noted)), reads


# --- which pixels, and their values


def test_samples_are_the_labelled_pixels_of_a_plain_loop(samples, cube):
    assert_all_labelled(samples, cube)
    assert {name: samples[name].dtype.name for name in samples.data_vars} == {
        "s2": "uint16", "label": "uint8", "polygon": "int32", "x": "float64", "y": "float64",
        "weight": "float32", "block": "int64", "fold_block": "int16", "fold_polygon": "int16",
        "fold_random": "int16",
    }  # fmt: skip
    assert samples["s2"].dims == ("sample", "time", "s2_band")
    assert samples.attrs["n_unobserved"] == 0
    assert "32633" in samples.attrs["crs"]
    assert samples["s2"].attrs["nodata"] == 0
    assert samples["label"].attrs["class_names"] == cube["label"].attrs["class_names"]


def test_four_pixels_gathered_by_hand(cube):
    cube = cube.copy(deep=True)
    cube["label"][:] = UNKNOWN
    cube["polygon"][:] = 0
    for code, (row, col) in enumerate([(0, 0), (0, 52), (36, 0), (36, 52)]):  # the corners
        cube["label"][row, col], cube["polygon"][row, col] = code % 2, 10 + code
        cube["s2"][:, :, row, col] = 100 * (code + 1)
    got = gather_samples(cube.chunk(y=16, x=16), SamplesSpec(block_m=100, n_fold=2))
    assert got["label"].values.tolist() == [0, 1, 0, 1]
    assert got["polygon"].values.tolist() == [10, 11, 12, 13]
    assert got["s2"].values[:, 0, 0].tolist() == [100, 200, 300, 400]
    assert got["x"].values.tolist() == [399_975, 400_495, 399_975, 400_495]
    assert got["y"].values.tolist() == [5_000_365, 5_000_365, 5_000_005, 5_000_005]


@settings(max_examples=8, deadline=None)
@given(
    y=st.integers(3, 40),
    x=st.integers(3, 60),
    t=st.integers(1, 6),
    limit=st.sampled_from((None, 3)),
)
def test_samples_do_not_depend_on_the_chunks(y, x, t, limit):
    cube = make_cube(background=3)
    spec = SamplesSpec(block_m=100, per_polygon=limit)
    lazy = gather_samples(cube.chunk(y=y, x=x, time=t, s2_band=1), spec)
    xr.testing.assert_identical(lazy, gather_samples(cube, spec))


@pytest.mark.parametrize("shape", [(37, 53), (32, 48), (33, 17), (16, 49), (5, 60)])
def test_last_rows_and_columns_are_there(shape):
    cube = make_cube(shape, background=0)
    got = gather_samples(cube.chunk(y=16, x=16), SamplesSpec(block_m=100, n_fold=2))
    assert_all_labelled(got, cube)
    assert got.sizes["sample"] == shape[0] * shape[1]


def test_what_fills_up_the_last_chunk_is_no_label(cube):
    bare = cube.copy()
    del bare["label"].attrs["nodata"], bare["polygon"].attrs["nodata"]
    assert_all_labelled(gather_samples(bare.chunk(y=16, x=16), SPEC), cube)


@pytest.mark.parametrize(("y", "x"), [(16, 16), (8, 24), (40, 16)])
def test_a_chunk_is_read_once_and_only_if_it_holds_a_sample(cube, y, x):
    sparse = cube.copy(deep=True)
    sparse["label"][10:, 20:] = UNKNOWN
    sparse["label"][:, 48:] = UNKNOWN
    lazy, reads = counted(sparse, y, x)
    with dask.config.set(scheduler="synchronous"):
        gather_samples(lazy, SPEC)
    rows, cols = np.nonzero(sparse["label"].values != UNKNOWN)
    want = {(0, band, r // y, c // x) for r, c in zip(rows, cols, strict=True) for band in range(3)}
    assert sorted(reads) == sorted(want)
    assert len(want) < lazy["s2"].data.npartitions


def test_reads_of_two_chunks_counted_by_hand(cube):
    lone = cube.copy(deep=True)
    lone["label"][:] = UNKNOWN
    lone["label"][0:2, 0:4] = 1
    lone["label"][36, 52] = 0
    lazy, reads = counted(lone, 16, 16)
    with dask.config.set(scheduler="synchronous"):
        gather_samples(lazy, SamplesSpec(n_fold=2, block_m=100))
    assert sorted(reads) == [(0, 0, 0, 0), (0, 0, 2, 3), (0, 1, 0, 0), (0, 1, 2, 3),
                             (0, 2, 0, 0), (0, 2, 2, 3)]  # fmt: skip


def test_scattered_pixels_read_each_chunk_of_each_source_once():
    """One pixel of a hundred, in sources that are cut differently."""
    cube = add_terrain(make_cube((90, 110), background=3, cloudy=0))
    scattered = np.random.default_rng(0).random(cube["label"].shape) < 0.01
    cube["label"] = cube["label"].where(scattered, UNKNOWN).assign_attrs(cube["label"].attrs)
    lazy, reads = counted(cube, 30, 40)
    lazy["dem"], of_dem = lazy["dem"].chunk(dem_band=-1, y=20, x=20), []

    def note(block, block_info=None):
        of_dem.append(tuple(block_info[0]["chunk-location"]))
        return block

    data = lazy["dem"].data
    lazy["dem"] = lazy["dem"].copy(data=data.map_blocks(note, dtype=data.dtype, meta=data._meta))
    with dask.config.set(scheduler="synchronous"):
        got = gather_samples(lazy, SamplesSpec(block_m=100))
    assert got.sizes["sample"] == scattered.sum() < 120
    rows, cols = np.nonzero(scattered)
    pairs = list(zip(rows, cols, strict=True))
    assert sorted(reads) == sorted({(0, b, r // 30, c // 40) for r, c in pairs for b in range(3)})
    assert sorted(of_dem) == sorted({(0, r // 20, c // 20) for r, c in pairs})


def test_pixels_that_were_never_observed_are_left_out_and_counted(cube):
    dark = cube.copy(deep=True)
    dark["s2"][:, :, :4, :4] = 0  # of the first polygon 16 of 20 pixels
    got = gather_samples(dark.chunk(y=16, x=16), SPEC)
    assert got.attrs["n_unobserved"] == 16
    assert_all_labelled(got, dark)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int16", -32768), ("float32", np.nan), ("float32", -9999), ("uint8", 255)],
)
def test_any_type_and_nodata(dtype, nodata, tmp_path):
    cube = make_cube(dtype="float64", nodata=-1, cloudy=0.4)
    counts = np.where(cube["s2"] == -1, nodata, cube["s2"] / (20 if dtype == "uint8" else 1))
    cube["s2"] = cube["s2"].copy(data=counts.astype(dtype))
    cube["s2"].attrs["nodata"] = nodata
    cube["s2"][:, :, 0, 0] = nodata
    got = gather_samples(stored(cube, tmp_path / "cube"), SPEC)
    assert got["s2"].dtype == dtype
    assert got.attrs["n_unobserved"] == 1
    assert_all_labelled(got, cube)


@pytest.mark.parametrize(("months", "bands"), [(1, 1), (1, 4), (13, 1), (2, 200)])
def test_any_number_of_months_and_bands(months, bands, tmp_path):
    cube = make_cube((20, 33), months=months, bands=bands)
    got = gather_samples(stored(cube, tmp_path / "cube", chunk=32), SPEC)
    assert got["s2"].shape[1:] == (months, bands)
    assert_all_labelled(got, cube)


# --- the draw


def test_per_polygon_is_a_cap(cube):
    for limit in (1, 7, 10_000):
        got = gather_samples(cube, SamplesSpec(block_m=100, per_polygon=limit))
        number = np.bincount(got["polygon"].values)
        every = np.bincount(cube["polygon"].values[cube["label"].values != UNKNOWN])
        np.testing.assert_array_equal(number, np.minimum(every, limit))


def test_the_draw_follows_its_seed(cube):
    one, again, other = (
        gather_samples(cube, SamplesSpec(block_m=100, per_polygon=3, seed=seed))
        for seed in (1, 1, 2)
    )
    xr.testing.assert_identical(one, again)
    assert not np.array_equal(one["x"].values, other["x"].values)


def test_background_is_capped_by_block_and_class():
    cube = make_cube(background=3)
    got = gather_samples(cube, SamplesSpec(block_m=100, per_polygon=2))
    outside = got.sel(sample=got["polygon"].values == 0)
    assert (outside["label"] == 3).all()
    _, number = np.unique(outside["block"].values, return_counts=True)
    assert (number == 2).all()
    np.testing.assert_array_equal(
        outside["block"].values, blocks(outside["x"].values, outside["y"].values, 100)
    )


# --- folds


@pytest.mark.parametrize("background", [None, 3])
def test_folds_cut_no_polygon_and_no_block(background):
    got = gather_samples(make_cube(background=background), SPEC)
    inside = got["polygon"].values > 0
    for fold, group in FOLDS.items():
        folds = got[fold].values
        assert set(folds) == set(range(5)), fold
        for whole in {group, "polygon"}:
            groups = got[whole].values
            chosen = inside if whole == "polygon" else np.full(len(folds), True)
            for one in np.unique(groups[chosen]):
                assert len(set(folds[chosen & (groups == one)])) == 1, (fold, whole)


def test_a_polygon_on_a_border_lies_in_the_block_of_its_mean(samples):
    crossing = 0
    cut = blocks(samples["x"].values, samples["y"].values, 100)
    for polygon in np.unique(samples["polygon"].values):
        own = samples["polygon"].values == polygon
        crossing += len(set(cut[own])) > 1
        mean = (samples["x"].values[own].mean(), samples["y"].values[own].mean())
        assert set(samples["block"].values[own]) == set(blocks(*np.array(mean)[:, None], 100))
    assert crossing > 10


def test_classes_are_spread_over_the_folds():
    got = gather_samples(make_cube((96, 120)), SPEC)
    share = np.bincount(got["label"].values) / got.sizes["sample"]
    for fold, most in (("fold_polygon", 0.03), ("fold_block", 0.12)):
        for k in range(5):
            here = got["label"].values[got[fold].values == k]
            assert np.abs(np.bincount(here, minlength=4) / len(here) - share).max() < most, fold


def test_folds_follow_their_seed(cube, samples):
    again = gather_samples(cube, SPEC)
    other = gather_samples(cube, SamplesSpec(block_m=100, seed=5))
    for fold in FOLDS:
        np.testing.assert_array_equal(samples[fold].values, again[fold].values)
        assert not np.array_equal(samples[fold].values, other[fold].values)


def test_no_fold_is_empty_even_if_each_block_is_one():
    """Five blocks of these classes leave scikit-learn's third fold empty."""
    cube = make_cube((1, 93), background=0, cloudy=0)
    label = [1] * 27 + [2] * 22 + [2] * 22 + [1] * 18 + [0] * 4
    cube["label"][0] = label
    cube["polygon"][0] = np.repeat([1, 2, 3, 4, 5], [27, 22, 22, 18, 4])
    got = gather_samples(cube, SamplesSpec(block_m=1, n_fold=5))
    for fold in FOLDS:
        assert sorted(set(got[fold].values)) == [0, 1, 2, 3, 4]
        assert got.groupby("polygon").map(lambda g, f=fold: g[f].max() - g[f].min()).sum() == 0


# --- what is refused


def test_fewer_blocks_than_folds(cube):
    with pytest.raises(
        InputError, match=r"5 folds need as many spatial blocks.* in [12]\b"
    ) as error:
        gather_samples(cube, SamplesSpec(block_m=100_000))
    assert "100000 m" in str(error.value)
    assert "samples.n_fold" in str(error.value)


def test_fewer_polygons_than_folds(cube):
    one = cube.copy()
    one["polygon"] = one["polygon"].copy(
        data=np.repeat(np.int32([[1, 2, 3]]), 37, 0)[:, np.arange(53) // 20]
    )
    with pytest.raises(
        InputError, match=r"7 folds need as many (spatial blocks|polygons).* in 3\b"
    ):
        gather_samples(one, SamplesSpec(block_m=10, n_fold=7))


def test_fewer_samples_of_any_class_than_folds():
    cube = make_cube((1, 8), background=0, cloudy=0)
    cube["label"][0] = [0, 1, 2, 3, 0, 1, 2, 3]
    cube["polygon"][0] = np.arange(1, 9)
    with pytest.raises(InputError, match=r"5 folds .* the largest has 2\b"):
        gather_samples(cube, SamplesSpec(block_m=10))


def test_no_label_at_all(cube):
    blank = cube.copy()
    blank["label"] = xr.full_like(cube["label"], UNKNOWN)
    with pytest.raises(InputError, match=r"no labelled pixel.*inset_m"):
        gather_samples(blank.chunk(y=16, x=16), SPEC)


def test_no_observation_at_all(cube):
    dark = cube.copy()
    dark["s2"] = xr.zeros_like(cube["s2"])
    n = int((cube["label"] != UNKNOWN).sum())
    with pytest.raises(InputError, match=rf"None of the {n} labelled pixels"):
        gather_samples(dark, SPEC)


def test_a_cube_without_a_source_is_refused(cube):
    with pytest.raises(InputError, match=r"no source.*It has label, polygon\."):
        gather_samples(cube[["label", "polygon"]], SPEC)


# --- several sources


def test_sources_are_series_then_static_ones_by_name(cube):
    clear = cube["s2"].isel(s2_band=0, drop=True)
    every = add_radar(add_terrain(cube)).assign(s2_clear=clear)
    assert source_names(every) == ["s1", "s2", "dem"]
    assert source_names(every[["label", "dem", "s2", "s1"]]) == ["s1", "s2", "dem"]
    assert deciding(every) == ["s1", "s2"]
    assert source_names(make_still(bands=2)) == deciding(make_still(bands=2)) == ["dem", "enmap"]
    assert source_names(cube[["label"]]) == []


def test_what_a_model_must_know_of_a_cube():
    assert described(add_terrain(make_cube(months=2))) == {
        "sources": (
            {"name": "s2", "bands": ("b0", "b1", "b2"), "nodata": 0.0, "scale": 1e-4,
             "add_offset": 0.0, "static": False},
            {"name": "dem", "bands": ("elevation", "slope"), "nodata": -9999.0, "scale": 0.1,
             "add_offset": 500.0, "static": True},
        ),
        "steps": ("10-01", "11-01"),
    }  # fmt: skip
    assert described(make_still(bands=2))["steps"] == ()


def assert_values_of_each_source(samples, cube):
    """Each row holds what its pixel does, found by its place."""
    rows = np.searchsorted(-cube["y"].values, -samples["y"].values)
    cols = np.searchsorted(cube["x"].values, samples["x"].values)
    for name in source_names(cube):
        want = np.moveaxis(cube[name].values[..., rows, cols], -1, 0)
        np.testing.assert_array_equal(samples[name].values, want, err_msg=name)
        assert samples[name].dtype == cube[name].dtype
        lead = [dim for dim in cube[name].dims if dim not in ("y", "x")]
        assert samples[name].dims == ("sample", *lead)
        assert samples[name].attrs["nodata"] == pytest.approx(
            cube[name].attrs["nodata"], nan_ok=True
        )
        assert list(samples[f"{name}_band"].values) == list(cube[f"{name}_band"].values)


@pytest.mark.parametrize("lazy", [False, True])
def test_every_source_of_a_cube_is_gathered(cube, samples, lazy, tmp_path):
    every = add_terrain(add_radar(cube))
    got = gather_samples(stored(every, tmp_path / "cube") if lazy else every, SPEC)
    assert_values_of_each_source(got, every)
    for name in samples.data_vars:  # the other sources leave the first one's table as it was
        np.testing.assert_array_equal(got[name].values, samples[name].values, err_msg=name)
    assert got["dem"].attrs["add_offset"] == 500


def test_sources_may_be_chunked_as_they_like(cube):
    every = add_terrain(add_radar(cube))
    cut = every.assign(
        s2=every["s2"].chunk(y=16, x=16), s1=every["s1"].chunk(y=7, x=53), label=every["label"]
    )
    xr.testing.assert_identical(gather_samples(cut, SPEC), gather_samples(every, SPEC))


def test_a_pixel_is_left_out_where_no_series_has_an_observation(cube):
    """An elevation alone is no observation."""
    every = add_terrain(add_radar(cube)).copy(deep=True)
    every["s2"][:, :, :4, :4] = 0
    every["s1"][:, :, :4, :2] = np.nan
    every["dem"][:, :4, :4] = 5000
    got = gather_samples(every.chunk(y=16, x=16), SPEC)
    assert got.attrs["n_unobserved"] == 4 * 2  # of the first field, 5 x 4 pixels
    assert_values_of_each_source(got, every)
    assert (got["s2"].isel(sample=slice(0, 2)) == 0).all()  # seen by the radar


def test_without_series_a_pixel_is_left_out_where_no_static_source_has_data():
    cube = make_still(bands=5).copy(deep=True)
    cube["enmap"][:, :4, :4] = 0
    cube["dem"][:, :4, :4] = -9999
    cube["dem"][1, 2, :4] = 7
    got = gather_samples(cube.chunk(y=16, x=16), SPEC)
    assert got.attrs["n_unobserved"] == 4 * 3
    assert_values_of_each_source(got, cube)
    assert "time" not in got.variables
    cube["enmap"][:], cube["dem"][:] = 0, -9999
    with pytest.raises(InputError, match=r"in any step of dem, enmap\. "):
        gather_samples(cube, SPEC)


def test_a_cube_without_a_time_axis_comes_back_from_zarr(tmp_path):
    cube = make_still(bands=200)
    got = gather_samples(stored(cube, tmp_path / "cube"), SPEC)
    assert_values_of_each_source(got, cube)
    got.to_zarr(tmp_path / "table", mode="w", zarr_format=3, consolidated=False)
    back = xr.open_zarr(tmp_path / "table", consolidated=False, mask_and_scale=False).load()
    assert_values_of_each_source(back, cube)
    assert described(back) == described(cube)


def test_bounds_of_steps_stay_in_the_cube(cube):
    starts = cube["time"].values
    bounds = np.stack([starts, starts + np.timedelta64(30, "D")], axis=1)
    bound = cube.assign_coords(time_bnds=(("time", "nv"), bounds))
    bound["time"].attrs["bounds"] = "time_bnds"
    got = gather_samples(bound.chunk(y=16, x=16), SPEC)
    assert set(got.coords) == {"time", "s2_band"}
    assert "bounds" not in got["time"].attrs


# --- on disk


def test_samples_of_a_stored_cube_come_back_from_zarr(cube, samples, tmp_path):
    lazy = stored(cube, tmp_path / "cube")
    assert lazy["s2"].chunks is not None
    got = gather_samples(lazy, SPEC)
    rows = {n: {"chunks": (min(100, v.sizes["sample"]), *v.shape[1:])} for n, v in got.items()}
    got.to_zarr(tmp_path / "table", mode="w", zarr_format=3, consolidated=False, encoding=rows)
    back = xr.open_zarr(tmp_path / "table", consolidated=False, mask_and_scale=False).load()

    for table in (got, back):
        assert_all_labelled(table, cube)
        for name in samples.data_vars:
            np.testing.assert_array_equal(table[name].values, samples[name].values)
            assert table[name].dtype == samples[name].dtype
        assert {k: v for k, v in table.attrs.items() if k != "crs"} == {
            k: v for k, v in samples.attrs.items() if k != "crs"
        }
        assert CRS.from_wkt(table.attrs["crs"]) == CRS.from_wkt(samples.attrs["crs"])
        assert table["label"].attrs["class_names"] == samples["label"].attrs["class_names"]
        assert table["s2"].attrs["scale_factor"] == 1e-4
        assert list(table["s2_band"].values) == ["b0", "b1", "b2"]
        np.testing.assert_array_equal(table["time"].values, cube["time"].values)
        assert "spatial_ref" not in table.variables


def test_one_pixel_of_a_cube_without_dask_takes_one_chunk(tmp_path):
    values = np.random.default_rng(0).integers(1, 9999, (4, 1, 512, 512)).astype("uint16")
    cube = xr.Dataset({"s2": (("time", "s2_band", "y", "x"), values, {"nodata": 0})})
    cube.to_zarr(tmp_path / "cube", encoding={"s2": {"chunks": (4, 1, 64, 64)}}, consolidated=False)
    source = xr.open_zarr(tmp_path / "cube", consolidated=False, chunks=None)["s2"]
    rows, cols = np.array([500, 70]), np.array([3, 511])
    values_at(source, rows[:1], cols[:1])  # what is made once does not count
    tracemalloc.start()
    got = values_at(source, rows, cols)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(got, np.moveaxis(values[..., rows, cols], -1, 0))
    assert peak < values.nbytes / 4
