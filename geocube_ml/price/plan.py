"""The price of a cube before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.price.memory import worker_bytes
from geocube_ml.price.reads import Busiest, Near, Taken, busiest, mean_block, taken
from geocube_ml.price.requests import Fetched, fetched
from geocube_ml.price.sampled import Samples, sample
from geocube_ml.raster import signed_when_read
from geocube_ml.raster.remote import is_remote

_RATE = 300e6
"""Decoded bytes a second that one thread reads from a disk, where none was timed."""
_COMPOSED = 60e6
"""Observations (a pixel of a band) a second that one thread masks and composites."""
_WRITTEN = 300e6
"""Bytes a second that one thread compresses and writes."""


@dataclass(frozen=True)
class SourcePrice:
    """What one source of a cube takes; see `Price`."""

    items: int
    days: int
    steps: int
    tasks: int
    masks: Taken | None
    """What is read in any case; None where no header could be read."""
    bands: Taken | None
    """What is read at most: of a scene without a clear pixel in a tile nothing is."""
    exact: bool
    """Whether blocks and decoded bytes of `masks` and `bands` are exact, not estimated."""
    fetched: Fetched
    """Of all these reads, from stores."""
    write_bytes: int
    write_ratio: float | None
    """Share of that which is left by compression, if it goes as in the files that are read."""
    objects: int
    worker_bytes: int
    samples: Samples


@dataclass(frozen=True)
class Price:
    """What writing a cube takes.

    Attributes
    ----------
    tiles : int
        That the grid is cut into.
    sources : mapping of str to SourcePrice
    threads : int
        That work on tiles in one process.
    """

    tiles: int
    sources: Mapping[str, SourcePrice]
    threads: int
    seconds: float | None = field(default=None)
    """Of one thread."""

    @property
    def tasks(self) -> int:
        """Units of work: a source, a block of time steps, a tile."""
        return sum(source.tasks for source in self.sources.values())

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
        """About, after compression; None where no header could be read."""
        every = [(s.write_bytes, s.write_ratio) for s in self.sources.values()]
        if any(ratio is None for _, ratio in every):
            return None
        return sum(size * (ratio or 0.0) for size, ratio in every)

    @property
    def worker_bytes(self) -> int:
        """Upper bound of the memory of a process that works on tiles."""
        return max(source.worker_bytes for source in self.sources.values())

    def facts(self) -> dict[str, Any]:
        """For records."""
        return {
            "tiles": self.tiles,
            "tasks": self.tasks,
            "windows": self.windows,
            "decoded_bytes": self.decoded_bytes,
            "requests": round(self.fetched.requests),
            "fetched_bytes": round(self.fetched.bytes),
            "write_bytes": self.write_bytes,
            "objects": self.objects,
            "stored_bytes": None if self.stored_bytes is None else round(self.stored_bytes),
            "worker_bytes": self.worker_bytes,
            "seconds": None if self.seconds is None else round(self.seconds / self.threads, 1),
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = []
        for name, source in self.sources.items():
            lines.append(
                f"{name}: {_n(source.items, 'item')} of {_n(source.days, 'day')} in "
                f"{_n(source.steps, 'time step')}"
            )
            lines += [f"  {line}" for line in _reading(source)]
        lines.append(f"{_n(self.tiles, 'tile')}, {_n(self.tasks, 'task')}")
        lines.append(_writing(self))
        threads = _n(self.threads, "thread")
        lines.append(f"at most {_size(self.worker_bytes)} of memory for a process of {threads}")
        if self.seconds is not None:
            rates = [s.samples.rate for s in self.sources.values()]
            said = "blocks that were timed" if all(rates) else "usual rates"
            lines.append(
                f"roughly {_time(self.seconds / self.threads)} on {threads}, by {said}; less "
                "where clouds leave nothing to read"
            )
        return lines


def price(mosaics: Mapping[str, Mosaic], threads: int = 1) -> Price:
    """Count what writing all tiles of a cube takes; opens a few headers and reads a few blocks.

    Parameters
    ----------
    mosaics : mapping of str to Mosaic
        On one grid.
    threads : int
        That work on tiles in one process.

    Returns
    -------
    Price
        Tasks and bytes to write are exact.  Blocks and decoded bytes are what is read if no scene
        is without a clear pixel, exactly, as far as rasters are cut into blocks as the sampled
        ones.
    """
    sources = {name: _source_price(mosaic, threads) for name, mosaic in mosaics.items()}
    first = next(iter(mosaics.values()))
    seconds = [_seconds(mosaics[name], source) for name, source in sources.items()]
    known = [s for s in seconds if s is not None]
    total = sum(known) if len(known) == len(seconds) else None
    return Price(len(first.grid.tiles), sources, threads, total)


def _source_price(mosaic: Mosaic, threads: int) -> SourcePrice:
    sensor, grid, tiles = mosaic.source.sensor, mosaic.grid, mosaic.grid.tiles
    size, n_band = np.dtype(sensor.dtype).itemsize, len(mosaic.source.chosen)
    blocks = 1 if sensor.static else ceil(len(mosaic.steps) / grid.store.steps)
    items = sum(1 for _ in mosaic.granules)
    near = Near.of(mosaic, tiles) if mosaic.scenes else Near([], [])
    samples = sample(mosaic)
    masks = bands = None
    exact, gets = True, Fetched()
    every: Mapping[Any, Taken] = {}
    if not mosaic.scenes:
        masks = bands = Taken()
    elif set(samples.headers) == set(mosaic.source.assets):
        every, exact = taken(mosaic, tiles, near, samples)
        masks = sum((t for read, t in every.items() if read.mask), Taken())
        bands = sum((t for read, t in every.items() if not read.mask), Taken())
        href = next(iter(mosaic.granules)).hrefs[mosaic.source.assets[0]]
        if is_remote(href):
            gets = fetched(every, items, blocks * len(tiles), http=_by_http(href))
    shards = ceil(grid.shape[0] / grid.store.shard) * ceil(grid.shape[1] / grid.store.shard)
    pixels = grid.shape[0] * grid.shape[1] * len(mosaic.steps)
    most = busiest(mosaic, near, len(tiles)) if mosaic.scenes else Busiest()
    return SourcePrice(
        items=items,
        days=sum(len(scenes) for scenes in mosaic.scenes.values()),
        steps=len(mosaic.steps),
        tasks=blocks * len(tiles),
        masks=masks,
        bands=bands,
        exact=exact,
        fetched=gets,
        write_bytes=pixels * (n_band * size + mosaic.counted),
        write_ratio=_ratio(mosaic, samples),
        objects=blocks * shards * (1 + mosaic.counted),
        worker_bytes=worker_bytes(mosaic, most, samples, threads),
        samples=samples,
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


def _seconds(mosaic: Mosaic, source: SourcePrice) -> float | None:
    """Of one thread."""
    if source.masks is None or source.bands is None:
        return None
    decoded = source.masks.decoded_bytes + source.bands.decoded_bytes
    edge = mosaic.grid.store.tile
    observations = source.bands.windows * edge * edge
    return (
        decoded / (source.samples.rate or _RATE)
        + observations / _COMPOSED
        + source.write_bytes / _WRITTEN
    )


def _reading(source: SourcePrice) -> list[str]:
    if source.masks is None or source.bands is None:
        return [
            f"what is read cannot be told: {source.samples.trouble}",
            "(tasks, memory and what is written do not depend on it)",
        ]
    about = "" if source.exact else "about "
    every = source.masks + source.bands
    decoded = f"{about}{_size(every.decoded_bytes)} decoded in {_n(every.blocks, 'block')}"
    lines = [f"at most {_n(every.windows, 'window')} of rasters to read, {decoded}"]
    if source.masks.windows:
        lines.append(
            f"of these {_n(source.masks.windows, 'mask')} in any case, "
            f"{about}{_size(source.masks.decoded_bytes)}"
        )
    if source.fetched.requests:
        lines.append(
            f"from the store at most about {_n(round(source.fetched.requests), 'request')} and "
            f"{_size(source.fetched.bytes)}"
        )
    elif every.blocks:
        lines.append(f"from the disk at most about {_size(every.block_bytes)}")
    sampled = _n(source.samples.opened, "header")
    of = _n(len(source.samples.days), "item")
    lines.append(f"told from {sampled} of {of}, as if all were alike")
    if source.samples.trouble:
        lines.append(f"({source.samples.trouble})")
    return lines


def _writing(price: Price) -> str:
    text = f"{_size(price.write_bytes)} to write in at most {_n(price.objects, 'object')}"
    if price.stored_bytes is not None:
        return f"{text}, about {_size(price.stored_bytes)} if it compresses as what is read"
    return f"{text}, before compression"


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


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _time(seconds: float) -> str:
    """In the unit that gives a number above 2.

    Examples
    --------
    >>> _time(1.26), _time(5400), _time(8.5e6)
    ('1.3 seconds', '90 minutes', '98 days')
    """
    unit, amount = "seconds", seconds
    for larger, length in (("minutes", 60), ("hours", 60), ("days", 24)):
        if amount < 2 * length:
            break
        unit, amount = larger, amount / length
    return f"{amount:,.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
