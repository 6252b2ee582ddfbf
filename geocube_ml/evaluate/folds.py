"""Which rows each split trains on and tests, and by which groups its intervals are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.folds import (
    HOLDOUT,
    NO_FOLD,
    NONE,
    TEST,
    TRAIN,
    held_out,
    is_given,
    trained_on,
    with_gap,
)
from geocube_ml.errors import InputError
from geocube_ml.kernels.bootstrap import FEWEST
from geocube_ml.spec.evaluate import EvaluateSpec, Split

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # training rows, test rows

_MOST = 5000  # groups of which sums are held apart
_UNITS = {
    "random": ("polygons",),
    "polygon": ("polygons",),
    "block": ("blocks", "polygons"),
    "blocks": ("blocks", "polygons"),
    "split": ("blocks", "polygons"),
    "group": ("groups", "blocks", "polygons"),
}
"""What is drawn again, the sternest first; the next where there are too few of it."""


@dataclass(frozen=True)
class Groups:
    """By what the intervals of a split are drawn."""

    unit: str
    """``polygons``, ``blocks`` or ``groups``."""
    code: NDArray[np.int64]
    """(sample,) from 0; -1 of what is not tested."""
    n: int
    """Groups that are tested."""
    joined: bool
    """Whether there are so many that some are joined at random, whole, into one."""

    @property
    def enough(self) -> bool:
        """Whether an interval can be told at all."""
        return self.n >= FEWEST


def as_they_are(samples: xr.Dataset) -> Split:
    """The split that the bundles of a run were trained for; for others models are fitted anew."""
    return "split" if is_given(samples) else "block"


def splits_of(samples: xr.Dataset, spec: EvaluateSpec) -> tuple[Split, ...]:
    """The splits that a spec names, or the usual ones."""
    if spec.splits is not None:
        return spec.splits
    group: tuple[Split, ...] = ("group",) if "fold_group" in samples else ()
    return (as_they_are(samples), "polygon", "random", *group)


def folds_of(samples: xr.Dataset, split: str, seed: int) -> Iterator[Fold]:
    """The folds of a split.

    Raises
    ------
    InputError
        The samples have no groups, or no given split, but it is named.
    """
    block = samples["fold_block"].values
    if split == "block":
        yield trained_on(samples, by_block=True), block == HOLDOUT
    elif split == "blocks":
        for k in np.unique(block):
            codes = with_gap(samples, np.where(block == k, TEST, TRAIN).astype(np.uint8))
            yield codes == TRAIN, block == k
    elif split == "split":
        _need(samples, "split", "split_column")
        yield trained_on(samples), held_out(samples)
    elif split == "group":
        _need(samples, "fold_group", "group_column")
        group = samples["fold_group"].values
        for k in np.unique(group[group != NO_FOLD]):
            codes = np.where(group == NO_FOLD, NONE, np.where(group == k, TEST, TRAIN))
            yield with_gap(samples, codes.astype(np.uint8)) == TRAIN, group == k
    elif split == "random":
        # as many test rows as the spatial hold-out has, so that only the kind of split differs
        test = np.zeros(len(block), bool)
        drawn = np.random.default_rng(seed).permutation(len(block))
        test[drawn[: int(held_out(samples).sum())]] = True
        yield ~test, test
    else:
        fold = samples["fold_polygon"].values
        for k in np.unique(fold):
            yield fold != k, fold == k


def groups_of(samples: xr.Dataset, split: str, tested: NDArray[np.bool_]) -> Groups:
    """By what the intervals of a split are drawn; what is of no polygon goes by its block.

    Parameters
    ----------
    samples : xarray.Dataset
    split : str
    tested : (sample,) bool
        Rows that are tested in any fold.
    """
    block, polygon = samples["block"].values, samples["polygon"].values
    _, at = np.unique(block, return_inverse=True)
    by = {"blocks": block, "polygons": np.where(polygon > 0, polygon, -1 - at)}
    if split == "group":
        by["groups"] = samples["fold_group"].values
    code = np.full(len(block), -1, np.int64)
    unit, n = "", 0
    for unit in _UNITS[split]:
        names, code[tested] = np.unique(by[unit][tested], return_inverse=True)
        n = len(names)
        if n >= FEWEST:
            break
    joined = n > _MOST
    if joined:
        code[tested] = (np.random.default_rng(0).permutation(n) % _MOST)[code[tested]]
    return Groups(unit, code, n, joined)


def _need(samples: xr.Dataset, name: str, field: str) -> None:
    if name not in samples:
        raise InputError(
            f"`evaluate.splits` names {name.removeprefix('fold_')!r}, but the samples have no "
            f"`{name}`. Name a column of the labels in `samples.{field}`, or leave the split out."
        )
