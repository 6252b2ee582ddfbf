"""Which pixels of a raster a window of a grid needs, and which blocks hold them.

Reading and its price are told by the same functions, so that a price is what is read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

_ALIGNED = 1e-3  # pixels; footprints written with few decimals are this far off
_COARSER = 1.1  # UTM zones differ by permille in scale, which is not coarser
_FAR = 2**40
_NOWHERE = np.empty((1, 0)), np.empty((0, 1))

Places = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Column and row, with fractions."""

SAMPLED = ("nearest", "bilinear")
_RADIUS = {"nearest": 0.0, "bilinear": 1.0, "cubic": 2.0}  # pixels
_RADIUS_OF_AVERAGES = 0.5  # pixels of the grid
_TURNED = 0.75  # the same of pixels that lie askew in the raster: half a diagonal, and some


class Span(NamedTuple):
    """Rows and columns of a raster, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.top >= self.bottom or self.left >= self.right

    def common(self, other: Span) -> Span:
        """What lies in both."""
        return Span(
            max(self.top, other.top), min(self.bottom, other.bottom),
            max(self.left, other.left), min(self.right, other.right),
        )  # fmt: skip

    def seen_from(self, row: int, col: int) -> Span:
        """The same, counted from a row and a column."""
        return Span(self.top - row, self.bottom - row, self.left - col, self.right - col)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True, eq=False)
class Header:
    """What a raster says of itself."""

    height: int
    width: int
    count: int
    """Bands."""
    dtype: np.dtype[Any]
    crs: str
    """Empty if it says none."""
    transform: Affine
    nodata: tuple[float | None, ...]
    """Of each band."""
    block: tuple[int, int]
    """Rows and columns of a block."""
    interleaved: bool
    """Whether a block holds all bands."""
    overviews: tuple[tuple[int, int], ...] = ()
    """Rows and columns of each, where they were asked for."""
    block_bytes: NDArray[np.int64] | None = None
    """(plane, block row, block column) compressed bytes, where they are known; one plane if a
    block holds all bands, else one a band.  0 for a block that was left out."""
    file_bytes: int | None = None
    """Of the file, where it is known."""

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.height // self.block[0]), -(-self.width // self.block[1])

    @property
    def bytes_of_block(self) -> int:
        """Of a decoded block."""
        samples = self.count if self.interleaved else 1
        return self.block[0] * self.block[1] * samples * self.dtype.itemsize

    def touched(self, span: Span) -> Iterator[tuple[int, int]]:
        """Row and column of each block that holds a part of a span."""
        if not span.empty:
            rows, cols = self.block
            for y in range(span.top // rows, -(-span.bottom // rows)):
                for x in range(span.left // cols, -(-span.right // cols)):
                    yield y, x

    def planes(self, bands: Sequence[int]) -> list[int]:
        """Positions of the planes of blocks that bands, counted from 1, lie in."""
        return [0] if self.interleaved else [band - 1 for band in dict.fromkeys(bands)]


@dataclass(frozen=True, eq=False)
class Way:
    """How a window is read."""

    kind: Literal["copy", "sample", "warp"]
    method: str
    span: Span
    """What is read of the raster; empty where it does not reach."""
    offset: tuple[int, int] = (0, 0)
    """Of a copy: row and column of the grid's first pixel in the raster."""
    step: tuple[float, float] = (1.0, 1.0)
    """Of a warp: rows and columns of the raster that one pixel of the grid spans, at least 1."""
    margin: tuple[int, int] = (0, 0)
    """Of a warp: rows and columns that it needs around a place."""
    places: Places = _NOWHERE
    """Unless it is a copy: column and row of the raster, with fractions, of the centre of each
    pixel of the grid; (1, x) and (y, 1), or (y, x) each."""


def way(
    header: Header, geobox: GeoBox, resampling: str, coarsening: str,
    step: tuple[float, float] | None = None,
) -> Way:  # fmt: skip
    """How a window of a grid is read from a raster with a CRS.

    Parameters
    ----------
    header : Header
    geobox : GeoBox
        The window.
    resampling, coarsening : str
        GDAL's names: where the raster's pixels are as large as the grid's or larger, and where
        they are smaller.
    step : (float, float), optional
        Rows and columns of the raster that one pixel of the grid spans; as `step_of` says of the
        raster by default.
    """
    offset = offset_of(header, geobox)
    shape = geobox.shape
    if offset is not None:
        top, left = offset
        reach = Span(top, top + shape.y, left, left + shape.x)
        return Way("copy", "nearest", _within(header, reach), offset)
    if step is None:
        step = step_of(header.crs, header.transform, (header.height, header.width), geobox)
    # coarser in one direction is enough: pixels that lie between two places would be passed over
    coarser = max(step) > _COARSER
    method = coarsening if coarser else resampling
    step = (max(step[0], 1.0), max(step[1], 1.0)) if coarser else (1.0, 1.0)
    col, row = _pixels_of(header, geobox)
    margin = 0, 0
    low, high = np.floor([row.min(), col.min()]), np.floor([row.max(), col.max()])
    if not coarser and method in SAMPLED:
        if method == "bilinear":  # the pixels whose centres lie around
            low = np.minimum(low, np.floor([row.min() - 0.5, col.min() - 0.5]))
            high = np.maximum(high, np.floor([row.max() - 0.5, col.max() - 0.5]) + 1)
        kind: Literal["sample", "warp"] = "sample"
    else:
        kind = "warp"
        margin = _margin(method, step, turned=not _upright(header, geobox))
        low, high = low - margin, high + margin
    low, high = np.clip([low, high + 1], -_FAR, _FAR).astype(int)  # a place may be infinite
    (top, left), (bottom, right) = low.tolist(), high.tolist()
    span = _within(header, Span(top, bottom, left, right))
    return Way(kind, method, span, step=step, margin=margin, places=(col, row))


