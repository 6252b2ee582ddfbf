"""Working on many tiles, wherever that is: in waves, each again if it fails, none lost."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geocube_ml.cluster.attempt import Outcome, R, T, Work
from geocube_ml.cluster.waves import Try, Waves
from geocube_ml.errors import ClusterError, StorageError, TilesFailed
from geocube_ml.files import redacted
from geocube_ml.spec.cluster import ClusterSpec

Note = Callable[[int, int], None]
"""Called with the number of tiles done and the number of all."""

NOTHING: Mapping[str, Any] = {}
_WIDE = (StorageError, ClusterError)  # access to rasters among them


@dataclass(frozen=True)
class Failure:
    """A tile that failed for good."""

    name: str
    attempts: int
    error: BaseException
    """Its notes hold the traceback, from wherever it was raised."""


def _ignore(task: Any, value: Any) -> None:
    """Keep no result."""


def _silent(done: int, total: int) -> None:
    """Say nothing."""


class Workers(ABC):
    """Threads or a cluster, ready to work on tiles; made by `open_cluster`."""

    _policy: type[Waves[Any]] = Waves

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.waves: Waves[Any] | None = None
        """Of the latest `each`: its counts."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Tiles that can be worked on at the same time, as last counted."""

    @property
    def dashboard(self) -> str | None:
        """Address of dask's page on the cluster, if there is one."""
        return None

    @abstractmethod
    def describe(self) -> str:
        """One line for people."""

    @abstractmethod
    def prepare(
        self, name: str, function: Callable[[], Any], undo: Callable[[], Any] | None = None
    ) -> None:
        """Run a function in each process that works on tiles, and in those that join later.

        Parameters
        ----------
        name : str
            A second preparation of the same name is left out.
        function : callable
            Pickled: a function of a module, or a partial of one.  No secrets as arguments.
        undo : callable, optional
            Run in the same processes when the cluster is left.
        """

    @abstractmethod
    def once(
        self,
        function: Callable[..., R],
        *args: Any,
        gpu: bool = False,
        here: Mapping[str, Any] = NOTHING,
    ) -> R:
        """Run one function: on a worker with the dask resource ``GPU`` where `gpu` asks for it and
        there is one, otherwise in this process.  Of `here`, keyword arguments that cannot travel
        (to show progress), a worker gets nothing.
        """

    def each(
        self,
        work: Work[T, R],
        tasks: Iterable[T],
        *,
        name: Callable[[T], str],
        total: int,
        done: Callable[[T, R], Any] = _ignore,
        note: Note = _silent,
    ) -> list[Failure]:
        """Work on every task, each as often as it takes.

        Parameters
        ----------
        work : callable
            Takes a task and the number of the attempt, from 1.  Elsewhere it is pickled, so it is
            a function of a module, or a partial of one; what is large comes by `prepare`.
        tasks : iterable
            Consumed as tasks are handed out; at most `ahead` for each thread are under way.
        name : callable
            Of a task, unique among them.
        total : int
            Number of tasks.
        done : callable, optional
            Given a task and its result, in this thread.
        note : callable, optional
            Told how many are done.

        Returns
        -------
        list of Failure
            Those that failed each time, or with an error that is certain to come again.

        Raises
        ------
        FullDisk
            No room is left; nothing else is tried.
        TilesFailed
            The first tasks all failed, or too many in a row.
        ClusterError
            The scheduler, or every worker, is lost.
        """
        waves = self.waves = self._policy(tasks, ahead=self.spec.ahead, attempts=self.spec.attempts)
        failures: list[Failure] = []
        arrived: list[tuple[Try[T], Outcome[R]]] = []

        def settle(ended: Sequence[tuple[Try[T], Outcome[R]]]) -> None:
            arrived.extend(ended)
            # from the end, what is done first: it counts, whatever befell the others
            arrived.sort(key=lambda pair: pair[1].verdict == "done")
            while arrived:
                tried, outcome = arrived.pop()
                if (error := outcome.error) is None:
                    waves.succeed()
                    done(tried.task, outcome.value)  # type: ignore[arg-type]
                    note(waves.succeeded, total)
                    continue
                if outcome.verdict == "stop":
                    raise error
                again = outcome.verdict == "again"
                # of a store or a worker, not of the tile: it befalls all of them
                if not waves.fail(tried, again=again, wide=isinstance(error, _WIDE)):
                    failures.append(Failure(name(tried.task), tried.attempt, error))
                if waves.hopeless(self.threads):
                    raise _hopeless(waves, total, failures, error) from error

        try:
            while True:
                while wave := waves.take(self.threads):
                    self._submit(work, wave, name)
                if not waves.in_flight:
                    break
                settle(self._ended())
        except BaseException as error:
            late = self._halt()
            with contextlib.suppress(Exception):  # the first error is the one to tell
                settle(late)
            if isinstance(error, ClusterError):
                raise ClusterError(
                    f"{error} {waves.succeeded:,} of {total:,} tiles are done; the same command "
                    "goes on where it stopped."
                ) from error
            raise
        self._halt()
        return failures

    @abstractmethod
    def _submit(self, work: Work[T, R], wave: Sequence[Try[T]], name: Callable[[T], str]) -> None:
        """Hand out a wave."""

    @abstractmethod
    def _ended(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        """Wait until an attempt has ended, or the number of threads has changed."""

    @abstractmethod
    def _halt(self) -> list[tuple[Try[Any], Outcome[Any]]]:
        """Take back what has not begun; what ended meanwhile."""


def _hopeless(
    waves: Waves[Any], total: int, failures: Sequence[Failure], error: BaseException
) -> TilesFailed:
    if waves.succeeded:
        what = f"Nothing succeeded any more after {waves.succeeded:,} of {total:,} tiles"
    else:
        what = f"The first {waves.given_up:,} of {total:,} tiles all failed"
    failed = TilesFailed(
        f"{what}, so the rest is not tried. The last error: {type(error).__name__}: "
        f"{redacted(str(error))}\n"
        "Mend that and start again; the same command goes on where it stopped."
    )
    failed.names = tuple(failure.name for failure in failures)
    return failed
