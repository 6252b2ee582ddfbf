"""Writing whole or not at all, on a disk or in an object store.

On a disk, what is being written has another name until it is whole.  In a store an object is
whole by itself; a folder is whole once its top-level JSON files are there (``zarr.json``,
``bundle.json``): they are written last, and removed first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from geocube_ml.files.place import Place
from geocube_ml.files.refused import asked

PARTIAL = ".partial"
"""Ending of what is being written; whatever still has it was interrupted."""


@contextlib.contextmanager
def whole_file(path: Place) -> Iterator[Path]:
    """A path of this machine to write to, which becomes `path` if the block ends well."""
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory() as folder:
            yield (local := Path(folder) / path.name)
            with asked(path):
                path.fs.put_file(str(local), path.path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Place) -> Iterator[Path]:
    """An empty folder of this machine to fill, which becomes `path` if the block ends well."""
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            discard(path)
            upload(Path(folder), path)
        return
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep(folder: Place) -> None:
    """Remove what an interrupted run left half-written below `folder`; a store has no such."""
    if not isinstance(folder, Path):
        return
    # GDAL puts files of its own beside the one that it writes, and names them after it
    for partial in [*folder.rglob("*" + PARTIAL), *folder.rglob(f"*{PARTIAL}.*.tmp")]:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def discard(path: Place) -> None:
    """Remove a file or folder; a kill in the middle leaves nothing that looks whole."""
    if not isinstance(path, Path):
        _discard_remote(path)
    elif path.is_dir():
        partial = path.with_name(path.name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        os.replace(path, partial)
        shutil.rmtree(partial)
    else:
        path.unlink(missing_ok=True)


def _discard_remote(path: UPath) -> None:
    root = path.path.rstrip("/")
    every = [str(file) for file in path.fs.find(root)]  # the path itself, if it is an object
    first = {file for file in every if _makes_whole(file[len(root) + 1 :])}
    for some in (sorted(first), [file for file in every if file not in first]):
        if some:
            path.fs.rm(some)


def upload(folder: Path, path: UPath) -> None:
    """Copy what is in a folder of this machine; the files that make it whole come last."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    last = [file for file in files if _makes_whole(file.relative_to(folder).as_posix())]
    for some in ([file for file in files if file not in last], last):
        if some:
            there = [f"{path.path.rstrip('/')}/{f.relative_to(folder).as_posix()}" for f in some]
            path.fs.put([str(file) for file in some], there)


def _makes_whole(name: str) -> bool:
    return "/" not in name and name.endswith(".json")


def write_json(path: Place, value: Any) -> None:
    """Write a JSON file, keys in order, so that equal values are equal files."""
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, text.encode())
        return
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: Place) -> Any:
    """The value of a JSON file."""
    if isinstance(path, Path):
        return json.loads(path.read_text(encoding="utf-8"))
    return json.loads(path.fs.cat_file(path.path))  # opening it would ask for its size first


def content_digest(paths: Iterable[Place]) -> str:
    """16 hex digits over what files hold, wherever they lie."""
    content = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
    return content.hexdigest()[:16]
