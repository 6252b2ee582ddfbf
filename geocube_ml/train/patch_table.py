"""The patches of a cube that hold labels, read once and kept."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.batch import Channel, Channels, Rows
from geocube_ml.data.places import pixels_of
from geocube_ml.errors import InputError
from geocube_ml.kernels.mask import has_data
from geocube_ml.spec.labels import UNKNOWN

_IN_MEMORY = 2 * 2**30  # bytes of counts; more are kept in a temporary file
_READ = 512  # pixels: patches are cut from blocks of about this edge


@dataclass(frozen=True)
class PatchTable:
    """Square patches: counts with what lies around a core, and labels in the core.

    Every sample lies in exactly one core.  Pixels that are no sample have no label, whatever the
    cube says of them.
    """

    counts: Rows
    """Of each source, (n, time, band, edge, edge) or (n, band, edge, edge) of a static one."""
    label: NDArray[np.uint8]
    """(n, edge, edge) codes of what is trained on, 255 elsewhere."""
    held: NDArray[np.uint8]
    """(n, edge, edge) codes of what decides when to stop, 255 elsewhere."""
    weight: NDArray[np.float32]
    """(n, edge, edge), 0 where there is no label."""

    @classmethod
    def of(
        cls, cube: xr.Dataset, samples: xr.Dataset, channels: Channels, held: NDArray[np.bool_],
        weight: NDArray[np.float32], patch: int, context: int,
    ) -> PatchTable:  # fmt: skip
        """Of a cube, with the labels of some samples.

        Parameters
        ----------
        cube : xarray.Dataset
        samples : xarray.Dataset
            The chosen ones.
        channels : Channels
            Of the cube.
        held : (sample,) bool
            Which of them decide when to stop.
        weight : (sample,) float32
        patch, context : int
            Edge of a core, and pixels on each side of it that are seen too.  Cores tile the cube
            from its upper left.

        Raises
        ------
        InputError
            Samples are no pixels of the cube, two are one pixel, or the cube has other values.
        """
        row, col = pixels_of(samples, cube)
        twice = len(row) - len(np.unique(row * cube.sizes["x"] + col))
        if twice:
            raise InputError(
                f"{twice} samples are pixels that have labels of several times, of which a model "
                "of patches can see one only. Leave out labels by `valid_from` and `valid_to`, or "
                "take a model of series."
            )
        n_col = -(-cube.sizes["x"] // patch)
        core = row // patch * n_col + col // patch
        numbers, patch_of = np.unique(core, return_inverse=True)
        top, left = (part * patch for part in np.divmod(numbers, n_col))
        edge = patch + 2 * context
        inside = patch_of, row - top[patch_of] + context, col - left[patch_of] + context
        counts = _read(cube, channels, top - context, left - context, edge)
        for source in channels.sources:
            _lay(source, counts[source.key], samples[source.name].values, inside)
        label, judged = np.full((2, len(numbers), edge, edge), UNKNOWN, np.uint8)
        codes, counted = samples["label"].values, np.zeros(label.shape, np.float32)
        label[inside] = np.where(held, UNKNOWN, codes)
        judged[inside] = np.where(held, codes, UNKNOWN)
        counted[inside] = weight
        return cls(counts, label, judged, counted)

    def digest(self) -> str:
        """16 hex digits over all that is shown of them."""
        content = hashlib.sha256()
        for part in (*self.counts.values(), self.label, self.held, self.weight):
            for patch in part:
                content.update(np.ascontiguousarray(patch).tobytes())
        return content.hexdigest()[:16]


def _read(
    cube: xr.Dataset, channels: Channels, top: NDArray[np.int64], left: NDArray[np.int64], edge: int
) -> Rows:
    """Counts of patches that begin at some rows and columns; nodata beyond the cube."""
    counts = {
        one.key: _empty((len(top), *channels.shape(one), edge, edge), one.dtype, one.nodata)
        for one in channels.sources
    }
    bare = cube[[one.name for one in channels.sources]]
    bare = bare.drop_vars(list(bare.coords))
    _, block_of = np.unique([top // _READ, left // _READ], axis=1, return_inverse=True)
    for block in range(block_of.max() + 1):
        of_block = np.flatnonzero(block_of == block)
        high, wide = top[of_block], left[of_block]
        y = slice(max(high.min(), 0), min(high.max() + edge, cube.sizes["y"]))
        x = slice(max(wide.min(), 0), min(wide.max() + edge, cube.sizes["x"]))
        window = bare.isel(y=y, x=x)
        for source in channels.sources:
            lead = () if source.static else ("time",)
            dims = (*lead, f"{source.name}_band", "y", "x")
            values = window[source.name].transpose(*dims).values
            for number in of_block:
                first, start = top[number] - y.start, left[number] - x.start
                rows = slice(max(first, 0), first + edge)
                cols = slice(max(start, 0), start + edge)
                part = values[..., rows, cols]
                down, over = rows.start - first, cols.start - start
                counts[source.key][
                    number, ..., down : down + part.shape[-2], over : over + part.shape[-1]
                ] = part
    return counts


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any], fill: float) -> NDArray[Any]:
    """Room in memory; for very many patches in a file that vanishes with the array."""
    if np.prod(shape) * dtype.itemsize <= _IN_MEMORY:
        return np.full(shape, fill, dtype)
    with tempfile.TemporaryFile() as file:
        room: NDArray[Any] = np.memmap(file, dtype, "w+", shape=shape)
    for one in room:
        one[...] = fill
    return room


def _lay(
    source: Channel, counts: NDArray[Any], values: NDArray[Any], inside: tuple[NDArray[Any], ...]
) -> None:
    """Check the samples against the cube; steps in which a label does not hold become missing."""
    patch, row, col = inside
    at = (patch, slice(None), row, col) if source.static else (
        patch, slice(None), slice(None), row, col
    )  # fmt: skip
    differs = has_data(values, source.nodata) & (values != counts[at])
    if differs.any():
        n = int(differs.reshape(len(values), -1).any(axis=1).sum())
        raise InputError(
            f"{n} of {len(values)} samples have other values of {source.name!r} than the cube at "
            "their pixels: it is not the cube that they were gathered from. Gather them again "
            "(--redo samples)."
        )
    counts[at] = values
