"""Values, dates, rings and rasters as others write them, and sources that lose their labels."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from geocube_ml.errors import InputError, SpecError
from geocube_ml.grid import make_grid
from geocube_ml.labels.hull import labels_hull
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.spec.grid import GridSpec
from geocube_ml.spec.labels import LabelsSpec

LEFT, BOTTOM = 500_000, 5_000_000


@pytest.fixture
def file(tmp_path):
    def made(shapes, name="l.gpkg", **columns):
        path = tmp_path / name
        gpd.GeoDataFrame(columns, geometry=list(shapes), crs=32633).to_file(path)
        return {"path": str(path), "class_column": "crop"}

    return made


@pytest.fixture
def raster(tmp_path):
    def made(pixels, **spec):
        path = tmp_path / "classes.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=100, width=100, count=1, dtype=pixels.dtype,
            crs=32633, transform=rasterio.Affine(10, 0, LEFT, 0, -10, BOTTOM + 1000),
        ) as dst:  # fmt: skip
            dst.write(pixels, 1)
        return {"path": str(path)} | spec

    return made


def read(*sources, grid, **spec):
    return read_labels(LabelsSpec(sources=sources, **{"inset_m": 0} | spec), grid)


def test_a_source_of_which_no_label_is_left_keeps_its_ground(file, square, grid):
    sure = file([square(100, 100, 15)], "sure.gpkg", crop=["a"])
    other = file([square(0, 0, 400)], "other.gpkg", crop=["b"])
    labels = read(sure, other, grid=grid, inset_m=10, empty_class="drop")
    assert labels.frame["class"].tolist() == ["b"]
    pixels = rasterize_labels(labels, grid)["label"].values
    assert (pixels[-12:-10, 10:12] == 255).any()
    assert (pixels == 0).sum() == labels.frame["n_pixel"].sum() < 38**2


def test_what_an_earlier_raster_has_is_not_counted_for_a_polygon(file, raster, square, grid):
    values = np.zeros((100, 100), np.uint8)
    values[-30:, :30] = 1
    mask = raster(values, class_name="water")
    other = file([square(100, 100), square(600, 600)], crop=["b", "b"])
    labels = read(mask, other, grid=grid)
    assert labels.frame["feature"].tolist() == [1]
    reasons = labels.problems[labels.problems["feature"] == 0]["reason"].tolist()
    assert reasons == ["no pixel of its own has its centre inside"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
def test_class_rasters_of_any_whole_numbers_are_read(raster, grid, dtype):
    values = np.zeros((100, 100), dtype)
    values[:50], values[50:] = 1, 2
    labels = read(raster(values, values={1: "a", 2: "b"}), grid=grid)
    pixels = rasterize_labels(labels, grid)["label"].values
    np.testing.assert_array_equal(pixels, values - 1)


def test_open_ends_far_in_the_future_stay_there(file, square, grid):
    shapes = [square(0, 0), square(200, 0), square(400, 0)]
    source = file(
        shapes, crop=["a"] * 3, since=["2022-01-01", "0001-01-01", "2020"],
        until=["9999-12-31", "2022-12-31", "2021"],
    ) | {"valid_from": "since", "valid_to": "until"}  # fmt: skip
    labels = read(source, grid=grid)
    assert labels.problems.empty
    assert labels.frame["valid_to"].dt.year.tolist() == [2262, 2022, 2021]
    assert labels.frame["valid_from"].dt.year.tolist() == [2022, 1678, 2020]
    columns = pd.Series(np.array(["9999-12-31", "2022-03-01"], "datetime64[ms]"))
    frame = gpd.GeoDataFrame({"crop": ["a", "a"], "until": columns}, geometry=shapes[:2], crs=32633)
    frame.to_parquet(source["path"].replace(".gpkg", ".parquet"))
    stored = source | {"path": source["path"].replace(".gpkg", ".parquet")}
    del stored["valid_from"]
    assert read(stored, grid=grid).frame["valid_to"].dt.year.tolist() == [2262, 2022]


def test_a_ring_that_is_not_closed_is_listed(tmp_path, square, grid):
    def feature(ring):
        return {"type": "Feature", "properties": {"crop": "a"},
                "geometry": {"type": "Polygon", "coordinates": [ring]}}  # fmt: skip

    there = gpd.GeoSeries([square(0, 0)], crs=32633).to_crs(4326)[0]
    good = [list(at) for at in shapely.get_coordinates(there)]
    path = tmp_path / "l.geojson"
    features = [feature(good), feature(good[:-1]), feature(good[:2])]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read({"path": str(path), "class_column": "crop"}, grid=grid)
    assert 0 in labels.frame["feature"].tolist()
    assert set(labels.problems["feature"]) == {1, 2}
    assert (labels.problems[labels.problems["feature"] == 2]["done"] == "left out").all()


def test_curves_are_read(tmp_path, grid):
    ring = f"{LEFT} {BOTTOM}, {LEFT + 400} {BOTTOM}, {LEFT + 400} {BOTTOM + 400}"
    path = tmp_path / "l.csv"
    path.write_text(f'crop,WKT\na,"CURVEPOLYGON(COMPOUNDCURVE(({ring}),'
                    f'CIRCULARSTRING({LEFT + 400} {BOTTOM + 400}, {LEFT + 100} {BOTTOM + 300}, '
                    f'{LEFT} {BOTTOM})))"\n')  # fmt: skip
    path.with_suffix(".prj").write_text("")
    with pytest.raises(InputError, match="has no CRS"):
        read({"path": str(path), "class_column": "crop"}, grid=grid)


def test_whole_numbers_that_gdal_wrote_as_texts_are_one_class(tmp_path, square, grid):
    shapes = gpd.GeoSeries([square(200 * i, 0) for i in range(4)], crs=32633).to_crs(4326)
    features = [
        {
            "type": "Feature",
            "properties": {"crop": value},
            "geometry": shapely.geometry.mapping(one),
        }
        for value, one in zip([3, 3.0, "3", "x"], shapes, strict=True)
    ]
    path = tmp_path / "l.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    labels = read({"path": str(path), "class_column": "crop"}, grid=grid)
    assert labels.frame["class"].tolist() == ["3", "3", "3", "x"]


@pytest.mark.parametrize("name", ["inside", "dropped", "label"])
def test_a_kept_column_cannot_be_called_as_ours(name):
    with pytest.raises(SpecError, match=name):
        LabelsSpec.read(
            {"path": "l.gpkg", "class_column": "crop", "columns": [name]}, where="labels"
        )


def test_ground_that_a_person_dropped_is_free_for_later_sources(file, square, grid):
    first = file([square(0, 0), square(500, 0)], "one.gpkg", crop=["a", "a"],
                 decision=["drop", ""], decision_class=["", ""])  # fmt: skip
    other = file([square(0, 0, 200)], "two.gpkg", crop=["b"])
    labels = read(first, other, grid=grid)
    assert labels.frame["n_pixel"].tolist() == [100, 400]


def test_metres_that_are_said_to_be_degrees_are_told(tmp_path):
    ring = [[LEFT, BOTTOM], [LEFT + 500, BOTTOM], [LEFT, BOTTOM + 500], [LEFT, BOTTOM]]
    path = tmp_path / "l.geojson"
    path.write_text(json.dumps({
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"crop": "a"},
                      "geometry": {"type": "Polygon", "coordinates": [ring]}}],
    }))  # fmt: skip
    hull = labels_hull(LabelsSpec(path=str(path), class_column="crop"))
    with pytest.raises(InputError, match="these are metres"):
        make_grid(GridSpec(resolution=10), area=hull)
