"""The cube's `label` and `polygon` variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from odc.geo.xr import xr_coords

from geocube_ml.grid import Grid
from geocube_ml.labels.burn import LabelBurner
from geocube_ml.labels.labels import Labels
from geocube_ml.labels.patch import NO_POLYGON
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.storage import StorageSpec

LAYER = "label_layer"
"""Axis of both variables, where labels of different times lie over one another."""

_STORAGE = StorageSpec()


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
            "long_name": "number of the label polygon; below 0, of the source that is a raster",
            "nodata": NO_POLYGON,
            "grid_mapping": "spatial_ref",
        },
    }


def rasterize_labels(labels: Labels, grid: Grid, storage: StorageSpec = _STORAGE) -> xr.Dataset:
    """The labels on the cube's grid.

    Parameters
    ----------
    labels : Labels
        From `read_labels`.
    grid : Grid
        The cube's.
    storage : StorageSpec, optional
        How the buckets of rasters are reached.

    Returns
    -------
    xarray.Dataset
        ``label`` (y, x) uint8, 255 where unknown; ``polygon`` (y, x) int32, 0 for none, -1 for the
        first source if that is a raster, -2 for the second, ...  Both are (label_layer, y, x)
        where labels of different times lie over one another.

    Raises
    ------
    MissingError, AccessError, ReadError, InputError
        A raster cannot be read.
    """
    burner = LabelBurner(labels, grid, storage)
    lead = label_lead(burner.n_layer)
    shape = (*lead.values(), *grid.shape)
    label = np.full(shape, UNKNOWN, np.uint8)
    polygon = np.full(shape, NO_POLYGON, np.int32)
    for tile in grid.tiles:
        burnt = burner.burn(tile)
        label[..., tile.y, tile.x] = burnt["label"]
        polygon[..., tile.y, tile.x] = burnt["polygon"]
    attrs = label_attrs(labels)
    dims = (*lead, "y", "x")
    return xr.Dataset(
        {
            "label": (dims, label, attrs["label"]),
            "polygon": (dims, polygon, attrs["polygon"]),
        },
        coords=xr_coords(grid.geobox),
    )


def label_lead(n_layer: int) -> dict[str, int]:
    """Axes of both variables before y and x, and their lengths."""
    return {LAYER: n_layer} if n_layer > 1 else {}
