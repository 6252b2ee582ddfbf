"""A cube of random values, for workloads that read one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from geocube_ml.grid import make_grid
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import CubeStore, Variable, open_cube

MONTHS = PeriodSpec(start="2022-01", end="2022-12").steps
BANDS = [f"b{number:02d}" for number in range(1, 11)]
CLASSES = ClassScheme(
    names=("a", "b", "c", "d"), colors=("#111111", "#222222", "#333333", "#444444")
)
FIELD = 32  # edge of a labelled square in pixels


def make_cube(path: Path, size: int, labelled: float) -> xr.Dataset:
    """12 months x 10 bands of `size` x `size`, smooth enough to compress as reflectance does.

    `labelled` is the share of squares of 32 pixels that are labelled.
    """
    rng = np.random.default_rng(0)
    extent = (500_000.0, 5_000_000.0, 500_000.0 + 10 * size, 5_000_000.0 + 10 * size)
    grid = make_grid(
        GridSpec(crs="EPSG:32633", resolution=10, bounds=extent),
        StoreSpec(chunk=256, shard=512, tile=512),
    )
    store = CubeStore(path, grid)
    attrs = {"nodata": 0, "scale_factor": 1e-4, "grid_mapping": "spatial_ref"}
    shape = (len(MONTHS), len(BANDS), size, size)
    store.create(
        [
            Variable("s2", ("time", "s2_band", "y", "x"), shape, "uint16", 0, attrs),
            Variable("label", ("y", "x"), shape[2:], "uint8", UNKNOWN,
                     {**CLASSES.attrs(), "nodata": UNKNOWN}),
            Variable("polygon", ("y", "x"), shape[2:], "int32", 0, {"nodata": 0}),
        ],
        cube_coords(grid, MONTHS, {"s2": BANDS}),
        "benchmark",
    )  # fmt: skip
    across = -(-size // FIELD)
    field = np.arange(across**2).reshape(across, across) + 1
    field[rng.random(field.shape) >= labelled] = 0
    for tile in grid.tiles:
        rows, cols = tile.y.stop - tile.y.start, tile.x.stop - tile.x.start
        mean = rng.integers(300, 5000, (len(MONTHS), len(BANDS), 1, 1))
        noise = rng.normal(0, 120, (len(MONTHS), len(BANDS), rows, cols))
        polygon = field.repeat(FIELD, 0).repeat(FIELD, 1)[tile.y, tile.x]
        label = np.where(polygon > 0, polygon % len(CLASSES.names), UNKNOWN)
        values = {
            "s2": np.clip(mean + noise, 1, 10_000).astype(np.uint16),
            "label": label.astype(np.uint8),
            "polygon": polygon.astype(np.int32),
        }
        store.write(tile, values)
    return open_cube(path)
