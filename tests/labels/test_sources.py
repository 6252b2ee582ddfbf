"""Several sources, points, rasters, validity, weights, and what people decided."""

import datetime as dt
import json
import shutil
import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from geocube_ml.errors import GeocubeError, InputError, MissingError
from geocube_ml.grid import area_on, make_grid
from geocube_ml.labels.classes import check_labels
from geocube_ml.labels.hull import labels_hull
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.problems import DONE
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import ClassSpec, LabelsSpec

LEFT, BOTTOM = 500_000, 5_000_000


@pytest.fixture
def file(tmp_path):
    """Write shapes with columns; returns the source that names the file."""

    def made(shapes, name="l.parquet", *, crs=32633, to=None, spec=None, **columns):
        frame = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
        frame = frame if to is None else frame.to_crs(to)
        path = tmp_path / name
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
        return {"path": str(path), "class_column": "crop"} | (spec or {})

    return made


@pytest.fixture
def raster(tmp_path):
    """Write an array of 100 x 100 pixels over the grid; returns the source that names the file."""

    def made(values, name="l.tif", *, crs=32633, nodata=None, tags=None, left=LEFT, **spec):
        profile = {
            "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1,
            "dtype": values.dtype, "crs": crs, "nodata": nodata,
            "transform": rasterio.Affine(10, 0, left, 0, -10, BOTTOM + 1000),
        }  # fmt: skip
        with rasterio.open(tmp_path / name, "w", **profile) as dst:
            dst.write(values, 1)
            dst.update_tags(**(tags or {}))
        return {"path": str(tmp_path / name)} | spec

    return made


def labelled(*sources, grid, **spec):
    return read_labels(LabelsSpec(sources=sources, **{"inset_m": 0} | spec), grid)


def told(labels):
    """(feature, reason, done) of each problem."""
    table = labels.problems[["feature", "reason", "done"]].fillna({"feature": -1})
    return list(table.itertuples(index=False, name=None))


# -- several sources ------------------------------------------------------------------------


def test_the_earlier_source_wins_and_both_crs_are_right(file, square, grid):
    sure = file([square(0, 0, 200)], "sure.gpkg", to=4326, crop=["a"])
    other = file([square(100, 0, 200), square(500, 0)], "other.parquet", to=3857, crop=["b", "a"])
    labels = labelled(sure, other, grid=grid)
    assert labels.frame["source"].tolist() == [0, 1, 1]
    assert labels.frame["feature"].tolist() == [0, 0, 1]
    assert labels.frame["n_pixel"].tolist() == [400, 200, 100]
    assert labels.problems.empty
    assert labels.classes.names == ("a", "b")
    assert labels.hull.bounds == pytest.approx((LEFT, BOTTOM, LEFT + 600, BOTTOM + 200), abs=0.1)
    assert len(labels.taken) == 3


def test_a_source_has_values_of_its_own_before_those_of_the_classes(file, square, grid):
    shapes = [square(200 * i, 0) for i in range(4)]
    one = file(shapes, "one.gpkg", crop=[1, 2, 3, 4], spec={"values": {1: "rye", "3": None}})
    two = file([square(0, 500)], "two.gpkg", crop=["m"])
    del two["class_column"]
    two["class_name"] = "maize"
    classes = [ClassSpec(name="maize", values=[1, 2]), ClassSpec(name="rye", values=["r"])]
    labels = labelled(one, two, grid=grid, classes=classes)
    assert labels.frame["class"].tolist() == ["rye", "maize", "maize"]
    assert told(labels) == [
        (2, "a class that the recipe leaves out", "left out"),
        (3, "a class that the recipe leaves out", "left out"),
    ]
    check_labels(LabelsSpec(sources=(one, two), classes=classes))


