"""Coordinates and CF attributes of a cube's variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.xr import xr_coords

from geocube_ml.grid import Grid
from geocube_ml.spec.composite import CompositeSpec
from geocube_ml.spec.period import TimeStep
from geocube_ml.spec.sensor import BandSpec, SensorSpec

CLEAR_FILL = 0
"""Count of clear observations where nothing was written: none.  It is a count, not nodata."""

CLEAR_ATTRS = {
    "long_name": "number of clear observations",
    "units": "1",
    "grid_mapping": "spatial_ref",
}

_CELL_METHODS = {
    "median": "time: median",
    "mean": "time: mean",
    "geomedian": "time: median (geometric, over all bands)",
    "medoid": "time: point (medoid over all bands)",
    "best": "time: point (best available pixel)",
}
"""In the words of CF, appendix E, which knows no medoid."""

# whole days from one origin: what is stored does not depend on how long the axis is
_DAYS = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


_NO_BANDS: Mapping[str, BandSpec] = {}
_DERIVED_UNITS = {"slope": "degree", "aspect": "degree", "northness": "1", "eastness": "1"}


def band_attrs(
    sensor: SensorSpec,
    composite: CompositeSpec | None = None,
    bands: Mapping[str, BandSpec] = _NO_BANDS,
) -> dict[str, Any]:
    """CF attributes of a source's variable; its values are counts.

    Parameters
    ----------
    sensor : SensorSpec
    composite : CompositeSpec, optional
        How a step was made; None for a static source, which says nothing of time.
    bands : mapping of name to BandSpec, optional
        Of one that is derived, such as ``slope``, ``units_slope`` says the unit.

    Returns
    -------
    dict
        ``long_name``, ``units``, ``nodata`` (of the counts), ``grid_mapping``; ``scale_factor``
        and ``add_offset`` where they change something; ``cell_methods`` of a series.
    """
    series = composite is not None and not sensor.static
    made = f"{composite.method} of the clear observations" if composite and series else "layer"
    units = "dB" if (sensor.stored_as or sensor.power) == "decibel" else sensor.units
    attrs: dict[str, Any] = {"long_name": sensor.title or made, "units": units}
    if (sensor.scale, sensor.add_offset) != (1, 0):
        attrs |= {"scale_factor": sensor.scale, "add_offset": sensor.add_offset}
    integer = np.issubdtype(np.dtype(sensor.dtype), np.integer)
    attrs["nodata"] = int(sensor.nodata) if integer else float(sensor.nodata)
    for name, band in bands.items():
        if band.derive:
            attrs[f"units_{name}"] = _DERIVED_UNITS[band.derive]
    if composite and series:
        attrs["cell_methods"] = _CELL_METHODS[composite.method]
    return attrs | {"grid_mapping": "spatial_ref"}


def cube_coords(
    grid: Grid, steps: Sequence[TimeStep], bands: Mapping[str, Sequence[str]]
) -> dict[str, xr.DataArray]:
    """Y, x and the CRS of a cube; time and bands where they are given.

    Parameters
    ----------
    grid : Grid
    steps : sequence of TimeStep
        The time axis; empty for a cube or a variable without one.
    bands : mapping of source to band names

    Returns
    -------
    dict
        ``y``, ``x`` (metres, centres of pixels), ``spatial_ref``; ``time`` (time) datetime64[ns],
        the start of each step, with ``time_bnds`` (time, nv), its start and the start of what
        follows; ``<source>_band`` of text.
    """
    coords = {str(name): coord for name, coord in xr_coords(grid.geobox).items()}
    if steps:
        coords |= _time(steps)
    for name, names in bands.items():
        dim = f"{name}_band"
        coords[dim] = text_coord(dim, names, f"band of {name}")
    return coords


def _time(steps: Sequence[TimeStep]) -> dict[str, xr.DataArray]:
    bounds = np.array([(step.start, step.stop) for step in steps], "datetime64[ns]")
    said = {
        "long_name": "start of the step",
        "standard_name": "time",
        "axis": "T",
        "bounds": "time_bnds",
    }
    time = xr.DataArray(bounds[:, 0], dims="time", attrs=said)
    time_bnds = xr.DataArray(bounds, dims=("time", "nv"))
    for coord in (time, time_bnds):
        coord.encoding = dict(_DAYS)
    return {"time": time, "time_bnds": time_bnds}


def text_coord(dim: str, names: Sequence[str], long_name: str) -> xr.DataArray:
    """Names along a dimension, as Zarr's `string`; fixed-width text has no stable Zarr type."""
    return xr.DataArray(np.array(names, object), dims=dim, attrs={"long_name": long_name})
