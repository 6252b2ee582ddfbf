"""Whether what a recipe wants fits what is in a cube already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from geocube_ml.errors import StaleTarget
from geocube_ml.files import Place
from geocube_ml.grid import Grid
from geocube_ml.store.layout import DIGEST, dims_of, is_series, zarr_store

_NEXT = "Take another `out:`, or make it anew with --redo."
_SHOWN = 4  # values of a coordinate

Arrays = Mapping[str, zarr.Array[Any]]
"""Of one group, by name."""


def refuse_misfit(
    path: Place,
    group: str,
    grid: Grid,
    there: Arrays,
    want: Arrays,
    coords: Mapping[str, xr.DataArray],
) -> None:
    """Refuse what does not fit what is there; more time steps do.

    Parameters
    ----------
    path : Path or UPath
        Of the cube.
    group : str
        Path of the group within it.
    grid : Grid
        That the recipe asks for.
    there, want : mapping of name to zarr.Array
        What the group holds, and what is wanted of it.
    coords : mapping
        Those of `want` that are coordinates.

    Raises
    ------
    StaleTarget
        With both values.
    """
    rows, cols = grid.shape
    for array in there.values():
        if dims_of(array)[-2:] == ("y", "x") and array.shape[-2:] != (rows, cols):
            raise StaleTarget(
                f"{path} is a cube of {array.shape[-2]} x {array.shape[-1]} pixels, the recipe's "
                f"grid has {rows} x {cols}. Take another `out:`, or make the cube anew with --redo."
            )
    for name in sorted(want.keys() - coords.keys() & there.keys()):
        _check_variable(path, name, there[name], want[name])
    steps = steps_of(there)
    for name in sorted(coords.keys() & there.keys()):
        if steps is not None or not is_series(there[name]):
            stored = zarr.open_array(
                zarr_store(path), path=f"{group}/{name}" if group else name, mode="r"
            )
            _check_coord(path, name, there[name], stored, want[name])
    wanted = len(coords["time"]) if "time" in coords else 0
    for name in sorted(there.keys() - want.keys()):
        if steps is not None and wanted > steps and has_steps(there[name]):
            raise StaleTarget(
                f"{path} has a series {name!r} of {steps} time steps that the recipe does not "
                f"make; its others are to have {wanted}. {_NEXT}"
            )


def steps_of(arrays: Arrays) -> int | None:
    """Length of the time axis, if a series has it."""
    return next((array.shape[0] for array in arrays.values() if has_steps(array)), None)


def has_steps(array: zarr.Array[Any]) -> bool:
    """Whether it is a series of pixels."""
    return is_series(array) and dims_of(array)[-1] == "x"


def _check_variable(path: Place, name: str, there: zarr.Array[Any], want: zarr.Array[Any]) -> None:
    found, digest = there.attrs.get(DIGEST), want.attrs[DIGEST]
    if found != digest:
        raise StaleTarget(
            f"{path} has a variable {name!r} that another recipe made (its digest is {found}, this "
            f"recipe's {digest}). {_NEXT}"
        )
    if is_series(want) and there.shape[0] > want.shape[0]:
        raise StaleTarget(
            f"{path} has {there.shape[0]} time steps of {name!r}, the recipe's period only "
            f"{want.shape[0]}; steps are appended, not taken away. {_NEXT}"
        )
    if (one := _described(there)) != (other := _described(want)):
        raise StaleTarget(
            f"{path} has a variable {name!r} of {one}, the recipe wants {other}. {_NEXT}"
        )


def _check_coord(
    path: Place,
    name: str,
    there: zarr.Array[Any],
    stored: zarr.Array[Any],
    want: zarr.Array[Any],
) -> None:
    if there.ndim == 0:
        return
    n = there.shape[0]  # an append that was given up may have left more
    one, other = np.asarray(stored[:n]), np.asarray(want[:])
    if is_series(want):
        other = other[:n]
    units = there.attrs.get("units", ""), want.attrs.get("units", "")
    if units[0] != units[1] or not np.array_equal(one, other):
        raise StaleTarget(
            f"{path} has other values of {name!r}: {_some(one)} {units[0]}, the recipe "
            f"{_some(other)} {units[1]}. {_NEXT}"
        )


def _described(array: zarr.Array[Any]) -> str:
    """What cannot be changed of an array, in words."""
    shape = zip(dims_of(array), array.shape, strict=True)
    axes = ", ".join(f"{dim} {n}" for dim, n in shape if dim != "time")
    return (
        f"{array.dtype} ({axes}), fill value {array.fill_value}, chunks {array.chunks}, shards "
        f"{array.shards}"
    )


def _some(values: NDArray[Any]) -> str:
    listed = [str(value) for value in values.ravel()]
    shown = listed if len(listed) <= _SHOWN else [*listed[: _SHOWN - 1], "...", listed[-1]]
    return ", ".join(shown)
