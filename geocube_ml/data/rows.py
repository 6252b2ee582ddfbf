"""Samples from a sample table, which may be larger than memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from geocube_ml.data.batch import Channels, Rows
from geocube_ml.errors import InputError
from geocube_ml.kernels.scatter import scatter_rows

_AT_ONCE = 16_384  # rows that a thread takes from a table in memory

_FIELDS = {"label": 0, "polygon": 0, "weight": 1}
"""What a table holds beside the sources, and what stands for it where it does not."""


@dataclass(frozen=True)
class TableFeed:
    """Rows of a sample table.

    Of one in memory each row is a unit of its own: all rows are shuffled among each other.  Of one
    on a disk or in a store a unit is a chunk.
    """

    channels: Channels
    table: xr.Dataset
    chosen: NDArray[np.bool_]
    chunk: int | None
    """Rows of a storage chunk; None in memory."""
    counts: NDArray[np.int64]
    units: NDArray[np.int64]
    """Rows, or chunks that have a chosen one; the others are never read."""
    at_once: int

    @classmethod
    def of(cls, samples: xr.Dataset, channels: Channels, rows: ArrayLike | None) -> Self:
        """Of a table.

        Raises
        ------
        InputError
            It has no labels, or `rows` is of another length.
        """
        if "label" not in samples:
            raise InputError("The table has no `label`. Make it with `gather_samples`.")
        n = samples.sizes["sample"]
        chosen = np.ones(n, bool) if rows is None else np.asarray(rows)
        if chosen.shape != (n,) or chosen.dtype != bool:
            raise InputError(
                f"`rows` must be a bool for each of the {n} samples, got shape {chosen.shape} of "
                f"{chosen.dtype}."
            )
        names = [one.name for one in channels.sources] + [
            name for name in _FIELDS if name in samples
        ]
        table = samples[names].drop_vars(list(samples[names].coords))
        chunks = [size for name in table if (size := _chunk(table[name]))]
        chunk = max(chunks, default=None)
        counts = chosen
        if chunk is not None and n:
            counts = np.add.reduceat(chosen, range(0, n, chunk), dtype=np.int64)
        units = np.flatnonzero(counts)
        at_once = _AT_ONCE if chunk is None else 1
        return cls(channels, table, chosen, chunk, counts[units].astype(np.int64), units, at_once)

    def empty(self, n: int) -> Rows:
        """Room for `n` samples."""
        return self.channels.empty(n)

    def read(self, units: NDArray[np.int64], dest: NDArray[np.int64], rows: Rows) -> None:
        """Read a chunk, or some rows of a table in memory, and put them at their places."""
        if self.chunk is None:
            at, first, part = self.units[units], 0, self.table
        else:
            first = int(self.units[units][0]) * self.chunk
            here = slice(first, first + self.chunk)
            at, part = np.flatnonzero(self.chosen[here]), self.table.isel(sample=here)
            part = part.compute(scheduler="synchronous")
        for source in self.channels.sources:
            lead = () if source.static else ("time",)
            values = part[source.name].transpose("sample", *lead, f"{source.name}_band")
            scatter_rows(values.values, at, dest, rows[source.key])
        for name, without in _FIELDS.items():
            values_of: Any = part[name].values[at] if name in part else without
            rows[name][dest] = values_of
        rows["row"][dest], rows["column"][dest] = at + first, 0


def _chunk(variable: xr.DataArray) -> int | None:
    """Rows of a storage chunk; None of an array in memory, where no row is far from another."""
    if variable.variable._in_memory:
        return None
    sizes = dict(variable.chunksizes)
    if sizes:
        return int(max(sizes["sample"]))
    preferred = variable.encoding.get("preferred_chunks", {})
    return int(preferred.get("sample", variable.sizes["sample"]))
