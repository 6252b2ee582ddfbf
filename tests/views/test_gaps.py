"""Gaps filled when a cube is read: the cube stays, and what was observed can be told."""

import dask
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.errors import InputError
from geocube_ml.kernels.gapfill import whittaker
from geocube_ml.views.bands import as_bands, to_physical
from geocube_ml.views.gaps import fill_gaps
from tests.cubes import small_cube, stored_cube

METHODS = ["linear", "whittaker"]
DAYS = np.array([0.0, 31, 59, 90, 120, 151])  # from January 2022 to its months


@pytest.fixture
def cube():
    return small_cube()


@pytest.fixture
def stored(tmp_path):
    return stored_cube(tmp_path / "cube.zarr")


def n_task(array):
    return len(dict(dask.optimize(array.data)[0].__dask_graph__()))


def interpolated(series, observed):
    """What linear filling should say, a pixel at a time."""
    out = series.copy()
    for at in np.ndindex(out.shape[1:]):
        seen = observed[:, *at]
        if seen.any():
            out[:, *at] = np.interp(DAYS, DAYS[seen], series[seen, *at])
    return out


def test_linear_filling_is_numpys_interpolation_in_days(cube):
    filled = fill_gaps(cube)
    counts, power = cube["s2"].values, cube["s1"].values
    want = np.rint(interpolated(counts.astype(float), counts > 0))
    np.testing.assert_array_equal(filled["s2"], want)
    want = interpolated(power, ~np.isnan(power))
    np.testing.assert_allclose(filled["s1"], want, rtol=1e-6)


def test_whittaker_filling_is_the_smoother_in_the_gaps(cube):
    filled = fill_gaps(cube, "whittaker", lam=2.0, edges="extrapolate", sources="s2")
    counts = cube["s2"].values[:, :, 3, 4]
    curve = whittaker(counts, counts > 0, DAYS, 2.0)
    want = np.where(counts > 0, counts, np.maximum(np.rint(curve), 1))
    np.testing.assert_array_equal(filled["s2"].values[:, :, 3, 4], want)


@pytest.mark.parametrize("edges", ["hold", "missing"])
@pytest.mark.parametrize("method", METHODS)
def test_observed_values_are_unchanged_and_filled_ones_are_marked(cube, method, edges):
    filled = fill_gaps(cube, method, edges=edges)
    for name, observed in (("s2", cube["s2"] != 0), ("s1", cube["s1"].notnull())):
        mask = filled[f"{name}_filled"]
        after = filled[name] != 0 if name == "s2" else filled[name].notnull()
        assert mask.dims == cube[name].dims
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, after & ~observed)
        np.testing.assert_array_equal(filled[name].where(observed), cube[name].where(observed))
        assert bool(mask.any())
        assert not mask.all("time").any()
    assert (after.all("time").values.sum() > 0) is np.True_


def test_a_series_without_any_observation_stays_missing(cube):
    for method in METHODS:
        filled = fill_gaps(cube, method)
        assert (filled["s2"][:, :, 0, 0] == 0).all()
        assert not filled["s2_filled"][:, :, 0, 0].any()


def test_the_cube_is_not_changed_and_the_rest_is_passed_on(cube):
    before = cube.copy(deep=True)
    filled = fill_gaps(cube)
    xr.testing.assert_identical(cube, before)
    others = [name for name in cube if name not in ("s1", "s2")]
    xr.testing.assert_identical(filled[others], cube[others])
    assert set(filled) - set(cube) == {"s1_filled", "s2_filled"}


def test_counts_stay_counts_and_say_how_they_were_filled(cube):
    filled = fill_gaps(cube, "whittaker", lam=3)["s2"]
    assert filled.dtype == "uint16"
    said = "method: whittaker, edges: hold, lam: 3.0, order: 2, only_gaps: True"
    assert filled.attrs == {**cube["s2"].attrs, "gaps": said}
    assert fill_gaps(cube)["s2"].attrs["gaps"] == "method: linear, edges: hold"


def test_smoothing_changes_observed_steps_but_not_what_counts_as_filled(cube):
    kept = fill_gaps(cube, "whittaker")
    smooth = fill_gaps(cube, "whittaker", only_gaps=False)
    assert (kept["s2"] != smooth["s2"]).any()
    np.testing.assert_array_equal(kept["s2_filled"], smooth["s2_filled"])
    np.testing.assert_array_equal(kept["s2"] == 0, smooth["s2"] == 0)


def test_a_cube_from_a_store_is_filled_without_reading(stored, no_compute):
    with no_compute():
        for method in METHODS:
            filled = fill_gaps(stored, method)
    assert filled["s2"].chunks == ((6,), (1, 1, 1), (4, 4), (6, 6))
    assert filled["s2_filled"].chunks == filled["s2"].chunks
    assert filled["s2"].rio.crs == filled["s2_filled"].rio.crs == 32633


