"""A cube's metadata: changed in memory first, then put object by object, the group's own last.

The group's ``zarr.json`` holds the metadata of all that is below it ("consolidated"), and readers
need nothing else.  So whatever changes becomes visible with that one object, and until then, also
after a crash, the cube is what it was.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import xarray as xr
import zarr
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from geocube_ml.errors import StaleTarget
from geocube_ml.files import Place, asked, whole_file

_DOCUMENT = "zarr.json"
_BELOW = "consolidated_metadata"
_BUFFER = default_buffer_prototype().buffer


class Metadata:
    """The metadata of a group and of all below it, and chunks of coordinates that are to be put.

    Parameters
    ----------
    path : Path or UPath
        Of the group.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self._objects: dict[str, Buffer] = {}
        self._store = MemoryStore(self._objects)
        self._put: dict[str, bytes] = {}
        """What is there."""

    @classmethod
    def read(cls, path: Place) -> Self:
        """What is there, in one request; empty where there is no group.

        Raises
        ------
        StaleTarget
            Its metadata are not consolidated.
        """
        found = cls(path)
        content = _content(path / _DOCUMENT)
        if content is None:
            return found
        group = json.loads(content)
        below = group.pop(_BELOW, None)
        if below is None:
            raise StaleTarget(
                f"{path} has no consolidated metadata: an older version made it, or another "
                "program changed it. Run zarr.consolidate_metadata() on it, or make the cube anew "
                "with --redo."
            )
        found._put[_DOCUMENT] = _json(group)
        for name, document in below["metadata"].items():
            document.pop(_BELOW, None)
            found._put[f"{name}/{_DOCUMENT}"] = _json(document)
        found._objects |= {key: _BUFFER.from_bytes(value) for key, value in found._put.items()}
        found._put[_DOCUMENT] = content
        return found

    @property
    def exists(self) -> bool:
        """Whether the group is there already."""
        return _DOCUMENT in self._put

    def group(self, name: str = "") -> zarr.Group:
        """The group at a path below, made if need be; what is done to it stays in memory."""
        with quiet():
            root = zarr.open_group(self._store, mode="a", zarr_format=3, use_consolidated=False)
            return root.require_group(name) if name else root

    def arrays(self, name: str = "") -> dict[str, zarr.Array[Any]]:
        """Arrays right below a group, in the same way; none if it is not there."""
        key = f"{name}/{_DOCUMENT}" if name else _DOCUMENT
        return dict(self.group(name).arrays()) if key in self._objects else {}

    def groups(self, name: str) -> list[str]:
        """Names of groups right below a group."""
        return (
            sorted(dict(self.group(name).groups()))
            if f"{name}/{_DOCUMENT}" in self._objects
            else []
        )

    def document(self, name: str) -> dict[str, Any] | None:
        """Metadata of an array by its path."""
        found = self._objects.get(f"{name}/{_DOCUMENT}")
        return None if found is None else json.loads(found.to_bytes())

    def add_coords(self, coords: Mapping[str, xr.DataArray], name: str = "") -> None:
        """Add coordinates to a group, chunks included, as xarray writes them."""
        self.group(name)
        with quiet():
            xr.Dataset(coords=coords).to_zarr(
                self._store, group=name or None, mode="a", zarr_format=3, consolidated=False
            )

    def take(self, other: Metadata, name: str) -> None:
        """Copy an array's metadata, and its chunks where they are at hand."""
        self._objects |= {key: v for key, v in other._objects.items() if key.startswith(f"{name}/")}

    def drop(self, name: str) -> None:
        """Forget an array or a group, and all below it."""
        for key in [key for key in self._objects if key.startswith(f"{name}/")]:
            del self._objects[key]

    def save(self, again: Collection[str] = ()) -> None:
        """Put what has changed: chunks, then the metadata of arrays, the group's own last.

        Parameters
        ----------
        again : collection of str
            Arrays whose own metadata are put in any case, as an interruption may have left others.
        """
        self.group()
        with quiet():
            zarr.consolidate_metadata(self._store, zarr_format=3)
        now = {key: value.to_bytes() for key, value in self._objects.items()}
        wanted = {f"{name}/{_DOCUMENT}" for name in again}
        changed = {
            key for key, value in now.items() if self._put.get(key) != value or key in wanted
        }
        for key in sorted(
            changed, key=lambda key: (key.endswith(_DOCUMENT), key == _DOCUMENT, key)
        ):
            _write(self.path / key, now[key])
        self._put = {key: value for key, value in now.items() if key.endswith(_DOCUMENT)}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without notes on emptied folders, and on consolidated metadata, there or not there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Object at .* is not recognized", ZarrUserWarning)
        warnings.filterwarnings("ignore", "Consolidated metadata is", ZarrUserWarning)
        warnings.filterwarnings("ignore", "Failed to open Zarr store with cons", RuntimeWarning)
        yield


def _json(document: Mapping[str, Any]) -> bytes:
    """As Zarr writes it."""
    return json.dumps(document, indent=2).encode()


def _content(path: Place) -> bytes | None:
    try:
        with asked(path):
            if isinstance(path, Path):
                return path.read_bytes()
            return bytes(path.fs.cat_file(path.path))  # opening it would ask for its size first
    except FileNotFoundError:
        return None


def _write(path: Place, content: bytes) -> None:
    if isinstance(path, Path):
        with whole_file(path) as partial:
            partial.write_bytes(content)
        return
    with asked(path):
        path.fs.pipe_file(path.path, content)
