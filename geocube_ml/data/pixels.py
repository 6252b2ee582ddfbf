"""Pixels of a cube, picked a storage chunk at a time.

xbatcher hands out one patch a storage chunk, so each chunk that holds a pixel is read once, and
chunks without one are not read.  The pixels are picked from a patch by a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.tiling import Tiling, chunk_of
from geocube_ml.errors import InputError
from geocube_ml.kernels.sampling import gather
from geocube_ml.spec.labels import UNKNOWN


@dataclass(frozen=True)
class Pixels:
    """Labelled pixels, row by row as the map lies, however the cube is chunked."""

    row: NDArray[np.int32]
    col: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    polygon: NDArray[np.int32]
    label: NDArray[np.uint8]

    @classmethod
    def of(cls, cube: xr.Dataset) -> Self:
        """All that have a label; one that has several, of several times, comes as often.

        Raises
        ------
        InputError
            The cube has no labels, or no labelled pixel.
        """
        missing = [name for name in ("label", "polygon") if name not in cube]
        if missing:
            raise InputError(
                f"The cube has no {' and no '.join(missing)}: it has "
                f"{', '.join(str(name) for name in cube) or 'no variable'}. Run the step `labels` "
                "first, or add what `rasterize_labels` makes."
            )
        found: list[tuple[NDArray[Any], ...]] = []
        labels = cube[["label", "polygon"]].transpose(..., "y", "x")
        tiling = Tiling.of(labels, *chunk_of(labels["label"]))
        for number in tiling.numbers.ravel().tolist():
            (y, x), patch = tiling.window(number), tiling.patch(number)
            label = patch["label"].values
            at = np.nonzero(label != UNKNOWN)  # (layer,) row, column
            if at[0].size:
                row, col = (one.astype(np.int32) for one in at[-2:])
                layer = (at[0] if label.ndim == 3 else np.zeros(row.size)).astype(np.int16)
                polygon = patch["polygon"].values[at]
                found.append((layer, row + y.start, col + x.start, polygon, label[at]))
        if not found:
            raise InputError(
                "The cube has no labelled pixel. Look at the listing of lost polygons beside it; "
                "lower `labels.inset_m` or correct the labels' class column."
            )
        parts = [np.concatenate(part) for part in zip(*found, strict=True)]
        found.clear()
        layer, row, col, polygon, label = parts
        order = np.lexsort((layer, col, row))
        row, col = row[order], col[order]
        return cls(
            row, col, cube["x"].values[col], cube["y"].values[row],
            polygon[order].astype(np.int32), label[order],
        )  # fmt: skip

    def take(self, at: NDArray[Any]) -> Self:
        """Some of them, by position or by a mask."""
        return type(self)(
            self.row[at], self.col[at], self.x[at], self.y[at], self.polygon[at], self.label[at]
        )

    def read(self, source: xr.DataArray) -> dict[str, NDArray[Any]]:
        """The source's counts, (n, time, band) or (n, band), under the ending of its name: none."""
        return {"": values_at(source, self.row, self.col)}


def values_at(source: xr.DataArray, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
    """Values of pixels of a variable; each storage chunk that holds one is read once.

    Parameters
    ----------
    source : (..., y, x) DataArray
    rows, cols : (n,) integer

    Returns
    -------
    (n, ...) array of its dtype
    """
    out = np.empty((len(rows), *source.shape[:-2]), source.dtype)
    for here, top, left, block in chunks_of(source, rows, cols):
        out[here] = gather(block, rows[here] - top, cols[here] - left)
    return out


def chunks_of(
    source: xr.DataArray, rows: NDArray[Any], cols: NDArray[Any]
) -> Iterator[tuple[NDArray[np.intp], int, int, NDArray[Any]]]:
    """Positions of the pixels in each storage chunk, its first row and column, and its values."""
    tiling = Tiling.of(source.to_dataset(name="source"), *chunk_of(source))
    high, wide = tiling.edges
    chunk = tiling.numbers[rows // high, cols // wide]
    order = np.argsort(chunk, kind="stable")
    numbers, starts = np.unique(chunk[order], return_index=True)
    for here, number in zip(np.split(order, starts)[1:], numbers.tolist(), strict=True):
        y, x = tiling.window(number)
        yield here, y.start, x.start, tiling.patch(number)["source"].values
