"""Which labels are doubtful, the worst first, and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.doctor.edge import edge_distance
from geocube_ml.doctor.evidence import FOLDS, Evidence, Series, series_of, weigh
from geocube_ml.doctor.reasons import reasons
from geocube_ml.errors import InputError
from geocube_ml.kernels.doubt import against, farther
from geocube_ml.spec.doctor import DoctorSpec
from geocube_ml.spec.labels import ClassScheme

NEIGHBOURS, DISTANCE, EDGE = 0.5, 0.25, 0.1
"""What neighbours and distance weigh where the forest weighs 1, and how much of what is left to
certainty the edge can add."""

NEVER_SEEN = "no observation, so nothing is known"
ALONE = "the only label of its class, so nothing to hold it against"

_DEFAULT = DoctorSpec()


@dataclass(frozen=True)
class Doubts:
    """How doubtful labels are.

    Attributes
    ----------
    labels : DataFrame
        One row a label, the most doubtful first, those that cannot be judged last: ``polygon``
        (above 0 a polygon or point, 0 background, below 0 -(source + 1) of a raster), ``block``
        (of what is no polygon, else 0), ``code``, ``class``, ``suggested`` (the class that most
        speaks for), ``doubt`` (0 to 1, NaN if it cannot be judged), ``reason``, ``samples``,
        ``edge_m`` (median distance to the edge in metres, NaN without), ``x``, ``y`` (mean of its
        samples).
    samples : (sample,) float32
        Doubt of each sample by itself, NaN if it cannot be judged.
    estimated_wrong : int
        About so many labels are wrong, by confident learning; a lower bound more than a mean.
    notes : tuple of str
        What could not be done, and what was done instead.
    """

    labels: pd.DataFrame
    samples: NDArray[np.float32]
    estimated_wrong: int
    notes: tuple[str, ...]


def doubtful_labels(
    samples: xr.Dataset,
    spec: DoctorSpec = _DEFAULT,
    labels: gpd.GeoDataFrame | None = None,
    *,
    inset_m: float = 0.0,
    pixel_m: float = 10.0,
    workers: int = 1,
) -> Doubts:
    """Rank labels by how much speaks against them.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.  A label is a polygon; of pixels without one (background, class
        rasters) those of one class and block; without ``polygon`` each sample.
    spec : DoctorSpec
    labels : GeoDataFrame, optional
        What the step `labels` writes: ``polygon`` and its shrunk geometry in the samples' CRS.
        Without it nothing is known of edges.
    inset_m : float
        By how many metres those geometries are shrunk.
    pixel_m : float
        Edge of a pixel in metres: what counts as near an edge.
    workers : int
        Threads; nothing depends on their number.

    Returns
    -------
    Doubts

    Raises
    ------
    InputError
        Nothing was observed, or fewer than two classes have two labels.

    Notes
    -----
    Four witnesses, none of which asks the label's own polygon:

    - confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, 1373; cleanlab): the normalized
      margin of the probabilities of a forest, out of folds by label;
    - the nearest series of other labels, and how many of them are of another class;
    - the distance to the median series of the class (of its other labels, each with one voice),
      in the spreads of the class, against that to the nearest other class;
    - nearness to the edge, ``exp(-edge_m / pixel_m)``.

    The first three say 0 to 1, with 0.5 where two classes have as much for them; they are averaged
    with weights 1, 0.5 and 0.25 to a doubt, and the edge adds up to a tenth of what it lacks to 1.
    What witnesses say of a label is the mean of what they say of its samples.
    """
    label, group, head = _grouped(samples)
    series = series_of(samples)
    reason = np.full(len(head), "", object)
    seen = np.asarray(~np.isnan(series.observed).all(axis=1))
    reason[np.bincount(group[seen], minlength=len(head)) == 0] = NEVER_SEEN
    classes = ClassScheme.from_attrs(samples["label"].attrs).names
    count = np.bincount(head["code"][reason == ""], minlength=len(classes))
    lone = (count[head["code"]] == 1) & (reason == "")
    reason[lone] = ALONE
    judged = np.flatnonzero(count >= 2)
    if len(judged) < 2:
        raise InputError(_too_few(classes, count, seen))

    rows = seen & (reason[group] == "")
    code = np.zeros(len(classes), np.intp)
    code[judged] = np.arange(len(judged))
    own = code[label[rows]]
    kept, own_group = np.unique(group[rows], return_inverse=True)
    weight = samples["weight"].values[rows] if "weight" in samples else np.ones(rows.sum())
    found = weigh(
        Series(series.observed[rows], series.filled[rows]), own, own_group,
        weight.astype(np.float32), spec, workers,
    )  # fmt: skip
    edge = np.full(len(label), np.nan)
    if labels is not None:
        x, y, polygon = (samples[name].values for name in ("x", "y", "polygon"))
        edge = edge_distance(x, y, polygon, labels, inset_m)
    of_sample = np.full(len(label), np.nan, np.float32)
    of_sample[rows] = _doubt(found, own, edge[rows], pixel_m)

    total = _of_labels(found, own_group)
    given, edge_m = code[head["code"].to_numpy()[kept]], _median(edge, group, len(head))
    doubt = np.full(len(head), np.nan)
    doubt[kept] = _doubt(total, given, edge_m[kept], pixel_m)
    names = [classes[at] for at in judged]
    suggested = head["class"].to_numpy(object).copy()
    best = (total.forest + NEIGHBOURS * total.neighbours).argmax(axis=1)
    suggested[kept] = np.array(names, object)[best]
    reason[kept] = reasons(total, given, best, names, edge_m[kept], pixel_m)
    table = head.assign(suggested=suggested, doubt=doubt, reason=reason, edge_m=edge_m)
    order = np.lexsort((head.index, -np.nan_to_num(doubt, nan=-1.0)))
    return Doubts(
        table.iloc[order][list(_COLUMNS)].reset_index(drop=True),
        of_sample,
        _estimate(total.forest, given),
        _notes(classes, count, reason),
    )


_COLUMNS = ("polygon", "block", "code", "class", "suggested", "doubt", "reason", "samples",
            "edge_m", "x", "y")  # fmt: skip


def _grouped(
    samples: xr.Dataset,
) -> tuple[NDArray[np.int64], NDArray[Any], pd.DataFrame]:
    """Class and label of each sample, and a row a label."""
    label = samples["label"].values.astype(np.int64)
    n = len(label)
    polygon = samples["polygon"].values.astype(np.int64) if "polygon" in samples else None
    if polygon is None:  # each sample by itself
        polygon = np.arange(1, n + 1)
    if "block" in samples:
        block = np.where(polygon > 0, 0, samples["block"].values)
    else:
        block = np.where(polygon > 0, 0, np.arange(n))
    keys = pd.DataFrame({"polygon": polygon, "block": block, "code": label})
    place = {name: samples[name].values if name in samples else np.full(n, np.nan)
             for name in ("x", "y")}  # fmt: skip
    by = keys.assign(**place).groupby(["polygon", "block", "code"], sort=True)
    head = by.agg(x=("x", "mean"), y=("y", "mean"), samples=("polygon", "size")).reset_index()
    names = np.array(ClassScheme.from_attrs(samples["label"].attrs).names, object)
    head["class"] = names[head["code"].to_numpy()]
    return label, by.ngroup().to_numpy(), head


def _doubt(
    found: Evidence, given: NDArray[np.intp], edge_m: NDArray[Any], pixel_m: float
) -> NDArray[np.float64]:
    """0 to 1, of samples or of labels."""
    forest = 1 - confident_learning()[0](
        given, found.forest.astype(np.float64), method="normalized_margin"
    )
    neighbours = against(found.neighbours, given)
    distance = farther(found.distance, given)
    doubt = (forest + NEIGHBOURS * neighbours + DISTANCE * distance) / (1 + NEIGHBOURS + DISTANCE)
    near = np.exp(-np.nan_to_num(edge_m, nan=np.inf) / pixel_m)
    return np.asarray(doubt + EDGE * near * (1 - doubt))


def _of_labels(found: Evidence, group: NDArray[np.intp]) -> Evidence:
    """What is said of each label: the mean of what is said of its samples."""

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        # a sample that has no step in common with a class has no distance to it
        known = ~np.isnan(values)
        size = len(np.bincount(group))
        total, n = (
            np.stack([np.bincount(group, column, size) for column in part.T], axis=1)
            for part in (np.where(known, values, 0).astype(np.float64), known)
        )
        with np.errstate(invalid="ignore"):
            return np.asarray(total / n, np.float32)

    return Evidence(mean(found.forest), mean(found.neighbours), mean(found.distance), found.k)


@lru_cache(maxsize=1)
def confident_learning() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`get_label_quality_scores` and `num_label_issues` of cleanlab."""
    with warnings.catch_warnings():
        # of a progress bar that is never shown, in a notebook without ipywidgets
        warnings.filterwarnings("ignore", "IProgress not found")
        from cleanlab.count import num_label_issues  # noqa: PLC0415
        from cleanlab.rank import get_label_quality_scores  # noqa: PLC0415
    return get_label_quality_scores, num_label_issues


