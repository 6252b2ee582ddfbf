from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.models.forest import fit_forest
from geocube_ml.models.network import fit_network, one_thread
from geocube_ml.spec.models import ForestSpec, TempCNNSpec
from tests.seasons import NAMES, curves

QUICK = TempCNNSpec(width=8, epochs=4, batch=32)
TREES = ForestSpec(trees=8)


def make_series(n=240, months=6, bands=3, seed=0):
    """(n, month, band) physical values with missing months, and the class of each."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % len(NAMES)).astype("uint8")
    series = curves(label.astype(int), months, bands, len(NAMES))
    series = 1e-4 * (series + rng.normal(0, 250, series.shape))
    series[rng.random(series.shape[:2]) < 0.2] = np.nan
    return series.astype("float32"), label


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches on busy cores: more threads would only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def series():
    return make_series()


@pytest.fixture(scope="session")
def network(series):
    x, label = series
    return fit_network(QUICK, x, label, len(NAMES), validation=np.arange(len(x)) % 5 == 0)


@pytest.fixture(scope="session")
def forest(series):
    x, label = series
    return fit_forest(TREES, x, label, len(NAMES))


@pytest.fixture(params=["network", "forest"])
def classifier(request):
    return request.getfixturevalue(request.param)
