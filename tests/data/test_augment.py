from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocube_ml.data.augment import augment, clouds, drop, jitter, scale, shift
from geocube_ml.errors import InputError
from geocube_ml.spec.augment import AugmentSpec

SOURCES = {"s1": slice(0, 2), "s2": slice(2, 5), "dem": slice(5, 6)}
FULL = AugmentSpec(
    shift=2, drop=0.3, jitter=0.1, scale=0.1, clouds=0.7, cloud_sources=("s2",), bright=0.5
)


def made(n=200, steps=12, rest=(), seed=0):
    """Standard normal values, a fifth of the steps of each source missing, terrain repeated."""
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(n, steps, 6, *rest)).astype(np.float32)
    series[:, :, 5] = series[:, :1, 5]
    for part in (SOURCES["s1"], SOURCES["s2"]):
        gone = rng.random((n, steps)) < 0.2
        series[:, :, part][gone] = np.nan
    return series


def rng(seed=0):
    return np.random.default_rng(seed)


@given(seed=st.integers(0, 50), rest=st.sampled_from(((), (3, 2))))
def test_all_at_once_keeps_shapes_terrain_and_an_observation(seed, rest):
    series = made(20, rest=rest, seed=seed)
    before = series.copy()
    out = augment(series, FULL, rng(seed), SOURCES, ["dem"])
    np.testing.assert_array_equal(series, before)  # not in place
    assert out.shape == series.shape
    assert out.dtype == np.float32
    still = out[:, :, SOURCES["dem"]]
    assert np.isfinite(still).all()  # neither moved nor dropped
    np.testing.assert_array_equal(still, np.broadcast_to(still[:, :1], still.shape))
    np.testing.assert_array_equal(out, augment(series, FULL, rng(seed), SOURCES, ["dem"]))
    assert not np.array_equal(out, augment(series, FULL, rng(seed + 1), SOURCES, ["dem"]), True)
    few = np.full((50, 4, 1), np.nan, np.float32)
    few[:, 0] = 1
    hard = AugmentSpec(shift=3, drop=0.9, clouds=1, cloud_steps=4)
    assert (~np.isnan(augment(few, hard, rng(seed)))).sum(axis=1).all()


def test_nothing_is_varied_by_default():
    series = made()
    np.testing.assert_array_equal(augment(series, AugmentSpec(), rng(), SOURCES, ["dem"]), series)


def test_a_shift_moves_all_series_together_and_as_often_either_way():
    series = made(3000)
    every = [SOURCES["s1"], SOURCES["s2"]]
    out = shift(series, rng(), 2, every)
    np.testing.assert_array_equal(out[:, :, 5], series[:, :, 5])
    found = np.zeros(5, int)
    for one, moved in zip(series[:, :, :5], out[:, :, :5], strict=True):
        for by in range(-2, 3):
            want = np.full_like(one, np.nan)
            want[max(by, 0) : 12 + min(by, 0)] = one[max(-by, 0) : 12 - max(by, 0)]
            if np.array_equal(moved, want, equal_nan=True):
                found[by + 2] += 1
    assert found.sum() == 3000
    assert found.min() > 500


def test_steps_are_dropped_of_a_source_at_a_time():
    series = np.ones((4000, 12, 6), np.float32)
    out = drop(series, rng(), 0.25, [SOURCES["s1"], SOURCES["s2"]])
    gone = np.isnan(out)
    assert (gone[:, :, :2].all(axis=2) == gone[:, :, 0]).all()
    assert (gone[:, :, 2:5].all(axis=2) == gone[:, :, 2]).all()
    assert not gone[:, :, 5].any()
    assert gone[:, :, 0].mean() == pytest.approx(0.25, abs=0.01)
    both = (gone[:, :, 0] & gone[:, :, 2]).mean()
    assert both == pytest.approx(0.25**2, abs=0.01)  # independent of each other


def test_jitter_and_scale_have_their_spread():
    series = np.full((4000, 3, 6), 2, np.float32)
    noise = jitter(series, rng(), 0.5, [SOURCES["dem"]]) - series
    assert noise.std() == pytest.approx(0.5, abs=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert np.corrcoef(noise[:, 0, 0], noise[:, 1, 0])[0, 1] == pytest.approx(0, abs=0.05)
    np.testing.assert_array_equal(noise[:, 0, 5], noise[:, 2, 5])
    factor = scale(series, rng(), 0.2) / series
    np.testing.assert_array_equal(factor[:, 0], factor[:, 2])  # one a series and band
    assert factor.std() == pytest.approx(0.2, abs=0.01)
    assert scale(series, rng(), 3).min() == 0


def test_clouds_are_runs_that_are_missing_or_brighter():
    series = np.zeros((4000, 12, 6), np.float32)
    out = clouds(series, rng(), 0.6, 4, [SOURCES["s2"]], bright=0.25, brightness=2)
    others = np.delete(out, np.r_[SOURCES["s2"]], axis=2)
    assert not others.any()
    missing, brighter = np.isnan(out[:, :, 2]), out[:, :, 2] > 0
    np.testing.assert_array_equal(out[:, :, 2], out[:, :, 4])  # all bands alike
    assert np.nanmax(out) <= 2
    for of, share in ((missing, 0.6 * 0.75), (brighter, 0.6 * 0.25)):
        some = of[of.any(axis=1)]
        assert len(some) / 4000 == pytest.approx(share, abs=0.03)
        begins = (np.diff(some.astype(int), axis=1, prepend=0) == 1).sum(axis=1)
        assert (begins == 1).all()  # one run
        lengths = np.bincount(some.sum(axis=1), minlength=5)[1:] / len(some)
        np.testing.assert_allclose(lengths, 0.25, atol=0.06)
        assert some.any(axis=0).all()  # anywhere


def test_clouds_over_what_is_no_series_are_refused():
    spec = AugmentSpec(clouds=0.5, cloud_sources=("dem", "s3"))
    with pytest.raises(InputError, match=r"names dem, s3, but the series are s1, s2\. Name some"):
        augment(made(2), spec, rng(), SOURCES, ["dem"])


def test_a_static_source_is_no_observation_that_is_kept():
    series = np.ones((200, 4, 6), np.float32)
    for spec in (AugmentSpec(drop=0.9), AugmentSpec(shift=3), AugmentSpec(clouds=1, cloud_steps=4)):
        seen = ~np.isnan(augment(series, spec, rng(), SOURCES, ["dem"])[:, :, :5])
        assert seen.any(axis=(1, 2)).all(), spec
        assert not seen.all()
    one = augment(series, AugmentSpec(clouds=1, cloud_steps=4, cloud_sources=("s2",)), rng(),
                  SOURCES, ["dem"])  # fmt: skip
    assert np.isnan(one[:, :, SOURCES["s2"]]).all(axis=(1, 2)).any()  # the other series is left
