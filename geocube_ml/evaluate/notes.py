"""What a reader must know before believing a figure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.apart import Ground, apart
from geocube_ml.data.folds import count_polygons
from geocube_ml.errors import listed
from geocube_ml.evaluate.folds import Fold, Groups
from geocube_ml.kernels.bootstrap import FEWEST, KNOWN
from geocube_ml.spec.evaluate import Split
from geocube_ml.spec.labels import ClassScheme

_FEW_POLYGONS = 30  # below, one polygon more or less moves a figure by points
_FEW_PER_CLASS = 3

TITLES: dict[str, str] = {
    "split": "Given split",
    "block": "Spatial hold-out",
    "group": "By group, cross-validated",
    "blocks": "By block, cross-validated",
    "polygon": "By polygon, cross-validated",
    "random": "Random pixels",
}
"""Splits in the order in which they are shown."""


def notes_of(
    split: Split,
    samples: xr.Dataset,
    parts: list[Fold],
    classes: ClassScheme,
    groups: Groups,
    lacking: NDArray[np.bool_] | None = None,
) -> list[str]:
    """Distances from what was trained on, and what weakens the figures of a split.

    `lacking` is that of `Judged`, the same for all models of a split.
    """
    found = (
        _distances(samples, parts),
        *_weaknesses(samples, parts, classes),
        *_of_groups(split, groups),
        *(() if lacking is None else _lacking(lacking, classes, groups.unit)),
    )
    return [f"{TITLES[split]}: {text}" for text in found]


def _distances(samples: xr.Dataset, parts: list[Fold]) -> str:
    """How far what is tested lies from what was trained on."""
    ground = Ground.of(samples)
    found = [apart(ground, rows, test) for rows, test in parts]
    known = [one for one in found if one["min_m"] is not None]
    if not known:
        return "nothing was trained on or nothing is tested"
    return (
        f"tested samples lie at least {min(one['min_m'] for one in known):g} m from those that "
        f"were trained on, in the median {np.median([one['median_m'] for one in known]):g} m"
    )


def _weaknesses(samples: xr.Dataset, parts: list[Fold], classes: ClassScheme) -> Iterator[str]:
    tested = np.logical_or.reduce([test for _, test in parts])
    n = count_polygons(samples, tested)
    label = samples["label"].values
    if n < _FEW_POLYGONS:
        yield (
            f"only {n} polygons are tested (fewer than {_FEW_POLYGONS}); figures of this size "
            "mean little"
        )
    for code, name in enumerate(() if "value" in samples else classes.names):
        blind = sum(not (rows & (label == code)).any() for rows, _ in parts)
        if blind:
            yield f"no training pixel of {name} in {blind} of {len(parts)} folds"
        of_class = count_polygons(samples, tested & (label == code))
        if not (tested & (label == code)).any():
            yield f"no test pixel of {name}; its F1 is not known"
        elif 0 < of_class < _FEW_PER_CLASS:
            yield f"only {of_class} test polygon{'s' if of_class > 1 else ''} of {name}"


def _of_groups(split: Split, groups: Groups) -> Iterator[str]:
    """By what the intervals are drawn, where that is not what it should be."""
    sternest = {"group": "groups"}.get(split, "blocks" if split != "random" else "polygons")
    if not groups.enough:
        yield (
            f"only {groups.n} {groups.unit} are tested (fewer than {FEWEST}), too few for an "
            "interval"
        )
    elif groups.unit != sternest and split != "polygon":
        yield (
            f"fewer than {FEWEST} {sternest} are tested: intervals are drawn by {groups.unit}, and "
            "are too narrow where neighbouring ones are alike"
        )
    if groups.joined:
        yield f"its {groups.n} {groups.unit} are joined at random, whole, for the intervals"


def _lacking(lacking: NDArray[np.bool_], classes: ClassScheme, unit: str) -> Iterator[str]:
    """Which figures have no interval because too many resamples lack a class."""
    share, any_of = lacking.mean(axis=0), float(lacking.any(axis=1).mean())
    if any_of <= 1 - KNOWN:
        return
    rare = [name for name, lacks in zip(classes.names, share > 0, strict=True) if lacks]
    alone = [name for name, lacks in zip(classes.names, share > 1 - KNOWN, strict=True) if lacks]
    own = f", nor have the figures of {listed(alone)}" if alone else ""
    yield (
        f"{any_of:.0%} of the resamples lack a class that few {unit} have ({listed(rare)}): "
        f"macro-F1 and balanced accuracy have no interval{own}"
    )
