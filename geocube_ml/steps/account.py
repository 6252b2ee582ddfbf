"""What a cube took, from the records of its units, beside what it was said to take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geocube_ml.files import Place, names, read_json, write_json
from geocube_ml.price.plan import Price
from geocube_ml.spec.cluster import THREADS
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Unit

_VARYING = ("seconds", "worker_bytes")
"""What differs from run to run, and so has no place among a step's facts."""


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


def tally(job: Job, units: Sequence[Unit]) -> Tally:
    """Sum up the records of some units of the step `cube`; those that others took over count no
    more.
    """
    folder = job.records.tiles("cube")
    there = names(folder)
    wanted = [unit for unit in units if f"{unit.name}.json" in there]
    total = Tally()
    with ThreadPoolExecutor(job.recipe.storage.requests) as pool:
        records = pool.map(lambda unit: read_json(folder / f"{unit.name}.json"), wanted)
        for unit, record in zip(wanted, records, strict=True):
            total.add(unit.part, record.get("read", {}))
    return total


def paid(
    job: Job, told: Price, total: Tally, arrays: Iterable[str], begun: float
) -> dict[str, dict[str, Any]]:
    """The price beside what was; with time and memory in a record of its own."""
    sizes = [size for array in arrays for size in _objects(job.cube_path / array)]
    was = {
        "tasks": total.tasks,
        "windows": total.windows,
        "decoded_bytes": total.decoded_bytes,
        "objects": len(sizes),
        "stored_bytes": sum(sizes),
    }
    estimated = told.facts()
    varying = {
        "seconds": round(time.monotonic() - begun, 1),
        "worker_bytes": _peak() if job.recipe.cluster.where == THREADS else None,
    }
    write_json(
        job.records.path("price", "cube"), {"estimated": estimated, "was": {**was, **varying}}
    )
    lasting = {key: value for key, value in estimated.items() if key not in _VARYING}
    return {"estimated": lasting, "was": was}


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
    return job.threads if job.recipe.cluster.where == THREADS else 1


def _objects(folder: Place) -> list[int]:
    """Bytes of each object of an array but its metadata."""
    if isinstance(folder, Path):
        return [f.stat().st_size for f in folder.rglob("c/**/*") if f.is_file()]
    found = folder.fs.find(folder.path, detail=True)
    return [said["size"] for path, said in found.items() if not path.endswith("zarr.json")]
