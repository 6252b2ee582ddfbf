"""Folds of a sample table, how far they lie apart, and which rows are trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import KDTree
from sklearn.model_selection import StratifiedGroupKFold

from geocube_ml.data.apart import Ground, groups_apart
from geocube_ml.errors import InputError, listed
from geocube_ml.kernels.sampling import blocks, spread
from geocube_ml.spec.samples import SamplesSpec

HOLDOUT = 0
"""Fold of spatial blocks that no model is trained on, unless a given split says which."""

SPLITS = ("train", "validation", "test")
"""Values of a given split, in the order of their codes."""

TRAIN, VALIDATION, TEST, GAP, NONE = range(5)
"""What a sample is for, by `split_codes` and `with_gap`."""

NO_FOLD = -1
"""Of a sample whose label has no value of the group column; it is in no fold."""


def make_folds(
    x: NDArray[Any],
    y: NDArray[Any],
    polygon: NDArray[Any],
    label: NDArray[Any],
    columns: Mapping[str, NDArray[Any]],
    spec: SamplesSpec,
) -> dict[str, tuple[Any, ...]]:
    """Blocks and folds of samples, as variables of a table.

    Parameters
    ----------
    x, y : (n,) float
        Metres.
    polygon : (n,) integer
        Above 0 the polygon; what is of none goes by its block.
    label : (n,) uint8
    columns : mapping
        Kept columns of the labels, (n,) each.
    spec : SamplesSpec

    Returns
    -------
    dict
        ``block``, ``fold_random``, ``fold_polygon``, ``fold_block``; ``fold_group`` and ``split``
        where a column is named.  No polygon lies in two folds of the last three kinds or of
        blocks: its block is that of the mean of its samples.

    Raises
    ------
    InputError
        Fewer blocks, polygons, groups or samples of any class than folds; a column that the labels
        lack; a split that is none.
    """
    block = _blocks(x, y, polygon, spec.block_m)
    owner = np.where(polygon > 0, polygon, -1 - np.unique(block, return_inverse=True)[1])
    made: dict[str, tuple[Any, ...]] = {
        "block": ("sample", block),
        "fold_block": ("sample", _grouped(label, block, spec, "spatial blocks")),
        "fold_polygon": ("sample", _grouped(label, owner, spec, "polygons")),
        "fold_random": (
            "sample", spread(label, spec.n_fold, np.random.default_rng(spec.seed)),
        ),
    }  # fmt: skip
    if spec.group_column is not None:
        values = _column("group_column", spec.group_column, columns)
        made["fold_group"] = _groups(_whole(values, x, y, polygon), spec.group_column)
    if spec.split_column is not None:
        values = _column("split_column", spec.split_column, columns)
        made["split"] = _split(_whole(values, x, y, polygon), spec.split_column)
    return made


def fold_distances(samples: Mapping[str, Any] | xr.Dataset) -> dict[str, dict[str, Any]]:
    """How near the samples of each fold lie to those of the others.

    Parameters
    ----------
    samples : xarray.Dataset
        ``x``, ``y`` and folds; ``outline`` of objects.

    Returns
    -------
    dict
        Kind of fold (``random``, ``polygon``, ``block``, ``group``, ``split``) to fold to
        ``n``, ``min_m`` and ``median_m``: metres from its samples to the nearest of another fold,
        the median that of at most 2,000 drawn ones.  Objects are as far apart as their outlines.
        Samples that are in no fold are left out.
    """
    ground = Ground.of(samples)
    found: dict[str, dict[str, Any]] = {}
    for kind in ("random", "polygon", "block", "group", "split"):
        name = kind if kind == "split" else f"fold_{kind}"
        if name not in samples:
            continue
        fold = np.asarray(samples[name])
        used = fold != ("" if kind == "split" else NO_FOLD)
        group = np.full(len(fold), -1)
        names, group[used] = np.unique(fold[used], return_inverse=True)
        told = groups_apart(ground, group)
        found[kind] = {str(one): said for one, said in zip(names.tolist(), told, strict=True)}
    return found


def is_given(samples: xr.Dataset) -> bool:
    """Whether a column of the labels says what is trained on and what is tested."""
    return "split" in samples


def held_out(samples: xr.Dataset) -> NDArray[np.bool_]:
    """(sample,): the rows that no model of a run is trained on and all are judged on.

    Those whose given split is ``test``; without one, the first fold of spatial blocks.
    """
    if is_given(samples):
        return np.asarray(samples["split"].values == "test")
    return np.asarray(samples["fold_block"].values == HOLDOUT)


def split_codes(
    samples: xr.Dataset, *, by_block: bool = False, validation: int | None = None
) -> NDArray[np.uint8]:
    """What each sample is for, before the gap is taken out.

    Parameters
    ----------
    samples : xarray.Dataset
    by_block : bool
        Go by the spatial blocks even if a split is given.
    validation : int, optional
        Fold of spatial blocks that validates; by default none does.  A given split says its own.

    Returns
    -------
    (sample,) uint8
        ``TRAIN``, ``VALIDATION``, ``TEST``: by the given split, or else by ``fold_block``, whose
        first fold is tested.  ``NONE``: the given split says nothing.
    """
    codes = np.full(samples.sizes["sample"], TRAIN, np.uint8)
    if is_given(samples) and not by_block:
        split = samples["split"].values
        for code, name in ((VALIDATION, "validation"), (TEST, "test"), (NONE, "")):
            codes[split == name] = code
        return codes
    fold = samples["fold_block"].values
    if validation is not None:
        codes[fold == validation] = VALIDATION
    codes[fold == HOLDOUT] = TEST
    return codes


def with_gap(
    samples: xr.Dataset, codes: NDArray[np.uint8], gap_m: float | None = None
) -> NDArray[np.uint8]:
    """What each sample is for, ``GAP`` where it is too near to others.

    Parameters
    ----------
    samples : xarray.Dataset
    codes : (sample,) uint8
        From `split_codes`.
    gap_m : float, optional
        Metres; that of the table by default.

    Returns
    -------
    (sample,) uint8
        ``GAP`` is what lies nearer than the gap to a sample that is tested or, of what would train,
        to one that validates.  Objects are as far apart as their outlines.
    """
    gap = float(samples.attrs.get("gap_m", 0)) if gap_m is None else gap_m
    codes = codes.copy()
    if gap > 0:
        ground = Ground.of(samples)
        for held, lower in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
            others = np.flatnonzero(np.isin(codes, lower))
            far = ground.far(others, [ground.tree(codes == held)], within=gap)
            codes[others[far < gap]] = GAP
    return codes


def trained_on(samples: xr.Dataset, *, by_block: bool = False) -> NDArray[np.bool_]:
    """(sample,): the rows that the models of a run are trained on.

    Those whose given split is ``train``, or without one those that are not held out; in either case
    none that is nearer than the gap to what is.  Rows of ``validation`` are not among them.
    """
    return np.asarray(with_gap(samples, split_codes(samples, by_block=by_block)) == TRAIN)


def count_polygons(samples: xr.Dataset, rows: NDArray[np.bool_]) -> int:
    """Number of polygons that some rows of a sample table come from; background is none."""
    polygons = samples["polygon"].values[rows]
    return len(np.unique(polygons[polygons > 0]))


def _blocks(
    x: NDArray[Any], y: NDArray[Any], polygon: NDArray[Any], edge: float
) -> NDArray[np.int64]:
    """Spatial block of each sample; that of its polygon's mean pixel, so none is cut in two."""
    _, at = np.unique(polygon, return_inverse=True)
    n = np.bincount(at)
    mean_x, mean_y = np.bincount(at, x) / n, np.bincount(at, y) / n
    of_polygon = blocks(mean_x, mean_y, edge)[at]
    return np.where(polygon > 0, of_polygon, blocks(x, y, edge))


