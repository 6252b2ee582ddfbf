"""The area to map, as a file says it."""

from __future__ import annotations

import re

import geopandas as gpd
import numpy as np
import pytest
import shapely

from geocube_ml.errors import InputError, MissingError
from geocube_ml.files import place
from geocube_ml.labels.boundary import read_boundary
from geocube_ml.spec.storage import StorageSpec

UTM = "EPSG:32633"
BOW_TIE = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])


def write(path, shapes, crs=UTM, layer=None):
    frame = gpd.GeoDataFrame(geometry=list(shapes), crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, **({} if layer is None else {"layer": layer}))
    return str(path)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.parquet", "a.shp"])
def test_the_area_is_the_union_of_the_polygons(tmp_path, name):
    crs = "EPSG:4326" if name.endswith("json") else UTM  # a GeoJSON is in degrees
    boxes = [shapely.box(0, 0, 2, 2), shapely.box(1, 0, 3, 2), shapely.box(5, 5, 6, 6)]
    found = read_boundary(write(tmp_path / name, boxes, crs))
    assert found.crs == crs
    assert found.geom.equals(shapely.union_all(boxes))


def test_rings_that_cross_themselves_are_mended_and_told(tmp_path, caplog):
    found = read_boundary(write(tmp_path / "a.gpkg", [BOW_TIE, None, shapely.Polygon()]))
    assert found.geom.is_valid
    assert found.geom.area == pytest.approx(2)
    assert "2 features of the boundary" in caplog.text
    assert "1 of the 1 polygons" in caplog.text
    assert "Self-intersection" in caplog.text


def test_a_boundary_is_read_as_labels_are(tmp_path):
    path = tmp_path / "a.gdb"
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 2, 2)], crs=UTM).to_file(
        path, driver="OpenFileGDB"
    )
    assert read_boundary(str(path)).geom.area == pytest.approx(4, rel=1e-3)


def test_a_boundary_lies_in_a_store_too(tmp_path, s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    folder = f"s3://{s3.bucket()}"
    storage = StorageSpec(s3={folder: {"endpoint_url": s3.endpoint_url}})
    write(tmp_path / "a.shp", [shapely.box(0, 0, 2, 2)])
    for path in tmp_path.glob("a.*"):
        place(f"{folder}/{path.name}", storage).write_bytes(path.read_bytes())
    assert read_boundary(f"{folder}/a.shp", None, storage).geom.area == 4


def test_one_of_several_layers_is_named(tmp_path):
    path = tmp_path / "a.gpkg"
    write(path, [shapely.box(0, 0, 1, 1)], layer="country")
    write(path, [shapely.box(0, 0, 3, 3)], layer="coast")
    assert read_boundary(str(path), "coast").geom.area == 9
    with pytest.raises(InputError, match=r"2 layers: .*grid\.boundary_layer"):
        read_boundary(str(path))
    with pytest.raises(InputError, match=r"no layer 'sea'; it has (country, coast|coast, country)"):
        read_boundary(str(path), "sea")


with np.errstate(invalid="ignore"):
    NAN = shapely.from_wkt("POLYGON ((0 0, 1 NaN, 1 1, 0 0))")


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([shapely.LineString([(0, 0), (1, 1)])], "holds LineString, but only polygons"),
        ([shapely.box(0, 0, 1, 1), shapely.Point(0, 0)], "holds Point, but only polygons"),
        ([None, shapely.Polygon()], "no features with a geometry"),
        ([], "has no features"),
        ([shapely.Polygon([(0, 0), (1, 1), (0, 0)])], "have no area"),
        ([NAN], "coordinates that are not numbers"),
    ],
)
def test_what_has_no_area_is_no_boundary(tmp_path, shapes, said):
    with pytest.raises(InputError, match=said) as caught:
        read_boundary(write(tmp_path / "a.parquet", shapes))
    assert "grid.boundary" in str(caught.value)


def test_a_boundary_without_a_crs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no CRS.*set_crs"):
        read_boundary(write(tmp_path / "a.parquet", [shapely.box(0, 0, 1, 1)], crs=None))


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.parquet", "a.shp", "a.txt"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r" is empty: it has 0 bytes.*`grid\.boundary`"),
        (b"not a boundary", " cannot be read.*polygons"),
    ],
)
def test_a_file_of_something_else_is_no_boundary(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(path)) + said):
        read_boundary(str(path))


def test_a_boundary_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingError, match=r"Correct `grid\.boundary`"):
        read_boundary(str(tmp_path / "a.gpkg"))
