"""Maps as pictures: north up, a scale bar below, the extent at the corners."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geocube_ml.raster import hex_to_rgb
from geocube_ml.report.coarse import Place
from geocube_ml.report.figures import EMPTY, INK, MUTED, own_style, png_uri

_STRETCH = (2, 98)  # percentiles that become black and white
_WIDE = 1.9  # columns a row from which a map takes the whole width of the page
_COLORS = "cividis"  # read alike by people who do and do not see red and green apart
_STRIP_IN = 0.42  # below the map: scale bar, arrow or colour bar
_TALLEST_IN = 6.2


@dataclass(frozen=True)
class _Frame:
    """Inches of a figure that shows a map."""

    width: float
    map_width: float
    map_height: float
    left: float
    labels_below: float
    dpi: int

    @property
    def height(self) -> float:
        return self.map_height + self.labels_below + _STRIP_IN + 0.06


def is_wide(place: Place) -> bool:
    """Whether a map needs the whole width of the page."""
    rows, cols = place.shape
    return cols / rows > _WIDE


def class_map(codes: NDArray[np.uint8], colors: list[str], place: Place) -> str:
    """Classes in their colours, as a data URI.

    Parameters
    ----------
    codes : (y, x) uint8
        Other values than 0, 1, ... one a colour are transparent.
    colors : list of ``#rrggbb``
    place : Place
        Extent of the picture.
    """
    table = np.zeros((256, 4), np.uint8)
    for code, color in enumerate(colors):
        table[code] = (*hex_to_rgb(color), 255)
    return _drawn(table[codes], place, "nearest")


def composite_map(
    bands: NDArray[np.float32], place: Place, label: NDArray[np.uint8] | None, unknown: int
) -> tuple[str, tuple[float, float] | None]:
    """One or three bands as a data URI, with the values that are black and white.

    Parameters
    ----------
    bands : (1 or 3, y, x) float32
        NaN without data.
    place : Place
    label : (y, x) uint8 or None
        Outlined where it is not `unknown`.
    unknown : int

    Returns
    -------
    str, (low, high)
        None for the values where no pixel has data.
    """
    known = np.isfinite(bands).all(axis=0)
    rgba = np.zeros((*known.shape, 4), np.float32)
    rgba[..., 3] = known
    limits = []
    for channel in range(3):
        band = bands[channel % len(bands)]
        low, high = np.percentile(band[known], _STRETCH) if known.any() else (0.0, 1.0)
        limits.append((low, high))
        stretched = (band - low) / max(high - low, 1e-9)
        rgba[..., channel] = np.where(known, np.clip(stretched, 0, 1), 0)
    outline = None if label is None else _outline(label, unknown, place)
    lows, highs = zip(*limits, strict=True)
    return _drawn(rgba, place, "antialiased", outline), (
        (float(min(lows)), float(max(highs))) if known.any() else None
    )


def confidence_map(winning: NDArray[np.float32], place: Place) -> str:
    """Probability of the mapped class with its colour bar, as a data URI.

    Parameters
    ----------
    winning : (y, x) float32, 0 to 1
        NaN without data.
    place : Place
    """
    return _shaded(winning, place, (0, 0.25, 0.5, 0.75, 1))


def number_map(values: NDArray[np.floating[Any]], ends: tuple[float, float], place: Place) -> str:
    """A number with its colour bar, as a data URI.

    Parameters
    ----------
    values : (y, x) float
        NaN without data.
    ends : (low, high)
        Of the colours; they differ.
    place : Place
    """
    return _shaded(values, place, tuple(np.linspace(*ends, 3).tolist()))


def _shaded(values: NDArray[np.floating[Any]], place: Place, ticks: tuple[float, ...]) -> str:
    """Values in colours from the first tick to the last."""
    low, high = ticks[0], ticks[-1]
    shades = mpl.colormaps[_COLORS]((np.nan_to_num(values, nan=low) - low) / (high - low))
    rgba = (255 * np.asarray(shades)).astype(np.uint8)
    rgba[~np.isfinite(values), 3] = 0
    return _drawn(rgba, place, "antialiased", bar=ticks)


def _drawn(
    image: NDArray[np.generic],
    place: Place,
    interpolation: str,
    outline: NDArray[np.float64] | None = None,
    *,
    bar: tuple[float, ...] | None = None,
) -> str:
    frame = _framed(place)
    with own_style():
        figure = Figure(figsize=(frame.width, frame.height))
        bottom = frame.labels_below + _STRIP_IN
        axes = figure.add_axes(
            (
                frame.left / frame.width,
                bottom / frame.height,
                frame.map_width / frame.width,
                frame.map_height / frame.height,
            )
        )
        axes.set_facecolor(EMPTY)
        axes.spines[:].set_visible(True)
        axes.imshow(
            image,
            extent=(place.left, place.right, place.bottom, place.top),
            aspect="auto",  # the axes have the map's proportions
            interpolation=interpolation,
        )
        if outline is not None:
            # a halo below all lines; a path effect would draw one segment after the other
            for color, width in (("#00000099", 2.0), ("white", 0.9)):
                axes.add_collection(LineCollection(list(outline), colors=color, linewidths=width))
        _corners(axes, frame, place)
        _scale_bar(figure, frame, (place.right - place.left) / frame.map_width)
        if bar:
            _color_bar(figure, frame, bar)
        else:
            _north(figure, frame)
        return png_uri(figure, frame.dpi)


def _framed(place: Place) -> _Frame:
    rows, cols = place.shape
    wide = is_wide(place)
    width, dpi = (10.6, 120) if wide else (5.2, 200)
    room = width - 0.34
    height = min(room * rows / cols, _TALLEST_IN)
    map_width = height * cols / rows
    # a map of a few rows or columns is still to be seen
    return _Frame(
        width,
        max(map_width, 0.15),
        max(height, 0.15),
        left=0.28 + (room - max(map_width, 0.15)) / 2,
        labels_below=0.2 if map_width > 2 else 0.04,
        dpi=dpi,
    )


def _corners(axes: Axes, frame: _Frame, place: Place) -> None:
    """The extent at the corners, where there is room to write it."""
    axes.tick_params(length=0, pad=3, labelsize=8.5)
    axes.set_xticks([])
    axes.set_yticks([])
    if frame.map_width > 2:
        axes.set_xticks(
            [place.left, place.right], [f"{place.left:,.0f} E", f"{place.right:,.0f} E"]
        )
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    if frame.map_height > 2:
        axes.set_yticks(
            [place.bottom, place.top], [f"{place.bottom:,.0f} N", f"{place.top:,.0f} N"]
        )
        for label, side in zip(axes.get_yticklabels(), ("bottom", "top"), strict=True):
            label.set(rotation=90, verticalalignment=side)


def _scale_bar(figure: Figure, frame: _Frame, metres_an_inch: float) -> None:
    length = round_down(1.5 * metres_an_inch)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    strip = _strip_axes(figure, frame, 0.28, frame.width - 0.34)
    strip.plot([0, length / metres_an_inch], [0.12, 0.12], color=INK, lw=3, solid_capstyle="butt")
    strip.text(length / metres_an_inch + 0.08, 0.12, text, va="center", fontsize=9)


def _north(figure: Figure, frame: _Frame) -> None:
    strip = _strip_axes(figure, frame, frame.width - 0.36, 0.3)
    strip.fill([0.08, 0.15, 0.22, 0.15], [0.02, 0.26, 0.02, 0.08], color=INK, lw=0)
    strip.text(0.02, 0.13, "N", va="center", ha="right", fontsize=9)


def _color_bar(figure: Figure, frame: _Frame, ticks: tuple[float, ...]) -> None:
    strip = _strip_axes(figure, frame, frame.width - 2.2, 2.1)
    shades = mpl.colormaps[_COLORS](np.linspace(0, 1, 256))[None]
    strip.imshow(shades, extent=(0.1, 1.9, 0.16, 0.28), aspect="auto")
    for value in ticks:
        at = 0.1 + 1.8 * (value - ticks[0]) / (ticks[-1] - ticks[0])
        text = written(value, ticks[-1] - ticks[0])
        strip.text(at, 0.12, text, ha="center", va="top", fontsize=8.5, color=MUTED)
    strip.set(xlim=(0, 2.1), ylim=(0, 0.3))


def _strip_axes(figure: Figure, frame: _Frame, left: float, width: float) -> Axes:
    """Part of the strip below a map, measured in inches."""
    axes = figure.add_axes(
        (left / frame.width, 0.02 / frame.height, width / frame.width, 0.3 / frame.height)
    )
    axes.set(xlim=(0, width), ylim=(0, 0.3))
    axes.axis("off")
    return axes


def _outline(label: NDArray[np.uint8], unknown: int, place: Place) -> NDArray[np.float64]:
    """Edges between labelled pixels and pixels of another label, or of none.

    Returns
    -------
    (edge, 2, 2) float64
        Start and end of each edge, x before y, in the coordinates of the map.
    """
    rows, cols = label.shape
    padded = np.pad(label, 1, constant_values=unknown)
    row, col = np.nonzero(padded[:, :-1] != padded[:, 1:])  # vertical edges
    upright = np.stack([np.stack([col, row - 1], 1), np.stack([col, row], 1)], 1)
    row, col = np.nonzero(padded[:-1] != padded[1:])
    level = np.stack([np.stack([col - 1, row], 1), np.stack([col, row], 1)], 1)
    edges = np.concatenate([upright, level]).astype(np.float64)
    edges[..., 0] = place.left + edges[..., 0] * (place.right - place.left) / cols
    edges[..., 1] = place.top - edges[..., 1] * (place.top - place.bottom) / rows
    return edges


def written(value: float, span: float) -> str:
    """A value among others that lie within `span`, with the digits that tell them apart.

    Examples
    --------
    >>> written(0.25, 1), written(12345.6, 8000), written(43.21, 88), written(-0.0, 1)
    ('0.25', '12,346', '43.2', '0')
    """
    digits = max(0, 2 - floor(log10(span)))
    text = f"{round(value, digits) + 0.0:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if digits else text
    return text.replace("-", "−")


def round_down(metres: float) -> float:
    """The next 1, 2 or 5 times a power of ten that is not longer.

    Examples
    --------
    >>> round_down(1730.0), round_down(0.7)
    (1000.0, 0.5)
    """
    power = 10.0 ** floor(log10(metres))
    return max(step * power for step in (1, 2, 5) if step * power <= metres * (1 + 1e-9))