@settings(max_examples=15, deadline=None)
@given(
    cut=st.fixed_dictionaries({"time": st.integers(1, 6), "y": st.integers(1, 8),
                               "x": st.integers(1, 12), "s2_band": st.integers(1, 3)}),
    method=st.sampled_from(METHODS),
)  # fmt: skip
def test_chunks_do_not_matter(cut, method):
    whole = small_cube()[["s2"]]
    lazy = fill_gaps(whole.chunk(cut), method).compute(scheduler="sync")
    xr.testing.assert_identical(lazy, fill_gaps(whole, method))


def test_a_chunk_of_the_map_is_put_together_and_filled_in_few_tasks(stored):
    def tasks(rows):
        return n_task(fill_gaps(stored)["s2"].isel(y=slice(0, rows)))

    # 2 x 3 chunks of the map more: each reads 2 of time, joins them, and fills
    assert tasks(8) - tasks(4) == 2 * 3 * 4


def test_a_corner_reads_its_own_chunks_alone(stored):
    reads = []

    def note(block, block_info=None):
        if block_info:
            reads.append(block_info[0]["chunk-location"])
        return block

    array = stored["s2"].data
    noting = array.map_blocks(note, dtype=array.dtype, meta=array._meta)
    noted = stored.assign(s2=stored["s2"].copy(data=noting))
    fill_gaps(noted)["s2"].isel(s2_band=1, y=0, x=0).compute(scheduler="sync")
    assert sorted(reads) == [(0, 1, 0, 0), (1, 1, 0, 0)]


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_table_is_filled_as_the_map_is(cube, method):
    table = cube[["s1", "s2", "dem"]].stack(sample=("y", "x")).drop_vars(["sample", "y", "x"])
    table = table.transpose("sample", "time", ...)
    options = {"edges": "missing", "lam": 0.7} if method == "whittaker" else {}
    got, filled = fill_gaps(table, method, **options), fill_gaps(cube, method, **options)
    for name in ("s1", "s2", "s2_filled"):
        want = filled[name].stack(sample=("y", "x")).transpose("sample", "time", ...)
        assert got[name].dims == want.dims
        np.testing.assert_array_equal(got[name], want)


def test_physical_values_and_bands_can_be_filled_by_name(cube):
    physical = fill_gaps(to_physical(cube))
    assert physical["s2"].dtype == "float32"
    counts = to_physical(fill_gaps(cube))
    assert float(abs(physical["s2"] - counts["s2"]).max()) <= 0.51e-4
    bands = fill_gaps(as_bands(cube), sources=["red", "vv"])
    np.testing.assert_array_equal(bands["red"], fill_gaps(cube)["s2"].isel(s2_band=0))
    np.testing.assert_array_equal(bands["vv_filled"], fill_gaps(cube)["s1_filled"][:, 0])


def test_bands_of_a_filled_cube_say_what_was_filled(cube):
    filled = fill_gaps(cube, sources=["s2"])
    bands = as_bands(filled)
    np.testing.assert_array_equal(bands["nir_filled"], filled["s2_filled"].isel(s2_band=1))
    assert "vv_filled" not in bands


def test_three_steps_by_hand():
    """Of 11 February, 21 February and 1 March the second is 10 days in, of 18."""
    start = np.array(["2022-02-11", "2022-02-21", "2022-03-01"], "M8[ns]")
    cube = xr.Dataset(
        {"s2": (("time", "s2_band"), np.float32([[0], [np.nan], [18]]))}, coords={"time": start}
    )
    assert fill_gaps(cube)["s2"].values.ravel().tolist() == [0, 10, 18]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "cubic"}, "linear or whittaker, got 'cubic'"),
        ({"edges": "extrapolate"}, "hold or missing, got 'extrapolate'"),
        ({"method": "whittaker", "lam": 0.0}, "above 0, got 0.0"),
        ({"method": "whittaker", "order": 4}, "1, 2 or 3, got 4"),
        ({"only_gaps": False}, "Take `whittaker`"),
        ({"sources": "s3"}, "'s3' is not in the cube.*s2, s2_clear, s1"),
        ({"sources": ["s2", "dem"]}, "'dem' has no time axis"),
        ({"sources": "s2_clear"}, "holds uint8 and has no attribute `nodata`"),
    ],
)
def test_what_cannot_be_filled_is_refused(cube, options, says):
    with pytest.raises(InputError, match=says):
        fill_gaps(cube, **options)


def test_a_cube_without_series_is_refused(cube):
    with pytest.raises(InputError, match="no source with a time axis"):
        fill_gaps(cube[["dem", "label"]])


def test_filling_twice_is_refused(cube):
    with pytest.raises(InputError, match=r"filled before \(method: linear, edges: missing\)"):
        fill_gaps(fill_gaps(cube, edges="missing"))


def test_steps_out_of_order_are_refused(cube):
    with pytest.raises(InputError, match="not in order"):
        fill_gaps(cube.isel(time=[1, 0, 2]))
