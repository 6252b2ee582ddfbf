"""The pictures of a page and what is written beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.report.charts import month_bars, month_name, series_panel
from geocube_ml.report.coarse import (
    Place,
    clear_by_month,
    coarse,
    pixel_counts,
    place_of,
    sources_of,
)
from geocube_ml.report.maps import class_map, composite_map, confidence_map, is_wide
from geocube_ml.report.quantities import Quantity, physical, quantities, units_of
from geocube_ml.spec.labels import UNKNOWN, ClassScheme


@dataclass(frozen=True)
class Picture:
    """An image with its words."""

    title: str
    """With its unit."""
    uri: str
    caption: str = ""


@dataclass(frozen=True)
class Legend:
    """Classes of the map with their areas."""

    rows: list[dict[str, Any]]
    """``name``, ``color``, ``ha`` and ``share`` (of what is mapped; None if nothing is)."""
    mapped_ha: float
    empty_ha: float


@dataclass(frozen=True)
class Maps:
    """What is known of every pixel."""

    extent: str
    wide: bool
    legend: Legend | None
    classes: Picture | None
    composite: Picture | None
    confidence: Picture | None


@dataclass(frozen=True)
class Observations:
    """Clear observations of one source."""

    name: str
    mean: Picture
    without: Picture
    rows: list[tuple[str, float, int, float]]
    """Month, mean, minimum, share of pixels without any."""


@dataclass(frozen=True)
class Series:
    """A band or an index: a panel a class."""

    title: str
    panels: list[tuple[str, str, str]]
    """Class, its number of samples, and the picture's URI."""


def clear_tables(cube: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Clear observations by month of each source that counts them (`clear_by_month`)."""
    names = [str(name) for name in cube.data_vars if str(name).endswith("_clear")]
    return {name.removesuffix("_clear"): clear_by_month(cube[name]) for name in names}


def maps(cube: xr.Dataset, scheme: ClassScheme | None, clear: Mapping[str, pd.DataFrame]) -> Maps:
    """Class map, composite and confidence: those that the cube has."""
    place = place_of(cube)
    extent = (
        f"{place.left:,.0f} to {place.right:,.0f} east, {place.bottom:,.0f} to "
        f"{place.top:,.0f} north, in metres{f' ({place.crs})' if place.crs else ''}; "
        f"{place.shape[0]:,} × {place.shape[1]:,} pixels of {np.sqrt(place.pixel_m2):g} m"
    )
    drawn, legend = None, None
    if "class" in cube and scheme is not None:
        drawn = Picture(
            "Class (one colour each)", class_map(coarse(cube["class"]), list(scheme.colors), place)
        )
        legend = areas(cube["class"], scheme, place.pixel_m2)
    confidence = _confidence(cube["prob"], place) if "prob" in cube else None
    return Maps(extent, is_wide(place), legend, drawn, _composite(cube, place, clear), confidence)


def areas(mapped: xr.DataArray, scheme: ClassScheme, pixel_m2: float) -> Legend:
    """Hectares of each class, from every pixel of the map."""
    counts = pixel_counts(mapped)
    n_class = len(scheme.names)
    total = int(counts[:n_class].sum())
    ha = pixel_m2 / 1e4
    rows = [
        {"name": name, "color": color, "ha": n * ha, "share": n / total if total else None}
        for name, color, n in zip(scheme.names, scheme.colors, counts.tolist(), strict=False)
    ]
    return Legend(rows, total * ha, int(counts[n_class:].sum()) * ha)


def observations(name: str, clear: pd.DataFrame) -> Observations:
    """Clear observations of the source `name`."""
    months = pd.DatetimeIndex(clear.index)
    mean, without = clear["mean"].to_numpy(float), clear["without"].to_numpy(float)
    numbers = (mean.tolist(), clear["min"].tolist(), without.tolist())
    return Observations(
        name,
        Picture(
            "Clear observations a month (count)",
            month_bars(months, mean, clear["min"].to_numpy(float)),
            "Bars: mean over pixels. Dots: the worst pixel.",
        ),
        Picture(
            "Pixels without a clear observation (% of pixels)",
            month_bars(months, 100 * without),
            "Where the bar is high, the month is mostly a gap in the series.",
        ),
        list(zip(map(month_name, months), *numbers, strict=True)),
    )


def series(samples: xr.Dataset, scheme: ClassScheme) -> list[Series]:
    """Mean series of each class."""
    return [_panels(q, scheme) for q in quantities(samples, len(scheme.names))]


def _panels(quantity: Quantity, scheme: ClassScheme) -> Series:
    panels = [
        (name, _counted(quantity, code), series_panel(quantity, code, scheme.colors[code]))
        for code, name in enumerate(scheme.names)
        if code in quantity.spreads
    ]
    return Series(f"{quantity.name} ({quantity.units})", panels)


def _counted(quantity: Quantity, code: int) -> str:
    n = quantity.spreads[code].count
    return f"{n:,} sample{'' if n == 1 else 's'}"


def _composite(cube: xr.Dataset, place: Place, clear: Mapping[str, pd.DataFrame]) -> Picture | None:
    sources = sources_of(cube)
    if not sources:
        return None
    name = sources[0]
    month, seen = _clearest(clear.get(name), cube.sizes["time"])
    variable = cube[name].isel(time=month)
    bands = [str(band) for band in cube[f"{name}_band"].to_numpy()]
    shown = ["red", "green", "blue"] if {"red", "green", "blue"} <= set(bands) else bands[:1]
    chosen = variable.isel({f"{name}_band": [bands.index(band) for band in shown]})
    counts = coarse(chosen.transpose(f"{name}_band", "y", "x"))
    label = cube.get("label")
    unknown = int(label.attrs.get("nodata", UNKNOWN)) if label is not None else UNKNOWN
    uri, stretch = composite_map(
        physical(counts, variable.attrs), place, None if label is None else coarse(label), unknown
    )
    stamp = month_name(pd.Timestamp(cube["time"].to_numpy()[month]))
    title = "True colour" if len(shown) == 3 else f"Band {shown[0]}"
    caption = f"{name}, {' '.join(shown)}; {seen}. "
    caption += (
        "Black to white: {:.3g} to {:.3g}".format(*stretch) if stretch else "No pixel has data"
    )
    return Picture(
        f"{title}, {stamp} ({units_of(variable.attrs)})",
        uri,
        caption + ("; labels outlined in white." if label is not None else "."),
    )


def _clearest(clear: pd.DataFrame | None, n_month: int) -> tuple[int, str]:
    """The month to show, and why."""
    if clear is None:
        return n_month // 2, "the middle of the period"
    mean = clear["mean"].to_numpy(float)
    month = int(mean.argmax())
    return month, f"the month with most clear observations, {mean[month]:.1f} a pixel"


def _confidence(prob: xr.DataArray, place: Place) -> Picture:
    winning = _winning(prob)
    known = winning[np.isfinite(winning)]
    caption = "No pixel is mapped."
    if known.size:
        caption = (
            f"Median {np.median(known):.2f}; "
            f"{(known < 0.5).mean():.1%} of the pixels are below 0.5."
        )
    return Picture(
        "Probability of the mapped class (0 to 1)", confidence_map(winning, place), caption
    )


def _winning(prob: xr.DataArray) -> NDArray[np.float32]:
    counts = coarse(prob)
    empty = counts == prob.attrs.get("nodata", 255)
    scale = np.float32(prob.attrs.get("scale_factor", 1))
    winning = np.where(empty, 0, counts).max(axis=0) * scale
    return np.where(empty.all(axis=0), np.float32(np.nan), winning).astype(np.float32)
