"""Small charts over time steps, bands and classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geocube_ml.raster import hex_to_rgb
from geocube_ml.report.figures import own_style, svg_uri
from geocube_ml.report.quantities import Quantity, Spread
from geocube_ml.report.steps import MONTHS

_OTHERS = "#c9cdcb"
_BARS = "#4a7fb5"
_DOTS = "#b4521e"
_FEW = 6  # steps below which bars would be walls
_TICKS = 5  # bands that are named below a spectrum
_LETTERS = 16  # of a class's name beside a chart
_LIGHT = 0.55  # luminance above which a line is hard to see on white


def series_panel(quantity: Quantity, code: int, color: str) -> str:
    """One class before the means of the others, as a data URI.

    The axes are the same for every class of the quantity.
    """
    with own_style():
        figure = Figure(figsize=(3.4, 2.05))
        axes = figure.add_axes((0.125, 0.2, 0.855, 0.75))
        steps = np.arange(len(quantity.axis))
        for other in quantity.spreads.values():
            axes.plot(steps, other.mean, color=_OTHERS, lw=0.8)
        shown = quantity.spreads[code]
        _band(axes, steps, shown, color)
        dots = "o" if isinstance(quantity.axis, pd.DatetimeIndex) else None
        axes.plot(steps, shown.mean, color=_on_white(color), lw=1.8, marker=dots, ms=2.6)
        axes.set_ylim(*_limits(quantity))
        axes.locator_params(axis="y", nbins=4)
        axes.grid(axis="y", color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        if isinstance(quantity.axis, pd.DatetimeIndex):
            _time_axis(axes, quantity.axis)
        else:
            _band_axis(axes, quantity.axis)
        return svg_uri(figure)


def range_chart(quantity: Quantity, at: int, names: Sequence[str], colors: Sequence[str]) -> str:
    """All classes in one band of the axis, a bar and a dot each, as a data URI; the axis says the
    band and its units.
    """
    codes = sorted(quantity.spreads)
    with own_style():
        height = 0.68 + 0.2 * len(codes)
        figure = Figure(figsize=(3.4, height))
        axes = figure.add_axes((0.3, 0.5 / height, 0.675, 1 - 0.58 / height))
        for row, code in enumerate(codes):
            one = quantity.spreads[code]
            axes.hlines(row, one.low[at], one.high[at], color=colors[code], lw=6)
            axes.plot(one.mean[at], row, "o", ms=4, color=_on_white(colors[code]), mec="white")
        labels = [_short(names[code]) for code in codes]
        axes.set_yticks(range(len(codes)), labels, parse_math=False)
        axes.set_ylim(len(codes) - 0.4, -0.6)
        axes.locator_params(axis="x", nbins=5)
        band, units = quantity.axis[at], quantity.band_units[at]
        axes.set_xlabel(f"{band}, {units}", parse_math=False)
        axes.grid(axis="x", color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        return svg_uri(figure)


def step_bars(
    starts: pd.DatetimeIndex, bars: NDArray[np.float64], dots: NDArray[np.float64] | None = None
) -> str:
    """A bar a time step, and maybe a dot, as a data URI."""
    with own_style():
        figure = Figure(figsize=(5.4, 2.3))
        axes = figure.add_axes((0.075, 0.18, 0.915, 0.77))
        steps = np.arange(len(starts))
        axes.bar(steps, bars, width=0.72, color=_BARS, linewidth=0)
        if dots is not None:
            axes.plot(steps, dots, "o", ms=3.4, color=_DOTS, clip_on=False, zorder=3)
        top = float(bars.max(initial=0))
        axes.set_ylim(0, 1.08 * top if top > 0 else 1)
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y", color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        _time_axis(axes, starts)
        return svg_uri(figure)


def _band(axes: Axes, steps: NDArray[np.int64], shown: Spread, color: str) -> None:
    axes.fill_between(steps, shown.low, shown.high, color=color, alpha=0.32, linewidth=0)
    known = np.isfinite(shown.mean)
    padded = np.pad(known, 1)
    alone = known & ~padded[:-2] & ~padded[2:]  # a band needs two places to have an area
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


def _time_axis(axes: Axes, starts: pd.DatetimeIndex) -> None:
    """Quarters of a short period, years of a long one; ordinal, so that steps are equal."""
    _frame(axes, len(starts))
    years = len(set(starts.year))
    if years > 2:
        stride = -(-years // 6)
        first = [
            (i, s) for i, s in _firsts(starts, (1,)) if (s.year - starts[0].year) % stride == 0
        ]
        labels = [str(s.year) for _, s in first]
    else:
        first = _firsts(starts, (1, 4, 7, 10)) or [(0, starts[0])]
        labels, told = [], set()
        for _, start in first:
            # a second line in every label, or the first ones do not stand level
            year = " " if start.year in told else str(start.year)
            told.add(start.year)
            labels.append(f"{MONTHS[start.month - 1]}\n{year}")
    axes.set_xticks([i for i, _ in first], labels)


def _band_axis(axes: Axes, bands: Sequence[str]) -> None:
    """Some of the bands by name, the first and the last among them."""
    _frame(axes, len(bands))
    at = np.unique(np.linspace(0, len(bands) - 1, _TICKS).round().astype(int))
    axes.set_xticks(at, [bands[i] for i in at], parse_math=False)
    if len(at) > 1:
        axes.get_xticklabels()[-1].set_horizontalalignment("right")  # within the picture


def _frame(axes: Axes, n: int) -> None:
    spare = max(0.0, (_FEW - n) / 2)
    axes.set_xlim(-0.6 - spare, n - 0.4 + spare)


def _firsts(starts: pd.DatetimeIndex, wanted: tuple[int, ...]) -> list[tuple[int, pd.Timestamp]]:
    """First step of each wanted month of the year; a period may have several in a month."""
    seen = set()
    out = []
    for i, start in enumerate(starts):
        if start.month in wanted and (start.year, start.month) not in seen:
            seen.add((start.year, start.month))
            out.append((i, start))
    return out


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"


def _on_white(color: str) -> tuple[float, float, float]:
    """The colour, darkened until a line of it can be seen on white."""
    rgb = np.array(hex_to_rgb(color)) / 255
    luminance = float(rgb @ (0.2126, 0.7152, 0.0722))
    red, green, blue = rgb * min(1.0, _LIGHT / max(luminance, 1e-6))
    return float(red), float(green), float(blue)
