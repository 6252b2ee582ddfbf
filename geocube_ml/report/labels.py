"""What is labelled, what was lost of the labels and why, and what became samples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.evaluate.notes import TITLES
from geocube_ml.report.coarse import pixel_counts
from geocube_ml.spec.labels import ClassScheme

_MOST_ROWS = 500  # that are listed
_ONE = re.compile(r"\b(?:feature|polygon|row) -?\d+(?: of \S+)?(?: \([^)]*\))?")
_DISPUTED = "disputed"


@dataclass(frozen=True)
class Labelled:
    """Labels, pixels and samples of each class; None where that is not known."""

    rows: list[dict[str, Any]]
    """``name``, ``color``, ``labels``, ``ha``, ``pixels``, ``samples``."""
    known: list[str]
    """Which of the last four are known of any class."""


@dataclass(frozen=True)
class Problem:
    """Labels that share a reason, and what was done about it."""

    reason: str
    done: str
    """Empty where older records do not say it."""
    count: int
    ha: float
    """NaN where no area is known."""


@dataclass(frozen=True)
class Problems:
    """What was left out, mended or disputed."""

    rows: list[Problem]
    """The commonest first."""
    listed: list[tuple[str, str, str, str, float]]
    """Source, feature, class, reason and hectares of the first labels."""
    unlisted: int
    disputed: Problem | None
    """All disputed ground together."""


@dataclass(frozen=True)
class Folds:
    """One way of cutting the samples into folds."""

    title: str
    rows: list[tuple[str, int, float | None, float | None]]
    """Fold, samples, least and median metres to the nearest sample of another fold."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn of what is labelled."""

    rows: list[dict[str, Any]]
    """``name``, ``color``, ``labelled``, ``asked`` (None where no number was), ``got``."""
    asked: bool
    """Whether a number was asked for of any class."""
    folds: list[Folds]
    left_out: list[tuple[str, int, int]]
    """Reason, labels and samples."""


def labelled(
    labels: pd.DataFrame | None,
    cube: xr.Dataset | None,
    samples: xr.Dataset | None,
    scheme: ClassScheme | None,
) -> Labelled | None:
    """A row a class; None where nothing is known of any.

    Parameters
    ----------
    labels : DataFrame, optional
        ``polygon`` (above 0 of a polygon or a point), ``class``, ``area_m2``.
    cube : Dataset, optional
        ``label`` (y, x) or (label_layer, y, x), all of which is read.
    samples : Dataset, optional
        ``label`` (sample).
    scheme : ClassScheme, optional
    """
    if scheme is None:
        return None
    n = len(scheme.names)
    columns: dict[str, list[Any]] = {}
    if labels is not None:
        by_class = labels[labels["polygon"] > 0].groupby("class")["area_m2"]
        counts, areas = by_class.size(), by_class.sum() / 1e4
        columns["labels"] = [int(counts.get(name, 0)) for name in scheme.names]
        columns["ha"] = [float(areas.get(name, 0)) for name in scheme.names]
    if cube is not None and "label" in cube:
        columns["pixels"] = _pixels(cube["label"])[:n]
    if samples is not None:
        columns["samples"] = np.bincount(samples["label"].to_numpy(), minlength=n).tolist()[:n]
    if not columns:
        return None
    empty = dict.fromkeys(("labels", "ha", "pixels", "samples"))
    rows = [
        empty
        | {"name": name, "color": color}
        | {key: values[code] for key, values in columns.items()}
        for code, (name, color) in enumerate(zip(scheme.names, scheme.colors, strict=True))
    ]
    return Labelled(rows, list(columns))


def _pixels(label: xr.DataArray) -> list[int]:
    layers = [label]
    if "label_layer" in label.dims:
        layers = [label.isel(label_layer=at) for at in range(label.sizes["label_layer"])]
    found: list[int] = np.sum([pixel_counts(layer) for layer in layers], axis=0).tolist()
    return found


def problems(table: pd.DataFrame) -> Problems:
    """Problems of labels by reason.

    Parameters
    ----------
    table : DataFrame
        ``feature``, ``class``, ``reason`` and ``area_m2``; ``source`` and ``done`` too, unless it
        was written before there were several.

    Examples
    --------
    >>> table = pd.DataFrame({"feature": [3, 8], "class": ["maize", "rye"],
    ...                       "reason": ["too narrow"] * 2, "area_m2": [2500.0, 5000.0]})
    >>> problems(table).rows
    [Problem(reason='too narrow', done='', count=2, ha=0.75)]
    """
    table = table.assign(
        source=table.get("source", ""),
        done=table.get("done", ""),
        # which other label disputes it is said of each, but does not make another reason
        kind=[_ONE.sub("another", str(reason)) for reason in table["reason"]],
    )
    rows = [
        Problem(str(kind), str(done), len(group), float(group["area_m2"].sum(min_count=1)) / 1e4)
        for (kind, done), group in table.groupby(["kind", "done"], sort=True)
    ]
    rows.sort(key=lambda row: -row.count)
    first = table.head(_MOST_ROWS)
    texts = [[str(value) for value in first[name]] for name in
             ("source", "feature", "class", "reason")]  # fmt: skip
    listed = list(zip(*texts, (first["area_m2"] / 1e4).tolist(), strict=True))
    fights = table[[kind.startswith(_DISPUTED) for kind in table["kind"]]]
    disputed = None
    if len(fights):
        disputed = Problem(
            _DISPUTED, "", len(fights), float(fights["area_m2"].sum(min_count=1)) / 1e4
        )
    return Problems(rows, listed, len(table) - len(listed), disputed)


def drawn(samples: xr.Dataset, scheme: ClassScheme | None) -> Drawn | None:
    """What a sample table says of its draw and of its folds; None where it says nothing."""
    told = {name: json.loads(samples.attrs.get(name, "{}"))
            for name in ("drawn", "fold_distances", "left_out")}  # fmt: skip
    if not told["drawn"] and not told["fold_distances"]:
        return None
    colors = {} if scheme is None else dict(zip(scheme.names, scheme.colors, strict=True))
    rows = [
        {"name": name, "color": colors.get(name, "transparent"), **one}
        for name, one in told["drawn"].items()
    ]
    folds = [
        Folds(TITLES.get(kind, kind), [_fold(samples, kind, *item) for item in of_kind.items()])
        for kind, of_kind in sorted(
            told["fold_distances"].items(), key=lambda item: _order(item[0])
        )
    ]
    left_out = [(reason, int(one["labels"]), int(one["samples"]))
                for reason, one in told["left_out"].items()]  # fmt: skip
    return Drawn(rows, any(row["asked"] is not None for row in rows), folds, left_out)


def _fold(
    samples: xr.Dataset, kind: str, fold: str, told: Mapping[str, Any]
) -> tuple[str, int, float | None, float | None]:
    """A fold by its name, where it has one."""
    groups = samples["fold_group"].attrs.get("groups") if kind == "group" else None
    name = str(groups[int(fold)]) if groups else fold
    return name, int(told["n"]), told["min_m"], told["median_m"]


def _order(kind: str) -> int:
    return list(TITLES).index(kind) if kind in TITLES else len(TITLES)
