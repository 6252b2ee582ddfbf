"""The inward buffer, in metres on the ground."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geocube_ml.kernels.erosion import eroded, eroded_small
from geocube_ml.labels.clean import is_polygon
from geocube_ml.labels.scale import Scale

MANY = 1000
"""Vertices of a polygon that is shrunk piece by piece."""


def shrink(shapes: NDArray[Any], distance: float, scale: Scale) -> NDArray[Any]:
    """Polygons shrunk by an inward buffer; points stay.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
        In the grid's CRS.
    distance : float
        Metres on the ground.
    scale : Scale
        Of the grid's CRS.

    Returns
    -------
    (n,) array of shapely geometries
        Empty where nothing is left.  No place in them is nearer to the edge than the distance.

    Notes
    -----
    A distance on the ground is at most the distance in the CRS over the longest axis of Tissot's
    ellipse, so the buffer is `distance` times the greatest scale near the polygon.  Where a polygon
    is so large that the scale differs within it, or has many vertices, pieces of it are shrunk,
    each by its own.
    """
    if distance == 0:
        return shapes
    shrunk = shapes.copy()
    polygons = is_polygon(shapes)
    most, few = scale.at_most(shapely.bounds(shapes))
    large = polygons & (~few | (shapely.get_num_coordinates(shapes) > MANY))
    small = polygons & ~large
    shrunk[small] = eroded_small(shapes[small], distance * most[small])

    def local(bounds: tuple[float, float, float, float]) -> tuple[float, bool]:
        found, fine = scale.at_most(np.array([bounds]))
        return distance * float(found[0]), bool(fine[0])

    for at in np.flatnonzero(large):
        shrunk[at] = eroded(shapes[at], local, most=MANY)
    return shrunk