def test_all_sources_are_checked_for_the_classes(file, square):
    one = file([square(0, 0)], "one.gpkg", crop=["a"])
    two = file([square(0, 0)], "two.gpkg", crop=["b"])
    classes = [ClassSpec(name=name) for name in "abc"]
    check_labels(LabelsSpec(sources=(one, two), classes=classes[:2]))
    with pytest.raises(InputError, match=r"no polygon of c: .*one.gpkg, 'crop' holds a; .*two"):
        check_labels(LabelsSpec(sources=(one, two), classes=classes))


# -- points ---------------------------------------------------------------------------------


def test_points_label_the_pixel_that_they_lie_in(file, square, grid):
    at = [(12, 17), (15, 11), (501, 501), (505, 505), (805, 805), (801, 809)]
    points = [shapely.Point(LEFT + x, BOTTOM + y) for x, y in at]
    shapes = [*points, square(200, 200), shapely.Point(LEFT + 250, BOTTOM + 250)]
    source = file(shapes, crop=["a", "a", "a", "b", "b", "b", "a", "b"])
    labels = labelled(source, grid=grid, inset_m=20)
    assert labels.frame["feature"].tolist() == [0, 4, 6]
    assert labels.frame["n_pixel"].tolist() == [1, 1, 35]  # one pixel of the square is disputed
    lost = "its pixel is disputed, or another label has it"
    assert [one for one in told(labels) if one[2] == "left out"] == [
        (1, lost, "left out"), (2, lost, "left out"), (3, lost, "left out"),
        (5, lost, "left out"), (7, lost, "left out"),
    ]  # fmt: skip
    disputed = labels.problems[labels.problems["done"] == "unlabelled"]
    assert disputed["feature"].tolist() == [2, 6]
    assert disputed["area_m2"].tolist() == [100, 100]
    label = rasterize_labels(labels, grid).label.to_numpy()
    assert (label[98, 1], label[49, 50], label[19, 80]) == (0, 255, 1)


# -- validity -------------------------------------------------------------------------------


def test_days_are_read_from_texts_dates_and_numbers(file, square, grid):
    shapes = [square(150 * i, 0) for i in range(6)]
    source = file(
        shapes, crop=list("aaaaaa"),
        start=["2022-03-01", "2022-03", "2022", None, "soon", "2023-01-01"],
        end=pd.to_datetime(
            ["2022-06-30 14:00", "2022-06-30 00:00", None, None, None, "2022-01-01 00:00"]
        ),
        spec={"valid_from": "start", "valid_to": "end"},
    )  # fmt: skip
    labels = labelled(source, grid=grid)
    assert labels.frame["feature"].tolist() == [0, 1, 2, 3]
    days = ["2022-03-01", "2022-03-01", "2022-01-01", None]
    assert labels.frame["valid_from"].tolist() == pd.to_datetime(days).tolist()
    assert labels.frame["valid_to"].dtype == "datetime64[ns]"
    assert labels.frame["valid_to"][0] == pd.Timestamp("2022-06-30")
    assert told(labels) == [
        (4, "'start' is no date", "left out"),
        (5, "its validity ends before it begins", "left out"),
    ]
    whole = source | {"valid_from": "2021", "valid_to": dt.date(2021, 12, 31)}
    frame = labelled(whole, grid=grid).frame
    assert (frame["valid_from"] == pd.Timestamp("2021-01-01")).all()
    assert (frame["valid_to"] == pd.Timestamp("2021-12-31")).all()


def test_labels_of_different_years_lie_in_layers_and_dispute_nothing(file, square, grid):
    shapes = [square(0, 0, 200), square(100, 0, 200), square(150, 0, 200), square(600, 0)]
    source = file(
        shapes, crop=["a", "b", "c", "a"], year=[2020, 2021, 2021, 2021],
        spec={"valid_from": "year", "valid_to": "year", "columns": ["year"]},
    )  # fmt: skip
    labels = labelled(source, grid=grid)
    assert labels.frame["layer"].tolist() == [0, 1, 1, 0]
    assert labels.n_layer == 2
    assert labels.frame["year"].tolist() == [2020, 2021, 2021, 2021]
    assert labels.frame["n_pixel"].tolist() == [400, 100, 100, 100]
    assert labels.disputed["layer"].tolist() == [1]
    assert told(labels) == [(1, "disputed by feature 2 (c); left unlabelled", "unlabelled")]
    assert labels.problems["area_m2"].tolist() == [150 * 200]


