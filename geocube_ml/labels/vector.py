"""Reading the features of a vector file, on a disk or in an object store."""

from __future__ import annotations

import contextlib
import difflib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyproj import CRS

from geocube_ml.errors import GeocubeError, InputError, MissingError, listed
from geocube_ml.files import Place, below, names, place
from geocube_ml.spec.labels import LabelSource
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.spec.validity import is_date

DECISION = ("decision", "decision_class")
"""Columns in which people's decisions stand."""

_PARQUET = (".parquet", ".geoparquet")
_FOLDERS = (".gdb",)


@dataclass(frozen=True)
class Words:
    """What messages call a file and the recipe's keys that name it."""

    file: str
    path: str
    layer: str


LABELS = Words("label file", "labels.path", "labels.layer")
"""Of labels."""


@dataclass(frozen=True)
class Header:
    """What a vector file says of itself."""

    n: int
    """Number of features."""
    crs: CRS | None
    """None where it is not stated."""
    columns: tuple[str, ...]
    """Without the geometry's."""
    geometry: str | None
    """Column of the geometry in a Parquet file, else None."""
    layer: str | None
    """Layer of a file that has several."""


def vector_parts(path: Place, words: Words = LABELS) -> list[Place]:
    """The files of a vector file: several for a Shapefile or a file geodatabase.

    Parameters
    ----------
    path : Place
    words : Words, optional
        For messages.

    Returns
    -------
    list of Place

    Raises
    ------
    MissingError
        It is not there.
    """
    if path.suffix.lower() in _FOLDERS and path.is_dir():
        return below(path, "")
    if not path.is_file():
        raise MissingError(f"There is no {words.file} {path}. Correct `{words.path}`.")
    if path.suffix.lower() != ".shp":
        return [path]
    parts = {path.stem + ending for ending in (".shp", ".dbf", ".prj", ".cpg", ".shx")}
    return [path.with_name(name) for name in sorted(names(path.parent)) if _plain(name) in parts]


def read_features(source: LabelSource, storage: StorageSpec) -> gpd.GeoDataFrame:
    """The geometry of each feature, and those of its columns that the source names.

    Parameters
    ----------
    source : LabelSource
        A vector file.
    storage : StorageSpec
        How its bucket is reached, if it lies in one.

    Returns
    -------
    GeoDataFrame
        One row a feature in the order of the file, numbered from 0, in the file's CRS.

    Raises
    ------
    MissingError
        The file is not there.
    InputError
        It cannot be read, or has no CRS, features, layer or column of that name.
    """
    with _opened_labels(source, storage) as (local, path, header):
        return _frame(local, path, header, needed_columns(source, header.columns), LABELS)


def _read_file(local: Path, layer: str | None, columns: list[str]) -> gpd.GeoDataFrame:
    """Rings that are not closed become none; they are listed as without a geometry."""
    how: dict[str, Any] = {"layer": layer, "columns": columns, "on_invalid": "ignore"}
    with warnings.catch_warnings():
        # numbers among texts, as GeoJSON may have them, are read as texts
        warnings.filterwarnings("ignore", "Could not parse column", UserWarning)
        warnings.filterwarnings("ignore", "Non closed ring", RuntimeWarning)
        try:
            return gpd.read_file(local, use_arrow=True, **how)
        except NotImplementedError:  # curves, which the slower way makes straight
            return gpd.read_file(local, **how)


def read_columns(source: LabelSource, storage: StorageSpec) -> pd.DataFrame:
    """As `read_features`, without the geometries."""
    with _opened_labels(source, storage) as (local, _, header):
        asked = needed_columns(source, header.columns)
        if not asked:  # of one class, and nothing else is said of it
            return pd.DataFrame(index=range(header.n))
        if header.geometry:
            found = pq.ParquetFile(local).read(asked).to_pandas()
        else:
            found = pyogrio.read_dataframe(
                local, layer=header.layer, columns=asked, read_geometry=False, use_arrow=True
            )
        return pd.DataFrame(found[asked]).reset_index(drop=True)


def read_shapes(
    file: str, layer: str | None, storage: StorageSpec, words: Words = LABELS
) -> gpd.GeoSeries:
    """As `read_features`, the geometries alone, of any vector file.

    Parameters
    ----------
    file : str
    layer : str or None
        Of a file that has several.
    storage : StorageSpec
    words : Words, optional
        For messages.
    """
    with _opened(file, layer, storage, words) as (local, path, header):
        return _frame(local, path, header, [], words).geometry


def needed_columns(source: LabelSource, there: Sequence[str]) -> list[str]:
    """Columns of a file that are read, each once; decisions where it has them."""
    asked = [column for _, column in _asked(source)]
    if set(DECISION) <= set(there):
        asked += DECISION
    return list(dict.fromkeys(asked))


def _asked(source: LabelSource) -> list[tuple[str, str]]:
    """Keys of a source that name columns, and the columns."""
    said: list[tuple[str, Any]] = [
        ("class_column", source.class_column),
        ("weight", source.weight if isinstance(source.weight, str) else None),
        *((key, day if day and not is_date(day) else None)
          for key, day in (("valid_from", source.valid_from), ("valid_to", source.valid_to))),
        *(("columns", column) for column in source.columns),
    ]  # fmt: skip
    return [(key, column) for key, column in said if column is not None]


