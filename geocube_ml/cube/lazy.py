"""The lazy cube: windows of a mosaic as the chunks of a dask-backed Dataset.

Its chunks are array-likes whose ``__getitem__`` calls `Mosaic.read` for just what was asked: dask
gets one task a (month, band, window), fuses a slice into it, and a month of a band of a corner
opens that month's files of that band and their masks, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.cube.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.spec.base import digest


def monthly_mosaics(mosaic: Mosaic, name: str = "s2") -> xr.Dataset:
    """The lazy cube of one source; building it reads nothing.

    What cannot be read stops a computation, whatever `Mosaic.unreadable` says: there is no place
    to list what was left out.

    Parameters
    ----------
    mosaic : Mosaic
        From `make_mosaic`.
    name : str
        Of the variable.

    Returns
    -------
    xarray.Dataset
        `name` (time, `name`_band, y, x) of the sensor's dtype, and `name`_clear (time, y, x)
        uint8, the number of clear observations.  ``time`` is the start of each month.  Chunks
        are one month, one band, and the grid's chunk edge.
    """
    mosaic = replace(mosaic, unreadable="stop")
    bands = list(mosaic.source.chosen)
    rows, cols = mosaic.grid.shape
    edge = mosaic.grid.store.chunk
    n = len(mosaic.months)
    values = _Values(mosaic, (n, len(bands), rows, cols), np.dtype(mosaic.source.sensor.dtype))
    counts = _Counts(mosaic, (n, rows, cols), np.dtype(np.uint8))
    geobox = mosaic.grid.geobox
    place = digest([str(geobox.crs), list(geobox.transform), rows, cols, mosaic.months, edge])
    key = f"{name}-{mosaic.token}-{place}"
    lazy: dict[str, Any] = {"asarray": False, "lock": False}
    return xr.Dataset(
        {
            name: (
                ("time", f"{name}_band", "y", "x"),
                da.from_array(values, chunks=(1, 1, edge, edge), name=key, **lazy),
                band_attrs(mosaic.source),
            ),
            f"{name}_clear": (
                ("time", "y", "x"),
                da.from_array(counts, chunks=(1, edge, edge), name=f"{key}-clear", **lazy),
                CLEAR_ATTRS,
            ),
        },
        coords=cube_coords(mosaic.grid, mosaic.months, {name: bands}),
    )


@dataclass(frozen=True)
class _Values:
    """A mosaic's values as dask sees them: a shape, a dtype, and slices that read."""

    mosaic: Mosaic
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    ndim = 4

    def __getitem__(self, key: Any) -> NDArray[Any]:
        (months, bands, y, x), within = _spans(key, self.shape)
        values: NDArray[Any] = self.mosaic.read(_positions(months), _positions(bands), y, x)[0]
        return np.asarray(values[within])


@dataclass(frozen=True)
class _Counts:
    """A mosaic's counts of clear observations, in the same way."""

    mosaic: Mosaic
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    ndim = 3

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        (months, y, x), within = _spans(key, self.shape)
        return np.asarray(self.mosaic.read(_positions(months), (), y, x)[1][within])


def _spans(key: Any, shape: tuple[int, ...]) -> tuple[list[slice], tuple[Any, ...]]:
    """What to read to answer a key of integers, slices and a list, and the key within that.

    Examples
    --------
    >>> _spans((2, slice(None, None, 2)), (5, 7))
    ([slice(2, 3, None), slice(0, 7, None)], (0, slice(0, 7, 2)))
    """
    spans: list[slice] = []
    within: list[Any] = []
    for part, n in zip(key, shape, strict=True):
        if isinstance(part, slice) and (part.step or 1) > 0:
            start, stop, step = part.indices(n)
            stop = max(start, stop)  # dask asks for nothing as slice(2, 1, 3)
            span: slice = slice(start, stop)
            at: Any = slice(0, stop - start, step)
        elif isinstance(part, int | np.integer):
            span, at = slice(int(part), int(part) + 1), 0
        else:
            wanted = np.arange(n)[part]
            low = int(wanted.min(initial=n))
            span, at = slice(low, int(wanted.max(initial=low - 1)) + 1), wanted - low
        spans.append(span)
        within.append(at)
    return spans, tuple(within)


def _positions(part: slice) -> range:
    return range(part.start, part.stop)
