"""MiniRocket (Dempster, Schmidt and Webb 2021, KDD): shares of positive values of 84 filters.

Filters have 9 taps, six of weight -1 and three of weight 2, whose sum is 0, and see the series at
several dilations.  What they answer is compared with biases; a feature is the share of steps at
which an answer is above one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled

TAPS = 9
HEAVY = np.array(list(combinations(range(TAPS), 3)), np.int32)
"""(84, 3): of each filter the taps of weight 2."""

_DILATIONS = 32  # at most, of a filter
_ROWS = 8  # rows whose features are made before they are weighed: weights come from the memory once


@dataclass(frozen=True)
class Filters:
    """Filters with their biases; arrays that are none are refused.

    A feature is a dilation, a filter and a bias, in this order.

    Parameters
    ----------
    dilation, each : (d,) int32
        Steps between taps, and biases that each filter has at that dilation.
    channel : (k,) int32
        Channels that are summed before a filter sees them, of one filter after the other.
    end : (d * 84,) int64
        Where in `channel` those of each filter end.
    bias : (feature,) float32
    n_channel, n_step : int
        Of the series.

    Raises
    ------
    ValueError
        A shape, a dilation or a channel is not possible.
    """

    dilation: NDArray[np.int32]
    each: NDArray[np.int32]
    channel: NDArray[np.int32]
    end: NDArray[np.int64]
    bias: NDArray[np.float32]
    n_channel: int
    n_step: int

    def __post_init__(self) -> None:
        wanted = {
            "dilation": (self.dilation.shape[:1], np.int32),
            "each": (self.dilation.shape[:1], np.int32),
            "channel": (self.channel.shape[:1], np.int32),
            "end": ((len(self.dilation) * len(HEAVY),), np.int64),
            "bias": ((len(HEAVY) * int(self.each.sum()),), np.float32),
        }
        for name, (shape, dtype) in wanted.items():
            found = getattr(self, name)
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(
                    f"{name} of the filters must be {np.dtype(dtype)} {shape}, "
                    f"got {found.dtype} {found.shape}"
                )
        longest = (_length(self.n_step) - 1) // (TAPS - 1)
        ends = np.append(0, self.end)
        if not (
            self.dilation.size
            and ((self.dilation >= 1) & (self.dilation <= longest)).all()
            and (self.each >= 1).all()
            and (np.diff(ends) >= 1).all()
            and ends[-1] == len(self.channel)
            and ((self.channel >= 0) & (self.channel < self.n_channel)).all()
            and np.isfinite(self.bias).all()
        ):
            raise ValueError(
                f"the filters do not fit series of {self.n_channel} channels and "
                f"{self.n_step} steps"
            )


def draw_filters(series: NDArray[np.float32], n_feature: int, seed: int) -> Filters:
    """Filters for series like these.

    Parameters
    ----------
    series : (n, channel, step) float32
        Standardized series of the training, without NaN.  Shorter ones than the 9 taps get zeros on
        both sides.
    n_feature : int
        At least 84; rounded down to a multiple.
    seed : int
        Of the channels that a filter sees, and of the series that its biases are taken from.

    Returns
    -------
    Filters

    Notes
    -----
    Biases are quantiles of what the filter answers on one series; quantiles follow each other by
    the golden ratio.  A filter sees 1 channel up to all (at most 9), small numbers more often.
    """
    n, n_channel, n_step = series.shape
    rng = np.random.default_rng(seed)
    each_filter = n_feature // len(HEAVY)
    dilation, each = _dilations(_length(n_step), each_filter)
    chosen, end = [], 0
    ends = np.empty(len(dilation) * len(HEAVY), np.int64)
    most = math.log2(min(n_channel, TAPS) + 1)
    for at in range(len(ends)):
        some = int(2 ** rng.uniform(0, most))
        chosen.append(rng.choice(n_channel, some, replace=False).astype(np.int32))
        end += some
        ends[at] = end
    drawn = rng.integers(n, size=len(ends))
    golden = (math.sqrt(5) + 1) / 2
    quantile = np.arange(1, len(HEAVY) * int(each.sum()) + 1) * golden % 1
    bias = np.empty(len(quantile), np.float32)
    first = 0
    for at, which in enumerate(drawn):
        of_dilation, filter_ = divmod(at, len(HEAVY))
        answers = np.empty(_length(n_step), np.float32)
        _convolve(
            np.ascontiguousarray(series[which], np.float32),
            chosen[at],
            int(dilation[of_dilation]),
            HEAVY[filter_],
            answers,
        )
        last = first + int(each[of_dilation])
        bias[first:last] = np.quantile(answers, quantile[first:last])
        first = last
    return Filters(dilation, each, np.concatenate(chosen), ends, bias, n_channel, n_step)


def features(filters: Filters, series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares of the steps at which filters answer more than their biases.

    Parameters
    ----------
    filters : Filters
    series : (n, channel, step) float32
        Without NaN.

    Returns
    -------
    (n, feature) float32, 0 to 1
        By turns over all steps, with zeros around the series, and over those alone at which no tap
        lies outside.

    Raises
    ------
    ValueError
        The series have other channels or steps.
    """
    whole = _fitting(filters, series)
    out = np.empty((len(whole), len(filters.bias)), np.float32)
    for row in range(len(whole)):
        _features(*_arrays(filters), HEAVY, whole[row], out[row])
    return out


