"""Polygons to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize


def inset(polygons: NDArray[Any], distance: float) -> NDArray[Any]:
    """Polygons shrunk by an inward buffer.

    Parameters
    ----------
    polygons : (n,) array of shapely Polygon or MultiPolygon
        In a CRS whose unit is a metre.
    distance : float
        Metres, at least 0.

    Returns
    -------
    (n,) array of shapely geometries
        Empty where nothing is left.

    Examples
    --------
    >>> square = np.array([shapely.box(0, 0, 30, 30)])
    >>> float(shapely.area(inset(square, 10))[0])
    100.0
    """
    if distance < 0:
        raise ValueError(f"an inward buffer is at least 0 m, got {distance}")
    if distance == 0:
        return polygons
    shrunk: NDArray[Any] = shapely.buffer(polygons, -distance, quad_segs=16)
    return shrunk


def burn(
    polygons: Sequence[Any] | NDArray[Any],
    values: Sequence[int] | NDArray[Any],
    *,
    transform: Affine,
    shape: tuple[int, int],
    fill: int,
    dtype: str,
) -> NDArray[Any]:
    """Each pixel's value by the polygon that its centre lies in.

    Parameters
    ----------
    polygons : sequence of shapely geometries
        In the CRS of `transform`; empty ones are skipped.  A later one covers an earlier one.
    values : sequence of int
        One a polygon.
    transform : Affine
        Pixel to CRS.
    shape : (rows, columns)
    fill : int
        Value of a pixel in no polygon.
    dtype : str

    Returns
    -------
    (y, x) array of `dtype`
    """
    shapes = [
        (polygon, int(value))
        for polygon, value in zip(polygons, values, strict=True)
        if not shapely.is_empty(polygon)
    ]
    if not shapes:
        return np.full(shape, fill, dtype)
    burnt: NDArray[Any] = rasterize(
        shapes, out_shape=shape, transform=transform, fill=fill, dtype=dtype, all_touched=False
    )
    return burnt


def overlaps(polygons: NDArray[Any], codes: NDArray[Any]) -> list[tuple[int, int, Any]]:
    """Where polygons of different classes claim the same ground.

    Parameters
    ----------
    polygons : (n,) array of shapely geometries
    codes : (n,) array of int
        Class of each.

    Returns
    -------
    list of (i, j, intersection) with i < j
        Only intersections with an area.
    """
    tree = shapely.STRtree(polygons)
    left, right = tree.query(polygons, predicate="intersects")
    pairs = (left < right) & (codes[left] != codes[right])
    left, right = left[pairs], right[pairs]
    shared = shapely.intersection(polygons[left], polygons[right])
    return [
        (int(i), int(j), common)
        for i, j, common in zip(left, right, shared, strict=True)
        if shapely.area(common) > 0
    ]