def test_a_duplicate_of_another_year_is_none(file, square, grid):
    source = file(
        [square(0, 0)] * 3, crop=["a"] * 3, year=[2020, 2021, 2020],
        spec={"valid_from": "year", "valid_to": "year"},
    )  # fmt: skip
    labels = labelled(source, grid=grid)
    assert labels.frame["layer"].tolist() == [0, 1]
    assert told(labels) == [(2, "a duplicate of feature 0", "left out")]


# -- weights, columns, decisions ------------------------------------------------------------


def test_weights_are_numbers_of_at_least_0(file, square, grid):
    shapes = [square(150 * i, 0) for i in range(6)]
    source = file(
        shapes, crop=list("aaaaaa"), w=["1.5", "0", None, "-1", "inf", "much"],
        spec={"weight": "w"},
    )  # fmt: skip
    labels = labelled(source, grid=grid)
    assert labels.frame["weight"].tolist() == [1.5, 0, 1]
    assert labels.frame["weight"].dtype == "float32"
    bad = "'w' is no weight (a number of at least 0)"
    assert sorted(told(labels)) == [
        (2, "no weight, counted as 1", "kept"),
        *((at, bad, "left out") for at in (3, 4, 5)),
    ]


def test_kept_columns_are_there_for_each_source(file, square, grid):
    region = {"columns": ["region"]}
    one = file([square(0, 0)], "one.gpkg", crop=["a"], region=["east"], spec=region)
    two = file([square(200, 0)], "two.gpkg", crop=["a"], year=[7], spec={"columns": ["year"]})
    frame = labelled(one, two, grid=grid).frame
    assert frame["region"].tolist() == ["east", None]
    assert frame["year"].tolist() == [None, 7]


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ({"columns": ["regin"]}, r"no column 'regin'.*Did you mean 'region'.*labels.columns"),
        ({"weight": "wight"}, r"no column 'wight'.*Did you mean 'weight'.*labels.weight"),
        ({"valid_from": "strt"}, r"no column 'strt'.*Did you mean 'start'.*labels.valid_from"),
    ],
)
def test_a_column_that_is_not_there_is_told_with_the_key(file, square, grid, said, key):
    source = file([square(0, 0)], crop=["a"], region=["x"], weight=[1.0], start=["2022"], spec=said)
    for look in (check_labels, lambda spec: read_labels(spec, grid)):
        with pytest.raises(InputError, match=key):
            look(LabelsSpec(sources=(source,)))


def test_what_people_decided_is_done_and_listed(file, square, grid):
    shapes = [square(150 * i, 0) for i in range(5)]
    decided = {
        "decision": ["keep", "drop", "relabel", None, ""],
        "decision_class": [None, None, "b", None, None],
    }
    labels = labelled(file(shapes, crop=list("aaaab"), **decided), grid=grid)
    assert labels.frame["feature"].tolist() == [0, 2, 3, 4]
    assert labels.frame["class"].tolist() == ["a", "b", "a", "b"]
    assert told(labels) == [
        (1, "a person decided to drop it", "left out"),
        (2, "a person decided for b", "relabelled"),
    ]
    assert len(labels.taken) == 4  # what was dropped says nothing of the ground
    assert set(labels.problems["done"]) <= set(DONE)


@pytest.mark.parametrize(
    ("decision", "name", "said"),
    [
        ("maybe", None, r"'decision' holds 'maybe' in feature 1; it may hold keep, drop, relabel"),
        ("relabel", None, r"'decision_class' is empty, in feature 1"),
        ("relabel", "z", r"'decision_class' holds z, which is no class; there are a, b\."),
    ],
)
def test_decisions_that_are_not_known_are_refused(file, square, grid, decision, name, said):
    source = file(
        [square(0, 0), square(200, 0), square(400, 0)], crop=["a", "a", "b"],
        decision=[None, decision, None], decision_class=[None, name, None],
    )  # fmt: skip
    spec = LabelsSpec(sources=(source,), classes=["a", "b"], inset_m=0)
    for look in (check_labels, lambda spec: read_labels(spec, grid)):
        with pytest.raises(InputError, match=said):
            look(spec)


