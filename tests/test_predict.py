from __future__ import annotations

import contextlib

import dask
import numpy as np
import odc.geo.xr  # noqa: F401  its accessor
import pytest
import rioxarray  # noqa: F401  its accessor
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml import predict
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import GridMismatch, InputError
from geocube_ml.models.network import one_thread
from geocube_ml.predict import predict_map, predict_rows, predict_tile, predict_window
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import DeepLabSpec, ForestSpec, TempCNNSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.seasons import NAMES, add_radar, add_terrain, make_cube, make_still, stored

N = len(NAMES)
SPECS = {"tempcnn": TempCNNSpec(width=8, epochs=5, batch=32), "forest": ForestSpec(trees=6)}


@contextlib.contextmanager
def no_compute():
    """Fail if anything inside the block computes a dask graph."""

    def refuse(*_, **__):
        raise AssertionError("a lazy function computed")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches on busy cores: more threads would only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def cube():
    """The map's first rows were never observed."""
    cube = make_cube()
    cube["s2"][:, :, :3, 7:20] = 0
    return cube


@pytest.fixture(scope="module")
def bundles(cube):
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    return {name: train_model(samples, spec, name=name) for name, spec in SPECS.items()}


@pytest.fixture(params=SPECS)
def bundle(request, bundles):
    return bundles[request.param]


def assert_same_map(a, b):
    """Equal but for the last bit of a float: probabilities may round to the next step."""
    np.testing.assert_array_equal(a["class"] == 255, b["class"] == 255)
    far = np.abs(a["prob"].values.astype(int) - b["prob"].values)
    assert far.max() <= 1
    assert (far > 0).mean() < 1e-3
    assert (a["class"].values != b["class"].values).mean() < 1e-3


def test_a_map_is_a_graph_until_it_is_asked_for(cube, bundle):
    with no_compute():
        got = predict_map(cube.chunk(y=16, x=16, time=2, s2_band=1), bundle)
    assert got["class"].chunks == ((16, 16, 5), (16, 16, 16, 5))
    assert got["prob"].chunks == ((N,), (16, 16, 5), (16, 16, 16, 5))
    assert got["class"].dtype == got["prob"].dtype == "uint8"


def test_a_map_is_the_bundles_answer_on_the_whole(cube, bundle):
    got = predict_map(cube, bundle).compute()
    prob = bundle.predict_block({"s2": cube["s2"].values})
    assert got["class"].dims == ("y", "x")
    assert got["prob"].dims == ("class_name", "y", "x")
    for row, col in np.ndindex(*cube["label"].shape):
        here = prob[:, row, col]
        if np.isnan(here[0]):
            want, steps = 255, [255] * N
        else:
            want, steps = int(here.argmax()), np.rint(here * 250).tolist()
        assert got["class"].values[row, col] == want
        assert got["prob"].values[:, row, col].tolist() == steps


@settings(max_examples=8, deadline=None)
@given(y=st.integers(5, 40), x=st.integers(5, 60), t=st.integers(1, 6), b=st.integers(1, 3))
@pytest.mark.parametrize("name", SPECS)
def test_the_map_does_not_depend_on_the_chunks(cube, bundles, name, y, x, t, b):
    with dask.config.set(scheduler="synchronous"):
        lazy = predict_map(cube.chunk(y=y, x=x, time=t, s2_band=b), bundles[name]).compute()
    assert_same_map(lazy, predict_map(cube, bundles[name]).compute())


def test_a_window_of_the_map_is_the_map_of_the_window(cube, bundle):
    window = {"y": slice(11, 30), "x": slice(2, 41)}
    whole = predict_map(cube, bundle).isel(window).compute()
    part = predict_map(cube.isel(window), bundle).compute()
    assert_same_map(whole, part)
    np.testing.assert_array_equal(whole["x"], part["x"])


