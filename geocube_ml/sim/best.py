"""The true map, and the best one that a classifier of single pixels could draw.

The series of a pure pixel is Gaussian given its class, with mean and covariance known from the
generator's own parameters.  The Bayes rule then is a quadratic discriminant: no classifier of
pure clear-sky series errs less.  It is applied to every pixel of the map, mixed ones included,
with all bands at 10 m and without cloud; on mixed pixels it is a very good rule, not a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from geocube_ml.sim import phenology
from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import map_geobox
from geocube_ml.sim.landscape import mixing, texture_on
from geocube_ml.sim.passes import passes
from geocube_ml.sim.phenology import NOISE
from geocube_ml.sim.scenes import field_reflectance, landscape
from geocube_ml.spec.simulate import SimSpec

_ROWS = 64  # of the map that are classified at a time


@dataclass(frozen=True)
class BayesRule:
    """Gaussian classes: a quadratic discriminant."""

    shares: NDArray[np.float64]
    """(class,) prior probabilities."""

    mean: NDArray[np.float64]
    """(class, feature)"""

    covariance: NDArray[np.float64]
    """(class, feature, feature)"""

    def scores(self, series: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logarithm of share x density, up to a constant: (pixel, feature) to (pixel, class)."""
        out = []
        for share, mean, covariance in zip(self.shares, self.mean, self.covariance, strict=True):
            root = np.linalg.cholesky(covariance)
            whiten = solve_triangular(root, np.eye(len(root)), lower=True)
            white = (series - mean) @ whiten.T
            size = np.log(np.diag(root)).sum()
            out.append(np.log(share) - size - 0.5 * np.einsum("pf,pf->p", white, white))
        return np.stack(out, axis=-1)


def bayes_rule(spec: SimSpec) -> BayesRule:
    """The rule for clear-sky monthly means; features are months x bands in that order."""
    mean, loadings = _monthly_curves(spec)
    n_class, n_month, n_band = mean.shape
    deviation = loadings.reshape(n_class, -1, n_month * n_band)
    texture = np.tile(phenology.texture_loadings(), n_month)
    noise = np.repeat(_monthly_noise(spec) ** 2, n_band)
    covariance = deviation.swapaxes(1, 2) @ deviation + texture.T @ texture + np.diag(noise)
    shares = np.array(phenology.SHARES) / sum(phenology.SHARES)
    return BayesRule(shares, mean.reshape(n_class, -1), covariance)


def truth_and_best(
    spec: SimSpec, note: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Codes (y, x) of the class that holds most of each pixel, and of the best map."""
    geobox, rule = map_geobox(spec.size), bayes_rule(spec)
    truth, best = np.empty((2, *geobox.shape), np.uint8)
    for rows, shares, series in clear_series(spec):
        truth[rows] = shares.argmax(axis=-1)
        scores = rule.scores(series.reshape(-1, rule.mean.shape[1]))
        best[rows] = scores.argmax(axis=-1).reshape(series.shape[:2])
        if note:
            note(rows.stop, geobox.shape[0])
    return truth, best


def clear_series(
    spec: SimSpec,
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Strips of the map: rows, (y, x, class) shares, (y, x, month, band) clear-sky means."""
    geobox, land, sigma = map_geobox(spec.size), landscape(spec), _monthly_noise(spec)
    field = field_reflectance(land, *_monthly_curves(spec))
    one_hot = np.eye(len(phenology.SHARES), dtype=np.float32)[land.classes]
    weight = phenology.texture_loadings().astype(np.float32)
    texture = texture_on(land, geobox)
    mix = mixing(land, geobox)
    height, width = geobox.shape
    for top in range(0, height, _ROWS):
        rows = slice(top, min(top + _ROWS, height))
        part = mix[rows.start * width : rows.stop * width]
        series = (part @ field.reshape(len(field), -1)).reshape(-1, width, *field.shape[1:])
        white = generator(spec.seed, "best", top).standard_normal(series.shape, np.float32)
        series += np.einsum("tyx,tb->yxb", texture[:, rows], weight)[:, :, None]
        series += sigma[:, None].astype(np.float32) * white
        yield rows, (part @ one_hot).reshape(-1, width, len(phenology.SHARES)), series


def macro_f1(truth: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> float:
    """Mean over the classes of F1 = 2 x hits / (true + mapped pixels).

    Examples
    --------
    >>> macro_f1(np.uint8([0, 0, 1, 1]), np.uint8([0, 0, 1, 0]))
    0.7333333333333334
    """
    n_class = int(max(truth.max(), mapped.max())) + 1
    counts = np.bincount(n_class * truth.ravel().astype(int) + mapped.ravel(), minlength=n_class**2)
    table = counts.reshape(n_class, n_class)
    total = table.sum(axis=0) + table.sum(axis=1)
    return float((2 * np.diag(table)[total > 0] / total[total > 0]).mean())


def _monthly_curves(spec: SimSpec) -> tuple[phenology.Floats, phenology.Floats]:
    """Mean (class, month, band) and loadings (class, coefficient, month, band)."""
    days = np.array([passage.day for passage in passes(spec)])
    month = _months(spec)

    def average(values: phenology.Floats) -> phenology.Floats:
        each = [values[..., month == one, :].mean(axis=-2) for one in np.unique(month)]
        return np.stack(each, axis=-2)

    return average(phenology.mean(days)), average(phenology.loadings(days))


def _monthly_noise(spec: SimSpec) -> phenology.Floats:
    """Standard deviation (month,) of the noise of a monthly mean."""
    n_date = np.unique(_months(spec), return_counts=True)[1]
    return np.asarray(NOISE / np.sqrt(n_date))


def _months(spec: SimSpec) -> NDArray[np.int64]:
    """Month (date,) of every pass; a month without a pass is no feature."""
    return np.array([passage.when.month for passage in passes(spec)])
