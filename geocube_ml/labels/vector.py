"""Reading the features of a vector file, on a disk or in an object store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
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
    path = place(spec.path, storage)
    with tempfile.TemporaryDirectory() as folder:
        parts = vector_parts(path)
        if isinstance(path, Path):
            return _read(path, path, spec)
        for part in parts:
            (Path(folder) / part.name).write_bytes(part.read_bytes())
        return _read(Path(folder) / path.name, path, spec)


def _read(local: Path, path: Place, spec: LabelsSpec) -> gpd.GeoDataFrame:
    """`path`, of which `local` is a copy on this machine."""
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(local)
        else:
            frame = gpd.read_file(local, layer=_layer(local, path, spec.layer))
    except GeocubeError:
        raise
    except (
        OSError,
        ValueError,
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
    ) as error:
        raise InputError(
            f"{path} cannot be read as polygons ({error}). It must be a GeoPackage, GeoJSON, "
            "GeoParquet or Shapefile."
        ) from error
    if not isinstance(frame, gpd.GeoDataFrame) or frame.empty:
        raise InputError(f"{path} has no features. Name another file or `labels.layer`.")
    if frame.crs is None:
        raise InputError(
            f"{path} has no CRS, so where its polygons lie is not known. Write it into the file, "
            "for example with geopandas: frame.set_crs('EPSG:...').to_file(...)."
        )
    if spec.class_column not in frame.columns:
        columns = ", ".join(str(c) for c in frame.columns if c != frame.geometry.name)
        raise InputError(
            f"{path} has no column {spec.class_column!r}; it has {columns}. "
            "Correct `labels.class_column`."
        )
    named = {
        "feature": np.arange(len(frame)),
        "class": [_text(value) for value in frame[spec.class_column]],
    }
    return gpd.GeoDataFrame(named, geometry=frame.geometry.to_numpy(), crs=frame.crs)


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
