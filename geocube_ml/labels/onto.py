"""Labels in the CRS of the grid, with edges that lie where the file's CRS draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geocube_ml.grid import Grid
from geocube_ml.labels.clean import BLOCK, is_polygon, mend

_SHORT_M = 200.0  # an edge that bends by less than the least tolerance, up to 80 degrees
_LEAST_M, _MOST_M = 0.005, 0.05  # an edge may lie so far from where it is drawn
_OF_THE_BUFFER = 0.0005
_MARGIN_PX = 10.0
_NEARLY = 0.75  # of a turn: an edge that was meant the short way
_AT = np.array([0.25, 0.5, 0.75])  # of an edge, where its bend is measured


@dataclass(frozen=True)
class Onto:
    """From the CRS of a file to that of the grid.

    Parameters
    ----------
    crs : pyproj.CRS
        Of the file.
    grid : Grid
    inset_m : float
        The buffer; decides how exactly edges are followed, and what lies too far away to matter.
    most : float
        Metres of the grid's CRS that are one on the ground, at most.
    """

    crs: CRS
    grid: Grid
    inset_m: float
    most: float

    @property
    def target(self) -> CRS:
        """Of the grid."""
        return CRS(str(self.grid.geobox.crs))

    @property
    def tolerance(self) -> float:
        """Metres by which an edge may be off."""
        return float(np.clip(_OF_THE_BUFFER * self.inset_m, _LEAST_M, _MOST_M))

    def window(self) -> Any:
        """The grid with what around it matters, in its own CRS."""
        geobox = self.grid.geobox
        pixel = max(abs(geobox.transform.a), abs(geobox.transform.e))
        margin = 4 * self.inset_m * self.most + _MARGIN_PX * pixel
        return shapely.box(*shapely.bounds(shapely.buffer(geobox.extent.geom, margin)))

    def near(self, shapes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Shapes cut to what lies near the grid, in the CRS of the file, and which are near.

        Longitudes are taken so that they are near those of the grid, and the parts of a polygon
        on both sides of the antimeridian are one again.
        """
        period = self.period
        box = self._box(period)
        if box is None:
            return shapes, np.ones(len(shapes), bool)
        west, south, east, north = box
        if period:
            shapes = _turned(shapes, (west + east) / 2, period)
        bounds = shapely.bounds(shapes)
        near = (bounds[:, 0] <= east) & (bounds[:, 2] >= west)
        near &= (bounds[:, 1] <= north) & (bounds[:, 3] >= south)
        # what reaches a little further is left whole
        wide, high = east - west, north - south
        west, south, east, north = west - wide, south - high, east + wide, north + high
        within = (bounds[:, 0] >= west) & (bounds[:, 2] <= east)
        within &= (bounds[:, 1] >= south) & (bounds[:, 3] <= north)
        cut = near & ~within & is_polygon(shapes)
        if cut.any():
            # the box is far larger than the grid, so that no edge of it matters
            shapes, around = shapes.copy(), shapely.box(west, south, east, north)
            shapes[cut] = shapely.intersection(shapes[cut], around)
            shapes[cut] = shapely.buffer(shapes[cut], 0)
        return shapes, near & ~shapely.is_empty(shapes)

    def project(self, shapes: NDArray[Any]) -> NDArray[Any]:
        """Shapes in the CRS of the grid; coordinates that it does not have are infinite."""
        if self.crs == self.target:
            return shapes
        there = Transformer.from_crs(self.crs, self.target, always_xy=True)
        placed = np.empty(len(shapes), object)
        for at in range(0, len(shapes), BLOCK):
            part = shapes[at : at + BLOCK]
            part = _bent(part, there, self._metre(), self.tolerance)
            placed[at : at + BLOCK] = shapely.transform(
                part, lambda coords: np.column_stack(there.transform(*coords.T))
            )
        wrong = np.flatnonzero(is_polygon(placed) & ~shapely.is_valid(placed))
        wrong = wrong[np.isfinite(shapely.bounds(placed[wrong])).all(axis=1)]
        placed[wrong] = mend(placed[wrong])  # rounding may let an edge touch another
        return placed

    @property
    def period(self) -> float:
        """As `period_of` the file's CRS."""
        return period_of(self.crs)

    def _metre(self) -> float:
        """Units of the file's CRS in a metre, about."""
        axis = self.crs.axis_info[0].unit_conversion_factor if self.crs.axis_info else 1.0
        return 1 / (axis * 6371000.0) if self.crs.is_geographic else 1 / (axis or 1.0)

    def _box(self, period: float) -> tuple[float, float, float, float] | None:
        """Where the grid lies in the CRS of the file, with a margin; None if that is everywhere."""
        window = self.window()
        west, south, east, north = window.bounds
        x, y = np.meshgrid(np.linspace(west, east, 65), np.linspace(south, north, 65))
        back = Transformer.from_crs(self.target, self.crs, always_xy=True)
        x, y = back.transform(x, y)
        known = np.isfinite(x) & np.isfinite(y)
        if not known.all():
            return None
        if period:
            middle = x[32, 32]
            x = middle + (x - middle + period / 2) % period - period / 2
            if np.ptp(x) > 0.8 * period:
                return None
        wide, high = 0.05 * np.ptp(x), 0.05 * np.ptp(y)
        return (
            float(x.min() - wide), float(y.min() - high),
            float(x.max() + wide), float(y.max() + high),
        )  # fmt: skip


