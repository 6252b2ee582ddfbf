"""Compositing all bands together: the observation that is nearest to all others."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.select import take_observation

_BLOCK_BYTES = 1 << 21  # of one block: a pass takes longer than its call, and stays in the cache


def medoid(values: NDArray[Any], clear: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    """The clear observation with the smallest sum of distances to all other clear ones.

    Parameters
    ----------
    values : (time, band, ...) integer or float
        Observations; trailing axes are free.
    clear : (time, ...) bool
        True where an observation counts; then all its bands have data.
    nodata : float
        What a pixel without a clear observation becomes, in all bands.

    Returns
    -------
    (band, ...) array of the dtype of `values`
        All bands of one observation; the earliest of several that are as near.

    Notes
    -----
    Flood (2013), Remote Sensing 5, 6481.  Distances are Euclidean, over all bands, in floats of
    64 bits, and are summed from the first time step to the last.

    Examples
    --------
    >>> values = np.uint16([[[1], [1]], [[9], [9]], [[3], [2]]])
    >>> medoid(values, np.ones((3, 1), bool), nodata=0)
    array([[3],
           [2]], dtype=uint16)
    """
    n, bands, *shape = values.shape
    pixels = prod(shape)
    planes, masks = values.reshape(n, bands, pixels), clear.reshape(n, pixels)
    chosen = np.full(pixels, -1, np.intp)
    size = max(64, _BLOCK_BYTES // max(8 * n * bands, 1))
    for start in range(0, pixels, size):
        here = slice(start, start + size)
        used = np.flatnonzero(masks[:, here].any(axis=1))
        if used.size:
            chosen[here] = used[_nearest(planes[used, :, here], masks[used, here])]
    chosen[~masks.any(axis=0)] = -1
    return take_observation(planes, chosen, nodata).reshape(bands, *shape)


def _nearest(values: NDArray[Any], clear: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Time step of the medoid of (time, band, pixel); any where nothing is clear."""
    at = values.astype(np.float64)
    if values.dtype.kind == "f":  # a NaN that does not count must not get into a product
        at[np.broadcast_to(~clear[:, None], at.shape)] = 0
    total = np.zeros(clear.shape)
    for i in range(len(at) - 1):
        apart = at[i + 1 :] - at[i]
        apart *= apart
        distance = apart[:, 0]
        for band in range(1, apart.shape[1]):
            distance += apart[:, band]
        distance = np.sqrt(distance)
        distance *= clear[i + 1 :] & clear[i]
        total[i + 1 :] += distance
        for one in distance:
            total[i] += one
    found: NDArray[np.intp] = np.argmin(np.where(clear, total, np.inf), axis=0)
    return found
