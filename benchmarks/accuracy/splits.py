"""Which series are trained on and which are tested; the same for every model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from benchmarks.accuracy.sets import Labelled
from geocube_ml.errors import InputError
from geocube_ml.kernels.bootstrap import FEWEST

BLOCK = 0.25
"""Degrees of WGS84, edge of a spatial block."""

KINDS = ("random", "location", "group", "block", "leave-one-out", "given")

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows to train on, rows to test


@dataclass(frozen=True)
class Split:
    """A way to split.

    ``random``: folds with equal shares of the classes.  ``location``, ``group``, ``block``: folds
    that share no place, no group, no square of `BLOCK` degrees.  ``leave-one-out``: a fold a group.
    ``given``: the one of the set.
    """

    kind: str
    n_fold: int = 5


def folds(data: Labelled, split: Split, seed: int) -> list[Fold]:
    """The folds of a split.

    Raises
    ------
    InputError
        The set has no groups, places or split, or fewer groups or series than folds.
    """
    rows = np.arange(len(data.label))
    if split.kind == "given":
        if data.test is None:
            raise InputError(f"{data.name} has no split of its own, which `given` needs.")
        return [(rows[~data.test], rows[data.test])]
    if split.kind == "random":
        _enough(split.n_fold, len(rows), "series", data.name)
        with warnings.catch_warnings():  # a class of few series is not in every fold
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            try:
                return list(StratifiedKFold(split.n_fold, shuffle=True, random_state=seed).split(
                    rows, data.label
                ))  # fmt: skip
            except ValueError as error:
                most = int(np.bincount(data.label).max())
                raise InputError(
                    f"{data.name}: {split.n_fold} folds, but no class has more than {most} series. "
                    f"Take at most {most}."
                ) from error
    group = _groups(data, split.kind)
    n = len(np.unique(group))
    if split.kind == "leave-one-out":
        _enough(2, n, "groups", data.name)
        return [(rows[group != one], rows[group == one]) for one in np.unique(group)]
    _enough(split.n_fold, n, f"groups ({split.kind})", data.name)
    splitter = StratifiedGroupKFold(split.n_fold, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(rows, data.label, group))


def _groups(data: Labelled, kind: str) -> NDArray[np.int64]:
    found = {
        "location": data.locations(),
        "block": data.blocks(BLOCK),
        "group": data.group,
        "leave-one-out": data.group,
    }[kind]
    if found is None:
        needs = "groups" if kind in ("group", "leave-one-out") else "coordinates (lon, lat)"
        raise InputError(f"{data.name} has no {needs}, which the split {kind!r} needs.")
    return found


def _enough(n_fold: int, n: int, what: str, name: str) -> None:
    if n < n_fold:
        raise InputError(
            f"{name}: {n_fold} folds, but {n} {what}. Take at most {n} folds (--folds)."
        )


def units(data: Labelled, kind: str) -> tuple[str, NDArray[np.int64]]:
    """By what intervals are drawn: its name, and (n,) the number of each series' one.

    Series of one place are no independent witnesses.  Of fewer than ten blocks or groups no
    interval can be told; then places are drawn, or series.
    """
    candidates = [("places", data.locations()), ("series", np.arange(len(data.label)))]
    if kind == "block":
        candidates.insert(0, (f"blocks of {BLOCK} degrees", data.blocks(BLOCK)))
    else:
        candidates.insert(0, ("groups", data.group))
    for name, code in candidates:
        if code is not None and len(np.unique(code)) >= FEWEST:
            return name, code
    return "series", np.arange(len(data.label))
