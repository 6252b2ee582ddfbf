"""Labels become pixels: by the definition in plain shapely, and the same whatever the tiles."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geocube_ml.grid import Grid
from geocube_ml.labels.burn import LabelBurner, count_pixels
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.labels.validity import layers_of
from geocube_ml.spec.grid import StoreSpec
from tests.labelled import (
    LEFT,
    NEVER,
    TOP,
    defined,
    grid_of,
    labels_of,
    raster_of,
    squares_of,
    year,
)

SPAN = 400  # metres, 40 pixels


def box(x, y, width, height=None):
    """In metres from the upper left corner."""
    height = width if height is None else height
    return shapely.box(LEFT + x, TOP - y - height, LEFT + x + width, TOP - y)


def burnt(labels, grid):
    made = rasterize_labels(labels, grid)
    return made["label"].to_numpy(), made["polygon"].to_numpy()


def random_labels(seed, **how):
    """Discs and triangles of three classes and sources, of three years in two layers."""
    rng = np.random.default_rng(seed)
    times = [(year(2020), 0), (year(2021), 1), (year(2020, 2021), 0), ((NEVER, NEVER), 1)]

    def shape():
        x, y = LEFT + rng.uniform(-30, SPAN), TOP - rng.uniform(-30, SPAN)
        if rng.random() < 0.5:
            return shapely.Point(x, y).buffer(rng.uniform(10, 70))
        return shapely.Polygon(np.array([x, y]) + rng.uniform(-80, 80, (3, 2)))

    rows, taken = [], []
    for _ in range(12):
        valid, layer = times[rng.integers(4)]
        whole, source = shape(), int(rng.integers(3))
        taken.append((whole, source, valid))
        rows.append((whole.buffer(-8), int(rng.integers(3)), source, valid, layer))
    taken.append((shape(), 0, year(2021)))  # of a class that is left out
    disputed = [(shape(), int(rng.integers(3)), int(rng.integers(2))) for _ in range(2)]
    hull = shapely.convex_hull(shapely.union_all([row[0] for row in taken])).buffer(-40)
    rows = [row for row in rows if not row[0].is_empty]
    return labels_of(
        rows, disputed=disputed, taken=taken, n_layer=2, hull=hull, background=3, inset_m=8, **how
    )


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_labels_are_what_the_definition_says(seed, whole):
    labels, grid = random_labels(seed, whole_pixels=whole), grid_of(40, 40, tile=32)
    label, polygon = burnt(labels, grid)
    # a metre is 0.9996 of the grid's, and the buffer may be 0.2 % less
    want_label, want_polygon = defined(labels, grid, inset_m=8 * 0.9996 * 0.998)
    np.testing.assert_array_equal(label, want_label)
    np.testing.assert_array_equal(polygon, want_polygon)
    n = count_pixels(labels, grid)
    np.testing.assert_array_equal(n, [(polygon == k).sum() for k in labels.frame["polygon"]])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Vectors of three sources between rasters of two, and the pixels of one large tile."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(3)
    patches = rng.choice([0, 1, 2, 7, 255], (9, 11))
    coarse = raster_of(folder / "coarse.tif", patches, source=3, pixel=37.0, left=LEFT - 20)
    fine = rng.choice([1, 2, 255], (13, 13)).repeat(9, axis=0).repeat(9, axis=1)
    first = raster_of(
        folder / "fine.tif", fine, source=-1, pixel=3.7, left=LEFT + 60, valid=year(2021)
    )
    made = {}
    for whole in (False, True):
        labels = replace(random_labels(11, whole_pixels=whole), rasters=(first, coarse))
        made[whole] = labels, rasterize_labels(labels, grid_of(40, 43, tile=64))
    return made


@settings(max_examples=12)
@given(tile=st.integers(16, 45), whole=st.booleans())
def test_tiles_of_any_size_give_the_same_labels(mixed, tile, whole):
    labels, want = mixed[whole]
    grid = grid_of(40, 43, tile=tile)
    burner = LabelBurner(labels, grid)
    for tile in grid.tiles:
        patch = pickle.loads(pickle.dumps(burner.patch(tile)))
        for name, values in patch.burn().items():
            here = want[name].to_numpy()[..., tile.y, tile.x]
            np.testing.assert_array_equal(values, here, strict=True)


def test_the_scene_of_the_tiles_has_all_that_can_meet(mixed):
    made = mixed[False][1]
    assert set(np.unique(made["label"])) == {0, 1, 2, 3, 255}
    assert set(np.unique(made["polygon"])) >= {-4, 0, 1}
    assert made["label"].dims == ("label_layer", "y", "x")


def test_of_one_class_the_lower_number_has_the_pixel():
    labels = labels_of([(box(0, 0, 100), 1), (box(50, 0, 100), 1)])
    label, polygon = burnt(labels, grid_of(10, 20))
    assert (label[:, :15] == 1).all()
    assert (polygon[:, :10] == 1).all()
    assert (polygon[:, 10:15] == 2).all()
    swapped = replace(labels, frame=labels.frame.iloc[::-1])
    np.testing.assert_array_equal(burnt(swapped, grid_of(10, 20))[1], polygon)
    assert count_pixels(swapped, grid_of(10, 20)).tolist() == [50, 100]


def test_later_sources_say_nothing_where_an_earlier_one_has_a_polygon():
    """The rim of the first polygon, which is not labelled, is not the second's either."""
    rows = [(box(20, 20, 60), 0, 0), (box(0, 0, 200, 100), 1, 1)]
    taken = [(box(0, 0, 100), 0), (box(0, 0, 200, 100), 1)]
    label, polygon = burnt(labels_of(rows, taken=taken), grid_of(10, 20))
    assert (label[2:8, 2:8] == 0).all()
    assert (label[:, :10] == 0).sum() == 36
    assert (label[:, :10] == 255).sum() == 64
    assert (polygon[:, 10:] == 2).all()


