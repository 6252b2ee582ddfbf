"""What a cube is made of, what of that is not there yet, and its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.grid import Tile
from geocube_ml.price.overviews import overview_price
from geocube_ml.price.parts import Part, joined
from geocube_ml.price.plan import Price, price
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.steps.account import Shard, at_a_time, shards_of, threads
from geocube_ml.steps.job import Job
from geocube_ml.steps.overviews import Layer, Level, coarse, levels
from geocube_ml.steps.tiles import Unit


@dataclass(frozen=True)
class Block:
    """One source and the time steps that one shard spans."""

    source: str
    mosaic: Mosaic
    """Of these steps."""
    digest: str
    part: str
    """A block that becomes longer is another part."""
    steps: slice | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of its variables."""
        return (self.source, f"{self.source}_clear") if self.mosaic.counted else (self.source,)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bytes of a pixel of each of its variables, all steps and bands."""
        source, n = self.mosaic.source, len(self.mosaic.steps)
        values = n * len(source.chosen) * np.dtype(source.sensor.dtype).itemsize
        return (values, n) if self.mosaic.counted else (values,)


@dataclass(frozen=True)
class Left:
    """What a cube is made of, and what of that is not there."""

    blocks: Sequence[Block]
    units: Sequence[Unit]
    """All of them: a tile of a block each."""
    left: Sequence[Unit]
    coarse: Sequence[tuple[Level, Sequence[Unit]]]
    """Overviews, and what is left of each."""

    def shards(self, store: StoreSpec) -> dict[str, set[Shard]]:
        """By variable, what is left of it."""
        found: dict[str, set[Shard]] = {}
        for block in self.blocks:
            shards = shards_of((unit for unit in self.left if unit.part == block.part), store)
            for name in block.names:
                found.setdefault(name, set()).update(shards)
        return found


def left_of(job: Job, blocks: Sequence[Block]) -> Left:
    """What records do not tell of, or what they tell of and is removed by now."""
    tiles, cube = job.grid.tiles, job.cube_path
    units = [
        Unit(tile, block.digest, block.part, block.steps) for block in blocks for tile in tiles
    ]
    sources = {block.source for block in blocks}
    there = (cube / "zarr.json").exists()
    gone = {name for name in sources if not there or not (cube / name / "zarr.json").exists()}
    removed = {block.part for block in blocks if block.source in gone}

    def pending(some: Sequence[Unit], parts: Mapping[str, str]) -> list[Unit]:
        left = {unit.name for unit in job.records.pending("cube", some)}
        return [unit for unit in some if unit.name in left or parts[unit.part] in removed]

    above = levels(job, layers_of(blocks))
    return Left(
        blocks,
        units,
        pending(units, {block.part: block.part for block in blocks}),
        [
            (one, pending(one.units, {part: layer.part for part, layer in one.layers.items()}))
            for one in above
        ],
    )


def layers_of(blocks: Sequence[Block]) -> list[Layer]:
    """The same blocks, as overviews are made of them."""
    return [Layer(block.part, block.digest, block.names, block.steps) for block in blocks]


def priced(job: Job, mosaics: Mapping[str, Mosaic], to_do: Left) -> Price:
    """The price of what is left."""
    tiles: dict[str, list[Tile]] = {block.part: [] for block in to_do.blocks}
    for unit in to_do.left:
        tiles[unit.part].append(unit.tile)
    every = len(job.grid.tiles)
    left: dict[str, list[Part]] = {}
    done: dict[str, int] = {}
    for name in mosaics:
        blocks = [block for block in to_do.blocks if block.source == name]
        done[name] = sum(every - len(tiles[block.part]) for block in blocks)
        alike: dict[tuple[str, ...], list[Part]] = {}
        for block in blocks:
            mine = tiles[block.part]
            alike.setdefault(tuple(tile.name for tile in mine), []).append(Part(block.mosaic, mine))
        # blocks in the same tiles are looked at together, as their items lie on the same grids
        left[name] = [Part(joined(parts), parts[0].tiles) for parts in alike.values()]
    widths = {block.part: block.widths for block in to_do.blocks}
    above = [one for level, units in to_do.coarse for one in coarse(level, units, widths)]
    return price(
        mosaics, threads(job), workers=at_a_time(job), left=left, done=done,
        overviews=overview_price(job.grid, above),
    )  # fmt: skip
