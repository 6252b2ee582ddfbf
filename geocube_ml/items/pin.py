"""Items in a GeoParquet: written there to stay as they were found, read back, and digested."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import shapely
import stac_geoparquet.arrow
from pystac.utils import make_absolute_href

from geocube_ml.errors import InputError, MissingError, StorageError
from geocube_ml.files import Place, local_copy, whole_file
from geocube_ml.items.item import footprint_bounds
from geocube_ml.items.rows import FIELDS, OFFSET_FIELDS, items_of_batch, without_nulls
from geocube_ml.items.signatures import check_renewable, unsigned_fields
from geocube_ml.items.stored import item_of, quiet, reached
from geocube_ml.spec.base import digest

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d*?)?0*(?:Z|\+00:00)")
_EMPTY: dict[str, Any] = {"geometry": None, "assets": {}}
"""What an item must have, even if there is nothing in it."""
_ROWS = 5000  # items that are read at a time


def pin_items(items: Sequence[pystac.Item], path: Place) -> None:
    """Write items to a GeoParquet, so that a re-run needs no catalogue.

    Parameters
    ----------
    items : sequence of pystac.Item
        Signatures in their addresses are left off.
    path : Place
        Replaced if it exists; written whole or not at all.

    Raises
    ------
    InputError
        A property holds text in one item and a number in another; or an asset can be read only
        until its signature ends.
    """
    check_renewable(items)
    rows = []
    for item in items:
        row = item.to_dict(include_self_link=False, transform_hrefs=False)
        bounds = footprint_bounds(item)
        place = {
            "bbox": list(bounds),
            "geometry": row["geometry"] or shapely.geometry.mapping(shapely.box(*bounds)),
            "links": [],  # they lead back to the catalogue
        }
        said = unsigned_fields(without_nulls(row))
        # a layer that does not change has no date, but every item has properties
        place["properties"] = {"datetime": None} | said.get("properties", {})
        rows.append(_EMPTY | said | place)
    try:
        table = stac_geoparquet.arrow.parse_stac_items_to_arrow(rows).read_all()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(
            f"The {len(rows)} items do not fit into one table ({error}). A property must be of "
            "one type in all of them; name fewer `collections`, or mend the items."
        ) from error
    with reached(path), whole_file(path) as partial:
        stac_geoparquet.arrow.to_parquet(table, str(partial))


def read_items(path: Place) -> list[pystac.Item]:
    """The items of a GeoParquet, as they were pinned.

    Parameters
    ----------
    path : Place
        Relative asset hrefs start at its folder.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is not a GeoParquet of STAC items.
    StorageError
        It lies in a store that cannot be reached, or refuses.
    """
    return list(whole_items(path))


def whole_items(path: Place) -> Iterator[pystac.Item]:
    """`read_items`, one after the other."""
    where = str(path.absolute())
    with _parquet(path) as file:
        for batch in pq.ParquetFile(file).iter_batches(_ROWS):
            table = pa.Table.from_batches([batch])
            for row in stac_geoparquet.arrow.stac_table_to_items(table):
                with quiet():
                    item = item_of(_EMPTY | dict(without_nulls(row)))
                for asset in item.assets.values():
                    asset.href = _absolute(asset.href, where)
                yield item


@dataclass(frozen=True)
class PinnedItems:
    """The items of a GeoParquet, read anew each time, a few at a time, and without what no pixel
    depends on: a country has 100,000, which as they are take 13 GB.
    """

    path: Place
    assets: tuple[str, ...]
    """Keys of those that are read; of others only what they say of offsets is kept."""

    def __iter__(self) -> Iterator[pystac.Item]:
        """In the order of the file; see `read_items` for errors."""
        where = str(self.path.absolute())
        with _parquet(self.path) as file:
            table = pq.ParquetFile(file)
            columns = _needed(table.schema_arrow, self.assets)
            for batch in table.iter_batches(_ROWS, columns=columns):
                yield from items_of_batch(batch, lambda href: _absolute(href, where))


@contextlib.contextmanager
def _parquet(path: Place) -> Iterator[Path]:
    """The file on a disk, and errors in our words."""
    try:
        with reached(path), local_copy(path) as file:
            yield file
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise MissingError(
            f"There is no file {path}. Correct its name, or search again."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pystac.STACError) as error:
        raise InputError(f"{path} is not a GeoParquet of STAC items: {error}") from error


def _needed(schema: pa.Schema, assets: Sequence[str]) -> list[str]:
    """Names of columns, and of parts of the column of assets."""
    names = [
        field.name
        for field in schema
        if field.name in ("bbox", "geometry")
        or field.name.startswith("proj:")
        or not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
    ]
    if "assets" in schema.names:
        for asset in schema.field("assets").type:
            kept = FIELDS if asset.name in assets else OFFSET_FIELDS
            names += [f"assets.{asset.name}.{f.name}" for f in asset.type if f.name in kept]
    return names


def _absolute(href: str, where: str) -> str:
    """An address as it is read; a pin in a store may be of files on this machine."""
    if "://" in href or os.path.isabs(href):
        return href
    return str(make_absolute_href(href, where))


def items_digest(items: Iterable[pystac.Item]) -> str:
    """16 hex digits over what items say, wherever their files lie and however they are signed."""
    return digest(sorted(digest(_said(item)) for item in items))


def _said(item: pystac.Item) -> dict[str, Any]:
    assets = {
        key: unsigned_fields(asset.extra_fields)
        | {"file": asset.href.split("?")[0].rsplit("/", 1)[-1]}
        for key, asset in item.assets.items()
    }
    said = {
        "id": item.id,
        "bbox": footprint_bounds(item),
        "properties": item.properties,
        "assets": assets,
    }
    return dict(_plain(without_nulls(json.loads(json.dumps(said, default=str)))))


def _plain(value: Any) -> Any:
    """10 for 10.0 and one way to write a time: Parquet does not keep how they were written.

    Examples
    --------
    >>> _plain([10.0, 0.5, "2022-01-05T10:00:09.310000Z", "2022-01-05T10:00:10.000Z", "1.0"])
    [10, 0.5, '2022-01-05T10:00:09.31Z', '2022-01-05T10:00:10Z', '1.0']
    """
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := _TIME.fullmatch(value)):
        return match[1] + (match[2] or "").rstrip(".") + "Z"
    return value
