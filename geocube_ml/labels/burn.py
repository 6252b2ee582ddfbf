"""Labels become pixels, a tile at a time, with the same result whatever the tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.edges import Edges, edges_of
from geocube_ml.labels.labels import Labels
from geocube_ml.labels.patch import LabelPatch
from geocube_ml.labels.scale import scale_of
from geocube_ml.labels.validity import layers_of, valid_of
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_FIRST = np.zeros(1, np.int64)
_NEARLY = 0.998
"""Pixels are often just so far from one another as a buffer is wide, in a CRS whose metres are off
by some tenths of a permille."""
_LARGE = 10_000  # vertices of a shape of which the edges are kept


class LabelBurner:
    """Rasterizes labels onto any tile of a grid.

    Parameters
    ----------
    labels : Labels
    grid : Grid
    storage : StorageSpec, optional
        How the buckets of rasters are reached.

    Notes
    -----
    Of labels that claim one pixel at the same time the one of the earliest source has it, of one
    source and class the one with the lowest number; of one source and several classes none has it.
    """

    def __init__(self, labels: Labels, grid: Grid, storage: StorageSpec = _STORAGE) -> None:
        self._labels, self._grid, self._storage = labels, grid, storage
        frame, disputed = labels.frame, labels.disputed
        # what earlier sources took matters to later ones alone, and to the background
        several = labels.taken["source"].nunique() + len(labels.rasters) > 1
        taken = labels.taken if several or labels.background is not None else labels.taken[:0]
        self.raster_layers, self.n_layer = layers_of(labels)
        self._place = np.argsort(np.lexsort((frame["polygon"], frame["source"])))
        self._valid, self._taken_valid = valid_of(frame), valid_of(taken)
        self._inset = labels.inset_m * float(np.nanmax(scale_of(grid).most)) * _NEARLY
        self._claims, self._disputed, self._taken = (
            _Shapes(every.geometry.to_numpy(), grid) for every in (frame, disputed, taken)
        )
        self._hull = _Shapes(np.array([labels.hull], object), grid)

    def patch(self, tile: Tile) -> LabelPatch:
        """What of the labels lies in a tile."""
        return self.rows_and_patch(tile)[1]

    def rows_and_patch(self, tile: Tile) -> tuple[NDArray[np.int64], LabelPatch]:
        """Rows of ``labels.frame`` near a tile, and the patch that has them in this order."""
        labels, frame = self._labels, self._labels.frame
        near = _Window(self._grid.geobox, tile, self._inset)
        found = self._claims.near(near)
        rows = found[np.argsort(self._place[found], kind="stable")]
        disputed, taken = self._disputed.near(near), self._taken.near(near)
        patch = LabelPatch(
            geobox=self._grid.geobox[tile.y, tile.x],
            corner=near.corner,
            edges=self._claims.edges(rows, near),
            ids=frame["polygon"].to_numpy()[rows].astype(np.int32),
            codes=frame["code"].to_numpy()[rows].astype(np.uint8),
            sources=frame["source"].to_numpy()[rows],
            layers=frame["layer"].to_numpy()[rows],
            valid=self._valid[rows],
            disputed=self._disputed.edges(disputed, near),
            disputed_sources=labels.disputed["source"].to_numpy()[disputed],
            disputed_layers=labels.disputed["layer"].to_numpy()[disputed],
            taken=self._taken.edges(taken, near),
            taken_sources=labels.taken["source"].to_numpy()[taken],
            taken_valid=self._taken_valid[taken],
            hull=None if labels.background is None else self._hull.edges(_FIRST, near),
            rasters=labels.rasters,
            raster_layers=self.raster_layers,
            n_layer=self.n_layer,
            background=labels.background,
            inset=self._inset,
            whole=labels.whole_pixels,
            storage=self._storage,
        )
        return rows, patch

    def burn(self, tile: Tile) -> dict[str, NDArray[Any]]:
        """``label`` uint8, 255 where unknown, and ``polygon`` int32, 0 for none, of a tile.

        (y, x), or (label_layer, y, x) where there are several layers.
        """
        return self.patch(tile).burn()


def count_pixels(labels: Labels, grid: Grid, storage: StorageSpec = _STORAGE) -> NDArray[np.int64]:
    """Pixels that each row of ``labels.frame`` has, counted tile by tile.

    Parameters
    ----------
    labels : Labels
        What is in ``n_pixel`` is not looked at.
    grid : Grid
    storage : StorageSpec, optional
        How the buckets of rasters are reached.

    Returns
    -------
    (n,) int64
    """
    last = labels.frame["source"].max() if len(labels.frame) else -1
    # a raster takes pixels from later sources alone
    earlier = tuple(raster for raster in labels.rasters if raster.source < last)
    burner = LabelBurner(replace(labels, rasters=earlier, background=None), grid, storage)
    counts = np.zeros(len(labels.frame), np.int64)
    for tile in grid.tiles:
        rows, patch = burner.rows_and_patch(tile)
        if rows.size:
            counts[rows] += patch.counts()
    return counts


class _Window:
    """A tile and what around it decides its pixels."""

    def __init__(self, geobox: GeoBox, tile: Tile, inset: float) -> None:
        here = geobox[tile.y, tile.x]
        to_crs: Affine = here.transform
        self.corner = tile.y.start, tile.x.start
        self.shape = here.shape.y, here.shape.x
        self.margin = int(inset / min(abs(to_crs.a), abs(to_crs.e))) + 2
        rows, cols = self.shape
        ends = (-self.margin, -self.margin), (cols + self.margin, rows + self.margin)
        x, y = np.array([to_crs * end for end in ends]).T
        self.box = shapely.box(x.min(), y.min(), x.max(), y.max())


class _Shapes:
    """Shapes that are found by where they are."""

    def __init__(self, shapes: NDArray[Any], grid: Grid) -> None:
        self._shapes, self._to_crs = shapes, grid.geobox.transform
        self._tree = shapely.STRtree(shapes)
        self._large: dict[int, Edges] = {}

    def near(self, window: _Window) -> NDArray[np.int64]:
        """Positions of those that may reach into a window, in their order."""
        found: NDArray[np.int64] = np.sort(self._tree.query(window.box))
        return found

    def edges(self, chosen: NDArray[np.int64], window: _Window) -> Edges:
        """Those of some shapes that decide the pixels of a window."""
        shapes, extent = self._shapes[chosen], (window.corner, window.shape, window.margin)
        large = np.flatnonzero(shapely.get_num_coordinates(shapes) > _LARGE)
        shapes[large] = shapely.Point()
        edges = edges_of(shapes, self._to_crs).within(*extent)
        if not large.size:
            return edges
        parts = np.split(edges.ends, edges.starts[1:-1])
        for at in large:
            parts[at] = self._edges_of(int(chosen[at])).within(*extent).ends
        return Edges(np.concatenate(parts), np.cumsum([0, *map(len, parts)]))

    def _edges_of(self, large: int) -> Edges:
        """All edges of one shape, which lies in many tiles."""
        if large not in self._large:
            self._large[large] = edges_of(self._shapes[large : large + 1], self._to_crs)
        return self._large[large]
