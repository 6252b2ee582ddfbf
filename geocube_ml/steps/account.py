"""What a cube took, from the records of its units, beside what it was said to take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from geocube_ml.cluster.threads import ThreadWorkers
from geocube_ml.files import Place, names, read_json, write_json
from geocube_ml.price.plan import Price
from geocube_ml.spec.cluster import PROCESSES, THREADS
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Unit

Shard = tuple[int, int, int]
"""Block of time steps, row and column."""


@dataclass
class Tally:
    """Sums over units, whenever they were made."""

    tasks: int = 0
    windows: int = 0
    decoded_bytes: int = 0
    seen: dict[str, list[bool]] = field(default_factory=dict)
    """Of each part: whether anything was clear, by time step."""

    def add(self, part: str, read: dict[str, Any]) -> None:
        """One unit's record."""
        self.tasks += 1
        self.windows += read.get("windows", 0)
        self.decoded_bytes += read.get("decoded_bytes", 0)
        seen = [bool(n) for n in read.get("seen", ())]
        before = self.seen.setdefault(part, [False] * len(seen))
        self.seen[part] = [a or b for a, b in zip(before, seen, strict=True)]


def tally(job: Job, units: Sequence[Unit], made: Container[str]) -> tuple[Tally, Tally]:
    """Sum up the records of some units of the step `cube`; those that others took over count no
    more.

    Parameters
    ----------
    job : Job
    units : sequence of Unit
    made : container of str
        Names of those that were to be made in this run.

    Returns
    -------
    total, mine : Tally
        Of all units, and of those of this run.
    """
    folder = job.records.tiles("cube")
    there = names(folder)
    wanted = [unit for unit in units if f"{unit.name}.json" in there]
    total, mine = Tally(), Tally()
    with ThreadPoolExecutor(job.recipe.storage.requests) as pool:
        records = pool.map(lambda unit: read_json(folder / f"{unit.name}.json"), wanted)
        for unit, record in zip(wanted, records, strict=True):
            read = record.get("read", {})
            total.add(unit.part, read)
            if unit.name in made:
                mine.add(unit.part, read)
    return total, mine


def paid(
    job: Job, told: Price, mine: Tally, shards: Mapping[str, Container[Shard]], begun: float
) -> None:
    """Keep the price beside what was, both of this run: a record of its own.

    Parameters
    ----------
    job : Job
    told : Price
        Of what was left.
    mine : Tally
        Of what this run was to make.
    shards : mapping of str to container of Shard
        By variable, those that it was to write.
    begun : float
        Of the step, on the monotonic clock.
    """
    sizes = [
        size
        for array, wanted in shards.items()
        for shard, size in _objects(job.cube_path / array)
        if shard in wanted
    ]
    was = {
        "tasks": mine.tasks,
        "windows": mine.windows,
        "decoded_bytes": mine.decoded_bytes,
        "objects": len(sizes),
        "stored_bytes": sum(sizes),
        "seconds": round(time.monotonic() - begun, 1),
        "worker_bytes": _peak() if _here(job) else None,
    }
    write_json(job.records.path("price", "cube"), {"estimated": told.facts(), "was": was})


def shards_of(units: Iterable[Unit], store: StoreSpec) -> set[Shard]:
    """Blocks of time, rows and columns of the shards that units are written to."""
    edge = store.shard
    return {
        (unit.steps.start // store.steps if unit.steps else 0, row, col)
        for unit in units
        for row in range(unit.tile.y.start // edge, ceil(unit.tile.y.stop / edge))
        for col in range(unit.tile.x.start // edge, ceil(unit.tile.x.stop / edge))
    }


def forget_peak() -> None:
    """Let the peak of memory begin anew, where the system can: a step before it may have taken
    more.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int | None:
    """The most bytes that this process held since `forget_peak`; None where that is not told."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(n.split()[1]) * 1024 for n in lines if n.startswith("VmHWM:")), None)


def threads(job: Job) -> int:
    """That work on tiles in one process."""
    return job.threads if _here(job) else 1


def at_a_time(job: Job) -> int:
    """Tasks that are made at a time: of a plan as far as the recipe says, with one on a cluster
    elsewhere.
    """
    if job.crew is not None:
        return max(job.crew.threads, 1)  # workers may be on their way
    return job.threads if job.recipe.cluster.where in (THREADS, PROCESSES) else 1


def _here(job: Job) -> bool:
    """Whether tiles are made in this process; a client that is given counts, not the recipe."""
    if job.crew is None:
        return job.recipe.cluster.where == THREADS
    return isinstance(job.crew, ThreadWorkers)


def _objects(folder: Place) -> list[tuple[Shard, int]]:
    """Each shard of an array, and its bytes."""
    if isinstance(folder, Path):
        found = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("c/**/*")
            if path.is_file()
        }
    else:
        start = len(folder.path.rstrip("/")) + 1
        listed = folder.fs.find(folder.path, detail=True)
        found = {
            path[start:]: said["size"]
            for path, said in listed.items()
            if path[start:].startswith("c/")
        }
    return [(_shard(key), size) for key, size in found.items()]


def _shard(key: str) -> Shard:
    """Where a shard of an array lies, by its key: c/[time/][band/]y/x."""
    _, *leading, row, col = key.split("/")
    return int(leading[0]) if leading else 0, int(row), int(col)
