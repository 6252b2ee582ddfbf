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
from scipy import sparse

from geocube_ml.cube.compose import by_asset, rim_of
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.grid import Tile
from geocube_ml.price.reach import Windows
from geocube_ml.price.sampled import Samples
from geocube_ml.raster.window import Header

_AT_A_TIME = 2000  # tiles


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
    tiles: list[NDArray[np.int64]]
    """Positions of tiles, for each outline."""

    @classmethod
    def of(cls, mosaic: Mosaic, tiles: Sequence[Tile]) -> Near:
        """All tiles against all outlines, in one query; items on one grid share theirs."""
        outlines = list({id(g.outline): g.outline for g in mosaic.granules}.values())
        rim = mosaic.rim
        edges = np.array([(t.x.start, t.y.start, t.x.stop, t.y.stop) for t in tiles], float)
        boxes = shapely.box(*np.add(edges, [-rim, -rim, rim, rim]).T)
        which, found = shapely.STRtree(boxes).query(outlines, predicate="intersects")
        order = np.lexsort((found, which))
        ends = np.searchsorted(which[order], np.arange(1, len(outlines)))
        return cls(outlines, np.split(found[order].astype(np.int64), ends))


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
    """What all tiles take, and whether each item says where it lies, so that it is exact.

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
    known: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    windows = {read.rim: Windows(mosaic.grid.geobox, tiles, read.rim) for read in reads_of(mosaic)}
    exact, found = True, {}
    for read in reads_of(mosaic):
        total = Taken()
        for (at, which, sampled), n in alike.items():
            header = samples.headers[read.asset][sampled]
            grid = grids[which].get(read.asset)
            exact &= grid is not None
            key = (at, id(grid), header.block, read.resampling, read.coarsening, read.rim)
            if key not in known:
                there = _placed(header, grid or _about(header, near.outlines[at], mosaic))
                rows, cols = windows[read.rim].touched(
                    there, near.tiles[at], read.resampling, read.coarsening
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
        found[read] = total
    return found, exact


def added(some: Mapping[Read, Taken], more: Mapping[Read, Taken]) -> dict[Read, Taken]:
    """What two parts of a source take together."""
    nothing = Taken()
    return {read: some.get(read, nothing) + more.get(read, nothing) for read in {**some, **more}}


def busiest(mosaic: Mosaic, near: Near, n_tile: int) -> Busiest:
    """The most scenes and granules that a step of a tile sees."""
    place = {id(outline): at for at, outline in enumerate(near.outlines)}
    granules = np.zeros((len(near.outlines), len(mosaic.steps)), np.int32)
    on_day: list[tuple[int, int]] = []
    of_day: list[int] = []
    for number, step in enumerate(mosaic.steps):
        for scene in mosaic.scenes.get(step.name, ()):
            for granule in scene.granules:
                at = place[id(granule.outline)]
                granules[at, number] += 1
                on_day.append((at, len(of_day)))
            of_day.append(number)
    if not on_day:
        return Busiest()
    rows = np.concatenate(near.tiles)
    cols = np.repeat(np.arange(len(near.tiles)), [len(tiles) for tiles in near.tiles])
    touch = sparse.csr_array(
        (np.ones(len(rows), np.int32), (rows, cols)), (n_tile, len(near.outlines))
    )
    at, day = np.array(on_day).T
    seen = sparse.csr_array(
        (np.ones(len(at), np.int32), (at, day)), (len(near.outlines), len(of_day))
    )
    months = sparse.csr_array(
        (np.ones(len(of_day), np.int32), (np.arange(len(of_day)), of_day)),
        (len(of_day), len(mosaic.steps)),
    )
    most_scenes = most_granules = 0
    for start in range(0, n_tile, _AT_A_TIME):
        some = touch[start : start + _AT_A_TIME]
        most_granules = max(most_granules, int((some @ granules).max()))
        days = some @ seen
        days.data[:] = 1  # a day counts once, however many of its granules touch the tile
        most_scenes = max(most_scenes, int((days @ months).max()))
    return Busiest(most_scenes, most_granules)


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
