"""Tiles on threads of this process."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from geocube_ml.cluster import prepare
from geocube_ml.cluster.attempt import Outcome, R, T, Work, attempt
from geocube_ml.cluster.waves import Try
from geocube_ml.cluster.workers import NOTHING, Workers
from geocube_ml.spec.cluster import ClusterSpec


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class ThreadWorkers(Workers):
    """Threads of this process; a tile that is worked on is finished before an error comes out."""

    def __init__(self, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self._threads = spec.workers or cores()
        self._pool: ThreadPoolExecutor | None = None
        self._done: queue.SimpleQueue[tuple[Try[Any], Future[Outcome[Any]]]] = queue.SimpleQueue()
        self._names: list[str] = []
        prepare.limit_threads()

    def close(self) -> None:
        """Undo the preparations."""
        for name in reversed(self._names):
            prepare.end(name)
        prepare.unlimit_threads()

    @property
    def threads(self) -> int:
        """Threads that work on tiles."""
        return self._threads

    def describe(self) -> str:
        """One line for people."""
        return f"{self._threads} thread{'s' * (self._threads > 1)} of this process"

    def prepare(
        self, name: str, function: Callable[[], Any], undo: Callable[[], Any] | None = None
    ) -> None:
        """Run a function, once, in this process."""
        name = f"{id(self)}/{name}"
        if name not in self._names:
            self._names.append(name)
            prepare.begin(name, function, undo)

    def once(
        self,
        function: Callable[..., R],
        *args: Any,
        gpu: bool = False,  # noqa: ARG002
        here: Mapping[str, Any] = NOTHING,
    ) -> R:
        """Run a function in this process."""
        return function(*args, **here)

    def _submit(
        self,
        work: Work[T, R],
        wave: Sequence[Try[T]],
        name: Callable[[T], str],  # noqa: ARG002
    ) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tile")
        for tried in wave:
            future = self._pool.submit(attempt, work, (), tried.task, tried.attempt)
            future.add_done_callback(partial(self._put, tried))

    def _put(self, tried: Try[Any], future: Future[Outcome[Any]]) -> None:
        self._done.put((tried, future))

    def _ended(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        tried, future = self._done.get()
        return [(tried, future.result()), *self._rest()]

    def _halt(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        return self._rest()

    def _rest(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        ended = []
        while not self._done.empty():
            tried, future = self._done.get()
            if not future.cancelled():
                ended.append((tried, future.result()))
        return ended
