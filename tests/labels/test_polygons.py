"""Polygons as people have them: every format and CRS, damage listed, losses with their reasons."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from geocube_ml.errors import InputError, MissingError
from geocube_ml.grid import Grid, make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.labels.classes import check_labels
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import PALETTE, ClassSpec, LabelsSpec
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import ItemsSpec, SensorSpec, SourceSpec


def flat(spec):
    """A spec of one source, as a recipe says it without `sources`."""
    said = spec.model_dump(exclude_defaults=True)
    return said | said.pop("sources")[0]


def reasons(labels):
    """(feature, reason) of each loss."""
    return list(zip(labels.problems["feature"], labels.problems["reason"], strict=True))


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l.gpkg", "l.geojson", "l.parquet", "l.geoparquet", "l.shp"])
@pytest.mark.parametrize("to", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:32634"])
def test_every_format_and_crs_gives_the_same_labels(write, square, grid, name, to):
    shapes = [square(103, 104, 200), square(503, 604, 305, 150)]
    spec = write(shapes, ["a", "b"], name, to=to)
    labels = read_labels(spec, grid)
    assert labels.frame["class"].tolist() == ["a", "b"]
    assert labels.frame["code"].tolist() == [0, 1]
    assert labels.frame["polygon"].tolist() == [1, 2]
    assert labels.frame["n_pixel"].tolist() == [20 * 20, 31 * 15]
    assert labels.frame.crs.to_epsg() == 32633
    assert labels.frame["area_m2"].to_numpy() == pytest.approx([40_000, 45_750], rel=1e-4)
    assert labels.problems.empty


def test_a_file_that_is_not_there(grid):
    with pytest.raises(MissingError, match=r"no label file .*nowhere.gpkg.*labels.path"):
        read_labels(LabelsSpec(path="nowhere.gpkg", class_column="crop"), grid)


@pytest.mark.parametrize("name", ["l.gpkg", "l.parquet", "l.shp", "l.geojson", "l.txt"])
def test_a_file_that_is_no_polygons(tmp_path, grid, name):
    (tmp_path / name).write_text("neither of them")
    with pytest.raises(InputError, match=r"cannot be read as polygons"):
        read_labels(LabelsSpec(path=str(tmp_path / name), class_column="crop"), grid)


def test_no_crs(write, square, grid):
    spec = write([square(0, 0)], ["a"], "l.parquet", crs=None)
    with pytest.raises(InputError, match=r"has no CRS.*set_crs"):
        read_labels(spec, grid)


def test_an_empty_layer(tmp_path, grid):
    frame = gpd.GeoDataFrame({"crop": []}, geometry=[], crs="EPSG:32633")
    frame.to_file(tmp_path / "l.gpkg")
    with pytest.raises(InputError, match=r"has no features"):
        read_labels(LabelsSpec(path=str(tmp_path / "l.gpkg"), class_column="crop"), grid)


def test_several_layers_are_named(tmp_path, square, grid):
    path = tmp_path / "l.gpkg"
    for layer, name in (("fields", "a"), ("roads", "b")):
        frame = gpd.GeoDataFrame({"crop": [name]}, geometry=[square(0, 0)], crs="EPSG:32633")
        frame.to_file(path, layer=layer)
    spec = LabelsSpec(path=str(path), class_column="crop")
    with pytest.raises(InputError, match=r"has 2 layers: fields, roads. Name one") as caught:
        read_labels(spec, grid)
    assert "GeoJSON" not in str(caught.value)
    with pytest.raises(InputError, match=r"has no layer 'field'; it has fields, roads"):
        read_labels(LabelsSpec(**flat(spec) | {"layer": "field"}), grid)
    labels = read_labels(LabelsSpec(**flat(spec) | {"layer": "roads"}), grid)
    assert labels.classes.names == ("b",)


@pytest.mark.parametrize("name", ["l.gpkg", "l.geojson", "l.parquet", "l.shp"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_column": "croop"}, r"no column 'croop'; it has .*crop\. Did you mean 'crop'"),
        ({"classes": ("c",)}, r"no value of 'crop' is a class .*knows c; the file has a, b\."),
        ({"classes": ("a", "c", "d")}, r"no polygon of c, d: 'crop' holds a, b\. .*`values`"),
        ({"path": "nowhere.gpkg"}, r"no label file"),
    ],
)
def test_what_a_file_alone_tells_is_refused_without_a_grid(write, square, name, change, said):
    spec = write([square(0, 0), square(200, 0)], ["a", "b"], name)
    check_labels(spec)
    with pytest.raises((InputError, MissingError), match=said):
        check_labels(LabelsSpec(**flat(spec) | change))
    if "d" in change.get("classes", ()):
        check_labels(LabelsSpec(**flat(spec) | change | {"empty_class": "drop"}))


def test_a_check_and_a_reading_say_the_same_of_a_file_without_a_crs_or_features(
    tmp_path, write, square, grid
):
    bare = write([square(0, 0)], ["a"], "l.parquet", crs=None)
    gpd.GeoDataFrame({"crop": []}, geometry=[], crs="EPSG:32633").to_file(tmp_path / "l.gpkg")
    pd.DataFrame({"crop": ["a"]}).to_parquet(tmp_path / "table.parquet")
    empty = LabelsSpec(path=str(tmp_path / "l.gpkg"), class_column="crop")
    table = LabelsSpec(path=str(tmp_path / "table.parquet"), class_column="crop")
    for spec, said in (
        (bare, "has no CRS"),
        (empty, "no features"),
        (table, "be read as polygons"),
    ):
        for look in (check_labels, lambda spec: read_labels(spec, grid)):
            with pytest.raises(InputError, match=said):
                look(spec)


# -- classes --------------------------------------------------------------------------------


def test_a_column_that_is_not_there_is_named_with_those_that_are(write, square, grid):
    spec = LabelsSpec(**flat(write([square(0, 0)], ["a"])) | {"class_column": "croop"})
    with pytest.raises(InputError, match=r"no column 'croop'; it has crop\. "):
        read_labels(spec, grid)


@pytest.mark.parametrize(
    ("values", "classes", "lost"),
    [
        ([3, 1, 3, 2], ("1", "2", "3"), 0),
        ([3.0, 1.0, np.nan, 1.5], ("1", "1.5", "3"), 1),
        (["b", "a", None, " "], ("a", "b"), 2),
        (["b ", " a", "a", ""], ("a", "b"), 1),
        ([True, False, True, True], ("False", "True"), 0),
    ],
)
@pytest.mark.parametrize("name", ["l.parquet", "l.gpkg"])
def test_class_values_of_any_type_are_texts(write, square, grid, name, values, classes, lost):
    shapes = [square(200 * i, 0) for i in range(4)]
    spec = write(shapes, values, name)
    labels = read_labels(spec, grid)
    assert labels.classes.names == classes
    assert labels.problems["reason"].tolist() == ["the class has no name"] * lost
    assert labels.frame["feature"].tolist() == sorted(
        set(range(4)) - set(labels.problems["feature"])
    )


def test_numbers_and_texts_in_one_column_are_the_same_class(write, square, grid, monkeypatch):
    spec = write([square(200 * i, 0) for i in range(4)], ["3", "3", "3", "3"])
    mixed = gpd.read_file(spec.sources[0].path)
    mixed["crop"] = pd.Series([3, 3.0, "3", np.int64(3)], dtype=object)
    monkeypatch.setattr(gpd, "read_file", lambda *_, **__: mixed)
    assert read_labels(spec, grid).classes.names == ("3",)


def test_values_are_merged_renamed_and_left_out(write, square, grid):
    shapes = [square(200 * i, 0) for i in range(5)]
    classes = [
        ClassSpec(name="cereal", values=["1", 2], color="#112233"),
        ClassSpec(name="maize", values=[5]),
    ]
    labels = read_labels(write(shapes, [1, 2, 5, 9, 1], classes=classes), grid)
    assert labels.frame["class"].tolist() == ["cereal", "cereal", "maize", "cereal"]
    assert labels.frame["code"].tolist() == [0, 0, 1, 0]
    assert labels.classes.colors == ("#112233", PALETTE[1])
    assert reasons(labels) == [(3, "a class that the recipe leaves out")]
    assert labels.problems["class"].tolist() == ["9"]
    assert labels.problems["area_m2"].tolist() == [10_000.0]


def test_no_value_is_a_class_of_the_recipe(write, square, grid):
    spec = write([square(0, 0)], ["a"], classes=[ClassSpec(name="maize")])
    with pytest.raises(InputError, match=r"The recipe knows maize; the file has a\."):
        read_labels(spec, grid)


def test_a_column_without_any_name(write, square, grid):
    with pytest.raises(InputError, match=r"every value of 'crop' is empty"):
        read_labels(write([square(0, 0), square(200, 0)], ["", " "]), grid)


def test_a_column_of_numbers_of_fields_is_no_column_of_classes(write, square, grid):
    shapes = [square(3 * i, 0, 3, 900) for i in range(300)]
    with pytest.raises(InputError, match=r"'crop' has 300 values, at most 254 classes"):
        read_labels(write(shapes, range(300)), grid)


def test_the_background_may_not_be_called_like_a_class(write, square, grid):
    spec = write([square(0, 0)], ["other"], background=ClassSpec(name="other"))
    with pytest.raises(InputError, match=r"'other' is both a value of 'crop' and the background"):
        read_labels(spec, grid)


# -- shapes ---------------------------------------------------------------------------------


def test_a_bow_tie_is_mended_and_listed(write, square, grid):
    bow = shapely.Polygon([(0, 0), (200, 200), (200, 0), (0, 200)])
    bow = shapely.transform(bow, lambda c: c + np.array([500_000, 5_000_000]))
    labels = read_labels(write([bow, square(500, 500)], ["a", "a"]), grid)
    assert reasons(labels) == [(0, "mended (self-intersection)")]
    assert labels.frame["feature"].tolist() == [0, 1]
    assert shapely.is_valid(labels.frame.geometry.to_numpy()).all()
    assert labels.frame["area_m2"].tolist() == [20_000, 10_000]  # two triangles


def test_a_multipolygon_is_one_polygon_and_what_is_none_is_listed(write, square, grid):
    both = shapely.MultiPolygon([square(0, 0), square(200, 0)])
    line = shapely.LineString([(500_000, 5_000_000), (500_900, 5_000_000)])
    shapes = [both, shapely.Point(500_500, 5_000_500), line, None, shapely.Polygon()]
    spec = write(shapes, ["a"] * 5, "l.parquet")
    labels = read_labels(spec, grid)
    assert labels.frame["n_pixel"].tolist() == [200, 1]
    assert labels.frame["area_m2"].tolist() == [20_000, 0]
    assert reasons(labels) == [
        (3, "no geometry"),
        (4, "no geometry"),
        (2, "a LineString, not a polygon or point"),
    ]


def test_lines_alone_are_no_labels(write, grid):
    spec = write([shapely.LineString([(500_000, 5_000_000), (500_900, 5_000_000)])], ["a"])
    with pytest.raises(InputError, match=r"no polygons or points .* geometries are: LineString"):
        read_labels(spec, grid)


def test_coordinates_that_are_no_numbers_or_no_places_are_listed(write, square, grid):
    near = gpd.GeoSeries([square(100, 100)], crs="EPSG:32633").to_crs("EPSG:4326")[0]
    shapes = [
        near,
        shapely.box(-120, 40, -119, 41),  # the other side of the globe
        shapely.box(15, 95, 15.1, 95.1),  # beyond the pole
        shapely.Polygon([(15, 45), (15, np.inf), (16, 45)]),
    ]
    labels = read_labels(write(shapes, ["a"] * 4, "l.parquet", crs="EPSG:4326"), grid)
    assert labels.frame["feature"].tolist() == [0]
    assert sorted(reasons(labels)) == [
        (1, "outside the cube"),
        (2, "outside the cube"),
        (3, "coordinates that are not numbers"),
    ]


def test_polygons_that_are_lost_are_listed_with_the_reason_and_are_not_fatal(write, square, grid):
    shapes = [
        square(100, 100),  # kept
        square(2000, 100),  # outside
        square(300, 100, 15),  # vanishes under 10 m
        square(501, 501, 21.5, 200),  # 1.5 m are left, between two columns of centres
        square(-60, 300),  # half outside, and kept
        shapely.Polygon([(500_700, 5_000_700), (500_800, 5_000_700), (500_900, 5_000_700)]),
    ]
    labels = read_labels(write(shapes, ["a"] * 6, "l.parquet", inset_m=10), grid)
    assert labels.frame["feature"].tolist() == [0, 4]
    assert labels.frame["n_pixel"].tolist() == [64, 3 * 8]
    assert [r for r in reasons(labels) if not r[1].startswith("mended")] == [
        (5, "without an area"),
        (1, "outside the cube"),
        (2, "vanished under the buffer of 10 m"),
        (3, "no pixel of its own has its centre inside"),
    ]
    lost = labels.problems.set_index("feature")
    assert lost.loc[1, "area_m2"] == 10_000
    assert lost.loc[2, "area_m2"] == 225


def test_none_in_the_cube_says_where_both_lie(write, square, grid):
    with pytest.raises(InputError, match=r"No polygon .* lies in the cube") as caught:
        read_labels(write([square(5000, 0)], ["a"]), grid)
    assert "east 15.0" in str(caught.value)
    spec = write([shapely.box(15, 95, 16, 96)], ["a"], "l.parquet", crs="EPSG:4326")
    with pytest.raises(InputError, match=r"No polygon .* lies in the cube"):
        read_labels(spec, grid)


# -- overlaps -------------------------------------------------------------------------------


def test_ground_that_two_classes_claim_is_unlabelled(write, square, grid):
    spec = write([square(0, 0, 200), square(100, 0, 200), square(0, 500)], ["a", "b", "a"])
    labels = read_labels(spec, grid)
    assert reasons(labels) == [(0, "disputed by feature 1 (b); left unlabelled")]
    assert labels.problems["area_m2"].tolist() == [20_000]
    assert labels.frame["n_pixel"].tolist() == [200, 200, 100]
    burnt = rasterize_labels(labels, grid).label.to_numpy()
    assert (burnt[-20:, :10] == 0).all()
    assert (burnt[-20:, 10:20] == 255).all()
    assert (burnt[-20:, 20:30] == 1).all()


def test_overlaps_and_duplicates_of_one_class_are_labelled_once(write, square, grid):
    shapes = [square(0, 0, 200), square(100, 0, 200), square(100, 0, 200)]
    labels = read_labels(write(shapes, ["a", "a", "a"]), grid)
    burnt = rasterize_labels(labels, grid)
    assert (burnt.label.to_numpy() == 0).sum() == 600
    assert labels.frame["n_pixel"].sum() == 600  # each pixel belongs to one polygon
    assert labels.frame["feature"].tolist() == [0, 1]
    assert reasons(labels) == [(2, "a duplicate of feature 1")]
    counted = np.bincount(burnt.polygon.to_numpy().ravel())[1:]
    assert counted.tolist() == labels.frame["n_pixel"].tolist()


def test_a_polygon_in_two_classes_is_in_none(write, square, grid):
    shapes = [square(0, 0), square(0, 0), square(500, 0), square(700, 0)]
    labels = read_labels(write(shapes, ["a", "b", "a", "b"]), grid)
    assert labels.frame["feature"].tolist() == [2, 3]
    assert (0, "no pixel of its own has its centre inside") in reasons(labels)
    assert (1, "no pixel of its own has its centre inside") in reasons(labels)


def test_neighbours_that_share_an_edge_dispute_nothing(write, square, grid):
    labels = read_labels(write([square(0, 0), square(100, 0)], ["a", "b"]), grid)
    assert labels.problems.empty
    assert len(labels.disputed) == 0


# -- classes without a pixel ----------------------------------------------------------------

THREE = [
    ClassSpec(name="a", color="#aa0000"),
    ClassSpec(name="b", values=["b1", "b2"], color="#00bb00"),
    ClassSpec(name="c", color="#0000cc"),
]


@pytest.mark.parametrize(
    ("shape", "value", "said"),
    [
        (lambda square: square(300, 0, 15), "b1", "Of b: 1 vanished under the buffer of 10 m"),
        (lambda square: square(3000, 0), "b2", "Of b: 1 outside the cube"),
        (
            lambda _: shapely.LineString([(500_000, 5_000_000), (500_900, 5_000_000)]),
            "b1",
            "Of b: 1 a LineString, not a polygon or point",
        ),
        (lambda square: square(300, 0), "x", "The file has no polygon of b"),
    ],
)
def test_a_class_without_a_pixel_says_why(write, square, grid, shape, value, said):
    shapes = [square(0, 0), shape(square), square(500, 0)]
    spec = write(shapes, ["a", value, "c"], "l.parquet", classes=THREE, inset_m=10)
    with pytest.raises(InputError, match=r"No labelled pixel is left of: b\.") as caught:
        read_labels(spec, grid)
    assert said in str(caught.value)


def test_a_class_without_a_pixel_may_be_dropped_and_the_rest_keep_their_colours(
    write, square, grid
):
    spec = write(
        [square(0, 0), square(500, 0)], ["a", "c"], classes=THREE, empty_class="drop",
        background=ClassSpec(name="other", color="#777777"),
    )  # fmt: skip
    labels = read_labels(spec, grid)
    assert labels.classes.names == ("a", "c", "other")
    assert labels.classes.colors == ("#aa0000", "#0000cc", "#777777")
    assert labels.frame["code"].tolist() == [0, 1]
    assert labels.background == 2


def test_colours_of_the_palette_stay_with_their_classes_too(write, square, grid):
    plain = [ClassSpec(name=name) for name in "abc"]
    spec = write([square(0, 0), square(500, 0)], ["a", "c"], classes=plain, empty_class="drop")
    assert read_labels(spec, grid).classes.colors == (PALETTE[0], PALETTE[2])


@pytest.mark.parametrize("empty", ["error", "drop"])
def test_when_no_polygon_is_left_it_is_an_error_whatever_is_asked(write, square, grid, empty):
    spec = write([square(0, 0, 15)], ["a"], inset_m=10, empty_class=empty)
    with pytest.raises(InputError, match=r"Of a: 1 vanished under the buffer of 10 m"):
        read_labels(spec, grid)


# -- the buffer in metres -------------------------------------------------------------------

GEOD = pyproj.Geod(ellps="WGS84")


def metres_to_edge(grid, labels, outlines, *, step):
    """Geodesic distance of every labelled pixel's centre to the edge of its polygon, the least.

    `outlines` are in the grid's CRS; edges are walked in steps of `step` units.
    """
    burnt = rasterize_labels(labels, grid)
    to_degrees = pyproj.Transformer.from_crs(str(grid.geobox.crs), "EPSG:4326", always_xy=True)
    least = []
    for polygon, feature in zip(labels.frame["polygon"], labels.frame["feature"], strict=True):
        row, col = np.nonzero(burnt.polygon.to_numpy() == polygon)
        x, y = burnt.x.to_numpy()[col], burnt.y.to_numpy()[row]
        edge = outlines[feature].exterior
        near = np.argsort(shapely.distance(shapely.points(x, y), edge))[:40]
        walked = shapely.get_coordinates(shapely.segmentize(edge, step))
        lon, lat = to_degrees.transform(*walked.T)
        for i in near:
            here = to_degrees.transform(x[i], y[i])
            close = np.hypot(walked[:, 0] - x[i], walked[:, 1] - y[i]).argsort()[:50]
            metres = GEOD.inv(np.full(50, here[0]), np.full(50, here[1]), lon[close], lat[close])[2]
            least.append(metres.min())
    return np.array(least)


def test_the_buffer_is_in_true_metres_where_the_map_is_twice_too_large(write):
    """In EPSG:3857 at 60 degrees north a unit is half a metre."""
    left, bottom = 1_600_000, 8_400_000
    spec = GridSpec(
        crs="EPSG:3857", resolution=10, bounds=(left, bottom, left + 1000, bottom + 1000)
    )
    grid = make_grid(spec, StoreSpec(chunk=16, shard=64, tile=64))
    triangle = shapely.Polygon([(left + 50, bottom + 60), (left + 900, bottom + 200),
                                (left + 300, bottom + 900)])  # fmt: skip
    labels = read_labels(write([triangle], ["a"], crs="EPSG:3857", inset_m=30), grid)
    metres = metres_to_edge(grid, labels, [triangle], step=1)
    assert metres.min() >= 30 * 0.995
    assert metres.min() < 36  # and hardly a pixel of 5 m is given away
    lat = grid.lonlat().geom.centroid.y
    true = GEOD.geometry_area_perimeter(
        gpd.GeoSeries([triangle], crs="EPSG:3857").to_crs("EPSG:4326")[0]
    )[0]
    assert lat == pytest.approx(60, abs=0.5)
    assert labels.frame["area_m2"].iloc[0] == pytest.approx(abs(true), rel=0.005)


def test_the_buffer_is_in_true_metres_across_many_utm_zones(write):
    left, bottom, width = 0, 8_400_000, 3_400_000  # 0 to 30 degrees east
    spec = GridSpec(
        crs="EPSG:3857", resolution=200, bounds=(left, bottom, left + width, bottom + 20_000)
    )
    grid = make_grid(spec, StoreSpec(chunk=64, shard=512, tile=4096))
    squares = [
        shapely.box(x, bottom + 1000, x + 15_000, bottom + 16_000)
        for x in (1000, 1_650_000, 3_380_000)
    ]
    labels = read_labels(write(squares, ["a"] * 3, crs="EPSG:3857", inset_m=2000), grid)
    assert len(labels.frame) == 3
    metres = metres_to_edge(grid, labels, squares, step=50)
    assert metres.min() >= 2000 * 0.995
    assert metres.min() < 2000 + 150


def test_the_buffer_in_utm_is_counted_by_hand(write, square, grid):
    labels = read_labels(write([square(100, 100, 100)], ["a"], inset_m=20), grid)
    assert labels.frame["n_pixel"].tolist() == [36]
    labels = read_labels(write([square(100, 100, 100)], ["a"], inset_m=24), grid)
    assert labels.frame["n_pixel"].tolist() == [36]  # the centres are 25 m inside
    labels = read_labels(write([square(100, 100, 100)], ["a"], inset_m=26), grid)
    assert labels.frame["n_pixel"].tolist() == [16]


# -- real polygons --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slovenia(data):
    folder = data / "slovenia_s2_ndvi"
    sensor = SensorSpec(bands={"ndvi": "ndvi"}, dtype="int16", nodata=-32768)
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(folder / "items")))
    items = find_items(source, PeriodSpec(start="2016-01", end="2016-03"))
    grid = make_grid(GridSpec(like="ndvi"), StoreSpec(chunk=32, shard=64, tile=64), items)
    return folder / "labels.gpkg", grid


def test_of_88_real_polygons_every_one_is_accounted_for(slovenia):
    path, grid = slovenia
    spec = LabelsSpec(path=str(path), class_column="LULC_NAME", inset_m=10, empty_class="drop")
    labels = read_labels(spec, grid)
    lost = labels.problems[labels.problems["done"] == "left out"]
    assert len(labels.frame) + len(lost) == 88
    assert lost["feature"].is_unique
    counts = lost["reason"].str.removesuffix(" (a sliver)").value_counts().to_dict()
    assert counts["the class has no name"] == 4
    assert counts["vanished under the buffer of 10 m"] == 39
    burnt = rasterize_labels(labels, grid)
    counted = np.bincount(burnt.polygon.to_numpy().ravel(), minlength=len(labels.frame) + 1)[1:]
    assert counted.tolist() == labels.frame["n_pixel"].tolist()
    assert len(labels.frame) == 31
    assert counts["no pixel of its own has its centre inside"] == 88 - 31 - 39 - 4


def test_real_polygons_are_refused_where_a_class_loses_all(slovenia):
    path, grid = slovenia
    spec = LabelsSpec(path=str(path), class_column="LULC_NAME", inset_m=10)
    with pytest.raises(InputError, match=r"cultivated land.*vanished under the buffer"):
        read_labels(spec, grid)


def test_labels_do_not_depend_on_the_tiles(slovenia):
    path, grid = slovenia
    spec = LabelsSpec(path=str(path), class_column="LULC_NAME", empty_class="drop")
    one = read_labels(spec, grid)
    other = read_labels(spec, Grid(grid.geobox, StoreSpec(chunk=16, shard=16, tile=16)))
    pd.testing.assert_frame_equal(
        pd.DataFrame(one.frame.drop(columns="geometry")),
        pd.DataFrame(other.frame.drop(columns="geometry")),
    )
