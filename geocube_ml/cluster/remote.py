"""Tiles on a dask cluster, one task an attempt."""

from __future__ import annotations

import contextlib
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

from distributed import Client, Future

from geocube_ml.cluster import prepare
from geocube_ml.cluster.attempt import Outcome, R, T, Work, attempt_elsewhere
from geocube_ml.cluster.waves import Try
from geocube_ml.cluster.workers import NOTHING, Workers
from geocube_ml.errors import ClusterError
from geocube_ml.spec.cluster import ClusterSpec

LOOK = 5.0
"""Seconds between looks at the scheduler: is it there, and with how many threads?"""

ANSWER = 20.0
"""Seconds in which a scheduler must answer; LOOK and ANSWER bound how long a loss goes unseen."""

_GPU = {"GPU": 1}


class DaskWorkers(Workers):
    """The workers of a dask scheduler.

    A worker that is lost costs nothing but time: dask gives its tasks to others, and takes a task
    that killed several for failed (``distributed.scheduler.allowed-failures``).
    """

    def __init__(self, client: Client, spec: ClusterSpec) -> None:
        super().__init__(spec)
        self.client = client
        self.address = str(client.scheduler.address) if client.scheduler else "(closed)"
        self._run = uuid.uuid4().hex[:8]  # dask shares results by key: no two runs have one alike
        self._tasks = 0
        self._ready: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._flying: dict[Any, tuple[Try[Any], Future[Any]]] = {}
        self._names: list[str] = []
        self._threads: dict[str, int] = {}
        self._look_at = 0.0
        self._empty_since: float | None = None
        self.look()

    def close(self) -> None:
        """Undo the preparations, as far as the scheduler answers."""
        with contextlib.suppress(Exception):
            self.look()
            for name in reversed(self._names):
                self.client.unregister_worker_plugin(name)

    @property
    def threads(self) -> int:
        """Threads of all workers, at the last look."""
        return sum(self._threads.values())

    @property
    def dashboard(self) -> str | None:
        """Address of the scheduler's page; it shows something where bokeh is installed."""
        with contextlib.suppress(Exception):  # it may be lost by now
            if "dashboard" in self.client.scheduler_info(n_workers=0)["services"]:
                return str(self.client.dashboard_link) or None
        return None

    def describe(self) -> str:
        """One line for people."""
        threads, workers = self.threads, len(self._threads)
        return (
            f"{threads} thread{'s' * (threads != 1)} on {workers} worker{'s' * (workers != 1)} of "
            f"the dask scheduler {self.address}"
        )

    def prepare(
        self, name: str, function: Callable[[], Any], undo: Callable[[], Any] | None = None
    ) -> None:
        """Run a function in each worker process, and in those that join later."""
        name = f"{self._run}/{name}"
        if name in self._names:
            return
        self._names.append(name)
        try:
            self._send(self.client.register_plugin, prepare.Preparation(name, function, undo))
        except ImportError as error:
            raise ClusterError(
                f"The workers of {self.address} cannot import what this process can: {error}. "
                "Start the cluster with the environment (image) that this process has."
            ) from error

    def once(
        self,
        function: Callable[..., R],
        *args: Any,
        gpu: bool = False,
        here: Mapping[str, Any] = NOTHING,
    ) -> R:
        """Run a function on a worker with a GPU, if there is one, or in this process."""
        if not gpu or not self._has_gpu():
            return function(*args, **here)
        name = getattr(function, "__name__", "once")
        submit = partial(self.client.submit, key=self._key(name, 1), resources=_GPU, pure=False)
        future = self._send(submit, function, *args)
        ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        future.add_done_callback(ended.put)
        while True:
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=LOOK)
                break
            self.look()
        if future.status == "cancelled":  # by nobody here
            raise self._lost(f"`{name}` was cancelled")
        value: R = future.result()
        return value

    def versions(self) -> dict[str, dict[str, str]]:
        """Of Python and of the packages that must agree, by worker; asks without our own code."""
        message = {"op": "versions", "packages": list(prepare.PACKAGES)}
        ask = partial(self._scheduler.broadcast, msg=message, on_error="ignore")
        try:
            answers = self._ask(ask, wait=ANSWER)
        except TimeoutError as error:
            raise self._lost(f"its workers do not answer in {ANSWER:g} s") from error
        return {
            worker: {
                "Python": ".".join(answer["host"]["python"].split(".")[:2]),
                **{p: answer["packages"].get(p) or "not installed" for p in prepare.PACKAGES},
            }
            for worker, answer in answers.items()
        }

    def _submit(self, work: Work[T, R], wave: Sequence[Try[T]], name: Callable[[T], str]) -> None:
        futures = self._send(
            self.client.map,
            partial(attempt_elsewhere, work, tuple(self._names), self.spec.pause),
            [tried.task for tried in wave],
            [tried.attempt for tried in wave],
            key=[self._key(name(tried.task), tried.attempt) for tried in wave],
            pure=False,
        )
        for tried, future in zip(wave, futures, strict=True):
            self._flying[future.key] = (tried, future)
            future.add_done_callback(self._ready.put)

    def _ended(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        while True:
            if time.monotonic() >= self._look_at and self.look():
                return []
            with contextlib.suppress(queue.Empty):
                ready = [self._ready.get(timeout=max(self._look_at - time.monotonic(), 0.01))]
                while not self._ready.empty():
                    ready.append(self._ready.get())
                if ended := self._gather(ready):
                    return ended

    def _gather(self, ready: Iterable[Future[Any]]) -> list[tuple[Try[Any], Outcome[Any]]]:
        """What came of tasks that are said to have ended; one message for all."""
        outcomes: dict[Any, Outcome[Any]] = {}
        finished: dict[Any, Future[Any]] = {}
        for future in ready:
            if future.status == "cancelled":  # by nobody here
                raise self._lost("its tasks were cancelled")
            if future.status == "error":  # not the tile's own, that is in an outcome
                outcomes[future.key] = Outcome("again", error=future.exception())
            elif future.status == "finished":
                finished[future.key] = future
            else:  # its worker is lost since, dask works it out anew
                future.add_done_callback(self._ready.put)
        got: Mapping[Any, Outcome[Any] | None] = {}
        if finished:
            gather = partial(self.client.gather, direct=False, errors="skip", asynchronous=True)
            with contextlib.suppress(TimeoutError):  # the same; or the next look tells
                got = self._ask(gather, finished, wait=LOOK)
        for key, future in finished.items():
            if (outcome := got.get(key)) is None:
                future.add_done_callback(self._ready.put)
            else:
                outcomes[key] = outcome
        for key in outcomes:
            self._flying[key][1].release()
        return [(self._flying.pop(key)[0], outcome) for key, outcome in outcomes.items()]

    def _halt(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        """Release what is under way; what a worker has begun, it ends for itself."""
        for _, future in self._flying.values():
            future.release()
        self._flying.clear()
        self._ready = queue.SimpleQueue()
        return []

    def look(self) -> bool:
        """Count threads anew; True where the number has changed.

        Raises
        ------
        ClusterError
            The scheduler does not answer, or has long had no worker.
        """
        try:
            threads: dict[str, int] = self._ask(self._scheduler.ncores, wait=ANSWER)
        except TimeoutError as error:
            raise self._lost(f"no answer in {ANSWER:g} s") from error
        changed, self._threads = threads != self._threads, threads
        now = time.monotonic()
        self._look_at = now + LOOK
        if threads:
            self._empty_since = None
        else:
            self._empty_since = self._empty_since or now
            if now - self._empty_since > self.spec.patience:
                raise ClusterError(
                    f"The dask scheduler {self.address} has had no worker for "
                    f"{self.spec.patience:g} s. Scale it: cluster.scale(4)."
                )
        return changed

    def _send(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the client returns; an error of a client without a scheduler is told as that."""
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if self.client.status != "running":
                raise self._lost(f"the connection is {self.client.status}") from error
            raise

    def _ask(self, function: Callable[..., Any], *args: Any, wait: float) -> Any:
        """An answer of the scheduler in bounded time."""
        try:
            return self.client.sync(function, *args, callback_timeout=wait)
        except TimeoutError:
            raise
        except (OSError, CancelledError) as error:
            raise self._lost(str(error)) from error

    def _lost(self, why: str) -> ClusterError:
        return ClusterError(
            f"The dask scheduler {self.address} is lost, or was restarted ({why}). See that it "
            "runs, or start another."
        )

    @property
    def _scheduler(self) -> Any:
        """By which the client asks the scheduler."""
        if self.client.status != "running":
            raise self._lost(f"the connection is {self.client.status}")
        return self.client.scheduler

    def _key(self, name: str, number: int) -> tuple[str, str, int, int]:
        """For example ('tile-1a2b3c4d', '0003_0012', 1, 7): dask groups by the first."""
        self._tasks += 1
        return f"tile-{self._run}", name, number, self._tasks

    def _has_gpu(self) -> bool:
        workers = self.client.scheduler_info()["workers"].values()
        return any(worker["resources"].get("GPU", 0) >= _GPU["GPU"] for worker in workers)
