"""What people decided of single labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocube_ml.errors import InputError, listed
from geocube_ml.labels.values import texts
from geocube_ml.labels.vector import DECISION

_KNOWN = ("", "keep", "drop", "relabel")


@dataclass(frozen=True)
class Decisions:
    """One a feature, in the order of the file."""

    dropped: NDArray[np.bool_]
    relabelled: NDArray[np.bool_]
    names: NDArray[Any]
    """(n,) str, of the classes that relabelled ones get."""


def read_decisions(file: str, columns: pd.DataFrame) -> Decisions:
    """Decisions of a file's columns ``decision`` and ``decision_class``; none where it lacks them.

    Raises
    ------
    InputError
        A decision is none of keep, drop and relabel, or a relabelled feature has no class.
    """
    n = len(columns)
    if not set(DECISION) <= set(columns):
        return Decisions(np.zeros(n, bool), np.zeros(n, bool), np.full(n, "", object))
    said, names = texts(columns[DECISION[0]]), texts(columns[DECISION[1]])
    strange = np.flatnonzero(~np.isin(said, np.array(_KNOWN, object)))
    if strange.size:
        raise InputError(
            f"{file}: the column 'decision' holds {said[strange[0]]!r} in feature "
            f"{listed([str(at) for at in strange])}; it may hold keep, drop, relabel, or nothing. "
            "Correct it, or rename the column."
        )
    relabelled = said == "relabel"
    nameless = np.flatnonzero(relabelled & (names == ""))
    if nameless.size:
        raise InputError(
            f"{file}: 'decision' is relabel, but 'decision_class' is empty, in feature "
            f"{listed([str(at) for at in nameless])}. Write the class into it."
        )
    return Decisions(said == "drop", relabelled, names)