def period_of(crs: CRS) -> float:
    """After how much x of a CRS a place comes again; 0 where it does not."""
    if crs.is_geographic:
        return 2 * np.pi / crs.axis_info[0].unit_conversion_factor
    return 2 * np.pi * 6378137.0 if crs.to_epsg() == 3857 else 0.0


def _turned(shapes: NDArray[Any], middle: float, period: float) -> NDArray[Any]:
    """Each part moved by whole turns so that it lies nearest to a longitude."""
    bounds = shapely.bounds(shapes)
    wide = bounds[:, 2] - bounds[:, 0] > period / 2
    off = np.round((middle - (bounds[:, 0] + bounds[:, 2]) / 2) / period)
    far = (off != 0) & ~wide
    if not (far.any() or wide.any()):
        return shapes
    shapes = shapes.copy()
    for turns in np.unique(off[far]):
        shapes[far & (off == turns)] = _moved(shapes[far & (off == turns)], turns * period)
    for at in np.flatnonzero(wide):
        parts = shapely.get_parts(shapes[at])
        west, _, east, _ = shapely.bounds(parts).T
        turns = np.round((middle - (west + east) / 2) / period)
        moved = [_moved(p, turn * period) for p, turn in zip(parts, turns, strict=True)]
        shapes[at] = shapely.union_all(moved) if turns.any() else shapes[at]
    return shapes


def _moved(shapes: Any, by: float) -> Any:
    return shapely.transform(shapes, lambda coords: coords + np.array([by, 0.0])) if by else shapes


def unwrapped(shapes: NDArray[Any], period: float) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Polygons with an edge of nearly a whole turn, whose edges go the short way instead.

    Parameters
    ----------
    shapes : (n,) array of shapely geometries
    period : float
        A whole turn in x.

    Returns
    -------
    shapes : (n,) array of shapely geometries
        What lay west of 0 lies a turn further east, in those that are meant.
    turned : (n,) bool
        Which these are: what they hold so is narrower than a quarter of a turn.
    """
    turned = np.zeros(len(shapes), bool)
    bounds = shapely.bounds(shapes)
    for at in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > _NEARLY * period):
        rings = shapely.get_rings(shapely.get_parts(shapes[at]))
        coords, of = shapely.get_coordinates(rings, return_index=True)
        long = np.abs(np.diff(coords[:, 0])) > _NEARLY * period
        if not (long & (of[1:] == of[:-1])).any():
            continue
        east = np.where(coords[:, 0] < 0, coords[:, 0] + period, coords[:, 0])
        if not 0 < np.ptp(east) < period / 4:
            continue
        shapes = shapes.copy() if not turned.any() else shapes
        moved = shapely.transform(
            shapes[at],
            lambda xy: np.column_stack(
                [np.where(xy[:, 0] < 0, xy[:, 0] + period, xy[:, 0]), xy[:, 1]]
            ),
        )
        shapes[at], turned[at] = mend(moved), True
    return shapes, turned


def _bent(shapes: NDArray[Any], there: Transformer, metre: float, tolerance: float) -> NDArray[Any]:
    """Shapes with so many vertices on their long edges that they bend as the other CRS has them."""
    at = np.flatnonzero(is_polygon(shapes))
    parts, of_part = shapely.get_parts(shapes[at], return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    coords, of = shapely.get_coordinates(rings, return_index=True)
    if not coords.size:
        return shapes
    steps = coords[1:] - coords[:-1]
    lengths = np.hypot(*steps.T)
    long = np.flatnonzero((of[1:] == of[:-1]) & (lengths > _SHORT_M * metre))
    if not long.size:
        return shapes
    start, step = coords[long], steps[long]
    first = np.column_stack(there.transform(*start.T))
    last = np.column_stack(there.transform(*(start + step).T))
    off = np.zeros(long.size)
    for share in _AT:
        real = np.column_stack(there.transform(*(start + share * step).T))
        off = np.maximum(off, np.hypot(*(real - (first + share * (last - first))).T))
    off = np.where(np.isfinite(off), off, 0.0)
    # a chord of an n-th of the length is off by an n-th of an n-th
    pieces = np.ceil(np.sqrt(1.4 * off / tolerance))
    bends = pieces > 1
    if not bends.any():
        return shapes
    owner = at[of_part[of_ring[of[long[bends]]]]]
    most = np.full(len(shapes), np.inf)
    np.minimum.at(most, owner, lengths[long[bends]] / pieces[bends])
    bent = np.flatnonzero(np.isfinite(most))
    shapes = shapes.copy()
    shapes[bent] = shapely.segmentize(shapes[bent], most[bent])
    return shapes