def test_each_block_is_read_once(cube, bundle):
    reads = []

    def note(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = cube.chunk(y=16, x=16, time=3, s2_band=1)
    data = lazy["s2"].data
    noted = data.map_blocks(note, dtype=data.dtype, meta=data._meta)
    got = predict_map(lazy.assign(s2=lazy["s2"].copy(data=noted)), bundle)
    got.compute(scheduler="synchronous")
    assert sorted(reads) == sorted(np.ndindex(2, 3, 3, 4))

    reads.clear()
    got["class"][20, 20].compute(scheduler="synchronous")
    assert sorted(reads) == [(t, b, 1, 1) for t in range(2) for b in range(3)]


def test_what_was_never_observed_is_255(cube, bundle):
    got = predict_map(cube.chunk(y=16, x=16), bundle).compute()
    dark = np.zeros(cube["label"].shape, bool)
    dark[:3, 7:20] = True
    np.testing.assert_array_equal(got["class"].values == 255, dark)
    np.testing.assert_array_equal((got["prob"].values == 255).all(axis=0), dark)
    assert (got["prob"].values[:, ~dark] <= 250).all()
    total = got["prob"].values[:, ~dark].astype(int).sum(axis=0)
    assert (np.abs(total - 250) <= N // 2).all()
    assert set(np.unique(got["class"].values[~dark])) == set(range(N))


def test_maps_of_two_models_do_not_mix(cube, bundles):
    """Of one kind and one name, so that only the weights tell the tasks apart."""
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    other = train_model(samples, ForestSpec(trees=6, seed=9), name="forest")
    a, b = (predict_map(cube, bundle) for bundle in (bundles["forest"], other))
    together = dask.compute(a, b)
    for got, bundle in zip(together, (bundles["forest"], other), strict=True):
        xr.testing.assert_identical(got, predict_map(cube, bundle).compute())
    assert not np.array_equal(together[0]["prob"], together[1]["prob"])


def test_attributes_say_what_the_codes_mean(cube, bundle):
    got = predict_map(cube, bundle)
    flags = got["class"].attrs
    assert flags["flag_values"] == [0, 1, 2, 3]
    assert flags["flag_meanings"] == "winter_wheat maize grassland forest"
    assert flags["flag_colors"].split() == list(bundle.classes.colors)
    assert flags["class_names"] == list(NAMES)
    assert flags["nodata"] == got["prob"].attrs["nodata"] == 255
    assert ClassScheme.from_attrs(flags) == bundle.classes
    assert got["prob"].attrs["scale_factor"] == 1 / 250
    assert got["class_name"].values.tolist() == list(NAMES)


def test_the_map_lies_where_the_cube_does(cube, bundle, tmp_path):
    for source in (cube, stored(cube[["s2", "label", "polygon"]], tmp_path / "cube")):
        got = predict_map(source, bundle)
        for name in ("class", "prob"):
            assert got[name].rio.crs.to_epsg() == 32633
            assert got[name].odc.geobox == cube["s2"].odc.geobox
            assert got[name].rio.transform() == cube["s2"].rio.transform()
        assert set(got.coords) == {"y", "x", "spatial_ref", "class_name"}


def test_a_stored_cube_gives_the_same_map(cube, bundle, tmp_path):
    lazy = stored(cube, tmp_path / "cube")
    with no_compute():
        got = predict_map(lazy, bundle)
    assert got["class"].chunks == ((16, 16, 5), (16, 16, 16, 5))
    assert_same_map(got.compute(), predict_map(cube, bundle).compute())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.isel(s2_band=[0, 2]), "bands b0, b1, b2 of 's2', but the cube has b0, b2"),
        (
            lambda c: c.isel(s2_band=[2, 1, 0]),
            "bands b0, b1, b2 of 's2', but the cube has b2, b1, b0",
        ),
        (
            lambda c: c.isel(time=slice(1, None)),
            "cube's start on 11-01, 12-01, 01-01, 02-01, 03-01",
        ),
        (
            lambda c: c.isel(time=slice(None, None, -1)),
            "cube's start on 03-01, 02-01, 01-01, 12-01, 11-01, 10-01",
        ),
    ],
)
def test_other_bands_or_steps_are_refused(cube, bundle, change, said):
    with pytest.raises(GridMismatch, match=said) as error:
        predict_map(change(cube), bundle)
    assert "trained on" in str(error.value)


