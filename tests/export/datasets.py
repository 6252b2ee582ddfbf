"""A small cube with everything that a data set is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from geocube_ml.data.samples import gather_samples
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.store.cube import open_cube
from tests.seasons import add_radar, add_terrain, make_cube, stored

EDGE = 16
DRAW = SamplesSpec(block_m=100, gap_m=25)
SOURCES = ("s1", "s2", "dem")


def labelled_cube(folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """Two series and a layer, fields with ground of a class between them, and their samples."""
    stored(add_terrain(add_radar(make_cube(background=3))), folder / "cube.zarr")
    cube = open_cube(folder / "cube.zarr", chunks=None)
    return cube, gather_samples(cube, DRAW)


def square(variable: xr.DataArray, name: str, edge: int = EDGE) -> np.ndarray:
    """The values of a chip by its name, filled up with nodata, bands and steps in one axis."""
    row, col = (int(part) * edge for part in name.split("_"))
    part = variable.isel(y=slice(row, row + edge), x=slice(col, col + edge)).values
    out = np.full((*part.shape[:-2], edge, edge), variable.attrs["nodata"], part.dtype)
    out[..., : part.shape[-2], : part.shape[-1]] = part
    return out.reshape(-1, edge, edge)
