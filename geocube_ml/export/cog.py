"""A variable of the cube as a Cloud-Optimized GeoTIFF."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  gives DataArrays their `odc`
import xarray as xr
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError
from geocube_ml.files import Place
from geocube_ml.raster import write_cog

_LONGEST_TAG = 1024  # characters; a longer attribute is a document, not a tag
_ELSEWHERE = ("nodata", "scale_factor", "grid_mapping")  # attributes that the file has a place for
_UNNAMED = "#000000"  # of values between those that have a colour


def to_cog(
    variable: xr.DataArray, path: str | Place, *, tags: Mapping[str, str] | None = None
) -> Place:
    """Write a variable of the cube as a COG on its own grid, whole or not at all.

    Parameters
    ----------
    variable : (y, x) or (band, y, x) DataArray, of numpy or dask
        Read in strips of rows.  Its attributes decide the rest: ``nodata``; ``scale_factor``;
        ``flag_values`` and ``flag_colors`` (``#rrggbb #rrggbb ...``), the colour table of a
        single uint8 band.  Other short attributes become tags, ``flag_meanings`` among them.
        The coordinate of the leading dimension names the bands.
    path : path or ``s3://`` address
        Replaced if it exists.
    tags : mapping, optional
        More metadata of the file; wins over an attribute of the same name.

    Returns
    -------
    Path or UPath

    Raises
    ------
    InputError
        The variable has no CRS, or other dimensions.
    OSError
        The file cannot be written; nothing is left at `path` then.
    """
    name = str(variable.name or "variable")
    grid = _grid(variable, name)
    attrs = variable.attrs
    # a scaled variable holds quantities, whatever its bands stand for
    classes = "flag_values" in attrs and "scale_factor" not in attrs
    return write_cog(
        path,
        variable.data,
        grid,
        nodata=attrs.get("nodata"),
        colors=_colors(variable) if classes else None,
        names=_band_names(variable),
        tags=_tags(attrs) | dict(tags or {}),
        scale=attrs.get("scale_factor"),
        overviews="mode" if classes else "average",
    )


def _grid(variable: xr.DataArray, name: str) -> GeoBox:
    if variable.dims[-2:] != ("y", "x") or variable.ndim not in (2, 3):
        raise InputError(
            f"{name} lies on ({', '.join(map(str, variable.dims))}), a GeoTIFF on (y, x) or "
            "(band, y, x). Choose one step of the others first, for example "
            f"`{name}.isel(time=0)`."
        )
    mapping = variable.encoding.get("grid_mapping", variable.attrs.get("grid_mapping"))
    lost = mapping is not None and mapping not in variable.coords  # odc-geo would only warn
    grid: GeoBox | None = None if lost else variable.odc.geobox
    if grid is None or grid.crs is None:
        raise InputError(
            f"{name} has no CRS, so that its pixels have no place. Write one first, for example "
            f"`{name}.odc.assign_crs('EPSG:32633')`, and keep the coordinate `spatial_ref`."
        )
    return grid


def _colors(variable: xr.DataArray) -> list[str] | None:
    """Colours of the values 0, 1, ...; None where a GeoTIFF has no room for a colour table."""
    colors = str(variable.attrs.get("flag_colors", "")).split()
    values = [int(value) for value in np.atleast_1d(variable.attrs["flag_values"])]
    if variable.ndim != 2 or variable.dtype != np.uint8 or not colors:
        return None
    if len(colors) != len(values):
        raise InputError(
            f"{variable.name} has {len(values)} flag_values but {len(colors)} flag_colors. "
            "Give every class one colour, `#rrggbb`, separated by blanks."
        )
    by_value = dict(zip(values, colors, strict=True))
    return [by_value.get(value, _UNNAMED) for value in range(max(values) + 1)]


def _band_names(variable: xr.DataArray) -> Sequence[str]:
    lead = variable.dims[0]
    # a variable of the cube may share the dimension's name, and then is its "coordinate" too
    if variable.ndim == 2 or lead not in variable.coords or variable.coords[lead].dims != (lead,):
        return ()
    labels = variable.coords[lead]
    if np.issubdtype(labels.dtype, np.datetime64):
        return [str(day) for day in labels.values.astype("datetime64[D]")]
    return [str(label) for label in labels.values]


def _tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """Attributes as text.

    Examples
    --------
    >>> _tags({"flag_values": [0, 1], "class_names": ["winter wheat", "rye"], "nodata": 255})
    {'flag_values': '0 1', 'class_names': '["winter wheat", "rye"]'}
    """
    texts = {str(key): _text(value) for key, value in attrs.items() if key not in _ELSEWHERE}
    return {key: text for key, text in texts.items() if len(text) <= _LONGEST_TAG}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return json.dumps(value, ensure_ascii=False)  # texts may hold blanks
    return " ".join(map(str, np.atleast_1d(value)))
