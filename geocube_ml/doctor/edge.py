"""How far a sample is from the edge of the polygon that labels it."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

_GLOBE = Geod(ellps="WGS84")


def edge_distance(
    x: NDArray[Any],
    y: NDArray[Any],
    polygon: NDArray[Any],
    labels: gpd.GeoDataFrame,
    inset_m: float,
) -> NDArray[np.float64]:
    """Metres on the ground from each sample to the edge of its polygon, as it was drawn.

    Parameters
    ----------
    x, y : (n,) float
        In the CRS of `labels`.
    polygon : (n,) integer
        Number of each sample's polygon.
    labels : GeoDataFrame
        ``polygon`` and geometry, shrunk by `inset_m`.
    inset_m : float
        Metres on the ground.

    Returns
    -------
    (n,) float64
        NaN for what has no edge (a point, a pixel of a raster, background), and for an object's
        place that lies outside it.
    """
    known = labels[labels.geometry.notna().to_numpy()]
    known = known[shapely.get_dimensions(known.geometry.to_numpy()) == 2]
    order = np.argsort(known["polygon"].to_numpy())
    numbers = known["polygon"].to_numpy()[order]
    out = np.full(len(x), np.nan)
    if not len(numbers):
        return out
    at = np.minimum(np.searchsorted(numbers, polygon), len(numbers) - 1)
    here = np.flatnonzero(numbers[at] == polygon)
    shapes = known.geometry.to_numpy()[order]
    shapely.prepare(shapes)
    here = here[shapely.intersects_xy(shapes[at[here]], x[here], y[here])]
    if not here.size:
        return out
    edges = shapely.boundary(shapes)
    shapely.prepare(edges)
    ways = shapely.shortest_line(shapely.points(x[here], y[here]), edges[at[here]])
    ends = shapely.get_coordinates(ways).reshape(-1, 2, 2)
    to_globe = Transformer.from_crs(CRS(labels.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_globe.transform(ends[..., 0], ends[..., 1])
    _, _, metres = _GLOBE.inv(lon[:, 0], lat[:, 0], lon[:, 1], lat[:, 1])
    out[here] = metres + inset_m
    return out
