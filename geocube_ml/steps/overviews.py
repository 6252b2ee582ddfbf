"""After a cube is written: the same at lower resolutions, for looking, level by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from geocube_ml.grid import Tile
from geocube_ml.price.overviews import Coarse
from geocube_ml.spec.period import TimeStep
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels, Unit
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import CubeStore
from geocube_ml.store.layout import Variable
from geocube_ml.store.overviews import (
    OverviewWork,
    overview_levels,
    overview_store,
    overview_variables,
    pyramid,
)


@dataclass(frozen=True)
class Layer:
    """Variables of a source, and the time steps of them that are written together."""

    part: str
    """Of the names of their units."""
    digest: str
    names: tuple[str, ...]
    steps: slice | None


@dataclass(frozen=True)
class Level:
    """An overview, and what is made of it."""

    factor: int
    store: CubeStore
    layers: Mapping[str, Layer]
    """By the part that the names of their units begin with."""
    units: Sequence[Unit]


def levels(job: Job, layers: Sequence[Layer]) -> list[Level]:
    """The overviews of a cube, from fine to coarse; none of one that fits on a screen."""
    found = []
    for factor in overview_levels(job.grid):
        store = overview_store(job.store, factor)
        parts = {f"{layer.part}.{factor}": layer for layer in layers}
        units = [
            Unit(tile, layer.digest, part, layer.steps)
            for part, layer in parts.items()
            for tile in store.grid.tiles
        ]
        found.append(Level(factor, store, parts, units))
    return found


def coarse(
    level: Level, units: Sequence[Unit], widths: Mapping[str, Sequence[int]]
) -> list[Coarse]:
    """Some units of an overview, as their price is told of.

    Parameters
    ----------
    level : Level
    units : sequence of Unit
    widths : mapping of str to sequence of int
        Of each part of the cube, the bytes of a pixel of each of its variables, all its steps.
    """
    return [
        Coarse(level.factor, unit.tile, tuple(widths[level.layers[unit.part].part]))
        for unit in units
    ]


@dataclass(frozen=True)
class _Coarsen:
    """A tile of an overview, as a step's work."""

    work: OverviewWork
    steps: slice | None

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        return Pixels(self.work(tile, self.steps))


def write_overviews(
    job: Job,
    layers: Sequence[Layer],
    variables: Sequence[Variable],
    steps: Sequence[TimeStep],
    bands: Mapping[str, Sequence[str]],
) -> None:
    """Make what is missing of all overviews; none of a cube that fits on a screen.

    Parameters
    ----------
    job : Job
    layers : sequence of Layer
    variables : sequence of Variable
        Of the cube, all of its layers'.
    steps : sequence of TimeStep
        Of the cube's time axis; empty without one.
    bands : mapping of source to names
    """
    every = levels(job, layers)
    for level in every:
        store, parts = level.store, level.layers
        mine = overview_variables(variables, job.grid, level.factor)
        coords: dict[str, xr.DataArray] = cube_coords(store.grid, steps, bands)
        store.create(mine, coords)

        def work(
            unit: Unit, factor: int = level.factor, parts: Mapping[str, Layer] = parts
        ) -> _Coarsen:
            layer = parts[unit.part]
            return _Coarsen(OverviewWork(job.cube_path, factor, layer.names), layer.steps)

        job.write_tiles("cube", work, level.units, store=store)
        store.commit(mine, coords)
    if every:
        job.store.describe("", pyramid(job.grid))
