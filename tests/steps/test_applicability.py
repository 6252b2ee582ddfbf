from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.data.table import read_samples
from geocube_ml.evaluate.applicability import applicability_map, learn_applicability
from geocube_ml.run import main
from geocube_ml.store.cube import open_cube

# odc-geo multiplies transforms in the way that affine 3 is giving up
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")


@pytest.mark.usefixtures("finished")
def test_the_map_says_where_it_may_be_believed(recipe, tmp_path):
    """Tile by tile as the whole; without the field again, it is gone."""
    out = tmp_path / "out"
    path = recipe({"predict": {"applicability": True}})
    assert main([str(path), "predict"]) == 2  # the map that is there was made without
    assert main([str(path), "predict", "--redo"]) == 0
    cube = open_cube(out / "cube.zarr")
    learnt = learn_applicability(read_samples(out / "samples.zarr"))
    want = applicability_map(cube, learnt).compute()
    np.testing.assert_allclose(cube["dissimilarity"], want["dissimilarity"], atol=2e-3)
    same = cube["applicable"].values == want["applicable"].values
    assert same.mean() > 0.999  # products of matrices differ in their last bits
    assert set(np.unique(cube["applicable"])) >= {0, 1}
    np.testing.assert_array_equal(np.isnan(cube["dissimilarity"]), cube["class"] == 255)
    assert cube["dissimilarity"].attrs["threshold"] == pytest.approx(learnt.known.threshold)
    assert main([str(recipe()), "predict", "--redo"]) == 0
    assert "applicable" not in open_cube(out / "cube.zarr")
    assert not (out / "applicability.safetensors").exists()
