"""What is known of each sample's label beside its class: when it holds, its weight, its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError, listed

_OURS = {
    "polygon", "source", "feature", "code", "class", "weight", "valid_from", "valid_to", "layer",
    "area_m2", "n_pixel", "geometry",
}  # fmt: skip
"""Columns of the table of labels that are not of the user's files."""

_ROWS = 65_536
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Known:
    """The table of labels, and what of it holds for each of the cube's time steps."""

    frame: pd.DataFrame
    holds: NDArray[np.bool_]
    """(label, time): whether a step lies wholly within a label's validity."""

    @classmethod
    def of(cls, labels: pd.DataFrame, cube: xr.Dataset) -> Self:
        """Of the table that the step `labels` writes.

        Raises
        ------
        InputError
            A column is missing, a number stands twice, or it is not known where steps end.
        """
        missing = [name for name in ("polygon", "weight", "valid_from", "valid_to")
                   if name not in labels]  # fmt: skip
        if missing:
            raise InputError(
                f"The table of labels lacks {listed(missing)}; it has "
                f"{listed([str(name) for name in labels])}. Make it with the step `labels`."
            )
        twice = labels["polygon"][labels["polygon"].duplicated()]
        if len(twice):
            raise InputError(
                f"The table of labels has the polygon {int(twice.iloc[0])} more than once. Make it "
                "with the step `labels`."
            )
        weight = labels["weight"].to_numpy("float64")
        if not (np.isfinite(weight) & (weight >= 0)).all():
            bad = labels["polygon"][~(np.isfinite(weight) & (weight >= 0))].iloc[0]
            raise InputError(
                f"The weight of label {int(bad)} is {weight[labels['polygon'] == bad][0]:g}; it "
                "must be a number of at least 0. Correct the labels' weight column."
            )
        return cls(labels.reset_index(drop=True), _holds(labels, cube))

    def rows(self, polygon: NDArray[Any]) -> NDArray[np.intp]:
        """Row of the table of each sample, -1 for background, which has none.

        Raises
        ------
        InputError
            A polygon of the cube is not in the table.
        """
        numbers = self.frame["polygon"].to_numpy()
        order = np.argsort(numbers)
        at = np.searchsorted(numbers[order], polygon)
        row = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(at), np.intp)
        there = numbers[row] == polygon if len(order) else np.zeros(len(at), bool)
        lost = np.unique(polygon[~there & (polygon != 0)])
        if lost.size:
            raise InputError(
                f"The cube has pixels of the labels {listed([str(n) for n in lost])}, which the "
                "table of labels lacks: it is of other labels. Run the step `labels` again."
            )
        return np.where(there, row, -1)

    def valid(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether any step of the cube lies within the validity of each sample's label."""
        if self.holds.shape[1] == 0:
            return np.ones(len(rows), bool)
        return np.append(self.holds.any(axis=1), True)[rows]  # the last is that of -1

    def mask(self, values: NDArray[Any], rows: NDArray[np.intp], nodata: float) -> None:
        """Make the steps of (n, time, band) values nodata in which their labels do not hold."""
        if self.holds.all():
            return
        holds = np.vstack([self.holds, np.ones(self.holds.shape[1], bool)])
        for start in range(0, len(rows), _ROWS):
            here = slice(start, start + _ROWS)
            values[here][~holds[rows[here]]] = nodata

    def weight(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """How much each sample counts in training; background counts 1."""
        return np.append(self.frame["weight"].to_numpy("float32"), np.float32(1))[rows]

    def columns(self, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Values of the kept columns; NaN, NaT or an empty text where a label has none."""
        return {
            str(name): _values(self.frame[name], rows) for name in self.frame if name not in _OURS
        }


def _values(column: pd.Series[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    if column.dtype.kind == "M":
        times = np.append(column.to_numpy("datetime64[ns]"), np.datetime64("NaT", "ns"))
        return times[rows]
    if pd.api.types.is_numeric_dtype(column):
        if not column.isna().any() and (rows >= 0).all():
            return column.to_numpy()[rows]
        return np.append(column.to_numpy("float64", na_value=np.nan), np.nan)[rows]
    text = np.array(["" if missing else str(value) for value, missing in
                     zip(column, column.isna(), strict=True)] + [""], object)  # fmt: skip
    return text[rows]


def _holds(labels: pd.DataFrame, cube: xr.Dataset) -> NDArray[np.bool_]:
    if "time" not in cube.dims:
        return np.ones((len(labels), 0), bool)
    first = labels["valid_from"].to_numpy("datetime64[ns]")
    last = labels["valid_to"].to_numpy("datetime64[ns]")
    if np.isnat(first).all() and np.isnat(last).all():
        return np.ones((len(labels), cube.sizes["time"]), bool)
    begin, end = step_bounds(cube)
    after = np.isnat(first)[:, None] | (begin >= first[:, None])
    # the last day is within the validity, whole
    before = np.isnat(last)[:, None] | (end <= last.astype("datetime64[D]")[:, None] + _DAY)
    holds: NDArray[np.bool_] = after & before
    return holds


def step_bounds(cube: xr.Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Start of each step of the time axis, and of what follows it.

    Parameters
    ----------
    cube : xarray.Dataset
        With ``time``; its bounds, (time, nv), are the variable that it names, or ``time_bnds``.

    Returns
    -------
    begin, end : (time,) datetime64[ns]
        As the bounds say.  Without them a step ends where the next one begins, and the last is as
        long as the longest before it, in months where all steps begin with a month.

    Raises
    ------
    InputError
        There is one step alone, and nothing says where it ends.
    """
    named = cube["time"].attrs.get("bounds") or cube["time"].encoding.get("bounds") or "time_bnds"
    begin = cube["time"].values.astype("datetime64[ns]")
    if named in cube.variables:
        bounds = cube[named].values.astype("datetime64[ns]")
        return bounds[:, 0], bounds[:, 1]
    if len(begin) < 2:
        raise InputError(
            f"The cube does not say where its only step ends: it has no `{named}`. Add it, with "
            "the dimensions (time, nv)."
        )
    months = begin.astype("datetime64[M]")
    steps = months if (months == begin).all() else begin
    last = steps[-1] + np.diff(steps).max()
    return begin, np.append(begin[1:], last.astype("datetime64[ns]"))
