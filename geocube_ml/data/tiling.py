"""A cube cut by xbatcher into patches of whole storage chunks, each read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xbatcher import BatchGenerator

MEMORY_CHUNK = 256
"""Edge in pixels of a patch where the cube does not say how it is chunked."""


@dataclass(frozen=True)
class Tiling:
    """A cube in patches of whole chunks; those at the edges are smaller, and none is lost."""

    parts: tuple[BatchGenerator, ...]
    """xbatcher drops what does not fill a patch: what is left at the edges are parts of their own,
    with patches of their own size."""
    first: NDArray[np.int64]
    """Number of the first patch of each part."""
    corners: NDArray[np.int64]
    """(patch, 4): first row and the one after the last, and the columns, of each."""
    edges: tuple[int, int]
    """Rows and columns of a patch that none of the edges cuts."""

    @classmethod
    def of(cls, cube: xr.Dataset, high: int, wide: int) -> Self:
        """In patches of `high` x `wide` pixels from the upper left."""
        bare = cube.drop_vars(list(cube.coords))
        parts, corners, first = [], [], [0]
        for y, x in product(_parts(cube.sizes["y"], high), _parts(cube.sizes["x"], wide)):
            inside = bare.isel(y=slice(*y[:2]), x=slice(*x[:2]))
            # a dimension that is left out would be cut into single steps
            sizes = {dim: n for dim, n in inside.sizes.items() if dim not in ("y", "x")}
            patch = {**sizes, "y": y[2], "x": x[2]}
            parts.append(BatchGenerator(inside, patch, preload_batch=False))
            found = [
                (top, top + y[2], left, left + x[2])
                for top in range(y[0], y[1], y[2])
                for left in range(x[0], x[1], x[2])
            ]
            corners += found
            first.append(first[-1] + len(found))
        at = np.array(corners).reshape(-1, 4)
        return cls(tuple(parts), np.array(first), at, (high, wide))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the cube."""
        rows, cols = self.corners[:, [1, 3]].max(axis=0).tolist()
        return rows, cols

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(row, column) of patches as they lie: the number of each."""
        at = self.corners[:, 0] // self.edges[0], self.corners[:, 2] // self.edges[1]
        numbers = np.empty((int(at[0].max()) + 1, int(at[1].max()) + 1), np.int64)
        numbers[at] = np.arange(len(self.corners))
        return numbers

    def patch(self, number: int) -> xr.Dataset:
        """One of them, not yet read."""
        part = int(np.searchsorted(self.first, number, "right")) - 1
        found: xr.Dataset = self.parts[part][int(number - self.first[part])]
        return found

    def window(self, number: int) -> tuple[slice, slice]:
        """Rows and columns of one."""
        top, bottom, left, right = self.corners[number].tolist()
        return slice(top, bottom), slice(left, right)


def _parts(n: int, edge: int) -> list[tuple[int, int, int]]:
    """Start, stop and size of patches along an axis: whole ones, and the rest."""
    whole = n // edge * edge
    found = [(0, whole, edge)] if whole else []
    return found + ([(whole, n, n - whole)] if whole < n else [])


def chunk_of(variable: xr.DataArray) -> tuple[int, int]:
    """Rows and columns of a storage chunk."""
    preferred = variable.encoding.get("preferred_chunks", {})
    sizes = dict(variable.chunksizes)
    rows, cols = (
        max(sizes[dim]) if sizes else int(preferred.get(dim, MEMORY_CHUNK)) for dim in ("y", "x")
    )
    return rows, cols
