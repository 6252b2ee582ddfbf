"""Whether probabilities are as often right as they say, and one temperature that mends them.

A model's probabilities are softened (or sharpened) by one number that is learnt on rows which the
model was not fitted on (Guo, C., Pleiss, G., Sun, Y., Weinberger, K. Q. (2017), On Calibration of
Modern Neural Networks, ICML, https://arxiv.org/abs/1706.04599).  The most likely class stays what
it is, so that no map and no F1 changes.

Rows whose label is no class (255), or that have no probabilities (NaN: nothing was observed), count
nowhere here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

FLOOR = 1e-5
"""Least probability that is taken as said: a forest none of whose trees votes for a class says 0,
which one such sample would make an infinite loss."""

_COLDEST, _HOTTEST = 0.2, 20.0  # where every row is right, the loss falls without end

Real = np.floating  # of any width


def soften(prob: NDArray[Real], temperature: float) -> NDArray[np.float32]:
    """Probabilities at a temperature: above 1 softer, below 1 sharper.

    Parameters
    ----------
    prob : (n, class) float
        Below `FLOOR` they count as `FLOOR`; NaN stays NaN.
    temperature : float
        Log-probabilities are divided by it; 1 changes nothing.

    Returns
    -------
    (n, class) float32
        Each row sums to 1.

    Examples
    --------
    >>> soften(np.array([[0.9, 0.1]]), 2)
    array([[0.75, 0.25]], dtype=float32)
    """
    if temperature == 1:
        return prob.astype(np.float32)
    logit = _logs(prob) / np.float32(temperature)
    logit -= logit.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(logit, out=logit)
    logit /= logit.sum(axis=1, keepdims=True)
    return logit


def fit_temperature(
    prob: NDArray[Real], label: NDArray[np.integer], weight: NDArray[Real] | None = None
) -> float:
    """The temperature with the least log loss; 1 where there is no row to learn it from.

    Parameters
    ----------
    prob : (n, class) float
        Of rows that the model was not fitted on.
    label : (n,) int
        Class codes.
    weight : (n,) float, optional
        Of each row in the loss.

    Returns
    -------
    float
        Between 0.2 and 20: where every row is right, the loss falls without end.

    Examples
    --------
    A model that is always 99 % sure, and right in three of four cases:

    >>> sure = np.array([[0.99, 0.01]] * 4)
    >>> round(fit_temperature(sure, np.array([0, 0, 0, 1])), 2)
    4.18
    """
    known = _known(prob, label)
    label = label[known].astype(np.intp)
    if prob.shape[1] < 2 or not len(label):
        return 1.0
    logs = _logs(prob[known])
    logs -= logs.max(axis=1, keepdims=True)
    own = np.take_along_axis(logs, label[:, None], axis=1)[:, 0]
    share = np.ones(len(label)) if weight is None else weight[known].astype(np.float64)
    if not share.sum() > 0:
        return 1.0
    share /= share.sum()

    def loss(log_temperature: float) -> float:
        cold = np.float32(np.exp(-log_temperature))
        return float(share @ (np.log(np.exp(logs * cold).sum(axis=1)) - own * cold))

    # convex in 1 / T, so that there is one minimum in log T too
    ends = (np.log(_COLDEST), np.log(_HOTTEST))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def log_loss(prob: NDArray[Real], label: NDArray[np.integer]) -> float:
    """Mean of -ln(probability of the true class), at least `FLOOR`; NaN without rows.

    Examples
    --------
    >>> round(log_loss(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])), 4)
    0.4581
    """
    losses = row_losses(prob, label)
    known = np.isfinite(losses)
    return float(losses[known].mean()) if known.any() else float("nan")


def row_losses(prob: NDArray[Real], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """The log loss of each row, (n,); NaN for a row that does not count."""
    losses = np.full(len(label), np.nan)
    known = _known(prob, label)
    own = np.take_along_axis(prob[known], label[known].astype(np.intp)[:, None], axis=1)[:, 0]
    losses[known] = -np.log(np.maximum(own, FLOOR), dtype=np.float64)
    return losses


def reliability(
    prob: NDArray[Real],
    label: NDArray[np.integer],
    bins: int = 15,
    group: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    """How sure a model was and how often it was right, in bins of the highest probability.

    Parameters
    ----------
    prob : (n, class) float
    label : (n,) int
    bins : int
        Of equal width over 0 to 1.
    group : (n,) int, optional
        Codes from 0: each group is counted by itself.

    Returns
    -------
    (3, bins) or (group, 3, bins) float64
        Number of rows, sum of their highest probabilities, number of rows that are right.  Those
        of disjoint rows may be added.

    Examples
    --------
    >>> reliability(np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 0]), bins=2)
    array([[0. , 2. ],
           [0. , 1.6],
           [0. , 1. ]])
    """
    known = _known(prob, label)
    n_group = 1 if group is None else int(group.max(initial=-1)) + 1
    sure = prob[known].max(axis=1, initial=0).astype(np.float64)
    right = (prob[known].argmax(axis=1) == label[known]).astype(np.float64)
    # a bin holds its upper end, as in the paper
    at = np.clip(np.ceil(sure * bins).astype(np.intp) - 1, 0, bins - 1)
    if group is not None:
        at += group[known].astype(np.intp) * bins
    counted = np.stack(
        [
            np.bincount(at, values, n_group * bins).reshape(n_group, bins)
            for values in (np.ones_like(sure), sure, right)
        ],
        axis=1,
    )
    return np.asarray(counted[0] if group is None else counted, np.float64)


def calibration_error(counted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected calibration error of what `reliability` counted; NaN without rows.

    Parameters
    ----------
    counted : (..., 3, bins) float64

    Returns
    -------
    (...) float64

    Examples
    --------
    >>> float(calibration_error(np.array([[0, 2], [0, 1.5], [0, 1]])))
    0.25
    """
    n, sure, right = np.moveaxis(counted, -2, 0)
    total = n.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        error: NDArray[np.float64] = np.abs(sure - right).sum(axis=-1) / total
    return error


def expected_calibration_error(
    prob: NDArray[Real], label: NDArray[np.integer], bins: int = 15
) -> float:
    """Mean distance between how sure a model is and how often it is right; NaN without rows.

    The mean is over bins of equal width of the highest probability, weighted by their rows.

    Examples
    --------
    >>> prob = np.array([[0.8, 0.2]] * 4)
    >>> round(expected_calibration_error(prob, np.array([0, 0, 0, 1])), 3)
    0.05
    """
    return float(calibration_error(reliability(prob, label, bins)))


def _logs(prob: NDArray[Real]) -> NDArray[np.float32]:
    logs: NDArray[np.float32] = np.log(np.maximum(prob, FLOOR), dtype=np.float32)
    return logs


def _known(prob: NDArray[Real], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    is_class = (label >= 0) & (label < prob.shape[1])
    return np.asarray(is_class & np.isfinite(prob).all(axis=1), bool)
