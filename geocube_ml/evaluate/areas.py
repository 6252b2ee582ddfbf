"""Areas of classes with intervals, from a map and points that people looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm

from geocube_ml.errors import InputError, listed
from geocube_ml.evaluate.points import Interpreted
from geocube_ml.kernels.areas import AreaEstimates, Estimate, estimate

_FEW = 30  # points of a stratum below which intervals by a normal distribution are rough


def estimate_areas(
    sample: pd.DataFrame | ArrayLike,
    area: Mapping[str, float],
    *,
    classes: Sequence[str] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """Error-adjusted areas of classes, and the accuracy of the map, with intervals.

    Parameters
    ----------
    sample : DataFrame or (class, class) counts
        ``stratum`` and ``reference`` of each point, and ``mapped`` where strata are not the classes
        of the map; or how many points of each class of the map (rows) are of each in truth.
    area : mapping of stratum to float
        As the map says; in any unit.
    classes : sequence of str, optional
        Those of the map; the strata by default.
    level : float
        Of the intervals.

    Returns
    -------
    dict
        JSON-able: ``classes``, ``strata``, ``level``, ``points``, ``counts`` and ``proportions``
        (rows the map, columns the truth), ``overall`` (``value``, ``error``, ``low``, ``high``);
        ``areas``, a class each: ``class``, ``mapped``, ``points``, ``area``, ``users`` and
        ``producers`` as ``overall``, None where they are not known; ``notes``.

    Raises
    ------
    InputError
        A class or stratum that is none, a stratum without a point, an area below 0, or counts of
        another size.

    Notes
    -----
    Olofsson et al. (2014); with other strata Stehman (2014).  See `geocube_ml.kernels.areas`.
    """
    strata = list(area)
    names = list(classes or strata)
    size = np.array([area[name] for name in strata], np.float64)
    if not (np.isfinite(size).all() and (size >= 0).all() and size.sum() > 0):
        raise InputError(f"areas are numbers from 0 on, and some above, got {dict(area)}.")
    stratum, mapped, reference, count = _coded(sample, strata, names)
    points = np.bincount(stratum, count, len(strata))
    blind = [name for name, n, ha in zip(strata, points, size, strict=True) if ha > 0 and not n]
    if blind:
        raise InputError(
            f"No point of {listed(blind)} was looked at, so that nothing is known of its area. "
            "Look at two points of each at least."
        )
    pairs = np.unique(np.stack([stratum, mapped, reference]), axis=1)[0]
    alike = np.bincount(pairs, minlength=len(strata)) == 1
    found = estimate(stratum, mapped, reference, size, len(names), count)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (mapped, reference), count.astype(np.int64))
    z = float(norm.ppf((1 + level) / 2))
    return {
        "classes": names,
        "strata": strata,
        "level": level,
        "points": int(count.sum()),
        "counts": counts.tolist(),
        "proportions": found.proportions.round(8).tolist(),
        "overall": _told(found.overall, (), z),
        "areas": list(_by_class(found, names, strata, size, counts, z)),
        "notes": _notes(strata, points, alike, strata == names and bool((stratum == mapped).all())),
    }


def estimate_interpreted(
    points: Interpreted, classes: Sequence[str], *, level: float = 0.95
) -> dict[str, Any]:
    """As `estimate_areas`, of a file of points; areas are hectares."""
    table = pd.DataFrame({"stratum": points.stratum, "reference": points.reference})
    area = {name: points.hectares.get(name, 0.0) for name in classes}
    found = estimate_areas(table, area, level=level)
    if points.open:
        found["notes"].append(f"{points.open} points are not looked at yet and are left out")
    for name, n in points.gone.items():
        found["notes"].append(f"{n} points of {name} that were drawn are not in the file any more")
    return found | {"open": points.open, "unit": "ha"}


def _coded(sample: Any, strata: list[str], names: list[str]) -> tuple[Any, Any, Any, Any]:
    """Codes of stratum, map and reference, and how many points each row stands for."""
    if not isinstance(sample, pd.DataFrame):
        counts = np.asarray(sample)
        wanted = (len(names), len(names))
        if counts.shape != wanted or strata != names or (counts < 0).any():
            raise InputError(
                f"counts of points must be {wanted[0]} x {wanted[1]}, none below 0, with the map's "
                f"classes as strata; got shape {counts.shape} and the strata {listed(strata)}."
            )
        row, col = np.nonzero(counts)
        return row, row, col, counts[row, col].astype(np.float64)
    stratum = _codes(sample, "stratum", strata)
    mapped = _codes(sample, "mapped" if "mapped" in sample else "stratum", names)
    return stratum, mapped, _codes(sample, "reference", names), np.ones(len(sample))


def _codes(sample: pd.DataFrame, column: str, known: list[str]) -> Any:
    if column not in sample:
        raise InputError(f"the points lack the column {column!r}; they have {list(sample)}.")
    codes = pd.Index(known).get_indexer(pd.Index(sample[column]))
    if (codes < 0).any():
        wrong = sorted({str(value) for value in sample[column][codes < 0]})
        raise InputError(
            f"`{column}` of the points says {listed(wrong)}; it must be one of {listed(known)}."
        )
    return codes


def _by_class(
    found: AreaEstimates, names: list[str], strata: list[str], size: Any, counts: Any, z: float
) -> Any:
    total = float(size.sum())
    for code, name in enumerate(names):
        share = _told(found.area, code, z)
        yield {
            "class": name,
            "mapped": float(size[strata.index(name)]) if name in strata else None,
            "points": int(counts[code].sum()),
            "area": None if share is None else {
                key: value if value is None else round(value * total, 4)
                for key, value in share.items()
            },
            "users": _told(found.users, code, z),
            "producers": _told(found.producers, code, z),
        }  # fmt: skip


def _told(found: Estimate, at: Any, z: float) -> dict[str, Any] | None:
    """A share, its standard error and its interval, which ends at 0 and 1."""
    value, error = round(float(found.value[at]), 10), round(float(found.error[at]), 10)
    if np.isnan(value):
        return None
    if np.isnan(error):
        return {"value": value, "error": None, "low": None, "high": None}
    low, high = max(value - z * error, 0.0), min(value + z * error, 1.0)
    return {"value": value, "error": error, "low": low, "high": high}


def _notes(strata: list[str], points: Any, alike: Any, are_classes: bool) -> list[str]:
    notes = []
    but = ", but of the user's accuracy of other classes" if are_classes else ""
    for name, n, same in zip(strata, points.astype(int), alike, strict=True):
        if n == 1:
            notes.append(f"one point of {name} only: no standard error can be told{but}")
        elif 0 < n < _FEW:
            notes.append(f"only {n} points of {name} (fewer than {_FEW}); its intervals are rough")
        if n > 1 and same:
            notes.append(
                f"all {n} points of {name} agree: an error of 0 says that nothing else was seen "
                "there, not that there is nothing"
            )
    return notes
