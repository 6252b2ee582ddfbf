"""One run at a time in a folder, on a disk or in an object store.

On a disk the operating system keeps the lock and ends it with the process.  A store has no locks,
but writes an object only if it is not there (``If-None-Match``) or still the one that was read
(``If-Match``).  The holder writes such an object anew every few seconds.  Who finds one watches
it: if it changes, the holder lives; if it stays the same for the length of a lease, the holder is
dead and the object is taken over.  No clock is compared with another machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from upath import UPath

from geocube_ml.errors import InputError, chain
from geocube_ml.files.place import Place
from geocube_ml.files.secrets import redacted

LOCK = "run.lock"
_BEATS = 4  # signs of life in the length of a lease
_REQUESTS = 3  # of one sign of life
_SHORTEST_S = 1.0  # that a request is given

_log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Raises if the folder is no longer ours."""


@contextlib.contextmanager
def alone(
    folder: Place, *, lease_s: float = 40, say: Callable[[str], None] = lambda _: None
) -> Iterator[Check]:
    """Hold a folder for this run.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    lease_s : float
        Seconds without a sign of life after which a holder in an object store counts as dead.
    say : callable
        Told why one waits.

    Yields
    ------
    callable
        Raises InputError if another run has taken the folder over; called before what is lasting.

    Raises
    ------
    InputError
        Another run is at work there.
    """
    if isinstance(folder, Path):
        with _locked(folder):
            yield lambda: None
        return
    lease = _Lease(folder / LOCK, lease_s)
    lease.take(say)
    try:
        yield lease.check
    finally:
        lease.leave()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(_busy(folder)) from error
        yield


