"""The price of a cube before a pixel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geocube_ml.cube.mosaic import Mosaic

_RESAMPLING = 160  # bytes a pixel, measured: places, weights and sums of one raster


@dataclass(frozen=True)
class Price:
    """What writing a cube takes.

    Attributes
    ----------
    tiles, items, days, months : int
        Units of work; granules, overpasses and time steps.
    reads : int
        Windows of assets that are opened, at most: bands of a month without a clear pixel are
        not.
    read_bytes, write_bytes : int
        Pixels decoded (at most) and written, uncompressed.
    worker_bytes : int
        Upper bound of the pixels that one worker holds at a time.
    """

    tiles: int
    items: int
    days: int
    months: int
    reads: int
    read_bytes: int
    write_bytes: int
    worker_bytes: int

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{_n(self.items, 'item')} of {_n(self.days, 'day')} in {_n(self.months, 'month')}",
            f"{_n(self.tiles, 'tile')}, one task each",
            f"at most {self.reads} windows to read, {_size(self.read_bytes)} decoded",
            f"{_size(self.write_bytes)} to write before compression",
            f"at most {_size(self.worker_bytes)} of pixels in each worker's memory",
        ]


def price(mosaics: Mapping[str, Mosaic]) -> Price:
    """Count what writing all tiles of a cube takes; opens nothing."""
    every = [_price(mosaic) for mosaic in mosaics.values()]
    return Price(
        tiles=every[0].tiles,
        items=sum(one.items for one in every),
        days=sum(one.days for one in every),
        months=max(one.months for one in every),
        reads=sum(one.reads for one in every),
        read_bytes=sum(one.read_bytes for one in every),
        write_bytes=sum(one.write_bytes for one in every),
        worker_bytes=max(one.worker_bytes for one in every),
    )


def _price(mosaic: Mosaic) -> Price:
    source = mosaic.source
    size = np.dtype(source.sensor.dtype).itemsize
    n_band = len(source.chosen)
    n_mask = len(source.sensor.mask)
    reads = read_bytes = worker = 0
    for tile in mosaic.grid.tiles:
        pixels = (tile.y.stop - tile.y.start) * (tile.x.stop - tile.x.start)
        busiest = 0
        for scenes in mosaic.within(tile.y, tile.x).scenes.values():
            n = [len(scene.granules) for scene in scenes]
            reads += sum(n) * (n_band + n_mask)
            read_bytes += sum(n) * pixels * (n_band * size + n_mask)
            busiest = max(busiest, pixels * (sum(n) + len(n) * (3 * size + 3)))
        written = len(mosaic.steps) * pixels * (n_band * size + 1)
        worker = max(worker, 2 * written + busiest + _RESAMPLING * pixels)
    rows, cols = mosaic.grid.shape
    return Price(
        tiles=len(mosaic.grid.tiles),
        items=sum(1 for _ in mosaic.granules),
        days=sum(len(scenes) for scenes in mosaic.scenes.values()),
        months=len(mosaic.steps),
        reads=reads,
        read_bytes=read_bytes,
        write_bytes=len(mosaic.steps) * rows * cols * (n_band * size + 1),
        worker_bytes=worker,
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


def _n(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
