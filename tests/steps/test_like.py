"""The grid of a cube is that of an asset of any of its sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from geocube_ml.files import place
from geocube_ml.items.catalog import read_items
from geocube_ml.run import main
from geocube_ml.store.cube import open_cube

LEFT, TOP = 500_000, 5_000_000
HEIGHTS = Affine(30, 0, LEFT + 307, 0, -30, TOP - 111)  # on whole multiples of nothing


def write(path, transform, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=shape[1], height=shape[0], count=1, dtype="int16",
        crs="EPSG:32633", transform=transform, nodata=-1,
    ) as dst:  # fmt: skip
        dst.write(np.full((1, *shape), 7, "int16"))


@pytest.fixture
def like(tmp_path):
    """A recipe of two sources, whose grid is like an asset."""
    soil = tmp_path / "soil"
    write(soil / "near_map.tif", Affine(20, 0, LEFT, 0, -20, TOP), (100, 100))
    write(soil / "far_map.tif", Affine(20, 0, LEFT + 90_000, 0, -20, TOP), (100, 100))
    write(tmp_path / "dem/a_map.tif", HEIGHTS, (40, 50))
    write(tmp_path / "dem/a_slope.tif", HEIGHTS, (40, 50))

    def made(asset, *dem):
        def source(name, *assets):
            bands = {f"b{n}": key for n, key in enumerate(assets)}
            sensor = {"bands": bands, "static": True, "dtype": "int16", "nodata": -1}
            items = {"files": str(tmp_path / name), "pattern": "{id}_{asset}.tif"}
            return {"sensor": sensor, "items": items}

        recipe = {
            "name": "like", "out": str(tmp_path / "out"), "grid": {"like": asset},
            "sources": {"soil": source("soil", "map"), "dem": source("dem", *dem)},
            "store": {"chunk": 16, "shard": 16, "tile": 16},
        }  # fmt: skip
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return str(path)

    return made


@pytest.mark.parametrize(
    ("asset", "dem"), [("dem/map", ["map"]), ("slope", ["slope"]), ("dem/slope", ["map", "slope"])]
)
def test_a_grid_is_like_an_asset_of_whichever_source(like, tmp_path, asset, dem):
    path = like(asset, *dem)
    assert main([path]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    assert cube.odc.geobox.transform == HEIGHTS
    assert cube["soil"].shape[-2:] == (40, 50)
    assert (cube["soil"] == 7).all()
    # of the others, items are looked for on that grid
    assert [i.id for i in read_items(place(str(tmp_path / "out/items/soil.parquet")))] == ["near"]
    assert main([path]) == 0


def test_an_asset_of_two_sources_is_to_be_named_with_its_own(like, capsys):
    assert main([like("map", "map")]) == 2
    said = capsys.readouterr().err
    assert "map is an asset of soil and dem; name the one" in said
    assert "`like: soil/map`" in said


@pytest.mark.parametrize("asset", ["elevation", "dem/elevation", "other/map"])
def test_an_asset_that_no_source_reads_is_told_with_those_that_are(like, capsys, asset):
    assert main([like(asset, "slope")]) == 2
    assert "they read: soil map; dem slope. Name one" in capsys.readouterr().err


def test_a_source_that_is_added_does_not_change_how_the_grid_is_meant(like, tmp_path, capsys):
    path = Path(like("slope", "slope"))
    alone = yaml.safe_load(path.read_text())
    alone["sources"] = {"dem": alone["sources"]["dem"]}
    path.write_text(yaml.safe_dump(alone, sort_keys=False))
    assert main([str(path)]) == 0
    write(tmp_path / "soil/near_slope.tif", Affine(20, 0, LEFT, 0, -20, TOP), (100, 100))
    (tmp_path / "soil/far_map.tif").unlink()

    def both(asset):
        alone["sources"]["soil"] = {
            "sensor": {"bands": {"v": "slope"}, "static": True, "dtype": "int16", "nodata": -1},
            "items": {"files": str(tmp_path / "soil"), "pattern": "{id}_{asset}.tif"},
        }
        path.write_text(yaml.safe_dump(alone | {"grid": {"like": asset}}, sort_keys=False))
        return str(path)

    assert main([both("slope")]) == 2
    assert "`like: dem/slope`" in capsys.readouterr().err
    assert main([both("dem/slope")]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr", chunks=None)
    assert cube.odc.geobox.transform == HEIGHTS
    assert set(cube.data_vars) >= {"dem", "soil"}
