"""Scenes become monthly mosaics, one window at a time.

Strategy.  `Mosaic.read` is the one place where pixels are read, masked and composited, eagerly
and for any window, bands and months.  A tile's task calls it for everything at once and reads
each mask once; a chunk of the lazy cube for one month and band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray

from geocube_ml.cube.catalog import items_digest
from geocube_ml.cube.grid import Grid
from geocube_ml.cube.scenes import Granule, Scene, scenes_by_month
from geocube_ml.errors import AccessError, GeocubeError, MissingError, ReadError
from geocube_ml.kernels.composite import clear_median
from geocube_ml.kernels.mask import has_data, is_clear
from geocube_ml.kernels.radiometry import lower
from geocube_ml.raster import read_onto
from geocube_ml.spec.base import digest
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.source import BandSpec, SourceSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()


Unreadable = Literal["stop", "leave-out"]


@dataclass(frozen=True)
class LeftOut:
    """An item that a window was made without, and why."""

    item: str
    asset: str
    href: str
    """Without a signature."""
    reason: str


@dataclass(frozen=True)
class Mosaic:
    """Monthly mosaics of one source, not read yet."""

    source: SourceSpec
    grid: Grid
    months: tuple[str, ...]
    scenes: dict[str, tuple[Scene, ...]]
    token: str
    """Changes with everything that changes a pixel."""
    storage: StorageSpec = _STORAGE
    """How assets are reached, and how patiently."""
    unreadable: Unreadable = "stop"
    """What becomes of an item with an asset that cannot be read, at last.  ``leave-out``: a window
    is made without the item, in its count and in all its bands.  Where access is refused, or an
    asset is not what it must be, reading stops all the same."""

    waits: bool = False
    """Whether an outage is an error also where items are left out: something will try again."""

    def within(self, y: slice, x: slice) -> Mosaic:
        """The same mosaic for a window: only with the items that touch it, so that it is small."""
        window = shapely.box(x.start, y.start, x.stop, y.stop)
        tree, places = self._granules
        near: dict[tuple[str, str], list[Granule]] = {}
        for at in np.sort(tree.query(window, predicate="intersects")):
            month, day, granule = places[at]
            cut = replace(granule, outline=granule.outline.intersection(window))
            near.setdefault((month, day), []).append(cut)
        scenes: dict[str, tuple[Scene, ...]] = {}
        for (month, day), granules in near.items():
            scenes[month] = (*scenes.get(month, ()), Scene(day, tuple(granules)))
        return replace(self, scenes=scenes)

    @cached_property
    def _granules(self) -> tuple[shapely.STRtree, list[tuple[str, str, Granule]]]:
        """Granules by place: a country has 100,000, and each of its tiles asks for a few."""
        places = [
            (month, scene.day, granule)
            for month, scenes in self.scenes.items()
            for scene in scenes
            for granule in scene.granules
        ]
        return shapely.STRtree([granule.outline for *_, granule in places]), places

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
        return self.read_listing(months, bands, y, x)[:2]

    def read_listing(
        self, months: Sequence[int], bands: Sequence[int], y: slice, x: slice
    ) -> tuple[NDArray[Any], NDArray[np.uint8], tuple[LeftOut, ...]]:
        """`read`, and what was left out of the window; nothing where `unreadable` is ``stop``.

        Raises
        ------
        ReadError
            Also where nothing of the window can be read, for what may be an outage.
        """
        sensor = self.source.sensor
        chosen = [list(self.source.chosen.values())[band] for band in bands]
        rows, cols = y.stop - y.start, x.stop - x.start
        values = np.full((len(months), len(chosen), rows, cols), sensor.nodata, sensor.dtype)
        count = np.zeros((len(months), rows, cols), np.uint8)
        left_out: dict[str, LeftOut] = {}
        outage, wanted = False, set[str]()
        if not rows or not cols:
            return values, count, ()
        for at, month in enumerate(months):
            scenes = self.scenes.get(self.months[month], ())
            while True:
                near = [scene.within(y, x) for scene in scenes]
                wanted |= {granule.id for some in near for granule in some}
                kept = [tuple(g for g in some if g.id not in left_out) for some in near]
                seen = [some for some in kept if some]
                try:
                    count[at] = self._month(seen, chosen, y, x, into=values[at])
                    break
                except _Unreadable as error:  # it may have been in the masks already: once more
                    left_out[error.left_out.item] = error.left_out
                    outage |= error.passing
        if outage and wanted == set(left_out):
            one = next(iter(left_out.values()))
            raise ReadError(
                f"None of the {len(wanted)} items of this window can be read; the first: {one.item}"
                f", asset {one.asset}: {one.reason}"
            )
        return values, count, tuple(left_out.values())

    def _month(
        self,
        scenes: Sequence[Sequence[Granule]],
        bands: Sequence[BandSpec],
        y: slice,
        x: slice,
        *,
        into: NDArray[Any],
    ) -> NDArray[np.uint8]:
        """The (y, x) count of one month; its (band, y, x) values are put into `into`."""
        nodata = self.source.sensor.nodata
        into[:] = nodata
        total = np.zeros(into.shape[1:], np.uint16)
        seen = [(granules, self._clear(granules, y, x)) for granules in scenes]
        for _, masks in seen:
            total += np.logical_or.reduce(masks)
        if total.any():  # else nothing of the bands would be used: do not open them
            for k, band in enumerate(bands):
                stack = [self._observe(granules, masks, band, y, x) for granules, masks in seen]
                planes = np.stack([plane for plane, _ in stack])
                clear = np.stack([mask for _, mask in stack])
                into[k] = clear_median(planes, clear, nodata)
        return np.minimum(total, 255).astype(np.uint8)

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
        href = granule.hrefs[asset]
        try:
            return read_onto(
                href,
                self.grid.geobox[y, x],
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
                raise _Unreadable(left_out, passing) from error
            told = type(error)(f"Item {granule.id}, asset {asset}: {error}")
            if isinstance(told, ReadError):
                told.passing = passing
            raise told from error


class _Unreadable(Exception):
    """An item is to be left out."""

    def __init__(self, left_out: LeftOut, passing: bool) -> None:
        super().__init__(left_out.reason)
        self.left_out, self.passing = left_out, passing


def _of_one(error: GeocubeError) -> bool:
    """Whether it is the fault of one raster; refused access would leave out everything."""
    return isinstance(error, ReadError | MissingError) and not isinstance(error, AccessError)


def make_mosaic(
    items: Sequence[pystac.Item],
    source: SourceSpec,
    grid: Grid,
    period: PeriodSpec,
    *,
    storage: StorageSpec = _STORAGE,
    unreadable: Unreadable = "stop",
) -> Mosaic:
    """Arrange items into months; reads nothing.

    Parameters
    ----------
    items : sequence of pystac.Item
    source : SourceSpec
    grid : Grid
    period : PeriodSpec
    storage : StorageSpec
        How assets are reached.
    unreadable : "stop" or "leave-out"
        What becomes of items with an asset that cannot be read; see `Mosaic`.

    Raises
    ------
    InputError
        An item lacks an asset, or does not say what its offset is.
    """
    scenes = scenes_by_month(items, source, grid.geobox)
    # two archives may say the same of other pixels
    files = digest([g.hrefs for month in scenes.values() for s in month for g in s.granules])
    token = f"{source.digest()}-{items_digest(items)}-{files}"
    return Mosaic(source, grid, period.months, scenes, token, storage, unreadable)
