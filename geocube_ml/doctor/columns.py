"""Writing columns into a label file, all else of it kept, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from geocube_ml.errors import InputError
from geocube_ml.files import Place, content_digest, local_copy, whole_file

COLUMNS = ("decision", "decision_class", "decision_history")
"""What people decided of each feature: the latest decision, its class, and all as JSON."""

Values = Mapping[int, tuple[str, str, str]]
"""Feature (row of the file, from 0) to the values of `COLUMNS`."""

_INSTEAD = (
    "Save the labels as a GeoPackage (geopandas: read_file(...).to_file('labels.gpkg')), name it "
    "in the recipe, and run the steps labels, samples and doctor again."
)


def check_writable(path: Place) -> None:
    """Refuse a file that columns cannot be written into.

    Raises
    ------
    InputError
        Its format, its rights, or another program that has it open.
    """
    _writer(path)
    if not isinstance(path, Path):
        if path.protocol not in ("s3", "s3a", "memory", "file"):
            raise InputError(
                f"{path} can only be read, so decisions cannot be written into it. Copy it to this "
                "machine or to a bucket of yours, and name the copy as `labels.path`."
            )
        return
    real = path.resolve()
    for needed in (real, real.parent):  # a file is replaced in its folder
        if not os.access(needed, os.W_OK):
            raise InputError(
                f"{path} cannot be written: {needed} is read-only. Change its rights, or name a "
                "copy as `labels.path`."
            )
    journal = real.with_name(real.name + "-wal")
    if real.suffix.lower() == ".gpkg" and journal.exists() and journal.stat().st_size:
        raise InputError(
            f"{path} is open in another program, which has changes that are not in it yet "
            f"({journal.name}). Close it there (QGIS: remove the layer) and run again."
        )


def read_columns(path: Place, layer: str | None) -> dict[int, tuple[str, str, str]]:
    """What stands in the three columns of each feature; empty texts where nothing does.

    Raises
    ------
    InputError
        A column of such a name is of another kind.
    """
    with local_copy(path) as local:
        if _ending(path) == ".parquet":
            file = pq.ParquetFile(local)
            there = [name for name in COLUMNS if name in file.schema_arrow.names]
            n, found = file.metadata.num_rows, file.read(there).to_pydict()
        else:
            which = layer_of(local, layer)
            info = pyogrio.read_info(local, layer=which, force_feature_count=True)
            there = [name for name in COLUMNS if name in info["fields"]]
            n = int(info["features"])
            found = {name: [] for name in there}
            if there:
                frame = pyogrio.read_dataframe(
                    local, layer=which, columns=there, read_geometry=False
                )
                found = {name: frame[name].tolist() for name in there}
    every = [[_text(value) for value in found.get(name, [""] * n)] for name in COLUMNS]
    return dict(enumerate(zip(*every, strict=True)))


def write_columns(path: Place, layer: str | None, values: Values) -> None:
    """Write the three columns of some features; the others keep what they have.

    The file is written anew beside and takes the old one's place when it is whole.  Other layers,
    columns, the CRS and the order of the features stay as they are.

    Parameters
    ----------
    path : Path or UPath
        GeoPackage, GeoJSON or GeoParquet.
    layer : str or None
        Of a GeoPackage that has several.
    values : mapping

    Raises
    ------
    InputError
        It cannot be written, or was changed by another meanwhile.
    """
    check_writable(path)
    write = _writer(path)
    real = path.resolve() if isinstance(path, Path) else path  # a link stays one
    before = content_digest([real])
    with local_copy(real) as local, whole_file(real) as partial:
        write(local, partial, layer, values)
        if isinstance(real, Path):
            shutil.copymode(real, partial)
        if content_digest([real]) != before:
            raise InputError(
                f"{path} was changed by another program while decisions were written into it, so "
                "they were not. Run the same command again."
            )


def layer_of(local: Path, layer: str | None) -> str:
    """The layer that is meant: the one that is named, or the only one with geometries."""
    every = [(str(name), kind) for name, kind in pyogrio.list_layers(local)]
    placed = [name for name, kind in every if kind is not None] or [name for name, _ in every]
    return layer or placed[0]


def _ending(path: Place) -> str:
    ending = path.suffix.lower()
    return {".json": ".geojson", ".geoparquet": ".parquet"}.get(ending, ending)


def _writer(path: Place) -> Callable[[Path, Path, str | None, Values], None]:
    ending = _ending(path)
    if ending == ".shp":
        raise InputError(
            f"{path} is a Shapefile, whose columns have names of 10 letters and texts of 254: "
            f"decisions and their history do not fit in. {_INSTEAD}"
        )
    if ending not in _WRITERS:
        raise InputError(
            f"Decisions are written into GeoPackage, GeoJSON and GeoParquet, and {path} is none. "
            f"{_INSTEAD}"
        )
    return _WRITERS[ending]


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN is not itself


def _geopackage(local: Path, out: Path, layer: str | None, values: Values) -> None:
    """In place in a copy: whatever else a GeoPackage holds is not touched."""
    table = layer_of(local, layer)
    fids = pyogrio.read_dataframe(
        local, layer=table, columns=[], read_geometry=False, fid_as_index=True
    ).index
    shutil.copyfile(local, out)
    with _connected(out) as database:
        kind = database.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,))
        if kind.fetchone() != ("table",):
            raise InputError(
                f"The layer {table!r} of {local.name} is a view, which has no columns of its own. "
                "Name the layer that it shows as `labels.layer`."
            )
        columns = list(database.execute(f"PRAGMA table_info({_quoted(table)})"))
        key = next(str(name) for _, name, *_, primary in columns if primary)
        for name in COLUMNS:
            if name not in {str(column[1]) for column in columns}:
                database.execute(f"ALTER TABLE {_quoted(table)} ADD COLUMN {name} TEXT")
        database.executemany(
            f"UPDATE {_quoted(table)} SET {', '.join(f'{name} = ?' for name in COLUMNS)} "
            f"WHERE {_quoted(key)} = ?",
            [(*texts, int(fids[feature])) for feature, texts in values.items()],
        )
        database.execute(
            "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') "
            "WHERE lower(table_name) = lower(?)",
            (table,),
        )


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A GeoPackage as a database, whose changes are kept if the block ends well."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        # triggers of the spatial index name them; they do nothing as no number and shape changes
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            database.create_function(name, 1, lambda _: 0)
        yield database


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _geojson(local: Path, out: Path, layer: str | None, values: Values) -> None:  # noqa: ARG001
    whole = json.loads(local.read_text(encoding="utf-8-sig"))
    if not isinstance(whole, dict) or whole.get("type") != "FeatureCollection":
        raise InputError(
            f"{local.name} is no GeoJSON FeatureCollection, so decisions cannot be written into "
            f"it. {_INSTEAD}"
        )
    for at, feature in enumerate(whole["features"]):
        # a column is there for all, or libraries that look at the first rows miss it
        was = feature.get("properties") or {}
        kept = tuple(was.get(name) for name in COLUMNS)
        feature["properties"] = was | dict(zip(COLUMNS, values.get(at, kept), strict=True))
    with out.open("w", encoding="utf-8") as file:
        # a feature a line, as GDAL writes it: what changed can be seen
        head = [f"{json.dumps(key)}: {_json(value)}" for key, value in whole.items()
                if key != "features"]  # fmt: skip
        rows = ",\n".join(_json(feature) for feature in whole["features"])
        file.write("{\n" + ",\n".join([*head, f'"features": [\n{rows}\n]']) + "\n}\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _geoparquet(local: Path, out: Path, layer: str | None, values: Values) -> None:  # noqa: ARG001
    file = pq.ParquetFile(local)
    schema = file.schema_arrow
    for name in COLUMNS:
        if name not in schema.names:
            schema = schema.append(pa.field(name, pa.string()))
    codec = file.metadata.row_group(0).column(0).compression
    start = 0
    with pq.ParquetWriter(
        out, schema, compression=codec if codec != "UNCOMPRESSED" else "none"
    ) as to:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            for place, name in enumerate(COLUMNS):
                texts = rows.column(name).to_pylist() if name in rows.column_names else None
                texts = texts or [None] * rows.num_rows
                for feature, told in values.items():
                    if start <= feature < start + rows.num_rows:
                        texts[feature - start] = told[place]
                column = pa.array(texts, schema.field(name).type)
                if name in rows.column_names:
                    rows = rows.set_column(
                        rows.column_names.index(name), schema.field(name), column
                    )
                else:
                    rows = rows.append_column(schema.field(name), column)
            to.write_table(rows.select(schema.names).cast(schema), row_group_size=rows.num_rows)
            start += rows.num_rows


_WRITERS: dict[str, Callable[[Path, Path, str | None, Values], None]] = {
    ".gpkg": _geopackage,
    ".geojson": _geojson,
    ".parquet": _geoparquet,
}
