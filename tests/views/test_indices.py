"""Spectral indices: spyndex's catalogue on the bands of a cube."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import spyndex
import xarray as xr
import yaml

from geocube_ml.errors import InputError
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.views.bands import to_decibel, to_physical
from geocube_ml.views.gaps import fill_gaps
from geocube_ml.views.indices import BANDS, indices
from tests.cubes import small_cube, stored_cube

SOURCES = Path(__file__).parents[2] / "catalogs" / "sources"
# what has no default: wavelengths of Sentinel-2's bands, and light
GIVEN = {"lambdaG": 560.0, "lambdaR": 665.0, "lambdaN": 833.0, "lambdaN2": 865.0,
         "lambdaS1": 1610.0, "lambdaS2": 2190.0, "PAR": 400.0}  # fmt: skip


@pytest.fixture
def cube():
    return small_cube()


@pytest.fixture
def stored(tmp_path):
    return stored_cube(tmp_path / "cube.zarr")


def every_band():
    """A cube of all bands that any index needs, under their names in cubes."""
    names = list(dict.fromkeys(names[0] for names in BANDS.values()))
    rng = np.random.default_rng(3)
    values = rng.uniform(0.02, 0.6, (len(names), 5, 7)).astype("float32")
    return xr.Dataset({"all": (("all_band", "y", "x"), values)}, coords={"all_band": names})


def test_indices_equal_their_formulas_in_numpy(cube):
    got = indices(cube, ["NDVI", "EVI2", "NDMI", "SAVI"], "s2", L=0.5)
    with np.errstate(invalid="ignore"):
        red, nir, swir = np.where(cube["s2"] == 0, np.nan, cube["s2"] * 1e-4).swapaxes(0, 1)
        want = {
            "NDVI": (nir - red) / (nir + red),
            "EVI2": 2.5 * (nir - red) / (nir + 2.4 * red + 0.5),
            "NDMI": (nir - swir) / (nir + swir),
            "SAVI": 1.5 * (nir - red) / (nir + red + 0.5),
        }
    assert list(got) == list(want)
    for name, values in want.items():
        assert got[name].dtype == "float32"
        assert got[name].dims == ("time", "y", "x")
        np.testing.assert_allclose(got[name], values, rtol=2e-5, atol=1e-6)
        assert np.isnan(got[name]).any()


@pytest.mark.parametrize("name", sorted(spyndex.indices))
def test_every_index_of_the_catalogue_is_what_spyndex_computes(name):
    cube = every_band()
    listed = spyndex.indices[name].bands
    given = {key: value for key, value in GIVEN.items() if key in listed}
    got = indices(cube, name, **given)[name]

    named = {key: cube["all"].sel(all_band=names[0]).values for key, names in BANDS.items()}
    constants = {str(key): said.default for key, said in spyndex.constants.items()}
    known = {**constants, **GIVEN, **named}
    for need in listed:
        if need.startswith("k") and len(need) == 3:
            a, b = known[need[1]], known[need[2]]
            known[need] = spyndex.computeKernel("RBF", a=a, b=b, sigma=known["sigma"])
    with np.errstate(all="ignore"):
        want = np.asarray(spyndex.computeIndex(name, known), "float32")
    np.testing.assert_allclose(got, np.where(np.isfinite(want), want, np.nan), rtol=1e-6)


def test_bands_are_spyndexs_by_its_own_account():
    for key, names in BANDS.items():
        if key in spyndex.bands:
            assert spyndex.bands[key].common_name in names


@pytest.mark.parametrize("platform", ["sentinel2a", "sentinel2b"])
def test_bands_of_sentinel_2_are_those_of_spyndex(platform):
    said = (SOURCES / "planetary-computer-sentinel-2-l2a.yaml").read_text()
    bands = SensorSpec(**yaml.safe_load(said)).every_band
    assets = {name: band.asset for name, band in bands.items()}
    found = {}
    for key, names in BANDS.items():
        band = next((name for name in names if name in assets), None)
        if band and hasattr(spyndex.bands[key], platform):
            found[key] = assets[band].replace("B0", "B")
    want = {key: getattr(spyndex.bands[key], platform).band for key in found}
    assert found == want
    assert {"B", "G", "R", "RE1", "RE2", "RE3", "N", "N2", "S1", "S2"} <= set(found)


def test_near_infrared_is_the_narrow_band_where_there_is_no_other():
    values = np.float32([[0.1], [0.3], [0.5]])
    cube = xr.Dataset(
        {"l8": (("l8_band", "x"), values)}, coords={"l8_band": ["red", "nir08", "nir"]}
    )
    broad, narrow = indices(cube, "NDVI"), indices(cube.isel(l8_band=[0, 1]), "NDVI")
    np.testing.assert_allclose(broad["NDVI"], [0.4 / 0.6], rtol=1e-6)
    np.testing.assert_allclose(narrow["NDVI"], [0.2 / 0.4], rtol=1e-6)
    assert broad["NDVI"].attrs["bands"] == "N: l8.nir, R: l8.red"
    assert narrow["NDVI"].attrs["bands"] == "N: l8.nir08, R: l8.red"


def test_an_index_says_what_it_is(cube):
    attrs = indices(cube, "EVI2", "s2", L=0.5)["EVI2"].attrs
    assert attrs["long_name"] == "Two-Band Enhanced Vegetation Index"
    assert attrs["formula"] == "g*(N-R)/(N+2.4*R+L)"
    assert attrs["reference"] == "https://doi.org/10.1016/j.rse.2008.06.006"
    assert attrs["constants"] == "g: 2.5, L: 0.5"
    assert attrs["units"] == "1"


def test_indices_of_a_stored_cube_are_made_without_reading(stored, no_compute):
    with no_compute():
        got = indices(fill_gaps(stored), ["NDVI", "kNDVI"], "s2")
    assert got["NDVI"].chunks == ((6,), (4, 4), (6, 6))
    assert got["NDVI"].rio.crs == 32633
    lazy = got.compute(scheduler="sync")
    xr.testing.assert_equal(lazy, indices(fill_gaps(stored.compute()), ["NDVI", "kNDVI"], "s2"))
    assert int(lazy["NDVI"].isnull().sum()) == 6  # of the pixel that was never seen


def test_an_index_reads_its_own_bands_alone(stored):
    reads = []

    def note(block, block_info=None):
        if block_info:
            reads.append(block_info[0]["chunk-location"])
        return block

    array = stored["s2"].data
    noting = array.map_blocks(note, dtype=array.dtype, meta=array._meta)
    noted = stored.assign(s2=stored["s2"].copy(data=noting))
    got = indices(noted, ["NDVI", "NDMI"], "s2")
    got["NDMI"].isel(time=0, y=0, x=0).compute(scheduler="sync")
    assert sorted(reads) == [(0, 1, 0, 0), (0, 2, 0, 0)]


def test_where_a_formula_has_no_value_there_is_nan():
    counts = np.float32([[0, 0.2, -0.2], [0, 0.2, 0.2]])
    cube = xr.Dataset({"s2": (("s2_band", "x"), counts)}, coords={"s2_band": ["red", "nir"]})
    np.testing.assert_array_equal(indices(cube, "NDVI")["NDVI"], np.float32([np.nan, 0, np.nan]))


def test_radar_in_decibels_is_made_power_first(cube):
    power = indices(cube, ["DpRVIVV", "VHVVR"], "s1")
    decibel = indices(cube.assign(s1=to_decibel(cube["s1"])), ["DpRVIVV", "VHVVR"], "s1")
    vv, vh = to_physical(cube)["s1"].values.swapaxes(0, 1)
    np.testing.assert_allclose(power["DpRVIVV"], 4 * vh / (vv + vh), rtol=1e-5)
    np.testing.assert_allclose(decibel["DpRVIVV"], power["DpRVIVV"], rtol=1e-4)
    np.testing.assert_allclose(decibel["VHVVR"], power["VHVVR"], rtol=1e-4)


def test_a_kernel_index_takes_a_kernel_and_its_constants(cube):
    """With the mean of both bands as length, kNDVI is the hyperbolic tangent of NDVI squared."""
    red, nir = (to_physical(cube)["s2"].isel(s2_band=at, drop=True) for at in (0, 1))
    ndvi = (nir - red) / (nir + red)
    got = indices(cube, "kNDVI", "s2", sigma=(nir + red) / 2)["kNDVI"]
    np.testing.assert_allclose(got, np.tanh(ndvi**2), rtol=1e-4, atol=1e-6)
    assert got.attrs["constants"] == "sigma: an array"
    fixed = indices(cube, "kNDVI", "s2", sigma=0.2)["kNDVI"]
    np.testing.assert_allclose(fixed, np.tanh(((nir - red) / 0.4) ** 2), rtol=1e-4, atol=1e-6)
    linear = indices(cube, "kNDVI", "s2", kernel="linear")["kNDVI"]
    np.testing.assert_allclose(linear, (nir * nir - nir * red) / (nir * nir + nir * red), rtol=1e-4)


def test_a_sample_table_has_indices_too(cube):
    table = cube[["s2"]].stack(sample=("y", "x")).drop_vars(["sample", "y", "x"])
    table = table.transpose("sample", "time", "s2_band")
    got = indices(table, "NDVI")["NDVI"]
    assert got.dims == ("sample", "time")
    want = indices(cube, "NDVI", "s2")["NDVI"].values.reshape(6, -1).T
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("NDVJ", {}, r"no index 'NDVJ'; did you mean .*NDVI.*\?"),
        ("ndvi", {}, r"no index 'ndvi'; did you mean NDVI"),
        ("???", {}, r"no index '\?\?\?'. sorted"),
        (["NDVI", "EVI"], {}, r"EVI = .* needs B \(blue\), but 's2' has red, nir, swir16"),
        ("ARVI", {"source": "s1"}, r"N \(nir or nir08\), R \(red\), B \(blue\), but 's1' has vv"),
        ("NDVI", {"source": None}, "of one source, and the cube has s1, s2, dem"),
        ("NDVI", {"source": "s3"}, "no source 's3'; it has s1, s2, dem"),
        ("NDVI", {"L": 0.5}, "NDVI have no constant L; they have none"),
        ("SAVI", {"R": 0.5}, "no constant R; they have L"),
        ("kNDVI", {"kernel": "rbf"}, "linear, poly, RBF, got 'rbf'"),
        ("NIRvP", {}, "needs PAR .*no default. Give it: indices.cube, 'NIRvP', PAR=...."),
    ],
)
def test_what_cannot_be_computed_is_refused(cube, names, options, says):
    with pytest.raises(InputError, match=says):
        indices(cube, names, **{"source": "s2", **options})


def test_spyndex_is_imported_only_for_indices():
    code = (
        "import sys, geocube_ml\n"
        "from geocube_ml import open_cube\n"
        "import geocube_ml.views.bands, geocube_ml.views.gaps\n"
        "assert 'spyndex' not in sys.modules\n"
        "import geocube_ml.views.indices\n"
        "assert 'spyndex' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
