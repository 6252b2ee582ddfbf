"""What the series say of each label, without asking the label's own polygon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.neighbors import NearestNeighbors

from geocube_ml.data.sources import described
from geocube_ml.kernels.doubt import class_distance, votes
from geocube_ml.kernels.gapfill import fill
from geocube_ml.kernels.sampling import draw, spread
from geocube_ml.models.fit import Fit
from geocube_ml.spec.doctor import DoctorSpec

FOLDS = 5
"""Parts of the labels; each is judged by a forest that was grown on the others."""

_ROWS_A_TREE = 10_000  # of a large table a tree sees so many: time does not grow with its square
_AXES = 20  # principal axes in which neighbours are looked for
_VOICES = 5  # series of one polygon that are asked as neighbours: a large one is not many


@dataclass(frozen=True)
class Series:
    """The series of samples as numbers, one row a sample."""

    observed: NDArray[np.float32]
    """(n, feature) physical values, NaN where nothing was observed."""
    filled: NDArray[np.float32]
    """(n, feature), gaps interpolated in time, and what no step of a series has by the median."""


@dataclass(frozen=True)
class Evidence:
    """What is said of the class of each sample; columns are the classes that are judged."""

    forest: NDArray[np.float32]
    """(n, class) probabilities of the forest that was grown on other labels."""
    neighbours: NDArray[np.float32]
    """(n, class) shares of the classes among the nearest series of other labels."""
    distance: NDArray[np.float32]
    """(n, class) distance to the middle of each class's other labels, in its spreads; NaN if
    unknown."""
    k: int
    """Neighbours that were asked."""


def series_of(samples: xr.Dataset) -> Series:
    """All sources of a sample table, one row a sample.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`: series (sample, time, NAME_band) and static sources (sample,
        NAME_band) as counts, with ``nodata``, ``scale_factor`` and ``add_offset``.

    Returns
    -------
    Series
    """
    fit = Fit.model_validate(described(samples))
    stacked = fit.stacked({name: samples[name].values for name in fit.names})
    observed = fit.layout.flat(stacked)
    if fit.steps:
        days = samples["time"].values.astype("datetime64[s]").astype(np.float64) / 86_400
        filled = fill(np.ascontiguousarray(stacked.transpose(1, 0, 2)), np.nan, days)
        stacked = filled.transpose(1, 0, 2)
    filled = fit.layout.flat(stacked).copy()
    for column in filled.T:
        gap = np.isnan(column)
        if gap.any():
            column[gap] = 0.0 if gap.all() else np.median(column[~gap])
    return Series(observed, filled)


def weigh(
    series: Series,
    label: NDArray[np.integer],
    group: NDArray[np.integer],
    weight: NDArray[np.float32],
    spec: DoctorSpec,
    workers: int = 1,
) -> Evidence:
    """Ask a forest, the neighbours and the middles of the classes.

    Parameters
    ----------
    series : Series
        Of n samples.
    label : (n,) integer
        Codes from 0, each there in two groups at least.
    group : (n,) integer
        Label (polygon) that each sample belongs to, numbered from 0; all of one class.
    weight : (n,) float32
        How much a sample counts for the forest.
    spec : DoctorSpec
    workers : int
        Threads; nothing depends on their number.

    Returns
    -------
    Evidence

    Notes
    -----
    The forest is of extremely randomized trees (Geurts, Ernst and Wehenkel 2006, Machine Learning
    63, 3): on noisy labels they were the better judges.
    """
    n_class, rng = int(label.max()) + 1, np.random.default_rng(spec.seed)
    of_group = np.empty(int(group.max()) + 1, np.int64)
    of_group[group] = label
    fold = spread(of_group, min(FOLDS, len(of_group)), rng)[group]
    forest = np.zeros((len(label), n_class), np.float32)
    for held in range(int(fold.max()) + 1):
        rest, asked = fold != held, fold == held
        trees = ExtraTreesClassifier(
            spec.trees, n_jobs=workers, random_state=spec.seed,
            **({"bootstrap": True, "max_samples": _ROWS_A_TREE} if rest.sum() > _ROWS_A_TREE
               else {}),
        )  # fmt: skip
        trees.fit(series.filled[rest], label[rest], sample_weight=weight[rest])
        forest[np.ix_(asked, trees.classes_)] = trees.predict_proba(series.filled[asked])
    k = min(spec.neighbours, len(of_group) - 1)
    return Evidence(
        forest,
        _neighbours(series.filled, label, group, k, n_class, rng, workers),
        class_distance(series.observed, label, group, n_class),
        k,
    )


def _neighbours(
    series: NDArray[np.float32],
    label: NDArray[np.integer],
    group: NDArray[np.integer],
    k: int,
    n_class: int,
    rng: np.random.Generator,
    workers: int,
) -> NDArray[np.float32]:
    std = series.std(axis=0)
    scaled = (series - series.mean(axis=0)) / np.where(std > 0, std, 1)
    axes = min(_AXES, *scaled.shape)
    if axes < scaled.shape[1]:
        scaled = PCA(axes, svd_solver="covariance_eigh").fit_transform(scaled)
    asked = draw(group, _VOICES, rng)
    # of the own polygon there are at most so many among those that are asked
    found = NearestNeighbors(n_neighbors=min(k + _VOICES, len(asked)), n_jobs=workers)
    found.fit(scaled[asked])
    nearest = found.kneighbors(scaled, return_distance=False)
    return votes(nearest, group, group[asked], label[asked], k, n_class)
