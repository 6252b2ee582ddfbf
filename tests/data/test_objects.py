from __future__ import annotations

import json

import dask
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr

from geocube_ml.data.folds import trained_on
from geocube_ml.data.samples import NO_OBJECT, NO_PIXEL, gather_samples
from geocube_ml.data.sources import described, source_names
from geocube_ml.errors import InputError
from geocube_ml.kernels.sampling import blocks
from geocube_ml.models.network import one_thread
from geocube_ml.predict import predict_map
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import ForestSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.data.tables import table_of
from tests.seasons import LEFT, TOP, add_radar, add_terrain, make_cube

OBJECTS = SamplesSpec(unit="polygon", statistics=("mean", "std"), block_m=100)


@pytest.fixture(scope="module")
def cube():
    return make_cube()


@pytest.fixture(scope="module")
def labels(cube):
    return table_of(cube)


@pytest.fixture(scope="module")
def samples(cube, labels):
    return gather_samples(cube, OBJECTS, labels)


def test_a_field_cut_through_its_pixels_is_summed_up_as_by_hand(cube, labels):
    """The first field, 5 x 4 pixels: its corners count 9/16, its edges 3/4, the others whole."""
    got = gather_samples(cube, OBJECTS, labels).isel(sample=0)
    down, across = np.r_[0.75, 1, 1, 1, 0.75], np.r_[0.75, 1, 1, 0.75]
    share = np.outer(down, across)
    for month in range(cube.sizes["time"]):
        for band in range(3):
            value = cube["s2"].values[month, band, :5, :4]
            w = share * (value != 0)
            mean = (w * value).sum() / w.sum()
            std = np.sqrt((w * (value - mean) ** 2).sum() / w.sum())
            assert got["s2"].values[month, band] == pytest.approx(mean, rel=1e-6)
            assert got["s2_std"].values[month, band] == pytest.approx(std, rel=1e-5)
    assert (int(got["polygon"]), int(got["label"])) == (1, int(cube["label"][0, 0]))
    assert (float(got["x"]), float(got["y"])) == (LEFT + 20, TOP - 25)


def test_a_table_of_objects_has_a_row_each_and_fits_the_cube(cube, labels, samples):
    assert samples["polygon"].values.tolist() == labels["polygon"].tolist()
    assert samples["label"].values.tolist() == labels["code"].tolist()
    assert samples["s2"].dtype == samples["s2_std"].dtype == "float32"
    assert samples["s2_std"].dims == ("sample", "time", "s2_band")
    assert source_names(samples) == ["s2"]
    assert described(samples) == described(cube)
    assert samples["s2_std"].attrs["scale_factor"] == 1e-4
    assert np.isnan(samples["s2_std"].attrs["nodata"])
    np.testing.assert_array_equal(
        samples["block"], blocks(samples["x"].values, samples["y"].values, 100)
    )


def test_a_bundle_that_learnt_objects_maps_the_cube(cube, samples):
    with one_thread():
        bundle = train_model(samples, ForestSpec(trees=20))
        found = predict_map(cube, bundle)["class"].values
    known = cube["label"].values != UNKNOWN
    assert (found[known] == cube["label"].values[known]).mean() > 0.8


