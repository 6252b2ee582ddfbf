"""Coordinates and CF attributes of a cube's variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.xr import xr_coords

from geocube_ml.cube.grid import Grid
from geocube_ml.spec.source import SourceSpec

CLEAR_FILL = 0
"""Count of clear observations where nothing was written: none."""

CLEAR_ATTRS = {
    "long_name": "number of clear observations",
    "units": "1",
    "grid_mapping": "spatial_ref",
}


def band_attrs(source: SourceSpec) -> dict[str, Any]:
    """CF attributes of a source's variable; its values are counts."""
    sensor = source.sensor
    attrs: dict[str, Any] = {"long_name": sensor.title or "monthly median", "units": sensor.units}
    if sensor.scale != 1:
        attrs |= {"scale_factor": sensor.scale, "add_offset": 0.0}
    integer = np.issubdtype(np.dtype(sensor.dtype), np.integer)
    nodata = int(sensor.nodata) if integer else float(sensor.nodata)
    return attrs | {"nodata": nodata, "grid_mapping": "spatial_ref"}


def cube_coords(
    grid: Grid, months: Sequence[str], bands: dict[str, list[str]]
) -> dict[str, xr.DataArray]:
    """Y, x and the CRS of a cube; time and bands where they are given."""
    coords = {str(name): coord for name, coord in xr_coords(grid.geobox).items()}
    if months:
        starts = pd.to_datetime(list(months), format="%Y-%m").to_numpy("datetime64[ns]")
        said = {"long_name": "start of the month", "standard_name": "time"}
        coords["time"] = xr.DataArray(starts, dims="time", attrs=said)
    for name, names in bands.items():
        dim = f"{name}_band"
        coords[dim] = text_coord(dim, names, f"band of {name}")
    return coords


def text_coord(dim: str, names: Sequence[str], long_name: str) -> xr.DataArray:
    """Names along a dimension, as Zarr's `string`; fixed-width text has no stable Zarr type."""
    return xr.DataArray(np.array(names, object), dims=dim, attrs={"long_name": long_name})