def _median(values: NDArray[np.float64], group: NDArray[np.intp], n: int) -> NDArray[Any]:
    of_group = pd.Series(values).groupby(group).median()
    return np.asarray(of_group.reindex(range(n)), np.float64)


def _estimate(forest: NDArray[np.float32], given: NDArray[np.intp]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes of which nothing is confident
        return int(confident_learning()[1](given, forest.astype(np.float64)))


def _notes(
    classes: Sequence[str], count: NDArray[np.int64], reason: NDArray[np.object_]
) -> tuple[str, ...]:
    notes = []
    if unseen := int((reason == NEVER_SEEN).sum()):
        notes.append(f"{unseen} labels cannot be judged: {NEVER_SEEN}")
    if lone := [name for name, n in zip(classes, count, strict=True) if n == 1]:
        notes.append(f"{', '.join(lone)}: {ALONE}")
    few = [f"{name} ({n})" for name, n in zip(classes, count, strict=True) if 2 <= n < FOLDS]
    if few:
        notes.append(f"few labels, judged by fewer still: {', '.join(few)}")
    return tuple(notes)


def _too_few(classes: Sequence[str], count: NDArray[np.int64], seen: NDArray[np.bool_]) -> str:
    if not seen.any():
        return (
            f"None of the {len(seen)} samples has an observation, so nothing can be said of their "
            "labels. Widen the period, or look at the mask's `clear` values."
        )
    has = ", ".join(f"{name} {n}" for name, n in zip(classes, count, strict=True))
    return (
        "Labels are held against those of other classes and other labels of their own: two classes "
        f"must have two labels (polygons, points) each, but there are: {has}. Add labels, or take "
        "all pixels (`samples.per_polygon`) of a wider period."
    )
