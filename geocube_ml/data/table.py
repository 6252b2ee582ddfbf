"""The sample table on a disk or in an object store: as Zarr, or as GeoParquet.

Both say all that the Dataset holds, so that a table that is written and read again is the same.
A GeoParquet has one row a sample, its place as a point, a list over time for each band of a series
(``s2_B04``), and further values as plain columns; what else the Dataset needs stands under one key
of the file's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import xarray as xr
import zarr
from numpy.typing import NDArray
from pyproj import CRS

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.errors import InputError, MissingError, listed
from geocube_ml.files import Place, asked, place, whole_file, whole_folder
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.store.cube import zarr_store

ROWS = 65_536
"""Samples in a chunk, or in a row group, of a table."""

KEY = b"geocube_ml"
"""Of a GeoParquet's metadata: what the Dataset needs beside the columns, as JSON."""

_FORMAT = 1
_STORAGE = StorageSpec()


def write_samples(
    samples: xr.Dataset, location: str | os.PathLike[str] | Place, storage: StorageSpec = _STORAGE
) -> None:
    """Write a sample table, whole or not at all.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    location : path or ``s3://`` address
        Ending in ``.parquet`` a GeoParquet, else a Zarr group.
    storage : StorageSpec, optional
        How its bucket is reached.

    Raises
    ------
    InputError
        Two columns of a GeoParquet would have one name.
    """
    where = place(location, storage)
    if where.suffix == ".parquet":
        columns = _columns(samples)
        with whole_file(where) as partial:
            _write_parquet(samples, columns, partial)
        return
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in samples.data_vars.items():
        rows = max(1, min(ROWS, variable.sizes["sample"]))
        encoding[name] = {"chunks": (rows, *variable.shape[1:])}
        if "_FillValue" not in variable.attrs:  # xarray would give floats one
            encoding[name]["_FillValue"] = None
    # of each chunk under way there is a copy
    with whole_folder(where) as partial, zarr.config.set({"async.concurrency": 2}):
        samples.to_zarr(partial, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def read_samples(
    location: str | os.PathLike[str] | Place, storage: StorageSpec = _STORAGE
) -> xr.Dataset:
    """A sample table, in memory.

    Parameters
    ----------
    location : path or ``s3://`` address
        Ending in ``.parquet`` a GeoParquet that `write_samples` wrote, else a Zarr group.
    storage : StorageSpec, optional
        How its bucket is reached.

    Returns
    -------
    xarray.Dataset
        As `gather_samples` made it.

    Raises
    ------
    MissingError
        It is not there.
    InputError
        It is something else, or damaged.
    """
    where = place(location, storage)
    samples = _read_parquet(where) if where.suffix == ".parquet" else _read_zarr(where)
    missing = [name for name in ("label", "polygon", "x", "y") if name not in samples]
    if "sample" not in samples.dims or missing or not source_names(samples):
        raise InputError(
            f"{where} is no sample table: it has {listed([str(name) for name in samples])}. Write "
            "one with `write_samples`, or run the step `samples`."
        )
    return samples


def _read_zarr(where: Place) -> xr.Dataset:
    with asked(where):
        if not (where / "zarr.json").exists():
            raise MissingError(f"There are no samples at {where}. Run the step `samples`.")
        try:
            samples: xr.Dataset = xr.open_zarr(
                zarr_store(where), consolidated=False, mask_and_scale=False, chunks=None
            )
        except (ValueError, KeyError) as error:  # no JSON, or not Zarr's
            raise InputError(
                f"{where} cannot be read as a sample table ({type(error).__name__}: {error}). Make "
                "it anew with the step `samples`."
            ) from error
        samples = samples.load()
    for name, variable in samples.variables.items():
        variable.encoding.clear()  # as it was gathered: what is made of it is chunked anew
        if variable.dtype.kind in "TU":
            samples[name] = variable.astype(object)
    return samples


# --- GeoParquet


def _columns(samples: xr.Dataset) -> dict[str, list[str]]:
    """Names of the columns of each variable."""
    found: dict[str, list[str]] = {}
    for key, variable in samples.data_vars.items():
        name = str(key)
        of = [dim for dim in variable.dims if str(dim).endswith("_band")]
        found[name] = [f"{name}_{band}" for band in samples[of[0]].values] if of else [name]
    every = ["geometry", "class", *(column for columns in found.values() for column in columns)]
    twice = sorted({column for column in every if every.count(column) > 1})
    if twice:
        raise InputError(
            f"A GeoParquet would have the columns {listed(twice)} twice. Rename a source, a band, "
            "or a column of the labels; or write Zarr."
        )
    return found


def _write_parquet(
    samples: xr.Dataset, columns: dict[str, list[str]], path: os.PathLike[str]
) -> None:
    classes = ClassScheme.from_attrs(samples["label"].attrs).names
    writer = None
    try:
        for start in range(0, max(samples.sizes["sample"], 1), ROWS):
            part = samples.isel(sample=slice(start, start + ROWS))
            points = shapely.to_wkb(shapely.points(part["x"].values, part["y"].values))
            arrays: dict[str, Any] = {
                "geometry": pa.array(points, pa.binary()),
                "class": pa.array([classes[code] for code in part["label"].values], pa.string()),
            }
            for name, of_variable in columns.items():
                arrays |= _arrays(part[name], of_variable)
            table = pa.table(arrays)
            if writer is None:
                said = {KEY: json.dumps(_said(samples, columns)), b"geo": json.dumps(_geo(samples))}
                schema = table.schema.with_metadata(said)
                writer = pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata))
    finally:
        if writer is not None:
            writer.close()


