"""Rows of a GeoParquet become items, quickly: what many rows have in common is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pystac
import shapely
from numpy.typing import NDArray

OFFSET_FIELDS = ("raster:bands", "bands", "raster:scale", "raster:offset")
"""What an asset says of what was added to its counts."""

FIELDS = (
    "href", "proj:shape", "proj:transform", "proj:epsg", "proj:code", "proj:wkt2", *OFFSET_FIELDS,
)  # fmt: skip
"""What is kept of an asset that is read."""

_PLACES = ("id", "bbox", "geometry", "assets", "datetime", "collection", "type", "stac_version")
_ANY_DATE = datetime(1970, 1, 1, tzinfo=UTC)


def items_of_batch(batch: pa.RecordBatch, absolute: Callable[[str], str]) -> Iterator[pystac.Item]:
    """The items of some rows.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        Columns as stac-geoparquet writes them, or some of them.
    absolute : callable
        Gives the address of an asset's href.

    Yields
    ------
    pystac.Item
        Assets without an ``href`` in the batch have none that counts.  What assets say besides is
        shared between items, not to be changed.

    Raises
    ------
    KeyError, TypeError, ValueError
        The columns are others.
    """
    properties = {
        name: _plain(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if name not in _PLACES
    }
    ids = batch.column("id").to_pylist()
    dates = batch.column("datetime").to_pylist() if "datetime" in batch.schema.names else None
    collections = (
        batch.column("collection").to_pylist() if "collection" in batch.schema.names else None
    )
    bounds = _bounds(batch.column("bbox"))
    outlines = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
    assets = _assets(batch.column("assets")) if "assets" in batch.schema.names else {}
    for row, name in enumerate(ids):
        said = {key: v for key, values in properties.items() if (v := values[row]) is not None}
        when = dates[row] if dates is not None else None
        item = pystac.Item(
            name,
            shapely.geometry.mapping(outlines[row]),
            bounds[row],
            when or _ANY_DATE,  # pystac makes none without a date
            said,
            collection=collections[row] if collections is not None else None,
        )
        if when is None:
            item.datetime = None
        for key, (hrefs, fields) in assets.items():
            if fields[row] is not None:
                href = hrefs[row]
                item.assets[key] = pystac.Asset(
                    absolute(href) if href else "", extra_fields=fields[row]
                )
        yield item


def _plain(column: pa.Array) -> list[Any]:
    """Values of a property, times as STAC writes them."""
    if pa.types.is_timestamp(column.type):
        column = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_nested(column.type):
        return shared(column)
    values: list[Any] = column.to_pylist()
    return values


def _bounds(column: pa.StructArray) -> list[list[float]]:
    """West, south, east, north of each row, or six values with heights."""
    planes = [field.to_numpy(zero_copy_only=False) for field in column.flatten()]
    bounds: list[list[float]] = np.column_stack(planes).tolist()
    return bounds


def _assets(column: pa.StructArray) -> dict[str, tuple[list[str | None], list[Any]]]:
    """Key to the hrefs and the other fields of each row; None where an item lacks the asset."""
    found = {}
    for at, field in enumerate(column.type):
        asset = column.field(at)
        there = asset.is_valid().to_numpy(zero_copy_only=False)
        names = [part.name for part in field.type]
        hrefs: list[str | None] = [None] * len(column)
        if "href" in names:
            hrefs = asset.field("href").to_pylist()
            # an asset that is there has an href
            there = there & asset.field("href").is_valid().to_numpy(zero_copy_only=False)
        rest = [name for name in names if name != "href"]
        plain: list[Any] = [{}] * len(column)
        if rest:
            parts = pa.StructArray.from_arrays([asset.field(name) for name in rest], names=rest)
            plain = shared(parts)
        found[field.name] = (hrefs, [v if t else None for v, t in zip(plain, there, strict=True)])
    return found


def shared(column: pa.Array) -> list[Any]:
    """A nested column as Python values without nulls; rows that are equal share one.

    Examples
    --------
    >>> a, b, c = shared(pa.array([[10.0, 0.0], None, [10.0, 0.0]]))
    >>> a, b, c is a
    ([10.0, 0.0], None, True)
    """
    codes = _codes(column)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    values = [without_nulls(value) for value in column.take(pa.array(first)).to_pylist()]
    return [values[code] for code in inverse]


def _codes(column: pa.Array) -> NDArray[np.int64]:
    """A number for each row, the same for equal rows."""
    kind = column.type
    if pa.types.is_struct(kind):
        there: NDArray[np.int64] = column.is_valid().to_numpy(zero_copy_only=False).astype(int)
        for part in column.flatten():
            there = _together(there, _codes(part))
        return there
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        flat = _codes(column.flatten())
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths)
        known: dict[bytes | None, int] = {}
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        return np.array(
            [
                known.setdefault(flat[end - n : end].tobytes() if v else None, len(known))
                for end, n, v in zip(ends, lengths, valid, strict=True)
            ],
            np.int64,
        )
    if pa.types.is_nested(kind):  # of a kind that no pin has
        texts: dict[str, int] = {}
        return np.array([texts.setdefault(repr(v), len(texts)) for v in column.to_pylist()])
    indices = column.dictionary_encode(null_encoding="encode").indices
    codes: NDArray[np.int64] = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _together(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each pair of numbers."""
    pairs = one * (int(other.max(initial=0)) + 1) + other
    return np.asarray(np.unique(pairs, return_inverse=True)[1], np.int64)


def without_nulls(value: Any) -> Any:
    """Columns that some items lack come back from Parquet as nulls; it cannot hold empty dicts."""
    if isinstance(value, dict):
        kept = {k: without_nulls(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v is not None and v != {}}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
