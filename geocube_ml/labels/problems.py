"""The table of what was wrong with labels, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal, Self

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Done = Literal["left out", "mended", "unlabelled", "relabelled", "kept"]

DONE: tuple[Done, ...] = ("left out", "mended", "unlabelled", "relabelled", "kept")
"""What was done about a problem: the feature is not used, it was repaired, ground stays without a
label, a person's decision was followed, or nothing."""

_COLUMNS = ("source", "feature", "class", "reason", "done", "area_m2")


class Problems:
    """What was found, in the order in which it was found."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        """Of these files; where some are called the same, as much of their paths tells them."""
        self._names = _told_apart(files)
        self._parts: list[pd.DataFrame] = []

    def add(
        self,
        source: str,
        features: Any,
        classes: Any,
        reason: Any,
        done: Done,
        area_m2: Any = np.nan,
    ) -> None:
        """List features, one row each.

        Parameters
        ----------
        source : str
            The file.
        features : (n,) int
            Rows of the file, from 0; -1 for none.
        classes : (n,) str
            As far as they are known.
        reason : str or (n,) str
        done : str
        area_m2 : float or (n,) float
            NaN where it is not known.
        """
        features = np.asarray(features)
        if features.size:
            part = pd.DataFrame({"feature": features, "class": np.asarray(classes, object)})
            self._parts.append(
                part.assign(
                    source=self._names.get(source, PurePosixPath(source).name),
                    reason=reason,
                    done=done,
                    area_m2=area_m2,
                )
            )

    def has(self, reason: str) -> bool:
        """Whether a reason was listed."""
        return any((part["reason"] == reason).any() for part in self._parts)

    def table(self) -> pd.DataFrame:
        """All of them, checked.

        Returns
        -------
        DataFrame
            ``source`` (file name, with as many folders as tell it from others), ``feature`` Int64
            (missing where it is of no feature), ``class``, ``reason``, ``done``, ``area_m2`` (to
            0.1; missing where it is not known).
        """
        frame = pd.concat(self._parts, ignore_index=True) if self._parts else pd.DataFrame()
        frame = frame.reindex(columns=list(_COLUMNS))
        features = frame["feature"].astype("Int64")
        table = frame.astype({"area_m2": "float64"}).assign(
            **{name: frame[name].astype("str") for name in ("source", "class", "reason", "done")},
            feature=features.mask(features < 0),
            area_m2=frame["area_m2"].astype("float64").round(1),
        )
        return check_problems(table)


def _told_apart(files: Sequence[str]) -> dict[str, str]:
    """Each file by the least end of its path that no other of the same name has."""
    found = {}
    for file in files:
        parts = PurePosixPath(file).parts
        others = [
            PurePosixPath(other).parts
            for other in files
            if other != file and PurePosixPath(other).name == parts[-1]
        ]
        n = next((n for n in range(1, len(parts)) if all(other[-n:] != parts[-n:]
                  for other in others)), len(parts))  # fmt: skip
        found[file] = str(PurePosixPath(*parts[-n:]))
    return found


@dataclass(frozen=True)
class Rows:
    """Features of one file, with their shapes."""

    file: str
    table: pd.DataFrame
    """One row a feature: ``feature``, ``class``, and what else is known of it."""
    shapes: NDArray[Any]
    """In the order of the table."""
    book: Problems

    def note(self, at: NDArray[Any], reason: Any, done: Done, area_m2: Any = np.nan) -> None:
        """List some rows, by a mask or their positions."""
        some = self.table.iloc[np.flatnonzero(at) if at.dtype == bool else at]
        self.book.add(self.file, some["feature"], some["class"], reason, done, area_m2)

    def only(self, kept: NDArray[np.bool_]) -> Self:
        """Some rows; nothing is listed."""
        return replace(self, table=self.table[kept], shapes=self.shapes[kept])

    def without(self, bad: NDArray[np.bool_], reason: Any, area_m2: Any = np.nan) -> Self:
        """The other rows; those that are left out are listed with the reason."""
        if not bad.any():
            return self
        self.note(bad, reason, "left out", area_m2)
        return self.only(~bad)

    def shaped(self, shapes: NDArray[Any]) -> Self:
        """The same rows with other shapes."""
        return replace(self, shapes=shapes)


def check_problems(table: pd.DataFrame) -> pd.DataFrame:
    """The table, if it is what `Problems.table` says."""
    import pandera.pandas as pa  # noqa: PLC0415  seconds, that --help and --dry-run need not wait

    schema = pa.DataFrameSchema(
        {
            "source": pa.Column("str", pa.Check.str_length(min_value=1)),
            "feature": pa.Column("Int64", pa.Check.ge(0), nullable=True),
            "class": pa.Column("str"),
            "reason": pa.Column("str", pa.Check.str_length(min_value=1)),
            "done": pa.Column("str", pa.Check.isin(DONE)),
            "area_m2": pa.Column(float, pa.Check.ge(0), nullable=True),
        },
        strict=True,
        ordered=True,
    )
    checked: pd.DataFrame = schema.validate(table)
    return checked


def check_frame(frame: gpd.GeoDataFrame) -> None:
    """Refuse a frame of labels that is not what `Labels` says."""
    import pandera.pandas as pa  # noqa: PLC0415  as above

    ordered = pa.Check(
        lambda rows: ~(rows["valid_to"] < rows["valid_from"]), name="valid_from <= valid_to"
    )
    pa.DataFrameSchema(
        {
            "polygon": pa.Column("int64", pa.Check.ge(1), unique=True),
            "source": pa.Column("int64", pa.Check.ge(0)),
            "feature": pa.Column("int64", pa.Check.ge(0)),
            "code": pa.Column("uint8", pa.Check.lt(255)),
            "class": pa.Column("str", pa.Check.str_length(min_value=1)),
            "weight": pa.Column("float32", pa.Check.in_range(0, np.inf, include_max=False)),
            "valid_from": pa.Column("datetime64[ns]", nullable=True),
            "valid_to": pa.Column("datetime64[ns]", nullable=True),
            "layer": pa.Column("int64", pa.Check.ge(0)),
            "area_m2": pa.Column(float, pa.Check.ge(0)),
            "n_pixel": pa.Column("int64", pa.Check.ge(1)),
        },
        checks=ordered,
    ).validate(pd.DataFrame(frame.drop(columns="geometry")))
