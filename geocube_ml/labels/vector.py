"""Reading the features of a vector file, on a disk or in an object store."""

from __future__ import annotations

import contextlib
import difflib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from geocube_ml.errors import GeocubeError, InputError, MissingError
from geocube_ml.files import Place, names, place
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.storage import StorageSpec


def vector_parts(path: Place) -> list[Place]:
    """The files of a vector file: several for a Shapefile.

    Raises
    ------
    MissingError
        It is not there.
    """
    if not path.is_file():
        raise MissingError(f"There is no label file {path}. Correct `labels.path`.")
    if path.suffix.lower() != ".shp":
        return [path]
    parts = {path.stem + ending for ending in (".shp", ".dbf", ".prj", ".cpg", ".shx")}
    return [path.with_name(name) for name in sorted(names(path.parent)) if _plain(name) in parts]


def read_vector(spec: LabelsSpec, storage: StorageSpec) -> gpd.GeoDataFrame:
    """``feature`` (row of the file, from 0), ``class`` as text, and the geometry, of each feature.

    Raises
    ------
    MissingError
        The file is not there.
    InputError
        It cannot be read, or has no CRS, features, layer or class column of that name.
    """
    with _local(spec, storage) as (local, path):
        with _told(path):
            if _is_parquet(path):
                frame = gpd.read_parquet(local)
            else:
                frame = gpd.read_file(local, layer=_layer(local, path, spec.layer))
        if not isinstance(frame, gpd.GeoDataFrame):
            raise InputError(_nothing(path))
        columns = [str(name) for name in frame.columns if name != frame.geometry.name]
        _check(path, spec, len(frame), frame.crs is not None, columns)
        named = {
            "feature": np.arange(len(frame)),
            "class": [_text(value) for value in frame[spec.class_column]],
        }
        return gpd.GeoDataFrame(named, geometry=frame.geometry.to_numpy(), crs=frame.crs)


def read_values(spec: LabelsSpec, storage: StorageSpec) -> list[str]:
    """The class of each feature as text, without reading a geometry.

    Raises
    ------
    MissingError, InputError
        As `read_vector`.
    """
    with _local(spec, storage) as (local, path):
        column = spec.class_column
        with _told(path):
            if _is_parquet(path):
                file = pq.ParquetFile(local)
                geo = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"{}"))
                primary = geo.get("primary_column")
                if primary is None:
                    raise ValueError("it has no column of geometries")
                # without a `crs` it is in degrees; a null says that it is not known
                placed = geo["columns"][primary].get("crs", "OGC:CRS84") is not None
                columns = [name for name in file.schema_arrow.names if name != primary]
                _check(path, spec, file.metadata.num_rows, placed, columns)
                values = file.read([column]).column(column).to_pylist()
            else:
                layer = _layer(local, path, spec.layer)
                info = pyogrio.read_info(local, layer=layer, force_feature_count=True)
                placed, columns = bool(info["crs"]), [str(name) for name in info["fields"]]
                _check(path, spec, info["features"], placed, columns)
                found = pyogrio.read_dataframe(
                    local, layer=layer, columns=[column], read_geometry=False
                )
                values = list(found[column])
        return [_text(value) for value in values]


@contextlib.contextmanager
def _local(spec: LabelsSpec, storage: StorageSpec) -> Iterator[tuple[Path, Place]]:
    """The file on this machine, and where it is."""
    path = place(spec.path, storage)
    parts = vector_parts(path)
    if isinstance(path, Path):
        yield path, path
        return
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            (Path(folder) / part.name).write_bytes(part.read_bytes())
        yield Path(folder) / path.name, path


@contextlib.contextmanager
def _told(path: Place) -> Iterator[None]:
    """What a library says of a file that it cannot read, in our words."""
    try:
        yield
    except GeocubeError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        pa.ArrowException,
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
    ) as error:
        raise InputError(
            f"{path} cannot be read as polygons ({error}). It must be a GeoPackage, GeoJSON, "
            "GeoParquet or Shapefile."
        ) from error


def _check(path: Place, spec: LabelsSpec, n: int, placed: bool, columns: Sequence[str]) -> None:
    """Refuse a file without features, without a CRS, or without the column of the classes."""
    if not n:
        raise InputError(_nothing(path))
    if not placed:
        raise InputError(
            f"{path} has no CRS, so where its polygons lie is not known. Write it into the file, "
            "for example with geopandas: frame.set_crs('EPSG:...').to_file(...)."
        )
    if spec.class_column not in columns:
        near = difflib.get_close_matches(spec.class_column, columns, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"{path} has no column {spec.class_column!r}; it has {', '.join(columns)}. {hint}"
            "Correct `labels.class_column`."
        )


def _nothing(path: Place) -> str:
    return f"{path} has no features. Name another file or `labels.layer`."


def _is_parquet(path: Place) -> bool:
    return path.suffix.lower() in (".parquet", ".geoparquet")


def _layer(local: Path, path: Place, layer: str | None) -> str | None:
    layers = [str(name) for name, _ in pyogrio.list_layers(local)]
    if layer is None and len(layers) > 1:
        raise InputError(
            f"{path} has {len(layers)} layers: {', '.join(layers)}. Name one as `labels.layer`."
        )
    if layer is not None and layer not in layers:
        raise InputError(
            f"{path} has no layer {layer!r}; it has {', '.join(layers)}. Correct `labels.layer`."
        )
    return layer


def _text(value: Any) -> str:
    """A class value as text: 3, 3.0 and "3" are the same class, and nothing is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _plain(name: str) -> str:
    """A file's name with its ending in small letters."""
    stem, dot, ending = name.rpartition(".")
    return stem + dot + ending.lower()
