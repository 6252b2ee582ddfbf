"""Points to be looked at, written for people and read back from them."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from geocube_ml.errors import InputError, MissingError, listed
from geocube_ml.evaluate.design import FILLED
from geocube_ml.files import Place, local_copy, whole_file

_NEEDED = ("point", "stratum", "stratum_points", "stratum_ha", "map_ha", "reference")
_SHOWN = 3  # points of a fault that are named
_EQUAL = 1e-6  # relative difference of two areas that are the same
_SAME_MAP = 1e-5  # between machines that know other shifts of an old datum


@dataclass(frozen=True)
class Interpreted:
    """Points of which people said what they saw."""

    stratum: tuple[str, ...]
    reference: tuple[str, ...]
    hectares: dict[str, float]
    """Of each stratum."""
    open: int
    """Points that nobody has looked at yet; they are left out."""
    gone: dict[str, int]
    """Stratum to points that were drawn but are not in the file any more."""


def write_points(points: gpd.GeoDataFrame, path: Place) -> None:
    """Write points as GeoPackage, whole or not at all."""
    with whole_file(path) as partial, tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / path.name  # GDAL warns of a GeoPackage of another ending
        points.to_file(local, driver="GPKG", layer=path.stem)
        shutil.copyfile(local, partial)


def is_interpreted(path: Place) -> bool:
    """Whether anybody has written anything into a file of points; it then is a person's."""
    try:
        table = _read(path)
    except (InputError, ValueError):  # changed beyond reading: still a person's
        return True
    return any(name not in table or (_texts(table[name]) != "").any() for name in FILLED)


def read_points(
    path: Place, classes: Sequence[str], hectares: Mapping[str, float] | None = None
) -> Interpreted:
    """Points as people left them.

    Parameters
    ----------
    path : Path or UPath
        Of a file that `write_points` wrote, with ``reference`` filled in.
    classes : sequence of str
        Names that a reference may be.
    hectares : mapping of class to float, optional
        Of the map that the points must be of, from `class_hectares`; not looked at by default.

    Returns
    -------
    Interpreted

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is no such file, says a class that is none, lacks a stratum altogether, has points that
        were not drawn, or is of another map.
    """
    if not path.is_file():
        raise MissingError(
            f"There is no file {path}. Draw points with the step `sample-map`, or correct "
            "`areas.interpreted`."
        )
    table = _read(path)
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise InputError(
            f"{path} lacks the columns {listed(missing)}; it has {listed(list(table.columns))}. "
            "Take the file that the step `sample-map` wrote, and fill in `reference`."
        )
    if table.empty:
        raise InputError(
            f"{path} has no points any more. Take the file that the step `sample-map` wrote."
        )
    stratum, reference = _texts(table["stratum"]), _texts(table["reference"])
    _check_names(path, "stratum", stratum, classes, empty=True)
    _check_names(path, "reference", reference, classes, empty=False)
    own = table.assign(stratum=stratum).groupby("stratum")
    for name in ("stratum_points", "stratum_ha"):
        if (own[name].nunique(dropna=False) != 1).any():
            raise InputError(
                f"{path}: the points of one stratum say several numbers in `{name}`. Take the file "
                "that the step `sample-map` wrote, and change `reference` alone."
            )
    drawn = {str(name): float(ha) for name, ha in own["stratum_ha"].first().items()}
    total = float(table["map_ha"].iloc[0])
    if not np.isclose(sum(drawn.values()), total, rtol=_EQUAL):
        raise InputError(
            f"{path}: its strata ({listed(list(drawn))}) have {sum(drawn.values()):,.2f} ha, "
            f"but the map has {total:,.2f} ha: all points of a class are gone. Put them back from "
            "the file that the step `sample-map` wrote."
        )
    _check_map(path, drawn, hectares)
    lost = own["stratum_points"].first() - own.size()
    _check_added(path, table["point"], lost)
    seen = reference != ""
    blind = [name for name in drawn if not (seen & (stratum == name)).any()]
    if blind:
        raise InputError(
            f"{path}: no point of {listed(blind)} says its `reference` yet, so that its area is "
            "not known. Look at two points of each class at least."
        )
    return Interpreted(
        tuple(stratum[seen]), tuple(reference[seen]), drawn, int((~seen).sum()),
        {str(name): int(n) for name, n in lost.items() if n > 0},
    )  # fmt: skip


def _check_map(
    path: Place, drawn: Mapping[str, float], hectares: Mapping[str, float] | None
) -> None:
    """Points of another map would weigh as its areas do."""
    for name, here in (hectares or {}).items():
        there = drawn.get(name, 0.0)
        if not np.isclose(here, there, rtol=_SAME_MAP):
            raise InputError(
                f"{path} was drawn from another map: {name} has {there:,.2f} ha there and "
                f"{here:,.2f} ha on this one. Look at points that the step `sample-map` drew from "
                "this map, or correct `areas.interpreted`."
            )


def _check_added(path: Place, point: pd.Series, lost: pd.Series) -> None:
    """A point counts as drawn at random; one that somebody added or copied is not."""
    twice = point[point.isna() | point.duplicated()]
    more = lost[lost < 0]
    if twice.empty and more.empty:
        return
    rows = ", ".join(map(str, (twice.index[:_SHOWN] + 1).tolist()))
    said = [f"`point` says nothing, or a number again, in row {rows}"] if rows else []
    said += [f"{name} has {-n:.0f} more than were drawn" for name, n in more.items()]
    raise InputError(
        f"{path} has points that were not drawn: {'; '.join(said)}. Remove what was added or "
        "copied: only points that were drawn at random stand for the map."
    )


def _read(path: Place) -> pd.DataFrame:
    with local_copy(path) as local:
        try:
            return pd.DataFrame(gpd.read_file(local).drop(columns="geometry"))
        except Exception as error:
            raise InputError(
                f"{path} cannot be read as a file of points: {error}. Take the file that the step "
                "`sample-map` wrote."
            ) from error


def _texts(column: pd.Series) -> pd.Series:
    return column.fillna("").astype(str).str.strip()


def _check_names(
    path: Place, name: str, values: pd.Series, classes: Sequence[str], *, empty: bool
) -> None:
    allowed = {*classes} if empty else {*classes, ""}
    wrong = values[~values.isin(allowed)]
    if wrong.empty:
        return
    said = []
    for text in dict.fromkeys(wrong.tolist()):
        near = difflib.get_close_matches(text, classes, n=1, cutoff=0.6)
        rows = (wrong.index[wrong == text] + 1).tolist()
        where = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        said.append(f"{text!r} in row {where}{hint}" if text else f"nothing in row {where}")
    raise InputError(
        f"{path}: `{name}` says {'; '.join(said)}; the classes are {listed(list(classes))}. "
        "Correct it, or leave `reference` empty where it was not looked at."
    )
