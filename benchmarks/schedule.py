"""25,000 tiles on 200 workers, simulated with the code that hands out tiles; small cases are real.

    python -m benchmarks.schedule

Assumed of a tile, a year of a sensor on 1024 x 1024 pixels, worked on by one thread:

- 240 reads of 1.5 MB each, 16 at a time.  First bytes come after a lognormal time, median 60 ms,
  sigma 0.7; together not faster than 60 MB/s a worker.
- Each read is answered 503 with a probability of 1 %, and asked again after a random part ("full
  jitter") of 0.1 s, doubled each time, 20 s at most.  Six such answers fail the tile's attempt.
- Computing takes a lognormal time, median 25 s, sigma 0.4; the tile then is written in 12 objects
  of 8 MB, each after a lognormal time of median 150 ms, sigma 0.7, at 40 MB/s.
- An attempt in 200 fails halfway for another reason that is gone the next time, and one tile in
  5,000 fails every time.  A tile is tried 3 times.

Assumed of the cluster: one thread a worker; a worker is lost every minute (exponential), with what
it works on, and replaced after 3 minutes.  The client takes 5 ms to make a tile's task (to choose
its scenes).  `benchmarks.simulated` says what is assumed of dask.

Memory of the scheduler: each task that it knows takes STATE bytes for its own bookkeeping, and what
a real task of a tile, with the addresses of 60 scenes x 12 files, takes pickled.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from distributed import Client
from distributed.protocol import pickle
from rich.console import Console
from rich.table import Table

from benchmarks.simulated import HOP, Draw, SimulatedWorkers
from geocube_ml.cluster import Workers, open_cluster
from geocube_ml.cluster.attempt import attempt_elsewhere
from geocube_ml.cluster.remote import DaskWorkers
from geocube_ml.cluster.waves import Waves
from geocube_ml.errors import ReadError
from geocube_ml.grid import Tile
from geocube_ml.spec.cluster import ClusterSpec

STATE = 4000
"""Bytes of a task's own state at the scheduler (TaskState, its sets, and its keys)."""

CLUSTER = {"lost_every": 60, "replaced_after": 180, "make": 0.005}
"""As assumed above."""

COUNTED = {
    "update-graph": "waves",
    "gather": "gathers",
    "client-releases-keys": "releases",
    "task-finished": "ends",
}
"""Dask's names of the messages whose number follows from that of the tiles."""


class OneByOne(Waves[Any]):
    """Refills as soon as one task has ended."""

    def size(self, threads: int) -> int:  # noqa: ARG002
        """Tasks of a wave."""
        return 1


class WhenEmpty(Waves[Any]):
    """Refills when nothing waits any more."""

    def size(self, threads: int) -> int:
        """Tasks of a wave."""
        return max((self.ahead - 1) * threads, 1)


def s3_tile(tile: int, number: int, *, seed: int = 0) -> tuple[float, bool]:
    """Seconds that an attempt at a tile takes, and whether it fails; as the docstring assumes."""
    of_tile = np.random.default_rng((seed, tile))
    damaged, compute = of_tile.random() < 1 / 5000, 25 * np.exp(0.4 * of_tile.normal())
    rng = np.random.default_rng((seed, tile, number))
    busy = rng.random((6, 240)) < 0.01
    refused = np.logical_and.accumulate(busy, axis=0)  # each answer so far was a 503
    pause = rng.random((6, 240)) * np.minimum(0.1 * 2.0 ** np.arange(6), 20)[:, None]
    answers = 0.06 * np.exp(0.7 * rng.normal(size=(7, 240)))
    waited = answers[0] + (refused * (pause + answers[1:])).sum(axis=0)
    read = max(waited.sum() / 16, 240 * 1.5 / 60)
    write = (0.15 * np.exp(0.7 * rng.normal(size=12))).sum() + 12 * 8 / 40
    if damaged or refused.all(axis=0).any() or rng.random() < 1 / 200:
        return float(read + compute / 2), True
    return float(read + compute + write), False


def short_tile(tile: int, number: int) -> tuple[float, bool]:
    """The same, 10 times as fast."""
    seconds, fails = s3_tile(tile, number)
    return seconds / 10, fails


@dataclass(frozen=True)
class Figures:
    """What came of one simulated run."""

    makespan: float
    efficiency: float
    """Seconds of attempts that succeeded, of those that all workers had."""
    of_present: float
    """The same, of those that workers had that were there."""
    bound: float
    """The shortest possible makespan, of workers that are never lost."""
    messages: dict[str, int]
    tries: int
    peak: int
    """Tasks that the scheduler knows at most."""
    failed: int
    lost: int

    def memory(self, task: int) -> float:
        """MB of the scheduler that tasks of so many pickled bytes take."""
        return self.peak * (STATE + task) / 1e6


def simulate(
    tiles: int = 25_000, n: int = 200, *, ahead: int = 2, draw: Draw = s3_tile, **options: Any
) -> Figures:
    """Hand out tiles to simulated workers; `options` are those of `SimulatedWorkers`."""
    workers = SimulatedWorkers(ClusterSpec(ahead=ahead), n, draw, **options)
    times: list[float] = []
    failures = workers.each(
        _nothing, range(tiles), name=str, total=tiles, done=lambda _, seconds: times.append(seconds)
    )
    makespan, waves = float(workers.env.now), workers.waves
    assert waves is not None  # noqa: S101
    return Figures(
        makespan=makespan,
        efficiency=workers.useful / (n * makespan),
        of_present=workers.useful / (n * makespan - workers.away()),
        bound=max(sum(times) / n, *times, 0),
        messages={**workers.messages, "heartbeats": workers.heartbeats()},
        tries=waves.tries,
        peak=workers.most_known,
        failed=len(failures),
        lost=len(workers.lost),
    )


