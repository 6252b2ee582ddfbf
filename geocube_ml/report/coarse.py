"""What a page needs of a cube that may not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

_SIDE = 1000  # pixels: what a page can show
_STRIP = 1024  # rows that are counted at a time
_COUNTED = ["mean", "min", "without"]


@dataclass(frozen=True)
class Place:
    """Where the pixels of a cube lie, in metres."""

    shape: tuple[int, int]
    """Rows and columns of the cube."""

    left: float
    bottom: float
    right: float
    top: float
    crs: str
    """``EPSG:32633``, or the name of a CRS without a code; empty without one."""

    @property
    def pixel_m2(self) -> float:
        """Area of a pixel."""
        rows, cols = self.shape
        return (self.right - self.left) / cols * (self.top - self.bottom) / rows


def place_of(cube: xr.Dataset) -> Place:
    """The outer edges of a cube's pixels, and its CRS."""
    x, y = cube["x"].to_numpy().astype(float), cube["y"].to_numpy().astype(float)
    reference = cube["spatial_ref"].attrs if "spatial_ref" in cube else {}
    across, down = _step(x), _step(y)
    if not (across and down):  # a single row or column: as wide as it is high
        across = down = across or down or _stated_step(reference)
    return Place(
        (y.size, x.size),
        left=float(x.min()) - across / 2,
        bottom=float(y.min()) - down / 2,
        right=float(x.max()) + across / 2,
        top=float(y.max()) + down / 2,
        crs=_crs_name(str(reference.get("crs_wkt") or reference.get("spatial_ref") or "")),
    )


def coarse(variable: xr.DataArray, side: int = _SIDE) -> NDArray[Any]:
    """Every n-th pixel of each axis, north up.

    Parameters
    ----------
    variable : (..., y, x) DataArray
        Read now, chunk by chunk.
    side : int
        At most so many pixels a side.

    Returns
    -------
    (..., y, x) array of the same dtype
    """
    return np.asarray(_thinned(variable, side).to_numpy())


def coarse_inside(variable: xr.DataArray, area: Any, side: int = _SIDE) -> NDArray[np.bool_]:
    """Which of the pixels that `coarse` takes lie in an area; all of them if none does.

    Parameters
    ----------
    variable : (..., y, x) DataArray
    area : shapely geometry in its CRS, or None
        All by default.
    side : int

    Returns
    -------
    (y, x) bool
    """
    thinned = _thinned(variable, side)
    size = thinned.sizes["y"], thinned.sizes["x"]
    if area is None:
        return np.ones(size, bool)
    shapely.prepare(area)
    at = np.meshgrid(thinned["x"].to_numpy(), thinned["y"].to_numpy())
    inside: NDArray[np.bool_] = shapely.contains_xy(area, *at)
    return inside if inside.any() else np.ones(size, bool)


def _thinned(variable: xr.DataArray, side: int) -> xr.DataArray:
    """Every n-th pixel of each axis, north up; not read yet."""
    if variable.y.size > 1 and variable.y[0] < variable.y[-1]:
        variable = variable.isel(y=slice(None, None, -1))
    rows, cols = variable.sizes["y"], variable.sizes["x"]
    stride = ceil(max(rows, cols) / side)
    return variable.isel(
        # from the middle of each stride, or of the axis where that is shorter
        y=slice(min(stride, rows) // 2, None, stride),
        x=slice(min(stride, cols) // 2, None, stride),
    )


def pixel_counts(variable: xr.DataArray) -> NDArray[np.int64]:
    """Number of pixels of each value; every pixel is read, a strip of rows at a time.

    Parameters
    ----------
    variable : (y, x) uint8

    Returns
    -------
    (256,) int64
    """
    counts = np.zeros(256, np.int64)
    for top in range(0, variable.sizes["y"], _STRIP):
        strip = variable.isel(y=slice(top, top + _STRIP)).to_numpy()
        counts += np.bincount(strip.ravel(), minlength=256)
    return counts


def clear_by_step(clear: xr.DataArray, area: Any = None) -> pd.DataFrame:
    """Clear observations of each time step, over a thinned set of pixels.

    Parameters
    ----------
    clear : (time, y, x) uint8, or (y, x) of a source without a time axis
    area : shapely geometry in its CRS, optional
        Only pixels within it are counted.

    Returns
    -------
    DataFrame, indexed by the start of each step; one row without a time axis
        ``mean``, ``min`` (observations) and ``without`` (share of pixels without any).
    """
    inside = coarse_inside(clear, area, side=_SIDE // 2)
    if "time" not in clear.dims:
        return pd.DataFrame([_counted(coarse(clear, side=_SIDE // 2)[inside])], columns=_COUNTED)
    n, rows = clear.sizes["time"], []
    # as many steps as a chunk spans, or each chunk is read once a step
    at_once = clear.chunksizes.get("time", (1,))[0]
    for start in range(0, n, at_once):
        counts = coarse(clear.isel(time=slice(start, start + at_once)), side=_SIDE // 2)
        rows += [_counted(c[inside]) for c in counts]
    index = pd.DatetimeIndex(clear["time"].to_numpy(), name="step")
    return pd.DataFrame(rows, columns=_COUNTED, index=index)


def _counted(counts: NDArray[np.uint8]) -> tuple[float, int, float]:
    return float(counts.mean()), int(counts.min()), float((counts == 0).mean())


def _step(centres: NDArray[np.float64]) -> float:
    return abs(float(centres[-1] - centres[0])) / (centres.size - 1) if centres.size > 1 else 0.0


def _stated_step(reference: dict[str, Any]) -> float:
    words = str(reference.get("GeoTransform", "")).split()
    return abs(float(words[1])) if len(words) == 6 else 1.0


def _crs_name(wkt: str) -> str:
    try:
        crs = CRS.from_user_input(wkt)
    except CRSError:
        return ""
    code = crs.to_authority()
    return ":".join(code) if code else crs.name
