"""Which patches of a cube are read, and which of their pixels are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from math import lcm
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from geocube_ml.data.batch import Channels
from geocube_ml.data.known import Known
from geocube_ml.data.tiling import Tiling, chunk_of
from geocube_ml.errors import GridMismatch, InputError, listed
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.store.chunks import LocalChunks

Select = Callable[[NDArray[np.uint8], NDArray[np.int32]], NDArray[np.bool_]]
"""From the labels and polygons of some pixels, which of them are wanted."""

_PATCH = 512 * 2**20  # bytes of one read, at most, where chunks of sources do not fit together
_HELD = 128 * 2**20  # bytes of labels that stay in memory; larger ones are read chunk by chunk
_LOOK = 1024  # pixels: labels are counted in windows of about this edge
_READERS = 4


@dataclass(frozen=True)
class Marked:
    """Where the labels are that are wanted."""

    labels: xr.Dataset
    """``label`` and ``polygon`` (..., y, x); `_where` (y, x) where pixels were chosen."""
    choose: Select | None
    known: Known | None
    local: Mapping[str, LocalChunks]
    """Of ``label`` and ``polygon`` those whose chunks are decoded without Zarr."""

    @classmethod
    def of(
        cls,
        cube: xr.Dataset,
        select: Select | ArrayLike | None,
        labels: pd.DataFrame | None,
        folder: Path | None = None,
    ) -> Self:
        """Of a cube, opened from a folder of this machine.

        Raises
        ------
        InputError
            The cube has no labels.
        GridMismatch
            `select` is of another shape.
        """
        if "label" not in cube:
            raise InputError(
                f"The cube has no `label`: it has {listed([str(name) for name in cube]) or 'none'}."
                " Run the step `labels` first, or add what `rasterize_labels` makes."
            )
        there = cube[["label", "polygon"]] if "polygon" in cube else cube[["label"]]
        bare = there.drop_vars(list(there.coords)).transpose(..., "y", "x")
        local = local_chunks(bare, folder)
        if bare["label"].nbytes <= _HELD:  # all of it is read here anyway, to be counted
            bare = bare.assign(label=bare["label"].compute())
            local.pop("label", None)
        known = None if labels is None else Known.of(labels, cube)
        if select is None or callable(select):
            return cls(bare, select, known, local)
        where = np.asarray(select, bool)
        if where.shape != cube["label"].shape[-2:]:
            raise GridMismatch(
                f"`select` has the shape {where.shape}, the cube's labels "
                f"{cube['label'].shape[-2:]}. Make it on the cube's grid."
            )
        return cls(bare.assign(_where=(("y", "x"), where)), None, known, local)

    def read(
        self, y: slice, x: slice, *, polygons: bool = True
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Labels (layer, y, x) of a window, unknown where not wanted, and polygons.

        Polygons are 0 where the cube has none, and where they are not asked for.
        """
        label = self._values("label", y, x).astype(np.uint8)
        wanted = label != UNKNOWN
        if "_where" in self.labels:
            wanted &= self.labels["_where"].values[y, x]
        polygon = np.zeros(label.shape, np.int32)
        if "polygon" in self.labels and (polygons or self.choose) and wanted.any():
            polygon[:] = self._values("polygon", y, x)
        if self.choose is not None and wanted.any():
            wanted[wanted] = np.asarray(self.choose(label[wanted], polygon[wanted]), bool)
        return np.where(wanted, label, np.uint8(UNKNOWN)), polygon

    def _values(self, name: str, y: slice, x: slice) -> NDArray[Any]:
        if name in self.local and (found := self.local[name].window(y, x)) is not None:
            return found
        part = self.labels[name].isel(y=y, x=x).compute(scheduler="synchronous").values
        return part.reshape(-1, *part.shape[-2:])


def chunk_shape(sources: xr.Dataset, channels: Channels) -> tuple[int, int]:
    """Rows and columns of the smallest patch that is whole chunks of every source."""
    shapes = [chunk_of(sources[name]) for name in sources]
    high, wide = (lcm(*edges) for edges in zip(*shapes, strict=True))
    rows, cols = sources.sizes["y"], sources.sizes["x"]
    if min(high, rows) * min(wide, cols) * channels.pixel_bytes > _PATCH:
        high, wide = (max(edges) for edges in zip(*shapes, strict=True))
    return min(high, rows), min(wide, cols)


def local_chunks(data: xr.Dataset, folder: Path | None) -> dict[str, LocalChunks]:
    """Variables of the package's own layout; one that grows is longer than can be seen."""
    found = (
        {} if folder is None else {str(name): LocalChunks.of(folder / str(name)) for name in data}
    )
    return {
        name: chunks for name, chunks in found.items()
        if chunks and (chunks.dims, chunks.shape) == (data[name].dims, data[name].shape)
    }  # fmt: skip


def counted(marked: Marked, tiling: Tiling, core: int) -> NDArray[np.int64]:
    """Wanted pixels of each patch; of cores of some pixels, those that have one."""
    (n_row, n_col), (high, wide) = tiling.shape, tiling.edges
    down, over = max(_LOOK // high, 1), max(_LOOK // wide, 1)
    counts = np.zeros(tiling.numbers.size, np.int64)

    def count(at: tuple[int, int]) -> None:
        top, left = at
        y, x = slice(top, top + down * high), slice(left, left + over * wide)
        label, _ = marked.read(y, x, polygons=False)
        wanted = label != UNKNOWN
        if core > 1:
            wanted = np.stack([_summed(layer, core, core) > 0 for layer in wanted])
        found = wanted.sum(axis=0)
        sums = _summed(found, -(-high // core), -(-wide // core))
        i, j = np.indices(sums.shape)
        counts[tiling.numbers[i + top // high, j + left // wide]] = sums

    starts = product(range(0, n_row, down * high), range(0, n_col, over * wide))
    with ThreadPoolExecutor(_READERS) as threads:
        list(threads.map(count, starts))
    return counts


def _summed(values: NDArray[Any], high: int, wide: int) -> NDArray[np.int64]:
    """Sums of blocks; those at the edges are smaller."""
    rows = np.add.reduceat(values, range(0, values.shape[0], high), axis=0, dtype=np.int64)
    sums: NDArray[np.int64] = np.add.reduceat(rows, range(0, values.shape[1], wide), axis=1)
    return sums
