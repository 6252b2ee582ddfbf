"""What one scene shows of a window: its masks, and its values with what was added taken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.cube.scenes import Granule
from geocube_ml.errors import AccessError, GeocubeError, MissingError, ReadError
from geocube_ml.kernels.mask import bits_clear, has_data, is_clear, shrunk_and_grown, within
from geocube_ml.kernels.radiometry import lower
from geocube_ml.raster import read_onto
from geocube_ml.spec.sensor import BandSpec, MaskSpec, SensorSpec
from geocube_ml.spec.storage import StorageSpec

Unreadable = Literal["stop", "leave-out"]


@dataclass(frozen=True)
class LeftOut:
    """An item that a window was made without, and why."""

    item: str
    asset: str
    href: str
    """Without a signature."""
    reason: str


class CannotRead(Exception):
    """An item is to be left out."""

    def __init__(self, left_out: LeftOut, passing: bool) -> None:
        super().__init__(left_out.reason)
        self.left_out, self.passing = left_out, passing


@dataclass(frozen=True)
class Window:
    """Rows and columns of the grid; with a rim it may reach beyond it."""

    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def padded(self, rim: int) -> Window:
        """The same with a rim on all sides."""
        y, x = self.y, self.x
        return Window(slice(y.start - rim, y.stop + rim), slice(x.start - rim, x.stop + rim))

    def of(self, geobox: GeoBox) -> GeoBox:
        """Its grid."""
        return GeoBox(
            self.shape, geobox.transform * Affine.translation(self.x.start, self.y.start),
            geobox.crs,
        )  # fmt: skip


def trimmed(values: NDArray[Any], rim: int) -> NDArray[Any]:
    """(..., y, x) values without the rim of a padded window."""
    return values[..., rim:-rim, rim:-rim] if rim else values


@dataclass(frozen=True)
class Observer:
    """Reads what granules show of windows of one grid."""

    sensor: SensorSpec
    geobox: GeoBox
    storage: StorageSpec
    unreadable: Unreadable
    waits: bool
    """Whether an outage is an error also where items are left out: something will try again."""

    def masks(
        self, granule: Granule, window: Window
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where a granule is clear, and where it shows something that is not.

        Returns
        -------
        clear, unclear : (y, x) bool
            Where neither is true, nothing was observed.  Without a mask everything is clear, as
            far as there are data.
        """
        clear, seen = np.ones(window.shape, bool), np.ones(window.shape, bool)
        for mask in self.sensor.mask:
            rim = mask.shrink + mask.grow
            good, missing = self._mask(granule, mask, window.padded(rim))
            unclear = ~(good | missing)
            if rim:
                unclear = shrunk_and_grown(unclear, mask.shrink, mask.grow)
            clear &= ~trimmed(unclear | missing, rim)
            seen &= ~trimmed(missing, rim)
        return clear, seen & ~clear

    def bands(self, granule: Granule, bands: Sequence[BandSpec], window: Window) -> NDArray[Any]:
        """(band, y, x) values of bands of one asset, of one way of resampling."""
        sensor, first = self.sensor, bands[0]
        values = self._load(
            granule, first.asset, window, tuple(band.band for band in bands),
            sensor.nodata, sensor.dtype, first.resampling, first.coarsening,
        )  # fmt: skip
        return lower(values, granule.offset.counts, sensor.nodata)

    def fused(
        self,
        granules: Sequence[tuple[Granule, NDArray[np.bool_]]],
        bands: Sequence[BandSpec],
        window: Window,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """One scene's values of bands of one asset, and where they count.

        Where granules of a day overlap, the first that is clear and has data gives the pixel, a
        band at a time.

        Parameters
        ----------
        granules : sequence of a granule and its (y, x) clear mask
        bands : sequence of BandSpec
            Of one asset, of one way of resampling.
        window : Window

        Returns
        -------
        values : (band, y, x)
            What lies where nothing counts has no meaning.
        clear : (band, y, x) bool
        """
        values: NDArray[Any] | None = None
        clear = np.zeros((len(bands), *window.shape), bool)
        for granule, mask in granules:
            if not (mask & ~clear).any():
                continue
            found = self.bands(granule, bands, window)
            there = mask & has_data(found, self.sensor.nodata)
            if values is None:
                values, clear = found, there
            else:
                there &= ~clear
                np.copyto(values, found, where=there)
                clear |= there
        if values is None:
            values = np.full(clear.shape, self.sensor.nodata, self.sensor.dtype)
        return values, clear

    def _mask(
        self, granule: Granule, mask: MaskSpec, window: Window
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where one mask says clear, and where it has no value."""
        fill, dtype = _outside(mask)
        values = self._load(
            granule, mask.asset, window, (mask.band,), fill, dtype, "nearest", "nearest"
        )[0]
        missing = ~has_data(values, fill)
        if mask.clear:
            good = is_clear(values, mask.clear)
        elif mask.bits or mask.fields:
            fields = [(field.first, field.width, field.clear) for field in mask.fields]
            good = bits_clear(values, mask.bits, fields)
        else:
            good = within(values, mask.at_least, mask.at_most)
        return good & ~missing, missing

    def _load(
        self, granule: Granule, asset: str, window: Window, bands: tuple[int, ...],
        nodata: float, dtype: str, resampling: str, coarsening: str,
    ) -> NDArray[Any]:  # fmt: skip
        href = granule.hrefs[asset]
        try:
            return read_onto(
                href,
                window.of(self.geobox),
                bands=bands,
                nodata=nodata,
                dtype=dtype,
                resampling=resampling,
                coarsening=coarsening,
                storage=self.storage,
            )
        except GeocubeError as error:
            passing = isinstance(error, ReadError) and error.passing
            if self.unreadable == "leave-out" and _of_one(error) and not (passing and self.waits):
                left_out = LeftOut(granule.id, asset, href, str(error))
                raise CannotRead(left_out, passing) from error
            told = type(error)(f"Item {granule.id}, asset {asset}: {error}")
            if isinstance(told, ReadError):
                told.passing = passing
            raise told from error


def _outside(mask: MaskSpec) -> tuple[float, str]:
    """What a mask holds where it does not reach, and a dtype that has it and the mask's values."""
    highest = max(mask.clear, default=0)
    if mask.at_most is not None or mask.at_least is not None:
        return (np.nan if mask.nodata is None else mask.nodata), "float32"
    if mask.nodata is None:  # a value that no mask has
        return -1, "int32" if highest <= _UINT8 and mask.clear else "int64"
    if mask.clear and highest <= _UINT8 and 0 <= mask.nodata <= _UINT8:
        return mask.nodata, "uint8"
    return mask.nodata, "int64"


_UINT8 = 255


def _of_one(error: GeocubeError) -> bool:
    """Whether it is the fault of one raster; refused access would leave out everything."""
    return isinstance(error, ReadError | MissingError) and not isinstance(error, AccessError)
