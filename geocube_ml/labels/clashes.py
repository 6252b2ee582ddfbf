"""Labels that claim the same ground: duplicates, disputes, and layers of validity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.kernels.erosion import cut
from geocube_ml.labels.clean import is_polygon
from geocube_ml.labels.validity import Days

_MANY = 1000  # vertices of a polygon that is looked at piece by piece
_POLYGON = 3
_BLOCK = 50_000  # pieces whose neighbours are held at a time

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Dispute:
    """Ground that two labels claim."""

    first: NDArray[np.int64]
    """(n,) position of the one."""
    second: NDArray[np.int64]
    """(n,) position of the other, a later one."""
    ground: NDArray[Any]
    """(n,) shapes."""


def duplicates(
    shapes: NDArray[Any], classes: NDArray[Any], valid: Days
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels that are as an earlier one is: in shape, class and validity.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
    classes : (n,) array of str
    valid : (n, 2) int64

    Returns
    -------
    later, first : (m,) int64
        Position of each that is a duplicate, and of the first of its kind.
    """
    known = pd.DataFrame(np.column_stack([shapely.bounds(shapes), valid]))
    known["class"] = classes
    # few have the bounds of another, and only their shapes are compared
    some = np.flatnonzero(known.duplicated(keep=False))
    known = known.iloc[some].assign(shape=shapely.to_wkb(shapely.normalize(shapes[some])))
    group = known.groupby(list(known.columns), sort=False, dropna=False).ngroup().to_numpy()
    _, start, back = np.unique(group, return_index=True, return_inverse=True)
    first = some[start[back]]
    later = some != first
    return some[later], first[later]


def disputes(
    shapes: NDArray[Any],
    codes: NDArray[np.int64],
    valid: Days,
    geobox: GeoBox,
    thin: float,
) -> Dispute:
    """Where labels of different classes claim the same ground at the same time.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
        Whole polygons and points, in the grid's CRS.  A point claims the pixel that it lies in.
    codes : (n,) int
        Class of each.
    valid : (n, 2) int64
        First and last moment.
    geobox : GeoBox
        The grid.
    thin : float
        Ground that is nowhere wider than this is an edge that both share.

    Returns
    -------
    Dispute
        One row a pair; the ground of a point is its pixel.
    """
    claims = _Claims(shapes, geobox)

    def rival(i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (codes[i] != codes[j]) & _meet(valid, i, j)
        return found

    shared: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]] = []
    for left, right in claims.pairs(rival):
        ground = claims.common(left, right, thin)
        kept = ~shapely.is_empty(ground)
        if kept.any():
            shared.append((claims.owner[left[kept]], claims.owner[right[kept]], ground[kept]))
    if not shared:
        none = np.empty(0, np.int64)
        return Dispute(none, none, np.empty(0, object))
    first, second, ground = (np.concatenate(part) for part in zip(*shared, strict=True))
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, group = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    several = np.split(ground[order], starts[1:])
    joined = [part[0] if len(part) == 1 else shapely.union_all(part) for part in several]
    return Dispute(pairs[:, 0], pairs[:, 1], np.array(joined, object))


def layers(shapes: NDArray[Any], valid: Days, geobox: GeoBox) -> NDArray[np.int64]:
    """A layer each, so that no two that overlap and are never true at once share one.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
        As they are rasterized.
    valid : (n, 2) int64
        First and last moment.
    geobox : GeoBox
        The grid.

    Returns
    -------
    (n,) int64
        0 as far as possible: greedily, in the order of the labels.
    """
    found = np.zeros(len(shapes), np.int64)
    if len(np.unique(valid, axis=0)) < 2:
        return found
    claims = _Claims(shapes, geobox)
    edges: list[NDArray[np.int64]] = []
    for left, right in claims.pairs(lambda i, j: ~_meet(valid, i, j)):
        over = ~shapely.is_empty(claims.common(left, right, 0.0))
        edges.append(np.stack([claims.owner[left[over]], claims.owner[right[over]]], axis=1))
    if not edges:
        return found
    pairs = np.sort(np.concatenate(edges), axis=1)
    pairs = np.unique(pairs[:, ::-1], axis=0)  # the later of two, then the earlier
    later, starts = np.unique(pairs[:, 0], return_index=True)
    for at, before in zip(later, np.split(pairs[:, 1], starts[1:]), strict=True):
        used = set(found[before].tolist())
        found[at] = next(layer for layer in range(len(used) + 1) if layer not in used)
    return found


