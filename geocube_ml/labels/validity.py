"""When labels are true, and which may lie over one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocube_ml.labels.labels import ClassRaster, Labels

_ALWAYS = (np.iinfo(np.int64).min + 1, np.iinfo(np.int64).max)

Days = NDArray[np.int64]
"""First and last moment, in nanoseconds."""


def valid_of(frame: pd.DataFrame) -> Days:
    """(n, 2) first and last moment of rows, without bounds where ``valid_from`` or ``valid_to``
    says none.
    """
    ends = [frame[name].to_numpy("datetime64[ns]") for name in ("valid_from", "valid_to")]
    return np.stack([_bounded(end, at) for at, end in enumerate(ends)], axis=-1)


def days_of(raster: ClassRaster) -> Days:
    """(2,) first and last moment of a raster."""
    ends = [raster.valid_from, raster.valid_to]
    moments = np.array(ends, "datetime64[ns]")
    return np.concatenate([_bounded(moments[at : at + 1], at) for at in (0, 1)])


def meets(every: Days, one: Days) -> NDArray[np.bool_]:
    """Which of (n, 2) times have a moment in common with one."""
    found: NDArray[np.bool_] = (every[:, 0] <= one[1]) & (one[0] <= every[:, 1])
    return found


def layers_of(labels: Labels) -> tuple[tuple[int, ...], int]:
    """The layer of each raster, and the number of layers that there are with them.

    Labels of one layer that may lie over one another are true at the same time.  A raster may lie
    under any other label, so it goes into the first layer of which it meets every label in time.

    Parameters
    ----------
    labels : Labels

    Returns
    -------
    layers : tuple of int
        One a raster.
    n_layer : int
        At least ``labels.n_layer``.
    """
    valid, layer = valid_of(labels.frame), labels.frame["layer"].to_numpy()
    there = [np.unique(valid[layer == at], axis=0) for at in range(labels.n_layer)]
    found = []
    for raster in labels.rasters:
        days = days_of(raster)
        fitting = [at for at, kinds in enumerate(there) if meets(kinds, days).all()]
        if not fitting:
            fitting = [len(there)]
            there.append(np.empty((0, 2), np.int64))
        there[fitting[0]] = np.concatenate([there[fitting[0]], days[None]])
        found.append(fitting[0])
    return tuple(found), len(there)


def _bounded(moments: NDArray[Any], end: int) -> Days:
    return np.where(np.isnat(moments), _ALWAYS[end], moments.astype(np.int64))
