"""A dask cluster in simulated time, to which the real `Workers.each` and `Waves` hand out tiles.

Assumed of dask (and counted from a real scheduler in `benchmarks.schedule.compare`):

- Tasks wait at the scheduler and go to the first thread that is free, HOP seconds later; those of
  a lost worker come first again, and count as a failed attempt after more than 3 losses.
- To the scheduler come: from the client a message a wave, one to gather what has ended, one for
  each task that it releases, and one to count threads every 5 s; from a worker one for each task
  that ended, a heartbeat every 1 + workers / 200 s (0.5 s below 11 workers), and two to join.
- The client makes one task after the other, `make` seconds each, and is deaf meanwhile.
- The client hears of an end, gathers it and what ended meanwhile HOP seconds later.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from geocube_ml.cluster.attempt import Outcome
from geocube_ml.cluster.remote import LOOK
from geocube_ml.cluster.waves import Try, Waves
from geocube_ml.cluster.workers import Workers
from geocube_ml.errors import ReadError
from geocube_ml.spec.cluster import ClusterSpec

HOP = 0.01
"""Seconds from one process to another, with what each does before it answers."""

ALLOWED = 3
"""Lost workers that a task survives (``distributed.scheduler.allowed-failures``)."""

Draw = Callable[[int, int], tuple[float, bool]]
"""Seconds that an attempt at a tile takes, and whether it fails."""

Events = Generator[simpy.Event, Any, None]


@dataclass(order=True)
class _Job:
    rank: int
    number: int
    tried: Try[int] = field(compare=False)
    seconds: float = field(compare=False)
    fails: bool = field(compare=False)
    losses: int = field(default=0, compare=False)


class SimulatedWorkers(Workers):
    """Workers with one thread each, some of which are lost and replaced.

    Parameters
    ----------
    spec : ClusterSpec
    n : int
        Workers.
    draw : callable
    lost_every : float
        Mean seconds between losses; exponential.
    replaced_after : float
        Seconds until the next worker takes the place.
    make : float
        Seconds in which the client makes a task.
    policy : type, optional
        Another way of handing out.
    seed : int, optional
    """

    def __init__(
        self,
        spec: ClusterSpec,
        n: int,
        draw: Draw,
        *,
        lost_every: float = np.inf,
        replaced_after: float = 0.0,
        make: float = 0.0,
        policy: type[Waves[Any]] = Waves,
        seed: int = 0,
    ) -> None:
        super().__init__(spec)
        self._policy = policy
        self.env = simpy.Environment()
        self.messages: Counter[str] = Counter()
        self.useful = self.wasted = 0.0
        """Seconds of attempts that succeeded, and of those that failed or were lost."""
        self.known = self.most_known = 0
        """Tasks that the scheduler knows, now and at most."""
        self.lost: list[float] = []
        """When workers were lost."""
        self._n, self._draw, self._replaced_after, self._make = n, draw, replaced_after, make
        self._rng = np.random.default_rng(seed)
        self._jobs = simpy.PriorityStore(self.env)
        self._numbers = itertools.count()
        self._arrived: list[tuple[Try[int], Outcome[float]]] = []
        self._bell = self.env.event()
        self._seen, self._look_at = n, LOOK
        self._alive = [self.env.process(self._worker()) for _ in range(n)]
        if np.isfinite(lost_every):
            self.env.process(self._lose(lost_every))

    @property
    def threads(self) -> int:
        """As counted at the last look."""
        return self._seen

    def describe(self) -> str:
        """One line for people."""
        return f"{self._seen} simulated threads"

    def prepare(self, *_: Any, **__: Any) -> None:
        """Nothing to prepare."""

    def once(self, function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        """Run a function here."""
        return function(*args)

    def heartbeats(self) -> int:
        """Messages that say that a worker, or the client, is there."""
        interval = 0.5 if self._n <= 10 else 1 + self._n / 200
        return int(self.env.now * self._n / interval + self.env.now / 5)

    def away(self) -> float:
        """Seconds that lost workers were not replaced."""
        return sum(min(self.env.now - when, self._replaced_after) for when in self.lost)

    def _submit(self, work: Any, wave: Sequence[Try[int]], name: Any) -> None:  # noqa: ARG002
        if self._make:
            self.env.run(self.env.now + self._make * len(wave))
        self.messages["waves"] += 1
        self.known += len(wave)
        self.most_known = max(self.most_known, self.known)
        for tried in wave:
            draw = self._draw(tried.task, tried.attempt)
            self._jobs.put(_Job(1, next(self._numbers), tried, *draw))

    def _ended(self) -> list[tuple[Try[int], Outcome[float]]]:
        while True:
            if self.env.now >= self._look_at:
                self.messages["looks"] += 1
                self._look_at = self.env.now + LOOK
                before, self._seen = self._seen, len(self._alive)
                if before != self._seen:
                    return []
            if not self._arrived:
                self.env.run(self._bell | self.env.timeout(self._look_at - self.env.now))
            if self._arrived:
                self.env.run(self.env.now + HOP)
                ended, self._arrived, self._bell = self._arrived, [], self.env.event()
                self.messages["gathers"] += 1
                self.messages["releases"] += len(ended)
                self.known -= len(ended)
                return ended

    def _halt(self) -> list[tuple[Try[int], Outcome[float]]]:
        return []

    def _finish(self, job: _Job, error: Exception | None) -> None:
        self.messages["ends"] += 1
        outcome: Outcome[float] = (
            Outcome("again", error=error) if error else Outcome("done", job.seconds)
        )
        self._arrived.append((job.tried, outcome))
        if not self._bell.triggered:
            self._bell.succeed()

    def _worker(self) -> Events:
        job: _Job | None = None
        begun, self.messages["joins"] = 0.0, self.messages["joins"] + 2
        get = self._jobs.get()
        try:
            while True:
                job = yield get
                begun = self.env.now
                yield self.env.timeout(HOP + job.seconds)
                if job.fails:
                    self.wasted += job.seconds
                    self._finish(job, ReadError("drawn"))
                else:
                    self.useful += job.seconds
                    self._finish(job, None)
                job, get = None, self._jobs.get()
        except simpy.Interrupt:
            if job is None and get.triggered:
                job = get.value
            elif job is None:
                get.cancel()
            else:
                self.wasted += self.env.now - begun
            if job is not None:
                job.losses, job.rank = job.losses + 1, 0
                if job.losses > ALLOWED:
                    self._finish(job, ReadError("its workers were lost"))
                else:
                    self._jobs.put(job)

    def _lose(self, lost_every: float) -> Events:
        while True:
            yield self.env.timeout(self._rng.exponential(lost_every))
            if self._alive:
                self.lost.append(self.env.now)
                self._alive.pop(self._rng.integers(len(self._alive))).interrupt()
                self.env.process(self._replace())

    def _replace(self) -> Events:
        yield self.env.timeout(self._replaced_after)
        self._alive.append(self.env.process(self._worker()))
