"""Spectral indices by name, as the catalogue of spyndex writes them; lazy.

Montero, D. et al. (2023), A standardized catalogue of spectral indices to advance the use of
remote sensing in Earth system research. Scientific Data 10, 197.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import spyndex
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.kernels.radar import to_power
from geocube_ml.kernels.scaling import to_physical
from geocube_ml.views.bands import per_block, source_names

BANDS: Mapping[str, tuple[str, ...]] = {
    "A": ("coastal",),
    "B": ("blue",),
    "G1": ("green05",),
    "G": ("green",),
    "Y": ("yellow",),
    "R": ("red",),
    "RE1": ("rededge1", "rededge071"),
    "RE2": ("rededge2", "rededge075"),
    "RE3": ("rededge3", "rededge078"),
    "N": ("nir", "nir08"),  # Landsat 8 and MODIS have the narrow one alone, and NDVI is of it
    "N2": ("nir08",),
    "WV": ("nir09",),
    "S1": ("swir16",),
    "S2": ("swir22",),
    "T": ("lwir", "lwir11"),
    "T1": ("lwir11",),
    "T2": ("lwir12",),
    "VV": ("vv",),
    "VH": ("vh",),
    "HH": ("hh",),
    "HV": ("hv",),
}
"""What spyndex calls a band, and the names that it has in cubes (STAC's common names); the first
that the source has is taken."""

_KERNEL = re.compile(r"k([A-Z])([A-Z])")  # kNR: the kernel of near infrared and red
_KERNELS = {"linear": (), "poly": ("p", "c"), "RBF": ("sigma",)}


def indices(
    cube: xr.Dataset,
    names: str | Sequence[str],
    source: str | None = None,
    *,
    kernel: str = "RBF",
    **parameters: float | xr.DataArray,
) -> xr.Dataset:
    """Spectral indices of a source's physical values.

    On a dask-backed cube this builds a graph and reads nothing, and what is computed later reads
    only the bands of the index that is asked for.

    Parameters
    ----------
    cube : xarray.Dataset
        As of `open_cube` or `fill_gaps`, or a sample table.
    names : str or sequence of str
        As spyndex writes them: ``NDVI``, ``EVI``, ``kNDVI``, ``DpRVIVV``, ...
    source : str, optional
        Variable of the cube that has the bands; needed where it has more than one source.
    kernel : {"RBF", "poly", "linear"}
        Of kernel indices (``kNDVI``, ...).
    **parameters : float or xarray.DataArray
        Constants of the formulas (``L``, ``g``, ``C1``, ``sigma``, ...) where they are not to be
        spyndex's defaults, and those that have none (``lambdaR``: wavelength of the red band in
        nm).  An array (``sigma`` of each pixel) lies on the cube's grid.

    Returns
    -------
    xarray.Dataset
        A variable an index, with the dimensions of the source but the bands: float32, NaN where
        a band has no data and where the formula has no finite value.  Attributes ``long_name``,
        ``reference``, ``formula``, ``bands`` (which was taken for which) and ``constants``.
        Reflectance is scaled before; radar in decibels (by its ``units``) becomes linear power.

    Raises
    ------
    InputError
        No such index, source, kernel or constant; the source lacks bands that an index needs; or
        a constant without default is not given.

    Examples
    --------
    >>> counts = xr.DataArray(np.uint16([[1000], [3000]]), dims=("s2_band", "x"),
    ...                       attrs={"nodata": 0, "scale_factor": 1e-4})
    >>> cube = xr.Dataset({"s2": counts}, coords={"s2_band": ["red", "nir"]})
    >>> indices(cube, "NDVI")["NDVI"].values
    array([0.5], dtype=float32)
    """
    wanted = [names] if isinstance(names, str) else list(names)
    owner = _source(cube, source)
    _check(wanted, kernel, parameters)
    return xr.Dataset(
        {name: _index(cube[owner], name, kernel, parameters) for name in wanted}
    ).assign_attrs(cube.attrs)


def _index(
    source: xr.DataArray, name: str, kernel: str, parameters: Mapping[str, float | xr.DataArray]
) -> xr.DataArray:
    said = spyndex.indices[name]
    needs = _needs(said.bands, kernel)
    has = [str(band) for band in source[f"{source.name}_band"].values]
    bands = {
        need: next((band for band in BANDS[need] if band in has), None)
        for need in needs
        if need in BANDS
    }
    lacking = [need for need, band in bands.items() if band is None]
    if lacking:
        listed = ", ".join(f"{need} ({' or '.join(BANDS[need])})" for need in lacking)
        raise InputError(
            f"{name} = {said.formula} needs {listed}, but {source.name!r} has "
            f"{', '.join(has)}. Add the band to the recipe, or take another index."
        )
    constants = {need: _constant(name, need, parameters) for need in needs if need not in BANDS}
    arrays = {key: value for key, value in constants.items() if isinstance(value, xr.DataArray)}
    numbers = {key: value for key, value in constants.items() if key not in arrays}
    dim = f"{source.name}_band"
    values = [source.isel({dim: has.index(str(band))}, drop=True) for band in bands.values()]
    attrs = source.attrs
    index = per_block(
        _compute,
        *values,
        *arrays.values(),
        dtype=np.float32,
        formula=said.formula,
        listed=tuple(said.bands),
        bands=tuple(bands),
        arrays=tuple(arrays),
        numbers=numbers,
        kernel=kernel,
        packing=tuple(
            attrs.get(key, default)
            for key, default in (("nodata", np.nan), ("scale_factor", 1.0), ("add_offset", 0.0))
        ),
        decibel=attrs.get("units") == "dB",
    )
    return index.assign_attrs(
        long_name=said.long_name,
        units="1",
        formula=said.formula,
        reference=said.reference,
        bands=", ".join(f"{need}: {source.name}.{band}" for need, band in bands.items()),
        constants=", ".join(f"{key}: {numbers.get(key, 'an array')}" for key in constants),
    )


def _compute(
    *blocks: NDArray[Any],
    formula: str,
    listed: tuple[str, ...],
    bands: tuple[str, ...],
    arrays: tuple[str, ...],
    numbers: Mapping[str, float],
    kernel: str,
    packing: tuple[float, float, float],
    decibel: bool,
) -> NDArray[np.float32]:
    """One block of an index, from the counts of its bands and what else it needs.

    The formula is evaluated as spyndex does; its `computeIndex` reads the whole catalogue from
    the disk at each call, which takes as long as a block.
    """
    known: dict[str, Any] = dict(numbers)
    for band, counts in zip(bands, blocks, strict=False):
        physical = to_physical(counts, *packing)
        known[band] = to_power(physical, np.nan) if decibel else physical
    known.update(zip(arrays, blocks[len(bands) :], strict=True))
    with np.errstate(all="ignore"):  # where a formula has no value there is NaN
        for need in listed:
            if match := _KERNEL.fullmatch(need):
                own = {key: known[key] for key in _KERNELS[kernel]}
                a, b = (known[letter] for letter in match.groups())
                known[need] = spyndex.computeKernel(kernel, a=a, b=b, **own)
        values = np.asarray(eval(formula, {"__builtins__": {}}, known), np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _needs(listed: Sequence[str], kernel: str) -> list[str]:
    """Bands and constants of a formula; those of its kernels, where it has some."""
    needs: dict[str, None] = {}
    for need in listed:
        match = _KERNEL.fullmatch(need)
        needs.update(dict.fromkeys([*match.groups(), *_KERNELS[kernel]] if match else [need]))
    return list(needs)


def _constant(
    name: str, need: str, parameters: Mapping[str, float | xr.DataArray]
) -> float | xr.DataArray:
    if need in parameters:
        return parameters[need]
    said = spyndex.constants[need]
    if said.default is None:
        raise InputError(
            f"{name} = {spyndex.indices[name].formula} needs {need} ({said.description}), which "
            f"has no default. Give it: indices(cube, {name!r}, {need}=...)."
        )
    return float(said.default)


def _source(cube: xr.Dataset, source: str | None) -> str:
    names = source_names(cube)
    listed = ", ".join(names) or "none"
    if source is None and len(names) == 1:
        return names[0]
    if source is None:
        raise InputError(
            f"Indices are of one source, and the cube has {listed}. Name it in `source`."
        )
    if source not in names:
        raise InputError(f"The cube has no source {source!r}; it has {listed}.")
    return source


def _check(
    names: Sequence[str], kernel: str, parameters: Mapping[str, float | xr.DataArray]
) -> None:
    for name in names:
        if name not in spyndex.indices:
            raise InputError(
                f"spyndex {spyndex.__version__} has no index {name!r}{_near(name)}. "
                "sorted(spyndex.indices) lists all."
            )
    if kernel not in _KERNELS:
        raise InputError(f"A kernel is {', '.join(_KERNELS)}, got {kernel!r}.")
    taken = {need for name in names for need in _needs(spyndex.indices[name].bands, kernel)}
    unknown = sorted(set(parameters) - (taken - set(BANDS)))
    if unknown:
        raise InputError(
            f"{', '.join(names)} have no constant {', '.join(unknown)}; they have "
            f"{', '.join(sorted(taken - set(BANDS))) or 'none'}."
        )


def _near(name: str) -> str:
    """The names that are written almost like one, in the case that spyndex writes."""
    by_lower = {str(known).lower(): str(known) for known in spyndex.indices}
    near = [by_lower[low] for low in get_close_matches(name.lower(), by_lower, 3, 0.6)]
    return f"; did you mean {', '.join(near)}?" if near else ""
