"""Overviews of a cube: the same at a fourth, a sixteenth, and so on, of its resolution.

They lie in the cube itself, ``overviews/<factor>/<variable>``, each made from the one before, a
tile at a time.  They are for looking, not for computing: a mean of medians is no median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.files import Place
from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.coarsen import block_mean, block_mode
from geocube_ml.kernels.radar import to_decibel, to_power
from geocube_ml.store.conventions import pyramid_attrs
from geocube_ml.store.cube import OVERVIEWS, CubeStore
from geocube_ml.store.layout import Variable, is_series, zarr_store

FACTOR = 4
"""Edge of an overview's pixel in pixels of the level before."""

ENOUGH = 1024
"""Edge in pixels of what is looked at as a whole."""


def overview_levels(grid: Grid) -> tuple[int, ...]:
    """Factors of a grid's overviews, from fine to coarse; the last fits on a screen.

    Returns
    -------
    tuple of int
        4, 16, ... until the longer edge has at most 1024 pixels; empty where it has no more.
    """
    factors: list[int] = []
    factor = 1
    while ceil(max(grid.shape) / factor) > ENOUGH:
        factor *= FACTOR
        factors.append(factor)
    return tuple(factors)


def overview_grid(grid: Grid, factor: int) -> Grid:
    """The grid of an overview.

    Its first pixel begins where the grid's does; its last ones may reach over the grid's edge.
    A tile is one shard, for which 4 x 4 shards of the level before are read.
    """
    rows, cols = (ceil(n / factor) for n in grid.shape)
    geobox = GeoBox((rows, cols), grid.geobox.transform @ Affine.scale(factor), grid.geobox.crs)
    return Grid(geobox, grid.store.model_copy(update={"tile": grid.store.shard}))


def overview_store(store: CubeStore, factor: int) -> CubeStore:
    """An overview, for writing, of the cube that `store` writes."""
    return CubeStore(store.path, overview_grid(store.grid, factor), f"{OVERVIEWS}/{factor}")


def overview_variables(variables: Sequence[Variable], grid: Grid, factor: int) -> list[Variable]:
    """The variables of an overview.

    Parameters
    ----------
    variables : sequence of Variable
        Of the cube.
    grid : Grid
        Of the cube.
    factor : int

    Returns
    -------
    list of Variable
        ``cell_methods`` says how their pixels were made.
    """
    shape = overview_grid(grid, factor).shape
    found = []
    for variable in variables:
        method = "mode" if _is_codes(variable.attrs) else "mean"
        cells = f"{variable.attrs.get('cell_methods', '')} area: {method}".strip()
        attrs = {**variable.attrs, "cell_methods": cells}
        whole = (*variable.shape[:-2], *shape)
        found.append(replace(variable, shape=whole, attrs=attrs))
    return found


def pyramid(grid: Grid) -> dict[str, Any]:
    """Attributes of a cube that has overviews; to be said when all are made."""
    levels = [(f"{OVERVIEWS}/{n}", overview_grid(grid, n).geobox) for n in overview_levels(grid)]
    return pyramid_attrs([(".", grid.geobox), *levels], FACTOR)


@dataclass(frozen=True)
class OverviewWork:
    """Computes a tile of an overview from the level before; small, and may be pickled.

    Values are the mean of the pixels with data, rounded where they are integers, counts of clear
    observations too; codes (with ``flag_values``) are the most frequent one.
    """

    cube: Place
    factor: int
    names: tuple[str, ...]

    def __call__(self, tile: Tile, steps: slice | None = None) -> dict[str, NDArray[Any]]:
        """Variables of a tile of `overview_grid`.

        Beside the result, one shard of the level before is in memory, and one a block of steps.

        Parameters
        ----------
        tile : Tile
            Of the overview's grid.
        steps : slice, optional
            Time steps of the series among the variables; all by default.
        """
        before = self.factor // FACTOR
        root = zarr.open_group(zarr_store(self.cube), mode="r", zarr_format=3)
        group: Any = root if before == 1 else root[f"{OVERVIEWS}/{before}"]
        return {name: _coarse(group[name], tile, steps) for name in self.names}


def _coarse(fine: zarr.Array[Any], tile: Tile, steps: slice | None) -> NDArray[Any]:
    lead: list[Any] = [...]
    leading = list(fine.shape[:-2])
    if is_series(fine) and steps is not None:
        lead = [steps, ...]
        leading[0] = len(range(*steps.indices(leading[0])))
    nodata = fine.fill_value.item() if "_FillValue" in fine.attrs else None
    reduce = block_mode if _is_codes(fine.attrs) else block_mean
    decibel = fine.attrs.get("units") == "dB"
    rows, cols = tile.y.stop - tile.y.start, tile.x.stop - tile.x.start
    out = np.empty((*leading, rows, cols), fine.dtype)
    edge = (fine.shards or fine.chunks)[-1] // FACTOR  # a shard is read whole, in one request
    for top in range(0, rows, edge):
        for left in range(0, cols, edge):
            y, x = slice(top, min(top + edge, rows)), slice(left, min(left + edge, cols))
            window = (*lead, _scaled(y, tile.y.start), _scaled(x, tile.x.start))
            block = np.asarray(fine[window])
            if decibel and nodata is not None:  # a mean is of linear power
                block = to_decibel(reduce(to_power(block, nodata), FACTOR, nodata), nodata)
            else:
                block = reduce(block, FACTOR, nodata)
            out[..., y, x] = block
    return out


def _scaled(part: slice, start: int) -> slice:
    """Pixels of the level before; those beyond its edge are not there."""
    return slice((start + part.start) * FACTOR, (start + part.stop) * FACTOR)


def _is_codes(attrs: Any) -> bool:
    return "flag_values" in attrs
