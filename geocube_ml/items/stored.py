"""Items that lie as files, on a disk, in a store or on a site: a folder or a static catalog."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pystac
from aiohttp import ClientError
from pystac_client.exceptions import APIError
from upath import UPath

from geocube_ml.errors import InputError, MissingError, StorageError
from geocube_ml.files import Place, below, is_remote, place, redacted, storage_error
from geocube_ml.items.web import patient_io
from geocube_ml.spec.storage import StorageSpec

_Read = Callable[[str], str | bytes]
_WRONG = (pystac.STACError, pystac.STACTypeError, KeyError, ValueError, TypeError, AttributeError)
_NOT_FOUND = (404, 410)
_DATES = ("datetime", "start_datetime", "end_datetime")


def stored_items(location: str, storage: StorageSpec) -> list[pystac.Item]:
    """The items of a folder or a static catalog.

    Parameters
    ----------
    location : str
        A folder (searched to its depths, not on web sites), a catalog, a collection or one item.
    storage : StorageSpec
        How stores are reached, how patiently, and how many files are read at a time.

    Returns
    -------
    list of pystac.Item
        Asset hrefs are absolute.

    Raises
    ------
    MissingError
        It, or a file that it links to, is not there.
    InputError
        A file is not what it must be; names it.
    StorageError
        A store or site cannot be reached, or refuses.
    """
    read = _reader(storage)
    if not location.startswith(("http://", "https://")):
        root = place(location, storage)
        if isinstance(root, Path) and not root.exists():
            raise MissingError(_nowhere(location))
        if root.is_dir() if isinstance(root, Path) else not location.endswith(".json"):
            return _folder(root, read, storage)
    try:
        content = _json(location, read(location))
    except FileNotFoundError as error:
        raise MissingError(_nowhere(location)) from error
    if content.get("type") == "Feature":
        return [parse_item(content, location)]
    if "links" not in content:
        raise InputError(f"{location} is neither a STAC catalog nor an item. Name another file.")
    if any(str(c).endswith("/item-search") for c in content.get("conformsTo") or ()):
        raise InputError(f"{location} is a STAC API. Name it as `stac_api`, in place of `catalog`.")
    return _catalog(location, content, read, storage)


def parse_item(content: dict[str, Any], href: str) -> pystac.Item:
    """An item from its JSON; its asset hrefs, absolute by where it lies.

    Raises
    ------
    InputError
        It is not a STAC item.
    """
    try:
        item = item_of(content, href)
    except _WRONG as error:
        raise InputError(
            f"{href} is not a STAC item: {type(error).__name__} {error}. Mend it, or remove it."
        ) from error
    item.make_asset_hrefs_absolute()
    return item


def item_of(content: dict[str, Any], href: str | None = None) -> pystac.Item:
    """An item from its JSON, which need not have a date: layers that do not change have none.

    Raises
    ------
    STACError, KeyError, ValueError, TypeError, AttributeError
        It is not a STAC item.
    """
    properties = content.get("properties") or {}
    if any(properties.get(key) for key in _DATES):
        return pystac.Item.from_dict(content, href=href)
    # pystac makes none without a date
    dated = {"properties": properties | {"datetime": "1970-01-01T00:00:00Z"}}
    item = pystac.Item.from_dict(content | dated, href=href)
    item.datetime = None
    del item.properties["datetime"]
    return item


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without pystac's notes on extensions that it cannot bring up to date; none is read here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pystac\.extensions\.")
        yield


@contextlib.contextmanager
def reached(where: str | Place) -> Iterator[None]:
    """Say what is wrong with a store, and what to do; a file that is not there is left as it is.

    Raises
    ------
    StorageError
        It has no such bucket, refuses, or does not answer.
    """
    if not is_remote(where):
        yield
        return
    try:
        yield
    except Exception as error:
        if isinstance(error, FileNotFoundError) and "bucket does not exist" not in str(error):
            raise
        said = storage_error(error, where)
        if said is None and isinstance(error, OSError | ClientError):
            said = StorageError(
                f"{where} cannot be read: {_brief(error)}. Check the address and the network."
            )
        if said is None:
            raise
        raise said from error


def _reader(storage: StorageSpec) -> _Read:
    """Reads a file, wherever it lies; the error of one that is not there holds its name."""
    web = patient_io(storage)

    def read(href: str) -> str | bytes:
        if href.startswith(("http://", "https://")):
            try:
                return web.request(href)
            except APIError as error:
                status = getattr(error, "status_code", None)
                if status in _NOT_FOUND:
                    raise _not_there(href) from error
                said = "" if status is None else f"{status} "
                raise StorageError(
                    f"{href} cannot be read: {said}{_brief(error)}. Check the address and the "
                    "network; a password is taken from ~/.netrc."
                ) from error
        path = place(href, storage)
        try:
            with reached(path):
                return path.read_bytes() if isinstance(path, Path) else _bytes(path)
        except FileNotFoundError as error:
            raise _not_there(href) from error

    return read


def _bytes(path: UPath) -> bytes:
    """What an object holds, in one request."""
    # else s3fs asks for the size before it reads
    once = {"max_concurrency": 1} if path.protocol == "s3" else {}
    return bytes(path.fs.cat_file(path.path, **once))


def _not_there(href: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), href)


def _folder(root: Place, read: _Read, storage: StorageSpec) -> list[pystac.Item]:
    with reached(root):
        files = [str(file) for file in below(root, ".json")]
    if not files and not isinstance(root, Path):
        raise MissingError(_nowhere(str(root)))  # a store has no empty folders
    items = []
    for file, text in zip(files, _texts(files, read, storage), strict=True):
        content = _json(file, text)
        if content.get("type") == "Feature":
            items.append(parse_item(content, file))
    return items


def _catalog(
    location: str, content: dict[str, Any], read: _Read, storage: StorageSpec
) -> list[pystac.Item]:
    """Follow links level by level, all files of a level at a time."""
    items: list[pystac.Item] = []
    known, level = {location}, [(location, content)]
    try:
        while level:
            hrefs: list[str] = []
            for href, found in level:
                if found.get("type") == "Feature":
                    items.append(parse_item(found, href))
                else:
                    hrefs += _links(href, found)
            hrefs = [href for href in dict.fromkeys(hrefs) if href not in known]
            known.update(hrefs)
            texts = _texts(hrefs, read, storage)
            level = [(href, _json(href, text)) for href, text in zip(hrefs, texts, strict=True)]
    except FileNotFoundError as error:
        raise MissingError(
            f"{location} links to {error.filename}, which is not there. Restore it, or remove "
            "the link."
        ) from error
    except InputError as error:
        raise InputError(f"In the catalog {location}: {error}") from error
    return items


def _links(href: str, content: dict[str, Any]) -> list[str]:
    """Where the children and items of a catalog or collection are."""
    try:
        found = pystac.read_dict(content, href=href)
        if not isinstance(found, pystac.Catalog):
            raise TypeError(f"it is a {type(found).__name__}")
        links = [*found.get_links("child"), *found.get_links("item")]
        return [str(link.get_absolute_href()) for link in links]
    except _WRONG as error:
        raise InputError(f"{href} is not a STAC catalog: {error}. Mend it.") from error


def _texts(hrefs: Sequence[str], read: _Read, storage: StorageSpec) -> list[str | bytes]:
    """All of them, or the error of the first that fails."""
    with ThreadPoolExecutor(min(storage.requests, len(hrefs)) or 1) as pool:
        futures = [pool.submit(read, href) for href in hrefs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _json(href: str, text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        hint = (
            "the files of a folder cannot be listed there: name its catalog.json"
            if href.startswith(("http://", "https://"))
            else "it may be cut short. Fetch it again, or remove it"
        )
        raise InputError(f"{href} is not JSON ({error}); {hint}.") from error
    return content if isinstance(content, dict) else {}


def _nowhere(location: str) -> str:
    return f"There is no folder or catalog {location}. Correct `items.catalog`."


def _brief(error: BaseException) -> str:
    """The beginning of what a server said, in one line."""
    text = " ".join(redacted(str(error)).split()) or type(error).__name__
    return text if len(text) < 300 else text[:300] + " ..."
