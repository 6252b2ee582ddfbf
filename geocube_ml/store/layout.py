"""How a variable lies in the store: its chunks, shards, codec, fill value and attributes."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import xarray as xr
import zarr
from numpy.typing import DTypeLike
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from geocube_ml.files import Place
from geocube_ml.grid import Grid
from geocube_ml.store.conventions import array_attrs
from geocube_ml.store.metadata import Metadata, quiet

DIGEST = "geocube_ml_digest"
"""Attribute of each variable: the digest of the recipe and inputs that made it."""

CODEC: tuple[Literal["zstd"], int, Literal["bitshuffle"]] = ("zstd", 1, "bitshuffle")
"""Blosc's compressor, level and filter; chosen by measurement, see ADR 9."""

TIME_CHUNK = 1024
"""Steps to a chunk of the time axis: there is room in it, so that one object is put to append."""


@dataclass(frozen=True)
class Variable:
    """One variable of the cube, before it is written."""

    name: str
    dims: tuple[str, ...]
    """The last two are y and x; the first of a series is time."""
    shape: tuple[int, ...]
    """With all time steps that it is to have."""
    dtype: DTypeLike
    fill: float
    """What a chunk that was never written reads as."""
    attrs: Mapping[str, Any]
    """With ``nodata`` where a value means that there is none."""
    digest: str = ""
    """Of the recipe and inputs that make it."""


def wanted_metadata(
    grid: Grid,
    group: str,
    variables: Sequence[Variable],
    coords: Mapping[str, xr.DataArray],
    digest: str = "",
) -> Metadata:
    """Metadata of a group that holds these and no others, in memory.

    Parameters
    ----------
    grid : Grid
    group : str
        Path of the group within the cube.
    variables : sequence of Variable
    coords : mapping
    digest : str
        Of variables that do not say theirs.
    """
    metadata = Metadata(Path())
    metadata.add_coords({name: _roomy(coord) for name, coord in coords.items()}, group)
    with quiet():
        for variable in variables:
            own = variable if variable.digest else replace(variable, digest=digest)
            _add(metadata.group(group), own, grid)
    return metadata


def is_series(array: zarr.Array[Any]) -> bool:
    """Whether an array has a time axis."""
    return dims_of(array)[:1] == ("time",)


def dims_of(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    """Names of an array's axes."""
    metadata: Any = array.metadata  # version 2 has none
    return tuple(metadata.dimension_names or ())


def _add(group: zarr.Group, variable: Variable, grid: Grid) -> None:
    chunk, shard, steps = grid.store.chunk, grid.store.shard, grid.store.steps
    # a block of time is as long where there are fewer steps: others will be appended
    leading = tuple(
        steps if dim == "time" else n
        for dim, n in zip(variable.dims[:-2], variable.shape[:-2], strict=True)
    )
    # a band is read alone, a time series whole: one band and all steps to a chunk
    inner = tuple(n if dim == "time" else 1 for dim, n in zip(variable.dims, leading, strict=False))
    rows, cols = variable.shape[-2:]
    cname, level, shuffle = CODEC
    group.create_array(
        variable.name,
        shape=variable.shape,
        dtype=np.dtype(variable.dtype),
        chunks=(*inner, chunk, chunk),
        shards=(*leading, *(_up(min(n, shard), chunk) for n in (rows, cols))),
        fill_value=np.array(variable.fill, variable.dtype)[()],
        compressors=BloscCodec(cname=cname, clevel=level, shuffle=shuffle),
        dimension_names=variable.dims,
        attributes=_attrs(variable, grid),
    )


def _attrs(variable: Variable, grid: Grid) -> dict[str, Any]:
    attrs = {name: value for name, value in variable.attrs.items() if name != "nodata"}
    if "nodata" in variable.attrs:
        attrs["_FillValue"] = _missing(variable.attrs["nodata"], np.dtype(variable.dtype))
    return {**attrs, **array_attrs(grid.geobox), DIGEST: variable.digest}


def _missing(nodata: float, dtype: np.dtype[Any]) -> int | str:
    """``_FillValue`` as xarray writes and reads it; JSON has no NaN."""
    if dtype.kind == "f":
        return base64.standard_b64encode(struct.pack("<d", float(nodata))).decode()
    return int(nodata)


def _roomy(coord: xr.DataArray) -> xr.DataArray:
    """A coordinate of time with chunks that have room for more steps."""
    if coord.dims[:1] != ("time",):
        return coord
    roomy = coord.copy(deep=False)
    roomy.encoding = {**coord.encoding, "chunks": (TIME_CHUNK, *coord.shape[1:])}
    return roomy


def _up(n: int, step: int) -> int:
    """The next multiple: a small grid needs no large shard, but a whole number of chunks."""
    return ceil(n / step) * step


def zarr_store(path: Place) -> Store:
    """A Zarr store at a place."""
    if isinstance(path, Path):
        return LocalStore(path)
    options: dict[str, Any] = dict(path.storage_options)
    if path.protocol == "s3":
        options["max_concurrency"] = 1  # else s3fs asks for the size before it reads
    fs = fsspec.filesystem(path.protocol, asynchronous=True, **options)
    return FsspecStore(fs, path=path.path.rstrip("/"))


class NewShards(WrapperStore[Store]):
    """A store in which no shard is there yet, and arrays are as long as they will be.

    Zarr reads a shard before it writes into it, also where all of it is replaced, as a tile does:
    a request for nothing, and an error where the one that was there is damaged.

    Parameters
    ----------
    store : Store
        What is written to.
    documents : mapping of key to dict
        Metadata that are read in place of its own.
    """

    def __init__(self, store: Store, documents: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(store)
        self._documents = {key: json.dumps(said).encode() for key, said in documents.items()}

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,  # noqa: ARG002  metadata are read whole
    ) -> Buffer | None:
        """Metadata that were handed over, and nothing else."""
        found = self._documents.get(key)
        return None if found is None else prototype.buffer.from_bytes(found)
