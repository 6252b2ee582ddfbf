"""Views of a cube: the same values under other names, and nothing read before its time."""

import dask
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from geocube_ml.errors import InputError
from geocube_ml.views.bands import as_bands, source_names, to_decibel, to_physical, to_power
from tests.cubes import BANDS, small_cube, stored_cube


@pytest.fixture(scope="module")
def cube():
    return small_cube()


@pytest.fixture
def stored(tmp_path):
    return stored_cube(tmp_path / "cube.zarr")


def counted(cube, name):
    """A cube that notes which chunks of a variable are read."""
    reads = []

    def note(block, block_info=None):
        if block_info:
            reads.append(block_info[0]["chunk-location"])
        return block

    array = cube[name].data
    noting = array.map_blocks(note, dtype=array.dtype, meta=array._meta)
    return cube.assign({name: cube[name].copy(data=noting)}), reads


def n_task(array):
    return len(dict(dask.optimize(array.data)[0].__dask_graph__()))


def test_each_band_is_a_variable_with_the_values_of_its_source(cube):
    bands = as_bands(cube)
    for source, names in BANDS.items():
        for at, name in enumerate(names):
            want = cube[source].isel({f"{source}_band": at})
            assert bands[name].dims == want.dims
            assert bands[name].dtype == want.dtype
            np.testing.assert_array_equal(bands[name], want)
            kept = {k: v for k, v in cube[source].attrs.items() if k != "long_name"}
            assert kept.items() <= bands[name].attrs.items()
    assert bands["red"].attrs["long_name"] == "Sentinel-2: red"
    assert bands["slope"].attrs["long_name"] == "slope"
    assert not {"s2", "s2_band", "s1_band", "dem_band"} & set(bands.variables)
    others = ["s2_clear", "label", "polygon", "prob"]
    xr.testing.assert_identical(bands[others], cube[others].drop_dims([]))
    assert bands.attrs == cube.attrs


def test_a_name_that_is_taken_gets_its_source_in_front(cube):
    more = cube.assign(
        l8=cube["s2"].rename(s2_band="l8_band").assign_coords(l8_band=["red", "label", "thermal"])
    )
    want = {"s2_red", "nir", "swir16", "l8_red", "l8_label", "thermal", "label"}
    assert want <= set(as_bands(more))
    assert not {"red", "s2_nir"} & set(as_bands(more))


def test_names_do_not_depend_on_the_sources_that_are_asked_for(cube):
    more = cube.assign(l8=cube["s2"].rename(s2_band="l8_band").isel(l8_band=[0]))
    more = more.assign_coords(l8_band=["red"])
    assert set(as_bands(more, "l8")) == {"l8_red", "label", "polygon", "prob"}
    both = {"s2_red", "nir", "swir16", "l8_red", "s2_clear", "label", "polygon", "prob"}
    assert set(as_bands(more, ["s2", "l8"])) == both


def test_two_variables_of_one_name_are_refused(cube):
    with pytest.raises(InputError, match="'s2_clear'"):
        as_bands(cube.assign_coords(s2_band=["clear", "label", "time"]).assign(clear=1))


def test_an_unknown_source_is_named_with_those_there_are(cube):
    with pytest.raises(InputError, match="no source s3; its sources are s1, s2, dem"):
        as_bands(cube, ["s2", "s3"])


def test_sources_are_series_then_static_ones(cube):
    assert source_names(cube) == ["s1", "s2", "dem"]
    assert source_names(cube.drop_dims(["s1_band", "s2_band"])) == ["dem"]


def test_what_goes_with_bands_is_cut_with_them(cube):
    bands = as_bands(cube.assign(s2_filled=cube["s2"] > 4000))
    np.testing.assert_array_equal(bands["nir_filled"], cube["s2"].isel(s2_band=1) > 4000)
    assert "source" not in bands["nir_filled"].attrs
    assert bands["nir"].attrs["source"] == "s2"


def test_a_view_of_a_stored_cube_has_its_crs_and_can_be_stored(stored, tmp_path):
    bands = as_bands(stored)
    assert bands["red"].rio.crs == 32633
    assert to_physical(bands)["red"].rio.crs == 32633
    assert to_physical(stored)["s2"].rio.crs == 32633
    for name, view in (("bands", bands), ("physical", to_physical(bands))):
        view.to_zarr(tmp_path / name, consolidated=False)
        again = xr.open_zarr(
            tmp_path / name, consolidated=False, decode_coords="all", mask_and_scale=False
        )
        assert again["red"].rio.crs == 32633
        np.testing.assert_array_equal(again["red"], view["red"])


