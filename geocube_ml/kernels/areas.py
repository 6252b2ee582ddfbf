"""Areas of classes from a map and a stratified sample of points that people looked at.

A map's own areas are biased by its confusions.  The estimators are those of Olofsson, P., Foody,
G. M., Herold, M., Stehman, S. V., Woodcock, C. E., Wulder, M. A. (2014), Good practices for
estimating area and assessing accuracy of land change, Remote Sensing of Environment 148, 42-57;
where the strata of the sample are not the classes of the map, those of Stehman, S. V. (2014),
Estimating area and map accuracy for stratified random sampling when the strata are different from
the map classes, International Journal of Remote Sensing 35, 4923-4939.  The second give what the
first give where strata are the map's classes, so that they alone are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """Shares with their standard errors."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]
    """Standard error; NaN where a stratum that it depends on has one point only."""


@dataclass(frozen=True)
class AreaEstimates:
    """What a sample says of the area; all shares are of the whole area."""

    proportions: NDArray[np.float64]
    """(class of the map, class of the reference) share of the area of each pair."""
    area: Estimate
    """(class,) share of each class of the reference."""
    users: Estimate
    """(class,) user's accuracy, NaN of a class that is mapped at no point."""
    producers: Estimate
    """(class,) producer's accuracy, NaN of a class that the reference has at no point."""
    overall: Estimate
    """() overall accuracy."""


def estimate(
    stratum: NDArray[Any],
    mapped: NDArray[Any],
    reference: NDArray[Any],
    size: NDArray[Any],
    n_class: int,
    count: NDArray[Any] | None = None,
) -> AreaEstimates:
    """Error-adjusted shares of classes, and the accuracy of the map.

    Parameters
    ----------
    stratum : (n,) int
        Of each point, or of points that agree in all three; codes from 0.
    mapped, reference : (n,) int
        Its class on the map and in truth, codes from 0 to `n_class` - 1.
    size : (stratum,) float
        Pixels (or area) of each stratum.
    n_class : int
    count : (n,) int, optional
        How many points each row stands for; 1 by default.

    Returns
    -------
    AreaEstimates

    Raises
    ------
    ValueError
        A stratum that has an area has no point.
    """
    size = np.asarray(size, np.float64)
    times = np.ones(len(stratum)) if count is None else np.asarray(count, np.float64)
    n = np.bincount(stratum, times, len(size)).astype(np.float64)
    if ((size > 0) & (n == 0)).any():
        raise ValueError(f"no point in the strata {np.flatnonzero((size > 0) & (n == 0)).tolist()}")
    design = _Design(np.asarray(stratum), times, n, size)
    one = np.eye(n_class)
    is_mapped, is_true = one[mapped], one[reference]  # (n, class)
    right = is_mapped * is_true
    pairs = is_mapped[:, :, None] * is_true[:, None, :]
    everywhere = np.ones((len(times), 1))
    # where strata are the classes of the map, user's accuracy is that within its own stratum
    others = None
    if len(size) == n_class and np.array_equal(stratum, mapped):
        others = ~np.eye(n_class, dtype=bool)
    overall = design.ratio(right.sum(axis=1, keepdims=True), everywhere)
    return AreaEstimates(
        proportions=design.mean(pairs.reshape(len(times), -1)).reshape(n_class, n_class),
        area=design.ratio(is_true, np.broadcast_to(everywhere, is_true.shape)),
        users=design.ratio(right, is_mapped, others),
        producers=design.ratio(right, is_true),
        overall=Estimate(overall.value[0], overall.error[0]),
    )


@dataclass(frozen=True)
class _Design:
    """A stratified random sample."""

    stratum: NDArray[Any]
    times: NDArray[np.float64]
    n: NDArray[np.float64]
    """(stratum,) points."""
    size: NDArray[np.float64]

    def _sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) -> (stratum, k)."""
        out = np.zeros((len(self.size), values.shape[1]))
        np.add.at(out, self.stratum, values * self.times[:, None])
        return out

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) -> (k,) mean over the area, each stratum weighing as its size."""
        share = self.size / self.size.sum()
        means = self._sums(values) / np.maximum(self.n, 1)[:, None]
        total: NDArray[np.float64] = share @ means
        return total

    def ratio(
        self,
        y: NDArray[np.float64],
        x: NDArray[np.float64],
        known: NDArray[np.bool_] | None = None,
    ) -> Estimate:
        """(n, k) twice -> (k,) mean of y over mean of x (Stehman 2014, equations 27 and 28).

        `known` is (stratum, k): where y and x are 0 in all of a stratum, whatever its points are.
        """
        top, below = self.mean(y), self.mean(x)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = top / below
            rest = y - np.where(np.isfinite(value), value, 0) * x  # its variance is the ratio's
            n = self.n[:, None]
            spread = self._sums(rest**2) - self._sums(rest) ** 2 / np.maximum(n, 1)
            variance = np.maximum(spread, 0) / (n - 1)
            # a stratum of no size says nothing, one point of a stratum says nothing of its spread
            variance[self.size == 0] = 0
            if known is not None:
                variance[known] = 0
            share = (self.size / self.size.sum())[:, None]
            error = np.sqrt((share**2 * variance / np.maximum(n, 1)).sum(axis=0)) / below
        return Estimate(value, np.where(np.isfinite(value), error, np.nan))