@contextlib.contextmanager
def _opened_labels(
    source: LabelSource, storage: StorageSpec
) -> Iterator[tuple[Path, Place, Header]]:
    """As `_opened`; the columns that a source names are there."""
    with _opened(source.path, source.layer, storage, LABELS) as (local, path, header):
        _check_columns(path, source, header)
        yield local, path, header


@contextlib.contextmanager
def _opened(
    file: str, layer: str | None, storage: StorageSpec, words: Words
) -> Iterator[tuple[Path, Place, Header]]:
    """The file on this machine, where it is, and what it says of itself, which is checked."""
    with _local(place(file, storage), words) as (local, path), _told(path):
        header = _header(local, path, layer, words)
        _check(path, header, words)
        yield local, path, header


def _frame(
    local: Path, path: Place, header: Header, columns: list[str], words: Words
) -> gpd.GeoDataFrame:
    """Geometries and some columns of a file on this machine."""
    with np.errstate(invalid="ignore"):  # coordinates that are not numbers are told by who reads
        if header.geometry:
            frame = gpd.read_parquet(local, columns=[*columns, header.geometry])
        else:
            frame = _read_file(local, header.layer, columns)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"{path} has no geometries. Name another file or `{words.layer}`.")
    # a column may be called as we call the geometry's
    shapes = frame.geometry.to_numpy()
    return gpd.GeoDataFrame(
        pd.DataFrame(frame[columns]).reset_index(drop=True), geometry=shapes, crs=header.crs
    )


def _header(local: Path, path: Place, layer: str | None, words: Words) -> Header:
    if path.suffix.lower() in _PARQUET:
        file = pq.ParquetFile(local)
        geo = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"{}"))
        primary = geo.get("primary_column")
        if primary is None:
            raise ValueError("it has no column of geometries")
        # without a `crs` it is in degrees; a null says that it is not known
        crs = geo["columns"][primary].get("crs", "OGC:CRS84")
        columns = tuple(name for name in file.schema_arrow.names if name != primary)
        return Header(file.metadata.num_rows, _crs(crs), columns, primary, None)
    layer = _layer(local, path, layer, words)
    info = pyogrio.read_info(local, layer=layer, force_feature_count=True)
    columns = tuple(str(name) for name in info["fields"])
    return Header(int(info["features"]), _crs(info["crs"]), columns, None, layer)


def _crs(said: Any) -> CRS | None:
    return CRS.from_user_input(said) if said else None


@contextlib.contextmanager
def _local(path: Place, words: Words) -> Iterator[tuple[Path, Place]]:
    """The file on this machine, and where it is."""
    parts = vector_parts(path, words)
    if not sum(part.stat().st_size for part in parts):
        raise InputError(
            f"{path} is empty: it has 0 bytes. Write it anew, or name another file as "
            f"`{words.path}`."
        )
    if isinstance(path, Path):
        yield path, path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / path.name
        for part in parts:
            copy = (
                local / part.name
                if len(parts) > 1 and local.suffix in _FOLDERS
                else (local.with_name(part.name))
            )
            copy.parent.mkdir(exist_ok=True)
            with part.open("rb") as there, copy.open("wb") as here:
                shutil.copyfileobj(there, here, 2**22)
        yield local, path


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
        pyogrio.errors.FieldError,
        shapely.errors.ShapelyError,
    ) as error:
        raise InputError(
            f"{path} cannot be read as polygons ({error}). It must be a GeoPackage, GeoJSON, "
            "GeoParquet, Shapefile, FlatGeobuf, or what else GeoPandas reads; a raster is "
            "known by its ending, such as .tif."
        ) from error


def _check(path: Place, header: Header, words: Words) -> None:
    """Refuse a file without features or without a CRS."""
    if not header.n:
        raise InputError(f"{path} has no features. Name another file or `{words.layer}`.")
    if header.crs is None:
        raise InputError(
            f"{path} has no CRS, so where its polygons lie is not known. Write it into the file, "
            "for example with geopandas: frame.set_crs('EPSG:...').to_file(...)."
        )


def _check_columns(path: Place, source: LabelSource, header: Header) -> None:
    """Refuse a file without a column that is asked for."""
    for key, column in _asked(source):
        if column not in header.columns:
            near = difflib.get_close_matches(column, header.columns, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"{path} has no column {column!r}; it has {listed(header.columns)}. {hint}"
                f"Correct `labels.{key}`."
            )


def _layer(local: Path, path: Place, layer: str | None, words: Words) -> str | None:
    layers = [str(name) for name, kind in pyogrio.list_layers(local) if kind is not None]
    layers = layers or [str(name) for name, _ in pyogrio.list_layers(local)]
    if layer is None and len(layers) > 1:
        places = {name: pyogrio.read_info(local, layer=name)["crs"] for name in layers}
        told = layers
        if len(set(places.values())) > 1:
            told = [f"{name} ({crs or 'no CRS'})" for name, crs in places.items()]
        raise InputError(
            f"{path} has {len(layers)} layers: {listed(told)}. Name one as `{words.layer}`."
        )
    if layer is not None and layer not in layers:
        raise InputError(
            f"{path} has no layer {layer!r}; it has {listed(layers)}. Correct `{words.layer}`."
        )
    # by its name: GDAL would count tables without geometries, such as QGIS's styles
    return layer or next(iter(layers), None)


def _plain(name: str) -> str:
    """A file's name with its ending in small letters."""
    stem, dot, ending = name.rpartition(".")
    return stem + dot + ending.lower()
