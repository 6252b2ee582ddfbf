"""Samples from the cube itself: single labelled pixels, or patches with what lies around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.batch import Channel, Channels, Rows
from geocube_ml.data.known import Known
from geocube_ml.data.tiles import Marked, chunk_shape, counted, local_chunks
from geocube_ml.data.tiling import Tiling
from geocube_ml.errors import InputError
from geocube_ml.kernels.scatter import scatter, scatter_labels
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.store.chunks import LocalChunks

_BLOCK = 64 * 2**20  # bytes that patches with context are cut from, about


@dataclass(frozen=True)
class PixelFeed:
    """Single labelled pixels; a unit is a patch of whole chunks of all sources."""

    channels: Channels
    tiling: Tiling
    marked: Marked
    counts: NDArray[np.int64]
    units: NDArray[np.int64]
    """Patches that have a pixel; the others are never read."""
    local: Mapping[str, LocalChunks]
    """Sources whose chunks are decoded without Zarr."""
    at_once: int = 1

    @classmethod
    def of(
        cls, cube: xr.Dataset, channels: Channels, marked: Marked, folder: Path | None = None
    ) -> Self:
        """Of a cube, opened from a folder of this machine; reads all labels."""
        sources = cube[[one.name for one in channels.sources]]
        tiling = Tiling.of(sources, *chunk_shape(sources, channels))
        counts = counted(marked, tiling, 1)
        units = np.flatnonzero(counts)
        local = local_chunks(sources, folder)
        return cls(channels, tiling, marked, counts[units], units, local)

    def empty(self, n: int) -> Rows:
        """Room for `n` pixels."""
        return self.channels.empty(n)

    def read(self, units: NDArray[np.int64], dest: NDArray[np.int64], rows: Rows) -> None:
        """Read the patch of a unit, and put its pixels at their places."""
        (number,) = self.units[units]
        y, x = self.tiling.window(number)
        label, polygon = self.marked.read(y, x)
        fields = rows["label"], rows["polygon"], rows["row"], rows["column"]
        at = scatter_labels(label, polygon, UNKNOWN, (y.start, x.start), dest, fields)
        for source in self.channels.sources:
            planes, order, width = self._planes(source, number)
            of_planes = at
            if width != x.stop - x.start:  # the last chunk reaches beyond the cube
                row, col = np.divmod(at, x.stop - x.start)
                of_planes = row * width + col
            scatter(planes, order, of_planes, dest, rows[source.key])
        if self.marked.known is None:
            rows["weight"][dest] = 1
        else:
            _know(self.marked.known, self.channels, rows["polygon"][dest], (dest,), rows)

    def _planes(self, source: Channel, number: int) -> tuple[NDArray[Any], NDArray[np.int64], int]:
        """Planes of a patch, in which order they are wanted, and pixels of a row of them."""
        if source.name in self.local:
            found = self.local[source.name].planes(*self.tiling.window(number))
            if found is not None:
                return found
        block = _block(self.tiling.patch(number), source)
        planes = block.reshape(-1, block.shape[-2] * block.shape[-1])
        return planes, np.arange(len(planes)), block.shape[-1]


def _block(patch: xr.Dataset, source: Channel) -> NDArray[Any]:
    """Counts (time, band, y, x), read by this thread alone; (band, y, x) of a static source."""
    lead = () if source.static else ("time",)
    block = patch[source.name].compute(scheduler="synchronous")
    values: NDArray[Any] = block.transpose(*lead, f"{source.name}_band", "y", "x").values
    return values


def _know(
    known: Known, channels: Channels, polygon: NDArray[np.int32],
    dest: tuple[NDArray[np.int64], ...], rows: Rows,
) -> None:  # fmt: skip
    """Weights of labels, and nodata in the steps in which they do not hold.

    `dest` says where each pixel is: its row, and of a patch its row and column in there.
    """
    of = known.rows(polygon)
    rows["weight"][dest] = known.weight(of)
    partly = ~np.append(known.holds.all(axis=1), True)[of]
    if not partly.any():
        return
    sample, *pixel = (part[partly] for part in dest)
    for source in channels.sources:
        if not source.static:
            at = (sample, slice(None), slice(None), *pixel)
            values = rows[source.key][at]
            known.mask(values, of[partly], source.nodata)
            rows[source.key][at] = values


@dataclass(frozen=True)
class PatchFeed:
    """Square patches with what lies around them; a unit is a block of them, read in one go."""

    channels: Channels
    cube: xr.Dataset
    tiling: Tiling
    marked: Marked
    size: int
    context: int
    counts: NDArray[np.int64]
    units: NDArray[np.int64]
    at_once: int = 1

    @classmethod
    def of(
        cls, cube: xr.Dataset, channels: Channels, marked: Marked, size: int, context: int
    ) -> Self:
        """Of a cube; reads all labels.

        Raises
        ------
        InputError
            `size` or `context` is no number of pixels.
        """
        if size < 2 or context < 0:
            raise InputError(
                f"A patch has a core of at least 2 pixels and a context of at least 0, got "
                f"{size} and {context}."
            )
        sources = cube[[one.name for one in channels.sources]]
        chunk = chunk_shape(sources, channels)
        high, wide = (_whole(edge, size) for edge in chunk)
        while 4 * high * wide * channels.pixel_bytes <= _BLOCK:  # what lies around is read too
            high, wide = 2 * high, 2 * wide
        tiling = Tiling.of(marked.labels, high, wide)
        counts = counted(marked, tiling, size)
        units = np.flatnonzero(counts)
        bare = sources.drop_vars(list(sources.coords))
        return cls(channels, bare, tiling, marked, size, context, counts[units], units)

    def empty(self, n: int) -> Rows:
        """Room for `n` patches."""
        edge = self.size + 2 * self.context
        return self.channels.empty(n, (edge, edge))

    def read(self, units: NDArray[np.int64], dest: NDArray[np.int64], rows: Rows) -> None:
        """Read a block and what lies around it, and put its patches at their places."""
        (number,) = self.units[units]
        y, x = self.tiling.window(number)
        label, polygon = self.marked.read(y, x)
        cores = [
            (layer, top, left)
            for layer in range(len(label))
            for top in range(0, y.stop - y.start, self.size)
            for left in range(0, x.stop - x.start, self.size)
            if (label[layer, top : top + self.size, left : left + self.size] != UNKNOWN).any()
        ]
        rim, size = self.context, self.size
        # the last core may reach beyond the block, which ends where the cube does
        wide_y = slice(max(y.start - rim, 0), min(y.stop + rim, self.cube.sizes["y"]))
        wide_x = slice(max(x.start - rim, 0), min(x.stop + rim, self.cube.sizes["x"]))
        patch = self.cube.isel(y=wide_y, x=wide_x)
        for source in self.channels.sources:
            block, out = _block(patch, source), rows[source.key]
            for (_, top, left), to in zip(cores, dest, strict=True):
                out[to] = source.nodata
                _lay(block, out[to], y.start + top - rim - wide_y.start,
                     x.start + left - rim - wide_x.start)  # fmt: skip
        middle = slice(rim, rim + size)
        for (layer, top, left), to in zip(cores, dest, strict=True):
            for name, values, fill in (("label", label, UNKNOWN), ("polygon", polygon, 0)):
                rows[name][to] = fill
                _lay(values[layer], rows[name][to][middle, middle], top, left)
            rows["row"][to], rows["column"][to] = y.start + top, x.start + left
        labelled = rows["label"][dest] != UNKNOWN
        rows["weight"][dest] = labelled
        if self.marked.known is not None:
            sample, row, col = np.nonzero(labelled)
            found = rows["polygon"][dest][labelled]
            _know(self.marked.known, self.channels, found, (dest[sample], row, col), rows)


def _lay(block: NDArray[Any], out: NDArray[Any], top: int, left: int) -> None:
    """Copy what of a window lies within a block; it begins at that row and column."""
    high, wide = out.shape[-2:]
    y = slice(max(top, 0), min(top + high, block.shape[-2]))
    x = slice(max(left, 0), min(left + wide, block.shape[-1]))
    out[..., y.start - top : y.stop - top, x.start - left : x.stop - left] = block[..., y, x]


def _whole(edge: int, size: int) -> int:
    """The edge of a block: whole chunks and whole patches where that is not much larger."""
    both = lcm(edge, size)
    return both if both <= 4 * max(edge, size) else -(-edge // size) * size
