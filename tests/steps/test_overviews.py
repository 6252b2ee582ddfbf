"""A large cube gets overviews; a small one none."""

from __future__ import annotations

import numpy as np

from geocube_ml.run import main
from geocube_ml.store.cube import open_cube
from tests.steps.conftest import tree

LARGE = {
    "labels": None, "evaluate": None, "grid.resolution": 1,
    "sources.s2.bands": ["red"], "period": {"start": "2022-06", "end": "2022-06"},
    "store": {"chunk": 64, "shard": 256, "tile": 512, "steps": 1},
}  # fmt: skip


def test_an_overview_is_the_mean_of_the_pixels_with_data(recipe, tmp_path, capsys):
    assert main([str(recipe(LARGE))]) == 0
    cube = open_cube(tmp_path / "out/cube.zarr")
    small = open_cube(tmp_path / "out/cube.zarr", overview=4)
    assert max(cube.sizes["y"], cube.sizes["x"]) > 1024
    assert small.odc.geobox.resolution.x == 4
    assert small["s2"].sizes["y"] == -(-cube.sizes["y"] // 4)
    fine = cube["s2"].values[0, 0].astype(float)
    fine[fine == 0] = np.nan
    rows, cols = (n // 4 * 4 for n in fine.shape)
    blocks = fine[:rows, :cols].reshape(rows // 4, 4, cols // 4, 4)
    lit = ~np.isnan(blocks).all(axis=(1, 3))
    want = np.zeros(lit.shape)
    want[lit] = np.rint(np.nanmean(blocks.transpose(0, 2, 1, 3)[lit], axis=(1, 2)))
    np.testing.assert_array_equal(small["s2"].values[0, 0, : rows // 4, : cols // 4], want)
    assert want.any()

    before = tree(tmp_path / "out/cube.zarr")
    assert main([str(recipe(LARGE))]) == 0
    assert "was done already" in capsys.readouterr().out
    longer = {**LARGE, "period": {"start": "2022-06", "end": "2022-07"}}
    assert main([str(recipe(longer))]) == 0
    again = recipe({**longer, "out": str(tmp_path / "once")}, name="once.yaml")
    assert main([str(again)]) == 0
    after = tree(tmp_path / "out/cube.zarr")
    assert tree(tmp_path / "once/cube.zarr") == after
    old = {name: seen for name, seen in before.items() if "s2/c/0/" in name}
    assert any(name.startswith("overviews/4/s2/") for name in old)
    assert {name: after[name] for name in old} == old


def test_a_small_cube_has_no_overview(recipe, tmp_path):
    few = {"labels": None, "evaluate": None, "period": {"start": "2022-06", "end": "2022-06"}}
    assert main([str(recipe(few))]) == 0
    assert not (tmp_path / "out/cube.zarr/overviews").exists()