def test_the_same_months_of_another_year_are_welcome(cube, bundle):
    later = cube.assign_coords(time=cube["time"] + np.timedelta64(366, "D"))
    xr.testing.assert_identical(
        predict_map(later, bundle).compute(), predict_map(cube, bundle).compute()
    )


def test_a_cube_without_the_variable_is_refused(cube, bundle):
    other = cube.rename(s2="landsat", s2_band="landsat_band")
    with pytest.raises(InputError, match=r"'s2' \(b0, b1, b2\), the cube has landsat\."):
        predict_map(other, bundle)
    with pytest.raises(InputError, match=r"needs s2, but the cube has no source"):
        predict_map(cube[["label", "polygon"]], bundle)


# --- several sources


@pytest.fixture(scope="module", params=["three", "still"])
def several(request):
    """A cube of three sources or one without a time axis, a corner of it unseen; its bundles."""
    if request.param == "three":
        cube = add_terrain(add_radar(make_cube()))
        cube["s1"][:, :, :3, 7:20] = np.nan
        cube["s2"][:, :, :3, 7:20] = 0
    else:
        cube = make_still(bands=30)
        cube["enmap"][:, :3, 7:20] = 0
        cube["dem"][:, :3, 7:20] = -9999
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    return cube, {name: train_model(samples, spec, name=name) for name, spec in SPECS.items()}


@pytest.mark.parametrize("name", SPECS)
def test_a_map_of_several_sources_is_the_bundles_answer_on_the_whole(several, name, tmp_path):
    cube, bundle = several[0], several[1][name]
    prob = bundle.predict_block({source: cube[source].values for source in bundle.fit.names})
    dark = np.zeros(cube["label"].shape, bool)
    dark[:3, 7:20] = True
    want = np.where(dark, 255, np.nan_to_num(prob).argmax(axis=0))
    uneven = cube.assign({s: cube[s].chunk(y=5 + 3 * k) for k, s in enumerate(bundle.fit.names)})
    for data in (cube, cube.chunk(y=16, x=16), uneven, stored(cube, tmp_path / "cube")):
        with no_compute():
            lazy = predict_map(data, bundle)
        got = lazy.compute()
        np.testing.assert_array_equal(got["class"].values == 255, dark)
        assert (got["class"].values != want).mean() < 1e-3
        steps = np.where(dark, 255, np.rint(250 * np.nan_to_num(prob)))
        assert np.abs(got["prob"].values - steps).max() <= 1
        assert set(got.coords) == {"y", "x", "spatial_ref", "class_name"}
    assert lazy["class"].chunks == ((16, 16, 5), (16, 16, 16, 5))


def test_each_block_of_each_source_is_read_once(several):
    cube, bundles = several
    reads = []
    lazy = cube.chunk(y=16, x=16)
    for source in bundles["forest"].fit.names:

        def note(block, block_info=None, source=source):
            reads.append((source, *block_info[0]["chunk-location"][-2:]))
            return block

        data = lazy[source].data
        noted = data.map_blocks(note, dtype=data.dtype, meta=data._meta)
        lazy = lazy.assign({source: lazy[source].copy(data=noted)})
    predict_map(lazy, bundles["forest"]).compute(scheduler="synchronous")
    names = bundles["forest"].fit.names
    assert sorted(reads) == sorted((n, y, x) for n in names for y in range(3) for x in range(4))


def test_a_cube_may_have_more_sources_than_the_model(cube, bundle):
    xr.testing.assert_identical(
        predict_map(add_terrain(cube), bundle).compute(), predict_map(cube, bundle).compute()
    )


# --- models that look at what lies around a pixel

