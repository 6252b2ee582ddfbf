"""What the overviews of a cube take: tiles of it are read, and written smaller."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from geocube_ml.grid import Grid, Tile
from geocube_ml.store.overviews import FACTOR, overview_grid


@dataclass(frozen=True)
class Coarse:
    """One tile of an overview, of some variables and time steps."""

    factor: int
    tile: Tile
    """Of the overview's grid; one shard."""
    variables: tuple[int, ...]
    """Bytes of one pixel of each, all time steps and bands of it."""


@dataclass(frozen=True)
class OverviewPrice:
    """What all overviews of a cube take."""

    tasks: int = 0
    read_bytes: int = 0
    """Of the level before, before compression."""
    write_bytes: int = 0
    """Before compression."""
    objects: int = 0
    """That are written, at most; each is read again for the next level."""
    levels: tuple[int, ...] = ()
    """Tasks of each level, which are made one after the other."""
    worker_bytes: int = 0
    """Of a thread that makes a tile, at most."""


def overview_price(grid: Grid, tiles: Iterable[Coarse]) -> OverviewPrice:
    """Count what making some tiles of overviews takes; exact in tasks and bytes.

    Parameters
    ----------
    grid : Grid
        Of the cube.
    tiles : iterable of Coarse
    """
    read = written = objects = held = 0
    levels: dict[int, int] = {}
    shapes: dict[int, tuple[int, int]] = {}
    for one in tiles:
        before = one.factor // FACTOR
        if one.factor not in shapes:
            fine = grid if before == 1 else overview_grid(grid, before)
            shapes[one.factor] = fine.shape
        rows, cols = (
            min(part.stop * FACTOR, n) - part.start * FACTOR
            for part, n in zip((one.tile.y, one.tile.x), shapes[one.factor], strict=True)
        )
        pixels = (one.tile.y.stop - one.tile.y.start) * (one.tile.x.stop - one.tile.x.start)
        width = sum(one.variables)
        read += rows * cols * width
        written += pixels * width
        objects += len(one.variables)
        levels[one.factor] = levels.get(one.factor, 0) + 1
        # a shard of the level before as it lies in the store, decoded, what of it is data, and what
        # was not given back of the one before; then what came of all, as chunks and compressed
        shard = min(rows, grid.store.shard) * min(cols, grid.store.shard)
        most = max(one.variables)
        made = pixels * width
        held = max(held, made + 4 * shard * most, made + 2 * pixels * most)
    return OverviewPrice(
        sum(levels.values()), read, written, objects, tuple(levels[at] for at in sorted(levels)),
        held,
    )  # fmt: skip
