"""Compositing by a score: the best available pixel."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geocube_ml.kernels.select import take_observation


def cloud_distance(unclear: NDArray[np.bool_], most: int) -> NDArray[np.float32]:
    """How far each pixel is from what is not clear.

    Parameters
    ----------
    unclear : (y, x) bool
        Clouds and their shadows.
    most : int
        Pixels from which on the distance is no longer told apart, at least 1.

    Returns
    -------
    (y, x) float32
        Pixels from centre to centre, from 0 to `most`.  With `most` more pixels on each side, a
        window has the values of the whole.

    Examples
    --------
    >>> cloud_distance(np.array([[True, False, False, False]]), most=2)
    array([[0., 1., 2., 2.]], dtype=float32)
    """
    if most < 1:
        raise ValueError(f"a distance is told apart up to at least 1 pixel, got {most}")
    if not unclear.any():  # the transform would measure to a pixel outside
        return np.full(unclear.shape, most, np.float32)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~unclear)
    return np.minimum(distance, most).astype(np.float32)


def score(
    distance: NDArray[Any],
    days: Any,
    cover: Any,
    *,
    cloud: float,
    cloud_distance: float,
    middle: float,
    middle_days: float,
    coverage: float,
) -> NDArray[np.float32]:
    """How good an observation is: a sum of three parts, each from 0 to 1 and with a weight.

    Parameters
    ----------
    distance : any shape, float
        Pixels to what is not clear, as of the function `cloud_distance`.
    days : float, or an array to broadcast against `distance`
        Days from the middle of the time step, before or after.
    cover : float, or an array to broadcast against `distance`
        Clear share of the whole scene, from 0 to 1.
    cloud, middle, coverage : float
        Weights of the three parts.
    cloud_distance : float
        Pixels from which on an observation is far enough from what is not clear.
    middle_days : float
        Days from the middle after which its part has fallen to 0.61: one standard deviation.

    Returns
    -------
    array of the common shape, float32

    Notes
    -----
    After Griffiths et al. (2013), IEEE JSTARS 6, 2088, and White et al. (2014), Canadian Journal
    of Remote Sensing 40, 192: ``cloud * min(distance, cloud_distance) / cloud_distance +
    middle * exp(-(days / middle_days)**2 / 2) + coverage * cover``.

    Examples
    --------
    >>> score(np.float32([0, 25, 90]), 0, 0.5,
    ...       cloud=1, cloud_distance=50, middle=1, middle_days=8, coverage=0.5)
    array([1.25, 1.75, 2.25], dtype=float32)
    """
    near_middle = np.exp(-0.5 * np.square(np.asarray(days, np.float64) / middle_days))
    of_scene = np.float32(middle * near_middle + coverage * np.asarray(cover, np.float64))
    apart = np.minimum(distance, np.float32(cloud_distance)).astype(np.float32)
    total: NDArray[np.float32] = apart * np.float32(cloud / cloud_distance) + of_scene
    return total


def best_pixel(
    values: NDArray[Any], clear: NDArray[np.bool_], score: NDArray[Any], nodata: float
) -> NDArray[Any]:
    """The clear observation with the highest score.

    Parameters
    ----------
    values : (time, band, ...) integer or float
        Observations; trailing axes are free.
    clear : (time, ...) bool
        True where an observation counts.
    score : (time, ...) float
        Not NaN where an observation counts.
    nodata : float
        What a pixel without a clear observation becomes, in all bands.

    Returns
    -------
    (band, ...) array of the dtype of `values`
        All bands of one observation; the earliest of several with one score.

    Examples
    --------
    >>> values = np.uint16([[[1], [2]], [[3], [4]], [[5], [6]]])
    >>> clear, scores = np.array([[True], [True], [False]]), np.array([[0.1], [0.7], [0.9]])
    >>> best_pixel(values, clear, scores, nodata=0)
    array([[3],
           [4]], dtype=uint16)
    """
    n, bands, *shape = values.shape
    chosen = np.full(shape, -1, np.intp)
    highest = np.full(shape, -np.inf)
    for at in range(n):
        better = clear[at] & ((score[at] > highest) | (chosen < 0))
        chosen = np.where(better, at, chosen)
        highest = np.where(better, score[at], highest)
    planes = values.reshape(n, bands, prod(shape))
    return take_observation(planes, chosen.reshape(-1), nodata).reshape(bands, *shape)
