"""What to hand out next.  No clock and no cluster in here: the simulation uses it as it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_FEWEST = 8  # failures that say something about the rest
_MANY = 500  # tiles of 5 km under a granule of 110 km


@dataclass(frozen=True)
class Try(Generic[T]):
    """A task, and the how-many-eth attempt at it this is, from 1."""

    task: T
    attempt: int


class Waves(Generic[T]):
    """Hands out tasks in waves, so that a bounded number is under way.

    Parameters
    ----------
    tasks : iterable
        Consumed as tasks are handed out.
    ahead : int
        Tasks under way for each thread, the one that it works on included.
    attempts : int
        How often a task is tried.

    Notes
    -----
    A wave is half of what waits: large enough that messages are few, and small enough that no
    thread runs dry before the next one.  With ``ahead=1`` nothing waits, and a wave is one task.

    A task that is to be tried again goes behind those that were under way when it failed, so that
    the list of waiting ones is bounded, too.

    Examples
    --------
    >>> waves = Waves("abcdefg", ahead=3, attempts=2)
    >>> [try_.task for try_ in waves.take(threads=2)], waves.in_flight
    (['a', 'b'], 2)
    """

    def __init__(self, tasks: Iterable[T], *, ahead: int, attempts: int) -> None:
        self._fresh = iter(tasks)
        self._exhausted = False
        self._again: deque[tuple[int, Try[T]]] = deque()  # with the end that it waits for
        self.ahead, self._attempts = ahead, attempts
        self._ended = self._row = self._refused = 0
        self.in_flight = 0
        """Handed out and not ended."""
        self.peak = 0
        """The most that were in flight."""
        self.waves = 0
        """Handed out so far."""
        self.tries = 0
        """Attempts handed out so far."""
        self.succeeded = 0
        """Tasks that are done."""
        self.given_up = 0
        """Tasks that failed for good."""

    def take(self, threads: int) -> list[Try[T]]:
        """The next wave, empty where it is not yet time for one; call until it is.

        Parameters
        ----------
        threads : int
            Of the cluster, now.  Without any, as if there were one: a cluster that grows by
            itself does so only for tasks that it sees.
        """
        threads = max(threads, 1)
        size = self.size(threads)
        room = self.ahead * threads - self.in_flight
        if room < (1 if self._exhausted else size):
            return []
        wave: list[Try[T]] = []
        while len(wave) < min(room, size) and (chosen := self._next()) is not None:
            wave.append(chosen)
        self.in_flight += len(wave)
        self.peak = max(self.peak, self.in_flight)
        self.tries += len(wave)
        self.waves += bool(wave)
        return wave

    def size(self, threads: int) -> int:
        """Tasks of a wave: half of what waits."""
        return max((self.ahead - 1) * threads // 2, 1)

    def succeed(self) -> None:
        """Count an attempt that succeeded."""
        self.in_flight -= 1
        self._ended += 1
        self.succeeded += 1
        self._row = 0

    def fail(self, failed: Try[T], *, again: bool, wide: bool = False) -> bool:
        """Count an attempt that failed; True where the task will be tried again.

        `wide` says that the cause is not the task's own.
        """
        behind = self._ended + self.in_flight
        self.in_flight -= 1
        self._ended += 1
        self._row += wide
        again = again and failed.attempt < self._attempts
        self.given_up += not again
        self._refused += wide and not again
        if again:
            self._again.append((behind, Try(failed.task, failed.attempt + 1)))
        return again

    def hopeless(self, threads: int) -> bool:
        """Whether so much failed that the rest is not worth trying.

        Where the first tasks all failed for good, and for a cause that befalls all; or later four
        times as many attempts in a row.  Causes of their own are another matter, as one damaged
        raster lies under hundreds of tiles: then it takes as many.
        """
        enough = max(2 * threads, _FEWEST)
        if self.succeeded:
            return self._row >= 4 * enough
        return self._refused >= enough or self.given_up >= max(_MANY, enough)

    def _next(self) -> Try[T] | None:
        if self._again and (self._exhausted or self._again[0][0] <= self._ended):
            return self._again.popleft()[1]
        for task in self._fresh:
            return Try(task, 1)
        self._exhausted = True
        return self._again.popleft()[1] if self._again else None
