from __future__ import annotations

import numpy as np
import torch

from geocube_ml.models.network import one_thread


def test_what_stands_behind_a_missing_month_changes_nothing(network, series):
    """Scaled series are 0 where nothing was observed; the mask tells a mean from a gap."""
    x = np.where(np.isnan(series[0]), 0.2, series[0])[:20].astype("float32")
    gap = x.copy()
    gap[:, 2] = np.nan
    filled = network.scaling.apply(gap)
    assert (filled[:, :-1, 2] == 0).all()
    assert (filled[:, -1, 2] == 0).all()
    assert (filled[:, -1, [0, 1, 3, 4, 5]] == 1).all()
    mean = x.copy()
    mean[:, 2] = network.scaling.mean
    assert not np.allclose(network.predict_proba(gap), network.predict_proba(mean), atol=1e-6)


def test_more_series_than_a_forward_pass_takes(network, series):
    x = np.tile(series[0], (18, 1, 1))  # 4320, more than two passes
    got = network.predict_proba(x)
    np.testing.assert_allclose(got, np.tile(got[:240], (18, 1)), atol=1e-6)


def test_dropout_is_off_when_predicting(network, series):
    network.networks[0].train()
    np.testing.assert_array_equal(
        network.predict_proba(series[0][:9]), network.predict_proba(series[0][:9])
    )
    assert not network.networks[0].training


def test_one_thread_gives_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