def test_sources_of_other_times_share_the_ground():
    rows = [
        (box(0, 0, 100), 0, 0, year(2020), 0),
        (box(0, 0, 100), 1, 1, year(2021), 1),
        (box(0, 0, 100), 2, 2, year(2020, 2021), 0),
    ]
    label, polygon = burnt(labels_of(rows, n_layer=2), grid_of(10, 10))
    assert (label[0] == 0).all()
    assert (label[1] == 1).all()
    assert np.unique(polygon).tolist() == [1, 2]


def test_disputed_ground_is_unlabelled_in_its_layer_for_its_source_alone():
    rows = [
        (box(0, 0, 100), 0, 1, year(2020), 0),
        (box(0, 0, 100), 1, 1, year(2021), 1),
        (box(0, 0, 30), 2, 0, year(2020), 0),
    ]
    labels = labels_of(rows, disputed=[(box(0, 0, 50, 100), 1, 0)], n_layer=2)
    label, _ = burnt(labels, grid_of(10, 10))
    assert (label[0][:3, :3] == 2).all()
    assert (label[0][3:, :5] == 255).all()
    assert (label[0][:, 5:] == 0).all()
    assert (label[1] == 1).all()


def test_whole_pixels_do_not_touch_the_edge():
    shape = box(12, 15, 61, 50)
    inside = burnt(labels_of([(shape, 1)]), grid_of(10, 10))[0]
    whole = burnt(labels_of([(shape, 1)], whole_pixels=True), grid_of(10, 10))[0]
    assert (inside == 1).sum() == 6 * 5
    assert np.argwhere(whole == 1).min(axis=0).tolist() == [2, 2]
    assert np.argwhere(whole == 1).max(axis=0).tolist() == [5, 6]
    # one along the edges of pixels loses those inside of it
    aligned = burnt(labels_of([(box(10, 10, 50), 1)], whole_pixels=True), grid_of(10, 10))[0]
    assert (aligned == 1).sum() == 9
    # a part of a polygon of the same class covers what the edge of another touches
    both = labels_of([(box(0, 0, 55, 100), 1), (box(30, 0, 70, 100), 1)], whole_pixels=True)
    assert (burnt(both, grid_of(10, 10))[0][1:9, 1:9] == 1).all()


def test_a_point_labels_the_pixel_that_it_lies_in():
    point = shapely.Point(LEFT + 71, TOP - 39)
    for whole in (False, True):
        labels = labels_of([(point, 2)], whole_pixels=whole, inset_m=10)
        label, polygon = burnt(labels, grid_of(10, 10))
        assert np.argwhere(label == 2).tolist() == np.argwhere(polygon == 1).tolist() == [[3, 7]]


def test_background_keeps_away_from_labels_and_within_their_hull():
    """A square of 40 m in a hull of 200 m, ten metres away: pixels from 15 m on."""
    rows, hull = [(box(90, 90, 20), 0)], box(0, 0, 200)
    taken = [(box(80, 80, 40), 0)]
    labels = labels_of(rows, taken=taken, hull=hull, background=3, inset_m=14)
    label, polygon = burnt(labels, grid_of(30, 30))
    assert (label[20:] == 255).all()
    assert (label[:, 20:] == 255).all()
    around = label[6:14, 6:14] != 3
    assert (label[:20, :20] == 3).sum() == 400 - around.sum()
    assert around[1:7, 1:7].all()  # centres 5 m from the square, and 7 m from its corners
    assert around.sum() == 36
    assert (polygon[label == 3] == 0).all()


def test_there_is_background_only_in_the_first_layer():
    rows = [(box(0, 0, 50), 0, 0, year(2020), 0), (box(0, 0, 50), 1, 0, year(2021), 1)]
    labels = labels_of(rows, n_layer=2, hull=box(0, 0, 100), background=3)
    label, _ = burnt(labels, grid_of(10, 10))
    assert (label[0] == 3).sum() == 75
    assert (label[1] == 3).sum() == 0


