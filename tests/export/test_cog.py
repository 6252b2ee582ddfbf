from __future__ import annotations

import re

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geocube_ml.errors import InputError
from geocube_ml.export.cog import to_cog

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

CLASSES = {
    "nodata": 255,
    "flag_values": [0, 2],
    "flag_meanings": "winter_wheat maize",
    "flag_colors": "#e8c547 #2f7d4f",
    "long_name": "land cover",
    "grid_mapping": "spatial_ref",
}


def cube_variable(values, attrs=None, dims=("y", "x"), name="class", **coords):
    grid = GeoBox.from_bbox(
        (400_000, 5_000_000, 400_000 + 10 * values.shape[-1], 5_000_000 + 10 * values.shape[-2]),
        "EPSG:32633",
        resolution=10,
    )
    return xr.DataArray(
        values, dims=dims, coords=dict(xr_coords(grid)) | coords, attrs=attrs or {}, name=name
    )


@pytest.fixture
def classes():
    values = np.random.default_rng(0).choice(np.uint8([0, 2, 255]), (1100, 700))
    return cube_variable(values, CLASSES)


@pytest.mark.parametrize("lazy", [False, True])
def test_values_crs_transform_and_nodata_come_back(classes, tmp_path, lazy):
    source = classes.chunk(y=300, x=256) if lazy else classes
    path = to_cog(source, tmp_path / "new" / "class.tif")
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(1), classes.values)
        assert src.crs.to_epsg() == 32633
        assert src.transform == classes.odc.geobox.transform
        assert src.nodata == 255
        assert src.dtypes == ("uint8",)


def test_the_file_is_laid_out_as_a_cog_with_overviews(classes, tmp_path):
    with rasterio.open(to_cog(classes, tmp_path / "class.tif")) as src:
        assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert src.overviews(1)[:1] == [2]
        assert src.block_shapes == [(512, 512)]


def test_classes_keep_their_colours_and_their_names(classes, tmp_path):
    with rasterio.open(to_cog(classes, tmp_path / "class.tif")) as src:
        table = src.colormap(1)
        assert table[0] == (0xE8, 0xC5, 0x47, 255)
        assert table[2] == (0x2F, 0x7D, 0x4F, 255)
        assert table[255][3] == 0
        tags = src.tags()
        assert tags["flag_meanings"] == "winter_wheat maize"
        assert tags["flag_values"] == "0 2"
        assert tags["long_name"] == "land cover"
        assert not {"nodata", "grid_mapping"} & set(tags)


def test_overviews_of_classes_hold_no_class_that_is_not_in_the_map(classes, tmp_path):
    path = to_cog(classes, tmp_path / "class.tif")
    with rasterio.open(path, OVERVIEW_LEVEL=0) as src:
        assert set(np.unique(src.read(1))) <= {0, 2, 255}


def test_overviews_of_quantities_are_averages_without_nodata(tmp_path):
    values = np.full((1024, 1024), 10, np.uint16)
    values[:, 1::2] = 20
    values[0, 0] = 0
    path = to_cog(cube_variable(values, {"nodata": 0}, name="red"), tmp_path / "red.tif")
    with rasterio.open(path, OVERVIEW_LEVEL=0) as src:
        overview = src.read(1)
    assert overview[0, 0] == 17  # of 20, 10 and 20; the fourth has no data
    assert (overview[1:] == 15).all()


def test_bands_are_named_and_scaled(tmp_path):
    values = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7)
    prob = cube_variable(
        values,
        {"scale_factor": 1 / 250, "nodata": 255, "units": "1"},
        ("class", "y", "x"),
        "prob",
        **{"class": ["winter wheat", "maize"]},
    )
    with rasterio.open(to_cog(prob.chunk(), tmp_path / "prob.tif")) as src:
        np.testing.assert_array_equal(src.read(), values)
        assert src.descriptions == ("winter wheat", "maize")
        assert src.scales == (1 / 250, 1 / 250)
        assert src.tags()["units"] == "1"


def test_months_name_bands_by_their_first_day(tmp_path):
    months = np.array(["2024-01", "2024-02"], "datetime64[ns]")
    red = cube_variable(np.ones((2, 4, 4), "uint16"), {}, ("time", "y", "x"), "red", time=months)
    with rasterio.open(to_cog(red, tmp_path / "red.tif")) as src:
        assert src.descriptions == ("2024-01-01", "2024-02-01")


def test_a_map_named_as_the_dimension_does_not_name_the_bands(tmp_path):
    """A cube holds `class` (y, x) and `prob` (class, y, x): xarray takes one for a coordinate."""
    cube = xr.Dataset({"prob": cube_variable(np.ones((2, 4, 4), "uint8"), {}, ("class", "y", "x"))})
    cube["class"] = cube_variable(np.zeros((4, 4), "uint8"))
    with rasterio.open(to_cog(cube["prob"], tmp_path / "prob.tif")) as src:
        assert src.descriptions == (None, None)


def test_tags_that_are_given_win(classes, tmp_path):
    path = to_cog(classes, tmp_path / "class.tif", tags={"long_name": "2024", "digest": "ab12"})
    with rasterio.open(path) as src:
        assert src.tags()["long_name"] == "2024"
        assert src.tags()["digest"] == "ab12"


def test_an_attribute_as_long_as_a_document_is_no_tag(classes, tmp_path):
    classes.attrs["history"] = "x" * 5000
    with rasterio.open(to_cog(classes, tmp_path / "class.tif")) as src:
        assert "history" not in src.tags()


@pytest.mark.parametrize("missing", ["spatial_ref", "everything"])
def test_a_variable_without_crs_is_refused_with_the_next_step(classes, tmp_path, missing):
    bare = (
        classes.drop_vars("spatial_ref")
        if missing == "spatial_ref"
        else xr.DataArray(classes.values, dims=("y", "x"), name="class")
    )
    for coord in bare.coords.values():
        coord.attrs.pop("crs", None)
    with pytest.raises(InputError, match=re.escape("class.odc.assign_crs(")):
        to_cog(bare, tmp_path / "class.tif")
    assert not list(tmp_path.iterdir())


def test_a_cube_with_bands_and_months_is_refused(tmp_path):
    both = cube_variable(
        np.zeros((2, 3, 4, 4), "uint8"), dims=("time", "band", "y", "x"), name="s2"
    )
    with pytest.raises(InputError, match=r"s2\.isel\(time=0\)"):
        to_cog(both, tmp_path / "s2.tif")


def test_a_class_without_a_colour_is_refused(classes, tmp_path):
    classes.attrs["flag_colors"] = "#e8c547"
    with pytest.raises(InputError, match="2 flag_values but 1 flag_colors"):
        to_cog(classes, tmp_path / "class.tif")


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(classes, tmp_path):
    def fail(block, block_info=None):
        if block_info[None]["chunk-location"][0] == 1:
            raise OSError("the disk went away")
        return block

    path = to_cog(classes, tmp_path / "class.tif")
    before = path.read_bytes()
    # cut where a strip of rows is, so that the first strip is written before the second fails
    lazy = da.from_array(classes.values, chunks=(1024, 700)).map_blocks(fail, dtype="uint8")
    with pytest.raises(OSError, match="the disk went away"):
        to_cog(classes.copy(data=lazy), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["class.tif"]
    assert path.read_bytes() == before
