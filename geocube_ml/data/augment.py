"""Series of training samples, varied as seasons, clouds and fields vary.

Plain functions on (n, time, band, ...) arrays with NaN where missing: trailing axes are free, and
what is drawn holds for all of them, as for the pixels of a patch.  Each returns a new array.
Missing stays missing, and a sample that had an observation keeps one, by a series where there is
one: a static source is known everywhere.  Units are those of the
array: standard deviations of standardized values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.spec.augment import AugmentSpec

Floats = NDArray[np.float32]


def augment(
    series: Floats,
    spec: AugmentSpec,
    rng: np.random.Generator,
    sources: Mapping[str, slice] | None = None,
    static: Sequence[str] = (),
) -> Floats:
    """All variations of a spec, one after the other.

    Parameters
    ----------
    series : (n, time, band, ...) float32
        Standardized values, NaN where missing.
    spec : AugmentSpec
    rng : numpy Generator
    sources : mapping of name to slice, optional
        Bands of each source; all are of one by default.
    static : sequence of str
        Sources that do not change with time: they are neither shifted, dropped nor clouded, and
        are jittered and scaled alike at every step.

    Returns
    -------
    (n, time, band, ...) float32

    Raises
    ------
    InputError
        ``cloud_sources`` names a source that is not there, or is static.
    """
    sources = sources or {"": slice(0, series.shape[2])}
    moving = [name for name in sources if name not in static]
    clouded = spec.cloud_sources or tuple(moving)
    if unknown := [name for name in clouded if name not in moving]:
        raise InputError(
            f"`cloud_sources` names {', '.join(unknown)}, but the series are "
            f"{', '.join(moving) or 'none'}. Name some of these, or none for all."
        )
    still = [sources[name] for name in static]
    every = [sources[name] for name in moving]  # by these a sample counts as observed
    out = series
    if spec.shift and every:
        out = shift(out, rng, spec.shift, every)
    if spec.clouds and clouded:
        out = clouds(
            out, rng, spec.clouds, spec.cloud_steps, [sources[name] for name in clouded],
            bright=spec.bright, brightness=spec.brightness, deciding=every,
        )  # fmt: skip
    if spec.drop and every:
        out = drop(out, rng, spec.drop, every)
    if spec.scale:
        out = scale(out, rng, spec.scale)
    if spec.jitter:
        out = jitter(out, rng, spec.jitter, still)
    return out


def shift(
    series: Floats, rng: np.random.Generator, most: int, sources: Sequence[slice] | None = None
) -> Floats:
    """Each series moved along time by a whole number of steps, up to `most` either way.

    What comes in at an end is missing.  A sample of which nothing would be left stays as it was.

    Parameters
    ----------
    series : (n, time, band, ...) float32
    rng : numpy Generator
    most : int
        Steps.
    sources : sequence of slice, optional
        Bands that move, together; static ones are not among them.  All by default.

    Notes
    -----
    Seasons begin earlier or later from year to year and region to region: the shifts of Nyborg,
    Pelletier, Lefèvre and Assent (2022), TimeMatch, ISPRS Journal 188, 301-313, in steps.

    Examples
    --------
    >>> moved = shift(np.float32([[[1], [2], [3]]] * 50), np.random.default_rng(0), 1)
    >>> sorted({tuple(one.ravel().tolist()) for one in np.nan_to_num(moved)})
    [(0.0, 1.0, 2.0), (1.0, 2.0, 3.0), (2.0, 3.0, 0.0)]
    """
    steps = series.shape[1]
    by = rng.integers(-most, most + 1, len(series))
    came = np.arange(steps) - by[:, None]  # (n, time): where each step comes from
    inside = (came >= 0) & (came < steps)
    at = np.clip(came, 0, steps - 1)
    out = series.copy()
    for part in sources or [slice(None)]:
        moved = np.take_along_axis(series[:, :, part], _wide(at, series), axis=1)
        out[:, :, part] = np.where(_wide(inside, series), moved, np.nan)
    return _kept(out, series, sources)


def drop(
    series: Floats, rng: np.random.Generator, share: float, sources: Sequence[slice] | None = None
) -> Floats:
    """Single time steps of each source made missing, each with a chance of `share`.

    Parameters
    ----------
    series : (n, time, band, ...) float32
    rng : numpy Generator
    share : float
    sources : sequence of slice, optional
        Bands of each source, which are dropped together; all are of one by default.  Static ones
        are not among them.

    Notes
    -----
    The temporal dropout of Garnot, Landrieu and Chehata (2022), Multi-modal temporal attention
    models for crop mapping from satellite time series, ISPRS Journal 187, 294-305.

    Examples
    --------
    >>> kept = drop(np.ones((1000, 10, 1), np.float32), np.random.default_rng(0), 0.3)
    >>> round(float(np.isnan(kept).mean()), 1)
    0.3
    """
    out = series.copy()
    for part in sources or [slice(None)]:
        gone = rng.random(series.shape[:2]) < share
        out[:, :, part] = np.where(_wide(gone, series), np.nan, series[:, :, part])
    return _kept(out, series, sources)


def jitter(
    series: Floats, rng: np.random.Generator, sd: float, static: Sequence[slice] = ()
) -> Floats:
    """Noise added to each band of each step.

    Parameters
    ----------
    series : (n, time, band, ...) float32
    rng : numpy Generator
    sd : float
        Standard deviation of the noise.
    static : sequence of slice
        Bands that have one and the same noise at every step.

    Notes
    -----
    Um et al. (2017), Data augmentation of wearable sensor data for Parkinson's disease monitoring
    using convolutional neural networks, ICMI 2017.
    """
    noise = rng.standard_normal(series.shape[:3], np.float32) * np.float32(sd)
    for part in static:
        noise[:, :, part] = noise[:, :1, part]
    out: Floats = series + _wide(noise, series)
    return out


def scale(series: Floats, rng: np.random.Generator, sd: float) -> Floats:
    """Each band of each series made stronger or weaker by one factor.

    Parameters
    ----------
    series : (n, time, band, ...) float32
    rng : numpy Generator
    sd : float
        Standard deviation of the factor around 1; it is not negative.

    Notes
    -----
    Um et al. (2017), as of `jitter`.
    """
    n, _, bands = series.shape[:3]
    factor = 1 + rng.standard_normal((n, 1, bands), np.float32) * np.float32(sd)
    out: Floats = series * _wide(np.maximum(factor, 0), series)
    return out


def clouds(
    series: Floats,
    rng: np.random.Generator,
    share: float,
    most: int,
    sources: Sequence[slice] | None = None,
    *,
    bright: float = 0.0,
    brightness: float = 3.0,
    deciding: Sequence[slice] | None = None,
) -> Floats:
    """Runs of time steps of a source missing, or brighter.

    Parameters
    ----------
    series : (n, time, band, ...) float32
    rng : numpy Generator
    share : float
        Of the samples that have a run, in each source.
    most : int
        Longest run in steps; the shortest is 1, and all lengths come as often.
    sources : sequence of slice, optional
        Bands of each source that clouds come over; all are of one by default.
    bright : float
        Share of the runs that are brighter in place of missing: clouds that no mask saw.
    brightness : float
        Such a step is brighter by up to this, all bands alike.
    deciding : sequence of slice, optional
        Bands of the sources of which one must keep an observation; all by default.  Static ones
        are not among them.

    Notes
    -----
    Runs that are missing: the masking of contiguous steps of Tseng et al. (2023), Lightweight,
    pre-trained transformers for remote sensing timeseries (Presto), arXiv:2304.14065.  Runs that
    are brighter: the contaminated observations of Yuan and Lin (2021), Self-supervised pretraining
    of transformers for satellite image time series classification (SITS-BERT), IEEE JSTARS 14.

    Examples
    --------
    >>> over = clouds(np.zeros((1000, 12, 1), np.float32), np.random.default_rng(0), 1.0, 3)
    >>> sorted({int(n) for n in np.isnan(over[:, :, 0]).sum(axis=1)})
    [1, 2, 3]
    """
    n, steps = series.shape[:2]
    out = series.copy()
    time = np.arange(steps)
    for part in sources or [slice(None)]:
        length = rng.integers(1, min(most, steps) + 1, n)
        first = np.floor(rng.random(n) * (steps - length + 1))
        begun = np.greater_equal(time, first[:, None])
        run = begun & np.less(time, (first + length)[:, None])
        run &= np.less(rng.random(n), share)[:, None]
        unseen = np.less(rng.random(n), bright)
        more = rng.random((n, steps), np.float32) * np.float32(brightness)
        added = np.where(run & unseen[:, None], more, np.float32(0))
        gone = _wide(run & ~unseen[:, None], series)
        out[:, :, part] = np.where(gone, np.nan, series[:, :, part] + _wide(added, series))
    return _kept(out, series, deciding)


def _wide(values: NDArray[Any], series: Floats) -> NDArray[Any]:
    """With the axes of `series`: those that it lacks have length 1."""
    return values.reshape(*values.shape, *[1] * (series.ndim - values.ndim))


def _kept(out: Floats, series: Floats, deciding: Sequence[slice] | None) -> Floats:
    """Samples that would lose their last observation by some sources stay as they were."""
    lost = ~_seen(out, deciding) & _seen(series, deciding)
    out[lost] = series[lost]
    return out


def _seen(series: Floats, deciding: Sequence[slice] | None) -> NDArray[np.bool_]:
    """Whether any value of some bands is there, of each sample."""
    axes = tuple(range(1, series.ndim))
    parts = deciding or [slice(None)]
    seen = [~np.isnan(series[:, :, part]).all(axis=axes) for part in parts]
    return np.asarray(np.any(seen, axis=0))