@pytest.mark.parametrize("chunk", [(7, 13), (16, 16), (40, 9)])
def test_objects_do_not_depend_on_the_chunks_and_each_is_read_once(labels, chunk):
    every = add_terrain(add_radar(make_cube()))
    reads = []

    def note(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"][2:]))
        return block

    lazy = every.chunk(time=-1, s2_band=-1, y=chunk[0], x=chunk[1])
    data = lazy["s2"].data
    noted = data.map_blocks(note, dtype=data.dtype, meta=data._meta)
    spec = OBJECTS.model_copy(update={"statistics": ("median", "mean", "std")})
    with dask.config.set(scheduler="synchronous"):
        got = gather_samples(lazy.assign(s2=lazy["s2"].copy(data=noted)), spec, labels)
    xr.testing.assert_identical(got, gather_samples(every, spec, labels))
    assert len(reads) == len(set(reads))
    assert {"s1_mean", "dem_std", "s2_std"} <= set(got)
    assert "add_offset" not in got["dem_std"].attrs
    assert got["dem_mean"].attrs["add_offset"] == 500


def test_ground_that_is_disputed_or_anothers_does_not_count(cube, labels):
    """A pixel wholly within a polygon that is not its own, and a part of another's."""
    taken = cube.copy(deep=True)
    taken["polygon"][1, 1], taken["label"][1, 1] = 0, UNKNOWN
    taken["polygon"][0, 0] = 2
    taken["s2"][:, :, 1, 1] = taken["s2"][:, :, 0, 0] = 60_000
    got = gather_samples(taken, OBJECTS, labels)
    assert got["s2"].values[0].max() < 10_000


def test_a_pixel_that_is_nobodys_counts_for_neither_of_two_that_overlap_there(cube, labels):
    """Neither covers all of the pixel (0, 4), and together they claim more than it has."""
    box = shapely.box(LEFT + 2.5, TOP - 47.5, LEFT + 47.5, TOP - 2.5)
    other = shapely.box(LEFT + 43, TOP - 47.5, LEFT + 77.5, TOP - 2.5)
    wide = labels.copy()
    wide.loc[[0, 1], "geometry"] = gpd.GeoSeries([box, other], index=[0, 1], crs=labels.crs)
    disputed = cube.copy(deep=True)
    disputed["polygon"][:5, 4], disputed["label"][:5, 4] = 0, UNKNOWN
    disputed["s2"][:, :, :5, 4] = 60_000
    got = gather_samples(disputed, OBJECTS, wide)
    assert got["s2"].values[:2].max() < 10_000
    later = wide.assign(layer=np.arange(len(wide)) % 2)
    layered = disputed.assign(
        {name: xr.concat([disputed[name]] * 2, "label_layer").assign_attrs(disputed[name].attrs)
         for name in ("label", "polygon")}
    )  # fmt: skip
    got = gather_samples(layered, OBJECTS, later)  # they hold at different times
    assert (got["s2"].values[:2].max(axis=(1, 2)) > 10_000).all()


def test_objects_are_as_far_apart_as_their_outlines(cube, labels, samples):
    shape = shapely.from_wkb(samples["outline"].values)
    assert shapely.equals(shape, labels.geometry.values).all()
    fold = samples["fold_block"].values
    away = np.array([shapely.distance(one, shape[fold == 0]).min() for one in shape])
    said = json.loads(samples.attrs["fold_distances"])["block"]["0"]
    near = [shapely.distance(one, shape[fold != 0]).min() for one in shape[fold == 0]]
    assert (said["min_m"], said["median_m"]) == (min(near), np.median(near)) == (15, 15)
    for gap in (15, 16, 60):
        used = trained_on(samples.assign_attrs(gap_m=gap))
        np.testing.assert_array_equal(used, (fold != 0) & (away >= gap))


def test_points_are_their_pixels(cube, labels):
    points = labels.copy()
    at = [shapely.Point(LEFT + 15, TOP - 15), shapely.MultiPoint([(LEFT + 55, TOP - 5)])]
    points.loc[[0, 1], "geometry"] = gpd.GeoSeries(at, index=[0, 1], crs=labels.crs)
    got = gather_samples(cube, OBJECTS, points)
    np.testing.assert_array_equal(got["s2"].values[0], cube["s2"].values[:, :, 1, 1])
    np.testing.assert_array_equal(got["s2"].values[1], cube["s2"].values[:, :, 0, 5])
    seen = cube["s2"].values[:, :, 1, 1] != 0
    assert (got["s2_std"].values[0][seen] == 0).all()
    assert np.isnan(got["s2_std"].values[0][~seen]).all()
    assert (float(got["x"][1]), float(got["y"][1])) == (LEFT + 55, TOP - 5)


def test_what_is_no_object_is_listed(labels):
    cube = make_cube(background=3)
    far = labels.iloc[[0]].assign(polygon=900, geometry=labels.translate(1e6, 0).iloc[[0]])
    got = gather_samples(cube, OBJECTS, pd.concat([labels, far]))
    assert (got["polygon"] > 0).all()
    n = int((cube["polygon"] == 0).sum())
    assert json.loads(got.attrs["left_out"]) == {
        NO_OBJECT: {"labels": 1, "samples": n}, NO_PIXEL: {"labels": 1, "samples": 1},
    }  # fmt: skip


def test_what_objects_need_is_said(cube, labels):
    with pytest.raises(InputError, match=r"`unit: polygon` needs the shapes.*labels\.parquet"):
        gather_samples(cube, OBJECTS)
    with pytest.raises(InputError, match=r"needs the labels' geometry"):
        gather_samples(cube, OBJECTS, pd.DataFrame(labels.drop(columns="geometry")))
    far = labels.assign(geometry=labels.translate(1e6, 0))
    with pytest.raises(InputError, match=r"No labelled polygon has a pixel in the cube"):
        gather_samples(cube, OBJECTS, far)


def test_labels_of_several_layers_have_their_own_pixels(cube, labels):
    """The same field, another year, another class: the second layer's own polygon."""
    number = int(labels["polygon"].max()) + 1
    again = labels.iloc[[0]].assign(polygon=number, layer=1, code=3)
    layered = cube.copy()
    for name, fill in (("label", UNKNOWN), ("polygon", 0)):
        second = xr.full_like(cube[name], fill)
        second[:5, :4] = 3 if name == "label" else number
        layered[name] = xr.concat([cube[name], second], "label_layer").assign_attrs(
            cube[name].attrs
        )
    got = gather_samples(layered, OBJECTS, pd.concat([labels, again]))
    np.testing.assert_array_equal(got["s2"].values[0], got["s2"].values[-1])
    assert got["label"].values[-1] == 3
    pixels = gather_samples(layered, SamplesSpec(block_m=100), pd.concat([labels, again]))
    assert (pixels["polygon"].values == number).sum() == 20
