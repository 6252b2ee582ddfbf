"""A grid, and label files written for it."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from geocube_ml.grid import make_grid
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import LabelsSpec

ROOT = Path(__file__).parents[2]
LEFT, BOTTOM = 500_000, 5_000_000


@pytest.fixture(scope="session")
def data(real_data):
    """The folder of real data."""
    return real_data("slovenia_s2_ndvi").parent


def square(x, y, edge=100, height=None):
    """A box in metres from the grid's lower left corner."""
    return shapely.box(LEFT + x, BOTTOM + y, LEFT + x + edge, BOTTOM + y + (height or edge))


@pytest.fixture(scope="session", name="square")
def _square():
    return square


@pytest.fixture(scope="session")
def grid():
    """100 x 100 pixels of 10 m, in tiles of 48."""
    bounds = (LEFT, BOTTOM, LEFT + 1000, BOTTOM + 1000)
    spec = GridSpec(crs="EPSG:32633", resolution=10, bounds=bounds)
    return make_grid(spec, StoreSpec(chunk=16, shard=48, tile=48))


@pytest.fixture
def write(tmp_path):
    """Write shapes and the values of their classes; returns the spec that names the file."""

    def made(shapes, values, name="labels.gpkg", *, crs="EPSG:32633", to=None, **spec):
        frame = gpd.GeoDataFrame({"crop": values}, geometry=list(shapes), crs=crs)
        frame = frame if to is None else frame.to_crs(to)
        path = tmp_path / name
        if path.suffix in (".parquet", ".geoparquet"):
            frame.to_parquet(path)
        else:
            frame.to_file(path)
        return LabelsSpec(**{"path": str(path), "class_column": "crop", "inset_m": 0} | spec)

    return made
