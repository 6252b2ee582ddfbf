"""After a cube is written: the same at lower resolutions, for looking, level by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from geocube_ml.grid import Tile
from geocube_ml.spec.period import TimeStep
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels, Unit
from geocube_ml.store.coords import cube_coords
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
    levels = overview_levels(job.grid)
    for factor in levels:
        store = overview_store(job.store, factor)
        mine = overview_variables(variables, job.grid, factor)
        coords: dict[str, xr.DataArray] = cube_coords(store.grid, steps, bands)
        store.create(mine, coords)
        parts = {f"{layer.part}.{factor}": layer for layer in layers}
        units = [
            Unit(tile, layer.digest, part, layer.steps)
            for part, layer in parts.items()
            for tile in store.grid.tiles
        ]

        def work(unit: Unit, factor: int = factor, parts: Mapping[str, Layer] = parts) -> _Coarsen:
            layer = parts[unit.part]
            return _Coarsen(OverviewWork(job.cube_path, factor, layer.names), layer.steps)

        job.write_tiles("cube", work, units, store=store)
        store.commit(mine, coords)
    if levels:
        job.store.describe("", pyramid(job.grid))