def _meet(valid: Days, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (valid[i, 0] <= valid[j, 1]) & (valid[j, 0] <= valid[i, 1])
    return found


class _Claims:
    """Pieces of polygons, and the pixels of points."""

    def __init__(self, shapes: NDArray[Any], geobox: GeoBox) -> None:
        polygons = np.flatnonzero(is_polygon(shapes))
        points = np.flatnonzero(~is_polygon(shapes))
        pieces, of = cut(shapes[polygons], most=_MANY)
        self._spots, of_point = shapely.get_parts(shapes[points], return_index=True)
        pixels, self._centres = _pixels(self._spots, geobox)
        self._shapes = np.concatenate([pieces, pixels])
        self.owner = np.concatenate([polygons[of], points[of_point]]).astype(np.int64)
        self._n_polygon = len(pieces)

    def pairs(
        self, wanted: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
    ) -> Iterator[Pairs]:
        """Pieces whose bounds meet, of owners that are wanted, each pair once."""
        tree = shapely.STRtree(self._shapes)
        for start in range(0, len(self._shapes), _BLOCK):
            left, right = tree.query(self._shapes[start : start + _BLOCK])
            left = left + start
            once = left < right
            left, right = left[once], right[once]
            some = (self.owner[left] != self.owner[right]) & wanted(
                self.owner[left], self.owner[right]
            )
            if some.any():
                yield left[some], right[some]

    def common(
        self, left: NDArray[np.int64], right: NDArray[np.int64], thin: float
    ) -> NDArray[Any]:
        """Ground that pieces share, by pairs; empty where there is none."""
        ground = np.full(len(left), shapely.Polygon(), object)
        a, b = self._shapes[left], self._shapes[right]
        point = right >= self._n_polygon  # points come last, so a pair's only one is the right
        both = np.flatnonzero(~point)
        both = both[shapely.intersects(a[both], b[both])]
        shared = shapely.intersection(a[both], b[both])
        ground[both] = _wide(shared, thin)
        twice = np.flatnonzero(point & (left >= self._n_polygon))
        same = shapely.equals(a[twice], b[twice])
        ground[twice[same]] = b[twice[same]]
        beside = np.flatnonzero(point & (left < self._n_polygon))
        spot = right[beside] - self._n_polygon
        within = shapely.intersects(a[beside], self._spots[spot])
        within |= shapely.intersects(a[beside], self._centres[spot])
        ground[beside[within]] = b[beside[within]]
        return ground


def _wide(shapes: NDArray[Any], thin: float) -> NDArray[Any]:
    """The polygons of each shape in which a circle of a diameter of more than `thin` fits."""
    parts, of = shapely.get_parts(shapes, return_index=True)
    while (shapely.get_type_id(parts) > _POLYGON).any():  # several, in a collection
        parts, at = shapely.get_parts(parts, return_index=True)
        of = of[at]
    parts, of = (one[shapely.area(parts) > 0] for one in (parts, of))
    # a circle of twice the area by the perimeter fits always, a wider one where it bulges
    wide = 2 * shapely.area(parts) > thin * shapely.length(parts)
    rest = np.flatnonzero(~wide & (shapely.area(parts) > np.pi / 4 * thin**2))
    wide[rest] = ~shapely.is_empty(shapely.buffer(parts[rest], -thin / 2))
    parts, of = parts[wide], of[wide]
    found = np.full(len(shapes), shapely.Polygon(), object)
    owners, starts, n = np.unique(of, return_index=True, return_counts=True)
    found[owners] = parts[starts]
    for at in np.flatnonzero(n > 1):
        found[owners[at]] = shapely.MultiPolygon(parts[starts[at] : starts[at] + n[at]].tolist())
    return found


def _pixels(points: NDArray[Any], geobox: GeoBox) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixel that each point lies in, and its centre."""
    to_crs = geobox.transform
    col, row = np.floor(~to_crs @ tuple(shapely.get_coordinates(points).T))
    x, y = to_crs @ (col, row)
    width, height = to_crs.a, to_crs.e
    boxes = shapely.box(
        np.minimum(x, x + width), np.minimum(y, y + height),
        np.maximum(x, x + width), np.maximum(y, y + height),
    )  # fmt: skip
    return np.asarray(boxes, object), np.asarray(
        shapely.points(x + width / 2, y + height / 2), object
    )
