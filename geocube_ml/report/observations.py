"""How often the ground was seen, source by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.report.charts import step_bars
from geocube_ml.report.coarse import clear_by_step, coarse, coarse_inside
from geocube_ml.report.pictures import Picture
from geocube_ml.report.quantities import physical
from geocube_ml.report.steps import step_name, step_word


@dataclass(frozen=True)
class Observations:
    """Clear observations of one series."""

    name: str
    word: str
    """What its steps are called."""
    mean: Picture
    without: Picture
    rows: list[tuple[str, float, int, float]]
    """Step, mean, minimum, share of pixels without any."""


@dataclass(frozen=True)
class Seen:
    """One source in the table of all."""

    name: str
    steps: str
    """``12 months``, or that it has none."""
    mean: float | None
    """Clear observations of a pixel in a step; None where they are not counted."""
    fewest: float | None
    """Mean of the step that has fewest."""
    without: float
    """Share of pixels (of a series: of pixels and steps) without any data."""


def clear_tables(cube: xr.Dataset, area: Any = None) -> dict[str, pd.DataFrame]:
    """Clear observations by step of each source that counts them (`clear_by_step`)."""
    names = [name for name in map(str, cube.data_vars) if name.endswith("_clear")]
    return {name.removesuffix("_clear"): clear_by_step(cube[name], area) for name in sorted(names)}


def observations(clear: Mapping[str, pd.DataFrame]) -> list[Observations]:
    """Clear observations through time of each source that has a time axis."""
    return [
        _through_time(name, table)
        for name, table in clear.items()
        if isinstance(table.index, pd.DatetimeIndex)
    ]


def seen_table(cube: xr.Dataset, clear: Mapping[str, pd.DataFrame], area: Any = None) -> list[Seen]:
    """A row a source; of what lies in an area, if there is one."""
    return [_seen(cube, name, clear.get(name), area) for name in source_names(cube)]


def _seen(cube: xr.Dataset, name: str, clear: pd.DataFrame | None, area: Any) -> Seen:
    steps = "none"
    if not is_static(cube[name]):
        starts = pd.DatetimeIndex(cube["time"].to_numpy())
        steps = f"{len(starts)} {step_word(starts)}{'s' * (len(starts) != 1)}"
    if clear is not None:
        mean, fewest = float(clear["mean"].mean()), float(clear["mean"].min())
        return Seen(name, steps, mean, fewest, float(clear["without"].mean()))
    # not counted: what is nodata in the first band
    first = cube[name].isel({f"{name}_band": 0})
    missing = np.isnan(physical(coarse(first), first.attrs))[..., coarse_inside(first, area)]
    return Seen(name, steps, None, None, float(missing.mean()))


def _through_time(name: str, clear: pd.DataFrame) -> Observations:
    starts = pd.DatetimeIndex(clear.index)
    word = step_word(starts)
    mean, without = clear["mean"].to_numpy(float), clear["without"].to_numpy(float)
    numbers = (mean.tolist(), clear["min"].tolist(), without.tolist())
    return Observations(
        name,
        word,
        Picture(
            f"Clear observations a {word} (count)",
            step_bars(starts, mean, clear["min"].to_numpy(float)),
            "Bars: mean over pixels. Dots: the worst pixel.",
        ),
        Picture(
            "Pixels without a clear observation (% of pixels)",
            step_bars(starts, 100 * without),
            f"Where the bar is high, the {word} is mostly a gap in the series.",
        ),
        list(zip((step_name(start, word) for start in starts), *numbers, strict=True)),
    )