def _nothing(task: int, number: int) -> float:
    raise NotImplementedError


def task_bytes() -> int:
    """Bytes of one tile's task as it travels."""
    tile = Tile(3, 12, slice(3072, 4096), slice(12288, 13312))
    scenes = tuple(
        {
            f"B{band:02d}": f"https://sentinel.s3.amazonaws.com/2022/S2A_33UVP_{day:04d}/B{band}.tif"
            for band in range(12)
        }
        for day in range(60)
    )
    call = partial(attempt_elsewhere, _nothing, ("1a2b3c4d/s3",), 0, tile, 1)
    return len(pickle.dumps(call)) + len(pickle.dumps(scenes))


def small_tile(tile: int, number: int) -> tuple[float, bool]:
    """Of a case that is small enough to be run: up to 0.15 s, a few fail, one of them each time."""
    seconds = np.random.default_rng((tile, number)).uniform(0.05, 0.15)
    return float(seconds), tile == 9 or (tile in (3, 11) and number == 1)


def sleep(tile: int, number: int) -> float:
    """Take as long as drawn, really."""
    seconds, fails = small_tile(tile, number)
    time.sleep(seconds)
    if fails:
        raise ReadError("drawn")
    return seconds


def compare(workers: Workers, tiles: int = 40) -> tuple[Figures, Figures]:
    """The same small case really, and simulated.

    Parameters
    ----------
    workers : Workers
        Of a real cluster without other work, one thread a worker, which does not `pause`.
    tiles : int
        At least 25, so that those that fail do so before the last wave.
    """
    n, ahead = workers.threads, workers.spec.ahead
    client = workers.client if isinstance(workers, DaskWorkers) else None
    if client is not None:
        client.run_on_scheduler(_count, COUNTED)
    begun = time.perf_counter()
    times: list[float] = []
    failures = workers.each(
        partial(sleep), range(tiles), name=str, total=tiles,
        done=lambda _, seconds: times.append(seconds),
    )  # fmt: skip
    makespan = time.perf_counter() - begun
    waves = workers.waves
    assert waves is not None  # noqa: S101
    real = Figures(
        makespan=makespan,
        efficiency=sum(times) / (n * makespan),
        of_present=sum(times) / (n * makespan),
        bound=max(sum(times) / n, *times, 0),
        messages=_counts(client) if client is not None else {"waves": waves.waves},
        tries=waves.tries,
        peak=waves.peak,
        failed=len(failures),
        lost=0,
    )
    return real, simulate(tiles, n, ahead=ahead, draw=small_tile)


def _count(names: dict[str, str], dask_scheduler: Any) -> None:
    """Let a scheduler count the messages of some names that come to it; runs there."""
    from functools import wraps
    from inspect import iscoroutinefunction

    counts = dask_scheduler.geocube_counts = Counter()

    def counting(handler: Any, name: str) -> Any:
        @wraps(handler)
        def plain(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return handler(*args, **kwargs)

        @wraps(handler)
        async def later(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return await handler(*args, **kwargs)

        return later if iscoroutinefunction(handler) else plain

    for handlers in (dask_scheduler.handlers, dask_scheduler.stream_handlers):
        for dask_name, name in names.items():
            if dask_name in handlers:
                handlers[dask_name] = counting(handlers[dask_name], name)


def _counts(client: Client) -> dict[str, int]:
    time.sleep(10 * HOP)  # what is released is told in batches
    counted = client.run_on_scheduler(lambda dask_scheduler: dict(dask_scheduler.geocube_counts))
    return dict(counted)


def main() -> int:
    """Print what was simulated, and what was run."""
    console, size = Console(width=140), task_bytes()
    table = Table(title="25,000 tiles on 200 workers, simulated; one is lost every minute")
    for head in ("a tile", "ahead", "refill", "hours", "bound", "efficiency", "of present",
                 "tries", "failed", "waves", "messages/s", "peak tasks", "MB"):  # fmt: skip
        table.add_column(head, justify="left" if head == "refill" else "right", no_wrap=True)
    for kind, draw in (("38 s", s3_tile), ("4 s", short_tile)):
        for ahead, policy in ((1, Waves), (2, Waves), (4, Waves), (2, OneByOne), (2, WhenEmpty)):
            f = simulate(ahead=ahead, draw=draw, policy=policy, **CLUSTER)
            table.add_row(
                kind, str(ahead), policy.__name__, f"{f.makespan / 3600:.3f}",
                f"{f.bound / 3600:.3f}", f"{f.efficiency:.1%}", f"{f.of_present:.1%}",
                f"{f.tries:,}", f"{f.failed}", f"{f.messages['waves']:,}",
                f"{sum(f.messages.values()) / f.makespan:,.0f}", f"{f.peak:,}",
                f"{f.memory(size):.0f}",
            )  # fmt: skip
    console.print(table)
    at_once = 25_000 * (STATE + size) / 1e9
    print(f"A task is {size:,} bytes; all tiles handed out at once would be {at_once:.1f} GB.")
    table = Table(title="40 tiles on 2 processes, really and simulated")
    for head in ("ahead", "", "s", "tries", "failed", "peak tasks", "messages"):
        table.add_column(head)
    for ahead in (1, 2, 4):
        with open_cluster(
            ClusterSpec(where="processes", workers=2, ahead=ahead, pause=0)
        ) as workers:
            for kind, f in zip(("real", "simulated"), compare(workers), strict=True):
                table.add_row(
                    str(ahead), kind, f"{f.makespan:.2f}", str(f.tries), str(f.failed), str(f.peak),
                    ", ".join(f"{name} {f.messages[name]}" for name in COUNTED.values()),
                )  # fmt: skip
    console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
