"""Opening rasters wherever they are: on a disk, in S3, in Azure, on the web.

Strategy.  GDAL reads, and asks again itself for what a server refused for the moment.  What it
does not survive (a body cut short, a block that does not decode, a connection that hangs) is read
again from the open on.  GDAL keeps what it got, the damage too, and answers from it when the file
is opened again; so before a second attempt, and before the first one after a failure, that is
dropped.  Keys and signatures are options of the reading thread, never part of a name: then no
message holds them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import rasterio
from rasterio.errors import RasterioError
from rasterio.session import Session
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from geocube_ml.errors import AccessError, MissingError, ReadError, chain
from geocube_ml.files import redacted
from geocube_ml.raster import logs  # noqa: F401  what rasterio logs is redacted from now on
from geocube_ml.raster.aws import HOW, aws_options
from geocube_ml.raster.azure import Blob, blob_of, signature
from geocube_ml.raster.readers import Readers
from geocube_ml.spec.storage import StorageSpec

T = TypeVar("T")

READ_OPTIONS: dict[str, Any] = {
    # siblings of a COG are never wanted, and listing a bucket for them is slow
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",  # parallelism is over tiles
}

_log = logging.getLogger(__name__)
_DEFAULT = StorageSpec()
_CONNECT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 20.0
_UNCACHED = "/vsicurl/:/vsis3/:/vsiaz/"

_NOT_THERE = re.compile(r"HTTP response code: (404|410)|ObjectNotFound|NoSuchKey")
_NO_BUCKET = re.compile(r"BucketNotFound|NoSuchBucket|InvalidBucketName")
_REFUSED = re.compile(
    r"HTTP response code: (401|403)|AccessDenied|InvalidCredentials|SignatureDoesNotMatch"
    # GDAL keeps S3's code of some errors only, of others the sentence
    r"|does not exist in our records|token has expired|token is malformed|token .*is invalid"
    r"|request time and the (current|server)"
)
_LASTING = re.compile(r"HTTP response code: [45]\d\d|SSL certificate problem")
_TROUBLED = re.compile(r"HTTP response code: (429|5\d\d)")
_NO_RASTER = re.compile("not recognized as being in a supported file format")


def from_raster(
    href: str, take: Callable[[rasterio.DatasetReader], T], storage: StorageSpec = _DEFAULT
) -> T:
    """What `take` gets from the open raster.

    Parameters
    ----------
    href : str
        A path, ``s3://bucket/key``, a URL, or what GDAL knows by another name.
    take : callable
        Gets the open dataset; called again if the raster is remote and reading failed for a
        reason that passes.
    storage : StorageSpec
        How stores are reached, and how patiently.

    Raises
    ------
    MissingError
        It is not there.
    AccessError
        Access was refused (also a ReadError).
    ReadError
        It cannot be opened or decoded, at last.
    """
    return _from_remote(href, take, storage) if is_remote(href) else _from_disk(href, take)


@contextlib.contextmanager
def opened(href: str, storage: StorageSpec = _DEFAULT) -> Iterator[rasterio.DatasetReader]:
    """The open raster, for what is said in its header; pixels are read by `from_raster`.

    Raises
    ------
    MissingError, AccessError, ReadError
        As `from_raster`.
    """
    from_raster(href, lambda _: None, storage)  # patiently; GDAL keeps a remote header
    source = _source(href, storage)
    with _environment(source, storage), _opened(source.path) as src:
        yield src


def distrust(href: str) -> None:
    """Ask for a raster anew next time: what GDAL keeps may be of one that was replaced."""
    if is_remote(href):
        with _suspect_lock:
            _suspect.add(_plain(href))


# -- one attempt ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """A raster as GDAL is asked for it."""

    path: str
    remote: bool = True
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    """Options that say who asks."""
    signature: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Failure:
    kind: Literal["missing", "bucket", "refused", "lasting", "no raster", "passing"]
    said: str
    """By GDAL, without secrets."""


class _Keys(Session):  # type: ignore[misc]
    """Hands GDAL options that rasterio takes from a session only, and does not log."""

    def __init__(self, options: dict[str, str]) -> None:
        self._options = options
        self.credentials: dict[str, str] = {}

    @classmethod
    def hascreds(cls, config: dict[str, Any]) -> bool:  # noqa: ARG003
        return True

    def get_credential_options(self) -> dict[str, str]:
        return self._options


def is_remote(href: str) -> bool:
    """Whether a raster is reached by requests."""
    return ("://" in href and not href.startswith("file://")) or href.startswith("/vsi")


def _source(href: str, storage: StorageSpec, refused: str | None = None) -> _Source:
    if not is_remote(href):
        return _Source(href, remote=False)
    href = re.sub(r"^/vsis3/", "s3://", re.sub(r"^/vsicurl/(?=https?://)", "", href))
    if href.startswith("s3://"):
        path = "/vsis3/" + href.removeprefix("s3://")
        return _Source(path, secrets=aws_options(href, storage))
    if blob := blob_of(href):
        return _signed(blob, storage, refused)
    if urlsplit(href).scheme in ("http", "https"):
        return _Source(f"/vsicurl/{href}")
    return _Source(href)


def _signed(blob: Blob, storage: StorageSpec, refused: str | None) -> _Source:
    token = signature(blob, storage, refused)
    if token is None:
        return _Source(f"/vsicurl/{blob.href}")
    secrets = {
        "AZURE_STORAGE_ACCOUNT": blob.account,
        "AZURE_STORAGE_SAS_TOKEN": token,
        # each of these would be taken instead
        "AZURE_STORAGE_CONNECTION_STRING": "",
        "AZURE_STORAGE_ACCESS_TOKEN": "",
        "AZURE_STORAGE_ACCESS_KEY": "",
        "AZURE_NO_SIGN_REQUEST": "NO",
    }
    return _Source(f"/vsiaz/{blob.container}/{blob.key}", True, secrets, token)


def _environment(source: _Source, storage: StorageSpec, **other: Any) -> rasterio.Env:
    """GDAL's options for one attempt.

    rasterio sets those of the main thread for the whole process, those of others for the thread:
    so each attempt states all that it depends on.
    """
    if not source.remote:
        return rasterio.Env(**READ_OPTIONS)
    deadline = max(round(storage.deadline_s), 1)
    options = {
        # what a server cannot answer now it may a moment later; GDAL waits twice as long each
        # time, with jitter
        "GDAL_HTTP_MAX_RETRY": storage.attempts - 1,
        "GDAL_HTTP_RETRY_DELAY": _FIRST_WAIT_S,
        "GDAL_HTTP_RETRY_CODES": "429,500,502,503,504",
        # without these a connection that hangs is waited for without end
        "GDAL_HTTP_CONNECTTIMEOUT": min(_CONNECT_S, deadline),
        "GDAL_HTTP_TIMEOUT": deadline,
        # less than a byte a millisecond for half of that is hanging too
        "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
        "GDAL_HTTP_LOW_SPEED_TIME": max(deadline // 2, 1),
        # blocks that lie side by side are one request; GDAL's default, but not in every setup
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
        "CPL_VSIL_CURL_NON_CACHED": "",  # headers and sizes are kept from window to window
    }
    return rasterio.Env(_Keys(source.secrets), **(READ_OPTIONS | options | other))


def _attempt(
    source: _Source,
    take: Callable[[rasterio.DatasetReader], T],
    storage: StorageSpec,
    *,
    name: str,
    fresh: bool,
) -> T | _Failure:
    if fresh:
        # what another thread has got must not go: it would be requested again, as of `_opened`
        with _readers.nobody(name, within_s=storage.deadline_s) as alone:
            if alone:
                _forget(source, storage)
    try:
        with (
            _readers.reading(name),
            _environment(source, storage),
            _opened(source.path) as src,
        ):
            return take(src)
    except RasterioError as error:
        # no error is passed on: its text, or that of one before it, may hold the whole address
        return _failure(error)


def _opened(path: str) -> rasterio.DatasetReader:
    """Open a raster of which GDAL has all directories.

    rasterio asks for masks before it reads, and holds Python's lock meanwhile.  If directories were
    to be requested then, all threads would wait; and for ever, if GDAL waits for another thread
    that gets the same part of the file, whose request fails, and which wants to log that in Python.
    To open an overview GDAL goes through all directories without the lock, and keeps them.
    """
    src = rasterio.open(path)
    with contextlib.suppress(RasterioError):  # there is no overview
        rasterio.open(path, OVERVIEW_LEVEL=0).close()
    return src


def _forget(source: _Source, storage: StorageSpec) -> None:
    """Make GDAL drop what it keeps of a raster, be it damage or that it is not there.

    It does so when the file is closed.  That file is another than the one that is read: of some
    stores GDAL answers the opening itself from what it keeps.
    """
    once = {
        "GDAL_HTTP_MAX_RETRY": 0,
        "GDAL_HTTP_TIMEOUT": max(round(min(_CONNECT_S, storage.deadline_s)), 1),
        "CPL_VSIL_CURL_NON_CACHED": _UNCACHED,
    }
    with (
        _environment(source, storage, **once),
        contextlib.suppress(RasterioError),
        rasterio.open(source.path),
    ):
        pass


def _failure(error: BaseException) -> _Failure:
    links = list(chain(error))
    text = "\n".join(f"{type(link).__name__} {link}" for link in links)
    said = innermost(error)
    if _NO_BUCKET.search(text):
        return _Failure("bucket", said)
    if _NOT_THERE.search(text):
        return _Failure("missing", said)
    if _REFUSED.search(text):
        return _Failure("refused", said)
    if _LASTING.search(text):
        return _Failure("lasting", said)
    return _Failure("no raster" if _NO_RASTER.search(text) else "passing", said)


def innermost(error: BaseException) -> str:
    """What GDAL said first; rasterio's own sentence is often 'Read failed. See previous...'."""
    *_, first = chain(error)
    return redacted(str(first)).strip().rstrip(".")


