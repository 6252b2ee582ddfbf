from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.models import patches
from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.patches import PatchModel, window_of, windows
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.target import Target
from geocube_ml.spec.networks import DeepLabSpec, UNetSpec

LAYOUT = Layout((2,), (1,))
STEPS, SIZE = 2, (61, 83)  # no multiple of any stride
SPECS = {
    "unet": UNetSpec(width=4, depth=2),
    "deeplab": DeepLabSpec(width=4, rates=(1, 2)),
}


def make_model(spec, target=None, members=1):
    target = target or Target(3)
    torch.manual_seed(0)
    networks = [build_network(spec, LAYOUT, STEPS, target.n_out) for _ in range(members)]
    for network in networks:  # as if trained: the running statistics are others than 0 and 1
        network.train()(torch.randn(4, 5, STEPS, 16, 16))
        network.eval()
    scaling = Scaling(np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3]))
    history = [[{"epoch": 1, "loss": 0.5}]] * members
    return PatchModel(spec, LAYOUT, STEPS, target, scaling, networks, history)


@pytest.fixture(scope="module", params=SPECS)
def model(request):
    return make_model(SPECS[request.param])


@pytest.fixture(scope="module")
def picture():
    """(n, time, channel, h, w) physical values, a fifth of them missing."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(2, STEPS, 3, *SIZE)).astype("float32")
    series[rng.random(series.shape) < 0.2] = np.nan
    series[:, 1:, 2] = series[:, :1, 2]  # static: the same at every step
    return series


@pytest.fixture(scope="module")
def whole(model, picture):
    return model.predict_proba(picture)


def test_probabilities_sum_to_one_at_every_pixel(whole):
    assert whole.shape == (2, 3, *SIZE)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    top=st.integers(0, SIZE[0] - 1), left=st.integers(0, SIZE[1] - 1),
    high=st.integers(1, 40), wide=st.integers(1, 40),
)  # fmt: skip
@pytest.mark.parametrize("name", SPECS)
def test_a_window_with_its_halo_has_the_answers_of_the_whole(name, picture, top, left, high, wide):
    model = make_model(SPECS[name])
    core = slice(top, min(top + high, SIZE[0])), slice(left, min(left + wide, SIZE[1]))
    window = window_of(core, SIZE, model.halo, model.stride)
    found = model.predict_proba(picture[:1, :, :, *window.seen])[..., *window.within]
    want = model.predict_proba(picture[:1])[..., *core]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_less_than_the_halo_is_not_enough(model, picture, whole):
    """So that the test before can fail."""
    window = window_of((slice(24, 40), slice(24, 40)), SIZE, 0, model.stride)
    found = model.predict_proba(picture[:, :, :, *window.seen])
    assert np.abs(found - whole[..., 24:40, 24:40]).max() > 1e-3


def test_a_large_picture_is_answered_in_parts(model, picture, whole, monkeypatch):
    monkeypatch.setattr(patches, "_EDGE", 24)
    np.testing.assert_allclose(model.predict_proba(picture), whole, atol=1e-5)


def test_windows_cover_a_picture_once():
    found = np.zeros(SIZE, int)
    for window in windows(SIZE, 24, 8, 4):
        found[window.core] += 1
        assert window.seen[0].start % 4 == window.seen[1].start % 4 == 0
        assert found[window.seen][window.within].shape == found[window.core].shape
    assert (found == 1).all()


def test_members_are_averaged(picture):
    model = make_model(SPECS["unet"], members=2)
    apart = [
        PatchModel(model.spec, LAYOUT, STEPS, model.target, model.scaling, [network])
        for network in model.networks
    ]
    mean = np.mean([one.predict_proba(picture) for one in apart], axis=0)
    np.testing.assert_allclose(model.predict_proba(picture), mean, atol=1e-6)


def test_numbers_are_in_their_unit(picture):
    model = make_model(SPECS["unet"], Target(None, 100.0, 20.0))
    found = model.predict(picture)
    assert found.shape == (2, *SIZE)
    assert abs(found.mean() - 100) < 40


def test_what_is_kept_answers_alike(model, picture, whole):
    again = PatchModel.restored(
        model.spec, LAYOUT, STEPS, model.target, model.state(), model.said()
    )
    assert isinstance(again, PatchModel)
    np.testing.assert_array_equal(again.predict_proba(picture), whole)
    assert again.history == model.history
    short = {key: value for key, value in model.state().items() if "head" not in key}
    with pytest.raises(RuntimeError, match="head"):
        PatchModel.restored(model.spec, LAYOUT, STEPS, model.target, short, model.said())
