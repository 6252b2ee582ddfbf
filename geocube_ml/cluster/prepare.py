"""What every process that works on tiles does first, and undoes last.

Tiles run side by side, so that each works on one thread.  What was prepared is remembered by the
process: several workers, or several runs on a shared cluster, may live in one.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from distributed import Worker, WorkerPlugin
from threadpoolctl import threadpool_limits

from geocube_ml.errors import ClusterError

PACKAGES = ("geocube-ml", "numpy", "zarr")
"""Whose versions must agree, as they decide values and bytes."""


@dataclass
class _State:
    holders: int = 0
    error: str | None = None
    undo: Callable[[], Any] | None = None


_lock = threading.RLock()
_prepared: dict[str, _State] = {}
_limit: threadpool_limits | None = None
_limited = 0
_torch_threads: int | None = None


def begin(name: str, function: Callable[[], Any], undo: Callable[[], Any] | None = None) -> None:
    """Run a preparation, unless this process has done so; remember what goes wrong."""
    with _lock:
        entry = _prepared.setdefault(name, _State())
        entry.holders += 1
        if entry.holders > 1 and entry.error is None:
            return
        try:
            function()
        except Exception as error:
            entry.error = f"{type(error).__name__}: {error}"
            raise
        entry.error, entry.undo = None, undo


def end(name: str) -> None:
    """Undo a preparation when the last one who asked for it is gone."""
    with _lock:
        entry = _prepared.get(name)
        if entry is None:
            return
        entry.holders -= 1
        if entry.holders == 0:
            del _prepared[name]
            if entry.undo is not None and entry.error is None:
                entry.undo()


def not_ready(names: Sequence[str]) -> str | None:
    """Why this process must not work, or None."""
    for name in names:
        entry = _prepared.get(name)
        if entry is None or entry.error is not None:
            why = entry.error if entry else "it has not run"
            return f"A worker is not prepared ({name.rpartition('/')[2]}): {why}"
    return None


def versions() -> dict[str, str]:
    """Of Python and of the packages that must agree."""
    found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def check_versions(want: Mapping[str, str], got: Mapping[str, str], where: str) -> None:
    """Refuse a worker that is not like this process.

    Raises
    ------
    ClusterError
        Names both versions of what differs.
    """
    differ = [f"{k} {got.get(k)} there, {v} here" for k, v in want.items() if got.get(k) != v]
    if differ:
        raise ClusterError(
            f"The worker {where} is not like this process: {'; '.join(differ)}. Start the cluster "
            "with the environment (image) that this process has."
        )


def settle_in(want: Mapping[str, str]) -> None:
    """The preparation that every worker process needs."""
    check_versions(want, versions(), "that joined")
    limit_threads()


def ignore_interrupts() -> None:
    """Let Ctrl-C, which the terminal sends to all processes, be the business of the first."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def limit_threads() -> None:
    """Let BLAS and OpenMP use one thread, until as many calls of `unlimit_threads`."""
    global _limit, _limited
    with _lock:
        _limited += 1
        if _limit is None:
            _limit = threadpool_limits(1)


def unlimit_threads() -> None:
    """Set BLAS, OpenMP and torch back to what they were."""
    global _limit, _limited, _torch_threads
    with _lock:
        _limited -= 1
        if _limited == 0 and _limit is not None:
            _limit.restore_original_limits()
            _limit = _torch_threads = None


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread within the block, in this thread; it is not imported for that.

    Torch keeps the number by thread, and takes the last that anyone set for new threads; hence at
    each tile, and back to what the first one found.
    """
    global _torch_threads
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads"):  # not imported, or only half
        yield
        return
    now = torch.get_num_threads()  # first: a new thread takes the number when it first asks
    with _lock:
        if _torch_threads is None:
            _torch_threads = now
        before = _torch_threads
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Preparation(WorkerPlugin):
    """A preparation that comes to each worker, also to those that join later."""

    idempotent = True

    def __init__(
        self, name: str, function: Callable[[], Any], undo: Callable[[], Any] | None
    ) -> None:
        self.name, self._function, self._undo = name, function, undo

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        """Dask calls this as the worker begins."""
        begin(self.name, self._function, self._undo)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        """Dask calls this as the preparation is taken back."""
        end(self.name)