# -- all attempts -----------------------------------------------------------------------------

_suspect: set[str] = set()
"""What failed last time: GDAL may keep why."""
_suspect_lock = threading.Lock()
_readers = Readers()


def _from_remote(href: str, take: Callable[[rasterio.DatasetReader], T], storage: StorageSpec) -> T:
    name = _plain(href)
    attempts = _Attempts(href, take, storage, fresh=name in _suspect)
    reading = Retrying(
        retry=retry_if_result(attempts.passes),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
        # GDAL's own attempts may have taken longer than one request may
        stop=stop_after_attempt(storage.attempts)
        | stop_after_delay(storage.attempts * storage.deadline_s),
        before_sleep=lambda state: _note(name, state),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    got: T | _Failure = reading(attempts)
    with _suspect_lock:
        if not isinstance(got, _Failure):
            _suspect.discard(name)
            return got
        _suspect.add(name)
    # outside of any `except`, so that GDAL's error is not in the chain
    raise _error(name, got)


class _Attempts:
    """Reads once whenever it is called, and knows what was tried before."""

    def __init__(
        self, href: str, take: Callable[[Any], Any], storage: StorageSpec, *, fresh: bool
    ) -> None:
        self._href, self._take, self._storage = href, take, storage
        self._fresh = fresh
        self._signature: str | None = None
        self._count = 0

    def __call__(self) -> Any:
        """What was taken, or a failure."""
        got = self._once(None)
        if isinstance(got, _Failure) and got.kind == "refused" and self._signature is not None:
            # it may have been withdrawn, or the clocks differ
            got = self._once(self._signature)
        return got

    def passes(self, got: Any) -> bool:
        """Whether another attempt may help."""
        if not isinstance(got, _Failure):
            return False
        # GDAL says the same of a wrong format and of a first request that failed
        return got.kind == "passing" or (got.kind == "no raster" and self._count == 1)

    def _once(self, refused: str | None) -> Any:
        source = _source(self._href, self._storage, refused)
        self._signature = source.signature
        self._count += 1
        name = _plain(self._href)
        got = _attempt(source, self._take, self._storage, name=name, fresh=self._fresh)
        self._fresh = True
        return got


def _plain(href: str) -> str:
    """The address without its signature."""
    blob = blob_of(href)
    return blob.href if blob else redacted(href)


def _note(name: str, state: RetryCallState) -> None:
    if state.outcome is not None and state.next_action is not None:
        said, wait = state.outcome.result().said, state.next_action.sleep
        _log.info("%s is read again in %.1f s: %s", name, wait, said)


def _error(name: str, failure: _Failure) -> Exception:
    said = failure.said
    if failure.kind == "missing":
        return MissingError(
            f"There is no {name} ({said}). Correct its name, or leave its item out."
        )
    if failure.kind == "bucket":
        return AccessError(
            f"{name}: there is no such bucket here ({said}). Correct its name, its region or the "
            f"endpoint. {HOW}"
        )
    if failure.kind == "refused":
        if name.startswith("s3://"):
            how = f"{HOW} A store may say the same of an object that is not there."
        elif blob_of(name):
            how = "It was asked for with a new signature of Planetary Computer, or as public."
        else:
            how = "It is asked for without a name; give the address of a public copy, or s3://..."
        return AccessError(f"Access to {name} was refused ({said}). {how}")
    error = ReadError(
        f"{name} cannot be read ({said}); it may be cut short or damaged, or its server troubled. "
        "Try again, fetch it again, or leave its item out."
    )
    error.passing = failure.kind == "passing" or _TROUBLED.search(said) is not None
    return error


# -- on a disk --------------------------------------------------------------------------------


def _from_disk(href: str, take: Callable[[rasterio.DatasetReader], T]) -> T:
    try:
        with rasterio.Env(**READ_OPTIONS), rasterio.open(href) as src:
            return take(src)
    except RasterioError as error:
        if not Path(href.removeprefix("file://")).exists():
            raise MissingError(
                f"There is no file {href}. Restore it, or correct its name."
            ) from None
        raise ReadError(
            f"{href} cannot be read ({innermost(error)}); it may be cut short or damaged. "
            "Fetch it again, or leave its item out."
        ) from error
