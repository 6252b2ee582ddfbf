"""The price of a cube, or of what is left of it, before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.radiometry import looked_at
from geocube_ml.price.duration import Stage, beginning, coarsening, looks, making
from geocube_ml.price.lines import lines
from geocube_ml.price.memory import overview_bytes, worker_bytes
from geocube_ml.price.overviews import OverviewPrice
from geocube_ml.price.parts import Cover, Part, joined, whole
from geocube_ml.price.reads import Busiest, Near, Read, Taken, added, busiest, mean_block, taken
from geocube_ml.price.requests import Fetched, fetched, looked
from geocube_ml.price.sampled import Samples, sample
from geocube_ml.price.trial import Trial, trial
from geocube_ml.raster import signed_when_read
from geocube_ml.raster.remote import is_remote


@dataclass(frozen=True)
class SourcePrice:
    """What is left to make of one source of a cube, and what that takes; see `Price`."""

    items: int = 0
    days: int = 0
    steps: int = 0
    tasks: int = 0
    done: int = 0
    """Tasks that an earlier run did; nothing else here counts them."""
    masks: Taken | None = Taken()  # noqa: RUF009  it is frozen
    """What is read in any case; None where no header could be read."""
    bands: Taken | None = Taken()  # noqa: RUF009
    """What is read at most: of a scene without a clear pixel in a tile nothing is."""
    exact: bool = True
    """Whether blocks and decoded bytes of `masks` and `bands` are exact, not estimated."""
    fetched: Fetched = Fetched()  # noqa: RUF009
    """Of all these reads, and of looks at items' offsets, from stores."""
    write_bytes: int = 0
    stored_bytes: float | None = 0.0
    """About, after compression: as of windows that were made for trial, else as in the files that
    are read; None where neither could be."""
    objects: int = 0
    worker_bytes: int = 0
    samples: Samples = Samples()  # noqa: RUF009
    trial: Trial | None = None
    stages: tuple[Stage, ...] | None = ()
    """By which its duration is told; None where no header could be read."""


@dataclass(frozen=True)
class Price:
    """What writing a cube takes, or what is left of it.

    Attributes
    ----------
    tiles : int
        That the grid is cut into.
    sources : mapping of str to SourcePrice
    threads : int
        That work on tiles in one process.
    workers : int
        Tasks that are made at a time, by all processes.
    overviews : OverviewPrice
    """

    tiles: int
    sources: Mapping[str, SourcePrice]
    threads: int
    workers: int
    overviews: OverviewPrice = field(default=OverviewPrice())

    @property
    def tasks(self) -> int:
        """Units of work: a source, a block of time steps, a tile."""
        return sum(source.tasks for source in self.sources.values())

    @property
    def done(self) -> int:
        """Units that are there already."""
        return sum(source.done for source in self.sources.values())

    @property
    def decoded_bytes(self) -> int | None:
        """At most; None where no header could be read."""
        total = 0
        for source in self.sources.values():
            if source.masks is None or source.bands is None:
                return None
            total += source.masks.decoded_bytes + source.bands.decoded_bytes
        return total

    @property
    def windows(self) -> int | None:
        """Rasters that are opened, at most, each once for each of its tiles."""
        total = 0
        for source in self.sources.values():
            if source.masks is None or source.bands is None:
                return None
            total += source.masks.windows + source.bands.windows
        return total

    @property
    def fetched(self) -> Fetched:
        """From stores."""
        return sum((source.fetched for source in self.sources.values()), Fetched())

    @property
    def write_bytes(self) -> int:
        """Before compression."""
        return sum(source.write_bytes for source in self.sources.values())

    @property
    def objects(self) -> int:
        """That are written, at most."""
        return sum(source.objects for source in self.sources.values())

    @property
    def stored_bytes(self) -> float | None:
        """About, after compression; None where nothing could be read."""
        every = [source.stored_bytes for source in self.sources.values()]
        known = [size for size in every if size is not None]
        return sum(known) if len(known) == len(every) else None

    @property
    def worker_bytes(self) -> int:
        """Upper bound of the memory of a process that works on tiles."""
        most = max((source.worker_bytes for source in self.sources.values()), default=0)
        return max(most, overview_bytes(self.overviews, self.threads))

    @property
    def seconds(self) -> float | None:
        """About, of the whole step; None where no header could be read."""
        total = beginning().lasts(1)
        for source in self.sources.values():
            if source.stages is None:
                return None
            total += sum(stage.lasts(self.workers) for stage in source.stages)
        above = coarsening(self.overviews.levels, self.overviews.read_bytes)
        return total + sum(stage.lasts(self.workers) for stage in above)

    def lines(self) -> list[str]:
        """For people."""
        return lines(self)

    def facts(self) -> dict[str, Any]:
        """For records."""
        stored, seconds = self.stored_bytes, self.seconds
        return {
            "tiles": self.tiles,
            "tasks": self.tasks,
            "done_before": self.done,
            "windows": self.windows,
            "decoded_bytes": self.decoded_bytes,
            "requests": round(self.fetched.requests),
            "fetched_bytes": round(self.fetched.bytes),
            "write_bytes": self.write_bytes,
            "objects": self.objects,
            "stored_bytes": None if stored is None else round(stored),
            "overview_tasks": self.overviews.tasks,
            "overview_objects": self.overviews.objects,
            "worker_bytes": self.worker_bytes,
            "seconds": None if seconds is None else round(seconds, 1),
        }


