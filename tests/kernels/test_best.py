from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.best import best_pixel, cloud_distance, score

WEIGHTS = {"cloud": 1.0, "cloud_distance": 50, "middle": 1.0, "middle_days": 8, "coverage": 0.5}


def distances(unclear, most):
    """What `cloud_distance` should say, a pair of pixels at a time."""
    clouds = np.argwhere(unclear)
    out = np.full(unclear.shape, most, "float32")
    for at in np.ndindex(unclear.shape):
        if len(clouds):
            out[at] = min(most, np.sqrt(((clouds - at) ** 2).sum(axis=1)).min())
    return out


@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)), st.integers(1, 9))
def test_distances_are_to_the_nearest_that_is_not_clear(unclear, most):
    got = cloud_distance(unclear, most)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, distances(unclear, most), rtol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_a_window_with_a_halo_has_the_distances_of_the_whole(seed, most):
    rng = np.random.default_rng(seed)
    unclear = rng.random((40, 45)) < rng.choice([0.001, 0.01, 0.1])
    whole = cloud_distance(unclear, most)
    padded = unclear[15 - most : 25 + most, 13 - most : 30 + most]
    window = cloud_distance(padded, most)[most:-most, most:-most]
    np.testing.assert_array_equal(window, whole[15:25, 13:30])


def test_a_distance_has_a_limit_of_a_pixel_at_least():
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        cloud_distance(np.zeros((2, 2), bool), 0)


@given(
    npst.arrays("float32", 5, elements=st.floats(0, 2000, width=32)),
    st.floats(-400, 400),
    st.floats(0, 1),
    *[st.floats(0, 5)] * 3,
    st.integers(1, 1000),
    st.floats(0.5, 100),
)
def test_a_score_is_the_weighted_sum_of_its_parts(
    distance, days, cover, cloud, middle, coverage, most, middle_days
):
    got = score(
        distance, days, cover, cloud=cloud, cloud_distance=most, middle=middle,
        middle_days=middle_days, coverage=coverage,
    )  # fmt: skip
    assert got.dtype == np.float32
    near = np.exp(-0.5 * (days / middle_days) ** 2)
    for value, apart in zip(got.tolist(), distance.tolist(), strict=True):
        want = cloud * min(apart, most) / most + middle * near + coverage * cover
        assert value == pytest.approx(want, rel=1e-5, abs=1e-6)


def test_scores_by_hand():
    far = np.float32([100])
    assert score(far, 0, 1, **WEIGHTS).tolist() == [2.5]  # the highest that there is
    assert score(far, -8, 0, **WEIGHTS).item() == pytest.approx(1 + np.exp(-0.5))
    before, after = (score(far, days, 0, **WEIGHTS) for days in (-5, 5))
    assert before == after


def test_each_scene_has_its_day_and_cover():
    distance = np.float32(np.random.default_rng(0).uniform(0, 90, (3, 4, 5)))
    days, cover = np.array([-9, 0, 4]), np.array([0.1, 1, 0])
    got = score(distance, days[:, None, None], cover[:, None, None], **WEIGHTS)
    one = [score(distance[k], days[k], cover[k], **WEIGHTS) for k in range(3)]
    np.testing.assert_array_equal(got, one)


@given(data=st.data())
def test_the_best_is_the_first_of_the_highest_scores(data):
    n, bands, pixels = data.draw(st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(0, 5)))
    values = data.draw(npst.arrays("uint16", (n, bands, pixels)))
    clear = data.draw(npst.arrays(bool, (n, pixels)))
    scores = data.draw(
        npst.arrays("float32", (n, pixels), elements=st.sampled_from([-np.inf, 0, 0.5, 1]))
    )
    got = best_pixel(values, clear, scores, nodata=7)
    assert got.dtype == np.uint16
    assert got.shape == (bands, pixels)
    for pixel in range(pixels):
        seen = [(-scores[t, pixel], t) for t in range(n) if clear[t, pixel]]
        want = values[min(seen)[1], :, pixel].tolist() if seen else [7] * bands
        assert got[:, pixel].tolist() == want


def test_a_window_has_the_pixels_of_the_whole():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 200, (5, 3, 20, 22)).astype("uint8")
    clear, scores = rng.random((5, 20, 22)) < 0.5, rng.random((5, 20, 22)).round(1)
    part = np.s_[..., 3:11, 2:21]
    np.testing.assert_array_equal(
        best_pixel(values[part], clear[part], scores[part], 255),
        best_pixel(values, clear, scores, 255)[part],
    )
