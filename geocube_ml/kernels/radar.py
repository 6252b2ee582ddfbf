"""Radar backscatter in linear power and in decibels."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import where

_DECIBEL = np.float32(10 / log(10))  # of a factor of e


def to_power(decibel: NDArray[Any], nodata: float) -> NDArray[np.float32]:
    """Linear power of decibels, in which means are taken.

    Parameters
    ----------
    decibel : any shape, float
        Backscatter in dB.
    nodata : float
        Value without data, before and after; a NaN becomes it too.

    Returns
    -------
    float32 array of the same shape
        ``10 ** (decibel / 10)``.

    Examples
    --------
    >>> to_power(np.float32([-10, 0, -99]), nodata=-99).round(4)
    array([  0.1,   1. , -99. ], dtype=float32)
    """
    values = np.asarray(decibel, np.float32)
    data = has_data(values, nodata)
    # `exp` is three times as fast as a power of 10
    return _with_nodata(np.exp(where(data, values, 0) / _DECIBEL), data, nodata)


def to_decibel(power: NDArray[Any], nodata: float) -> NDArray[np.float32]:
    """Decibels of linear power.

    Parameters
    ----------
    power : any shape, float
        Backscatter in linear power.
    nodata : float
        Value without data, before and after; a NaN becomes it too, and so does power that is not
        above 0, which has no logarithm.

    Returns
    -------
    float32 array of the same shape
        ``10 * log10(power)``.

    Examples
    --------
    >>> to_decibel(np.float32([0.1, 1, 0, -9999]), nodata=-9999)
    array([  -10.,     0., -9999., -9999.], dtype=float32)
    """
    values = np.asarray(power, np.float32)
    data = has_data(values, nodata) & (values > 0)
    return _with_nodata(np.log(where(data, values, 1)) * _DECIBEL, data, nodata)


def _with_nodata(
    values: NDArray[np.float32], data: NDArray[np.bool_], nodata: float
) -> NDArray[np.float32]:
    """Values with nodata where there are no data, and nowhere else."""
    values = np.asarray(values)  # of no axis, numpy makes numbers
    clash = values == np.float32(nodata)
    if clash.any():  # 1 in power is 0 dB
        values = where(~clash, values, np.nextafter(np.float32(nodata), np.float32(np.inf)))
    return where(data, values, nodata)
