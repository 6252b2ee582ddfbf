"""The scenes of one time step become one value a pixel and band.

Bands that are composited by themselves (median, mean) are read one asset after the other, so that
few planes are held at a time; the other composites see all bands of an observation together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.cube.observe import Layer, Observer, Window, trimmed
from geocube_ml.cube.scenes import Granule, Scene
from geocube_ml.kernels.best import best_pixel, cloud_distance, score
from geocube_ml.kernels.composite import clear_mean, clear_median
from geocube_ml.kernels.geomedian import geometric_median
from geocube_ml.kernels.medoid import medoid
from geocube_ml.kernels.radar import to_decibel, to_power
from geocube_ml.spec.composite import BestSpec, CompositeSpec, GeomedianSpec, MeanSpec, MedianSpec
from geocube_ml.spec.period import TimeStep
from geocube_ml.spec.sensor import BandSpec, SensorSpec

_PIXELS = 262_144  # of one band that are composited at a time


@dataclass(frozen=True)
class Seen:
    """What is known of a scene in a window before its bands are read."""

    day: str
    cloud_cover: float | None
    """Of the whole scene, by its catalogue."""
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
    return Seen(scene.day, scene.cloud_cover, tuple(pairs), distance)


def compose(
    observer: Observer,
    seen: Sequence[Seen],
    bands: Sequence[BandSpec],
    window: Window,
    step: TimeStep,
    spec: CompositeSpec,
    *,
    into: NDArray[Any],
) -> NDArray[np.uint16]:
    """Composite the scenes of one step.

    Parameters
    ----------
    observer : Observer
    seen : sequence of Seen
        In the order of their days, each with a clear pixel.
    bands : sequence of BandSpec
    window : Window
    step : TimeStep
    spec : CompositeSpec
    into : (band, y, x)
        Holds nodata, and gets the values.

    Returns
    -------
    (y, x) uint16
        Number of scenes of which the first band counts; 0 where a mask counts them.
    """
    count = np.zeros(window.shape, np.uint16)
    groups = by_asset(bands)
    scores = _scores(seen, step, spec) if isinstance(spec, BestSpec) else None
    alone = by_band(spec)
    for together in ([group] for group in groups) if alone else [groups]:
        read = [
            [
                observer.layers(
                    scene.granules, [bands[at] for at in group], window, every=not alone
                )
                for group in together
            ]
            for scene in seen
        ]
        places = [at for group in together for at in group]
        for rows in _few_rows(window.shape, len(places)):
            planes, clear = _stacked(observer, read, rows, len(places), alone=alone)
            if 0 in places and not observer.sensor.seen_by_mask:
                first = clear[:, places.index(0)] if alone else clear
                count[rows] = first.sum(axis=0, dtype=np.uint16)
            ranked = None if scores is None else scores[:, rows]
            into[places, rows] = _in_power(observer.sensor, planes, clear, spec, ranked)
    return count


def _few_rows(shape: tuple[int, int], n: int) -> Iterator[slice]:
    """Rows of a window, so few at a time that what is made of them stays in the cache."""
    rows, cols = shape
    few = max(_PIXELS // (cols * n), 1)
    for start in range(0, rows, few):
        yield slice(start, min(start + few, rows))


def _stacked(
    observer: Observer, read: Sequence[Sequence[Sequence[Layer]]], rows: slice, n_band: int,
    *, alone: bool,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:  # fmt: skip
    """(scene, band, y, x) values of some rows, and where they count; of bands together without
    the axis of bands.
    """
    size = (rows.stop - rows.start, read[0][0][0].mask.shape[1])
    values = np.empty((len(read), n_band, *size), observer.sensor.dtype)
    clear = np.empty(values.shape if alone else (len(read), *size), bool)
    for at, groups in enumerate(read):
        if alone:
            observer.fuse(groups[0], rows, values[at], clear[at])
        else:
            observer.fuse_jointly(groups, rows, values[at], clear[at])
    return values, clear


def _in_power(
    sensor: SensorSpec, planes: NDArray[Any], clear: NDArray[np.bool_], spec: CompositeSpec,
    scores: NDArray[np.float32] | None,
) -> NDArray[Any]:  # fmt: skip
    """(band, y, x) composite; of radar in linear power, and then as the cube holds it."""
    nodata = sensor.nodata
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
        cover = 0.0 if scene.cloud_cover is None else 1 - scene.cloud_cover
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
