"""The area to map: a boundary, or the hull of the labels."""

from __future__ import annotations

import json
import re

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml
from odc.geo.geom import Geometry

from geocube_ml.grid import area_on, make_grid
from geocube_ml.labels.hull import labels_hull
from geocube_ml.run import main
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.steps.predict import Pieces
from geocube_ml.store.cube import open_cube

CORNERS = [(267_960, 5_131_210), (270_060, 5_131_257), (267_970, 5_132_350)]
SUMMER = {"start": "2022-06", "end": "2022-07"}
QUICK = {"models": {"forest": {"trees": 10}}, "evaluate": {"splits": ["random"]}, "period": SUMMER}
TO_MAP = ["cube", "labels", "samples", "train", "predict"]


def boundary(folder, corners=CORNERS, crs="EPSG:32633"):
    path = folder / "boundary.gpkg"
    path.unlink(missing_ok=True)
    gpd.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=crs).to_file(path)
    return path


def inside(cube, area):
    return shapely.contains_xy(area, *np.meshgrid(cube.x, cube.y))


def records(out, step):
    return sorted(path.name for path in (out / "records" / step / "tiles").iterdir())


@pytest.fixture(scope="module")
def mapped(values, tmp_path_factory):
    """The map of a triangle, a corner of whose box no tile of it touches."""
    folder = tmp_path_factory.mktemp("mapped")
    path = boundary(folder)
    text = yaml.safe_dump(
        values | QUICK | {"grid": {"resolution": 10, "boundary": path.name}, "out": "out"}
    )
    (folder / "recipe.yaml").write_text(text)
    assert main([str(folder / "recipe.yaml"), *TO_MAP]) == 0
    return folder


def test_only_what_lies_in_the_boundary_is_mapped(mapped):
    cube = open_cube(mapped / "out/cube.zarr", chunks=None)
    assert cube.odc.geobox.crs.epsg == 32633  # the zone of the area, as none is given
    assert cube.odc.geobox.boundingbox.bbox == (267_960, 5_131_210, 270_060, 5_132_350)
    within = inside(cube, shapely.Polygon(CORNERS))
    observed = (cube["s2"] != 0).any(["time", "s2_band"]).values
    assert 0.3 < within.mean() < 0.6
    assert 0.5 < observed[within].mean() < 1
    np.testing.assert_array_equal(cube["class"] != 255, within & observed)
    np.testing.assert_array_equal((cube["prob"] != 255).any("class_name"), within & observed)


def test_tiles_outside_of_it_are_neither_read_nor_written(mapped):
    cube = open_cube(mapped / "out/cube.zarr", chunks=None)
    bare = (cube["s2_clear"].isel(y=slice(0, 64), x=slice(128, None)) == 0).all()
    assert bare
    made = [name for name in records(mapped / "out", "cube") if re.search(r"\d{4}_\d{4}", name)]
    fine = {re.search(r"\d{4}_\d{4}", name)[0] for name in made if name.count(".") == 4}
    assert fine == {"0000_0000", "0000_0001", "0001_0000", "0001_0001", "0001_0002", "0001_0003"}


def test_the_same_boundary_elsewhere_is_the_same_cube_and_another_is_not(mapped, capsys):
    path = mapped / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    (mapped / "moved").mkdir(exist_ok=True)
    boundary(mapped / "moved", [*CORNERS[1:], CORNERS[0]])
    moved = recipe | {"grid": {"resolution": 10, "boundary": "moved/boundary.gpkg"}}
    (mapped / "moved.yaml").write_text(yaml.safe_dump(moved))
    capsys.readouterr()
    assert main([str(mapped / "moved.yaml"), "cube", "predict"]) == 0
    assert capsys.readouterr().out.count("was done already") == 2
    boundary(mapped / "moved", [(267_960, 5_131_210), (270_060, 5_131_290), (267_970, 5_132_350)])
    assert main([str(mapped / "moved.yaml"), "cube"]) == 2
    assert "grid.area.hectares was 119" in capsys.readouterr().err


