"""The shape of the ground from its elevations."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import where

Kind = Literal["slope", "aspect", "northness", "eastness"]


def terrain(
    elevation: NDArray[Any], spacing_m: float, nodata: float, kind: Kind
) -> NDArray[np.float32]:
    """Slope, aspect, or what is made of the two.

    Parameters
    ----------
    elevation : (y + 2, x + 2) integer or float
        Metres, with one pixel more on each side.  Rows run from north to south, columns from west
        to east.
    spacing_m : float
        Metres from a pixel's centre to the next, the same along both axes.
    nodata : float
        Where there is no elevation; then the result is nodata too.  Not a value that the result
        may have: -9999 or NaN will do, 0 will not.
    kind : "slope", "aspect", "northness" or "eastness"
        ``slope`` in degrees from 0 (level) to 90.  ``aspect``: where the slope falls to, in degrees
        clockwise from north, from 0 to below 360; nodata where it is level.  ``northness`` and
        ``eastness``: the cosine and the sine of the aspect, times the sine of the slope; 0 where
        it is level, 1 on a cliff that faces north (east).

    Returns
    -------
    (y, x) float32

    Notes
    -----
    Horn (1981), Proceedings of the IEEE 69, 14: differences over the eight neighbours, those of the
    same row or column with double weight.  A neighbour without an elevation is taken to be as high
    as the centre.

    Examples
    --------
    Ground that falls by 10 m each 10 m towards the east:

    >>> east = np.float32([[30, 20, 10]] * 3)
    >>> [terrain(east, 10, -9999, kind).item() for kind in ("slope", "aspect")]
    [45.0, 90.0]
    """
    if min(elevation.shape) < 2:
        raise ValueError(
            f"elevations have one pixel more on each side, got the shape {elevation.shape}"
        )
    data = has_data(elevation, nodata)
    height = where(data, elevation, 0).astype(np.float64)
    centre, known = height[1:-1, 1:-1], data[1:-1, 1:-1]

    def neighbour(down: int, right: int) -> NDArray[np.float64]:
        here = np.s_[1 + down : 1 + down + centre.shape[0], 1 + right : 1 + right + centre.shape[1]]
        return where(data[here], height[here], centre)

    north_west, north, north_east = (neighbour(-1, right) for right in (-1, 0, 1))
    west, east = neighbour(0, -1), neighbour(0, 1)
    south_west, south, south_east = (neighbour(1, right) for right in (-1, 0, 1))
    # how much the ground falls a metre, towards the north and towards the east
    by = 8 * spacing_m
    to_north = ((south_west + 2 * south + south_east) - (north_west + 2 * north + north_east)) / by
    to_east = ((north_west + 2 * west + south_west) - (north_east + 2 * east + south_east)) / by
    steepness = np.hypot(to_north, to_east)
    if kind == "slope":
        found = np.degrees(np.arctan(steepness))
    elif kind == "aspect":
        found = np.degrees(np.arctan2(to_east, to_north)) % 360
        known = known & (steepness > 0)
    else:  # the sine of the slope is steepness / sqrt(1 + steepness**2)
        found = (to_north if kind == "northness" else to_east) / np.sqrt(1 + steepness**2)
    result = found.astype(np.float32)
    if kind == "aspect":
        result[result >= 360] = 0  # just west of north, after rounding
    return where(known, result, nodata)
