"""Views of a cube: a variable a band, physical values, radar in decibels.  All are lazy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.kernels import radar, scaling

_PACKING = ("nodata", "scale_factor", "add_offset", "_FillValue", "missing_value")


def source_names(data: xr.Dataset) -> list[str]:
    """Names of the sources: the variables with a band dimension of their own, ``NAME_band``.

    Parameters
    ----------
    data : xarray.Dataset
        A cube or a sample table.

    Returns
    -------
    list of str
        Series (with ``time``) first, then static ones; each kind by name.
    """
    names = [str(name) for name, var in data.data_vars.items() if f"{name}_band" in var.dims]
    return sorted(names, key=lambda name: ("time" not in data[name].dims, name))


def as_bands(cube: xr.Dataset, sources: str | Sequence[str] | None = None) -> xr.Dataset:
    """The cube with one variable a band.

    Parameters
    ----------
    cube : xarray.Dataset
        As of `open_cube`, or a sample table; dask-backed or not.
    sources : str or sequence of str, optional
        The sources that are wanted; the others are left out.  All by default.

    Returns
    -------
    xarray.Dataset
        A variable a band, with the dtype, values and attributes of its source, whose name is its
        attribute ``source``.  It is named as the band where no other source has a band of that
        name and the cube no variable, else ``<source>_<band>``; whatever `sources` is, so that a
        name stays the same.  What goes with bands (``<source>_filled``) is cut in the same way.
        Everything else (``<source>_clear``, ``label``, ...) is as in the cube.

    Raises
    ------
    InputError
        There is no such source, or two variables would have one name.

    Examples
    --------
    >>> cube = xr.Dataset({"s2": (("s2_band", "y", "x"), np.ones((2, 3, 3), "uint16"))},
    ...                   coords={"s2_band": ["red", "nir"]})
    >>> list(as_bands(cube))
    ['red', 'nir']
    """
    every = source_names(cube)
    wanted = _chosen(cube, every, sources)
    names = _band_names(cube, every)
    gone = {f"{name}{end}" for name in every if name not in wanted for end in ("", "_clear")}
    views: dict[str, xr.DataArray] = {}
    for key, variable in cube.data_vars.items():
        owner = next((name for name in every if f"{name}_band" in variable.dims), None)
        if owner is None:
            parts = iter(() if key in gone else [(str(key), variable)])
        else:
            parts = iter(_split(variable, owner, names[owner]) if owner in wanted else ())
        for name, part in parts:
            if name in views:
                raise InputError(
                    f"Two variables would be named {name!r}: one is a band of {key!r}. Rename "
                    "the source or the band in the recipe, or the variable of the cube."
                )
            views[name] = part
    coords = {
        name: coord
        for name, coord in cube.coords.items()
        if not any(f"{source}_band" in coord.dims for source in every)
    }
    return xr.Dataset(views, coords=coords, attrs=cube.attrs)


def to_physical(cube: xr.Dataset) -> xr.Dataset:
    """The cube in physical values, with NaN where there is no data.

    Parameters
    ----------
    cube : xarray.Dataset
        As of `open_cube`, `as_bands` or `fill_gaps`, or a sample table; dask-backed or not.

    Returns
    -------
    xarray.Dataset
        Sources, bands, and whatever else has a ``scale_factor`` or ``add_offset`` (``prob``) as
        float32, NaN for nodata, without the attributes that say how it was packed.  Codes and
        counts (``label``, ``class``, ``s2_clear``) are as in the cube.
    """
    return cube.assign(
        {name: _unpacked(var) for name, var in cube.data_vars.items() if _is_packed(var)}
    )


def to_decibel(power: xr.DataArray) -> xr.DataArray:
    """Backscatter in decibels.

    Parameters
    ----------
    power : xarray.DataArray
        Linear power, float, as the cube holds it or physical; nodata or NaN where there is none.

    Returns
    -------
    xarray.DataArray
        float32 of the same nodata, lazy where `power` is; units ``dB``.  Nodata where the power is
        not above 0.

    Examples
    --------
    >>> to_decibel(xr.DataArray(np.float32([1, 100, np.nan]))).values
    array([ 0., 20., nan], dtype=float32)
    """
    return _converted(power, radar.to_decibel, "dB")


def to_power(decibel: xr.DataArray) -> xr.DataArray:
    """Backscatter in linear power, in which means and ratios are taken.

    Parameters
    ----------
    decibel : xarray.DataArray
        Float, as the cube holds it or physical; nodata or NaN where there is none.

    Returns
    -------
    xarray.DataArray
        float32 of the same nodata, lazy where `decibel` is; units ``1``.

    Examples
    --------
    >>> to_power(xr.DataArray(np.float32([0, 20, np.nan]))).values
    array([  1., 100.,  nan], dtype=float32)
    """
    return _converted(decibel, radar.to_power, "1")


def per_block(
    function: Callable[..., NDArray[Any]], *blocks: xr.DataArray, dtype: Any, **options: Any
) -> xr.DataArray:
    """A kernel on the pixels of one or several arrays that lie on one grid; lazy on dask.

    Keeps coordinates, and no attribute but the grid mapping.
    """
    done: xr.DataArray = xr.apply_ufunc(
        function, *blocks, kwargs=options, dask="parallelized", output_dtypes=[np.dtype(dtype)],
        keep_attrs="override",  # of coordinates, spatial_ref above all
    )  # fmt: skip
    done.attrs = mapping_of(blocks[0])
    return done


def mapping_of(variable: xr.DataArray) -> dict[str, Any]:
    """The grid mapping as an attribute, if there is one; xarray keeps it apart when it reads."""
    found = {**variable.encoding, **variable.attrs}.get("grid_mapping")
    return {} if found is None else {"grid_mapping": found}


def _chosen(
    cube: xr.Dataset, every: Sequence[str], sources: str | Sequence[str] | None
) -> Sequence[str]:
    if sources is None:
        return every
    wanted = [sources] if isinstance(sources, str) else list(sources)
    unknown = [name for name in wanted if name not in every]
    if unknown:
        raise InputError(
            f"The cube has no source {', '.join(unknown)}; its sources are "
            f"{', '.join(every) or 'none'}, its variables {', '.join(map(str, cube))}."
        )
    return wanted


def _band_names(cube: xr.Dataset, every: Sequence[str]) -> dict[str, list[str]]:
    """Names of the variables of each source's bands."""
    bands = {name: [str(band) for band in cube[f"{name}_band"].values] for name in every}
    taken = Counter(band for names in bands.values() for band in names)
    taken.update(str(name) for name in cube.variables if name not in every)
    return {
        name: [band if taken[band] == 1 else f"{name}_{band}" for band in of_it]
        for name, of_it in bands.items()
    }


