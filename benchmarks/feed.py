"""Labelled pixels of a cube on a disk to shuffled, standardized float tensors.

Limit: the same chunks read by Zarr side by side and not used, by as many threads as is best.  Peer:
xbatcher with patches of a storage chunk, normalized and shuffled alike, with dask or without,
whichever is faster, on the first rows of the cube.  Beside them xbatcher with patches of 16 pixels,
and with a pixel at a time, on a few of them, as all would take hours.  Memory and the time to the
first batch are those of a process of its own, from the moment at which it opens the cube.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import dask.array  # noqa: F401  xarray would import it in the time that is taken
import numpy as np
import torch
import xarray as xr
import zarr
from rich.console import Console
from rich.table import Table
from torch import Tensor
from xbatcher import BatchGenerator

from benchmarks.measure import Result, peak_bytes, speeds
from benchmarks.synthetic import make_cube
from geocube_ml.data.batch import Batch
from geocube_ml.data.loader import cube_loader
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.store.cube import open_cube

SIZE = 4096
CHUNK = 256
BATCH = 2048
MEAN, STD = np.full(10, 0.25, np.float32), np.full(10, 0.1, np.float32)
BUFFER = 16  # patches that the peer shuffles at a time, as many as ours does
THREADS = range(1, 9)
FEW = 32  # small patches that stand for all


def run(folder: Path, size: int, repeat: int) -> Result:
    """Time all parts on a cube of `size` pixels, of which all are labelled."""
    path = folder / "cube.zarr"
    make_cube(path, size, labelled=1)
    best = fastest_read(path, size)
    strip = min(size, 4 * CHUNK)  # rows that the peers read
    dask = max((False, True), key=lambda dask: _rate(path, CHUNK, strip, dask=dask))

    def ours_() -> float:
        return sum(len(batch.label) for batch in ours(path)) / 1e6

    def peer_() -> float:
        return sum(len(label) for _, label in peer(path, CHUNK, strip, dask=dask)) / 1e6

    parts = {"ours": ours_, "peer": peer_, "limit": lambda: read(path, size, best)}
    found = speeds(parts, repeat)
    small = [_rate(path, edge, edge, few=FEW) for edge in (16, 1)]
    alone = json.loads(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.feed", str(path)],
            check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    table = Table(title=f"12 x 10 x {size} x {size}, million pixels a second")
    for heading in ("", "Mpx/s", "to ours"):
        table.add_column(heading, justify="left" if not heading else "right")
    for what, rate in (
        ("ours", found["ours"]),
        (f"plain read, {best} threads", found["limit"]),
        (f"xbatcher, patches of {CHUNK}, {'dask' if dask else 'no dask'}", found["peer"]),
        ("xbatcher, patches of 16", small[0]),
        ("xbatcher, a pixel at a time", small[1]),
    ):
        table.add_row(what, f"{rate:.3g}", f"{rate / found['ours']:.3g}")
    Console(width=120).print(table)
    print(
        f"first batch after {alone['first_s']:.2f} s, peak memory {alone['peak_mb']:.0f} MB, of "
        f"which {alone['imported_mb']:.0f} MB are imports; a batch of {BATCH} has pixels of "
        f"{alone['chunks']:.1f} chunks"
    )
    return Result("feed", f"12 x 10 x {size} x {size}", "Mpx/s", **found,
                  target_peer=2.5, target_limit=0.6)  # fmt: skip


def ours(path: Path) -> Iterator[Batch]:
    """The package's stream."""
    return iter(cube_loader(path, mean=MEAN, std=STD, batch_size=BATCH))


def peer(
    path: Path, edge: int, rows: int, *, few: int | None = None, dask: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a user writes with xbatcher; labelled pixels of the cube's first rows."""
    cube = open_cube(path) if dask else open_cube(path, chunks=None)
    cube = cube[["s2", "label"]].isel(y=slice(0, rows))
    edges = {dim: min(edge, cube.sizes[dim]) for dim in ("y", "x")}
    sizes = {dim: cube.sizes[dim] for dim in ("time", "s2_band")}
    patches = BatchGenerator(cube, {**sizes, **edges}, preload_batch=False)
    order = np.random.default_rng(0).permutation(len(patches))[:few].tolist()
    for start in range(0, len(order), BUFFER):
        loaded = [patches[number].load() for number in order[start : start + BUFFER]]
        yield from _batches(loaded)


def _batches(patches: list[xr.Dataset]) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(0)
    # pixel after pixel, patch by patch: numpy would join them as planes and be much slower
    turned = [patch["s2"].values.reshape(12, 10, -1).transpose(2, 0, 1) for patch in patches]
    counts = np.concatenate([np.ascontiguousarray(one) for one in turned])
    label = np.concatenate([patch["label"].values.ravel() for patch in patches])
    order = rng.permutation(np.flatnonzero(label != UNKNOWN))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        some = counts[rows]
        series = (some * np.float32(1e-4) - MEAN) / STD
        series[some == 0] = 0
        yield torch.from_numpy(series), torch.from_numpy(label[rows].astype(np.int64))


def _rate(path: Path, edge: int, rows: int, *, few: int | None = None, dask: bool = False) -> float:
    begun = time.perf_counter()
    pixels = sum(len(label) for _, label in peer(path, edge, rows, few=few, dask=dask))
    return pixels / 1e6 / (time.perf_counter() - begun)


def read(path: Path, rows: int, threads: int) -> float:
    """Read every chunk of the first rows once; returns million pixels."""
    array = zarr.open_array(path / "s2", mode="r")
    across = array.shape[3]
    corners = product(range(0, rows, CHUNK), range(0, across, CHUNK))
    with ThreadPoolExecutor(threads) as pool:
        work = pool.map(lambda at: _forgotten(array, *at), corners)
        return sum(work) / 1e6


def _forgotten(array: zarr.Array, y: int, x: int) -> int:
    values = array[:, :, y : y + CHUNK, x : x + CHUNK]
    return values.shape[2] * values.shape[3]


def fastest_read(path: Path, size: int) -> int:
    """The number of threads with which a part of the chunks is read fastest."""
    rows = min(size, 4 * CHUNK)
    took = {}
    for threads in (1, *THREADS):  # the first is not counted
        begun = time.perf_counter()
        read(path, rows, threads)
        took[threads] = time.perf_counter() - begun
    return min(took, key=took.__getitem__)


def alone(path: Path) -> dict[str, float]:
    """An epoch in a process of its own."""
    imported, begun = peak_bytes(), time.perf_counter()
    first, chunks = 0.0, []
    for number, batch in enumerate(ours(path)):
        first = first or time.perf_counter() - begun
        if number % 50 == 0:
            chunks.append(len(torch.unique(batch.row // CHUNK * 1000 + batch.column // CHUNK)))
    return {
        "first_s": first, "peak_mb": peak_bytes() / 1e6, "imported_mb": imported / 1e6,
        "chunks": float(np.mean(chunks)),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(alone(Path(sys.argv[1]))))