class _Lease:
    """An object that says who is at work, written anew every few seconds."""

    def __init__(self, path: UPath, lease_s: float) -> None:
        self._path, self._lease_s = path, lease_s
        self._fs = path.fs
        self._bucket, _, self._key = path.path.partition("/")
        self._who = {
            "owner": uuid.uuid4().hex,
            "host": platform.node(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._beat = 0
        self._good = 0.0  # when the last sign of life was begun that was given
        self._lost = False
        self._one = threading.Lock()  # two that write at once would refuse each other
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")

    def take(self, say: Callable[[str], None]) -> None:
        self._good = time.monotonic()
        # looked at first: a store that knows no conditions would write over a living run's
        if self._read() is not None or not self._write(IfNoneMatch="*"):
            self._take_over(say)
        self._confirm()
        self._fs = _hasty(self._path, self._lease_s)
        self._thread.start()

    def check(self) -> None:
        # the whole process may have been stopped, and its thread with it
        if not self._lost and self._is_late():
            self._try_once(late=True)
        if self._lost:
            raise InputError(
                f"Another run has taken over {self._path.parent}: this one gave no sign of life "
                f"for {self._lease_s:g} s. Leave the folder to it, or stop it and run again."
            )

    def leave(self) -> None:
        self._end.set()
        self._thread.join()
        if self._lost:
            return
        self._fs = self._path.fs
        try:
            if self._is_ours(self._read()):  # another may have come while this one was stopped
                self._fs.rm_file(self._path.path)
        except Exception as error:
            self._note(error)  # the next run waits for the length of a lease

    def _take_over(self, say: Callable[[str], None]) -> None:
        """Wait for a sign of life of the holder; without one, step into its place."""
        before = self._read()
        if before is None:  # it has just ended
            if self._write(IfNoneMatch="*"):
                return
            raise InputError(_busy(self._path.parent))
        who = before["said"]
        name = f"process {who['process']} of {who.get('host')}" if "process" in who else "a run"
        say(
            f"{self._path.parent} is held by {name}, since {who.get('since', 'an unknown time')}; "
            f"waiting {self._lease_s:g} s for a sign of life."
        )
        until = time.monotonic() + self._lease_s
        while time.monotonic() < until:
            time.sleep(min(1.0, self._lease_s / _BEATS))
            now = self._read()
            if now is None:
                break
            if now["tag"] != before["tag"]:
                raise InputError(_busy(self._path.parent))
        self._good = time.monotonic()
        # the one that was watched: whoever has come since then lives
        taken = self._write(IfMatch=before["tag"])
        if not taken and self._read() is None:
            taken = self._write(IfNoneMatch="*")
        if not taken:
            raise InputError(_busy(self._path.parent))

    def _confirm(self) -> None:
        """Read it back: not every store refuses the second of two who write at once."""
        if not self._is_ours(self._read()):
            raise InputError(_busy(self._path.parent))

    def _keep(self) -> None:
        while not self._lost and not self._end.wait(self._lease_s / _BEATS):
            self._try_once()

    def _try_once(self, *, late: bool = False) -> None:
        """Give a sign of life; a store that is away for a moment is none of our death."""
        try:
            with self._one:
                if not late or self._is_late():  # the thread may have been quicker
                    self._keep_once()
        except Exception as error:  # whatever it is, the next one may be given
            self._note(error)

    def _keep_once(self) -> None:
        """Give a sign of life, unless somebody else is in our place."""
        began = time.monotonic()
        found = self._read()
        if found is not None and not found["said"]:
            raise ValueError(f"{LOCK} cannot be read")  # which makes nobody its owner
        if found is None or not self._is_ours(found):
            self._lost = True
        elif self._write(IfMatch=found["tag"]) or self._is_ours(self._read()):
            self._good = began  # or an earlier one arrived late, which is as good
        else:
            self._lost = True

    def _is_late(self) -> bool:
        """Whether others may take this one for dead."""
        return time.monotonic() - self._good >= self._lease_s

    def _is_ours(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found["said"].get("owner") == self._who["owner"]

    def _note(self, error: Exception) -> None:
        said = redacted(f"{type(error).__name__}: {error}")
        _log.info("no sign of life could be given in %s: %s", self._path, said)

    def _read(self) -> dict[str, Any] | None:
        try:
            found = self._fs.call_s3("head_object", Bucket=self._bucket, Key=self._key)
            body = self._fs.cat_file(self._path.path)
        except FileNotFoundError:
            return None
        try:
            said = json.loads(body)
        except ValueError:  # it holds the folder all the same, whoever it is
            said = None
        return {"tag": found["ETag"], "said": said if isinstance(said, dict) else {}}

    def _write(self, **condition: str) -> bool:
        """Whether the object could be written under a condition."""
        self._beat += 1
        body = json.dumps({**self._who, "beat": self._beat}).encode()
        place = {"Bucket": self._bucket, "Key": self._key}
        try:
            self._fs.call_s3("put_object", **place, Body=body, **condition)
        except (OSError, ClientError) as error:
            if isinstance(error, FileNotFoundError) and "IfMatch" in condition:
                return False  # what was to be replaced is gone
            # a request that was tried again may have been answered the first time
            found = self._read() if _is_refused(error) else None
            if found is not None:
                said = found["said"]
                return (said.get("owner"), said.get("beat")) == (self._who["owner"], self._beat)
            if _is_refused(error):
                return False
            raise
        return True


def _hasty(path: UPath, lease_s: float) -> Any:
    """A filesystem of one's own for signs of life: one that comes late helps nobody."""
    allowed = max(lease_s / _BEATS / _REQUESTS, _SHORTEST_S)
    options = dict(path.storage_options)
    config = dict(options.get("config_kwargs", {}))
    config |= {
        "connect_timeout": min(config.get("connect_timeout", allowed), allowed),
        "read_timeout": min(config.get("read_timeout", allowed), allowed),
        "retries": {"mode": "standard", "max_attempts": 1},
    }
    hasty = UPath(str(path), **options | {"config_kwargs": config}).fs
    hasty.retries = 1  # s3fs tries again by itself what botocore has given up
    return hasty


def _is_refused(error: BaseException) -> bool:
    """Whether the condition did not hold."""
    for link in chain(error):
        if isinstance(link, ClientError):
            return link.response["Error"].get("Code") in (
                "PreconditionFailed", "ConditionalRequestConflict", "412", "409",
            )  # fmt: skip
        if isinstance(link, FileExistsError):
            return True
    return False


def _busy(folder: Place) -> str:
    return f"Another run is at work in {folder}. Wait until it ends, or take another `out:`."
