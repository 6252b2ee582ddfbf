from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.models.network import one_thread
from geocube_ml.spec.models import ForestSpec, TempCNNSpec
from geocube_ml.train import fit_model
from tests.seasons import NAMES, make_series

QUICK = TempCNNSpec(width=8, epochs=4, batch=32)
TREES = ForestSpec(trees=8)


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
    held = np.arange(len(x)) % 5 == 0
    return fit_model(QUICK, x, label, len(NAMES), validation=held).model


@pytest.fixture(scope="session")
def forest(series):
    x, label = series
    return fit_model(TREES, x, label, len(NAMES)).model


@pytest.fixture(params=["network", "forest"])
def classifier(request):
    return request.getfixturevalue(request.param)
