"""How long a metre on the ground is in the grid's CRS, from place to place."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geocube_ml.grid import Grid

_STEP_M = 10.0
_EVEN = 1.001  # scales that differ by less are one
_MOST_NODES = 257
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, eq=False)
class Scale:
    """The greatest and the areal scale on a lattice over a grid.

    Measured: what a step of ten metres on the ground (pyproj.Geod) is in the CRS, to the north and
    to the east, and from both the axes of Tissot's ellipse.
    """

    x: NDArray[np.float64]
    """Of the columns of the lattice."""
    y: NDArray[np.float64]
    """Of its rows, upwards."""
    most: NDArray[np.float64]
    """(row, column) units of the CRS that are a metre on the ground, along the longest axis."""
    areal: NDArray[np.float64]
    """(row, column) square units of the CRS that are a square metre on the ground."""

    @functools.cached_property
    def even(self) -> bool:
        """Whether it is everywhere nearly the same."""
        return bool(np.nanmax(self.most) / np.nanmin(self.most) < _EVEN)

    def cells(self, bounds: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n, 4) first and last column and row of the cells that (n, 4) bounds touch."""
        found = []
        for ticks, low, high in ((self.x, 0, 2), (self.y, 1, 3)):
            for end in (low, high):
                at = np.searchsorted(ticks, bounds[:, end], "right") - 1
                found.append(np.clip(at, 0, len(ticks) - 2))
        return np.stack(found, axis=1)

    def at_most(self, bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The greatest scale within bounds, and whether it is nearly the same all over them.

        Parameters
        ----------
        bounds : (n, 4) float
            West, south, east, north in the grid's CRS.
        """
        if self.even:
            return np.full(len(bounds), np.nanmax(self.most)), np.ones(len(bounds), bool)
        left, right, low, high = self.cells(bounds).T
        corners = [self._cell[rows, cols] for rows in (low, high) for cols in (left, right)]
        few = (right - left <= 1) & (high - low <= 1)  # then those at the corners are all
        return np.max(corners, axis=0), few

    def area(self, areas: NDArray[np.float64], bounds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Square metres on the ground of shapes with areas and bounds in the grid's CRS."""
        if self.even and abs(float(np.nanmean(self.most)) - 1) < 0.005:
            return areas
        left, right, low, high = self.cells(bounds).T
        found: NDArray[np.float64] = (
            areas / self.areal[(low + high + 1) // 2, (left + right + 1) // 2]
        )
        return found

    @functools.cached_property
    def _cell(self) -> NDArray[np.float64]:
        """(row, column) the greatest scale at the corners of each cell."""
        m = np.where(np.isfinite(self.most), self.most, 0.0)
        cells: NDArray[np.float64] = np.max(
            [m[:-1, :-1], m[:-1, 1:], m[1:, :-1], m[1:, 1:]], axis=0
        )
        return cells


def scale_of(grid: Grid) -> Scale:
    """The scale of a grid's CRS, on a lattice so fine that neighbours differ by 0.1 %."""
    west, south, east, north = grid.geobox.extent.boundingbox.bbox
    n = 9
    while True:
        x, y = np.linspace(west, east, n), np.linspace(south, north, n)
        most, areal = _measured(CRS(str(grid.geobox.crs)), *np.meshgrid(x, y))
        steps = [np.nanmax(np.abs(np.diff(np.log(most), axis=axis))) for axis in (0, 1)]
        if max(steps) < np.log(_EVEN) or n >= _MOST_NODES:
            return Scale(x, y, most, areal)
        n = 2 * n - 1


def _measured(crs: CRS, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    known = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = np.where(known, lon, 0.0), np.where(known, lat, 0.0)
    here = np.stack(there.transform(lon, lat))
    steps = []
    for azimuth in (0.0, 90.0):
        full = np.full(lon.shape, azimuth), np.full(lon.shape, _STEP_M)
        ahead_lon, ahead_lat, _ = _GEOD.fwd(lon, lat, *full)
        steps.append((np.stack(there.transform(ahead_lon, ahead_lat)) - here) / _STEP_M)
    (a, c), (b, d) = steps
    squares = a**2 + b**2 + c**2 + d**2
    areal = np.abs(a * d - b * c)
    most = np.sqrt((squares + np.sqrt(np.maximum(squares**2 - 4 * areal**2, 0))) / 2)
    return np.where(known, most, np.nan), np.where(known, areal, np.nan)