# -- rasters --------------------------------------------------------------------------------


def codes(*spans):
    """100 x 100 zeros, with a value in some rows each."""
    values = np.zeros((100, 100), np.uint8)
    for first, last, value in spans:
        values[first:last] = value
    return values


def test_a_raster_of_classes_is_a_source(raster, grid):
    source = raster(codes((0, 20, 3), (20, 50, 5), (50, 60, 9)))
    classes = [ClassSpec(name="rye", values=[5]), ClassSpec(name="maize", values=[3])]
    labels = labelled(source, grid=grid, classes=classes)
    (one,) = labels.rasters
    assert one.table == {3: 1, 5: 0}
    assert (one.polygon, one.band, one.nodata, one.weight) == (-1, 1, None, 1.0)
    assert labels.frame.empty
    assert told(labels) == [(-1, "a class that the recipe leaves out", "left out")]
    assert labels.problems["class"].tolist() == ["9"]
    assert labels.problems["area_m2"].tolist() == [10 * 100 * 100]
    label = rasterize_labels(labels, grid).label.to_numpy()
    assert (label[:20] == 1).all()
    assert (label[20:50] == 0).all()
    assert (label[50:] == 255).all()
    hull = labels_hull(LabelsSpec(sources=(source,)))
    assert hull.boundingbox.bbox == (LEFT, BOTTOM, LEFT + 1000, BOTTOM + 1000)


def test_a_raster_says_its_names_itself(raster, grid):
    named = {"flag_values": "0 1", "class_names": json.dumps(["winter rye", "maize"])}
    ours = raster(codes((0, 20, 1)), tags=named, nodata=255)
    assert labelled(ours, grid=grid).classes.names == ("maize", "winter rye")
    bare = labelled(raster(codes((0, 20, 1), (20, 30, 7))), grid=grid)
    assert bare.classes.names == ("1", "7")  # a 0 is none


def test_a_raster_has_its_names_beside_it(raster, grid, tmp_path):
    source = raster(codes((0, 20, 1), (20, 30, 2)))
    names = "".join(f"<Category>{name}</Category>" for name in ("", "rye", "oats"))
    (tmp_path / "l.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames>'
        "</PAMRasterBand></PAMDataset>"
    )
    assert labelled(source, grid=grid).classes.names == ("oats", "rye")


def test_a_mask_is_of_one_class_and_yields_to_polygons(raster, file, square, grid):
    mask = raster(codes((0, 50, 1), (50, 60, 200)), class_name="crop", valid_to="2022", weight=0.5)
    polygon = file([square(0, 900)], crop=["wood"])
    labels = labelled(polygon, mask, grid=grid)
    assert labels.classes.names == ("crop", "wood")
    assert set(labels.rasters[0].table) == {1, 200}
    assert labels.rasters[0].polygon == -2
    assert labels.rasters[0].valid_to == np.datetime64("2022-12-31")
    burnt = rasterize_labels(labels, grid)
    assert (burnt.label.to_numpy()[:10, :10] == 1).all()
    assert (burnt.polygon.to_numpy() == -2).sum() == 60 * 100 - 100
    assert labels.n_layer == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((100, 100), np.complex64), r"complex64 numbers, but a raster of classes holds"),
        (np.full((100, 100), 1.5, np.float32), r"l\.tif holds the number 1\.5; a raster"),
        (
            np.full((100, 100), -3.4e38, np.float32),
            r"the number -3\.39\d*e\+38; .*nodata",
        ),
        (np.arange(10_000, dtype=np.uint16).reshape(100, 100), r"more than 4096 different values"),
        (np.arange(10_000, dtype=np.uint16).reshape(100, 100) % 300, r"at most 254 classes"),
    ],
)
def test_a_raster_that_holds_no_classes_is_refused(raster, grid, values, said):
    with pytest.raises(InputError, match=said):
        labelled(raster(values), grid=grid)


