"""The cube on disk: one Zarr group, written a tile at a time.

The group holds data and nothing that depends on when or how often it was written, so that an
interrupted and resumed run leaves the same objects as an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec

from geocube_ml.cube.grid import Grid, Tile
from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.files import sweep

DIGEST = "geocube_ml_digest"
"""Attribute of each variable: the digest of the recipe and inputs that made it."""


@dataclass(frozen=True)
class Variable:
    """One variable of the cube, before it is written."""

    name: str
    dims: tuple[str, ...]
    """The last two are y and x."""
    shape: tuple[int, ...]
    dtype: DTypeLike
    fill: float
    """What a chunk that was never written reads as."""
    attrs: Mapping[str, Any]


class CubeStore:
    """A Zarr v3 group on the local disk.

    Parameters
    ----------
    path : Path
        Folder of the group.
    grid : Grid
        All variables lie on it.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path = path
        self.grid = grid

    def create(
        self,
        variables: Sequence[Variable],
        coords: Mapping[str, xr.DataArray],
        digest: str,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the group, or add variables to it; may be repeated after an interruption.

        Parameters
        ----------
        variables : sequence of Variable
        coords : mapping
            Coordinates that the variables need.
        digest : str
            Of the recipe and inputs that make the variables.
        attrs : mapping, optional
            Of the group.

        Raises
        ------
        StaleTarget
            A variable of that name was made by another recipe.
        """
        sweep(self.path)
        self._check(variables, digest)
        said = {**self._said(), **(attrs or {})}
        xr.Dataset(coords=coords, attrs=said).to_zarr(
            self.path, mode="a", zarr_format=3, consolidated=False
        )
        group = zarr.open_group(self.path, mode="r+")
        for variable in variables:
            if variable.name not in group:
                self._add(group, variable, digest)

    def write(self, tile: Tile, values: Mapping[str, NDArray[Any]]) -> None:
        """Write whole shards of some variables; (..., y, x) arrays of the tile's shape."""
        for name, block in values.items():
            array = zarr.open_array(self.path / name, mode="r+")
            array[..., tile.y, tile.x] = block

    def _said(self) -> dict[str, Any]:
        """The group's attributes, which writing to it would replace."""
        if not (self.path / "zarr.json").exists():
            return {}
        attrs = zarr.open_group(self.path, mode="r").attrs.asdict()
        return {name: value for name, value in attrs.items() if name != "coordinates"}  # xarray's

    def _check(self, variables: Sequence[Variable], digest: str) -> None:
        if not (self.path / "zarr.json").exists():
            return
        group = zarr.open_group(self.path, mode="r")
        rows_cols = self.grid.shape
        for _, array in group.arrays():
            if array.ndim > 1 and array.shape[-2:] != rows_cols:
                raise StaleTarget(
                    f"{self.path} is a cube of {array.shape[-2]} x {array.shape[-1]} pixels, the "
                    f"recipe's grid has {rows_cols[0]} x {rows_cols[1]}. Take another `out:`, or "
                    "make the cube anew with --redo."
                )
        for variable in variables:
            if variable.name not in group:
                continue
            found = group[variable.name].attrs.get(DIGEST)
            if found != digest:
                raise StaleTarget(
                    f"{self.path} has a variable {variable.name!r} that another recipe made "
                    f"(its digest is {found}, this recipe's {digest}). Take another `out:`, or "
                    "make it anew with --redo."
                )

    def _add(self, group: zarr.Group, variable: Variable, digest: str) -> None:
        chunk, shard = self.grid.store.chunk, self.grid.store.shard
        leading = tuple(
            min(n, self.grid.store.steps) if dim == "time" else n
            for dim, n in zip(variable.dims[:-2], variable.shape[:-2], strict=True)
        )
        # a band is read alone, a time series whole: one band and all steps to a chunk
        inner = tuple(
            n if dim == "time" else 1 for dim, n in zip(variable.dims, leading, strict=False)
        )
        rows, cols = variable.shape[-2:]
        group.create_array(
            variable.name,
            shape=variable.shape,
            dtype=np.dtype(variable.dtype),
            chunks=(*inner, chunk, chunk),
            shards=(*leading, *(_up(min(n, shard), chunk) for n in (rows, cols))),
            fill_value=np.array(variable.fill, variable.dtype)[()],
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
            dimension_names=variable.dims,
            attributes={**variable.attrs, DIGEST: digest},
        )


def open_cube(path: str | Path) -> xr.Dataset:
    """Open a cube lazily, with its CRS; values are counts and codes as they are stored.

    Parameters
    ----------
    path : path of a Zarr group

    Returns
    -------
    xarray.Dataset
        dask-backed, one dask chunk a storage chunk; ``spatial_ref`` is a coordinate.

    Raises
    ------
    MissingError
        There is no cube.
    """
    if not (Path(path) / "zarr.json").exists():
        raise MissingError(f"There is no cube at {path}. Run the step `cube` first.")
    cube: xr.Dataset = xr.open_zarr(
        path, consolidated=False, chunks={}, mask_and_scale=False, decode_coords="all"
    )
    return cube


def _up(n: int, step: int) -> int:
    """The next multiple: a small grid needs no large shard, but a whole number of chunks."""
    return ceil(n / step) * step
