"""The cube on a disk or in an object store: one Zarr group, written a tile at a time.

The group holds data and nothing that depends on when or how often it was written, so that an
interrupted and resumed run leaves the same objects as an undisturbed one.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import xarray as xr
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.errors import ZarrUserWarning
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from geocube_ml.cube.grid import Grid, Tile
from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.files import Place, asked, place, sweep
from geocube_ml.spec.storage import StorageSpec

DIGEST = "geocube_ml_digest"
"""Attribute of each variable: the digest of the recipe and inputs that made it."""

_STORAGE = StorageSpec()
_STORED: Mapping[str, int] = {}


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
    """A Zarr v3 group.

    Parameters
    ----------
    path : Path or UPath
        Of the group.
    grid : Grid
        All variables lie on it.
    """

    def __init__(self, path: Place, grid: Grid) -> None:
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
        store = zarr_store(self.path)
        with _quiet():
            xr.Dataset(coords=coords, attrs=said).to_zarr(
                store, mode="a", zarr_format=3, consolidated=False
            )
        group = zarr.open_group(store, mode="r+")
        with _quiet():
            for variable in variables:
                if variable.name not in group:
                    self._add(group, variable, digest)

    def write(
        self, tile: Tile, values: Mapping[str, NDArray[Any]], digest: str | None = None
    ) -> None:
        """Write whole shards of some variables.

        Parameters
        ----------
        tile : Tile
        values : mapping of name to (..., y, x) array of the tile's shape
        digest : str, optional
            Of the recipe and inputs that the values are of.

        Raises
        ------
        StaleTarget
            A variable was made anew by another recipe since.
        """
        for name, block in values.items():
            array = zarr.open_array(_NewShards(zarr_store(self.path / name)), mode="r+")
            found = array.attrs.get(DIGEST)
            if digest is not None and found != digest:
                raise StaleTarget(
                    f"{self.path / name} was made anew by another recipe (its digest is {found}, "
                    f"this tile's {digest}); the tile is dropped."
                )
            array[..., tile.y, tile.x] = block

    def describe(self, name: str, attrs: Mapping[str, Any]) -> None:
        """Add attributes to a variable."""
        zarr.open_array(zarr_store(self.path / name), mode="r+").attrs.update(attrs)

    def _said(self) -> dict[str, Any]:
        """The group's attributes, which writing to it would replace."""
        if not (self.path / "zarr.json").exists():
            return {}
        attrs = zarr.open_group(zarr_store(self.path), mode="r").attrs.asdict()
        return {name: value for name, value in attrs.items() if name != "coordinates"}  # xarray's

    def _check(self, variables: Sequence[Variable], digest: str) -> None:
        if not (self.path / "zarr.json").exists():
            return
        group = zarr.open_group(zarr_store(self.path), mode="r")
        rows_cols = self.grid.shape
        with _quiet():
            arrays = [array for _, array in group.arrays()]
        for array in arrays:
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
            overwrite=True,  # chunks of one that was removed in part
        )


class _NewShards(WrapperStore[Store]):
    """A store in which no shard is there yet.

    Zarr reads a shard before it writes into it, also where all of it is replaced, as a tile does:
    a request for nothing, and an error where the one that was there is damaged.
    """

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Metadata only."""
        return await super().get(key, prototype, byte_range) if key.endswith(".json") else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Zarr's notes on folders that were emptied and that a store goes on listing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized", ZarrUserWarning)
        yield


def zarr_store(path: Place) -> Store:
    """A Zarr store at a place."""
    if isinstance(path, Path):
        return LocalStore(path)
    options: dict[str, Any] = dict(path.storage_options)
    if path.protocol == "s3":
        options["max_concurrency"] = 1  # else s3fs asks for the size before it reads
    fs = fsspec.filesystem(path.protocol, asynchronous=True, **options)
    return FsspecStore(fs, path=path.path.rstrip("/"))


def open_cube(
    path: str | Place,
    storage: StorageSpec = _STORAGE,
    *,
    chunks: Mapping[str, int] | None = _STORED,
) -> xr.Dataset:
    """Open a cube lazily, with its CRS; values are counts and codes as they are stored.

    Parameters
    ----------
    path : path or ``s3://`` address of a Zarr group
    storage : StorageSpec, optional
        How its bucket is reached.
    chunks : mapping, optional
        As of `xarray.open_zarr`; one dask chunk a storage chunk by default.  With None a slice is
        read in one go when it is asked for, without dask.

    Returns
    -------
    xarray.Dataset
        Lazy; ``spatial_ref`` is a coordinate.

    Raises
    ------
    MissingError
        There is no cube.
    StorageError
        Its bucket cannot be reached.
    """
    where = place(path, storage)
    with asked(where):
        there = (where / "zarr.json").is_file()
    if not there:
        raise MissingError(f"There is no cube at {path}. Run the step `cube` first.")
    with _quiet():
        cube: xr.Dataset = xr.open_zarr(
            zarr_store(where),
            consolidated=False,
            chunks=None if chunks is None else dict(chunks),
            mask_and_scale=False,
            decode_coords="all",
        )
    return cube


def _up(n: int, step: int) -> int:
    """The next multiple: a small grid needs no large shard, but a whole number of chunks."""
    return ceil(n / step) * step
