"""Gaps of series: interpolated in time, or filled by a smoother.

Time comes first, as in compositing: one step is one contiguous plane, and each pass over time is
a few vectorised operations on planes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.select import where

Method = Literal["linear", "whittaker"]
Edges = Literal["hold", "missing", "extrapolate"]

_BLOCK = 16_384  # series; some planes a step of them are held at a time


def fill(
    values: NDArray[Any],
    nodata: float,
    days: NDArray[np.float64],
    *,
    method: Method = "linear",
    edges: Edges = "hold",
    lam: float = 1.0,
    order: int = 2,
    only_gaps: bool = True,
) -> NDArray[Any]:
    """Series with their gaps filled.

    Parameters
    ----------
    values : (time, ...) integer or float
        Trailing axes are free.
    nodata : float
        Value of a step without an observation; NaN always is one.
    days : (time,) float64
        When each step is, ascending.
    method : {"linear", "whittaker"}
        `linear` or `whittaker`.
    edges : {"hold", "missing", "extrapolate"}
        What comes before the first and after the last observed step: the value there, nodata, or
        what the smoother says (a straight line at order 2).  `linear` holds where it is to
        extrapolate.
    lam, order
        Of `whittaker`.
    only_gaps : bool
        False: observed steps become those of the smoother too.

    Returns
    -------
    (time, ...) array of the dtype of `values`
        Integers are rounded to the nearest, and kept within the dtype.  What is filled never is
        nodata: it goes to the count beside it.  A series without any observation stays nodata.

    Examples
    --------
    >>> fill(np.uint16([[0], [10], [0], [0], [40]]), nodata=0, days=np.arange(5.0))[:, 0]
    array([10, 10, 20, 30, 40], dtype=uint16)
    """
    if values.size == 0:
        return values.copy()
    flat = values.reshape(len(values), -1)
    out = np.empty_like(flat)
    for start in range(0, flat.shape[1], _BLOCK):
        block = flat[:, start : start + _BLOCK]
        observed = has_data(block, nodata)
        if method == "linear":
            curve = linear(block, observed, days)
        else:
            curve = whittaker(block, observed, days, lam, order)
            if only_gaps:
                curve = where(observed, block.astype(np.float64), curve)
            if edges == "hold":
                curve = _held(curve, observed)
        kept = observed & only_gaps
        taken = observed | can_fill(observed, edges)
        fitted = _stored(where(taken, curve, 0), values.dtype, nodata)
        filled = where(taken, fitted, nodata)
        out[:, start : start + _BLOCK] = where(kept, block, filled)
    return out.reshape(values.shape)


def can_fill(observed: NDArray[np.bool_], edges: Edges = "hold") -> NDArray[np.bool_]:
    """True at the steps that `fill` gives a value without an observation.

    Parameters
    ----------
    observed : (time, ...) bool
    edges : {"hold", "missing", "extrapolate"}
        As of `fill`.

    Returns
    -------
    (time, ...) bool

    Examples
    --------
    >>> can_fill(np.array([False, True, False, True]), edges="missing")
    array([False, False,  True, False])
    """
    if edges != "missing":
        gaps: NDArray[np.bool_] = ~observed & observed.any(axis=0)
        return gaps
    begun = np.logical_or.accumulate(observed, axis=0)
    goes_on = np.logical_or.accumulate(observed[::-1], axis=0)[::-1]
    inner: NDArray[np.bool_] = ~observed & begun & goes_on
    return inner


def linear(
    values: NDArray[Any], observed: NDArray[np.bool_], days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Straight lines in time between observed steps.

    Parameters
    ----------
    values : (time, ...) integer or float
    observed : (time, ...) bool
        What is not is not looked at.
    days : (time,) float64
        When each step is, ascending; steps need not be equally long.

    Returns
    -------
    (time, ...) float64
        `values` where observed; the nearest observed one before the first and after the last;
        NaN where nothing was.

    Examples
    --------
    >>> linear(np.array([1.0, 0, 4]), np.array([True, False, True]), np.array([0.0, 10, 30]))
    array([1., 2., 4.])
    """
    n = len(values)
    raw = values.reshape(n, -1).astype(np.float64)
    seen = observed.reshape(n, -1)
    pixels = raw.shape[1]
    out, earlier, since = np.empty_like(raw), np.empty_like(raw), np.empty_like(raw)
    value, day = np.full(pixels, np.nan), np.zeros(pixels)
    for t in range(n):
        value, day = where(seen[t], raw[t], value), where(~seen[t], day, days[t])
        earlier[t], since[t] = value, day
    value, day = np.full(pixels, np.nan), np.zeros(pixels)
    for t in reversed(range(n)):
        value, day = where(seen[t], raw[t], value), where(~seen[t], day, days[t])
        span = day - since[t]
        part = (days[t] - since[t]) / np.where(span > 0, span, 1)  # 0 at the observed themselves
        between = earlier[t] + part * (value - earlier[t])
        # NaN where one side has none: the other holds
        between = where(np.isnan(value), earlier[t], between)
        out[t] = where(np.isnan(earlier[t]), value, between)
    return out.reshape(values.shape)


