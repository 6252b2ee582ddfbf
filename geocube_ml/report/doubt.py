"""Labels whose series contradict them, as the label doctor ranks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.report.coarse import coarse, place_of
from geocube_ml.report.maps import confidence_map
from geocube_ml.report.pictures import Picture
from geocube_ml.report.quantities import physical

_WORST = 10
_SHOWN = {
    "file": "file", "feature": "feature", "class": "class", "suggested": "looks like",
    "doubt": "doubt", "reason": "reason",
}  # fmt: skip
"""Columns of the table that a page has room for, by what they are called there."""


@dataclass(frozen=True)
class Doubtful:
    """The worst labels of a table."""

    columns: list[str]
    numbers: set[str]
    """Those that are set flush right."""
    rows: list[list[str]]
    count: int
    """Labels that the table lists."""
    picture: Picture | None


def doubtful(table: pd.DataFrame, cube: xr.Dataset | None) -> Doubtful:
    """The first labels of a table of doubtful ones, and where doubt lies.

    Parameters
    ----------
    table : DataFrame
        The worst first; of `_SHOWN`, the columns that it has.
    cube : Dataset, optional
        May hold ``doubt`` (y, x), 0 to 1 after its scale.
    """
    shown = {name: said for name, said in _SHOWN.items() if name in table}
    worst = table.head(_WORST)
    numbers = {said for name, said in shown.items() if table[name].dtype.kind in "iuf"}
    rows = [[_text(row[name]) for name in shown] for _, row in worst.iterrows()]
    return Doubtful(list(shown.values()), numbers, rows, len(table), _picture(cube))


def _picture(cube: xr.Dataset | None) -> Picture | None:
    if cube is None or "doubt" not in cube:
        return None
    doubt = physical(coarse(cube["doubt"]), cube["doubt"].attrs)
    share = np.isfinite(doubt).mean()
    return Picture(
        "Doubt of the labels (0 to 1)",
        confidence_map(doubt, place_of(cube)),
        f"Bright: the series contradicts the label. {share:.1%} of the pixels are labelled and "
        "judged.",
    )


def _text(value: object) -> str:
    if value in ("", -1):  # a block of background or of a raster is no feature of a file
        return "–"
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.2f}"
    return str(value)
