"""Shapes as line segments in pixels of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Edges:
    """Shapes as line segments."""

    ends: NDArray[np.float64]
    """(n, 4) column and row of one end and the other, with fractions; a point is an edge of no
    length."""
    starts: NDArray[np.int64]
    """(n_shape + 1,) position of each shape's first edge, and the number of edges."""

    @property
    def n_shape(self) -> int:
        """Number of shapes."""
        return self.starts.size - 1

    def only(self, chosen: NDArray[np.bool_]) -> Edges:
        """Some of the shapes, in their order.

        Parameters
        ----------
        chosen : (n_shape,) bool
        """
        if chosen.all():
            return self
        n = np.diff(self.starts)
        starts = np.concatenate([[0], np.cumsum(n[chosen])])
        return Edges(self.ends[np.repeat(chosen, n)], starts)

    def within(self, corner: tuple[int, int], shape: tuple[int, int], margin: int) -> Edges:
        """The edges that decide the pixels of a window: those beside it, and left of it.

        Parameters
        ----------
        corner : (row, column)
            Of the window's first pixel.
        shape : (rows, columns)
        margin : int
            Pixels around it that count too.
        """
        (top, left), (rows, cols) = corner, shape
        x, y = self.ends[:, 0::2], self.ends[:, 1::2]
        beside = (y.max(axis=1, initial=-np.inf) >= top - margin) & (
            y.min(axis=1, initial=np.inf) <= top + rows + margin
        )
        # what lies right of the window ends a run that goes on to its edge anyway
        beside &= x.min(axis=1, initial=np.inf) <= left + cols + margin
        before = np.concatenate([[0], np.cumsum(beside)])
        return Edges(self.ends[beside], before[self.starts])


def edges_of(shapes: NDArray[Any] | Sequence[Any], transform: Affine) -> Edges:
    """Polygons and points as line segments in pixels of a grid.

    Parameters
    ----------
    shapes : (n,) shapely geometries
        In the grid's CRS, also of several parts, and empty ones.  Lines have no inside and are
        skipped.
    transform : Affine
        Pixel to CRS, of the whole grid.

    Returns
    -------
    Edges
    """
    geometries = np.asarray(shapes, dtype=object)
    parts, of_part = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > 3).any():  # a collection of collections
        parts, at = shapely.get_parts(parts, return_index=True)
        of_part = of_part[at]
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    joined = ring[1:] == ring[:-1]
    shape_of = of_part[of_ring]
    ends = np.concatenate([xy[:-1], xy[1:]], axis=1)[joined]
    owner = shape_of[ring[1:][joined]] if ring.size else np.empty(0, np.int64)
    long = (ends[:, :2] != ends[:, 2:]).any(axis=1)
    is_point = shapely.get_type_id(parts) == 0
    spots, at = shapely.get_coordinates(parts[is_point], return_index=True)
    ends = np.concatenate([ends[long], np.tile(spots, 2)])
    owner = np.concatenate([owner[long], of_part[is_point][at]])
    if is_point.any():  # parts of one shape lie together
        order = np.argsort(owner, kind="stable")
        ends, owner = ends[order], owner[order]
    starts = np.searchsorted(owner, np.arange(geometries.size + 1))
    return Edges(_pixels(ends, transform), starts.astype(np.int64))


def _pixels(ends: NDArray[np.float64], transform: Affine) -> NDArray[np.float64]:
    """From a CRS to pixels: a division, which leaves whole numbers whole."""
    a, b, c, d, e, f = tuple(transform)[:6]
    x, y = ends[:, 0::2] - c, ends[:, 1::2] - f
    found = np.empty_like(ends)
    if b == d == 0:
        found[:, 0::2], found[:, 1::2] = x / a, y / e
    else:
        size = a * e - b * d
        found[:, 0::2], found[:, 1::2] = (e * x - b * y) / size, (a * y - d * x) / size
    return found
