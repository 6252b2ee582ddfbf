"""Labels on the cube's grid: by tiles as at once, and what is background."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.grid import Grid
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import LabelBurner, label_attrs, rasterize_labels
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.labels import ClassScheme, ClassSpec, LabelsSpec


def defined(labels, grid, classes):
    """Pixel by pixel: a class where polygons of it alone hold the centre, at least so far in."""
    rows, cols = grid.shape
    x = 500_005 + 10 * np.arange(cols)
    y = 5_000_995 - 10 * np.arange(rows)
    centres = shapely.points(*np.meshgrid(x, y))
    claims = np.zeros((len(classes), rows, cols), bool)
    for shape, name in zip(labels.frame.geometry, labels.frame["class"], strict=True):
        claims[classes.index(name)] |= shapely.contains(shape, centres)
    label = np.where(claims.sum(axis=0) == 1, claims.argmax(axis=0), 255)
    if labels.background is not None:
        outside = ~np.logical_or.reduce([shapely.contains(s, centres) for s in labels.taken])
        label[outside] = labels.background
    return label.astype("uint8")


@pytest.fixture
def scattered(write):
    """Discs of three classes that overlap, one class left out, a background."""
    rng = np.random.default_rng(5)
    at = rng.uniform(0, 1000, (30, 2)) + np.array([500_000, 5_000_000])
    shapes = shapely.buffer(shapely.points(at), rng.uniform(30, 130, 30))
    return write(
        shapes, rng.choice(["a", "b", "c", "left out"], 30), inset_m=8,
        classes=[ClassSpec(name=name) for name in "abc"], background=ClassSpec(name="rest"),
    )  # fmt: skip


def test_labels_are_what_the_definition_says(scattered, grid):
    labels = read_labels(scattered, grid)
    burnt = rasterize_labels(labels, grid)
    want = defined(labels, grid, ["a", "b", "c"])
    np.testing.assert_array_equal(burnt.label, want, strict=True)
    assert set(np.unique(want)) == {0, 1, 2, 3, 255}
    polygon = burnt.polygon.to_numpy()
    assert polygon.dtype == "int32"
    np.testing.assert_array_equal(polygon > 0, want < 3)
    codes = labels.frame.set_index("polygon")["code"]
    np.testing.assert_array_equal(codes.loc[polygon[polygon > 0]], want[polygon > 0])
    assert np.bincount(polygon[polygon > 0])[1:].tolist() == labels.frame["n_pixel"].tolist()


@settings(max_examples=12)
@given(chunk=st.integers(16, 60), shards=st.integers(1, 2))
def test_tiles_of_any_size_give_the_same_labels(burned, chunk, shards):
    labels, grid, whole = burned
    cut = Grid(grid.geobox, StoreSpec(chunk=chunk, shard=chunk, tile=chunk * shards))
    burner = LabelBurner(labels, cut)
    for tile in cut.tiles:
        part = burner.burn(tile)
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][tile.y, tile.x], strict=True)


@pytest.fixture(scope="module")
def burned(tmp_path_factory, grid):
    rng = np.random.default_rng(6)
    at = rng.uniform(0, 1000, (60, 2)) + np.array([500_000, 5_000_000])
    shapes = shapely.buffer(shapely.points(at), rng.uniform(20, 90, 60))
    path = tmp_path_factory.mktemp("labels") / "l.gpkg"
    frame = gpd.GeoDataFrame({"crop": rng.choice(["a", "b"], 60)}, geometry=shapes, crs=32633)
    frame.to_file(path)
    spec = LabelsSpec(
        path=str(path), class_column="crop", inset_m=5, background=ClassSpec(name="rest")
    )
    labels = read_labels(spec, grid)
    return labels, grid, rasterize_labels(labels, Grid(grid.geobox, StoreSpec(tile=512)))


def test_the_inside_of_any_polygon_is_never_background(write, square, grid):
    shapes = [
        square(0, 0, 200),
        square(300, 0, 200),  # of a class that is left out
        square(600, 0, 200),  # without a name
        square(0, 300, 15),  # vanishes under the buffer
    ]
    spec = write(
        shapes, ["a", "z", "", "a"], inset_m=10, classes=[ClassSpec(name="a")],
        background=ClassSpec(name="rest"),
    )  # fmt: skip
    label = rasterize_labels(read_labels(spec, grid), grid).label.to_numpy()
    assert (label[-20:, :20] == 0).sum() == 18 * 18
    assert (label[-20:, :20] == 255).sum() == 400 - 18 * 18  # the buffer is unknown
    assert (label[-20:, 30:50] == 255).all()
    assert (label[-20:, 60:80] == 255).all()
    lost = label[-32:-30, :2]  # 15 m from the corner, two centres each way are inside
    assert (lost == 255).sum() == (lost != 1).sum() > 0
    assert (label == 1).sum() == 100 * 100 - 3 * 20 * 20 - (lost == 255).sum()


def test_without_a_background_the_rest_is_unknown(write, square, grid):
    label = rasterize_labels(read_labels(write([square(0, 0)], ["a"]), grid), grid).label
    assert (label == 0).sum() == 100
    assert (label == 255).sum() == 9_900


def test_the_legend_goes_with_the_labels(write, square, grid):
    labels = read_labels(write([square(0, 0), square(200, 0)], ["winter wheat", "maize"]), grid)
    burnt = rasterize_labels(labels, grid)
    assert ClassScheme.from_attrs(burnt.label.attrs) == labels.classes
    assert burnt.label.attrs["flag_meanings"] == "maize winter_wheat"
    assert burnt.label.attrs["nodata"] == 255
    assert burnt.polygon.attrs["nodata"] == 0
    assert label_attrs(labels)["label"]["flag_values"] == [0, 1]
    assert burnt.odc.geobox == grid.geobox
