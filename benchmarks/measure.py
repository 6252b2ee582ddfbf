"""What a workload reports, and how its three parts are timed."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Result:
    """Speeds of one workload, in `unit`; a target is a least ratio to the peer and the limit."""

    workload: str
    size: str
    unit: str
    ours: float
    peer: float
    limit: float
    target_peer: float
    target_limit: float

    @property
    def to_peer(self) -> float:
        """How many times as fast as the peer."""
        return self.ours / self.peer

    @property
    def to_limit(self) -> float:
        """The share of the limit's speed."""
        return self.ours / self.limit

    @property
    def said(self) -> str:
        """The target."""
        return f"{self.target_peer:.2g} x peer, {self.target_limit:.2g} x limit:"

    @property
    def met(self) -> bool:
        """Whether both parts of the target are."""
        return self.to_peer >= self.target_peer and self.to_limit >= self.target_limit

    def document(self) -> dict[str, object]:
        """For the file of results."""
        return {**asdict(self), "to_peer": self.to_peer, "to_limit": self.to_limit, "met": self.met}


def speeds(parts: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, float]:
    """Work per second of each part: the median over `repeat` rounds in which all take turns.

    Parameters
    ----------
    parts : mapping of name to callable
        Each does its work and returns how much it did.
    repeat : int
        Rounds; one more, which is not counted, comes first.
    """
    found: dict[str, list[float]] = {name: [] for name in parts}
    for round_ in range(repeat + 1):
        for name, work in parts.items():
            begun = time.perf_counter()
            done = work()
            if round_ > 0 or repeat == 0:
                found[name].append(done / (time.perf_counter() - begun))
    return {name: median(values) for name, values in found.items()}


def peak_bytes() -> int:
    """The most memory that this process held; not of what it was before it became itself."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
