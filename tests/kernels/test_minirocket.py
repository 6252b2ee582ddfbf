from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.kernels.minirocket import HEAVY, Filters, draw_filters, features, weighed


def definition(filters, series):
    """What `features` should find, a tap at a time."""
    length = max(series.shape[2], 9)
    spare = length - series.shape[2]
    series = np.pad(series, ((0, 0), (0, 0), (spare // 2, spare - spare // 2)))
    parts, first, begin = [], 0, 0
    for d, (dilation, each) in enumerate(zip(filters.dilation, filters.each, strict=True)):
        reach = 4 * dilation
        for f, heavy in enumerate(HEAVY):
            end = filters.end[d * 84 + f]
            total = series[:, filters.channel[begin:end]].sum(axis=1)
            padded = np.pad(total, ((0, 0), (reach, reach)))
            answer = sum(
                (2 if tap in heavy else -1) * padded[:, tap * dilation :][:, :length]
                for tap in range(9)
            )
            if (d + f) % 2:
                answer = answer[:, reach : length - reach]
            biases = filters.bias[first : first + each]
            parts += [(answer > bias).mean(axis=1) for bias in biases]
            first, begin = first + each, end
    return np.stack(parts, axis=1).astype(np.float32)


def whole(shape, seed=0):
    """Series of whole numbers, of which no sum is rounded."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


@settings(max_examples=10)
@given(n_channel=st.integers(1, 11), n_step=st.integers(1, 40), seed=st.integers(0, 99))
def test_features_are_the_shares_of_steps_above_the_biases(n_channel, n_step, seed):
    series = whole((3, n_channel, n_step), seed)
    filters = draw_filters(series, 84 * 6, seed)
    found = features(filters, series)
    assert found.shape == (3, 84 * 6)
    np.testing.assert_allclose(found, definition(filters, series), atol=1e-6)


def test_dilations_and_biases_are_those_of_the_paper():
    """Counted by hand for 41 steps: 2 ** (0, 2.32 / 3, ..., 2.32), rounded down."""
    filters = draw_filters(whole((2, 1, 41)), 4 * 84, 0)
    assert filters.dilation.tolist() == [1, 2, 5]
    assert filters.each.tolist() == [2, 1, 1]
    # any share of positive values: quantiles of the filter's own answers
    assert 0.3 < features(filters, whole((50, 1, 41), seed=1)).mean() < 0.7


@pytest.mark.parametrize("n_step", [9, 17, 33, 257])
def test_the_longest_dilation_still_fits(n_step):
    filters = draw_filters(whole((1, 1, n_step)), 84 * 40, 0)
    assert filters.dilation[-1] == (n_step - 1) // 8
    assert filters.each.sum() == 40


def test_filters_see_one_channel_up_to_nine():
    filters = draw_filters(whole((1, 12, 20)), 84 * 4, 0)
    sizes = np.diff(np.append(0, filters.end))
    assert sizes.min() == 1
    assert 7 <= sizes.max() <= 9
    assert set(filters.channel) == set(range(12))


def test_a_seed_draws_the_same_filters():
    series = whole((20, 3, 15))
    one, same, other = (draw_filters(series, 168, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.bias, same.bias)
    np.testing.assert_array_equal(one.channel, same.channel)
    assert not np.array_equal(one.bias, other.bias)


def test_what_is_weighed_are_the_features_whatever_rows_are_beside():
    series = np.random.default_rng(0).normal(size=(21, 2, 13)).astype(np.float32)
    filters = draw_filters(series, 84 * 3, 0)
    weight = np.random.default_rng(1).normal(size=(84 * 3, 5)).astype(np.float32)
    out = np.ones((21, 5))
    weighed(filters, series, weight, out)
    np.testing.assert_allclose(out, 1 + features(filters, series).astype(float) @ weight)
    alone = np.ones((1, 5))
    weighed(filters, series[20:], weight, alone)
    np.testing.assert_array_equal(alone, out[20:])


@pytest.mark.parametrize(
    "some",
    [
        {"dilation": np.int32([1, 3])},  # reaches over the ends
        {"dilation": np.int32([0, 2])},
        {"dilation": np.int32([1, 2, 2])},
        {"channel": "other"},
        {"channel": "fewer"},
        {"end": "back"},
        {"bias": np.full(252, np.nan, np.float32)},
        {"bias": np.zeros(251, np.float32)},
        {"each": np.int32([3, 0])},
        {"each": np.int64([2, 1])},
    ],
)
def test_arrays_that_are_no_filters_are_refused(some):
    filters = draw_filters(whole((2, 2, 17)), 252, 0)
    assert filters.each.tolist() == [2, 1]
    made = {name: getattr(filters, name) for name in Filters.__dataclass_fields__}
    damaged = {
        "other": filters.channel + 1,
        "fewer": filters.channel[:-1],
        "back": filters.end[::-1].copy(),
    }
    some = {k: damaged[v] if isinstance(v, str) else v for k, v in some.items()}
    with pytest.raises(ValueError, match="filters"):
        Filters(**(made | some))


def test_series_and_weights_of_other_shapes_are_refused():
    filters = draw_filters(whole((2, 2, 17)), 84, 0)
    with pytest.raises(ValueError, match="2 channels and 17 steps"):
        features(filters, whole((2, 2, 18)))
    with pytest.raises(ValueError, match="do not fit answers"):
        weighed(filters, whole((2, 2, 17)), np.zeros((83, 1), np.float32), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="contiguous float64"):
        weighed(filters, whole((2, 2, 17)), np.zeros((84, 1), np.float32), np.zeros((2, 2))[:, :1])