def weighed(
    filters: Filters,
    series: NDArray[np.float32],
    weight: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Add to each row its features times weights, without keeping them.

    Parameters
    ----------
    filters : Filters
    series : (n, channel, step) float32
        Without NaN.
    weight : (feature, k) float32
    out : (n, k) float64, contiguous
        Sums are the same whatever rows are beside a row.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    whole = _fitting(filters, series)
    if weight.shape != (len(filters.bias), out.shape[-1]) or len(out) != len(whole):
        raise ValueError(f"weights {weight.shape} do not fit answers {out.shape}")
    if out.dtype != np.float64 or not out.flags.c_contiguous:
        raise ValueError(f"answers must be contiguous float64, got {out.dtype}")
    _weighed(*_arrays(filters), HEAVY, whole, np.ascontiguousarray(weight, np.float64), out)


_Arrays = tuple[
    NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]
]


def _arrays(filters: Filters) -> _Arrays:
    return filters.dilation, filters.each, filters.channel, filters.end, filters.bias


def _fitting(filters: Filters, series: NDArray[np.float32]) -> NDArray[np.float32]:
    if series.shape[1:] != (filters.n_channel, filters.n_step):
        raise ValueError(
            f"series {series.shape} do not fit filters of {filters.n_channel} channels and "
            f"{filters.n_step} steps"
        )
    return np.ascontiguousarray(series, np.float32)


def _length(n_step: int) -> int:
    """Steps that a filter sees; one dilation always fits."""
    return max(n_step, TAPS)


def _dilations(length: int, each_filter: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Dilations in even ratios up to the longest that fits, and the features of each."""
    n = min(each_filter, _DILATIONS)
    exponent = math.log2((length - 1) / (TAPS - 1))
    # the last must not be rounded down below itself
    steps = np.floor(2 ** np.linspace(0, exponent, n) + 1e-9).astype(np.int32)
    dilation, count = np.unique(steps, return_counts=True)
    each = (count * (each_filter / n)).astype(np.int32)
    rest = each_filter - int(each.sum())
    each += rest // len(each)
    each[: rest % len(each)] += 1
    return dilation, each


@compiled
def _convolve(
    series: NDArray[np.float32], channel: NDArray[np.int32], dilation: int,
    heavy: NDArray[np.int32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """What one filter answers at each step, zeros around the series."""
    around = np.empty(len(out) + 8 * dilation, np.float32)
    total = np.empty(len(out), np.float32)
    _sum_taps(series, channel, dilation, around, total)
    _answer(around, total, dilation, heavy, out)


@compiled
def _sum_taps(
    series: NDArray[np.float32], channel: NDArray[np.int32], dilation: int,
    around: NDArray[np.float32], total: NDArray[np.float32],
) -> None:  # fmt: skip
    """The sum of some channels, with zeros around it, and the sum of all taps at each step."""
    n_step = series.shape[1]
    # shorter series stand in the middle
    start = 4 * dilation + (len(total) - n_step) // 2
    around[:] = 0
    into = around[start : start + n_step]
    for k in range(len(channel)):
        row = series[channel[k]]
        for t in range(n_step):
            into[t] += row[t]
    total[:] = 0
    for tap in range(0, 9, 3):  # few arrays a loop, or no loop takes many steps at once
        first, second, third = _three(around, dilation, tap, tap + 1, tap + 2)
        for t in range(len(total)):
            total[t] += first[t] + second[t] + third[t]


@compiled
def _answer(
    around: NDArray[np.float32], total: NDArray[np.float32], dilation: int,
    heavy: NDArray[np.int32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Three taps three times, less all taps: those have the weight 2, the others -1."""
    first, second, third = _three(around, dilation, heavy[0], heavy[1], heavy[2])
    for t in range(len(out)):
        out[t] = np.float32(3) * (first[t] + second[t] + third[t]) - total[t]


@compiled
def _three(
    around: NDArray[np.float32], dilation: int, a: int, b: int, c: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What three taps see."""
    return around[a * dilation :], around[b * dilation :], around[c * dilation :]


@compiled
def _features(
    dilation: NDArray[np.int32], each: NDArray[np.int32], channel: NDArray[np.int32],
    end: NDArray[np.int64], bias: NDArray[np.float32], heavy: NDArray[np.int32],
    series: NDArray[np.float32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    length = max(series.shape[1], 9)
    answers, total = np.empty(length, np.float32), np.empty(length, np.float32)
    at = before = first = 0
    for d in range(len(dilation)):
        around = np.empty(length + 8 * dilation[d], np.float32)
        for f in range(len(heavy)):
            if f == 0 or len(series) > 1:
                _sum_taps(series, channel[before : end[at]], dilation[d], around, total)
            _answer(around, total, dilation[d], heavy[f], answers)
            inner = 4 * dilation[d] if (d + f) % 2 else 0
            inside = answers[inner : length - inner]
            for i in range(first, first + each[d]):
                above, level = np.int32(0), bias[i]
                for t in range(len(inside)):
                    above += np.int32(inside[t] > level)
                out[i] = np.float32(above) / np.float32(len(inside))
            first += each[d]
            before = end[at]
            at += 1


@compiled
def _weighed(
    dilation: NDArray[np.int32], each: NDArray[np.int32], channel: NDArray[np.int32],
    end: NDArray[np.int64], bias: NDArray[np.float32], heavy: NDArray[np.int32],
    series: NDArray[np.float32], weight: NDArray[np.float64], out: NDArray[np.float64],
) -> None:  # fmt: skip
    n_feature, width = weight.shape
    made = np.empty((_ROWS, n_feature), np.float32)
    for start in range(0, len(series), _ROWS):
        some = min(_ROWS, len(series) - start)
        for row in range(some):
            _features(dilation, each, channel, end, bias, heavy, series[start + row], made[row])
        for i in range(n_feature):
            for row in range(some):
                share, into = np.float64(made[row, i]), out[start + row]
                if share != 0:
                    for k in range(width):
                        into[k] += share * weight[i, k]
