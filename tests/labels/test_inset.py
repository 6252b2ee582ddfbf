"""The inward buffer is true in metres, whatever the CRS of the labels and of the cube."""

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from geocube_ml.grid import make_grid
from geocube_ml.kernels.erosion import cut, eroded
from geocube_ml.labels.inset import shrink
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.labels.scale import scale_of
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import LabelsSpec

GEOD = pyproj.Geod(ellps="WGS84")
LON, LAT = 15.0, 60.0
TO_UTM = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
TO_WEB = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)
STORE = StoreSpec(chunk=64, shard=512, tile=512)


def grid_around(crs, lon, lat, half, resolution):
    """A square grid around a place, `half` metres on the ground each way."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    half = half / np.cos(np.radians(lat)) if crs == "EPSG:3857" else half
    bounds = (x - half, y - half, x + half, y + half)
    return make_grid(GridSpec(crs=crs, resolution=resolution, bounds=bounds), STORE)


def least_ratio(grid, file, labelled, inset):
    """Least geodesic distance of a labelled pixel to the edge as the file draws it, by the buffer.

    `file` is a GeoSeries of one polygon in the CRS of the file.
    """
    to_degrees = pyproj.Transformer.from_crs(str(grid.geobox.crs), 4326, always_xy=True)
    step = 1.0 if file.crs.is_projected else 1 / 111_000
    walked = shapely.get_coordinates(shapely.segmentize(file.boundary[0], step * inset / 30))
    lon, lat = pyproj.Transformer.from_crs(file.crs, 4326, always_xy=True).transform(*walked.T)
    row, col = np.nonzero(labelled)
    x, y = grid.geobox.transform @ (col + 0.5, row + 0.5)
    at_lon, at_lat = to_degrees.transform(x, y)
    # to find who is near, a plane will do
    narrow = np.cos(np.radians(LAT))
    tree = KDTree(np.column_stack([lon * narrow, lat]))
    places = np.column_stack([at_lon * narrow, at_lat])
    close = np.argsort(tree.query(places)[0])[:300]
    _, near = tree.query(places[close], k=40)
    n = near.shape[1]
    metres = GEOD.inv(
        np.repeat(at_lon[close], n), np.repeat(at_lat[close], n),
        lon[near].ravel(), lat[near].ravel(),
    )[2]  # fmt: skip
    return metres.min() / inset


def concave(rng, x, y, size):
    """A star of many corners with a hole, within `size` of a place."""
    n = rng.integers(5, 14)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = size * rng.uniform(0.35, 1, n)
    star = np.column_stack(
        [x[0] + x[1] * radius * np.cos(angle), y[0] + y[1] * radius * np.sin(angle)]
    )
    hole = 0.2 * size * np.array([[-1, -0.5], [0.3, 0.9], [1, -0.8]])
    ring = np.column_stack([x[0] + x[1] * hole[:, 0], y[0] + y[1] * hole[:, 1]])
    polygon = shapely.Polygon(star)
    return shapely.difference(shapely.make_valid(polygon), shapely.Polygon(ring))


@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**32 - 1),
    file=st.sampled_from(["EPSG:4326", "EPSG:3857", "EPSG:32634"]),
    cube=st.sampled_from(["EPSG:3857", "EPSG:32633", "EPSG:3035"]),
    inset=st.sampled_from([12.0, 30.0, 80.0]),
)
def test_no_labelled_pixel_is_nearer_to_an_edge_than_the_buffer(
    tmp_path_factory, seed, file, cube, inset
):
    rng = np.random.default_rng(seed)
    there = pyproj.Transformer.from_crs(4326, file, always_xy=True)
    (x, east), (y, _) = there.transform([LON, LON + 0.01], [LAT, LAT])
    _, north = there.transform(LON, LAT + 0.01)
    per_x, per_y = (east - x) / (1113 * 0.5), (north - y) / 1113
    polygon = concave(rng, (x, per_x), (y, per_y), 1800)
    path = tmp_path_factory.mktemp("inset") / "l.parquet"
    gpd.GeoDataFrame({"c": ["a"]}, geometry=[polygon], crs=file).to_parquet(path)
    grid = grid_around(cube, LON, LAT, 2000, 20)
    spec = LabelsSpec(path=str(path), class_column="c", inset_m=inset, empty_class="drop")
    label = rasterize_labels(read_labels(spec, grid), grid).label.to_numpy()
    ratio = least_ratio(grid, gpd.GeoSeries([polygon], crs=file), label == 0, inset)
    assert ratio >= 0.995
    assert (ratio - 1) * inset < 20  # and no more than a pixel is given away


def test_a_polygon_in_which_the_scale_changes_is_shrunk_by_as_much_everywhere(tmp_path):
    """200 km in EPSG:3857, where a metre is 1.93 units in the south and 2.06 in the north."""
    grid = grid_around("EPSG:3857", LON, LAT, 120_000, 1000)
    scale = scale_of(grid)
    assert scale.most.max() / scale.most.min() > 1.05
    outline = shapely.buffer(grid.geobox.extent.geom, -20_000)
    path = tmp_path / "l.parquet"
    file = gpd.GeoSeries([outline], crs="EPSG:3857")
    gpd.GeoDataFrame({"c": ["a"]}, geometry=file).to_parquet(path)
    spec = LabelsSpec(path=str(path), class_column="c", inset_m=5000)
    labels = read_labels(spec, grid)
    label = rasterize_labels(labels, grid).label.to_numpy()
    assert 0.995 <= least_ratio(grid, file, label == 0, 5000) < 1.1
    inner, outer = labels.frame.geometry[0].bounds, outline.bounds
    south, north = inner[1] - outer[1], outer[3] - inner[3]
    true = [5000 / np.cos(np.radians(lat)) for lat in lats_of(outer)]
    assert [south, north] == pytest.approx(true, rel=0.01)


def lats_of(bounds):
    """Latitudes of the south and north of bounds in EPSG:3857."""
    back = pyproj.Transformer.from_crs(3857, 4326, always_xy=True)
    return back.transform([bounds[0]] * 2, [bounds[1], bounds[3]])[1]


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1500, 2500]),
    rough=st.sampled_from([0.0, 0.02, 3.0, 40.0]),
    distance=st.sampled_from([3.0, 20.0]),
)
def test_a_polygon_of_many_vertices_is_shrunk_as_far_and_hardly_further(seed, n, rough, distance):
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 300 + 40 * np.sin(9 * angle) + rough * rng.uniform(-1, 1, n)
    polygon = shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    shrunk = eroded(polygon, lambda _: (distance, True), most=400)
    assert shapely.is_valid(shrunk)
    edge = shapely.get_coordinates(shapely.segmentize(shrunk, 5.0))
    assert shapely.distance(shapely.points(edge), polygon.boundary).min() >= 0.9985 * distance
    at = rng.uniform(-380, 380, (4000, 2))
    inside = shapely.contains_xy(polygon, *at.T)
    depth = shapely.distance(shapely.points(at[inside]), polygon.boundary)
    kept = shapely.contains_xy(shrunk, *at[inside].T)
    assert not kept[depth < 0.9985 * distance].any()
    assert kept[depth > 1.1 * distance].all()


def test_pieces_of_a_polygon_are_the_polygon():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    radius = 300 + rng.uniform(-20, 20, 5000)
    large = shapely.Polygon(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    square = shapely.box(0, 0, 10, 10)
    pieces, owner = cut(np.array([square, large]), most=500)
    assert shapely.get_num_coordinates(pieces).max() <= 500
    assert pieces[owner == 0].tolist() == [square]
    assert shapely.area(pieces[owner == 1]).sum() == pytest.approx(large.area, rel=1e-9)
    assert shapely.equals(shapely.union_all(pieces[owner == 1]).envelope, large.envelope)


@pytest.mark.parametrize(("n", "rough"), [(1_000_000, 0.0), (30_000, 30.0)])
@pytest.mark.timeout(120)  # GEOS by itself takes minutes and gigabytes
def test_a_polygon_of_a_million_vertices_is_shrunk(n, rough):
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 1000 + rough * rng.uniform(-1, 1, n)
    at = np.array([500_000, 5_000_000])
    ring = at + np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    grid = make_grid(
        GridSpec(crs="EPSG:32633", resolution=10, bounds=(*(at - 1100), *(at + 1100))), STORE
    )
    shrunk = shrink(np.array([shapely.Polygon(ring)]), 10.0, scale_of(grid))[0]
    least = (1000 - rough - 10) * 0.999
    assert np.pi * (least - 1) ** 2 < shrunk.area < np.pi * least**2 * 1.005
