"""Scenes become monthly mosaics, one window at a time; and the lazy cube made of such windows.

Strategy.  `Mosaic.read` is the one place where pixels are read, masked and composited, eagerly
and for any window, bands and months.  A tile's task calls it for everything at once and reads
each mask once.  The lazy Dataset is made of array-likes whose ``__getitem__`` calls it for just
what was asked: dask gets one task a (month, band, window), fuses a slice into it, and a month of
a band of a corner opens that month's files of that band and their masks, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pystac
import xarray as xr
from numpy.typing import NDArray
from odc.geo.xr import xr_coords

from geocube_ml.cube.catalog import items_digest
from geocube_ml.cube.grid import Grid
from geocube_ml.cube.scenes import Granule, Scene, scenes_by_month
from geocube_ml.errors import GeocubeError
from geocube_ml.kernels.composite import clear_median
from geocube_ml.kernels.mask import has_data, is_clear
from geocube_ml.kernels.radiometry import lower
from geocube_ml.raster import read_onto
from geocube_ml.spec.base import digest
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import BandSpec, SourceSpec

CLEAR_FILL = 0
"""Count of clear observations where nothing was written: none."""


@dataclass(frozen=True)
class Mosaic:
    """Monthly mosaics of one source, not read yet."""

    source: SourceSpec
    grid: Grid
    months: tuple[str, ...]
    scenes: dict[str, tuple[Scene, ...]]
    token: str
    """Changes with everything that changes a pixel."""

    def read(
        self, months: Sequence[int], bands: Sequence[int], y: slice, x: slice
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Read, mask and composite one window.

        Parameters
        ----------
        months, bands : sequences of int
            Positions along the two axes.
        y, x : slice
            Rows and columns of the grid.

        Returns
        -------
        values : (month, band, y, x) of the sensor's dtype
            Median of the clear observations; the sensor's nodata where there is none.
        count : (month, y, x) uint8
            Clear observations by the mask (without one: with data in the first band); at most
            255.

        Raises
        ------
        ReadError, MissingError, InputError
            An asset cannot be read; the text names its item.
        """
        sensor = self.source.sensor
        chosen = [list(self.source.chosen.values())[band] for band in bands]
        rows, cols = y.stop - y.start, x.stop - x.start
        values = np.full((len(months), len(chosen), rows, cols), sensor.nodata, sensor.dtype)
        count = np.zeros((len(months), rows, cols), np.uint8)
        if not rows or not cols:
            return values, count
        for at, month in enumerate(months):
            seen = [
                (granules, self._clear(granules, y, x))
                for scene in self.scenes.get(self.months[month], ())
                if (granules := scene.within(y, x))
            ]
            if not seen:
                continue
            total = sum(np.logical_or.reduce(masks).astype(np.uint16) for _, masks in seen)
            count[at] = np.minimum(total, 255)
            if not total.any():
                continue  # nothing of the bands would be used: do not open them
            for k, band in enumerate(chosen):
                stack = [self._observe(granules, masks, band, y, x) for granules, masks in seen]
                planes = np.stack([plane for plane, _ in stack])
                clear = np.stack([mask for _, mask in stack])
                values[at, k] = clear_median(planes, clear, sensor.nodata)
        return values, count

    def _clear(self, granules: Sequence[Granule], y: slice, x: slice) -> list[NDArray[np.bool_]]:
        """(y, x) of each granule: where it is the first clear one of its scene."""
        mask = self.source.sensor.mask
        first = next(iter(self.source.chosen.values()))
        taken: NDArray[np.bool_] | None = None
        masks = []
        for granule in granules:
            if mask is None:
                clear = has_data(self._band(granule, first, y, x), self.source.sensor.nodata)
            else:
                # a mask's own nodata is not among the clear classes; outside it, 255 is put
                outside = next(v for v in range(255, -1, -1) if v not in mask.clear)
                classes = self._load(
                    granule, mask.asset, "nearest", "nearest", outside, "uint8", y, x
                )
                clear = is_clear(classes, mask.clear)
            if taken is None:
                taken = clear.copy()
            else:
                clear &= ~taken
                taken |= clear
            masks.append(clear)
        return masks

    def _observe(
        self,
        granules: Sequence[Granule],
        masks: Sequence[NDArray[np.bool_]],
        band: BandSpec,
        y: slice,
        x: slice,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """One scene's (y, x) values of a band, and where they count."""
        nodata = self.source.sensor.nodata
        values = np.full(masks[0].shape, nodata, self.source.sensor.dtype)
        for granule, mask in zip(granules, masks, strict=True):
            if mask.any():
                values = np.where(mask, self._band(granule, band, y, x), values)
        return values, has_data(values, nodata)

    def _band(self, granule: Granule, band: BandSpec, y: slice, x: slice) -> NDArray[Any]:
        sensor = self.source.sensor
        values = self._load(
            granule, band.asset, band.resampling, band.coarsening, sensor.nodata, sensor.dtype, y, x
        )
        return lower(values, granule.offset.counts, sensor.nodata)

    def _load(
        self, granule: Granule, asset: str, resampling: str, coarsening: str,
        nodata: float, dtype: str, y: slice, x: slice,
    ) -> NDArray[Any]:  # fmt: skip
        try:
            return read_onto(
                granule.hrefs[asset],
                self.grid.geobox[y, x],
                nodata=nodata,
                dtype=dtype,
                resampling=resampling,
                coarsening=coarsening,
            )
        except GeocubeError as error:
            raise type(error)(f"Item {granule.id}, asset {asset}: {error}") from error


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


def make_mosaic(
    items: Sequence[pystac.Item], source: SourceSpec, grid: Grid, period: PeriodSpec
) -> Mosaic:
    """Arrange items into months; reads nothing.

    Raises
    ------
    InputError
        An item lacks an asset, or does not say what its offset is.
    """
    scenes = scenes_by_month(items, source, grid.geobox)
    # two archives may say the same of other pixels
    files = digest([g.hrefs for month in scenes.values() for s in month for g in s.granules])
    token = f"{source.digest()}-{items_digest(items)}-{files}"
    return Mosaic(source, grid, period.months, scenes, token)


def monthly_mosaics(mosaic: Mosaic, name: str = "s2") -> xr.Dataset:
    """The lazy cube of one source; building it reads nothing.

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


CLEAR_ATTRS = {
    "long_name": "number of clear observations",
    "units": "1",
    "grid_mapping": "spatial_ref",
}


def band_attrs(source: SourceSpec) -> dict[str, Any]:
    """CF attributes of a source's variable; its values are counts."""
    sensor = source.sensor
    attrs: dict[str, Any] = {"long_name": sensor.title or "monthly median", "units": sensor.units}
    if sensor.scale != 1:
        attrs |= {"scale_factor": sensor.scale, "add_offset": 0.0}
    integer = np.issubdtype(np.dtype(sensor.dtype), np.integer)
    nodata = int(sensor.nodata) if integer else float(sensor.nodata)
    return attrs | {"nodata": nodata, "grid_mapping": "spatial_ref"}


def cube_coords(
    grid: Grid, months: Sequence[str], bands: dict[str, list[str]]
) -> dict[str, xr.DataArray]:
    """Y, x and the CRS of a cube; time and bands where they are given."""
    coords = {str(name): coord for name, coord in xr_coords(grid.geobox).items()}
    if months:
        starts = pd.to_datetime(list(months), format="%Y-%m").to_numpy("datetime64[ns]")
        said = {"long_name": "start of the month", "standard_name": "time"}
        coords["time"] = xr.DataArray(starts, dims="time", attrs=said)
    for name, names in bands.items():
        dim = f"{name}_band"
        coords[dim] = text_coord(dim, names, f"band of {name}")
    return coords


def text_coord(dim: str, names: Sequence[str], long_name: str) -> xr.DataArray:
    """Names along a dimension, as Zarr's `string`; fixed-width text has no stable Zarr type."""
    return xr.DataArray(np.array(names, object), dims=dim, attrs={"long_name": long_name})


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
