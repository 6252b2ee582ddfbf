"""The pictures of a page and what is written beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.report.charts import range_chart, series_panel
from geocube_ml.report.coarse import Place, coarse, pixel_counts, place_of
from geocube_ml.report.maps import (
    class_map,
    composite_map,
    confidence_map,
    is_wide,
    number_map,
    written,
)
from geocube_ml.report.quantities import MANY_BANDS, Quantity, physical, quantities, units_of
from geocube_ml.report.steps import step_name, step_word
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

_TRUE = ("red", "green", "blue")


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
    """Of the source that says most to the eye."""
    others: dict[str, Picture]
    """Of all further sources."""
    confidence: Picture | None
    estimate: Picture | None
    """In place of classes and confidence, where models estimate a number."""


@dataclass(frozen=True)
class Series:
    """A band, an index or a static source: a panel a class, or a panel a band."""

    title: str
    panels: list[tuple[str, str, str]]
    """Class or band, the number of samples, and the picture's URI."""


def maps(cube: xr.Dataset, scheme: ClassScheme | None, clear: Mapping[str, pd.DataFrame]) -> Maps:
    """Class map and confidence, or the estimate, and the composite: those that the cube has."""
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
    lead = _lead(cube)
    seen = {
        name: _composite(cube, name, place, clear.get(name), outlined=name == lead)
        for name in source_names(cube)
    }
    composite = seen.pop(lead) if lead is not None else None
    estimate = _estimate(cube["estimate"], place) if "estimate" in cube else None
    return Maps(extent, is_wide(place), legend, drawn, composite, seen, confidence, estimate)


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


def series(samples: xr.Dataset, scheme: ClassScheme) -> list[Series]:
    """Each class through time, and what static sources hold of it."""
    several = len(source_names(samples)) > 1
    return [_panels(q, scheme, several) for q in quantities(samples, len(scheme.names))]


def _panels(quantity: Quantity, scheme: ClassScheme, several: bool) -> Series:
    if isinstance(quantity.axis, tuple) and len(quantity.axis) <= MANY_BANDS:
        # each with its own units: layers of a kind each, such as an elevation and its slope
        panels = [
            (
                f"{band} ({quantity.band_units[at]})",
                "",
                range_chart(quantity, at, scheme.names, scheme.colors),
            )
            for at, band in enumerate(quantity.axis)
        ]
        return Series(quantity.source, panels)
    said = [quantity.source] if several or not quantity.name else []
    title = ", ".join([*said, *([quantity.name] if quantity.name else [])])
    panels = [
        (name, _counted(quantity, code), series_panel(quantity, code, scheme.colors[code]))
        for code, name in enumerate(scheme.names)
        if code in quantity.spreads
    ]
    return Series(f"{title} ({quantity.units})", panels)


def _counted(quantity: Quantity, code: int) -> str:
    n = quantity.spreads[code].count
    return f"{n:,} sample{'' if n == 1 else 's'}"


def _lead(cube: xr.Dataset) -> str | None:
    """The source that is shown beside the map: in true colour, else in false, else the first."""
    names = source_names(cube)
    shown = {name: len(_shown(_bands(cube, name))[1]) for name in names}
    true = [name for name in names if set(_TRUE) <= set(_bands(cube, name))]
    false = [name for name in names if shown[name] == len(_TRUE)]
    return next(iter([*true, *false, *names]), None)


def _composite(
    cube: xr.Dataset, name: str, place: Place, clear: pd.DataFrame | None, *, outlined: bool
) -> Picture:
    variable, bands = cube[name], _bands(cube, name)
    stamp, seen = "", ""
    if not is_static(variable):
        step, why = _clearest(clear, cube.sizes["time"])
        starts = pd.DatetimeIndex(cube["time"].to_numpy())
        stamp = f", {step_name(starts[step], step_word(starts))}"
        seen = "; " + why.format(word=step_word(starts))
        variable = variable.isel(time=step)
    title, shown = _shown(bands)
    chosen = variable.isel({f"{name}_band": [bands.index(band) for band in shown]})
    counts = coarse(chosen.transpose(f"{name}_band", "y", "x"))
    label = cube.get("label") if outlined else None
    if label is not None and "label_layer" in label.dims:
        label = label.min("label_layer", keep_attrs=True)  # unknown is the greatest
    unknown = int(label.attrs.get("nodata", UNKNOWN)) if label is not None else UNKNOWN
    uri, stretch = composite_map(
        physical(counts, variable.attrs), place, None if label is None else coarse(label), unknown
    )
    caption = f"{name}, {' '.join(shown)}{seen}. "
    caption += (
        "Black to white: {:.3g} to {:.3g}".format(*stretch) if stretch else "No pixel has data"
    )
    return Picture(
        f"{title}{stamp} ({units_of(variable.attrs, shown[0])})",
        uri,
        caption + ("; labels outlined in white." if label is not None else "."),
    )


def _bands(cube: xr.Dataset, name: str) -> list[str]:
    return [str(band) for band in cube[f"{name}_band"].to_numpy()]


def _shown(bands: list[str]) -> tuple[str, list[str]]:
    """The bands of a picture, and what one calls it."""
    if set(_TRUE) <= set(bands):
        return "True colour", list(_TRUE)
    if len(bands) > MANY_BANDS:  # a spectrum: three places of it, the longest wave in red
        return "False colour", [bands[len(bands) * k // 4] for k in (3, 2, 1)]
    return f"Band {bands[0]}", bands[:1]


def _clearest(clear: pd.DataFrame | None, n_step: int) -> tuple[int, str]:
    """The step to show, and why."""
    if clear is None:
        return n_step // 2, "the middle of the period"
    mean = clear["mean"].to_numpy(float)
    step = int(mean.argmax())
    return step, f"the {{word}} with most clear observations, {mean[step]:.1f} a pixel"


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


def _estimate(estimate: xr.DataArray, place: Place) -> Picture:
    values, units = coarse(estimate), str(estimate.attrs.get("units", ""))
    known = values[np.isfinite(values)].astype(np.float64)
    ends, caption = (0.0, 1.0), "No pixel is mapped."
    if known.size:
        low, high = (float(end) for end in np.percentile(known, (2, 98)))
        ends = low, high if high > low else low + (abs(low) or 1.0)
        span = ends[1] - ends[0]
        mean, least, most = (
            written(float(value), span) for value in (known.mean(), known.min(), known.max())
        )
        caption = (
            f"Mean {mean}, from {least} to {most}{f' {units}' if units else ''}; the colours end "
            "at the 2nd and the 98th percentile."
        )
    title = str(estimate.attrs.get("long_name", "estimate"))
    return Picture(
        f"{title} ({units})" if units else title, number_map(values, ends, place), caption
    )


def _winning(prob: xr.DataArray) -> NDArray[np.float32]:
    counts = coarse(prob)
    empty = counts == prob.attrs.get("nodata", 255)
    scale = np.float32(prob.attrs.get("scale_factor", 1))
    winning = np.where(empty, 0, counts).max(axis=0) * scale
    return np.where(empty.all(axis=0), np.float32(np.nan), winning).astype(np.float32)