@pytest.mark.parametrize("nodata", [None, -9999.0, np.nan])
def test_whole_numbers_may_be_floats_and_nan_is_none(raster, grid, nodata):
    values = codes((0, 20, 3), (20, 50, 5)).astype(np.float32)
    values[10:30] = np.nan
    values[40:45] = np.nan if nodata is None else nodata
    source = raster(values, nodata=nodata)
    check_labels(LabelsSpec(sources=(source,), classes=["3", "5"]))
    labels = labelled(source, grid=grid, classes=["3", "5"])
    assert labels.rasters[0].table == {3: 0, 5: 1}
    assert labels.problems["class"].tolist() == ([] if nodata is None else ["0"])
    label = rasterize_labels(labels, grid).label.to_numpy()
    rows = np.repeat(np.uint8([0, 255, 1, 255, 1, 255]), [10, 20, 10, 5, 5, 50])
    np.testing.assert_array_equal(label, np.broadcast_to(rows[:, None], label.shape))


def test_a_raster_without_a_crs_or_elsewhere_is_refused(raster, grid):
    with pytest.raises(InputError, match=r"has no CRS"):
        check_labels(LabelsSpec(sources=(raster(codes((0, 20, 1)), crs=None),)))
    with pytest.raises(InputError, match=r"lies in the cube. In degrees the labels reach west 15"):
        labelled(raster(codes((0, 20, 1)), left=LEFT + 5000), grid=grid)


def test_a_raster_elsewhere_beside_polygons_is_listed(raster, file, square, grid):
    away = raster(codes((0, 20, 1)), left=LEFT + 5000)
    labels = labelled(away, file([square(0, 0)], crop=["a"]), grid=grid)
    assert told(labels) == [(-1, "outside the cube", "left out")]
    assert labels.rasters == ()


# -- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l.gpkg", "l.parquet", "l.shp", "l.tif"])
def test_a_file_of_0_bytes_is_told(tmp_path, grid, name):
    (tmp_path / name).touch()
    column = {} if name == "l.tif" else {"class_column": "crop"}
    spec = LabelsSpec(path=str(tmp_path / name), **column)
    for look in (check_labels, lambda spec: read_labels(spec, grid), labels_hull):
        with pytest.raises(GeocubeError, match=rf"{name}") as caught:
            look(spec)
        assert not isinstance(caught.value, MissingError)
        if name != "l.tif":
            assert "0 bytes" in str(caught.value)


def test_layers_in_two_crs_are_named_with_them(tmp_path, square, grid):
    for layer, crs in (("fields", 32633), ("woods", 4326)):
        frame = gpd.GeoDataFrame({"crop": ["a"]}, geometry=[square(0, 0)], crs=32633)
        frame.to_crs(crs).to_file(tmp_path / "l.gpkg", layer=layer)
    spec = {"path": str(tmp_path / "l.gpkg"), "class_column": "crop"}
    with pytest.raises(InputError, match=r"fields \(EPSG:32633\), woods \(EPSG:4326\)"):
        read_labels(LabelsSpec(**spec), grid)
    for layer in ("fields", "woods"):
        labels = read_labels(LabelsSpec(**spec, layer=layer, inset_m=0), grid)
        assert labels.frame["n_pixel"].tolist() == [100]


