"""Where the archive lies: two tiles in two UTM zones, the map area, and the world around them.

Everything is anchored where the zones 32 and 33 meet, so that the two tiles are turned by some
four degrees against each other, as neighbouring Sentinel-2 tiles of two zones are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

MAP_CRS = "EPSG:32633"
"""CRS of the map and of the simulated world."""

_CENTRE = (12.0, 46.3)  # degrees east and north; 12 degrees is the edge of the zones
_FINE, _COARSE = 10, 20  # m


@dataclass(frozen=True)
class Tile:
    """One tile of the archive."""

    name: str
    """MGRS name, such as ``33TTM``."""

    geobox: GeoBox
    """Its grid of 10 m."""

    @property
    def epsg(self) -> int:
        """EPSG code of its CRS."""
        return int(str(self.geobox.crs).removeprefix("EPSG:"))


def tiles(size: int) -> tuple[Tile, Tile]:
    """The western tile in zone 32 and the eastern one in zone 33, `size` pixels wide each."""
    edge = size * _FINE
    west = _square("EPSG:32632", edge, left=edge / 8 - edge)
    east = _square(MAP_CRS, edge, left=-edge / 8)
    return Tile("32TQS", west), Tile("33TTM", east)


def map_geobox(size: int) -> GeoBox:
    """The largest upright rectangle of 10 m pixels that the two tiles cover."""
    west, east = tiles(size)
    to_map = Transformer.from_crs(west.geobox.crs, MAP_CRS, always_xy=True)
    box = west.geobox.boundingbox
    x, y = to_map.transform(  # top left, bottom left, top right, bottom right
        [box.left, box.left, box.right, box.right], [box.top, box.bottom] * 2
    )
    inner = east.geobox.boundingbox
    left = _up(max(x[:2]))
    bottom, top = _up(max(y[1], y[3], inner.bottom)), _down(min(y[0], y[2], inner.top))
    shape = (round((top - bottom) / _FINE), round((inner.right - left) / _FINE))
    return _upright(MAP_CRS, shape, _FINE, left, top)


def world_geobox(size: int) -> GeoBox:
    """A rectangle of 10 m pixels on the map's grid that contains both tiles."""
    corners = [outline(tile.geobox).bounds for tile in tiles(size)]
    margin = 5 * _COARSE
    left, bottom = (_down(min(c[i] for c in corners)) - margin for i in (0, 1))
    right, top = (_up(max(c[i] for c in corners)) + margin for i in (2, 3))
    shape = (round((top - bottom) / _FINE), round((right - left) / _FINE))
    return _upright(MAP_CRS, shape, _FINE, left, top)


def coarse(geobox: GeoBox) -> GeoBox:
    """The grid of 20 m over the same area as one of 10 m."""
    shape = (geobox.shape[0] // 2, geobox.shape[1] // 2)
    return _upright(geobox.crs, shape, _COARSE, geobox.transform.c, geobox.transform.f)


def strip(geobox: GeoBox, rows: slice) -> GeoBox:
    """Some rows of a grid of 10 m."""
    top = geobox.transform.f - _FINE * rows.start
    shape = (rows.stop - rows.start, geobox.shape[1])
    return _upright(geobox.crs, shape, _FINE, geobox.transform.c, top)


def pixel_of(geobox: GeoBox, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row and column (2, ...) of points in a grid's CRS; a pixel's centre has whole numbers."""
    transform = geobox.transform
    return np.stack([(y - transform.f) / transform.e, (x - transform.c) / transform.a]) - 0.5


def outline(geobox: GeoBox) -> Any:
    """Polygon around a grid, in the map's CRS."""
    edge = shapely.segmentize(geobox.extent.geom, 20_000)
    to_map = Transformer.from_crs(geobox.crs, MAP_CRS, always_xy=True)
    return shapely.transform(edge, to_map.transform, interleaved=False)


def centres(geobox: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eastings and northings (y, x) in the map's CRS of the centres of a grid's pixels."""
    transform = geobox.transform
    easting = transform.c + transform.a * (np.arange(geobox.shape[1]) + 0.5)
    northing = transform.f + transform.e * (np.arange(geobox.shape[0]) + 0.5)
    x, y = np.meshgrid(easting, northing)
    if geobox.crs == MAP_CRS:
        return x, y
    to_map = Transformer.from_crs(geobox.crs, MAP_CRS, always_xy=True)
    there = to_map.transform(x, y)
    return np.asarray(there[0]), np.asarray(there[1])


def _square(crs: str, edge: float, *, left: float) -> GeoBox:
    """A square whose left edge lies `left` metres east of the centre."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*_CENTRE)
    shape = (round(edge / _FINE), round(edge / _FINE))
    return _upright(crs, shape, _FINE, _down(x + left), _down(y + edge / 2))


def _upright(crs: Any, shape: tuple[int, int], resolution: int, left: float, top: float) -> GeoBox:
    return GeoBox(shape, Affine(resolution, 0, left, 0, -resolution, top), crs)


def _down(metres: float) -> int:
    return math.floor(metres / _COARSE) * _COARSE


def _up(metres: float) -> int:
    return math.ceil(metres / _COARSE) * _COARSE