def _arrays(variable: xr.DataArray, columns: list[str]) -> dict[str, pa.Array]:
    """(sample), (sample, band), (sample, time, band) values as columns, a band each."""
    values = variable.values
    if values.ndim == 1:
        return {columns[0]: pa.array(values.tolist() if values.dtype.kind in "OT" else values)}
    if is_static(variable):
        return {name: pa.array(values[:, at].copy()) for at, name in enumerate(columns)}
    return {
        name: pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(values[..., at]).ravel()), values.shape[1]
        )
        for at, name in enumerate(columns)
    }


def _said(samples: xr.Dataset, columns: dict[str, list[str]]) -> dict[str, Any]:
    """All but the values of the columns, as JSON."""
    return {
        "format": _FORMAT,
        "variables": {
            name: {
                "dims": samples[name].dims,
                "dtype": _dtype(samples[name].dtype),
                "columns": columns[name],
                "attrs": _plain(samples[name].attrs),
            }
            for name in columns
        },
        "coords": {
            str(name): {
                "dims": coord.dims,
                "dtype": _dtype(coord.dtype),
                "values": _plain(
                    coord.values.astype("int64") if coord.dtype.kind == "M" else coord.values
                ),
                "attrs": _plain(coord.attrs),
            }
            for name, coord in samples.coords.items()
        },
        "attrs": _plain(samples.attrs),
    }


def _dtype(dtype: np.dtype[Any]) -> str:
    """As text; texts as Zarr reads them are objects here."""
    return "|O" if dtype.kind == "T" else dtype.str


def _geo(samples: xr.Dataset) -> dict[str, Any]:
    """Of GeoParquet 1.1: which column is the geometry, and its CRS."""
    wkt = samples.attrs.get("crs")
    return {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Point"],
                "crs": CRS.from_wkt(wkt).to_json_dict() if wkt else None,
            }
        },
    }


def _plain(value: Any) -> Any:
    """A value of numpy's types as JSON takes it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@contextmanager
def _parquet(where: Place) -> Iterator[pq.ParquetFile]:
    """A Parquet file, opened; what it is instead, if it is none."""
    with asked(where):
        if not where.is_file():
            raise MissingError(f"There are no samples at {where}. Run the step `samples`.")
        with where.open("rb") as file:
            try:
                yield pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                size = where.stat().st_size
                raise InputError(
                    f"{where} ({size} bytes) cannot be read as Parquet: {error}. Copy or write it "
                    "again."
                ) from error


def _read_parquet(where: Place) -> xr.Dataset:
    with _parquet(where) as file:
        there = file.schema_arrow.names
        text = (file.schema_arrow.metadata or {}).get(KEY)
        if text is None:
            raise InputError(
                f"{where} is a Parquet file with the columns {listed(there)}, but no sample table: "
                f"its metadata lack the key `{KEY.decode()}`, which `write_samples` writes and "
                "other programs lose when they write the file again."
            )
        said = json.loads(text)
        if said["format"] != _FORMAT:
            raise InputError(
                f"{where} is a sample table of format {said['format']}, this version reads "
                f"{_FORMAT}. Read it with the version that wrote it."
            )
        variables = said["variables"]
        missing = [c for one in variables.values() for c in one["columns"] if c not in there]
        if missing:
            raise InputError(
                f"{where} lacks the columns {listed(missing)} of the sample table that it was "
                "written from. Write it again."
            )
        coords = {name: _coord(coord) for name, coord in said["coords"].items()}
        sizes = {dim: len(coord[1]) for coord in coords.values() for dim in coord[0]}
        sizes["sample"] = file.metadata.num_rows
        values: dict[str, NDArray[Any]] = {
            name: np.empty([sizes[dim] for dim in one["dims"]], one["dtype"])
            for name, one in variables.items()
        }
        start = 0
        for group in range(file.num_row_groups):  # one at a time: twice a group is held, not twice
            table = file.read_row_group(group)
            for name, one in variables.items():
                _fill(values[name][start : start + len(table)], table, one["columns"])
            start += len(table)
    return xr.Dataset(
        {name: (one["dims"], values[name], one["attrs"]) for name, one in variables.items()},
        coords=coords,
        attrs=said["attrs"],
    )


def _fill(out: NDArray[Any], table: pa.Table, columns: list[str]) -> None:
    """Values of the columns of one variable into its rows."""
    if out.ndim == 1:
        out[...] = table[columns[0]].to_numpy()
        return
    for at, name in enumerate(columns):
        column = table[name].combine_chunks()
        flat = column.flatten() if out.ndim == 3 else column
        out[..., at] = flat.to_numpy(zero_copy_only=False).reshape(out.shape[:-1])


def _coord(said: dict[str, Any]) -> tuple[list[str], NDArray[Any], dict[str, Any]]:
    dtype = np.dtype(said["dtype"])
    values = np.array(said["values"], "int64" if dtype.kind == "M" else dtype)
    return said["dims"], values.view(dtype) if dtype.kind == "M" else values, said["attrs"]
