"""The step `labels`: sources of several kinds, and what is told of them."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.grid import make_grid
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import rasterize_labels
from geocube_ml.raster import write_cog
from geocube_ml.run import main
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.store.cube import open_cube


@pytest.fixture(scope="module")
def several(archive, tmp_path_factory):
    """Fields of two years one above the other, points, and a raster of 20 metres."""
    folder = tmp_path_factory.mktemp("several")
    west, _, _, north = archive.bounds

    def box(x, y, width, height):
        return shapely.box(west + x, north - y - height, west + x + width, north - y)

    fields = gpd.GeoDataFrame(
        {
            "crop": ["wheat", "maize", "maize", "wheat", "rye"],
            "since": ["2021-01-01", "2022-01-01", None, None, None],
            "until": ["2021-12-31", "2022-12-31", None, None, None],
            "region": [1, 1, 2, 2, 3],
        },
        geometry=[
            box(100, 100, 200, 200), box(100, 100, 200, 200),
            box(400, 100, 200, 200), box(550, 100, 200, 200), box(800, 100, 90, 90),
        ],
        crs=archive.crs,
    )  # fmt: skip
    fields.to_file(folder / "fields.gpkg")
    spots = [shapely.Point(west + 15, north - 615), shapely.Point(west + 415, north - 615)]
    gpd.GeoDataFrame({"kind": ["tree", "tree"]}, geometry=spots, crs=archive.crs).to_file(
        folder / "spots.gpkg"
    )
    values = np.zeros((10, 20), np.uint8)
    values[:, 5:] = 7  # 20 metres each, 100 metres from the left edge on
    geobox = GeoBox(values.shape, Affine(20, 0, west, 0, -20, north - 600), archive.crs)
    write_cog(folder / "forest.tif", values[None], geobox)
    return {
        "sources": [
            {"path": str(folder / "fields.gpkg"), "class_column": "crop", "valid_from": "since",
             "valid_to": "until", "columns": ["region"]},
            {"path": str(folder / "spots.gpkg"), "class_name": "tree"},
            {"path": str(folder / "forest.tif"), "class_name": "tree", "weight": 0.5},
        ],
        "classes": ["wheat", "maize", "tree"],
        "inset_m": 10,
    }  # fmt: skip


@pytest.fixture
def labelled(several, recipe, with_cube):
    """A cube beside which the labels of several sources are made."""
    path = recipe({"labels": several})
    assert main([str(path), "labels"]) == 0
    return path


def facts(out):
    return json.loads((out / "records/labels/done.json").read_text())["facts"]


def test_sources_of_all_kinds_become_one_variable(labelled, several, archive, tmp_path, capsys):
    out = tmp_path / "out"
    cube = open_cube(out / "cube.zarr", chunks=None)
    assert cube["label"].dims == cube["polygon"].dims == ("label_layer", "y", "x")
    grid = make_grid(
        GridSpec(crs=archive.crs, resolution=10, bounds=archive.bounds),
        StoreSpec(chunk=256, shard=256, tile=256),
    )
    labels = read_labels(LabelsSpec(**several), grid)
    want = rasterize_labels(labels, grid)
    for name in ("label", "polygon"):
        np.testing.assert_array_equal(cube[name].to_numpy(), want[name].to_numpy())
    by_hand = cube["label"].to_numpy()
    assert (by_hand == 0).sum() == 18 * 18 + 18 * 14  # five columns of the second are disputed
    assert (by_hand == 1).sum() == 18 * 18 + 18 * 14
    # 300 by 200 metres, 10 inward; and two points beside them
    assert (by_hand == 2).sum() == 28 * 18 + 2

    said = facts(out)
    assert (said["polygons"], said["points"], said["rasters"], said["layers"]) == (4, 2, 1, 2)
    assert said["pixels"] == (by_hand != 255).sum()
    assert said["by_class"]["tree"] == {"polygons": 0, "points": 2, "pixels": (by_hand == 2).sum()}
    assert said["disputed_ha"] == pytest.approx(1.0)
    assert said["problems"]["a class that the recipe leaves out"] == 1
    assert "1 labels unlabelled: disputed" in said["lost"]


def test_a_table_says_what_each_pixel_is_of(labelled, tmp_path):
    table = gpd.read_parquet(tmp_path / "out/labels.parquet")
    assert table["polygon"].tolist() == [1, 2, 3, 4, 5, 6, -3]
    assert table["source"].tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert table["weight"].tolist() == [1, 1, 1, 1, 1, 1, 0.5]
    assert table["region"].tolist()[:4] == [1, 1, 2, 2]
    assert table["region"].isna().tolist() == [False] * 4 + [True] * 3
    assert table["valid_from"].iloc[0] == pd.Timestamp("2021-01-01")
    assert table["valid_from"].isna().tolist() == [False, False] + [True] * 5
    assert table.geometry.iloc[-1] is None
    polygon = open_cube(tmp_path / "out/cube.zarr", chunks=None)["polygon"].to_numpy()
    for row in table.itertuples():
        assert (polygon[row.layer] == row.polygon).sum() == row.n_pixel
    lost = pd.read_csv(tmp_path / "out/labels_lost.csv")
    assert set(lost["done"]) == {"left out", "unlabelled"}
    assert set(lost["source"]) == {"fields.gpkg"}


def test_labels_that_were_stopped_go_on_and_others_are_refused(
    labelled, several, recipe, tmp_path, capsys
):
    out = tmp_path / "out"
    before = facts(out)
    (out / "records/labels/done.json").unlink()
    tile = sorted((out / "records/labels/tiles").iterdir())[0]
    record = tile.read_bytes()
    tile.unlink()
    assert main([str(labelled), "labels"]) == 0
    assert tile.read_bytes() == record
    assert facts(out) == before

    raster = several["sources"][2]["path"]
    moved = tmp_path / "moved.tif"
    shutil.copy(raster, moved)
    elsewhere = [*several["sources"][:2], several["sources"][2] | {"path": str(moved)}]
    changed = recipe({"labels": several | {"sources": elsewhere}})
    capsys.readouterr()
    assert main([str(changed), "labels"]) == 0
    with moved.open("ab") as file:
        file.write(b"\0")
    assert main([str(changed), "labels"]) == 2
    assert "files.2 was" in " ".join(capsys.readouterr().err.split())
    moved.unlink()
    assert main([str(changed), "labels"]) == 2
    assert f"There is no file {moved}" in " ".join(capsys.readouterr().err.split())


def test_the_plan_tells_what_there_is(several, recipe, with_cube, tmp_path, capsys):
    assert main([str(recipe({"labels": several})), "labels", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "4 polygons, 2 points and 1 rasters of 3 classes" in said
    assert "maize: 2 polygons, 0 points" in said
    assert "2 layers" in said
    assert "1 ha are disputed" in said
    assert not (tmp_path / "out/labels.parquet").exists()
