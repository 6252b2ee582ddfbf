"""Compositing all bands together: the geometric median."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.select import beside_nodata, take_observation, where

_BLOCK_BYTES = 1 << 22  # of one block; a pass takes longer than its call, and stays in the cache
_STRICTLY = 1 - 1e-4  # rounding must not let a middle between two pass for one of them
_TINY = 1e-30  # squared length of nothing
_NOTHING = 1e-3  # share of the tolerance that a step is no longer told from 0 by
_ON = 1e-2  # share of the tolerance that an observation on the point is no longer told from it by
_LOOKS = (4, 9, 19, 39)  # iterations after which observations are tried

_Floats = NDArray[np.float32]


def geometric_median(
    values: NDArray[Any],
    clear: NDArray[np.bool_],
    nodata: float,
    *,
    scale: float,
    tolerance: float,
    iterations: int,
) -> NDArray[Any]:
    """The point with the smallest sum of distances to the clear observations of each pixel.

    Parameters
    ----------
    values : (time, band, ...) integer or float
        Observations; trailing axes are free.
    clear : (time, ...) bool
        True where an observation counts; then all its bands have data.
    nodata : float
        What a pixel without a clear observation becomes, in all bands.
    scale : float
        Physical value of one count.
    tolerance : float
        Physical units: a pixel is done when the steps that would follow add up to less, over all
        bands together.
    iterations : int
        At most so many steps.

    Returns
    -------
    (band, ...) array of the dtype of `values`
        Integers are rounded to the nearest.  Where several points are as near, as with two
        observations, it is one that the steps come to from the mean: of two, their mean.  What
        falls on nodata in a band goes beside it.

    Notes
    -----
    Weiszfeld's steps with the correction of Vardi and Zhang (2000), PNAS 97, 1423, for a point
    that falls on an observation; over all bands as in Roberts et al. (2017), IEEE TGRS 55, 6254.
    Steps grow short also on the way to an observation that is the median itself, long before they
    are there; so the nearest observation is tested now and then, by Vardi and Zhang's condition,
    and is the result where it holds.  Steps are floats of 32 bits, of differences from the mean,
    so that rounding is relative to the spread of the observations.  A step's length alone says
    little, because steps shrink slowly; the two last ones tell what all that follow would add up
    to.

    Examples
    --------
    >>> values = np.float32([[[0], [0]], [[2], [0]], [[0], [2]], [[2], [2]], [[90], [1]]])
    >>> clear = np.array([[True]] * 4 + [[False]])
    >>> geometric_median(values, clear, -1, scale=1, tolerance=1e-4, iterations=100)
    array([[1.],
           [1.]], dtype=float32)
    """
    n, bands, *shape = values.shape
    pixels = prod(shape)
    planes, masks = values.reshape(n, bands, pixels), clear.reshape(n, pixels)
    out = np.full((bands, pixels), nodata, values.dtype)
    size = max(64, _BLOCK_BYTES // max(4 * n * bands, 1))
    some = np.flatnonzero(masks.any(axis=0))
    for start in range(0, some.size, size):
        at = some[start : start + size]
        gapless = at.size == at[-1] - at[0] + 1
        here: Any = slice(at[0], at[-1] + 1) if gapless else at  # a slice needs no copy
        point = _block_median(
            planes[:, :, here], masks[:, here], tolerance / abs(scale), iterations
        )
        out[:, here] = beside_nodata(point, nodata)
    return out.reshape(bands, *shape)


def _block_median(
    values: NDArray[Any], clear: NDArray[np.bool_], tolerance: float, iterations: int
) -> NDArray[Any]:
    """(band, pixel) of (time, band, pixel), each pixel with a clear observation."""
    count = clear.sum(axis=0)
    total = np.zeros(values.shape[1:])
    for plane, mask in zip(values, clear, strict=True):
        total += where(np.broadcast_to(mask, plane.shape), plane, 0)
    mean = total / count
    apart = np.empty(values.shape, np.float32)
    for plane, mask, into in zip(values, clear, apart, strict=True):
        into[:] = where(np.broadcast_to(mask, plane.shape), plane - mean, 0)
    moved = _settled(apart, clear, tolerance, iterations)
    point: NDArray[Any] = mean + moved
    if values.dtype.kind in "iu":
        point = np.rint(point)
    point = point.astype(values.dtype)
    nearest = _nearest_if_median(apart, clear, moved)
    on_one = nearest >= 0
    if on_one.any():
        point[:, on_one] = take_observation(values[:, :, on_one], nearest[on_one], 0)
    return point


def _settled(
    apart: _Floats, clear: NDArray[np.bool_], tolerance: float, iterations: int
) -> _Floats:
    """(band, pixel) where the steps from 0 come to."""
    out: _Floats = np.zeros(apart[0].shape, np.float32)
    point: _Floats = out.copy()
    at = np.arange(out.shape[1])
    moving = np.ones(at.size, bool)
    before: NDArray[Any] = np.zeros(at.size, np.float32)  # length of the last step
    # one that is almost on the point would hold it as if it lay there, and not be let go
    on = max(_TINY, (_ON * tolerance) ** 2)
    for iteration in range(iterations):
        pull, weight, here = _pulls(apart, clear, point, on)
        length = np.sqrt(_squared(pull))
        # what lies on the point holds it back
        free = np.maximum(1 - here / np.maximum(length, _TINY), 0) / np.maximum(weight, _TINY)
        free *= moving  # those that are done wait for the others of their block
        pull *= free
        point += pull
        step = length * free
        # steps shrink by a factor: all that would follow add up to step**2 / (before - step)
        moving &= (step >= tolerance * _NOTHING) & (step**2 >= tolerance * (before - step))
        before = step
        if iteration in _LOOKS:
            nearest = _nearest_if_median(apart, clear, point)
            found = np.flatnonzero(moving & (nearest >= 0))
            point[:, found] = apart[nearest[found], :, found].T
            moving[found] = False
        left = np.count_nonzero(moving)
        if left < 0.75 * moving.size:
            out[:, at] = point
            if not left:
                break
            at, point, before = at[moving], point[:, moving], before[moving]
            apart, clear = apart[:, :, moving], clear[:, moving]
            moving = np.ones(left, bool)
    out[:, at] = point
    return out


def _pulls(
    apart: _Floats, clear: NDArray[np.bool_], point: _Floats, nearer: float
) -> tuple[_Floats, _Floats, _Floats]:
    """What a point is drawn by.

    The (band, pixel) sum of unit vectors to the observations, and by pixel the sum of their inverse
    distances and the number of those that lie on the point (squared distance below `nearer`), which
    take no part in the two.
    """
    toward = apart - point
    squared = toward[:, 0] ** 2
    for band in range(1, toward.shape[1]):
        squared += toward[:, band] ** 2
    on = squared < nearer
    weights = 1 / np.sqrt(np.maximum(squared, _TINY))
    weights *= clear & ~on
    toward *= weights[:, None]
    pull, weight, here = toward[0], weights[0].copy(), np.zeros(on.shape[1], np.float32)
    for one in range(1, len(toward)):
        pull += toward[one]
        weight += weights[one]
    for mask in on & clear:
        here += mask
    return pull, weight, here


def _squared(vectors: _Floats) -> _Floats:
    """Squared lengths of (band, pixel), from the first band to the last."""
    total: _Floats = vectors[0] ** 2
    for band in vectors[1:]:
        total += band**2
    return total


def _nearest_if_median(
    apart: _Floats, clear: NDArray[np.bool_], point: _Floats
) -> NDArray[np.intp]:
    """Time step of the observation nearest to each point where it is the median; else -1."""
    best = np.full(clear.shape[1], np.inf, np.float32)
    nearest = np.zeros(clear.shape[1], np.intp)
    for at, (one, mask) in enumerate(zip(apart, clear, strict=True)):
        squared = np.where(mask, _squared(one - point), np.inf)
        nearest = np.where(squared < best, at, nearest)
        best = np.minimum(squared, best)
    pull, _, here = _pulls(apart, clear, take_observation(apart, nearest, 0), _TINY)
    found: NDArray[np.intp] = np.where(np.sqrt(_squared(pull)) < here * _STRICTLY, nearest, -1)
    return found
