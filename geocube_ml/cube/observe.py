"""What one scene shows of a window: its masks, and its values with what was added taken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.cube.scenes import Granule
from geocube_ml.errors import AccessError, GeocubeError, MissingError, ReadError, told_of
from geocube_ml.kernels.mask import bits_clear, has_data, is_clear, shrunk_and_grown, within
from geocube_ml.kernels.radiometry import lowered_data, take_clear
from geocube_ml.raster import Wanted, read_joined, read_onto
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
class Layer:
    """What one granule gives to a scene, as it was read."""

    values: NDArray[Any]
    """(band, y, x) of the sensor's dtype, with what was added to its counts."""
    mask: NDArray[np.bool_]
    """(y, x) where it is clear."""
    offset: int
    """What was added to its counts."""


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

    def layers(
        self,
        granules: Sequence[tuple[Granule, NDArray[np.bool_]]],
        bands: Sequence[BandSpec],
        window: Window,
        *,
        every: bool = False,
    ) -> list[Layer]:
        """Read bands of one asset of a scene, as far as they are needed.

        Parameters
        ----------
        granules : sequence of a granule and its (y, x) clear mask
        bands : sequence of BandSpec
            Of one asset, of one way of resampling.
        window : Window
        every : bool
            Read every granule, also one that others before it leave nothing to.

        Returns
        -------
        list of Layer
        """
        sensor, first = self.sensor, bands[0]
        wanted = Wanted(
            bands=tuple(band.band for band in bands), nodata=sensor.nodata,
            dtype=np.dtype(sensor.dtype), resampling=first.resampling,
            coarsening=first.coarsening,
        )  # fmt: skip
        joined = self._joined([granule for granule, _ in granules], first.asset, window, wanted)
        found: list[Layer] = []
        left: NDArray[np.bool_] | None = None
        for at, (granule, mask) in enumerate(granules):
            if not every and not (mask if left is None else mask & left).any():
                continue
            values = joined[at]
            if values is None:
                values = self._load(granule, first.asset, window, wanted)
            found.append(Layer(values, mask, granule.offset.counts))
            if not every and granule is not granules[-1][0]:
                lacking = ~(mask & has_data(values, sensor.nodata).all(axis=0))
                left = lacking if left is None else left & lacking
        return found

    def fuse(
        self,
        layers: Sequence[Layer],
        rows: slice,
        values: NDArray[Any],
        clear: NDArray[np.bool_],
    ) -> None:
        """Some rows of one scene's values, and where they count.

        Where granules of a day overlap, the first that is clear and has data gives the pixel, a
        band at a time.

        Parameters
        ----------
        layers : sequence of Layer
        rows : slice
        values, clear : (band, y, x)
            Get the values, with what was added to counts taken off, and where they count; nodata
            elsewhere.
        """
        values[:], clear[:] = self.sensor.nodata, False
        for layer in layers:
            for band, plane in enumerate(layer.values):
                take_clear(
                    plane[rows], layer.mask[rows], layer.offset, self.sensor.nodata,
                    values[band], clear[band],
                )  # fmt: skip

    def fuse_jointly(
        self,
        groups: Sequence[Sequence[Layer]],
        rows: slice,
        values: NDArray[Any],
        clear: NDArray[np.bool_],
    ) -> None:
        """As `fuse` for all bands together: each pixel is of one granule.

        Parameters
        ----------
        groups : sequence of layers
            Of each asset; every granule of the scene is in each, in one order.
        rows : slice
        values : (band, y, x)
        clear : (y, x) bool
            Where a granule is clear and has data in all bands.
        """
        nodata = self.sensor.nodata
        clear[:] = False
        for layers in zip(*groups, strict=True):
            there = layers[0].mask[rows] & ~clear
            for layer in layers:
                there &= has_data(layer.values[:, rows], nodata).all(axis=0)
            start = 0
            for layer in layers:
                stop = start + len(layer.values)
                found = lowered_data(layer.values[:, rows], layer.offset, nodata)
                np.copyto(values[start:stop], found, where=there)
                start = stop
            clear |= there

    def _mask(
        self, granule: Granule, mask: MaskSpec, window: Window
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where one mask says clear, and where it has no value."""
        fill = _outside(mask)
        # of a mask only what its description says counts
        wanted = Wanted(bands=(mask.band,), nodata=fill, dtype=None, own_nodata=False)
        values = self._load(granule, mask.asset, window, wanted)[0]
        missing = ~has_data(values, fill)
        if mask.clear:
            good = is_clear(values, mask.clear)
        elif mask.bits or mask.fields:
            fields = [(field.first, field.width, field.clear) for field in mask.fields]
            good = bits_clear(values, mask.bits, fields)
        else:
            good = within(values, mask.at_least, mask.at_most)
        return good & ~missing, missing

    def _joined(
        self, granules: Sequence[Granule], asset: str, window: Window, wanted: Wanted
    ) -> Sequence[NDArray[Any] | None]:
        """Values of granules that continue each other; None of one that is read by itself.

        Only what does not change with time may be of two granules.
        """
        exact = wanted.resampling == wanted.coarsening == "nearest"  # of one pixel anyway
        if not self.sensor.static or len(granules) == 1 or exact:
            return [None] * len(granules)
        return read_joined(
            [granule.hrefs[asset] for granule in granules],
            window.of(self.geobox),
            wanted,
            # a mask says of each granule by itself where it is to be seen
            own_first=bool(self.sensor.mask),
            naming=lambda at: self._naming(granules[at], asset),
            storage=self.storage,
        )

    def _load(self, granule: Granule, asset: str, window: Window, wanted: Wanted) -> NDArray[Any]:
        with self._naming(granule, asset):
            how, grid = vars(wanted), window.of(self.geobox)
            return read_onto(granule.hrefs[asset], grid, **how, storage=self.storage)

    @contextmanager
    def _naming(self, granule: Granule, asset: str) -> Iterator[None]:
        """Names the item and the asset in what is raised, or says that the item is left out."""
        try:
            yield
        except GeocubeError as error:
            passing = isinstance(error, ReadError) and error.passing
            if self.unreadable == "leave-out" and _of_one(error) and not (passing and self.waits):
                left_out = LeftOut(granule.id, asset, granule.hrefs[asset], str(error))
                raise CannotRead(left_out, passing) from error
            raise told_of(error, f"Item {granule.id}, asset {asset}") from error


def _outside(mask: MaskSpec) -> float:
    """What a mask holds where it does not reach: its nodata, or a value that no mask has."""
    if mask.nodata is not None:
        return mask.nodata
    return -1 if mask.clear or mask.bits or mask.fields else np.nan


def _of_one(error: GeocubeError) -> bool:
    """Whether it is the fault of one raster; refused access would leave out everything."""
    return isinstance(error, ReadError | MissingError) and not isinstance(error, AccessError)
