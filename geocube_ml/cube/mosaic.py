"""Scenes become the mosaics of time steps, one window at a time.

Strategy.  `Mosaic.read` is the one place where pixels are read, masked and composited, eagerly
and for any window, bands and steps.  A tile's task calls it for everything at once and reads
each mask once; a chunk of the lazy cube for one step and band.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray

from geocube_ml.cube.compose import by_band, compose, look, rim_of
from geocube_ml.cube.observe import (
    CannotRead,
    LeftOut,
    Observer,
    Unreadable,
    Window,
    trimmed,
)
from geocube_ml.cube.scenes import Granule, Scene, scenes_by_step, time_steps
from geocube_ml.errors import ReadError
from geocube_ml.grid import Grid
from geocube_ml.kernels.terrain import terrain
from geocube_ml.spec.base import digest
from geocube_ml.spec.composite import CompositeSpec, MedianSpec
from geocube_ml.spec.period import PeriodSpec, TimeStep
from geocube_ml.spec.sensor import BandSpec
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_MEDIAN = MedianSpec()

__all__ = ["LeftOut", "Mosaic", "Unreadable", "make_mosaic"]


@dataclass(frozen=True)
class Mosaic:
    """The mosaics of one source, not read yet."""

    source: SourceSpec
    composite: CompositeSpec
    grid: Grid
    steps: tuple[TimeStep, ...]
    """Of the time axis; the one step of a source that has none."""
    scenes: dict[str, tuple[Scene, ...]]
    """Of each step, by its name."""
    storage: StorageSpec = _STORAGE
    """How assets are reached, and how patiently."""
    unreadable: Unreadable = "stop"
    """What becomes of an item with an asset that cannot be read, at last.  ``leave-out``: a window
    is made without the item, in its count and in all its bands.  Where access is refused, or an
    asset is not what it must be, reading stops all the same."""

    waits: bool = False
    """Whether an outage is an error also where items are left out: something will try again."""

    @property
    def counted(self) -> bool:
        """Whether clear observations are counted: not of a layer that has no mask."""
        return bool(self.source.sensor.mask) or not self.source.sensor.static

    @property
    def granules(self) -> Iterable[Granule]:
        """Every granule of every step."""
        return (g for scenes in self.scenes.values() for scene in scenes for g in scene.granules)

    @property
    def rim(self) -> int:
        """Pixels around a window that are looked at to make it."""
        masks = max((m.shrink + m.grow for m in self.source.sensor.mask), default=0)
        return self._edge(list(self.source.chosen.values())) + rim_of(self.composite) + masks

    def digest(self) -> str:
        """Changes with everything that changes a pixel but the grid's place."""
        granules = [
            (name, scene.day, scene.cloud_cover, g.id, sorted(g.hrefs.items()), g.offset.counts)
            for name, scenes in self.scenes.items()
            for scene in scenes
            for g in scene.granules
        ]
        return digest([self.source.result(), self.composite.result(), granules])

    def within(self, y: slice, x: slice) -> Mosaic:
        """The same mosaic for a window: only with the items that touch it, so that it is small."""
        rim = self.rim
        window = shapely.box(x.start - rim, y.start - rim, x.stop + rim, y.stop + rim)
        tree, places = self._granules
        near: dict[tuple[str, str], tuple[Scene, list[Granule]]] = {}
        for at in np.sort(tree.query(window, predicate="intersects")):
            step, scene, granule = places[at]
            cut = replace(granule, outline=granule.outline.intersection(window))
            near.setdefault((step, scene.day), (scene, []))[1].append(cut)
        scenes: dict[str, tuple[Scene, ...]] = {}
        for (step, _), (scene, granules) in near.items():
            some = replace(scene, granules=tuple(granules))
            scenes[step] = (*scenes.get(step, ()), some)
        return replace(self, scenes=scenes)

    def during(self, steps: slice) -> Mosaic:
        """The same mosaic for some of its steps."""
        some = self.steps[steps]
        scenes = {step.name: self.scenes[step.name] for step in some if step.name in self.scenes}
        return replace(self, steps=some, scenes=scenes)

    @cached_property
    def _granules(self) -> tuple[shapely.STRtree, list[tuple[str, Scene, Granule]]]:
        """Granules by place: a country has 100,000, and each of its tiles asks for a few."""
        places = [
            (step, scene, granule)
            for step, scenes in self.scenes.items()
            for scene in scenes
            for granule in scene.granules
        ]
        return shapely.STRtree([granule.outline for *_, granule in places]), places

    def read(
        self, steps: Sequence[int], bands: Sequence[int], y: slice, x: slice
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Read, mask and composite one window.

        Parameters
        ----------
        steps, bands : sequences of int
            Positions along the two axes.
        y, x : slice
            Rows and columns of the grid.

        Returns
        -------
        values : (step, band, y, x) of the sensor's dtype
            The composite of the clear observations; the sensor's nodata where there is none.
        count : (step, y, x) uint8
            Clear observations by the mask (without one: with data in the first of `bands`); at
            most 255.

        Raises
        ------
        ReadError, MissingError, InputError
            An asset cannot be read; the text names its item.
        """
        return self.read_listing(steps, bands, y, x)[:2]

    def read_listing(
        self, steps: Sequence[int], bands: Sequence[int], y: slice, x: slice
    ) -> tuple[NDArray[Any], NDArray[np.uint8], tuple[LeftOut, ...]]:
        """`read`, and what was left out of the window; nothing where `unreadable` is ``stop``.

        Raises
        ------
        ReadError
            Also where nothing of the window can be read, for what may be an outage.
        """
        sensor, window = self.source.sensor, Window(y, x)
        chosen = [list(self.source.chosen.values())[band] for band in bands]
        values = np.full((len(steps), len(chosen), *window.shape), sensor.nodata, sensor.dtype)
        count = np.zeros((len(steps), *window.shape), np.uint8)
        left_out: dict[str, LeftOut] = {}
        outage, wanted = False, set[str]()
        if 0 in window.shape:
            return values, count, ()
        reached = window.padded(self.rim)
        for at, step in enumerate(self.steps[position] for position in steps):
            scenes = self.scenes.get(step.name, ())
            near = [(scene, scene.within(reached.y, reached.x)) for scene in scenes]
            wanted |= {granule.id for _, some in near for granule in some}
            while True:
                kept = [(s, [g for g in some if g.id not in left_out]) for s, some in near]
                seen = [(scene, some) for scene, some in kept if some]
                try:
                    self._step(seen, chosen, window, step, into=values[at], count=count[at])
                    break
                except CannotRead as error:  # it may have been in the masks already: once more
                    left_out[error.left_out.item] = error.left_out
                    outage |= error.passing
        if outage and wanted == set(left_out):
            one = next(iter(left_out.values()))
            raise ReadError(
                f"None of the {len(wanted)} items of this window can be read; the first: {one.item}"
                f", asset {one.asset}: {one.reason}"
            )
        return values, count, tuple(left_out.values())

    def _step(
        self,
        scenes: Sequence[tuple[Scene, Sequence[Granule]]],
        bands: Sequence[BandSpec],
        window: Window,
        step: TimeStep,
        *,
        into: NDArray[Any],
        count: NDArray[np.uint8],
    ) -> None:
        """One step's (band, y, x) values and (y, x) count."""
        sensor, edge = self.source.sensor, self._edge(bands)
        into[:], count[:] = sensor.nodata, 0  # of a try that an item was left out of after
        observer = Observer(sensor, self.grid.geobox, self.storage, self.unreadable, self.waits)
        wide = window.padded(edge)
        found = [look(observer, *scene, wide, self.composite) for scene in scenes]
        clear = [np.logical_or.reduce([mask for _, mask in seen.granules]) for seen in found]
        # nothing of a scene without a clear pixel would be used: its bands are not opened
        used = [seen for seen, mask in zip(found, clear, strict=True) if mask.any()]
        raw = [_base(band) for band in bands]
        # an observation is chosen by all bands, also where only some are asked for
        joint = () if by_band(self.composite) else self.source.chosen.values()
        places = {band: at for at, band in enumerate(dict.fromkeys([*map(_base, joint), *raw]))}
        every = list(places)
        as_asked = every == list(bands) and not edge
        made = into if as_asked else np.full((len(every), *wide.shape), sensor.nodata, sensor.dtype)
        total = np.zeros(wide.shape, np.uint16)
        if used:
            total = compose(observer, used, every, wide, step, self.composite, into=made)
        if sensor.seen_by_mask and clear:
            total = np.sum(clear, axis=0, dtype=np.uint16)
        count[:] = np.minimum(trimmed(total, edge), 255)
        if as_asked:
            return
        spacing = abs(self.grid.geobox.resolution.x)
        for at, band in enumerate(bands):
            plane = made[places[raw[at]]]
            into[at] = (
                terrain(plane, spacing, sensor.nodata, band.derive)
                if band.derive
                else trimmed(plane, edge)
            )

    @staticmethod
    def _edge(bands: Sequence[BandSpec]) -> int:
        """Pixels around a window whose values decide it: slopes look at their neighbours."""
        return int(any(band.derive for band in bands))


def _base(band: BandSpec) -> BandSpec:
    """The band that a derived one is made of."""
    return band.model_copy(update={"derive": None}) if band.derive else band


def make_mosaic(
    items: Iterable[pystac.Item],
    source: SourceSpec,
    grid: Grid,
    period: PeriodSpec | None,
    *,
    composite: CompositeSpec = _MEDIAN,
    storage: StorageSpec = _STORAGE,
    unreadable: Unreadable = "stop",
) -> Mosaic:
    """Arrange items into time steps; reads nothing.

    Parameters
    ----------
    items : iterable of pystac.Item
    source : SourceSpec
    grid : Grid
    period : PeriodSpec or None
        None for a source without a time axis.
    composite : CompositeSpec
        How the clear observations of a step become one value.
    storage : StorageSpec
        How assets are reached.
    unreadable : "stop" or "leave-out"
        What becomes of items with an asset that cannot be read; see `Mosaic`.

    Raises
    ------
    InputError
        An item lacks an asset, or does not say what its offset is.
    """
    steps = time_steps(source, period)
    scenes = scenes_by_step(items, source, grid.geobox, steps)
    return Mosaic(source, composite, grid, steps, scenes, storage, unreadable)