def _grouped(
    label: NDArray[Any], group: NDArray[Any], spec: SamplesSpec, kind: str
) -> NDArray[np.int16]:
    """Fold of each sample; groups stay whole, classes are spread as evenly as that allows."""
    _, first, at = np.unique(group, return_index=True, return_inverse=True)
    n, most = len(first), int(np.bincount(label).max())
    if n < spec.n_fold:
        raise InputError(
            f"{spec.n_fold} folds need as many {kind}, but the samples lie in {n}. Lower "
            f"`samples.n_fold`, or `samples.block_m` ({spec.block_m:g} m now)."
        )
    if most < spec.n_fold:
        raise InputError(
            f"{spec.n_fold} folds need a class with as many samples, but the largest has {most}. "
            "Lower `samples.n_fold`, or draw more samples."
        )
    folds = np.empty(len(label), np.int16)
    splitter = StratifiedGroupKFold(spec.n_fold, shuffle=True, random_state=spec.seed)
    with warnings.catch_warnings():
        # a class with fewer samples than folds is reported with the scores
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(label, label, group)):
            folds[test] = fold
    of_group = folds[first]
    for empty in np.setdiff1d(np.arange(spec.n_fold), of_group):
        # few groups of mixed classes can leave a fold empty: it gets the smallest of the fullest
        fullest = np.flatnonzero(of_group == np.bincount(of_group).argmax())
        of_group[fullest[np.bincount(at)[fullest].argmin()]] = empty
    return of_group[at]


