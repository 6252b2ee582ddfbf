"""Polygons become the cube's `label` and `polygon` variables, a tile at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.polygons import burn
from geocube_ml.labels.polygons import Labels
from geocube_ml.spec.labels import UNKNOWN

NO_POLYGON = 0
"""Id of a pixel in no polygon."""


def label_attrs(labels: Labels) -> dict[str, dict[str, Any]]:
    """CF attributes of the two variables."""
    return {
        "label": {
            "long_name": "class by the labels",
            **labels.classes.attrs(),
            "nodata": UNKNOWN,
            "grid_mapping": "spatial_ref",
        },
        "polygon": {
            "long_name": "number of the label polygon",
            "nodata": NO_POLYGON,
            "grid_mapping": "spatial_ref",
        },
    }


class LabelBurner:
    """Rasterizes labels onto any tile of a grid.

    Parameters
    ----------
    labels : Labels
    grid : Grid
    """

    def __init__(self, labels: Labels, grid: Grid) -> None:
        self._labels = labels
        self._grid = grid
        self._shapes = labels.frame.geometry.to_numpy()
        self._trees = [shapely.STRtree(s) for s in (self._shapes, labels.disputed, labels.taken)]

    def patch(self, tile: Tile) -> LabelPatch:
        """What of the labels lies in a tile."""
        geobox = self._grid.geobox[tile.y, tile.x]
        inside, disputed, taken = (
            np.sort(tree.query(geobox.extent.geom, predicate="intersects")) for tree in self._trees
        )
        frame, labels = self._labels.frame, self._labels
        return LabelPatch(
            geobox=geobox,
            shapes=self._shapes[inside],
            ids=frame["polygon"].to_numpy()[inside],
            codes=frame["code"].to_numpy()[inside],
            disputed=labels.disputed[disputed],
            taken=labels.taken[taken],
            background=labels.background,
        )

    def burn(self, tile: Tile) -> dict[str, NDArray[Any]]:
        """``label`` (y, x) uint8, 255 where unknown, and ``polygon`` (y, x) int32, 0 for none."""
        return self.patch(tile).burn()


@dataclass(frozen=True)
class LabelPatch:
    """The polygons of one tile, small enough to be sent to a worker."""

    geobox: GeoBox
    shapes: NDArray[Any]
    """Polygons of the labels."""
    ids: NDArray[np.int64]
    """Their numbers."""
    codes: NDArray[np.uint8]
    """Their classes."""
    disputed: NDArray[Any]
    taken: NDArray[Any]
    background: int | None

    def burn(self) -> dict[str, NDArray[Any]]:
        """``label`` (y, x) uint8, 255 where unknown, and ``polygon`` (y, x) int32, 0 for none."""
        shape = (self.geobox.shape.y, self.geobox.shape.x)
        place: dict[str, Any] = {"transform": self.geobox.transform, "shape": shape}
        # numbered within the patch: a table of codes need not be as long as all the labels
        at = burn(
            self.shapes, np.arange(1, len(self.ids) + 1), **place, fill=NO_POLYGON, dtype="int32"
        )
        clash = burn(self.disputed, np.ones(len(self.disputed)), **place, fill=0, dtype="uint8")
        at[clash == 1] = NO_POLYGON
        polygon = np.concatenate([[NO_POLYGON], self.ids]).astype(np.int32)[at]
        label = np.concatenate([[UNKNOWN], self.codes]).astype(np.uint8)[at]
        if self.background is not None:
            known = burn(self.taken, np.ones(len(self.taken)), **place, fill=0, dtype="uint8")
            label[known == 0] = self.background
        return {"label": label, "polygon": polygon}


def rasterize_labels(labels: Labels, grid: Grid) -> xr.Dataset:
    """The labels on the cube's grid.

    Parameters
    ----------
    labels : Labels
        From `read_labels`.
    grid : Grid
        The cube's.

    Returns
    -------
    xarray.Dataset
        ``label`` (y, x) uint8, 255 where unknown; ``polygon`` (y, x) int32, 0 for none.
    """
    burner = LabelBurner(labels, grid)
    label = np.full(grid.shape, UNKNOWN, np.uint8)
    polygon = np.full(grid.shape, NO_POLYGON, np.int32)
    for tile in grid.tiles:
        burnt = burner.burn(tile)
        label[tile.y, tile.x] = burnt["label"]
        polygon[tile.y, tile.x] = burnt["polygon"]
    attrs = label_attrs(labels)
    return xr.Dataset(
        {
            "label": (("y", "x"), label, attrs["label"]),
            "polygon": (("y", "x"), polygon, attrs["polygon"]),
        },
        coords=xr_coords(grid.geobox),
    )
