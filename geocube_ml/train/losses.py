"""What a network is told of its mistakes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from geocube_ml.models.target import Target
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.training import TrainingSpec

Loss = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Of outputs, targets and weights: the mean over what is labelled, and the weights' sum."""


def make_loss(spec: TrainingSpec, target: Target, of_class: NDArray[np.float32] | None) -> Loss:
    """The loss that a spec names.

    Parameters
    ----------
    spec : TrainingSpec
    target : Target
    of_class : (class,) float32 or None
        How much each class counts.

    Returns
    -------
    Loss
    """
    if target.n_class is None:
        return lambda out, values, weight: _mean(*_squared_terms(out, values, weight))
    by_class = None if of_class is None else torch.from_numpy(of_class)
    gamma = spec.gamma if spec.loss == "focal" else 0.0

    def loss(logits: Tensor, label: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        terms = _focal_terms(logits, label, weight, gamma, spec.label_smoothing, by_class, UNKNOWN)
        return _mean(*terms)

    return loss


def _mean(each: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    total = counts.sum()
    return (counts * each).sum() / total.clamp_min(1e-12), total


def focal_loss(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    *,
    gamma: float = 2.0,
    smoothing: float = 0.0,
    of_class: Tensor | None = None,
    ignore: int = UNKNOWN,
) -> Tensor:
    """Cross entropy that counts less what is answered rightly already.

    Parameters
    ----------
    logits : (n, class, ...) float
    label : (n, ...) int64
    weight : (n, ...) float, optional
        How much each counts.
    gamma : float
        0 is cross entropy.
    smoothing : float
        Share of a label that is spread over all classes, which is never counted less.
    of_class : (class,) float, optional
        How much a label of each class counts.
    ignore : int
        Code without a label.

    Returns
    -------
    () float
        The mean over what is labelled, by weight; 0 where nothing is.

    Notes
    -----
    Lin, Goyal, Girshick, He and Dollar (2017), Focal Loss for Dense Object Detection.
    """
    return _mean(*_focal_terms(logits, label, weight, gamma, smoothing, of_class, ignore))[0]


def _focal_terms(
    logits: Tensor, label: Tensor, weight: Tensor | None, gamma: float, smoothing: float,
    of_class: Tensor | None, ignore: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(k,) losses of what is labelled, and how much each counts."""
    known = label != ignore
    log_p = functional.log_softmax(logits.movedim(1, -1)[known], dim=1)
    label = label[known]
    counts = torch.ones_like(log_p[:, 0]) if weight is None else weight[known]
    if of_class is not None:
        counts = counts * of_class.to(counts)[label]
    log_right = log_p.gather(1, label[:, None])[:, 0]
    each = -log_right
    if gamma > 0:
        # log1p: at p near 1 the power of 0 has no gradient that is a number
        wrong = (-torch.expm1(log_right)).clamp_min(torch.finfo(log_p.dtype).tiny)
        each = wrong.pow(gamma) * each
    if smoothing > 0:
        each = (1 - smoothing) * each - smoothing * log_p.mean(dim=1)
    return each, counts


def squared_error(out: Tensor, values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of numbers; NaN has no label.

    Parameters
    ----------
    out : (n, 1, ...) float
    values : (n, ...) float
        Standardized, NaN where unknown.
    weight : (n, ...) float, optional

    Returns
    -------
    () float
        The mean over what is known, by weight; 0 where nothing is.
    """
    return _mean(*_squared_terms(out, values, weight))[0]


def _squared_terms(out: Tensor, values: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    known = ~values.isnan()
    each = (out[:, 0][known] - values[known]) ** 2
    return each, torch.ones_like(each) if weight is None else weight[known]


def balanced_weights(label: NDArray[np.integer], n_class: int) -> NDArray[np.float32]:
    """(class,) how much each class counts, so that all of the training rows count equally.

    Examples
    --------
    >>> balanced_weights(np.array([0, 0, 0, 1]), 3)
    array([0.6666667, 2.       , 0.       ], dtype=float32)
    """
    count = np.bincount(label, minlength=n_class)
    there = count > 0
    weights = np.zeros(n_class, np.float32)
    weights[there] = count.sum() / (there.sum() * count[there])
    return weights
