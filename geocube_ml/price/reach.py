"""How many blocks of a raster many windows of a grid touch: `raster.way`, for all of them at once.

A plan asks this of each grid of an archive and each tile that it touches, a hundred thousand times
and more; one at a time that takes minutes, and hours where the CRS differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geocube_ml.grid import Tile
from geocube_ml.raster.window import SAMPLED, Header, Way, way

_POINTS = 9  # of a window's edge, at which its place in another CRS is found
_ROUNDED = 2e-6  # pixels; places are rounded
_FAR = 2.0**40

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Touched(NamedTuple):
    """Rows and columns of blocks that each window needs; 0 by 0 where it does not reach."""

    rows: Ints
    cols: Ints


@dataclass(frozen=True)
class _Bounds:
    """Least and greatest x and y of the pixel centres of windows in some CRS."""

    low: Floats
    """(window, 2)"""
    high: Floats
    """(window, 2)"""
    error: Floats
    """(window, 2) by which these may lie further out."""


class Windows:
    """Windows of a grid, and where they lie in other CRSs.

    Parameters
    ----------
    geobox : GeoBox
        The grid.
    tiles : sequence of Tile
    rim : int
        Pixels around each.
    """

    def __init__(self, geobox: GeoBox, tiles: Sequence[Tile], rim: int = 0) -> None:
        self._geobox = geobox
        edges = [(t.y.start, t.y.stop, t.x.start, t.x.stop) for t in tiles]
        self._edges: Ints = np.add(np.array(edges, np.int64).reshape(-1, 4), [-rim, rim, -rim, rim])
        self._bounds: dict[str, _Bounds] = {}

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._edges)

    def window(self, at: int) -> GeoBox:
        """One of them."""
        top, bottom, left, right = self._edges[at].tolist()
        there = self._geobox.transform * Affine.translation(left, top)
        return GeoBox((bottom - top, right - left), there, self._geobox.crs)

    def touched(self, header: Header, which: Ints, resampling: str, coarsening: str) -> Touched:
        """Blocks that reading some of the windows takes.

        Parameters
        ----------
        header : Header
            Of the raster; its place, its size and how it is cut.
        which : (n,) int
            Positions of windows.
        resampling, coarsening : str
            As of `raster.read_onto`.

        Returns
        -------
        Touched
            Exactly as `raster.way` has it, each of shape (n,).
        """
        rows, cols = np.zeros(len(which), np.int64), np.zeros(len(which), np.int64)
        # how a window is read depends on its size only
        sizes = self._edges[which][:, [1, 3]] - self._edges[which][:, [0, 2]]
        for size in np.unique(sizes, axis=0):
            here = np.flatnonzero((sizes == size).all(axis=1))
            first = int(which[here[0]])
            how = self._way(header, first, resampling, coarsening)
            found = self._alike(header, which[here], how, first)
            if found is None:
                spans = [
                    way(header, self.window(int(at)), resampling, coarsening).span
                    for at in which[here]
                ]
                found = np.array([tuple(span) for span in spans], np.int64)
            rows[here], cols[here] = _blocks(header, found)
            if how.kind != "copy":
                unsure = self._unsure(header, which[here], how)
                for at in here[unsure]:
                    exact = way(header, self.window(int(which[at])), resampling, coarsening).span
                    one = _blocks(header, np.array([tuple(exact)], np.int64))
                    rows[at], cols[at] = one[0][0], one[1][0]
        return Touched(rows, cols)

    def _way(self, header: Header, at: int, resampling: str, coarsening: str) -> Way:
        """How a window is read; what it needs is found for all of them at once."""
        window = self.window(at)
        # a pixel says as much, and more quickly, unless the raster may lie on the grid
        how = way(header, window[:1, :1], resampling, coarsening)
        return way(header, window, resampling, coarsening) if how.kind == "copy" else how

    def _alike(self, header: Header, which: Ints, how: Way, first: int) -> Ints | None:
        """(window, 4) spans of windows of one size; None where the raster is rotated."""
        if how.kind == "copy":
            begin, end = self._edges[which][:, [0, 2]], self._edges[which][:, [1, 3]]
            shift = np.array(how.offset) - self._edges[first][[0, 2]]
            return _spans(begin + shift, end + shift)
        ends = self._ends(header, which)
        if ends is None:
            return None
        return _spans(*_reached(ends[0], ends[1], how))

    def _unsure(self, header: Header, which: Ints, how: Way) -> NDArray[np.bool_]:
        """Windows whose ends lie so close to the edge of a block that they must be looked at."""
        ends = self._ends(header, which)
        if ends is None:
            return np.zeros(len(which), bool)
        low, high, error = ends
        inner = _blocks(header, _spans(*_reached(low + error, high - error, how)))
        outer = _blocks(header, _spans(*_reached(low - error, high + error, how)))
        return np.asarray((inner[0] != outer[0]) | (inner[1] != outer[1]))

    def _ends(self, header: Header, which: Ints) -> tuple[Floats, Floats, Floats] | None:
        """(window, 2) least and greatest row and column of pixel centres, and their error."""
        back = ~header.transform
        if back.b or back.d:
            return None
        bounds = self._of(header.crs, which)
        scale, start = np.array([back.a, back.e]), np.array([back.c, back.f])
        one, other = bounds.low * scale + start, bounds.high * scale + start
        low, high = np.minimum(one, other).round(6), np.maximum(one, other).round(6)
        error = bounds.error * abs(scale) + _ROUNDED
        return low[:, ::-1], high[:, ::-1], error[:, ::-1]  # x, y -> row, column

    def _of(self, crs: str, which: Ints) -> _Bounds:
        """Where windows lie in a CRS; what is found once is kept."""
        if crs not in self._bounds:
            shape = (len(self), 2)
            self._bounds[crs] = _Bounds(*(np.full(shape, np.nan) for _ in range(3)))
        bounds = self._bounds[crs]
        new = which[np.isnan(bounds.error[which, 0])]
        if len(new):
            bounds.low[new], bounds.high[new], bounds.error[new] = self._places(crs, new)
        return _Bounds(bounds.low[which], bounds.high[which], bounds.error[which])

    def _places(self, crs: str, which: Ints) -> tuple[Floats, Floats, Floats]:
        """Bounds of windows in a CRS, by points of their edges: what is smooth has its least and
        its greatest value there.
        """
        top, bottom, left, right = (self._edges[which].T[..., None] + 0.5).astype(np.float64)
        part = np.linspace(0, 1, _POINTS)
        across, down = left + (right - left - 1) * part, top + (bottom - top - 1) * part
        col = np.stack([across, across, left + 0 * part, right - 1 + 0 * part])
        row = np.stack([top + 0 * part, bottom - 1 + 0 * part, down, down])
        to = self._geobox.transform
        x, y = to.a * col + to.c, to.e * row + to.f
        if CRS.from_user_input(crs) != CRS.from_user_input(str(self._geobox.crs)):
            x, y = Transformer.from_crs(str(self._geobox.crs), crs, always_xy=True).transform(x, y)
        places = np.stack([x, y], axis=-1)  # (edge, window, point, 2)
        with np.errstate(invalid="ignore"):  # a place may be infinite
            bend = abs(np.diff(places, 2, axis=2)).max(axis=(0, 2))
        bend = np.where(np.isfinite(bend), bend, np.inf)
        places = np.clip(places, -_FAR, _FAR)
        # between two points, a curve lies an eighth of its bend beyond them at most; twice that,
        # as the bend changes along the edge
        return places.min(axis=(0, 2)), places.max(axis=(0, 2)), bend / 4


def _reached(low: Floats, high: Floats, how: Way) -> tuple[Ints, Ints]:
    """First and last row and column, the last not included, that pixel centres need."""
    first, last = np.floor(low), np.floor(high)
    if how.kind == "sample" and how.method in SAMPLED:
        if how.method == "bilinear":
            first = np.minimum(first, np.floor(low - 0.5))
            last = np.maximum(last, np.floor(high - 0.5) + 1)
    else:
        first, last = first - how.margin, last + how.margin
    ends = np.clip(np.stack([first, last + 1]), -_FAR, _FAR).astype(np.int64)
    return ends[0], ends[1]


def _spans(begin: Ints, end: Ints) -> Ints:
    """(window, 4) top, bottom, left, right, not cut to the raster."""
    return np.stack([begin[:, 0], end[:, 0], begin[:, 1], end[:, 1]], axis=1)


def _blocks(header: Header, spans: Ints) -> tuple[Ints, Ints]:
    """Rows and columns of blocks that hold a part of each span."""
    top, bottom = np.clip(spans[:, 0], 0, None), np.clip(spans[:, 1], None, header.height)
    left, right = np.clip(spans[:, 2], 0, None), np.clip(spans[:, 3], None, header.width)
    there = (top < bottom) & (left < right)
    rows = -(-bottom // header.block[0]) - top // header.block[0]
    cols = -(-right // header.block[1]) - left // header.block[1]
    return np.where(there, rows, 0), np.where(there, cols, 0)
