"""Polygons shrunk by an inward buffer that never falls short, whatever their vertices."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy.ndimage import distance_transform_edt

_QUADRANT = 16  # segments of an arc; they lie within the circle, by 0.12 %
_SIMPLER = 0.01  # of the distance: an edge of many vertices may be moved by so much
_CELL = 0.02  # of the distance: where vertices are crowded the edge is known to so much
_CROWDED = 1.0  # times that the edge's buffer would cover a piece
_SMALLEST = 16  # distances: a piece is not cut into smaller ones

Bounds = tuple[float, float, float, float]
Local = Callable[[Bounds], tuple[float, bool]]


def eroded_small(polygons: NDArray[Any], distance: float | NDArray[np.float64]) -> NDArray[Any]:
    """Polygons of some hundred vertices, shrunk.

    Parameters
    ----------
    polygons : (n,) array of shapely Polygon or MultiPolygon
    distance : float or (n,) float
        In the unit of their CRS, more than 0.

    Returns
    -------
    (n,) array of shapely geometries
        Empty where nothing is left; nowhere nearer to the edge than `distance` less 0.12 %.

    Examples
    --------
    >>> square = np.array([shapely.box(0, 0, 30, 30)])
    >>> float(shapely.area(eroded_small(square, 10.0))[0])
    100.0
    """
    shrunk: NDArray[Any] = shapely.buffer(polygons, -np.asarray(distance), quad_segs=_QUADRANT)
    return shrunk


def eroded(polygon: Any, local: Local, *, most: int) -> Any:
    """A polygon of any size and any number of vertices, shrunk piece by piece.

    Parameters
    ----------
    polygon : shapely Polygon or MultiPolygon
    local : callable
        Distance for what lies within bounds, and whether they are small enough for one distance.
    most : int
        Vertices of a piece, about.

    Returns
    -------
    shapely geometry
        Empty where nothing is left; nowhere nearer to the edge than the distance there, less
        0.12 %.  Polygons of many vertices lose up to 6 % of it more.

    Notes
    -----
    Cut in halves until a piece has few vertices; each piece is shrunk with so much around it that
    where it was cut makes no difference.  A buffer of vertices that lie closer together than its
    distance takes time with their square, so that pieces are simplified first, and those that stay
    crowded are laid onto a lattice, of which the cells are kept that lie so far inside.
    """
    if shapely.is_empty(polygon):
        return polygon
    pieces: list[Any] = []
    todo: list[tuple[Any, Bounds]] = [(polygon, shapely.bounds(polygon).tolist())]
    while todo:
        part, cell = todo.pop()
        west, south, east, north = cell
        distance, one = local(cell)
        if shapely.is_empty(part):
            continue
        few = shapely.get_num_coordinates(part) <= most
        small = max(east - west, north - south) <= _SMALLEST * distance
        if one and (few or small):
            pieces.append(shapely.intersection(_shrunk(part, distance, most), shapely.box(*cell)))
            continue
        for half in _halves(cell):
            around = 2 * max(distance, local(half)[0])
            wide = half[0] - around, half[1] - around, half[2] + around, half[3] + around
            # not always valid, which is looked at when a piece is shrunk
            clipped = polygonal(shapely.clip_by_rect(part, *wide))
            if shapely.area(clipped) >= (1 - 1e-12) * shapely.area(shapely.box(*wide)):
                pieces.append(shapely.box(*half))  # no edge is near
            else:
                todo.append((clipped, half))
    return shapely.buffer(shapely.union_all(pieces), 0)


def _shrunk(part: Any, distance: float, most: int) -> Any:
    n = shapely.get_num_coordinates(part)
    moved = 0.0 if n <= most // 10 else _SIMPLER * distance
    simple = shapely.simplify(part, moved, preserve_topology=False) if moved else part
    n = shapely.get_num_coordinates(simple)
    covered = shapely.length(simple) * distance / shapely.area(shapely.envelope(simple))
    crowded = n > most or (n > most // 4 and covered > _CROWDED)
    if not crowded and shapely.is_valid(simple):
        return eroded_small(simple, distance + moved)
    return _on_lattice(part, distance)


def _on_lattice(part: Any, distance: float) -> Any:
    """The cells of a lattice of which every place is so far inside a polygon."""
    edge = _CELL * distance
    west, south, east, north = shapely.bounds(part)
    rows, cols = ceil((north - south) / edge) + 2, ceil((east - west) / edge) + 2
    place: dict[str, Any] = {
        "out_shape": (rows, cols),
        "transform": Affine(edge, 0, west - edge, 0, -edge, north + edge),
        "dtype": "uint8",
    }
    inside = rasterize([(part, 1)], **place)
    inside[rasterize([(shapely.boundary(part), 1)], all_touched=True, **place) == 1] = 0
    # from centre to centre: half a diagonal of both cells less
    depth = distance_transform_edt(inside) * edge
    deep = (depth >= distance + 2**0.5 * edge).astype(np.uint8)
    found = shapes(deep, mask=deep == 1, connectivity=4, transform=place["transform"])
    return shapely.MultiPolygon([shapely.geometry.shape(shape) for shape, _ in found])


def polygonal(shape: Any) -> Any:
    """The polygons of a collection; others as they are.

    Examples
    --------
    >>> mixed = shapely.GeometryCollection([shapely.box(0, 0, 1, 1), shapely.Point(0, 0)])
    >>> polygonal(mixed).geom_type
    'MultiPolygon'
    """
    if shapely.get_type_id(shape) in (3, 6):
        return shape
    parts = shapely.get_parts(shape)
    while (shapely.get_type_id(parts) > 3).any():
        parts = shapely.get_parts(parts)
    return shapely.MultiPolygon(list(parts[shapely.get_type_id(parts) == 3]))


def cut(polygons: NDArray[Any], *, most: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Pieces of few vertices that polygons consist of.

    Parameters
    ----------
    polygons : (n,) array of shapely geometries
    most : int
        Vertices of a piece; other geometries, and polygons that have no more, are one piece.

    Returns
    -------
    pieces : (m,) array of shapely geometries
    owner : (m,) int64
        Position of the polygon that each is of.
    """
    large = np.flatnonzero(shapely.get_num_coordinates(polygons) > most)
    pieces, owners = [np.delete(polygons, large)], [np.delete(np.arange(len(polygons)), large)]
    for at in large:
        todo: list[tuple[Any, Bounds]] = [(polygons[at], shapely.bounds(polygons[at]).tolist())]
        found = []
        while todo:
            part, cell = todo.pop()
            if shapely.get_num_coordinates(part) > most:
                todo += [(polygonal(shapely.clip_by_rect(part, *h)), h) for h in _halves(cell)]
            elif shapely.is_valid(part):
                found.append(part)
            else:
                found.append(polygonal(shapely.intersection(polygons[at], shapely.box(*cell))))
        pieces.append(np.array(found, object))
        owners.append(np.full(len(found), at))
    return np.concatenate(pieces), np.concatenate(owners).astype(np.int64)


def _halves(bounds: Bounds) -> tuple[Bounds, Bounds]:
    west, south, east, north = bounds
    x, y = (west + east) / 2, (south + north) / 2
    if east - west > north - south:
        return (west, south, x, north), (x, south, east, north)
    return (west, south, east, y), (west, y, east, north)
