"""Polygons become the cube's `label` and `polygon` variables, a tile at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.xr import xr_coords

from geocube_ml.cube.grid import Grid, Tile
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

    def burn(self, tile: Tile) -> dict[str, NDArray[Any]]:
        """``label`` (y, x) uint8, 255 where unknown, and ``polygon`` (y, x) int32, 0 for none."""
        geobox = self._grid.geobox[tile.y, tile.x]
        shape = (geobox.shape.y, geobox.shape.x)
        inside, disputed, taken = (
            np.sort(tree.query(geobox.extent.geom, predicate="intersects")) for tree in self._trees
        )
        place: dict[str, Any] = {"transform": geobox.transform, "shape": shape}
        ids = self._labels.frame["polygon"].to_numpy()
        polygon = burn(self._shapes[inside], ids[inside], **place, fill=NO_POLYGON, dtype="int32")
        clash = burn(
            self._labels.disputed[disputed], np.ones(len(disputed)), **place, fill=0, dtype="uint8"
        )
        polygon[clash == 1] = NO_POLYGON

        codes = np.full(len(ids) + 1, UNKNOWN, np.uint8)
        codes[ids] = self._labels.frame["code"].to_numpy()
        label = codes[polygon]
        if self._labels.background is not None:
            known = burn(
                self._labels.taken[taken], np.ones(len(taken)), **place, fill=0, dtype="uint8"
            )
            label[known == 0] = self._labels.background
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