def _column(field: str, name: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Values of a column as text; empty where a label has none."""
    if name not in columns:
        raise InputError(
            f"`samples.{field}` is {name!r}, but the labels keep {listed(list(columns))}. Name it "
            "in `columns` of a source of `labels`."
        )
    values = columns[name]
    if values.dtype.kind == "f" and (values[np.isfinite(values)] % 1 == 0).all():
        # a year where some have none
        return np.array(["" if value != value else str(int(value)) for value in values], object)
    if values.dtype.kind == "M":
        values = np.datetime_as_string(values.astype("datetime64[D]"))
    return np.array(["" if str(value) in ("nan", "NaT") else str(value).strip()
                     for value in values], object)  # fmt: skip


def _whole(
    values: NDArray[Any], x: NDArray[Any], y: NDArray[Any], polygon: NDArray[Any]
) -> NDArray[Any]:
    """What is of no polygon (background, class rasters) has no column: it goes with its nearest."""
    lacks = np.flatnonzero((polygon <= 0) & (values == ""))
    has = np.flatnonzero(values != "")
    if lacks.size and has.size:
        tree = KDTree(np.column_stack([x[has], y[has]]))
        nearest_one = tree.query(np.column_stack([x[lacks], y[lacks]]))[1]
        values = values.copy()
        values[lacks] = values[has[nearest_one]]
    return values


def _groups(values: NDArray[Any], column: str) -> tuple[Any, ...]:
    names, fold = np.unique(values.astype(str), return_inverse=True)
    groups = [name for name in names.tolist() if name]
    if len(groups) < 2:
        raise InputError(
            f"Folds by {column!r} need two of its values at least, the samples have "
            f"{listed(groups)}. Take another `samples.group_column`, or leave it out."
        )
    if len(groups) > np.iinfo(np.int16).max:
        raise InputError(
            f"{column!r} has {len(groups)} values, too many for a fold each. Take a column with "
            "fewer as `samples.group_column`."
        )
    fold = fold - (len(names) - len(groups))  # an empty text comes first
    return "sample", fold.astype(np.int16), {"column": column, "groups": groups}


def _split(values: NDArray[Any], column: str) -> tuple[Any, ...]:
    there = set(values.tolist()) - {""}
    wrong = sorted(there - set(SPLITS))
    if wrong:
        raise InputError(
            f"The column {column!r} says {listed(wrong)}; a given split is one of "
            f"{', '.join(SPLITS)}. Correct it, or take another `samples.split_column`."
        )
    missing = [name for name in ("train", "test") if name not in there]
    if missing:
        raise InputError(
            f"No sample has the split {' or '.join(missing)} in the column {column!r}; it says "
            f"{listed(sorted(there))}. Correct it, or leave out `samples.split_column`."
        )
    return "sample", values, {"column": column}
