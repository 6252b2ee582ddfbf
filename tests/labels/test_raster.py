"""Labels that were read, on the cube's grid: what the definition says, and how it is described."""

import numpy as np
import shapely

from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import label_attrs, rasterize_labels
from geocube_ml.spec.labels import ClassScheme, ClassSpec
from tests.labelled import defined


def test_labels_are_what_the_definition_says(write, grid):
    """Discs of three classes that overlap, one class left out, a background."""
    rng = np.random.default_rng(5)
    at = rng.uniform(0, 1000, (30, 2)) + np.array([500_000, 5_000_000])
    shapes = shapely.buffer(shapely.points(at), rng.uniform(30, 130, 30))
    spec = write(
        shapes, rng.choice(["a", "b", "c", "left out"], 30), inset_m=8,
        classes=[ClassSpec(name=name) for name in "abc"], background=ClassSpec(name="rest"),
    )  # fmt: skip
    labels = read_labels(spec, grid)
    burnt = rasterize_labels(labels, grid)
    # a metre is 0.9996 of the grid's, and the buffer of the background may be 0.2 % less
    want = defined(labels, grid, inset_m=8 * 0.9996 * 0.998)
    np.testing.assert_array_equal(burnt.label, want[0][0], strict=True)
    np.testing.assert_array_equal(burnt.polygon, want[1][0], strict=True)
    assert set(np.unique(want[0])) == {0, 1, 2, 3, 255}
    polygon = burnt.polygon.to_numpy()
    assert np.bincount(polygon[polygon > 0])[1:].tolist() == labels.frame["n_pixel"].tolist()


def test_the_inside_of_any_polygon_is_never_background(write, square, grid):
    shapes = [
        square(0, 0, 200),
        square(300, 0, 200),  # of a class that is left out
        square(600, 0, 200),  # without a name
        square(0, 300, 15),  # vanishes under the buffer
        square(0, 800, 200),
        square(800, 800, 200),
        square(980, 0, 20),
    ]
    spec = write(
        shapes, ["a", "z", "", "a", "a", "a", "a"], inset_m=10, classes=[ClassSpec(name="a")],
        background=ClassSpec(name="rest"),
    )  # fmt: skip
    label = rasterize_labels(read_labels(spec, grid), grid).label.to_numpy()
    assert (label[-20:, :20] == 0).sum() == 18 * 18
    assert (label[-20:, :20] == 255).sum() == 400 - 18 * 18  # the buffer is unknown
    rest = np.full((100, 100), True)  # the hull is all of the grid
    for top, left, bottom, right in (
        (79, 0, 100, 21), (79, 29, 100, 51), (79, 59, 100, 81), (97, 97, 100, 100),
        (0, 0, 21, 21), (0, 79, 21, 100),
    ):  # fmt: skip
        rest[top:bottom, left:right] = False
    rest[68:71, 0:2] = False  # centres at 10 m from its upper and right edge are the first
    np.testing.assert_array_equal(label == 1, rest)


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
