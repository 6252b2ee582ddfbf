"""Files that state another nodata than the sensor: said once, and refused where pixels clash."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from geocube_ml.run import main
from geocube_ml.store.cube import open_cube
from tests.steps.conftest import tree

EDGE = 512


@pytest.fixture
def layer(tmp_path):
    """Write a raster of 1 to 9 that states -1, which is missing in a corner; and its recipe."""

    def made(change=None, *, nodata=0, dtype="int16", mask=None):
        values = np.random.default_rng(0).integers(1, 10, (EDGE, EDGE)).astype(dtype)
        values[:50, :50] = -1
        if change:
            change(values)
        profile = {"driver": "GTiff", "width": EDGE, "height": EDGE, "count": 1, "nodata": -1}
        place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
        (tmp_path / "files").mkdir(exist_ok=True)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(tmp_path / "files/a.tif", "w", dtype=dtype, **profile, **place) as dst,
        ):
            dst.write(values, 1)
            if mask is not None:
                dst.write_mask(mask)
        sensor = {"bands": {"v": "image"}, "static": True, "dtype": dtype, "nodata": nodata}
        bounds = [500_000, 5_000_000 - 10 * EDGE, 500_000 + 10 * EDGE, 5_000_000]
        recipe = {
            "name": "layer", "out": str(tmp_path / "out"),
            "sources": {"soil": {"sensor": sensor, "items": {"files": str(tmp_path / "files")}}},
            "grid": {"crs": "EPSG:32633", "resolution": 10, "bounds": bounds},
            "store": {"chunk": 64, "shard": 256, "tile": 256},
        }  # fmt: skip
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path, values

    return made


def told(caplog):
    """What is said of the nodata of files."""
    return [r.getMessage() for r in caplog.records if "the files state the nodata" in r.message]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_the_files_own_nodata_counts_and_that_is_said_once(layer, tmp_path, caplog, dtype):
    path, values = layer(dtype=dtype)
    with caplog.at_level(logging.WARNING):
        assert main([str(path)]) == 0
    (said,) = told(caplog)
    assert said.startswith("soil: the files state the nodata -1 (band v), the sensor says 0.")
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    np.testing.assert_array_equal(cube["soil"].values[0], np.where(values == -1, 0, values))
    assert cube["soil"].attrs["files_nodata"] == "-1 (band v), stored as 0"

    (tmp_path / "out/records/cube/done.json").unlink()
    caplog.clear()
    before = tree(tmp_path / "out/cube.zarr")
    assert main([str(path)]) == 0
    assert not told(caplog)
    assert tree(tmp_path / "out/cube.zarr") == before


@pytest.mark.parametrize("nodata", [-1, float("nan")])
def test_nothing_is_said_where_both_agree_or_nan_is_meant(layer, tmp_path, caplog, nodata):
    path, _ = layer(nodata=nodata, dtype="float32")
    assert main([str(path)]) == 0
    noted = "files_nodata" in open_cube(tmp_path / "out/cube.zarr")["soil"].attrs
    assert noted == (nodata != -1)  # NaN is another value, though no pixel can clash with it
    assert bool(told(caplog)) == noted


def test_data_of_the_sensors_nodata_are_refused_before_the_first_tile(layer, tmp_path, capsys):
    def zeros(values):
        values[100:200, 100:200] = 0

    path, _ = layer(zeros)
    assert main([str(path)]) == 2
    said = capsys.readouterr().err
    assert "Item a, asset image, at a coarse look: " in said
    assert "pixels of the value 0" in said
    assert "which is the sensor's `nodata`" in said
    assert "states the nodata -1" in said
    assert "State `nodata: -1` in the sensor" in said
    assert not (tmp_path / "out/cube.zarr").exists()

    path, values = layer(zeros, nodata=-1)  # as the text advises
    assert main([str(path)]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    np.testing.assert_array_equal(cube["soil"].values[0], values)


def test_a_single_pixel_that_no_coarse_look_shows_is_refused_by_its_tile(layer, capsys):
    def zero(values):
        values[303, 403] = 0

    path, _ = layer(zero)
    assert main([str(path)]) == 3
    said = capsys.readouterr().err
    assert "1 of 4 tiles" in said
    assert "has pixels of the value 0 (1 in what is read)" in said


def test_what_a_mask_hides_does_not_clash(layer, tmp_path):
    mask = np.full((EDGE, EDGE), 255, "uint8")
    mask[100:200, 100:200] = 0

    def zeros(values):
        values[100:200, 100:200] = 0

    path, _ = layer(zeros, mask=mask)
    assert main([str(path)]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    assert not cube["soil"].values[0, 100:200, 100:200].any()
    assert cube["soil"].values[0, 200:, 200:].all()