@pytest.mark.parametrize("name", ["l.fgb", "l.kml", "l.zip", "l.gdb"])
def test_other_formats_are_read_too(tmp_path, square, grid, name):
    frame = gpd.GeoDataFrame({"crop": ["a"]}, geometry=[square(0, 0)], crs=32633)
    path = tmp_path / name
    if name == "l.zip":
        (tmp_path / "parts").mkdir()
        frame.to_file(tmp_path / "parts" / "l.shp")
        shutil.make_archive(str(path.with_suffix("")), "zip", tmp_path / "parts")
    elif name == "l.kml":
        frame.to_crs(4326).to_file(path, driver="LIBKML")
    else:
        frame.to_file(path, driver="OpenFileGDB" if name == "l.gdb" else None)
    spec = LabelsSpec(path=str(path), class_column="crop", inset_m=0)
    check_labels(spec)
    assert read_labels(spec, grid).frame["n_pixel"].tolist() == [100]


def test_a_geojson_of_another_crs_says_so(tmp_path, square, grid):
    frame = gpd.GeoDataFrame({"crop": ["a"]}, geometry=[square(0, 0)], crs=32633)
    content = json.loads(frame.to_json(drop_id=True))
    content["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "l.geojson").write_text(json.dumps(content))
    spec = LabelsSpec(path=str(tmp_path / "l.geojson"), class_column="crop", inset_m=0)
    assert read_labels(spec, grid).frame["n_pixel"].tolist() == [100]


def test_collections_heights_turned_rings_and_vertices_that_stand_twice_are_mended(
    file, square, grid
):
    mixed = shapely.GeometryCollection([square(0, 0), shapely.LineString([(0, 0), (9, 9)])])
    high = shapely.force_3d(square(200, 0), 7.0)
    hole = shapely.Polygon(
        square(400, 0).exterior.coords, [shapely.box(LEFT + 420, BOTTOM + 20, LEFT + 440,
                                                     BOTTOM + 40).exterior.coords]
    )  # fmt: skip
    twice = shapely.Polygon(np.repeat(shapely.get_coordinates(square(600, 0)), 2, axis=0))
    labels = labelled(file([mixed, high, hole, twice, square(800, 0)], crop=["a"] * 5), grid=grid)
    assert told(labels) == [
        (0, "mended (the polygons of a collection)", "mended"),
        (2, "mended (rings turned the wrong way)", "mended"),
        (3, "mended (vertices that stood twice)", "mended"),
    ]
    assert labels.frame["n_pixel"].tolist() == [100, 100, 96, 100, 100]
    assert not shapely.has_z(labels.frame.geometry.to_numpy()).any()


def test_slivers_are_listed(file, square, grid):
    shapes = [square(100, 100, 6, 300), square(302, 100, 2, 300), square(500, 100, 15)]
    labels = labelled(file(shapes, crop=["a"] * 3), grid=grid)
    assert told(labels) == [
        (1, "no pixel of its own has its centre inside (a sliver)", "left out"),
        (0, "a sliver, narrower than a pixel", "kept"),
    ]


def test_an_overlap_that_the_buffer_leaves_is_no_one_s(file, square, grid):
    """The pixel lies 25 m inside the one, and 5 m inside the other."""
    labels = labelled(
        file([square(0, 0, 200), square(170, 0, 200)], crop=["a", "b"]), grid=grid, inset_m=10
    )
    label = rasterize_labels(labels, grid).label.to_numpy()
    assert (label[-20:, 17:20] == 255).all()
    assert labels.problems["area_m2"].tolist() == [30 * 200]


def test_labels_across_the_antimeridian(tmp_path):
    """As two parts, as one that goes beyond 180 degrees, and as one that runs around the globe."""
    bounds = (795_000, 1_105_000, 861_000, 1_152_000)
    grid = make_grid(GridSpec(crs="EPSG:32660", resolution=100, bounds=bounds), StoreSpec())
    parts = shapely.MultiPolygon(
        [shapely.box(179.9, 10.1, 180, 10.2), shapely.box(-180, 10.1, -179.9, 10.2)]
    )
    beyond = shapely.box(179.9, 10.21, 180.1, 10.3)
    around = shapely.box(-179.9, 10.31, 179.9, 10.39)
    path = tmp_path / "l.parquet"
    gpd.GeoDataFrame({"crop": ["a"] * 3}, geometry=[parts, beyond, around], crs=4326).to_parquet(
        path
    )
    labels = read_labels(LabelsSpec(path=str(path), class_column="crop", inset_m=200), grid)
    assert told(labels) == [(2, "mended (edges across the antimeridian)", "mended")]
    wide, high = 21_900 - 400, 11_060 - 400
    assert labels.frame["n_pixel"][0] == pytest.approx(wide * high / 1e4, rel=0.02)
    assert labels.frame["n_pixel"][1] == pytest.approx(wide * (high - 1106) / 1e4, rel=0.02)
    hull = labels_hull(LabelsSpec(path=str(path), class_column="crop"))
    assert hull.boundingbox.bbox == pytest.approx((179.9, 10.1, 180.1, 10.39))


@pytest.mark.parametrize("to", [32633, 4326, 3857, (4326, 32634)])
def test_the_hull_for_the_background_is_that_of_the_map(file, square, grid, to):
    """Also where labels leave the grid by far, and lie in several CRS."""
    crs = to if isinstance(to, tuple) else (to, to)
    long = shapely.Polygon([(LEFT + x, BOTTOM + y) for x, y in
                            ((500, 500), (60_000, 30_000), (60_000, 30_100))])  # fmt: skip
    sources = (
        file([square(300, 300)], "a.gpkg", to=crs[0], crop=["a"]),
        file([long], "b.gpkg", to=crs[1], crop=["a"]),
    )
    spec = LabelsSpec(sources=sources, inset_m=0)
    hull = read_labels(spec, grid).hull
    assert hull.equals(area_on(grid.geobox, labels_hull(spec)))
    both = shapely.union_all([square(300, 300), long])
    ground = grid.geobox.extent.geom
    assert shapely.intersection(hull, ground).area == pytest.approx(
        shapely.intersection(both.convex_hull, ground).area, rel=0.02
    )


def test_lines_are_no_part_of_the_hull(file, square, grid):
    line = shapely.LineString([(LEFT, BOTTOM), (LEFT + 1000, BOTTOM + 1000)])
    spec = LabelsSpec(sources=(file([square(300, 300), line], crop=["a", "a"]),), inset_m=0)
    assert labels_hull(spec).geom.equals(square(300, 300))


def test_a_polygon_larger_than_the_cube_is_cut_and_its_area_is_all_of_it(file, grid):
    country = shapely.box(5, 40, 25, 50)
    labels = labelled(file([country], crs=4326, crop=["a"]), grid=grid, inset_m=10)
    assert labels.frame["n_pixel"].tolist() == [100 * 100]
    assert labels.frame["area_m2"][0] == pytest.approx(1.745e12, rel=0.01)


def test_columns_that_are_not_asked_for_are_left(file, square, grid):
    source = file([square(0, 0)], "l.gpkg", crop=["a"], note=["x"])
    assert "note" not in labelled(source, grid=grid).frame


def test_files_of_one_name_are_told_apart_where_they_are_listed(tmp_path, file, square, grid):
    sources = []
    for folder in ("a/x", "b/x", "c"):
        (tmp_path / folder).mkdir(parents=True)
        name = "other.parquet" if folder == "c" else "fields.parquet"
        sources.append(file([square(0, 0), square(5000, 0)], f"{folder}/{name}", crop=["a", "b"]))
    labels = labelled(*sources, grid=grid, classes=["a", "b"], empty_class="drop")
    listed = labels.problems
    assert set(listed["source"]) == {"a/x/fields.parquet", "b/x/fields.parquet", "other.parquet"}


@pytest.mark.parametrize("name", ["l.gpkg", "l.parquet"])
def test_coordinates_that_are_no_numbers_warn_of_nothing(file, square, grid, name):
    with np.errstate(invalid="ignore"):
        nan = shapely.from_wkt("POLYGON ((0 0, 1 NaN, 1 1, 0 0))")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        source = file([square(0, 0), nan], name, crop=["a", "a"])
    labels = labelled(source, grid=grid)
    assert told(labels) == [(1, "coordinates that are not numbers", "left out")]
