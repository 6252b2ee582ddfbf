"""Gaps of series, against numpy's interpolation and a sparse solve."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.sparse.linalg import spsolve

from geocube_ml.kernels.gapfill import _BLOCK, can_fill, fill, linear, whittaker

MONTHS = np.cumsum([0.0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])  # starts, not equally long
EDGES = ["hold", "missing", "extrapolate"]


@st.composite
def series(draw, min_steps=1, seen=0):
    """(time, pixel) values, where they are observed, and days."""
    n = draw(st.integers(min_steps, 14))
    shape = (n, draw(st.integers(1, 4)))
    values = draw(npst.arrays("float64", shape, elements=st.integers(-500, 500)))
    observed = draw(npst.arrays(bool, shape))
    for t in draw(st.permutations(range(n)))[:seen]:
        observed[t] = True
    days = np.cumsum(draw(npst.arrays("float64", n, elements=st.integers(5, 31))))
    return values, observed, days


def dense(values, weight, days, lam, order):
    """One pixel's smoother, as the article writes it, with divided differences."""
    n = len(values)
    length = (days[-1] - days[0]) / (n - 1)
    rows = sp.identity(n, format="csr")
    for k in range(1, order + 1):
        apart = (days[k:] - days[:-k]) / k / length
        rows = sp.diags(1 / apart) @ (rows[1:] - rows[:-1])
    system = sp.diags(weight.astype(float)) + lam * rows.T @ rows
    return spsolve(system.tocsc(), weight * values)


@settings(max_examples=60)
@given(series())
def test_linear_is_numpys_interpolation_in_days(data):
    values, observed, days = data
    got = linear(values, observed, days)
    for at in range(values.shape[1]):
        seen = observed[:, at]
        if not seen.any():
            assert np.isnan(got[:, at]).all()
            continue
        want = np.interp(days, days[seen], values[seen, at])
        np.testing.assert_allclose(got[:, at], want, rtol=0, atol=1e-9)


@settings(max_examples=60)
@given(series(min_steps=5, seen=3), st.sampled_from([0.01, 1, 30, 1e4]), st.integers(1, 3))
def test_the_smoother_is_the_solution_of_its_sparse_system(data, lam, order):
    values, observed, days = data
    got = whittaker(values, observed, days, lam, order)
    for at in range(values.shape[1]):
        want = dense(values[:, at], observed[:, at], days, lam, order)
        scale = np.abs(want).max() + 1
        np.testing.assert_allclose(got[:, at] / scale, want / scale, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_weights_count_as_in_the_sparse_system(order):
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(12, 6)), rng.integers(0, 4, (12, 6)) / 2
    got = whittaker(values, weight, MONTHS, 2.0, order)
    want = [dense(values[:, at], weight[:, at], MONTHS, 2.0, order) for at in range(6)]
    np.testing.assert_allclose(got, np.transpose(want), atol=1e-9)


def test_the_smoother_of_equal_steps_has_the_articles_differences():
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    rows = np.diff(np.eye(8), 2, axis=0)
    want = np.linalg.solve(np.eye(8) + 7 * rows.T @ rows, values)
    days = 16.0 * np.arange(8)
    np.testing.assert_allclose(whittaker(values, np.ones(8, bool), days, 7.0), want, atol=1e-12)


@settings(max_examples=40)
@given(series(min_steps=4, seen=2))
def test_without_smoothing_observed_values_come_back(data):
    values, observed, days = data
    got = whittaker(values, observed, days, 1e-9)
    np.testing.assert_allclose(got[observed], values[observed], atol=0.01)


@pytest.mark.parametrize("lam", [0.1, 10, 1e4])
def test_a_straight_line_in_time_stays_one_through_gaps_and_beyond_the_ends(lam):
    line = 3 + 0.5 * MONTHS
    observed = np.isin(np.arange(12), [2, 3, 7, 9])
    values = np.where(observed, line, -1e6)
    np.testing.assert_allclose(whittaker(values, observed, MONTHS, lam), line, atol=1e-6)


def test_of_an_oscillation_there_remains_what_the_formula_says():
    steps = np.arange(1200.0)
    wave = np.cos(2 * np.pi * steps / 12)
    got = whittaker(wave, np.ones(1200, bool), steps, 5.0)
    kept = 1 / (1 + 5 * (2 * np.sin(np.pi / 12)) ** 4)
    np.testing.assert_allclose(got[300:900], kept * wave[300:900], atol=1e-9)


