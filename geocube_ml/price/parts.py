"""What is left to make of a source: some of its time steps, in some tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.grid import Tile

_POINTS = 1024  # of the ground, at which it is seen which scenes cover it


@dataclass(frozen=True)
class Part:
    """Whole blocks of time steps, all of them in the same tiles."""

    mosaic: Mosaic
    """Of these steps."""
    tiles: Sequence[Tile]

    @property
    def tasks(self) -> int:
        """Units of work: a block of time steps, a tile."""
        return self.blocks * len(self.tiles)

    @property
    def blocks(self) -> int:
        """Of time steps."""
        static = self.mosaic.source.sensor.static
        return 1 if static else ceil(len(self.mosaic.steps) / self.mosaic.grid.store.steps)

    @property
    def pixels(self) -> int:
        """Of all tiles."""
        edges = [(t.y.stop - t.y.start, t.x.stop - t.x.start) for t in self.tiles]
        return sum(rows * cols for rows, cols in edges)

    @property
    def shards(self) -> int:
        """Of all tiles, of one variable and one block of time steps."""
        edge = self.mosaic.grid.store.shard
        edges = [(t.y.stop - t.y.start, t.x.stop - t.x.start) for t in self.tiles]
        return sum(ceil(rows / edge) * ceil(cols / edge) for rows, cols in edges)


def whole(mosaic: Mosaic) -> Part:
    """All of a source."""
    return Part(mosaic, mosaic.grid.tiles)


def joined(parts: Sequence[Part]) -> Mosaic:
    """The mosaic of all steps of which something is left, in their order."""
    first = parts[0].mosaic
    steps = {step.name: step for part in parts for step in part.mosaic.steps}
    scenes = {name: found for part in parts for name, found in part.mosaic.scenes.items()}
    in_order = sorted(steps.values(), key=lambda step: step.start)
    return replace(first, steps=tuple(in_order), scenes=scenes)


@dataclass(frozen=True)
class Cover:
    """How much of some tiles the scenes of each time step show, at a lattice of points."""

    places: NDArray[np.float64]
    """(point, 2) row and column of the grid."""
    tiles: NDArray[np.int64]
    """(point,) positions of their tiles."""
    seen: NDArray[np.float64]
    """(step, point) chance of a clear observation, 0 to 1: 0 where no scene lies, and else by the
    cloud cover that the catalogue states; 1 where it states none, or nothing is masked."""

    @property
    def share(self) -> float:
        """Mean of all steps and points; 0 where there is neither."""
        return float(self.seen.mean()) if self.seen.size else 0.0

    @classmethod
    def of(cls, part: Part) -> Cover:
        """By the outlines of granules, at a thousand points or so, however large it is."""
        mosaic, n = part.mosaic, len(part.tiles)
        some = np.arange(n)[:: max(1, n // _POINTS)]
        k = max(1, round((_POINTS / max(len(some), 1)) ** 0.5))
        at = (np.arange(k) + 0.5) / k
        places, tiles = [], []
        for number in some:
            tile = part.tiles[number]
            rows = tile.y.start + at * (tile.y.stop - tile.y.start)
            cols = tile.x.start + at * (tile.x.stop - tile.x.start)
            places.append(np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2))
            tiles.append(np.full(k * k, number, np.int64))
        found = np.concatenate(places) if places else np.empty((0, 2))
        known: dict[int, NDArray[np.int32]] = {}  # items on one grid share their outline
        hidden = np.ones((len(mosaic.steps), len(found)))
        for number, step in enumerate(mosaic.steps):
            for scene in mosaic.scenes.get(step.name, ()):
                cloud = (scene.cloud_cover or 0.0) if mosaic.source.sensor.mask else 0.0
                there = np.zeros(len(found), bool)
                for granule in scene.granules:
                    there[_within(granule.outline, found, known)] = True
                hidden[number, there] *= cloud
        seen = 1 - hidden
        return cls(found, np.concatenate(tiles) if tiles else np.empty(0, np.int64), seen)


def _within(
    outline: Any, places: NDArray[np.float64], known: dict[int, NDArray[np.int32]]
) -> NDArray[np.int32]:
    """Positions of the places that an outline holds."""
    if id(outline) not in known:
        shapely.prepare(outline)
        inside = shapely.contains_xy(outline, places[:, 1], places[:, 0])
        shapely.destroy_prepared(outline)  # there may be as many as items
        known[id(outline)] = np.flatnonzero(inside).astype(np.int32)
    return known[id(outline)]
