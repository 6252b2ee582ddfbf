"""Points to be looked at, written for people and read back from them."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from geocube_ml.errors import InputError, MissingError, listed
from geocube_ml.files import Place, local_copy, whole_file

_NEEDED = ("stratum", "stratum_points", "stratum_ha", "map_ha", "reference")
_SHOWN = 3  # points of a fault that are named


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
    return "reference" not in table or bool((_texts(table["reference"]) != "").any())


def read_points(path: Place, classes: Sequence[str]) -> Interpreted:
    """Points as people left them.

    Parameters
    ----------
    path : Path or UPath
        Of a file that `write_points` wrote, with ``reference`` filled in.
    classes : sequence of str
        Names that a reference may be.

    Returns
    -------
    Interpreted

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is no such file, says a class that is none, or lacks a stratum altogether.
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
    hectares = {str(name): float(ha) for name, ha in own["stratum_ha"].first().items()}
    total = float(table["map_ha"].iloc[0])
    if not np.isclose(sum(hectares.values()), total, rtol=1e-6):
        raise InputError(
            f"{path}: its strata ({listed(list(hectares))}) have {sum(hectares.values()):,.2f} ha, "
            f"but the map has {total:,.2f} ha: all points of a class are gone. Put them back from "
            "the file that the step `sample-map` wrote."
        )
    lost = own["stratum_points"].first() - own.size()
    seen = reference != ""
    blind = [name for name in hectares if not (seen & (stratum == name)).any()]
    if blind:
        raise InputError(
            f"{path}: no point of {listed(blind)} says its `reference` yet, so that its area is "
            "not known. Look at two points of each class at least."
        )
    return Interpreted(
        tuple(stratum[seen]), tuple(reference[seen]), hectares, int((~seen).sum()),
        {str(name): int(n) for name, n in lost.items() if n > 0},
    )  # fmt: skip


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
