"""How large pixels truly are: a projection that keeps angles does not keep areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod, Transformer

_EARTH = Geod(ellps="WGS84")


def pixel_hectares(
    x: NDArray[np.float64], y: NDArray[np.float64], pixel: tuple[float, float], crs: str
) -> NDArray[np.float64]:
    """Hectares of pixels on the ellipsoid, in whatever CRS they are.

    Parameters
    ----------
    x : (col,) float64
        Middles of columns, in the CRS.
    y : (row,) float64
        Middles of rows.
    pixel : (width, height)
        In the CRS's unit.
    crs : str

    Returns
    -------
    (row, col) float64

    Notes
    -----
    Central differences of longitude and latitude over the pixel, times the ellipsoid's radii of
    curvature (Snyder 1987, Map Projections, equations 4-18 and 4-20).
    """
    to = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    across, up = np.meshgrid(x, y)
    lon_x, lat_x = _difference(to, across, up, pixel[0] / 2, 0)
    lon_y, lat_y = _difference(to, across, up, 0, pixel[1] / 2)
    sine = np.sin(np.radians(to.transform(across, up)[1]))
    rest = 1 - _EARTH.es * sine**2
    along_meridian = _EARTH.a * (1 - _EARTH.es) / rest**1.5
    along_parallel = _EARTH.a / np.sqrt(rest) * np.sqrt(1 - sine**2)
    turned = np.abs(lon_x * lat_y - lon_y * lat_x)
    found: NDArray[np.float64] = turned * along_meridian * along_parallel / 1e4
    return found


def _difference(
    to: Transformer, x: NDArray[np.float64], y: NDArray[np.float64], dx: float, dy: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radians of longitude and latitude between two sides of pixels."""
    lon, lat = to.transform(x + dx, y + dy)
    other_lon, other_lat = to.transform(x - dx, y - dy)
    turn = (lon - other_lon + 180) % 360 - 180  # a pixel may lie across the 180th meridian
    return np.radians(turn), np.radians(lat - other_lat)
