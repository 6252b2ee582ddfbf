"""Small charts over months."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geocube_ml.raster import hex_to_rgb
from geocube_ml.report.figures import own_style, svg_uri
from geocube_ml.report.quantities import Quantity, Spread

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_OTHERS = "#c9cdcb"
_BARS = "#4a7fb5"
_DOTS = "#b4521e"
_FEW = 6  # months below which bars would be walls
_LIGHT = 0.55  # luminance above which a line is hard to see on white


def series_panel(quantity: Quantity, code: int, color: str) -> str:
    """One class before the means of the others, as a data URI.

    The axes are the same for every class of the quantity.
    """
    with own_style():
        figure = Figure(figsize=(3.4, 2.05))
        axes = figure.add_axes((0.125, 0.2, 0.855, 0.75))
        steps = np.arange(len(quantity.months))
        for other in quantity.spreads.values():
            axes.plot(steps, other.mean, color=_OTHERS, lw=0.8)
        shown = quantity.spreads[code]
        _band(axes, steps, shown, color)
        axes.plot(steps, shown.mean, color=_on_white(color), lw=1.8, marker="o", ms=2.6)
        axes.set_ylim(*_limits(quantity))
        axes.locator_params(axis="y", nbins=4)
        axes.grid(axis="y", color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        _month_axis(axes, quantity.months)
        return svg_uri(figure)


def month_bars(
    months: pd.DatetimeIndex, bars: NDArray[np.float64], dots: NDArray[np.float64] | None = None
) -> str:
    """A bar a month, and maybe a dot, as a data URI."""
    with own_style():
        figure = Figure(figsize=(5.4, 2.3))
        axes = figure.add_axes((0.075, 0.18, 0.915, 0.77))
        steps = np.arange(len(months))
        axes.bar(steps, bars, width=0.72, color=_BARS, linewidth=0)
        if dots is not None:
            axes.plot(steps, dots, "o", ms=3.4, color=_DOTS, clip_on=False, zorder=3)
        top = float(bars.max(initial=0))
        axes.set_ylim(0, 1.08 * top if top > 0 else 1)
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y", color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        _month_axis(axes, months)
        return svg_uri(figure)


def month_name(month: pd.Timestamp) -> str:
    """As one reads it, in any locale.

    Examples
    --------
    >>> month_name(pd.Timestamp("2024-07-01"))
    'Jul 2024'
    """
    return f"{_MONTHS[month.month - 1]} {month.year}"


def _band(axes: Axes, steps: NDArray[np.int64], shown: Spread, color: str) -> None:
    axes.fill_between(steps, shown.low, shown.high, color=color, alpha=0.32, linewidth=0)
    known = np.isfinite(shown.mean)
    padded = np.pad(known, 1)
    alone = known & ~padded[:-2] & ~padded[2:]  # a band needs two months to have an area
    axes.vlines(steps[alone], shown.low[alone], shown.high[alone], color=color, alpha=0.45, lw=3)


def _limits(quantity: Quantity) -> tuple[float, float]:
    ends = [end for s in quantity.spreads.values() for end in (s.low, s.high)]
    values = np.concatenate(ends)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _month_axis(axes: Axes, months: pd.DatetimeIndex) -> None:
    """Quarters of a short period, years of a long one; ordinal, so that months are equal."""
    spare = max(0.0, (_FEW - len(months)) / 2)
    axes.set_xlim(-0.6 - spare, len(months) - 0.4 + spare)
    years = len(set(months.year))
    if years > 2:
        stride = -(-years // 6)
        first = [
            (i, m) for i, m in _firsts(months, (1,)) if (m.year - months[0].year) % stride == 0
        ]
        labels = [str(m.year) for _, m in first]
    else:
        first = _firsts(months, (1, 4, 7, 10)) or [(0, months[0])]
        labels, told = [], set()
        for _, month in first:
            # a second line in every label, or the first ones do not stand level
            year = " " if month.year in told else str(month.year)
            told.add(month.year)
            labels.append(f"{_MONTHS[month.month - 1]}\n{year}")
    axes.set_xticks([i for i, _ in first], labels)


def _firsts(months: pd.DatetimeIndex, wanted: tuple[int, ...]) -> list[tuple[int, pd.Timestamp]]:
    """First step of each wanted month of the year; a period may have several in a month."""
    seen = set()
    out = []
    for i, month in enumerate(months):
        if month.month in wanted and (month.year, month.month) not in seen:
            seen.add((month.year, month.month))
            out.append((i, month))
    return out


def _on_white(color: str) -> tuple[float, float, float]:
    """The colour, darkened until a line of it can be seen on white."""
    rgb = np.array(hex_to_rgb(color)) / 255
    luminance = float(rgb @ (0.2126, 0.7152, 0.0722))
    red, green, blue = rgb * min(1.0, _LIGHT / max(luminance, 1e-6))
    return float(red), float(green), float(blue)