def price(
    mosaics: Mapping[str, Mosaic],
    threads: int = 1,
    *,
    workers: int | None = None,
    left: Mapping[str, Sequence[Part]] | None = None,
    done: Mapping[str, int] | None = None,
    overviews: OverviewPrice = OverviewPrice(),  # noqa: B008  it is frozen
) -> Price:
    """Count what writing a cube takes; opens a few headers and makes a few windows for trial.

    Parameters
    ----------
    mosaics : mapping of str to Mosaic
        On one grid.
    threads : int
        That work on tiles in one process.
    workers : int, optional
        Tasks that are made at a time by all processes; `threads` by default.
    left : mapping of str to sequence of Part, optional
        What is to be made of each source; everything by default.
    done : mapping of str to int, optional
        Tasks of each source that are done.
    overviews : OverviewPrice

    Returns
    -------
    Price
        Tasks and bytes to write are exact.  Blocks and decoded bytes are what is read if no scene
        is without a clear pixel, exactly, as far as rasters are cut into blocks as the sampled
        ones.
    """
    if left is None:
        left = {name: [whole(mosaic)] for name, mosaic in mosaics.items()}
    sources = {
        name: _source_price(
            # of all there is: what is told of files must not depend on how far a run came
            sample(mosaic),
            [part for part in left.get(name, ()) if part.tiles],
            (done or {}).get(name, 0),
            threads,
        )
        for name, mosaic in mosaics.items()
    }
    tiles = len(next(iter(mosaics.values())).grid.tiles)
    return Price(tiles, sources, threads, workers or threads, overviews)


def _source_price(samples: Samples, parts: Sequence[Part], done: int, threads: int) -> SourcePrice:
    if not parts:
        return SourcePrice(done=done, samples=samples)
    mosaic = joined(parts)
    sensor = mosaic.source.sensor
    pixel = len(mosaic.source.chosen) * np.dtype(sensor.dtype).itemsize + mosaic.counted
    items = sum(1 for _ in mosaic.granules)
    tasks = sum(part.tasks for part in parts)
    every: dict[Read, Taken] = {}
    known = exact = not mosaic.scenes or set(samples.headers) == set(mosaic.source.assets)
    most = Busiest()
    for part in (part for part in parts if part.mosaic.scenes):
        near = Near.of(part.mosaic, part.tiles)
        most = most.or_more(busiest(part.mosaic, near, len(part.tiles)))
        if known:
            found, stated = taken(part.mosaic, part.tiles, near, samples)
            every, exact = added(every, found), exact and stated
    covers = [Cover.of(part) for part in parts]
    largest = max(range(len(parts)), key=lambda at: (covers[at].share > 0, parts[at].tasks))
    tried = trial(parts[largest], covers[largest]) if samples.headers else None
    sizes = [part.pixels * len(part.mosaic.steps) * pixel for part in parts]
    ratio = tried.ratio if tried else _ratio(mosaic, samples)
    stored = None
    if ratio is not None:
        stored = ratio * sum(size * cover.share for size, cover in zip(sizes, covers, strict=True))
    gets, stages, remote = Fetched(), None, False
    if mosaic.scenes:
        href = next(iter(mosaic.granules)).hrefs[mosaic.source.assets[0]]
        remote = is_remote(href)
        if remote and known:
            by_http = _by_http(href)
            gets = fetched(every, items, tasks, http=by_http)
            gets += looked(mosaic, samples, items, http=by_http)
    masks = sum((t for read, t in every.items() if read.mask), Taken())
    bands = sum((t for read, t in every.items() if not read.mask), Taken())
    if known:
        pixels = sum(part.pixels for part in parts) / sum(len(part.tiles) for part in parts)
        stages = (
            looks(items * len(looked_at(mosaic.source)), tried),
            making(
                tasks, masks.decoded_bytes + bands.decoded_bytes,
                (masks.windows + bands.windows) * pixels, sum(sizes), stored or 0.0, tried,
                requests=gets.requests, remote=remote,
            ),
        )  # fmt: skip
    return SourcePrice(
        items=items,
        days=sum(len(scenes) for scenes in mosaic.scenes.values()),
        steps=len(mosaic.steps),
        tasks=tasks,
        done=done,
        masks=masks if known else None,
        bands=bands if known else None,
        exact=exact,
        fetched=gets,
        write_bytes=sum(sizes),
        stored_bytes=stored,
        objects=sum(part.blocks * part.shards for part in parts) * (1 + mosaic.counted),
        worker_bytes=max(worker_bytes(part.mosaic, most, samples, threads) for part in parts),
        samples=samples,
        trial=tried,
        stages=stages,
    )


def _by_http(href: str) -> bool:
    return href.startswith(("http://", "https://", "/vsicurl/")) and not signed_when_read(href)


def _ratio(mosaic: Mosaic, samples: Samples) -> float | None:
    """How much of its bands' bytes compression leaves in the sampled files."""
    headers = [
        header
        for asset in {band.asset for band in mosaic.source.chosen.values()}
        for header in samples.headers.get(asset, ())
        if header.block_bytes is not None
    ]
    if not headers:
        return None
    return float(
        sum(mean_block(h) for h in headers) / sum(header.bytes_of_block for header in headers)
    )


def missing_files(mosaics: Mapping[str, Mosaic]) -> list[str]:
    """A sentence on local files that items name and that are not there, if any."""
    named = {
        href
        for mosaic in mosaics.values()
        for granule in mosaic.granules
        for href in granule.hrefs.values()
        if "://" not in href and not href.startswith("/vsi")
    }
    gone = sorted(href for href in named if not Path(href).exists())
    if not gone:
        return []
    some = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
    return [f"{len(gone)} of {len(named)} files that the items name are not there: {some}."]
