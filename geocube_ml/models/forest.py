"""Random forest (Breiman 2001, Machine Learning 45), the baseline; scikit-learn's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from geocube_ml.models.layout import Layout
from geocube_ml.spec.models import ForestSpec


@dataclass
class ForestClassifier:
    """A forest over the flattened series; missing values are handled by its trees."""

    spec: ForestSpec
    layout: Layout
    forest: RandomForestClassifier
    n_class: int

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        found = self.forest.predict_proba(self.layout.flat(series))
        prob = np.zeros((len(series), self.n_class), np.float32)
        prob[:, self.forest.classes_] = found  # classes that it never saw stay at 0
        return prob


def fit_forest(
    spec: ForestSpec,
    series: NDArray[np.float32],
    label: NDArray[np.integer],
    n_class: int,
    *,
    layout: Layout | None = None,
    weight: NDArray[np.float32] | None = None,
    workers: int = 1,
) -> ForestClassifier:
    """Fit a random forest.

    Parameters
    ----------
    spec : ForestSpec
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) integer
        Codes 0 to `n_class` - 1.
    n_class : int
    layout : Layout, optional
        Whose channels are where, of one series by default.
    weight : (n,) float32, optional
        How much each row counts: in the choice of splits, and in the answers of the leaves.
    workers : int
        Threads; the forest does not depend on their number.

    Returns
    -------
    ForestClassifier
    """
    forest = RandomForestClassifier(
        spec.trees, min_samples_leaf=spec.min_leaf, random_state=spec.seed, n_jobs=workers
    )
    layout = layout or Layout((series.shape[2],))
    forest.fit(layout.flat(series), label, sample_weight=weight)
    forest.n_jobs = 1  # prediction is parallel over tiles
    return ForestClassifier(spec, layout, forest, n_class)
