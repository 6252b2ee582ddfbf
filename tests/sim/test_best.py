"""The true map, the Bayes rule, and how hard the landscape is."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy.stats import multivariate_normal

from geocube_ml.sim.best import bayes_rule, clear_series, truth_and_best
from geocube_ml.sim.grids import map_geobox
from geocube_ml.sim.landscape import SUB, mixing
from geocube_ml.sim.phenology import SCHEME
from geocube_ml.sim.scenes import landscape
from geocube_ml.spec.simulate import SimSpec

SPEC = SimSpec(folder="unused", size=96, revisit_days=15)


@pytest.fixture(scope="module")
def strips():
    return list(clear_series(SPEC))


@pytest.fixture(scope="module")
def maps():
    return truth_and_best(SPEC)


def test_the_best_map_is_the_largest_gaussian_density(strips, maps):
    rule = bayes_rule(SPEC)
    series = strips[0][2].reshape(-1, 120)[::400]
    want = [
        np.log(share) + multivariate_normal(mean, covariance).logpdf(series)
        for share, mean, covariance in zip(rule.shares, rule.mean, rule.covariance, strict=True)
    ]
    got = rule.scores(series)
    constant = 60 * np.log(2 * np.pi)
    np.testing.assert_allclose(got, np.transpose(want) + constant, rtol=1e-5, atol=1e-3)

    best = maps[1][strips[0][0]].reshape(-1)[::400]
    np.testing.assert_array_equal(best, np.argmax(want, axis=0))


def test_pure_series_have_the_mean_and_covariance_that_the_rule_knows(strips):
    """Squared distances of 120 Gaussian features have mean 120."""
    rule, land = bayes_rule(SPEC), landscape(SPEC)
    mix = mixing(land, map_geobox(SPEC.size))
    pure = np.flatnonzero(np.diff(mix.indptr) == 1)
    field = mix.indices[mix.indptr[pure]]
    first = np.unique(field, return_index=True)[1]  # pixels of a field are not independent
    series = np.concatenate([part.reshape(-1, 120) for _, _, part in strips])[pure[first]]
    away = series - rule.mean[land.classes[field[first]]]
    inverse = np.linalg.inv(rule.covariance)[land.classes[field[first]]]
    distance = np.einsum("pf,pfg,pg->p", away, inverse, away)
    assert len(distance) > 80
    assert np.mean(distance) == pytest.approx(120, rel=0.1)


def test_truth_is_the_class_of_most_sub_pixels(maps):
    """Counted point by point in the polygons, for some pixels."""
    land, geobox = landscape(SPEC), map_geobox(SPEC.size)
    truth = maps[0]
    tree = shapely.STRtree(land.polygons)
    rng = np.random.default_rng(0)
    mixed = 0
    for row, col in zip(rng.integers(0, 80, 200), rng.integers(0, 160, 200), strict=True):
        step = (np.arange(SUB) + 0.5) / SUB
        across, down = np.meshgrid(col + step, row + step)
        x = geobox.transform.c + 10 * across.ravel()
        y = geobox.transform.f - 10 * down.ravel()
        points, fields = tree.query(shapely.points(x, y), predicate="intersects")
        assert len(np.unique(points)) == SUB**2
        votes = np.bincount(land.classes[fields], minlength=len(SCHEME.names))
        mixed += votes.max() < SUB**2
        assert truth[row, col] == votes.argmax()
    assert mixed > 5


def test_shares_of_every_pixel_sum_to_one(strips):
    for _, shares, _ in strips:
        np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-6)


def test_fields_have_the_size_of_fields():
    hectares = shapely.area(landscape(SPEC).polygons) / 1e4
    assert hectares.min() > 0.2
    assert hectares.max() < 6
    assert 1 < np.median(hectares) < 2


def test_one_month_is_not_enough_and_the_best_map_is_good():
    difficulty = _benchmark()
    figures = difficulty.of_series(SimSpec(folder="unused", size=160))
    assert 0.9 < figures["best, all pixels"] < 0.98
    assert 0.05 < figures["mixed pixels"] < 0.2
    assert len(figures["forest by month"]) == 12
    assert max(figures["forest by month"]) < 0.65


def _benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "difficulty.py"
    spec = importlib.util.spec_from_file_location("difficulty", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
