"""Chunks of a cube on a disk, decoded without Zarr into memory that is used again.

Zarr makes a new array for each chunk, copies it into one for the shard and that into the result,
which takes as long as decoding.  What is not as this package lays it out is left to Zarr, and so is
what cannot be decoded: Zarr says why.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

_INDEX = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
_NONE = 2**64 - 1  # where an index says that a chunk was never written
_CHECK = 4  # bytes of the index' checksum

_room = threading.local()


@dataclass(frozen=True)
class LocalChunks:
    """One variable of a cube on a disk."""

    folder: Path
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    shard: tuple[int, ...]
    chunk: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """The array in a folder, or None where it is not laid out as the package does it."""
        try:
            said = json.loads((folder / "zarr.json").read_text())
            (sharding,) = said["codecs"]
            inner = sharding["configuration"]
            packing, blosc = inner["codecs"]
            dtype = np.dtype(said["data_type"])
            usual = (
                sharding["name"] == "sharding_indexed"
                and blosc["name"] == "blosc"
                and packing["name"] == "bytes"
                and packing.get("configuration", {}).get("endian", "little") == "little"
                and inner["index_codecs"] == _INDEX
                and inner.get("index_location", "end") == "end"
                and said["chunk_key_encoding"]
                == {"name": "default", "configuration": {"separator": "/"}}
                and said["fill_value"] is not None
                and np.little_endian
            )
            found = cls(
                folder, tuple(said["dimension_names"]), tuple(said["shape"]), dtype,
                np.array(said["fill_value"], dtype)[()],
                tuple(said["chunk_grid"]["configuration"]["chunk_shape"]),
                tuple(inner["chunk_shape"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if usual else None

    def planes(self, y: slice, x: slice) -> tuple[NDArray[Any], NDArray[np.int64], int] | None:
        """All planes of a window that lies within one chunk and begins where it does.

        Returns
        -------
        planes : (plane, pixel) array
            Whole chunks, in memory that the next call of this thread uses again.
        order : (n,) int64
            Where the planes are, as the leading axes of the variable run.
        width : int
            Pixels of a row of a plane.

        None where the window is another, or something is wrong.
        """
        high, wide = self.chunk[-2:]
        if y.start % high or x.start % wide or y.stop - y.start > high or x.stop - x.start > wide:
            return None
        lead = tuple(
            -(-n // edge) for n, edge in zip(self.shape[:-2], self.chunk[:-2], strict=True)
        )
        depth = self.chunk[:-2]
        size = prod(self.chunk) * self.dtype.itemsize
        room = _bytes(prod(lead) * size)
        place = (y.start // high, x.start // wide)
        try:
            files: dict[tuple[int, ...], _Shard] = {}
            for number, at in enumerate(np.ndindex(lead)):
                into = room[number * size : (number + 1) * size]
                self._decode((*at, *place), into, files)
        except (OSError, ValueError, RuntimeError, imagecodecs.BloscError):
            return None
        # (chunk of each leading axis, place within it) -> (leading axes), whole chunks cut
        every = np.arange(prod(lead) * prod(depth)).reshape((*lead, *depth))
        n = len(lead)
        turned = every.transpose([axis for k in range(n) for axis in (k, n + k)])
        whole = turned.reshape([a * b for a, b in zip(lead, depth, strict=True)])
        order = whole[tuple(slice(n) for n in self.shape[:-2])].ravel()
        return room.view(self.dtype).reshape(-1, high * wide), order, wide

    def window(self, y: slice, x: slice) -> NDArray[Any] | None:
        """(plane, y, x) values of a window as of `planes`, in memory of their own."""
        found = self.planes(y, x)
        if found is None:
            return None
        planes, order, width = found
        part = planes[order].reshape(len(order), -1, width)
        return part[:, : y.stop - y.start, : x.stop - x.start]

    def _decode(
        self, at: tuple[int, ...], into: NDArray[np.uint8], files: dict[tuple[int, ...], _Shard]
    ) -> None:
        per = tuple(a // b for a, b in zip(self.shard, self.chunk, strict=True))
        of = tuple(k // n for k, n in zip(at, per, strict=True))
        if of not in files:
            files[of] = _Shard.read(self.folder.joinpath("c", *map(str, of)), per)
        content = files[of].content(tuple(k % n for k, n in zip(at, per, strict=True)))
        if content is None:
            into.view(self.dtype)[:] = self.fill
            return
        if int.from_bytes(content[4:8], "little") != len(into):  # blosc says how much it holds
            raise ValueError("a chunk is of another size")
        imagecodecs.blosc_decode(content, out=into.data, numthreads=1)


@dataclass(frozen=True)
class _Shard:
    """One file; without an index where there is none."""

    path: Path
    index: NDArray[np.uint64] | None

    @classmethod
    def read(cls, path: Path, per: tuple[int, ...]) -> Self:
        size = prod(per) * 16
        try:
            with path.open("rb") as file:
                file.seek(-size - _CHECK, os.SEEK_END)
                tail = file.read()
        except FileNotFoundError:
            return cls(path, None)
        if google_crc32c.value(tail[:size]) != int.from_bytes(tail[size:], "little"):
            raise ValueError("the index is damaged")
        return cls(path, np.frombuffer(tail[:size], "<u8").reshape(*per, 2))

    def content(self, at: tuple[int, ...]) -> bytes | None:
        """An encoded chunk; None where it was never written."""
        if self.index is None or int(self.index[at][0]) == _NONE:
            return None
        first, size = self.index[at].tolist()
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, first)


def _bytes(size: int) -> NDArray[np.uint8]:
    """Memory of this thread: new pages would be cleared for each chunk."""
    held: NDArray[np.uint8] | None = getattr(_room, "bytes", None)
    if held is None or len(held) < size:
        held = _room.bytes = np.empty(size, np.uint8)
    return held[:size]
