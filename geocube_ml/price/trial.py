"""A few windows of a cube, made for trial: how long that takes, and how it compresses.

Each is of one time step, read and composited by the code that makes the cube and encoded as the
store does it.  They are spread over the time steps and over the ground.  Of a store few rasters
are opened, those of several windows at a time; of a disk more, and one after the other, as the
time is taken.  The time of the first is not: loops over pixels are compiled, or loaded, meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from geocube_ml.cube.compose import by_band
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.observe import Window
from geocube_ml.errors import GeocubeError
from geocube_ml.price.parts import Cover, Part
from geocube_ml.price.reads import reads_of
from geocube_ml.price.sampled import patience
from geocube_ml.raster import counted
from geocube_ml.raster.remote import is_remote
from geocube_ml.store.layout import CODEC

_WINDOWS = 4
_OPENS = {True: 12, False: 200}
"""Rasters that are opened for a window at most: of a store, and of a disk."""
_OBSERVATIONS = 12_000_000
"""Pixels of all rasters of a window, at most, unless a chunk has more."""
_SCANT = 0.05
"""Share of clear pixels below which the bytes of a window say little: chunks have some of their
own, however few of their pixels have a value."""


@dataclass(frozen=True)
class Tried:
    """One window."""

    seconds: float
    """To read and to composite it."""
    opens: int
    """Rasters."""
    decoded_bytes: int
    observations: int
    """Pixels of all these rasters."""
    raw_bytes: int
    """Of what came out."""
    encoded_bytes: int
    encoding: float
    """Seconds."""
    clear: float
    """Share of pixels with a clear observation; where there is none, bands were not read."""
    timed: bool = True
    """Whether its seconds are those of a window, and not of what a process does but once."""


@dataclass(frozen=True)
class Trial:
    """Some windows, of which at least one pixel was clear."""

    windows: tuple[Tried, ...]

    @property
    def opens(self) -> int:
        """Rasters that were opened."""
        return sum(one.opens for one in self.windows)

    @property
    def ratio(self) -> float:
        """Share of the bytes of pixels with an observation that compression leaves; at most 1."""
        some = [one for one in self.windows if one.clear >= _SCANT] or self.windows
        raw = sum(one.clear * one.raw_bytes for one in some)
        return min(sum(one.encoded_bytes for one in some) / raw, 1.0)

    @property
    def encoding(self) -> float:
        """Seconds a byte that is encoded."""
        return median(one.encoding / one.raw_bytes for one in self._timed)

    @property
    def opening(self) -> float:
        """Seconds a raster, its pixels included."""
        return median(one.seconds / one.opens for one in self._timed)

    @property
    def _timed(self) -> list[Tried]:
        clear = [one for one in self.windows if one.clear]
        return [one for one in clear if one.timed] or clear

    def reading(self, decoded_bytes: float, observations: float, *, remote: bool) -> float:
        """Seconds of one thread for reading and compositing so much.

        From a disk half of it is taken to grow with what is decoded, half with the pixels that
        are composited; larger windows decode less a pixel.  From a store nearly all is waiting.
        """
        found = []
        for one in self._timed:
            grown = decoded_bytes / one.decoded_bytes
            if not remote:
                grown = (grown + observations / one.observations) / 2
            found.append(one.seconds * grown)
        return median(found)


def trial(part: Part, cover: Cover) -> Trial | None:
    """Make a few windows of a part; None where none can be read, or none has a clear pixel."""
    mosaic = part.mosaic
    lit = np.flatnonzero(cover.seen.any(axis=1))
    if not len(lit):
        return None
    some = sorted({int(lit[at]) for at in _spread(len(lit), _WINDOWS)})
    remote = is_remote(next(iter(mosaic.granules)).hrefs[mosaic.source.assets[0]])
    asked = [
        _Try(mosaic, step, *_place(part, cover, step, number / len(some)), remote)
        for number, step in enumerate(some)
    ]
    found: list[Tried] = []
    while asked and not any(one.clear for one in found):  # until all that is compiled was needed
        first = asked.pop(0)
        found += _made([first], at_once=False, timed=False)
    if not any(one.clear for one in found):
        return None
    found += _made(asked, at_once=remote)
    if not any(one.clear and one.timed for one in found):
        found += _made([first.elsewhere()], at_once=False)
    return Trial(tuple(found))


def _made(asked: Sequence[_Try], *, at_once: bool, timed: bool = True) -> list[Tried]:
    """Those windows that can be made."""
    if not asked:
        return []
    with ThreadPoolExecutor(len(asked) if at_once else 1) as pool:
        found = [one for one in pool.map(_Try.made, asked) if one is not None]
    return [replace(one, timed=timed) for one in found]


@dataclass(frozen=True)
class _Try:
    """A window, before it is made."""

    mosaic: Mosaic
    step: int
    tile: Window
    at: tuple[float, float]
    """Row and column of the grid, within the tile."""
    remote: bool

    def made(self) -> Tried | None:
        """The window, made; None if that fails, or there is nothing in it."""
        mosaic = self._few_scenes()
        bands = self._few_bands(sum(1 for _ in mosaic.granules))
        window = self._window(sum(1 for _ in mosaic.granules), len(bands))
        mosaic = mosaic.within(window.y, window.x)
        begun = time.perf_counter()
        try:
            with counted() as counts:
                values, count = mosaic.read([0], bands, window.y, window.x)
        except GeocubeError:
            return None
        taken = time.perf_counter() - begun
        if not counts.opens or not counts.decoded_bytes:
            return None
        arrays = [(values[0], mosaic.source.sensor.nodata)]
        arrays += [(count[0], 0)] if mosaic.counted else []
        begun = time.perf_counter()
        encoded = sum(_encoded(array, fill, mosaic.grid.store.chunk) for array, fill in arrays)
        return Tried(
            taken, counts.opens, counts.decoded_bytes, counts.opens * int(np.prod(window.shape)),
            sum(array.nbytes for array, _ in arrays), encoded, time.perf_counter() - begun,
            float((count > 0).mean()),
        )  # fmt: skip

    def elsewhere(self) -> _Try:
        """A window half a tile away, if it is not all of it: what was fetched is near at hand."""
        places = []
        for within, at in zip((self.tile.y, self.tile.x), self.at, strict=True):
            edge = within.stop - within.start
            places.append(within.start + (at - within.start + edge / 2) % edge)
        return replace(self, at=(places[0], places[1]))

    def _few_scenes(self) -> Mosaic:
        """The mosaic of the step, with no more scenes than may be opened."""
        mosaic = self.mosaic.during(slice(self.step, self.step + 1))
        mosaic = mosaic.within(self.tile.y, self.tile.x)
        mosaic = replace(mosaic, storage=patience(mosaic.storage), unreadable="stop", waits=False)
        reads = reads_of(mosaic)
        least = len(reads) if not by_band(mosaic.composite) else 1 + sum(r.mask for r in reads)
        most = max(1, _OPENS[self.remote] // least)
        scenes = {
            name: tuple(some[at] for at in sorted({*_spread(len(some), most)}))
            for name, some in mosaic.scenes.items()
        }
        return replace(mosaic, scenes=scenes)

    def _few_bands(self, granules: int) -> list[int]:
        """Positions of bands, as many as may be read; all where they are composited together."""
        every = len(self.mosaic.source.chosen)
        masks = sum(read.mask for read in reads_of(self.mosaic))
        if not by_band(self.mosaic.composite):
            return list(range(every))
        most = max(1, _OPENS[self.remote] // max(granules, 1) - masks)
        return sorted({*_spread(every, most)})

    def _window(self, granules: int, bands: int) -> Window:
        """Of whole chunks, within the tile."""
        chunk = self.mosaic.grid.store.chunk
        pixels = _OBSERVATIONS / max(granules * (bands + 1), 1)
        most = 1 if self.remote else max(int(pixels**0.5) // chunk, 1)
        edge = chunk * most
        slices = []
        for within, at in zip((self.tile.y, self.tile.x), self.at, strict=True):
            start = within.start + int(at - within.start) // edge * edge
            slices.append(slice(start, min(start + edge, within.stop)))
        return Window(*slices)


def _place(part: Part, cover: Cover, step: int, share: float) -> tuple[Window, tuple[float, float]]:
    """A tile and a point in it that a step's scenes cover; each share of them is another."""
    seen = np.flatnonzero(cover.seen[step] > 0)
    point = seen[min(int((share + 0.5 / _WINDOWS) * len(seen)), len(seen) - 1)]
    tile = part.tiles[cover.tiles[point]]
    row, col = cover.places[point]
    return Window(tile.y, tile.x), (float(row), float(col))


def _spread(n: int, most: int) -> Iterable[int]:
    """Positions in the middles of equal shares."""
    k = min(n, most)
    return [int((number + 0.5) * n / k) for number in range(k)]


def _encoded(values: NDArray[Any], fill: float, chunk: int) -> int:
    """Bytes of (..., y, x) values as the store holds them; chunks without data take none."""
    objects: dict[str, Any] = {}
    leading = values.shape[:-2]
    cname, level, shuffle = CODEC
    array = zarr.create_array(
        MemoryStore(objects), shape=values.shape, dtype=values.dtype,
        chunks=(*(1 for _ in leading), chunk, chunk), fill_value=np.array(fill, values.dtype)[()],
        shards=(*leading, *(-(-n // chunk) * chunk for n in values.shape[-2:])),
        compressors=BloscCodec(cname=cname, clevel=level, shuffle=shuffle),
    )  # fmt: skip
    array[...] = values
    return sum(len(content) for key, content in objects.items() if not key.endswith("zarr.json"))
