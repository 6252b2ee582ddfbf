"""Where files are: a folder of this machine, or an address in an object store."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from upath import UPath

from geocube_ml.files.s3 import s3_options
from geocube_ml.spec.storage import StorageSpec

Place = Path | UPath
"""A path of this machine, or a universal_pathlib path that has the same methods."""

_DEFAULT = StorageSpec()


def place(location: str | os.PathLike[str] | Place, storage: StorageSpec = _DEFAULT) -> Place:
    """A location as a path, whatever it is on.

    Parameters
    ----------
    location : str or path
        A path of this machine, ``s3://bucket/key``, or a URL that fsspec knows.
    storage : StorageSpec
        How buckets are reached.

    Returns
    -------
    pathlib.Path or upath.UPath
        The first for this machine.
    """
    if isinstance(location, UPath | Path):
        return location
    text = os.fspath(location)
    if "://" not in text:
        return Path(text)
    found: UPath = UPath(text, **(s3_options(text, storage) if text.startswith("s3://") else {}))
    return found


def is_remote(location: str | Place) -> bool:
    """Whether a location is not on a disk of this machine.

    Examples
    --------
    >>> is_remote("s3://maps/cube.zarr"), is_remote("/data/cube.zarr")
    (True, False)
    """
    return "://" in location if isinstance(location, str) else not isinstance(location, Path)


def names(folder: Place) -> set[str]:
    """Names of what lies in a folder; none if it is not there.  A request a thousand names."""
    try:
        if isinstance(folder, Path):
            return set(os.listdir(folder))
        listed = folder.fs.ls(folder.path, detail=False)
        # a store may list the folder itself
        return {str(path).rstrip("/").rpartition("/")[2] for path in listed} - {folder.name, ""}
    except FileNotFoundError:
        return set()


def below(folder: Place, ending: str) -> list[Place]:
    """Files below a folder, however deep, by the ending of their names; in order."""
    if isinstance(folder, Path):
        return sorted(folder.rglob(f"*{ending}"))
    root = folder.path.rstrip("/")
    found = sorted(str(path) for path in folder.fs.find(root) if path.endswith(ending))
    # a store may list the folder itself
    return [folder / path[len(root) + 1 :] for path in found if path.rstrip("/") != root]


@contextlib.contextmanager
def local_copy(path: Place) -> Iterator[Path]:
    """A file or folder as libraries want it that read only disks; remote ones are fetched."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        path.fs.get(path.path, str(copy), recursive=path.fs.isdir(path.path))
        yield copy