def whittaker(
    values: NDArray[Any],
    weight: NDArray[Any],
    days: NDArray[np.float64],
    lam: float,
    order: int = 2,
) -> NDArray[np.float64]:
    """The Whittaker-Eilers smoother, through gaps and beyond both ends.

    Parameters
    ----------
    values : (time, ...) integer or float
    weight : (time, ...) bool or float
        Of each step, 0 where nothing was observed; such values are not looked at.
    days : (time,) float64
        When each step is, ascending.
    lam : float
        Above 0; large is smooth.  With steps of one length, of an oscillation of `p` steps
        without gaps there remains ``1 / (1 + lam * (2 * sin(pi / p)) ** (2 * order))``.
    order : int
        Of the differences that are kept small: a polynomial of one degree less is not changed.

    Returns
    -------
    (time, ...) float64
        NaN where nothing was observed.  Where fewer than `order` steps were, or there are no more
        than `order` steps, the smoother is not defined: `linear` instead.

    Notes
    -----
    Minimises ``sum(weight * (values - z)**2) + lam * sum(diff(z, order)**2)`` (Eilers 2003,
    Analytical Chemistry 75, 3631).  Differences are divided by the distances of the steps, relative
    to their mean distance, as months are not equally long; equal steps have the usual differences.
    The system has `order` bands beside its diagonal and is solved by LDL^T, a step of all pixels
    at a time.

    Examples
    --------
    >>> line = np.array([1.0, 2, -99, 4, 5])
    >>> whittaker(line, line > 0, np.arange(5.0), lam=100).round(6)
    array([1., 2., 3., 4., 5.])
    """
    n = len(values)
    seen = weight > 0
    few = seen.sum(axis=0) < order
    if n <= order or few.all():
        return linear(values, seen, days)

    penalty = lam * _penalty(days, order)
    pivot = np.where(few, 1.0, weight)  # any weight: these pixels are replaced below
    z = np.where(seen, values, 0) * pivot
    lower = np.empty((n, order, *values.shape[1:]))  # lower[i, k - 1] is L[i, i - k]
    for i in range(n):
        pivot[i] += penalty[i, i]
        reach = min(order, i)
        for k in range(reach, 0, -1):
            unscaled = np.full(values.shape[1:], penalty[i, i - k])
            for j in range(k + 1, reach + 1):
                unscaled -= lower[i, j - 1] * pivot[i - j] * lower[i - k, j - k - 1]
            lower[i, k - 1] = unscaled / pivot[i - k]
            pivot[i] -= lower[i, k - 1] * unscaled
            z[i] -= lower[i, k - 1] * z[i - k]
    for i in reversed(range(n)):
        z[i] /= pivot[i]
        for k in range(1, min(order, n - 1 - i) + 1):
            z[i] -= lower[i + k, k - 1] * z[i + k]
    if few.any():
        z[:, few] = linear(values[:, few], seen[:, few], days)
    return z


def _penalty(days: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """(time, time) D'D of differences of an order, divided by relative distances in time."""
    at = (days - days[0]) * (len(days) - 1) / (days[-1] - days[0])  # steps of length 1 on average
    difference = np.eye(len(days))
    for k in range(1, order + 1):
        difference = k * np.diff(difference, axis=0) / (at[k:] - at[:-k])[:, None]
    return difference.T @ difference


def _held(curve: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A curve that stays as it is at the first and the last observed step beyond them."""
    n = len(observed)
    first = observed.argmax(axis=0)[None]
    last = n - 1 - observed[::-1].argmax(axis=0)[None]
    steps = np.arange(n).reshape(n, *(1 for _ in observed.shape[1:]))
    ends = [np.take_along_axis(curve, end, axis=0) for end in (first, last)]
    before, after = (np.broadcast_to(end, curve.shape) for end in ends)
    return where(steps < first, before, where(steps > last, after, curve))


def _stored(curve: NDArray[np.float64], dtype: np.dtype[Any], nodata: float) -> NDArray[Any]:
    """Values in a dtype that are not taken for nodata."""
    if np.issubdtype(dtype, np.floating):
        stored = curve.astype(dtype)
        beside = np.nextafter(dtype.type(nodata), dtype.type(np.inf))
        return where(stored != nodata, stored, beside)
    info = np.iinfo(dtype)
    stored = np.clip(np.rint(curve), info.min, info.max).astype(dtype)
    beside = int(nodata) + (1 if nodata < info.max else -1)
    return where(stored != nodata, stored, beside)
