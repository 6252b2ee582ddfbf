"""One task a tile: computed, written, and only then recorded.

What is sent to a worker is small and says all: which pixels to read, where to write.  A worker
takes nothing from the process that sent it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geocube_ml.cluster import Failure, Workers
from geocube_ml.errors import GeocubeError, TilesFailed
from geocube_ml.files import Place, read_json, redacted, storage_error, write_json
from geocube_ml.grid import Tile
from geocube_ml.store.cube import CubeStore

_SHOWN = 5  # causes that are told, and tiles of each


@dataclass(frozen=True)
class Unit:
    """What is made, written and recorded at a time: a tile, or one source and some time steps of
    it.
    """

    tile: Tile
    digest: str
    """Of the variables that it is written to."""
    part: str = ""
    """Source, and first and last time step."""
    steps: slice | None = None
    """Positions on the time axis of variables that have one."""

    @property
    def name(self) -> str:
        """Of its record; unique within a step."""
        return f"{self.part}.{self.tile.name}" if self.part else self.tile.name


@dataclass(frozen=True)
class Pixels:
    """What a tile holds."""

    values: Mapping[str, NDArray[Any]]
    """Variable to (..., y, x) array."""

    left_out: tuple[dict[str, str], ...] = ()
    """Items that it was made without, and why."""

    read: Mapping[str, Any] = field(default_factory=dict)
    """What was read for it, counted; nothing that differs from run to run."""


class Work(Protocol):
    """Computes one tile; frozen and picklable, as it is sent to workers."""

    def __call__(self, tile: Tile, last: bool) -> Pixels:
        """Pixels of a tile; `last` says that nothing will try again if it fails."""


@dataclass(frozen=True)
class TileTask:
    """One unit, and how to compute it."""

    unit: Unit
    work: Work


@dataclass(frozen=True)
class TileWriter:
    """Computes a tile, writes it, and records that; the same for all tiles of a step."""

    store: CubeStore
    step: str
    records: Place
    left_out: Place
    failed: Place
    attempts: int

    def __call__(self, task: TileTask, attempt: int) -> int:
        """Number of items that were left out."""
        pixels = task.work(task.unit.tile, attempt >= self.attempts)
        try:
            return self._write(task.unit, pixels, attempt)
        except Exception as error:
            if refused := storage_error(error, self.store.path):
                raise refused from error
            raise

    def _write(self, unit: Unit, pixels: Pixels, attempt: int) -> int:
        self.store.write(unit.tile, pixels.values, unit.digest, unit.steps)
        name = f"{unit.name}.json"
        if pixels.left_out:
            write_json(self.left_out / name, list(pixels.left_out))
        record = {
            "step": self.step,
            "tile": unit.name,
            "digest": unit.digest,
            "content": {name: content_hash(block) for name, block in pixels.values.items()},
            "attempt": attempt,
            "left_out": len(pixels.left_out),
        }
        if pixels.read:
            record["read"] = dict(pixels.read)
        # last: a crash repeats a tile, never skips one
        write_json(self.records / name, record)
        return len(pixels.left_out)


def content_hash(block: NDArray[Any]) -> str:
    """32 hex digits over an array's values, dtype and shape.

    Examples
    --------
    >>> content_hash(np.zeros((2, 3), "u1")) == content_hash(np.zeros((3, 2), "u1"))
    False
    """
    content = hashlib.blake2b(f"{block.dtype.str} {block.shape}".encode(), digest_size=16)
    content.update(np.ascontiguousarray(block).data)
    return content.hexdigest()


def write_tiles(
    workers: Workers,
    writer: TileWriter,
    tasks: Iterable[TileTask],
    *,
    total: int,
    note: Callable[[int, int], None],
    check: Callable[[], None],
) -> None:
    """Compute and write tiles wherever the work is done.

    Parameters
    ----------
    workers : Workers
    writer : TileWriter
    tasks : iterable of TileTask
        Made one by one, as they are sent.
    total : int
        Number of tasks.
    note : callable
        Told how many are done.
    check : callable
        Called now and then; raises if the run's folder has another owner by now.

    Raises
    ------
    TilesFailed
        Some tiles could not be made, however often they were tried; all others are.
    """

    def done(_: TileTask, __: int) -> None:
        check()

    try:
        failures = workers.each(
            writer, tasks, name=lambda task: task.unit.name, total=total, done=done, note=note
        )
    except TilesFailed as error:
        _remember(writer.failed, error.names)
        raise
    check()
    if failures:
        _remember(writer.failed, [failure.name for failure in failures])
        raise TilesFailed(
            f"{len(failures)} of {total} tiles of the step `{writer.step}` could not be made"
            f"{', the others are written' if len(failures) < total else ''}.\n"
            f"{causes(failures)}\n"
            "Mend the cause and run the same command again: it makes only what is missing. "
            "`unreadable: leave-out` in the recipe makes a cube without what cannot be read, and "
            "lists that."
        )


def _remember(path: Place, tiles: Iterable[str]) -> None:
    """Tiles that failed come last in the next run, else it would meet nothing but failures."""
    before = read_json(path) if path.exists() else []
    write_json(path, sorted({*before, *tiles}))


def causes(failures: Sequence[Failure]) -> str:
    """A line a cause, with the tiles that it befell."""
    causes: dict[str, list[str]] = {}
    for failure in sorted(failures, key=lambda failure: failure.name):
        error = failure.error
        kind = "" if isinstance(error, GeocubeError) else f"{type(error).__name__}: "
        said = f"tried {failure.attempts} times" if failure.attempts > 1 else "tried once"
        causes.setdefault(f"({said}): {kind}{redacted(str(error))}", []).append(failure.name)
    lines = []
    for cause, tiles in list(causes.items())[:_SHOWN]:
        more = f" and {len(tiles) - _SHOWN} more" if len(tiles) > _SHOWN else ""
        lines.append(f"  {', '.join(tiles[:_SHOWN])}{more} {cause}")
    if len(causes) > _SHOWN:
        lines.append(f"  and {len(causes) - _SHOWN} other causes")
    return "\n".join(lines)