def test_within_stated_bounds_the_boundary_masks_the_map_alone(mapped, values, capsys):
    """The cube is that of the bounds, so that another boundary needs no other cube."""
    edges = [267_900, 5_131_200, 268_300, 5_131_600]
    bounds = {"crs": "EPSG:32633", "resolution": 10, "bounds": edges}
    recipe = values | QUICK | {"grid": bounds | {"boundary": "boundary.gpkg"}, "out": "stated"}
    path = mapped / "stated.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main([str(path), "cube"]) == 0
    begun = json.loads((mapped / "stated/records/cube/begun.json").read_text())
    recipe["grid"] = bounds
    path.write_text(yaml.safe_dump(recipe))
    capsys.readouterr()
    assert main([str(path), "cube"]) == 0
    assert "was done already" in capsys.readouterr().out
    assert "area" not in begun["inputs"]["grid"]
    # and what a cube holds does not depend on how its grid is said
    one, other = (
        open_cube(mapped / f"{name}/cube.zarr", chunks=None) for name in ("out", "stated")
    )
    one = one.sel(x=slice(None, other.x.max()), y=slice(other.y.max(), None))
    within = inside(one, shapely.Polygon(CORNERS))
    same = other["s2"].sel(x=one.x, y=one.y).values
    assert within.sum() > 500
    np.testing.assert_array_equal(one["s2"].values[..., within], same[..., within])


def test_pieces_of_tiles_have_no_seams():
    ring = shapely.Point(501_000, 4_999_000).buffer(900).difference(
        shapely.Point(501_100, 4_999_050).buffer(300)
    )  # fmt: skip
    spec = GridSpec(crs="EPSG:32633", resolution=7)
    area = Geometry(ring, "EPSG:32633")
    grid = make_grid(spec, StoreSpec(chunk=16, shard=16, tile=32), area=area)
    shape = area_on(grid.geobox, area)
    pieces = Pieces(grid, shape)
    found = np.zeros(grid.shape, bool)
    whole = 0
    for tile in grid.tiles:
        piece = pieces.of(tile)
        whole += piece is None
        found[tile.y, tile.x] = True if piece is None else piece.inside()
    at, (rows, cols) = grid.geobox.transform, grid.shape
    x, y = at.c + at.a * (np.arange(cols) + 0.5), at.f + at.e * (np.arange(rows) + 0.5)
    assert whole > 3
    np.testing.assert_array_equal(found, shapely.contains_xy(shape, *np.meshgrid(x, y)))


# -- the hull of the labels -----------------------------------------------------------------


def test_without_boundary_and_extent_the_hull_of_the_labels_is_covered(
    recipe, archive, tmp_path, capsys
):
    def run(labels):
        values = {"grid": {"resolution": 10}, "period": SUMMER, "labels.path": str(labels)}
        path = recipe(values)
        return main([str(path), "cube"])

    assert run(archive.labels) == 0
    spec = LabelsSpec(path=str(archive.labels), class_column="class")
    grid = open_cube(tmp_path / "out/cube.zarr", chunks=None).odc.geobox
    hull = area_on(grid, labels_hull(spec))
    slack = [abs(a - b) for a, b in zip(grid.boundingbox.bbox, hull.bounds, strict=True)]
    assert max(slack) < 10.2

    # labels of another class, and one within the hull that goes: the same cube
    labels = gpd.read_file(archive.labels)
    corners = shapely.get_coordinates(labels.union_all().convex_hull)
    inner = [not any(p.distance(shapely.Point(c)) < 1e-9 for c in corners) for p in labels.geometry]
    labels.drop(labels.index[inner][0]).to_file(tmp_path / "fewer.gpkg")
    capsys.readouterr()
    assert run(tmp_path / "fewer.gpkg") == 0
    assert "was done already" in capsys.readouterr().out
    labels[inner].to_file(tmp_path / "inner.gpkg")
    assert run(tmp_path / "inner.gpkg") == 2
    assert "grid.bounds was" in (said := capsys.readouterr().err)
    assert "--redo" in said


@pytest.mark.parametrize(
    ("places", "kind"),
    [([(12, 46)], "Point"), ([(12, 46), (12.1, 46)], "LineString"),
     ([(12, 46), (12.1, 46.1), (12.2, 46.2)], "LineString")],
)  # fmt: skip
def test_a_hull_without_an_area_is_no_area_to_map(recipe, tmp_path, capsys, places, kind):
    shapes = [shapely.Point(at) for at in places]
    points = gpd.GeoDataFrame({"class": ["maize"] * len(places)}, geometry=shapes, crs="EPSG:4326")
    points.to_file(tmp_path / "points.gpkg")
    path = recipe({"grid": {"resolution": 10}, "labels.path": str(tmp_path / "points.gpkg")})
    assert main([str(path), "cube"]) == 2
    said = capsys.readouterr().err
    assert f"hull of the labels is a {kind}, which has no area" in said
    assert "three points that are not on one line" in said
    assert not list((tmp_path / "out").rglob("begun.json"))


def test_without_labels_extent_and_boundary_it_is_said_what_to_add(recipe, capsys):
    assert main([str(recipe({"grid": {"resolution": 10}, "labels": None})), "cube"]) == 2
    said = capsys.readouterr().err
    assert "there are no labels whose hull could be taken" in said
    assert "`boundary`" in said