def test_a_raster_says_nothing_where_an_earlier_source_has_a_polygon(tmp_path):
    values = np.full((10, 10), 1, np.uint8)
    values[:, 8:] = 255
    raster = raster_of(tmp_path / "r.tif", values, source=1)
    rows = [(box(0, 0, 30, 100), 0, 0), (box(50, 0, 50, 100), 2, 2)]
    label, polygon = burnt(labels_of(rows, rasters=[raster]), grid_of(10, 10))
    assert (label[:, :3] == 0).all()
    assert (label[:, 3:8] == 1).all()
    assert (polygon[:, 3:8] == -2).all()
    assert (label[:, 8:] == 2).all()  # where the raster says nothing, a later source does
    assert (polygon[:, 8:] == 2).all()


def test_the_rim_of_a_raster_is_not_of_later_sources(tmp_path):
    values = np.full((10, 10), 255, np.uint8)
    values[:, :5] = 1
    raster = raster_of(tmp_path / "r.tif", values, source=0)
    labels = labels_of([(box(0, 0, 100), 0, 1)], rasters=[raster], inset_m=10)
    label, _ = burnt(labels, grid_of(10, 10))
    assert (label[1:9, 1:4] == 1).all()
    assert (label[:, 4] == 255).all()
    assert (label[:, 5:] == 0).all()


def test_a_raster_of_another_time_has_a_layer_of_its_own(tmp_path):
    values = np.ones((10, 10), np.uint8)
    late = raster_of(tmp_path / "r.tif", values, source=1, valid=year(2022))
    always = replace(late, valid_from=NEVER, valid_to=NEVER)
    rows = [(box(0, 0, 50, 100), 0, 0, year(2020), 0)]
    labels = labels_of(rows, rasters=[late])
    assert layers_of(labels) == ((1,), 2)
    label, polygon = burnt(labels, grid_of(10, 10))
    assert (label[0][:, :5] == 0).all()
    assert (label[0][:, 5:] == 255).all()
    assert (label[1] == 1).all()
    assert (polygon[1] == -2).all()
    labels = labels_of(rows, rasters=[always])
    assert layers_of(labels) == ((0,), 1)
    assert (burnt(labels, grid_of(10, 10))[0][:, :5] == 0).all()


def test_pixels_near_what_a_raster_says_are_no_background(tmp_path):
    """Nor are those of a value that is no class; those of 0 and of nodata are."""
    values = np.full((10, 10), 255, np.uint8)
    values[:, 0], values[:, 5] = 1, 9
    values[:, 8:] = 0
    table = {1: 1}
    raster = raster_of(tmp_path / "r.tif", values, table=table)
    labels = labels_of(rasters=[raster], hull=box(0, 0, 100), background=3)
    label, _ = burnt(labels, grid_of(10, 10))
    assert label[0].tolist() == [1, 3, 3, 3, 3, 255, 3, 3, 3, 3]
    label, _ = burnt(replace(labels, inset_m=10), grid_of(10, 10))
    assert label[5].tolist() == [255, 255, 3, 3, 255, 255, 255, 3, 3, 3]


def test_a_buffer_is_stretched_with_the_metres_of_the_grid():
    """At 60 degrees north a metre on the ground is two of Web Mercator."""
    geobox = GeoBox((20, 20), Affine(10, 0, 1_000_000, 0, -10, 8_399_738), "EPSG:3857")
    grid = Grid(geobox, StoreSpec(chunk=64, shard=64, tile=64))
    x, y = 1_000_000, 8_399_738
    labels = labels_of(
        taken=[(shapely.box(x, y - 200, x + 50, y), 0)], hull=geobox.extent.geom, background=3,
        inset_m=10,
    )  # fmt: skip
    label = LabelBurner(labels, grid).burn(grid.tiles[0])["label"]
    assert (label[0] == 3).argmax() == 7  # 25 of its metres from the edge, 15 are too few


def test_what_is_sent_of_a_large_polygon_is_what_lies_beside_the_tile():
    turn = np.linspace(0, 2 * np.pi, 50_000)
    ring = np.c_[LEFT + 2000 + 1900 * np.cos(turn), TOP - 2000 + 1900 * np.sin(turn)]
    grid = grid_of(400, 400, tile=64)
    labels = labels_of([(shapely.Polygon(ring), 1)])
    burner = LabelBurner(labels, grid)
    sizes = [len(pickle.dumps(burner.patch(tile))) for tile in grid.tiles[::5]]
    assert max(sizes) < 32 * 50_000 / 3
    label, _ = burnt(labels, grid)
    assert (label == 1).sum() == pytest.approx(np.pi * 190**2, rel=1e-3)


def test_squares_are_those_of_the_grid():
    """What the definition measures by."""
    assert squares_of(grid_of(3, 4))[2, 3].bounds == (LEFT + 30, TOP - 30, LEFT + 40, TOP - 20)
