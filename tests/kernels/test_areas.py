from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.kernels.areas import estimate

COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])


def of_counts(counts, size):
    row, col = np.indices(counts.shape).reshape(2, -1)
    return estimate(row, row, col, size, len(counts), counts.ravel())


def test_the_worked_example_of_olofsson_and_others_2014():
    """Section 5.2: deforestation 235,086 +- 68,418 pixels of 30 m, 21,158 +- 6,158 ha."""
    found = of_counts(COUNTS, PIXELS)
    area, within = found.area.value * PIXELS.sum(), 1.96 * found.area.error * PIXELS.sum()
    np.testing.assert_allclose(area[0], 235_086, atol=1)
    np.testing.assert_allclose(within[0], 68_418, atol=1)
    np.testing.assert_allclose(np.r_[area, within] * 0.09, [
        21_158, 11_686, 285_770, 581_386, 6_158, 3_756, 15_510, 16_282,
    ], atol=1)  # fmt: skip
    assert found.overall.value == pytest.approx(0.947, abs=5e-4)
    assert 1.96 * found.overall.error == pytest.approx(0.018, abs=5e-4)
    np.testing.assert_allclose(found.users.value, [0.88, 0.73, 0.93, 0.96], atol=5e-3)
    np.testing.assert_allclose(1.96 * found.users.error, [0.07, 0.10, 0.04, 0.02], atol=5e-3)
    np.testing.assert_allclose(found.producers.value, [0.75, 0.85, 0.93, 0.96], atol=6e-3)
    np.testing.assert_allclose(1.96 * found.producers.error, [0.21, 0.25, 0.03, 0.02], atol=6e-3)
    np.testing.assert_allclose(found.proportions[0], [0.0176, 0, 0.0013, 0.0011], atol=5e-5)
    assert found.proportions.sum() == pytest.approx(1)


def test_the_errors_are_those_of_the_formulae_of_the_paper():
    """Equations 6, 7 and 11, written out."""
    found = of_counts(COUNTS, PIXELS)
    n, share = COUNTS.sum(axis=1), PIXELS / PIXELS.sum()
    p = COUNTS / n[:, None]
    area = np.sqrt((share[:, None] ** 2 * p * (1 - p) / (n[:, None] - 1)).sum(axis=0))
    np.testing.assert_allclose(found.area.error, area)
    own = np.diag(p)
    np.testing.assert_allclose(found.users.error, np.sqrt(own * (1 - own) / (n - 1)))
    estimated = (PIXELS[:, None] * p).sum(axis=0)
    producers = PIXELS * own / estimated
    for j in range(4):
        others = [i for i in range(4) if i != j]
        spread = PIXELS[j] ** 2 * (1 - producers[j]) ** 2 * own[j] * (1 - own[j]) / (n[j] - 1)
        spread += producers[j] ** 2 * sum(
            PIXELS[i] ** 2 * p[i, j] * (1 - p[i, j]) / (n[i] - 1) for i in others
        )
        assert found.producers.error[j] == pytest.approx(np.sqrt(spread) / estimated[j])


def test_a_sample_finds_the_areas_of_a_population_whatever_its_strata_are():
    """Strata that are not the classes of the map; intervals hold the truth."""
    rng = np.random.default_rng(0)
    n = 20_000
    truth = rng.choice(3, n, p=[0.1, 0.3, 0.6])
    mapped = np.where(rng.random(n) < 0.2, rng.integers(0, 3, n), truth)
    stratum = np.where(rng.random(n) < 0.3, rng.integers(0, 2, n), truth == 0).astype(int)
    size = np.bincount(stratum)
    want = np.bincount(truth) / n
    held = np.zeros(3)
    for _ in range(200):
        at = np.concatenate([rng.choice(np.flatnonzero(stratum == k), 100) for k in (0, 1)])
        found = estimate(stratum[at], mapped[at], truth[at], size, 3)
        held += np.abs(found.area.value - want) <= 1.96 * found.area.error
    assert (held > 175).all()
    every = estimate(stratum, mapped, truth, size, 3)
    np.testing.assert_allclose(every.area.value, want)
    assert every.overall.value == pytest.approx((mapped == truth).mean())
    np.testing.assert_allclose(every.users.value[0], (truth[mapped == 0] == 0).mean())


def test_one_point_of_a_stratum_has_no_error_and_none_is_refused():
    found = of_counts(np.array([[1, 0], [3, 10]]), np.array([10, 100]))
    assert np.isfinite(found.area.value).all()
    assert np.isnan(found.area.error).all()
    assert np.isnan(found.overall.error)
    assert np.isnan(found.producers.error).all()
    assert np.isnan(found.users.error[0])
    own = 10 / 13  # within its own stratum, whatever the others are
    assert found.users.error[1] == pytest.approx(np.sqrt(own * (1 - own) / 12))
    with pytest.raises(ValueError, match=r"no point in the strata \[0\]"):
        of_counts(np.array([[0, 0], [3, 10]]), np.array([10, 100]))
    strata = np.array([0] + [1] * 13), np.array([0, 1] + [1] * 12), np.array([0] * 4 + [1] * 10)
    edge = estimate(*strata, np.array([10, 100, 0]), 2)  # strata that are no classes
    assert np.isnan(edge.users.error).all()
    absent = of_counts(np.array([[0, 0], [3, 10]]), np.array([0, 100]))
    assert absent.area.value[1] == pytest.approx(10 / 13)
    assert np.isnan(absent.users.value[0])
