"""Which variables of a cube, or of a sample table, are sources, and what they hold."""

from __future__ import annotations

from typing import Any

import xarray as xr


def source_names(data: xr.Dataset) -> list[str]:
    """Names of the sources: the variables with a band dimension of their own, ``NAME_band``.

    Parameters
    ----------
    data : xarray.Dataset
        A cube or a sample table.

    Returns
    -------
    list of str
        Series (with ``time``) first, then static ones; each kind by name, since the order in which
        a store lists its variables differs from store to store.
    """
    names = [str(name) for name, variable in data.data_vars.items()
             if f"{name}_band" in variable.dims]  # fmt: skip
    return sorted(names, key=lambda name: (is_static(data[name]), name))


def is_static(source: xr.DataArray) -> bool:
    """Whether a source has no time axis."""
    return "time" not in source.dims


def deciding(data: xr.Dataset) -> list[str]:
    """The sources by which a pixel counts as observed: series, or static ones where none is.

    An elevation is known everywhere; a pixel of which no satellite saw anything is still one that
    nothing can be said of.
    """
    names = source_names(data)
    return [name for name in names if not is_static(data[name])] or names


def described(data: xr.Dataset) -> dict[str, Any]:
    """What a model must know of a cube or a sample table, as the fields of a `Fit`.

    Returns
    -------
    dict
        ``sources``: name, bands, nodata, scale, add_offset and static of each; ``steps``: month
        and day (``MM-DD``) on which each step of the time axis starts, none without one.
    """
    sources = []
    for name in source_names(data):
        attrs = data[name].attrs
        sources.append(
            {
                "name": name,
                "bands": tuple(str(band) for band in data[f"{name}_band"].values),
                "nodata": float(attrs["nodata"]),
                "scale": float(attrs.get("scale_factor", 1)),
                "add_offset": float(attrs.get("add_offset", 0)),
                "static": is_static(data[name]),
            }
        )
    series = any(not source["static"] for source in sources)
    steps = tuple(data["time"].dt.strftime("%m-%d").values.tolist()) if series else ()
    return {"sources": tuple(sources), "steps": steps}