TINY = {"width": 4, "epochs": 2, "patch": 16}
PATCHES = {"unet": UNetSpec(**TINY, depth=1), "deeplab": DeepLabSpec(**TINY, rates=(1,))}


@pytest.fixture(scope="module")
def wide():
    """Some of it never observed."""
    cube = make_cube((70, 90))
    cube["s2"][:, :, :3, 7:20] = 0
    return cube


@pytest.fixture(scope="module")
def wide_samples(wide):
    return gather_samples(wide, SamplesSpec(block_m=200))


@pytest.fixture(scope="module")
def lookers(wide, wide_samples):
    return {
        name: train_model(wide_samples, spec, name=name, cube=wide)
        for name, spec in PATCHES.items()
    }


@pytest.fixture(params=PATCHES)
def looker(request, lookers):
    return lookers[request.param]


@settings(max_examples=6, deadline=None)
@given(y=st.integers(5, 70), x=st.integers(5, 90), t=st.integers(1, 6))
@pytest.mark.parametrize("name", PATCHES)
def test_a_map_by_tiles_is_the_map_at_once(wide, lookers, name, y, x, t):
    at_once = predict_map(wide, lookers[name]).compute()
    with no_compute():
        lazy = predict_map(wide.chunk(y=y, x=x, time=t), lookers[name])
    assert lazy["class"].chunks == lazy["prob"].chunks[1:]
    assert_same_map(lazy.compute(scheduler="synchronous"), at_once)


def test_a_map_by_tiles_is_made_in_several(wide, looker):
    """So that the test before can fail."""
    halo = looker.halo
    assert 0 < halo < 35
    assert len(predict_map(wide.chunk(y=35, x=45), looker)["class"].chunks[0]) == 2


def test_a_computed_tile_is_a_part_of_the_map(wide, looker, tmp_path):
    at_once = predict_map(wide, looker).compute()
    parts = {"y": slice(33, 70), "x": slice(13, 55)}
    for cube in (wide, stored(wide, tmp_path / "cube")):
        for edge in (16, 100):
            found = predict_tile(cube, looker, *parts.values(), edge)
            got = at_once.isel(parts)
            assert_same_map({key: got[key].copy(data=found[key]) for key in found}, got)


def test_a_computed_tile_of_a_series_model_is_a_part_of_its_map(cube, bundle):
    parts = {"y": slice(11, 30), "x": slice(2, 41)}
    got = predict_map(cube, bundle).isel(parts).compute()
    found = predict_tile(cube, bundle, *parts.values(), 8)
    assert_same_map({key: got[key].copy(data=found[key]) for key in found}, got)


def test_pixels_that_no_one_saw_stay_unknown_whatever_lies_around(wide, looker):
    got = predict_map(wide, looker).compute()
    dark = np.zeros(wide["label"].shape, bool)
    dark[:3, 7:20] = True
    np.testing.assert_array_equal(got["class"].values == 255, dark)
    np.testing.assert_array_equal((got["prob"].values == 255).all(axis=0), dark)


def test_samples_are_answered_as_the_map_is(wide, wide_samples, looker, monkeypatch):
    monkeypatch.setattr(predict, "_BLOCK", 32)
    rows = np.arange(wide_samples.sizes["sample"]) % 3 == 0
    whole = predict_window(wide, looker, slice(0, 70), slice(0, 90), calibrated=False)
    found = predict_rows(wide, looker, wide_samples, rows)
    assert found.dtype == np.float32
    at = wide_samples.isel(sample=rows)
    row = ((wide["y"].values[0] - at["y"].values) / 10).astype(int)
    col = ((at["x"].values - wide["x"].values[0]) / 10).astype(int)
    np.testing.assert_allclose(found, whole[:, row, col].T, atol=1e-5)
    soft = predict_window(wide, looker, slice(0, 70), slice(0, 90))
    assert np.nanmax(np.abs(soft - whole)) > 1e-3
    assert predict_rows(wide, looker, wide_samples, rows & False).shape == (0, N)
