"""About how long a cube takes; good to a factor of two, on a machine that does nothing else.

Reading, compositing and encoding go by windows that were made for trial, or by usual rates where
none could be; what is around them by constants that were measured on two cores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from geocube_ml.price.trial import Trial

_RATE = 300e6
"""Decoded bytes a second that one thread reads from a disk, where none was timed."""
_ASKED = 0.05
"""Seconds that a request to a store takes, where none was timed."""
_COMPOSED = 60e6
"""Observations (a pixel of a band) a second that one thread masks and composites."""
_WRITTEN = 100e6
"""Bytes a second, before compression, that one thread encodes and writes."""
_COARSENED = 120e6
"""Bytes a second, before compression, of which one thread makes an overview."""
_STORED = 200e6
"""Compressed bytes a second that reach a disk."""
_TASK = 0.05
"""Seconds around each task: its record, the metadata that it reads."""
_BEGINNING = 2.0
"""Seconds of a step before its first tile and after its last."""
_LOOKED = 0.7
"""Of the time that a raster takes for a tile; such a look is coarse, and of nothing else."""
_OPENED = 0.01
"""Seconds to open a raster on a disk and to look at it, where none was timed."""


@dataclass(frozen=True)
class Stage:
    """Tasks that are made side by side, and the seconds of one thread for all of them."""

    tasks: int
    seconds: float

    def lasts(self, workers: int) -> float:
        """Seconds until all are done, if none is longer than another."""
        if not self.tasks:
            return 0.0
        return self.seconds * ceil(self.tasks / workers) / self.tasks


def beginning() -> Stage:
    """What a step does but once."""
    return Stage(1, _BEGINNING)


def looks(rasters: int, trial: Trial | None) -> Stage:
    """Items whose offsets are held against pixels: so many rasters are opened for it."""
    return Stage(rasters, rasters * (_LOOKED * trial.opening if trial else _OPENED))


def making(
    tasks: int,
    decoded_bytes: float,
    observations: float,
    write_bytes: float,
    stored_bytes: float,
    trial: Trial | None,
    *,
    requests: float,
    remote: bool,
) -> Stage:
    """The tiles of a source."""
    if trial is None:
        read = requests * _ASKED + decoded_bytes / _RATE + observations / _COMPOSED
        encoded = write_bytes / _WRITTEN
    else:
        read = trial.reading(decoded_bytes, observations, remote=remote)
        encoded = write_bytes * trial.encoding
    return Stage(tasks, read + encoded + stored_bytes / _STORED + tasks * _TASK)


def coarsening(levels: Iterable[int], read_bytes: float) -> list[Stage]:
    """Overviews, a level after the other; nearly all is read for the first."""
    found = []
    left = read_bytes
    for tasks in levels:
        found.append(Stage(tasks, left / _COARSENED + tasks * _TASK))
        left = 0.0
    return found
