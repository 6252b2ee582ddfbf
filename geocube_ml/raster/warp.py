"""Pixels at hand, and those of an open raster, on another grid.

What is sampled at places is sampled by `kernels.resample`, what is averaged by GDAL's warper.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from geocube_ml.kernels.resample import bilinear, nearest
from geocube_ml.raster.wanted import Terms, holds
from geocube_ml.raster.window import Header, Places, Span, Way

_SAMPLERS = {"nearest": nearest, "bilinear": bilinear}
_AREAS = ("average", "mode")


@dataclass(frozen=True)
class Part:
    """Pixels of a raster that are at hand."""

    values: NDArray[Any]
    """(band, y, x)"""
    span: Span
    """Where they lie in the raster."""
    transform: Affine
    """Of the whole raster."""
    crs: str

    def onto(self, how: Way, geobox: GeoBox, terms: Terms) -> NDArray[Any]:
        """(band, y, x) values on a grid, with nodata where there are none at hand.

        Parameters
        ----------
        how : Way
            With places in the whole raster.
        geobox : GeoBox
        terms : Terms
        """
        if how.kind == "copy":
            return self._placed(how, geobox, terms)
        col, row = how.places
        if how.kind == "sample" or how.method == "nearest":
            col, row = col - self.span.left, row - self.span.top
            take = _SAMPLERS[how.method]
            planes = [take(plane, row, col, terms.stated) for plane in self.values]
            return planes[0][None] if len(planes) == 1 else np.stack(planes)
        with self._opened(terms.stated) as src:
            return warped(src, range(1, src.count + 1), how, geobox, terms)

    def _placed(self, how: Way, geobox: GeoBox, terms: Terms) -> NDArray[Any]:
        span, (row, col), (rows, cols) = self.span, how.offset, geobox.shape
        if (span.top, span.left, *span.shape) == (row, col, rows, cols):
            return self.values
        out = terms.empty(len(self.values), (rows, cols))
        here = span.common(Span(row, row + rows, col, col + cols))
        if not here.empty:
            own = here.seen_from(span.top, span.left).slices
            out[:, *here.seen_from(row, col).slices] = self.values[:, *own]
        return out

    @contextlib.contextmanager
    def _opened(self, nodata: float) -> Iterator[rasterio.DatasetReader]:
        """As a raster of its own: the warper looks at a mask or at nodata, not at both."""
        count, height, width = self.values.shape
        there = self.transform * Affine.translation(self.span.left, self.span.top)
        with MemoryFile() as file:
            with file.open(
                driver="GTiff", height=height, width=width, count=count,
                dtype=self.values.dtype.name, crs=self.crs, transform=there, nodata=nodata,
            ) as copy:  # fmt: skip
                copy.write(self.values)
            with file.open() as copy:
                yield copy


def warped(
    src: rasterio.DatasetReader, bands: Sequence[int], how: Way, geobox: GeoBox, terms: Terms
) -> NDArray[Any]:
    """(band, y, x) values of an open raster on a grid, by GDAL's warper.

    Parameters
    ----------
    src : DatasetReader
    bands : sequence of int
    how : Way
    geobox : GeoBox
    terms : Terms

    Notes
    -----
    The warper answers for some pixels beyond the raster's edge too, differently from window to
    window: `inside` says which are to be kept.
    """
    down, across = how.step
    with WarpedVRT(
        src,
        crs=str(geobox.crs),
        transform=geobox.transform,
        height=geobox.shape.y,
        width=geobox.shape.x,
        resampling=Resampling[how.method],
        src_nodata=terms.stated if holds(np.dtype(src.dtypes[0]), terms.stated) else None,
        nodata=terms.stated,
        dtype=terms.kind.name,
        # GDAL's default error of 1/8 pixel, and its guess of the scale from the shape of the
        # window, make a pixel's value depend on the window that it is read in
        tolerance=1e-9,
        XSCALE=round(1 / across, 3),
        YSCALE=round(1 / down, 3),
    ) as vrt:
        values: NDArray[Any] = vrt.read(list(bands))
        return values


def inside(places: Places, span: Span) -> NDArray[np.bool_]:
    """(y, x) whether places lie in a part of a raster."""
    col, row = places
    found: NDArray[np.bool_] = (col >= span.left) & (col < span.right)
    return found & (row >= span.top) & (row < span.bottom)


def needed(how: Way, header: Header) -> Span:
    """What must be at hand for a window: mostly `how.span`, which is what a price tells.

    A raster may reach so far that its pixels are not as large everywhere as in its middle, where
    the size of its margin is taken from.
    """
    if how.kind != "warp" or how.method not in _AREAS or how.span.empty:
        return how.span
    top, bottom, left, right = how.span
    col, row = how.places
    if not (np.isfinite(col).all() and np.isfinite(row).all()):
        return how.span
    across, down = _half(col), _half(row)
    return Span(
        max(min(top, int(np.floor(row.min() - down))), 0),
        min(max(bottom, int(np.ceil(row.max() + down))), header.height),
        max(min(left, int(np.floor(col.min() - across))), 0),
        min(max(right, int(np.ceil(col.max() + across))), header.width),
    )


def _half(places: NDArray[np.float64]) -> float:
    """Half of what a pixel of the grid spans at most, along an axis of the raster."""
    steps = [abs(np.diff(places, axis=axis)).max(initial=0.0) for axis in (0, 1)]
    return float(sum(steps)) / 2
