"""A cube of random values, for workloads that read one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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
_TILE = 512


def make_cube(path: Path, size: int, labelled: float) -> xr.Dataset:
    """12 months x 10 bands of `size` x `size`, smooth enough to compress as reflectance does.

    `labelled` is the share of squares of 32 pixels that are labelled.
    """
    rng = np.random.default_rng(0)
    extent = (500_000.0, 5_000_000.0, 500_000.0 + 10 * size, 5_000_000.0 + 10 * size)
    grid = make_grid(
        GridSpec(crs="EPSG:32633", resolution=10, bounds=extent),
        StoreSpec(chunk=256, shard=512, tile=_TILE),
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
    # the noise of one tile serves all, shifted: no codec looks beyond its chunk
    noise = rng.normal(0, 120, (len(MONTHS), len(BANDS), _TILE, _TILE)).astype(np.int16)

    def write(number: int) -> None:
        tile = grid.tiles[number]
        rows, cols = tile.y.stop - tile.y.start, tile.x.stop - tile.x.start
        own = np.random.default_rng((1, number))
        mean = own.integers(600, 5000, (len(MONTHS), len(BANDS), 1, 1), np.int16)
        shift = own.integers(0, _TILE, 2)
        series = np.roll(noise, shift, axis=(2, 3))[:, :, :rows, :cols] + mean
        np.clip(series, 1, 10_000, out=series)
        at = (np.arange(part.start, part.stop) // FIELD for part in (tile.y, tile.x))
        polygon = field[np.ix_(*at)]
        label = np.where(polygon > 0, polygon % len(CLASSES.names), UNKNOWN)
        values = {
            "s2": series.view(np.uint16),
            "label": label.astype(np.uint8),
            "polygon": polygon.astype(np.int32),
        }
        store.write(tile, values)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(len(grid.tiles))))
    return open_cube(path)
