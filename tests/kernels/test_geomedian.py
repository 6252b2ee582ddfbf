from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import minimize

from geocube_ml.kernels import geomedian as module
from geocube_ml.kernels.geomedian import geometric_median

FINE = {"scale": 1.0, "tolerance": 1e-3, "iterations": 1000}


def far(point, seen):
    """The sum of distances that a geometric median has the smallest of."""
    return np.linalg.norm(seen - point, axis=1).sum()


def definition(seen, steps=2000):
    """One pixel's geometric median: Weiszfeld's steps, and each observation tried."""
    seen = seen.astype(float)
    point = seen.mean(axis=0)
    for _ in range(steps):
        apart = np.linalg.norm(seen - point, axis=1)
        away = apart > 1e-12
        if not away.any():
            break
        weight = 1 / apart[away]
        mean = (weight[:, None] * seen[away]).sum(axis=0) / weight.sum()
        pull = np.linalg.norm((weight[:, None] * (seen[away] - point)).sum(axis=0))
        held = min(1, (~away).sum() / pull) if pull > 1e-12 else 1
        step = (1 - held) * (mean - point)
        point = point + step
        if np.linalg.norm(step) < 1e-7:
            break
    return min([point, *seen], key=lambda one: far(one, seen))


def scenes(n, bands, pixels, seed=0):
    """Observations that scatter around a pixel's own value, some far off."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(300, 4000, (1, bands, pixels))
    haze = 2000 * rng.random((n, 1, pixels)) * (rng.random((n, 1, pixels)) < 0.2)
    return ground * rng.normal(1, 0.05, (n, bands, pixels)) + haze


@settings(max_examples=150)
@given(data=st.data())
def test_no_point_is_nearer_to_all_observations(data):
    n, bands = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))
    elements = st.integers(0, 5) | st.floats(-99, 99).map(lambda value: round(value, 1))
    values = data.draw(npst.arrays("float32", (n, bands, 3), elements=elements))
    clear = data.draw(npst.arrays(bool, (n, 3)))
    got = geometric_median(values, clear, np.nan, **FINE)
    for pixel in range(3):
        seen = values[clear[:, pixel], :, pixel]
        if len(seen):
            # moving a point by the tolerance changes no distance by more
            most = far(definition(seen), seen) + 3 * len(seen) * FINE["tolerance"]
            assert far(got[:, pixel], seen) <= most
        else:
            assert np.isnan(got[:, pixel]).all()


@pytest.mark.parametrize(("n", "bands"), [(3, 4), (5, 1), (7, 10), (12, 3)])
def test_it_is_what_an_optimiser_finds(n, bands):
    values = scenes(n, bands, 25)
    got = geometric_median(values.astype("float32"), np.ones((n, 25), bool), -1, **FINE)
    for pixel in range(25):
        seen = values[:, :, pixel]
        start = definition(seen, steps=50)  # an optimiser alone stops early beside observations
        found = minimize(far, start, (seen,), method="Nelder-Mead", options={"xatol": 1e-5}).x
        best = min([found, start], key=lambda one: far(one, seen))
        assert far(got[:, pixel], seen) <= far(best, seen) + 1e-2
        np.testing.assert_allclose(got[:, pixel], definition(seen), atol=0.05)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_whole_numbers_are_rounded_and_good_to_the_tolerance(dtype):
    values = scenes(9, 4, 50).round().astype(dtype)
    clear = np.random.default_rng(1).random((9, 50)) < 0.8
    got = geometric_median(values, clear, 0, scale=1e-4, tolerance=1e-4, iterations=100)
    assert got.dtype == dtype
    off = []
    for pixel in np.flatnonzero(clear.sum(axis=0) > 4):
        seen = values[clear[:, pixel], :, pixel].astype(float)
        want = definition(seen)
        # a count is the tolerance, and another what rounding four bands may do
        assert far(got[:, pixel], seen) < far(want, seen) + 2 * len(seen)
        off.append(np.linalg.norm(got[:, pixel] - want))
    assert np.median(off) < 1.5  # between two clusters all points are nearly as good


def test_the_tolerance_is_of_physical_values():
    values = scenes(8, 3, 40).astype("float32")
    clear = np.ones((8, 40), bool)
    counts = geometric_median(values, clear, 0, scale=1, tolerance=0.5, iterations=100)
    scaled = geometric_median(values, clear, 0, scale=-1e-4, tolerance=0.5e-4, iterations=100)
    np.testing.assert_array_equal(scaled, counts)
    coarse = geometric_median(values, clear, 0, scale=1, tolerance=200, iterations=100)
    assert np.abs(coarse - counts).max() > 1
    many = {"tolerance": 1e-9, "scale": 1}
    once = geometric_median(values, clear, 0, iterations=1, **many)
    assert np.abs(once - geometric_median(values, clear, 0, iterations=99, **many)).max() > 1


def test_one_iteration_is_one_step_from_the_mean():
    values = scenes(5, 3, 20)
    got = geometric_median(values, np.ones((5, 20), bool), 0, scale=1, tolerance=1, iterations=1)
    mean = values.mean(axis=0)
    weight = 1 / np.linalg.norm(values - mean, axis=1)
    step = (weight[:, None] * values).sum(axis=0) / weight.sum(axis=0)
    on_one = (got == values).all(axis=1).any(axis=0)  # tried after the last step
    np.testing.assert_allclose(got[:, ~on_one], step[:, ~on_one], rtol=1e-5)
    assert not on_one.all()


def test_rotated_observations_have_the_rotated_median():
    values = scenes(7, 4, 60).astype("float32")
    clear = np.random.default_rng(2).random((7, 60)) < 0.8
    clear[:3] = True
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))

    def rotated(vectors):
        return np.einsum("cb,...bp->...cp", rotation, vectors).astype("float32")

    got = geometric_median(rotated(values), clear, -1, **FINE)
    want = rotated(geometric_median(values, clear, -1, **FINE))
    np.testing.assert_allclose(got, want, atol=0.1)


def test_a_point_that_falls_on_an_observation_goes_on():
    """The mean is the last observation, but the others draw it away with a force above 1."""
    seen = np.float32([[10, 1], [10, -1], [10, 1], [10, -1], [-40, 0], [0, 0]])
    assert seen.mean(axis=0).tolist() == [0, 0]
    got = geometric_median(seen[:, :, None], np.ones((6, 1), bool), -1, **FINE)[:, 0]
    np.testing.assert_allclose(got, definition(seen), atol=1e-2)
    assert got[0] > 9
    # one step: what lies on the point takes 1 of the pull of the others
    others = seen[:5]
    weight = 1 / np.linalg.norm(others, axis=1)
    pull = (weight[:, None] * others).sum(axis=0)
    want = (1 - 1 / np.linalg.norm(pull)) * pull / weight.sum()
    once = geometric_median(
        seen[:, :, None], np.ones((6, 1), bool), -1, scale=1, tolerance=1e-3, iterations=1
    )
    np.testing.assert_allclose(once[:, 0], want, rtol=1e-5, atol=1e-6)


def test_the_tolerance_is_of_the_result_and_not_of_the_last_step():
    values = scenes(3, 4, 200)
    got = geometric_median(
        values.astype("float32"), np.ones((3, 200), bool), -1, scale=1, tolerance=1, iterations=1000
    )
    want = np.transpose([definition(values[:, :, pixel]) for pixel in range(200)])
    assert np.quantile(np.linalg.norm(got - want, axis=0), 0.9) < 1.5


def test_an_observation_that_is_the_median_is_met_exactly():
    """The others are a star around it; the mean lies elsewhere."""
    seen = np.uint16([[100, 100], [101, 100], [99, 100], [100, 3000], [100, 99]])
    got = geometric_median(
        seen[:, :, None], np.ones((5, 1), bool), 0, scale=1, tolerance=1, iterations=5
    )
    assert got[:, 0].tolist() == [100, 100]


def test_one_and_two_and_equal_observations():
    values = np.int16([[7, -3], [11, -9], [5000, 5000], [7, -3]])[:, :, None]

    def of(*used):
        clear = np.isin(np.arange(4), used)[:, None]
        return geometric_median(
            values, clear, -9999, scale=1e-4, tolerance=1e-4, iterations=100
        )[:, 0].tolist()  # fmt: skip

    assert of() == [-9999, -9999]
    assert of(1) == [11, -9]
    assert of(0, 1) == [9, -6]  # their mean
    assert of(0, 3) == [7, -3]
    assert of(0, 3, 2) == [7, -3]  # two of three


@given(st.integers(1, 6), st.floats(-1e4, 1e4, width=32))
def test_where_all_are_equal_it_is_what_they_are(n, value):
    values = np.full((n, 3, 2), value, "float32")
    got = geometric_median(values, np.ones((n, 2), bool), -1, **FINE)
    assert (got == np.float32(value)).all()


def test_the_median_of_one_band_is_the_median():
    values = scenes(9, 1, 30).astype("float32")
    got = geometric_median(values, np.ones((9, 30), bool), -1, **FINE)
    np.testing.assert_array_equal(got, np.median(values, axis=0))


def test_nan_that_is_not_clear_takes_no_part():
    values = np.float32([[1, 1], [np.nan, 5], [1, 1], [9, 9]])[:, :, None]
    clear = np.array([True, False, True, True])[:, None]
    assert geometric_median(values, clear, np.nan, **FINE)[:, 0].tolist() == [1, 1]


def test_a_window_has_the_values_of_the_whole(monkeypatch):
    values = scenes(6, 4, 35 * 36).reshape(6, 4, 35, 36).round().astype("uint16")
    clear = np.random.default_rng(0).random((6, 35, 36)) < 0.6
    how = {"scale": 1e-4, "tolerance": 1e-4, "iterations": 50}
    whole = geometric_median(values, clear, 0, **how)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
    part = np.s_[..., 5:20, 9:32]
    np.testing.assert_array_equal(
        geometric_median(values[part], clear[part], 0, **how), whole[part]
    )
    one = np.s_[..., 7:8, 9:10]
    np.testing.assert_array_equal(geometric_median(values[one], clear[one], 0, **how), whole[one])


def test_without_a_time_step_everything_is_nodata():
    got = geometric_median(np.zeros((0, 2, 3), "uint16"), np.zeros((0, 3), bool), 9, **FINE)
    assert got.tolist() == [[9] * 3] * 2


def test_an_observation_almost_on_the_mean_does_not_hold_the_point():
    values = np.float32([0, 0, 0, 0, 1, 0.2]).reshape(6, 1, 1)
    found = geometric_median(
        values, np.ones((6, 1), bool), -1, scale=1, tolerance=1e-4, iterations=100
    )
    assert abs(found.item()) < 1e-3  # sums of distances 1.2 there, 1.6 at 0.2