def test_with_fewer_observations_than_its_order_the_smoother_is_linear():
    values = np.array([[0.0, 0, 1], [7, 0, 2], [0, 0, 4], [0, 0, 3]])
    observed = np.array([[0, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 1]], bool)
    got = whittaker(values, observed, np.arange(4.0), 1.0)
    assert (got[:, 0] == 7).all()
    assert np.isnan(got[:, 1]).all()
    np.testing.assert_allclose(got[:, 2], dense(values[:, 2], observed[:, 2], np.arange(4.0), 1, 2))
    two = whittaker(values[:2, 2], observed[:2, 2], np.arange(2.0), 1.0)
    assert two.tolist() == [1, 2]  # no second difference of two steps


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("method", ["linear", "whittaker"])
@settings(max_examples=30)
@given(data=series(), lam=st.sampled_from([0.1, 10]))
def test_only_what_can_be_filled_changes_and_it_always_does(method, edges, data, lam):
    values, observed, days = data
    counts = np.where(observed, np.abs(values) + 1, 0).astype("uint16")
    got = fill(counts, 0, days, method=method, edges=edges, lam=lam)
    filled = can_fill(observed, edges)
    assert got.dtype == "uint16"
    np.testing.assert_array_equal(got[~filled], counts[~filled])
    assert (got[filled] != 0).all()


@settings(max_examples=40)
@given(series())
def test_inner_gaps_lie_between_two_observed_steps(data):
    _, observed, _ = data
    for at in range(observed.shape[1]):
        seen = np.flatnonzero(observed[:, at])
        within = {t for t in range(len(observed)) if seen.size and seen[0] < t < seen[-1]}
        missing = set(np.flatnonzero(~observed[:, at]))
        got = {edges: set(np.flatnonzero(can_fill(observed, edges)[:, at])) for edges in EDGES}
        assert got["missing"] == missing & within
        assert got["hold"] == got["extrapolate"] == (missing if seen.size else set())


def test_the_ends_of_a_series_by_hand():
    """Counted by hand: 20 and 40 a step apart, with a gap between and at both ends."""
    counts = np.int16([-1, 20, -1, 40, -1])
    days = np.arange(5.0)

    def said(**options):
        return fill(counts, -1, days, **options).tolist()

    for method in ("linear", "whittaker"):
        assert said(method=method) == [20, 20, 30, 40, 40]
        assert said(method=method, edges="missing") == [-1, 20, 30, 40, -1]
    assert said(edges="extrapolate") == [20, 20, 30, 40, 40]
    assert said(method="whittaker", edges="extrapolate") == [10, 20, 30, 40, 50]


def test_a_smoothed_series_holds_its_smoothed_ends():
    values = np.float32([np.nan, 4, 8, 5, 9, np.nan])
    got = fill(values, np.nan, np.arange(6.0), method="whittaker", only_gaps=False)
    curve = whittaker(values, ~np.isnan(values), np.arange(6.0), 1.0).astype("float32")
    np.testing.assert_array_equal(got, curve[[1, 1, 2, 3, 4, 4]])
    kept = fill(values, np.nan, np.arange(6.0), method="whittaker")
    np.testing.assert_array_equal(kept, np.float32([4, 4, 8, 5, 9, 9]))


@pytest.mark.parametrize(
    ("dtype", "nodata", "around", "want"),
    [
        ("int16", 0, (-5, 5), 1),
        ("uint8", 255, (254, 254), 254),
        ("float32", 0.0, (-5, 5), np.nextafter(np.float32(0), np.float32(1))),
    ],
)
def test_what_is_filled_is_not_nodata(dtype, nodata, around, want):
    counts = np.array([around[0], nodata, around[1]], dtype)
    assert fill(counts, nodata, np.arange(3.0))[1] == want


@pytest.mark.parametrize(("nodata", "lowest", "highest"), [(0, 1, 255), (255, 0, 254)])
def test_beyond_the_dtype_is_its_last_count_that_is_not_nodata(nodata, lowest, highest):
    falling = np.uint8([200, 100, nodata, nodata, nodata])
    rising = falling[::-1].copy()
    options = {"method": "whittaker", "edges": "extrapolate"}
    assert fill(falling, nodata, np.arange(5.0), **options)[4] == lowest
    rising[3:] = [100, 240]
    assert fill(rising[::-1], nodata, np.arange(5.0), **options)[4] == lowest
    assert fill(np.uint8([100, 240, nodata, nodata]), nodata, np.arange(4.0), **options)[3] == (
        highest
    )


@pytest.mark.parametrize("method", ["linear", "whittaker"])
def test_a_pixel_does_not_depend_on_its_neighbours_or_its_block(method):
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 9000, (9, _BLOCK + 50)).astype("uint16")
    counts[rng.random(counts.shape) < 0.5] = 0
    days = MONTHS[:9]
    whole = fill(counts, 0, days, method=method)
    some = rng.choice(counts.shape[1], 200, replace=False)
    np.testing.assert_array_equal(fill(counts[:, some], 0, days, method=method), whole[:, some])
    shaped = fill(counts[:, :60].reshape(9, 3, 4, 5), 0, days, method=method)
    np.testing.assert_array_equal(shaped.reshape(9, 60), whole[:, :60])


@pytest.mark.parametrize("method", ["linear", "whittaker"])
@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (1, 2)])
def test_empty_and_single_steps_come_back(method, shape):
    counts = np.ones(shape, "uint16")
    np.testing.assert_array_equal(
        fill(counts, 0, np.arange(float(shape[0])), method=method), counts
    )
