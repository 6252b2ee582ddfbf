from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn import metrics

from geocube_ml.kernels.accuracy import (
    confusion,
    f1_by_class,
    figures,
    kappa,
    macro_f1,
    overall_accuracy,
)

N_CLASS = 4


@st.composite
def pairs(draw, unknown=False):
    """Reference and map; classes may be absent from either."""
    n = draw(st.integers(1, 40))
    codes = st.integers(0, draw(st.integers(0, N_CLASS - 1)))
    some = codes | st.sampled_from([N_CLASS, 255]) if unknown else codes
    return tuple(draw(npst.arrays("uint8", n, elements=some)) for _ in range(2))


@given(pairs())
def test_scores_are_scikit_learns(pair):
    reference, mapped = pair
    matrix = confusion(reference, mapped, N_CLASS)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(reference, mapped, labels=range(N_CLASS))
    )
    assert overall_accuracy(matrix) == pytest.approx(metrics.accuracy_score(reference, mapped))
    present = np.unique(reference)
    f1 = metrics.f1_score(
        reference, mapped, labels=range(N_CLASS), average=None, zero_division=np.nan
    )
    np.testing.assert_allclose(f1_by_class(matrix), f1)
    assert macro_f1(matrix) == pytest.approx(f1[present].mean())
    if len(np.union1d(reference, mapped)) > 1:
        assert kappa(matrix) == pytest.approx(
            metrics.cohen_kappa_score(reference, mapped), abs=1e-12
        )
    else:
        assert np.isnan(kappa(matrix))


@given(pairs(unknown=True))
def test_unknown_pixels_are_left_out(pair):
    reference, mapped = pair
    known = (reference < N_CLASS) & (mapped < N_CLASS)
    np.testing.assert_array_equal(
        confusion(reference, mapped, N_CLASS), confusion(reference[known], mapped[known], N_CLASS)
    )


def test_a_mapped_class_that_the_reference_lacks_is_not_averaged():
    """Counted by hand: class 0 has F1 2 * 8 / (10 + 8), class 1 has 1, class 2 no reference."""
    matrix = np.array([[8, 0, 2], [0, 5, 0], [0, 0, 0]])
    assert f1_by_class(matrix).tolist() == pytest.approx([8 / 9, 1, 0])
    assert macro_f1(matrix) == pytest.approx((8 / 9 + 1) / 2)


def test_without_pixels_there_is_no_score():
    nothing = confusion(np.array([255]), np.array([0]), 3)
    assert nothing.sum() == 0
    assert np.isnan([overall_accuracy(nothing), macro_f1(nothing), kappa(nothing)]).all()
    assert np.isnan(f1_by_class(nothing)).all()


@pytest.mark.parametrize("times", [1, 10**6, 10**10])
def test_scores_are_the_same_however_many_pixels(times):
    matrix = times * np.array([[20, 5], [10, 15]])
    assert kappa(matrix) == pytest.approx(0.4)
    assert overall_accuracy(matrix) == pytest.approx(0.7)
    assert macro_f1(matrix) == pytest.approx((40 / 55 + 30 / 45) / 2)


@given(pairs())
def test_further_figures_are_scikit_learns(pair):
    reference, mapped = pair
    said = figures(confusion(reference, mapped, N_CLASS))
    known = {"labels": range(N_CLASS), "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(said["users"], metrics.precision_score(*pair, **known))
    np.testing.assert_allclose(said["producers"], metrics.recall_score(*pair, **known))
    both = np.union1d(reference, mapped)
    iou = metrics.jaccard_score(*pair, labels=both, average=None, zero_division=0)
    np.testing.assert_allclose(said["iou"][both], iou)
    present = np.unique(reference)
    recall = metrics.recall_score(*pair, labels=present, average="macro", zero_division=0)
    assert said["balanced"] == pytest.approx(recall)


def test_many_matrices_at_once_are_as_each_by_itself():
    many = np.random.default_rng(0).integers(0, 9, (3, 2, 4, 4))
    many[0, 0, 2] = 0
    said = figures(many)
    for at in np.ndindex(3, 2):
        for key, value in figures(many[at]).items():
            np.testing.assert_allclose(said[key][at], value)
