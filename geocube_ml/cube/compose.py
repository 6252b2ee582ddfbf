"""The scenes of one time step become one value a pixel and band.

Bands that are composited by themselves (median, mean) are read one asset after the other, so that
few planes are held at a time; the other composites see all bands of an observation together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.cube.observe import Observer, Window, trimmed
from geocube_ml.cube.scenes import Granule, Scene
from geocube_ml.kernels.best import best_pixel, cloud_distance, score
from geocube_ml.kernels.composite import clear_mean, clear_median
from geocube_ml.kernels.geomedian import geometric_median
from geocube_ml.kernels.medoid import medoid
from geocube_ml.kernels.radar import to_decibel, to_power
from geocube_ml.spec.composite import BestSpec, CompositeSpec, GeomedianSpec, MeanSpec, MedianSpec
from geocube_ml.spec.period import TimeStep
from geocube_ml.spec.sensor import BandSpec, SensorSpec


@dataclass(frozen=True)
class Seen:
    """What is known of a scene in a window before its bands are read."""

    day: str
    granules: tuple[tuple[Granule, NDArray[np.bool_]], ...]
    """Each with its (y, x) clear mask."""
    distance: NDArray[np.float32] | None
    """(y, x) pixels to what is not clear; only where the composite asks for it."""


def by_band(spec: CompositeSpec) -> bool:
    """Whether a band's composite does not depend on the other bands."""
    return isinstance(spec, MedianSpec | MeanSpec)


def rim_of(spec: CompositeSpec) -> int:
    """Pixels around a window whose masks decide its values."""
    return spec.cloud_distance if isinstance(spec, BestSpec) and spec.cloud else 0


def by_asset(bands: Sequence[BandSpec]) -> list[list[int]]:
    """Positions of bands that one read gives, in the order of their assets."""
    how = [(band.asset, band.resampling, band.coarsening) for band in bands]
    order = sorted(range(len(bands)), key=lambda at: (how.index(how[at]), at))
    return [list(group) for _, group in groupby(order, key=lambda at: how[at])]


def look(
    observer: Observer, scene: Scene, granules: Sequence[Granule], window: Window,
    spec: CompositeSpec,
) -> Seen:  # fmt: skip
    """Read the masks of a scene's granules."""
    rim = rim_of(spec)
    masks = [observer.masks(granule, window.padded(rim)) for granule in granules]
    distance = None
    if rim:
        clear = np.logical_or.reduce([clear for clear, _ in masks])
        unclear = np.logical_or.reduce([unclear for _, unclear in masks]) & ~clear
        distance = trimmed(cloud_distance(unclear, rim), rim)
    pairs = zip(granules, (trimmed(clear, rim) for clear, _ in masks), strict=True)
    return Seen(scene.day, tuple(pairs), distance)


def compose(
    observer: Observer,
    seen: Sequence[Seen],
    bands: Sequence[BandSpec],
    window: Window,
    step: TimeStep,
    spec: CompositeSpec,
    *,
    into: NDArray[Any],
) -> NDArray[np.bool_]:
    """Composite the scenes of one step.

    Parameters
    ----------
    observer : Observer
    seen : sequence of Seen
        In the order of their days; scenes without a clear pixel may be left out.
    bands : sequence of BandSpec
    window : Window
    step : TimeStep
    spec : CompositeSpec
    into : (band, y, x)
        Holds nodata, and gets the values.

    Returns
    -------
    (scene, y, x) bool
        Where the first band of a scene counts.
    """
    nodata, groups = observer.sensor.nodata, by_asset(bands)
    counted = np.zeros((len(seen), *window.shape), bool)
    if by_band(spec):
        for group in groups:
            planes, clear = _stack(observer, seen, [bands[at] for at in group], window)
            if 0 in group:
                counted = clear[:, group.index(0)]
            into[group] = _in_power(observer.sensor, planes, clear, nodata, spec)
        return counted
    planes = np.empty((len(seen), len(bands), *window.shape), into.dtype)
    every = np.ones((len(seen), *window.shape), bool)
    for group in groups:
        planes[:, group], clear = _stack(observer, seen, [bands[at] for at in group], window)
        every &= clear.all(axis=1)
        if 0 in group:
            counted = clear[:, group.index(0)]
    into[:] = _in_power(
        observer.sensor, planes, every, nodata, spec,
        _scores(seen, step, spec) if isinstance(spec, BestSpec) else None,
    )  # fmt: skip
    return counted


def _stack(
    observer: Observer, seen: Sequence[Seen], bands: Sequence[BandSpec], window: Window
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(scene, band, y, x) values and where they count."""
    planes = np.empty((len(seen), len(bands), *window.shape), observer.sensor.dtype)
    clear = np.empty(planes.shape, bool)
    for at, scene in enumerate(seen):
        planes[at], clear[at] = observer.fused(scene.granules, bands, window)
    return planes, clear


def _in_power(
    sensor: SensorSpec, planes: NDArray[Any], clear: NDArray[np.bool_], nodata: float,
    spec: CompositeSpec, scores: NDArray[np.float32] | None = None,
) -> NDArray[Any]:  # fmt: skip
    """(band, y, x) composite; of radar in linear power, and then as the cube holds it."""
    if sensor.power == "decibel":
        planes = to_power(planes, nodata)
    values = _composite(planes, clear, nodata, spec, sensor.scale, scores)
    if (sensor.stored_as or sensor.power) == "decibel":
        values = to_decibel(values, nodata)
    return values


def _composite(
    planes: NDArray[Any], clear: NDArray[np.bool_], nodata: float, spec: CompositeSpec,
    scale: float, scores: NDArray[np.float32] | None,
) -> NDArray[Any]:  # fmt: skip
    if isinstance(spec, MedianSpec):
        return clear_median(planes, clear, nodata)
    if isinstance(spec, MeanSpec):
        return clear_mean(planes, clear, nodata)
    if isinstance(spec, GeomedianSpec):
        return geometric_median(
            planes, clear, nodata, scale=scale, tolerance=spec.tolerance,
            iterations=spec.iterations,
        )  # fmt: skip
    if scores is not None:
        return best_pixel(planes, clear, scores, nodata)
    return medoid(planes, clear, nodata)


def _scores(seen: Sequence[Seen], step: TimeStep, spec: BestSpec) -> NDArray[np.float32]:
    """(scene, y, x) of how good an observation is."""
    length = (step.stop - step.start) / timedelta(days=1)
    spread = spec.middle_days or length / 4
    found = []
    for scene in seen:
        at = date.fromisoformat(scene.day) - step.start if scene.day else timedelta(0)
        days = at / timedelta(days=1) + 0.5 - length / 2 if scene.day else 0.0
        covers = [g.cloud_cover for g, _ in scene.granules if g.cloud_cover is not None]
        cover = 1 - sum(covers) / len(covers) if covers else 0.0
        shape = scene.granules[0][1].shape
        distance = scene.distance
        if distance is None:
            distance = np.full(shape, spec.cloud_distance, np.float32)
        found.append(
            score(
                distance, days, cover, cloud=spec.cloud, cloud_distance=spec.cloud_distance,
                middle=spec.middle, middle_days=spread, coverage=spec.coverage,
            )
        )  # fmt: skip
    return np.stack(found)