def _margin(method: str, step: tuple[float, float], *, turned: bool) -> tuple[int, int]:
    """As `Way.margin`."""
    radius = _RADIUS.get(method, _TURNED if turned else _RADIUS_OF_AVERAGES)
    return ceil(radius * step[0]), ceil(radius * step[1])


def _upright(header: Header, geobox: GeoBox) -> bool:
    """Whether rows of the grid are along rows of the raster."""
    return header.transform.is_rectilinear and _same(header.crs, str(geobox.crs))


def _pixels_of(header: Header, geobox: GeoBox) -> Places:
    """As `Way.places`."""
    shape, to_grid = (geobox.shape.y, geobox.shape.x), tuple(geobox.transform)[:6]
    x, y = _places(shape, to_grid, str(geobox.crs), header.crs)
    back = ~header.transform
    if back.b == back.d == 0:  # stays a row and a column of places where it was one
        col, row = back.a * x + back.c, back.e * y + back.f
    else:
        col, row = back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f
    # what rounding leaves of a coordinate's last digits differs from window to window
    return col.round(6), row.round(6)


def _within(header: Header, span: Span) -> Span:
    top, bottom = max(span.top, 0), min(span.bottom, header.height)
    left, right = max(span.left, 0), min(span.right, header.width)
    return Span(top, max(bottom, top), left, max(right, left))


@functools.lru_cache(maxsize=64)  # one takes milliseconds to make; threads may share it
def _between(crs: str, other: str) -> Transformer:
    return Transformer.from_crs(crs, other, always_xy=True)


@functools.lru_cache(maxsize=256)
def _same(crs: str, other: str) -> bool:
    return crs == other or CRS.from_user_input(crs) == CRS.from_user_input(other)


def offset_of(header: Header, geobox: GeoBox, off: float = _ALIGNED) -> tuple[int, int] | None:
    """Row and column of the grid's first pixel in the raster, if the pixels coincide.

    Parameters
    ----------
    header : Header
    geobox : GeoBox
    off : float
        Pixels by which they may be off.
    """
    if not _same(header.crs, str(geobox.crs)):
        return None
    shift = ~header.transform * geobox.transform  # grid pixel -> raster pixel
    size = max(geobox.shape)
    drift = max(abs(shift.a - 1), abs(shift.e - 1), abs(shift.b), abs(shift.d)) * size
    row, col = round(shift.f), round(shift.c)
    if max(drift, abs(shift.f - row), abs(shift.c - col)) > off:
        return None
    return row, col


def step_of(
    crs: str, transform: Affine, shape: tuple[int, int], geobox: GeoBox
) -> tuple[float, float]:
    """Rows and columns of a raster that one pixel of the grid spans, at the raster's middle.

    Only the size of the grid's pixels counts: the answer must not depend on the window that is
    read.

    Parameters
    ----------
    crs : str
    transform : Affine
    shape : (int, int)
        Rows and columns of the raster.
    geobox : GeoBox
        The grid.
    """
    size = geobox.transform.a, geobox.transform.e
    return _step_of(crs, tuple(transform)[:6], shape, size, str(geobox.crs))


# keys of both are numbers and texts: a GeoBox writes its CRS as WKT whenever it is compared


@functools.lru_cache(maxsize=256)
def _step_of(
    crs: str,
    transform: tuple[float, ...],
    shape: tuple[int, int],
    size: tuple[float, float],
    grid_crs: str,
) -> tuple[float, float]:
    to_crs = Affine(*transform)
    x, y = to_crs * (shape[1] / 2, shape[0] / 2)
    # how far one pixel of the grid to the right, and one down, leads in the raster's CRS
    moved = np.array([[size[0], 0.0], [0.0, size[1]]])
    if not _same(crs, grid_crs):
        there = _between(crs, grid_crs)
        left, top = there.transform(x, y)
        corners = np.array([[left, top], [left + size[0], top], [left, top + size[1]]])
        back_x, back_y = there.transform(corners[:, 0], corners[:, 1], direction="INVERSE")
        places = np.stack([back_x, back_y], axis=-1)
        moved = places[1:] - places[0]
    back = ~to_crs
    cols = back.a * moved[:, 0] + back.b * moved[:, 1]
    rows = back.d * moved[:, 0] + back.e * moved[:, 1]
    return float(np.hypot(*rows)), float(np.hypot(*cols))


@functools.lru_cache(maxsize=8)  # a tile reads all its rasters, of a few CRSs, one after the other
def _places(
    shape: tuple[int, int], transform: tuple[float, ...], grid_crs: str, crs: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X (1, x) or (y, x) and y (y, 1) or (y, x) of the grid's pixel centres in another CRS."""
    rows, cols = shape
    to_grid = Affine(*transform)
    x = (to_grid.a * (np.arange(cols, dtype=np.float64) + 0.5) + to_grid.c)[None, :]
    y = (to_grid.e * (np.arange(rows, dtype=np.float64) + 0.5) + to_grid.f)[:, None]
    if _same(crs, grid_crs):
        return x, y
    there = _between(grid_crs, crs)
    every_x, every_y = np.broadcast_arrays(x, y)
    moved_x, moved_y = there.transform(every_x, every_y)
    return moved_x, moved_y