def _split(
    variable: xr.DataArray, source: str, names: Sequence[str]
) -> Iterator[tuple[str, xr.DataArray]]:
    end = str(variable.name).removeprefix(source)
    title = variable.attrs.get("long_name")
    for at, name in enumerate(names):
        part = variable.isel({f"{source}_band": at}, drop=True)
        band = str(variable[f"{source}_band"].values[at])
        # how four dimensions were chunked would stop three from being written
        part.encoding = {}
        said = {"long_name": f"{title}: {band}" if title else band}
        if not end:
            said["source"] = source  # that it holds values to be scaled, also where no scale is
        if (own := variable.attrs.get(f"units_{band}")) is not None:  # of one that is derived
            said["units"] = own
        kept = {k: v for k, v in variable.attrs.items() if not k.startswith("units_")}
        part.attrs = {**kept, **mapping_of(variable), **said}
        yield f"{name}{end}", part


def _is_packed(variable: xr.DataArray) -> bool:
    own = f"{variable.name}_band" in variable.dims
    number = variable.dtype.kind in "iuf"
    return number and (own or bool({"scale_factor", "add_offset", "source"} & set(variable.attrs)))


def _unpacked(variable: xr.DataArray) -> xr.DataArray:
    attrs = variable.attrs
    physical = per_block(
        scaling.to_physical,
        variable,
        dtype=np.float32,
        nodata=attrs.get("nodata", np.nan),
        scale=attrs.get("scale_factor", 1.0),
        offset=attrs.get("add_offset", 0.0),
    )
    kept = {key: value for key, value in attrs.items() if key not in _PACKING}
    return physical.assign_attrs(kept)


def _converted(
    values: xr.DataArray, kernel: Callable[..., NDArray[Any]], units: str
) -> xr.DataArray:
    nodata = values.attrs.get("nodata", np.nan)
    done = per_block(kernel, values, dtype=np.float32, nodata=nodata)
    return done.assign_attrs({**values.attrs, "units": units})