def test_views_are_made_without_reading(stored, no_compute):
    with no_compute():
        views = to_physical(as_bands(stored))
        to_decibel(views["vv"])
    assert views["red"].chunks == ((3, 3), (4, 4), (6, 6))


def test_a_band_reads_its_own_chunks_alone(stored):
    noted, reads = counted(stored, "s2")
    view = to_physical(as_bands(noted))
    view["nir"].isel(time=slice(0, 3), y=slice(0, 4)).compute(scheduler="sync")
    assert sorted(reads) == [(0, 1, 0, 0), (0, 1, 0, 1)]


def test_a_chunk_of_a_physical_band_is_read_and_scaled_in_two_tasks(stored):
    view = to_physical(as_bands(stored))["red"]
    half = view.isel(time=slice(0, 3))
    assert view.data.npartitions - half.data.npartitions == 4
    assert n_task(view) - n_task(half) == 2 * 4


def test_physical_values_are_scaled_and_missing_where_nodata_is(cube):
    got = to_physical(cube)
    counts = cube["s2"].values
    want = np.where(counts == 0, np.nan, counts.astype("float32") * np.float32(1e-4))
    assert got["s2"].dtype == "float32"
    np.testing.assert_array_equal(got["s2"], want)
    assert np.isnan(got["dem"][:, 1, 1]).all()
    assert int(got["dem"].isnull().sum()) == 2
    np.testing.assert_array_equal(got["prob"].isnull(), cube["prob"] == 255)
    assert float(got["prob"].max()) <= 1


def test_an_offset_is_added(cube):
    cube["s2"].attrs |= {"scale_factor": 2.75e-5, "add_offset": -0.2}
    counts = cube["s2"].values.astype(float)
    want = np.where(counts == 0, np.nan, counts * 2.75e-5 - 0.2)
    np.testing.assert_allclose(to_physical(cube)["s2"], want, atol=1e-7)


def test_physical_attributes_are_not_applied_twice(cube):
    once = to_physical(cube)
    assert once["s2"].attrs == {
        "long_name": "Sentinel-2",
        "units": "1",
        "grid_mapping": "spatial_ref",
    }
    np.testing.assert_array_equal(to_physical(once)["s2"], once["s2"])


def test_codes_and_counts_stay_as_they_are(cube):
    kept = ["s2_clear", "label", "polygon"]
    xr.testing.assert_identical(to_physical(cube)[kept], cube[kept])


def test_bands_are_physical_also_where_nothing_is_scaled(cube):
    """By hand: the elevations have a nodata and no scale."""
    got = to_physical(as_bands(cube))
    assert np.isnan(got["elevation"][1, 1])
    assert "nodata" not in got["elevation"].attrs
    xr.testing.assert_equal(got["red"], to_physical(cube)["s2"].isel(s2_band=0, drop=True))


def test_a_sample_table_has_views_too(cube):
    table = cube[["s2", "dem", "label"]].stack(sample=("y", "x")).transpose("sample", ...)
    table = table.drop_vars(["sample", "y", "x"])
    got = to_physical(as_bands(table))
    assert got["red"].dims == ("sample", "time")
    assert got["slope"].dims == ("sample",)
    want = to_physical(cube)["s2"].isel(s2_band=0).values.reshape(6, -1).T
    np.testing.assert_array_equal(got["red"], want)


def test_decibels_are_ten_times_the_logarithm_of_power(cube):
    power = as_bands(cube)["vv"]
    decibel = to_decibel(power)
    np.testing.assert_allclose(decibel, 10 * np.log10(power.values), rtol=1e-5)
    assert decibel.dtype == "float32"
    assert decibel.attrs["units"] == "dB"
    np.testing.assert_allclose(to_power(decibel), power, rtol=1e-4)
    assert to_power(decibel).attrs["units"] == "1"


def test_decibels_keep_nodata():
    power = xr.DataArray(np.float32([1, -9999, 0.1]), attrs={"nodata": -9999.0})
    assert to_decibel(power).values.tolist() == [0, -9999, -10]
    assert to_power(to_decibel(power)).values[1] == -9999


def test_a_derived_band_has_a_unit_of_its_own(tmp_path):
    cube = stored_cube(tmp_path / "cube.zarr")
    name = next(n for n in cube if f"{n}_band" in cube[n].dims and "time" not in cube[n].dims)
    first, second = (str(band) for band in cube[f"{name}_band"].values[:2])
    cube[name].attrs |= {"units": "m", f"units_{second}": "degree"}
    views = as_bands(cube[[name]])
    assert views[first].attrs["units"] == "m"
    assert views[second].attrs["units"] == "degree"
    assert not [key for key in views[second].attrs if key.startswith("units_")]
