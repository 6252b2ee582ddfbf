"""What is known of the ground, ready to become pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from geocube_ml.spec.labels import ClassScheme


@dataclass(frozen=True)
class ClassRaster:
    """A raster of classes, or a mask; its header and meaning, not its pixels."""

    source: int
    """Position in the spec's `sources`."""
    href: str
    """Where it lies: a path or an address."""
    band: int
    """Number of the band, from 1."""
    table: Mapping[int, int]
    """Raw value to the code of its class; what is not in it is unknown."""
    nodata: float | None
    """Raw value without a class, as the raster states it."""
    valid_from: np.datetime64
    """First day of its validity, NaT for always."""
    valid_to: np.datetime64
    """Last day of its validity, NaT for always."""
    weight: float
    """How much its pixels count in training."""

    @property
    def polygon(self) -> int:
        """The id that its pixels get: -1 for the first source, -2 for the second, ..."""
        return -(self.source + 1)


@dataclass(frozen=True)
class Labels:
    """Labels that are fit to be rasterized onto a grid.

    Attributes
    ----------
    frame : GeoDataFrame in the grid's CRS
        One row a polygon or point that is used: ``polygon`` int64 (1, 2, ...), ``source`` int64
        (position in the spec's `sources`), ``feature`` int64 (its row in the file, from 0),
        ``code`` uint8, ``class`` str, ``weight`` float32, ``valid_from`` and ``valid_to``
        datetime64[ns] (NaT: always), ``layer`` int64, ``area_m2`` float64 (of the whole polygon; 0
        of a point), ``n_pixel`` int64, and the columns that the sources keep.  The geometry is
        already shrunk.  An earlier source wins, and of one class an earlier row (the lower
        ``polygon``) covers a later one.
    disputed : GeoDataFrame in the grid's CRS
        ``source``, ``layer`` and geometry: ground that labels of different classes of one source
        claim at the same time; it stays unlabelled.  Of points it is the pixel.
    taken : GeoDataFrame in the grid's CRS
        ``source``, ``valid_from``, ``valid_to`` and geometry: all whole polygons and points of the
        files, of whatever class: what is not background, and what later sources say nothing in.
    rasters : tuple of ClassRaster
        In the order of their sources.
    hull : shapely geometry in the grid's CRS
        Convex hull of all labels, and of the footprints of the rasters.
    n_layer : int
        1, unless labels of disjoint validity overlap: then labels of one layer do not.
    classes : ClassScheme
    background : int or None
        Code of what lies outside all labels, but within their hull.
    problems : DataFrame
        ``source`` (file name), ``feature``, ``class``, ``reason``, ``done``, ``area_m2``: what was
        left out, mended, or left unlabelled.
    inset_m : float
        The inward buffer in metres on the ground: by it, too, regions of rasters shrink, and
        background keeps away from labels.
    whole_pixels : bool
        Whether all of a pixel must lie within, not only its centre.
    """

    frame: gpd.GeoDataFrame
    disputed: gpd.GeoDataFrame
    taken: gpd.GeoDataFrame
    rasters: tuple[ClassRaster, ...]
    hull: Any
    n_layer: int
    classes: ClassScheme
    background: int | None
    problems: pd.DataFrame
    inset_m: float
    whole_pixels: bool
