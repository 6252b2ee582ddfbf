"""A raster that GDAL has opened, and pixels of any open raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from geocube_ml.raster.count import Counts, note
from geocube_ml.raster.wanted import Terms
from geocube_ml.raster.window import Header, Span


class Raster(Protocol):
    """An open raster."""

    @property
    def header(self) -> Header:
        """What it says of itself."""

    def read(self, bands: Sequence[int], span: Span) -> NDArray[Any]:
        """(band, y, x) values of a part that lies within the raster."""


@dataclass(frozen=True)
class GdalRaster:
    """One that GDAL has opened."""

    src: rasterio.DatasetReader
    header: Header

    def read(self, bands: Sequence[int], span: Span) -> NDArray[Any]:
        """(band, y, x) values of a part that lies within the raster."""
        self.note(bands, span)
        window = Window(span.left, span.top, *span.shape[::-1])
        values: NDArray[Any] = self.src.read(list(bands), window=window)
        return values

    def masked(self, bands: Sequence[int]) -> bool:
        """Whether a mask of the whole raster, or an alpha band, says where bands have data."""
        flags = [flag for band in bands for flag in self.src.mask_flag_enums[band - 1]]
        return MaskFlags.per_dataset in flags

    def missing(self, bands: Sequence[int], span: Span) -> NDArray[np.bool_]:
        """(band, y, x) where the mask says that there are no data."""
        window = Window(span.left, span.top, *span.shape[::-1])
        missing: NDArray[np.bool_] = self.src.read_masks(list(bands), window=window) == 0
        return missing

    def note(self, bands: Sequence[int], span: Span) -> None:
        """Count what is read for a part."""
        blocks = len(self.header.planes(bands)) * len(list(self.header.touched(span)))
        note(Counts(1, blocks, blocks * self.header.bytes_of_block))


def read_part(raster: Raster, bands: Sequence[int], span: Span, terms: Terms) -> NDArray[Any]:
    """(band, y, x) values of a part of a raster, with nodata for what a mask says is missing.

    Raises
    ------
    DamagedError
        As `TiffRaster.read`.
    InputError
        It holds fractions, and whole numbers are asked for.
    """
    values = raster.read(bands, span).astype(terms.kind, copy=False)
    if isinstance(raster, GdalRaster) and raster.masked(bands):
        values[raster.missing(bands, span)] = terms.stated
    terms.check(values)
    return values
