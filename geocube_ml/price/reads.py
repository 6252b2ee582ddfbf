"""What reading all tiles of a source takes, from a few headers and where its items lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.cube.compose import by_asset, rim_of
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.grid import Tile
from geocube_ml.price.reach import Windows
from geocube_ml.price.sampled import Samples
from geocube_ml.raster.window import Header

_AT_A_TIME = 2000
"""Outlines that are held against all tiles at once: what they touch is told in many bytes."""
_GRIDS = 500
"""Distinct places and grids of which blocks are counted, at most: that takes a millisecond and
more for each read of each.  Of more, as many are drawn, and stand for the rest."""


@dataclass(frozen=True)
class Read:
    """One asset as it is read for a window: one open of its raster."""

    asset: str
    bands: tuple[int, ...]
    resampling: str
    coarsening: str
    rim: int
    """Pixels around the window."""
    mask: bool
    """Masks are always read; bands only where a pixel is clear."""


@dataclass(frozen=True)
class Taken:
    """What reads take."""

    windows: int = 0
    """Rasters that are opened, once for each window."""
    blocks: int = 0
    """That are decoded."""
    decoded_bytes: int = 0
    """Of these, as `raster.counted` counts them."""
    runs: int = 0
    """Of blocks that lie one behind the other in a file."""
    singles: int = 0
    """Windows of which one such run is all."""
    block_bytes: float = 0.0
    """Of these blocks in their files."""

    def __add__(self, other: Taken) -> Taken:
        """Of both."""
        return Taken(
            self.windows + other.windows,
            self.blocks + other.blocks,
            self.decoded_bytes + other.decoded_bytes,
            self.runs + other.runs,
            self.singles + other.singles,
            self.block_bytes + other.block_bytes,
        )

    def as_of(self, windows: int) -> Taken:
        """The same of so many windows, if all are alike."""
        if windows == self.windows:
            return self
        share = windows / self.windows if self.windows else 0.0
        return Taken(
            windows,
            round(self.blocks * share),
            round(self.decoded_bytes * share),
            round(self.runs * share),
            round(self.singles * share),
            self.block_bytes * share,
        )


@dataclass(frozen=True)
class Busiest:
    """The most that one step of one tile sees."""

    scenes: int = 0
    granules: int = 0

    def or_more(self, other: Busiest) -> Busiest:
        """The most of both."""
        return Busiest(max(self.scenes, other.scenes), max(self.granules, other.granules))


@dataclass(frozen=True)
class Near:
    """Which tiles each distinct outline touches."""

    outlines: list[Any]
    tiles: list[NDArray[np.int32]]
    """Positions of tiles, for each outline."""

    @classmethod
    def of(cls, mosaic: Mosaic, tiles: Sequence[Tile]) -> Near:
        """All tiles against all outlines, many at once; items on one grid share theirs."""
        outlines = list({id(g.outline): g.outline for g in mosaic.granules}.values())
        rim = mosaic.rim
        edges = np.array([(t.x.start, t.y.start, t.x.stop, t.y.stop) for t in tiles], float)
        boxes = shapely.box(*np.add(edges, [-rim, -rim, rim, rim]).T)
        tree = shapely.STRtree(boxes)
        touched: list[NDArray[np.int32]] = []
        for start in range(0, len(outlines), _AT_A_TIME):
            some = outlines[start : start + _AT_A_TIME]
            which, found = tree.query(some, predicate="intersects")
            order = np.lexsort((found, which))
            ends = np.searchsorted(which[order], np.arange(1, len(some)))
            touched += np.split(found[order].astype(np.int32), ends)
        return cls(outlines, touched)


def reads_of(mosaic: Mosaic) -> list[Read]:
    """What is read of each granule that touches a window; as `Mosaic.read` does it."""
    source = mosaic.source
    edge = int(any(band.derive for band in source.chosen.values()))
    rim = edge + rim_of(mosaic.composite)
    masks = [
        Read(m.asset, (m.band,), "nearest", "nearest", rim + m.shrink + m.grow, True)
        for m in source.sensor.mask
    ]
    raw = [band.model_copy(update={"derive": None}) for band in source.chosen.values()]
    bands = list(dict.fromkeys(raw))
    groups = [[bands[at] for at in group] for group in by_asset(bands)]
    return masks + [
        Read(g[0].asset, tuple(b.band for b in g), g[0].resampling, g[0].coarsening, edge, False)
        for g in groups
    ]


def taken(
    mosaic: Mosaic, tiles: Sequence[Tile], near: Near, samples: Samples
) -> tuple[dict[Read, Taken], bool]:
    """What all tiles take, and whether that is exact.

    It is where each item says where it lies, and items lie on not too many grids; else blocks are
    counted of some of these, by chance, but the same each time, and scaled by windows.

    Parameters
    ----------
    mosaic : Mosaic
    tiles : sequence of Tile
    near : Near
        Of the same mosaic and tiles.
    samples : Samples
        Of at least one header of each asset.
    """
    place = {id(outline): at for at, outline in enumerate(near.outlines)}
    nearest: dict[str, int] = {}
    alike: Counter[tuple[int, int, int]] = Counter()
    grids = {}
    for scenes in mosaic.scenes.values():
        for scene in scenes:
            sampled = nearest.setdefault(scene.day, samples.near(scene.day))
            for granule in scene.granules:
                alike[place[id(granule.outline)], id(granule.grids), sampled] += 1
                grids[id(granule.grids)] = granule.grids
    every = list(alike)
    places = list(dict.fromkeys((at, which) for at, which, _ in every))
    exact = len(places) <= _GRIDS
    if not exact:
        drawn = np.random.default_rng(0).choice(len(places), _GRIDS, replace=False)
        some = {places[number] for number in drawn}
        every = [one for one in every if one[:2] in some]
    n_window = sum(n * len(near.tiles[at]) for (at, *_), n in alike.items())
    known: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    windows = {read.rim: Windows(mosaic.grid.geobox, tiles, read.rim) for read in reads_of(mosaic)}
    found = {}
    for read in reads_of(mosaic):
        total = Taken()
        for at, which, sampled in every:
            n = alike[at, which, sampled]
            header = samples.headers[read.asset][sampled]
            grid = grids[which].get(read.asset)
            exact &= grid is not None
            key = (at, id(grid), header.block, read.resampling, read.coarsening, read.rim)
            if key not in known:
                there = _placed(header, grid or _about(header, near.outlines[at], mosaic))
                rows, cols = windows[read.rim].touched(
                    there, near.tiles[at].astype(np.int64), read.resampling, read.coarsening
                )
                # whole rows of blocks lie one behind the other
                apart = np.where(cols == there.blocks[1], np.minimum(rows, 1), rows)
                known[key] = int((rows * cols).sum()), int(apart.sum()), int((apart == 1).sum())
            blocks, runs, singles = known[key]
            planes = len(header.planes(read.bands))
            total += Taken(
                n * len(near.tiles[at]),
                n * blocks * planes,
                n * blocks * planes * header.bytes_of_block,
                n * runs * planes,
                n * singles * (planes == 1),
                n * blocks * planes * mean_block(header),
            )
        found[read] = total.as_of(n_window)
    return found, exact


def added(some: Mapping[Read, Taken], more: Mapping[Read, Taken]) -> dict[Read, Taken]:
    """What two parts of a source take together."""
    nothing = Taken()
    return {read: some.get(read, nothing) + more.get(read, nothing) for read in {**some, **more}}


def busiest(mosaic: Mosaic, near: Near, n_tile: int) -> Busiest:
    """The most scenes and granules that a step of a tile sees."""
    place = {id(outline): at for at, outline in enumerate(near.outlines)}
    most = Busiest()
    for step in mosaic.steps:
        scenes, granules = np.zeros(n_tile, np.int32), np.zeros(n_tile, np.int32)
        for scene in mosaic.scenes.get(step.name, ()):
            # a day counts once, however many of its granules touch the tile
            seen = np.zeros(n_tile, np.bool_)
            for granule in scene.granules:
                there = near.tiles[place[id(granule.outline)]]
                granules[there] += 1
                seen[there] = True
            scenes += seen
        most = most.or_more(Busiest(int(scenes.max(initial=0)), int(granules.max(initial=0))))
    return most


def mean_block(header: Header) -> float:
    """Bytes of a block in its file; as decoded where the header does not say."""
    if header.block_bytes is None or not header.block_bytes.size:
        return float(header.bytes_of_block)
    return float(header.block_bytes.mean())


def _placed(header: Header, grid: GeoBox) -> Header:
    """The header of a raster that is like another, on a grid of its own."""
    shape = grid.shape
    return replace(
        header, height=shape.y, width=shape.x, crs=str(grid.crs), transform=grid.transform,
        block_bytes=None,
    )  # fmt: skip


def _about(header: Header, outline: Any, mosaic: Mosaic) -> GeoBox:
    """A grid for an item that does not state its own: as large as the sampled one, at its place."""
    if not header.crs:
        return GeoBox((header.height, header.width), header.transform, mosaic.grid.geobox.crs)
    left, top, _, _ = outline.bounds
    x, y = mosaic.grid.geobox.transform * (left, top)
    if GeoBox((1, 1), header.transform, header.crs).crs != mosaic.grid.geobox.crs:
        return GeoBox((header.height, header.width), header.transform, header.crs)
    there = Affine(header.transform.a, 0, x, 0, header.transform.e, y)
    return GeoBox((header.height, header.width), there, header.crs)
