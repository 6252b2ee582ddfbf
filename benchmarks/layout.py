"""Layouts of the cube: what each costs to write, and to read as models and as maps do.

    python -m benchmarks layout [--size PIXELS] [--repeat N]

A year of ten bands of the simulated landscape, 20 m bands repeated to 10 m, with a tenth of each
month missing under clouds, is written in each layout to a disk and to an S3 server of this machine
(SeaweedFS), and read again:

- patch: all months and bands of 256 x 256 pixels, as training and prediction read;
- plane: one band of one month of everything, as one looks at it.

Bytes and requests are counted (at a proxy before the S3 server; on a disk a request is a read) and
do not depend on the machine.  Times are those of the processor, all threads together, so that other
work on the machine and a server that is near do not count; requests stand for the waiting.  They
are medians over rounds in which all layouts take turns, given as ratios to the layout that the
project uses: below 1 is faster.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from zarr.codecs import BloscCodec

from geocube_ml.files import Place, below, discard, place
from geocube_ml.sim.best import clear_series
from geocube_ml.sim.chance import generator, rough_surface
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.store.layout import CODEC, NewShards, zarr_store
from tests.servers.faults import S3Proxy
from tests.servers.s3 import s3_server

SIZE = 1024
PATCH = 256
MISSING = 0.1
THREADS = 2
FINE = 4  # bands of 10 m, the first ones
MONTHS, BANDS = 12, 10

Array = NDArray[np.uint16]


@dataclass(frozen=True)
class Layout:
    """One way to cut and to compress the array (month, band, y, x)."""

    chunk: tuple[int, int, int]
    """Months, bands, and the edge in pixels."""
    shard: int | None
    """Edge in pixels of a shard of all months and bands; None: an object a chunk."""
    codec: tuple[str, int, str] = CODEC

    @property
    def name(self) -> str:
        """As a reader of the table knows it."""
        months, bands, edge = self.chunk
        shard = f"in shards of {self.shard}" if self.shard else "no shards"
        name, level, shuffle = self.codec
        return f"({months}, {bands}, {edge}, {edge}) {shard}, {name} {level} {shuffle}"

    @property
    def edge(self) -> int:
        """Of an object."""
        return self.shard or self.chunk[2]


_USED = StoreSpec()
USED = Layout((_USED.steps, 1, _USED.chunk), _USED.shard)
SHAPES = (
    USED,
    Layout((12, 10, 256), None),
    Layout((12, 1, 128), 512),
    Layout((12, 1, 256), 512),
    Layout((12, 1, 256), 1024),
    Layout((12, 1, 512), 1024),
    Layout((3, 1, 256), 512),
    Layout((1, 1, 256), 512),
    Layout((12, 1, 256), None),
)
CODECS = tuple(
    Layout(USED.chunk, USED.shard, codec)
    for codec in (
        ("zstd", 3, "bitshuffle"), ("zstd", 5, "bitshuffle"), ("zstd", 1, "shuffle"),
        ("lz4", 5, "bitshuffle"),
    )
)  # fmt: skip


@dataclass
class Found:
    """What one layout costs in one place; times of each round in seconds of the processor."""

    objects: int = 0
    stored: int = 0
    patch: tuple[int, int] = (0, 0)
    """Requests and bytes of one."""
    plane: tuple[int, int] = (0, 0)
    times: dict[str, list[float]] = field(default_factory=dict)

    def took(self, what: str) -> float:
        """Median over the rounds."""
        return median(self.times[what])


def make_data(size: int) -> Array:
    """A simulated year (month, band, y, x), 0 where it was cloudy."""
    spec = SimSpec(folder="none", size=min(size, 1024))
    rows = [row[:, : spec.size] for _, _, row in clear_series(spec)]
    series = np.moveaxis(np.concatenate(rows), (2, 3), (0, 1))[:MONTHS, :BANDS]
    edge = min(series.shape[2:]) // 2 * 2
    counts = np.clip(np.rint(series[..., :edge, :edge] * 10_000), 1, 65_534).astype(np.uint16)
    pairs = counts[:, FINE:].reshape(MONTHS, BANDS - FINE, edge // 2, 2, edge // 2, 2)
    counts[:, FINE:] = pairs.mean(axis=(3, 5)).astype(np.uint16).repeat(2, 2).repeat(2, 3)
    more = (0, max(size - edge, 0))
    # mirrored: no codec finds the repetition
    whole = np.pad(counts, ((0, 0), (0, 0), more, more), "symmetric")[..., :size, :size].copy()
    for month in range(MONTHS):
        shape = (size, size)
        sky = rough_surface(generator(0, "clouds", month), shape, scale=size / 8, decay=1.5)
        whole[month][:, sky > np.quantile(sky, 1 - MISSING)] = 0
    return whole


def make(layout: Layout, path: Place, data: Array) -> None:
    """Write it as the cube's tiles are written: whole objects, on two threads."""
    months, bands, edge = layout.chunk
    name, level, shuffle = layout.codec
    rows = min(ceil(data.shape[2] / edge) * edge, layout.edge)
    store = zarr_store(path)
    array = zarr.create_array(
        store,
        shape=data.shape,
        dtype=data.dtype,
        chunks=(months, bands, edge, edge),
        shards=(MONTHS, BANDS, rows, rows) if layout.shard else None,
        fill_value=0,
        compressors=BloscCodec(cname=name, clevel=level, shuffle=shuffle),  # type: ignore[arg-type]
    )
    documents = {"zarr.json": array.metadata.to_dict()}
    new = zarr.open_array(NewShards(store, documents), mode="r+", zarr_format=3)

    def write(tile: tuple[slice, slice]) -> None:
        new[:, :, *tile] = data[:, :, *tile]

    _each(write, data.shape[2], max(rows, 512))


def read_patches(array: zarr.Array[Any]) -> None:
    """Read everything, patch after patch, on two threads."""
    _each(lambda tile: array[:, :, *tile], array.shape[2], PATCH)


def read_plane(array: zarr.Array[Any]) -> None:
    """Read one band of one month."""
    array[MONTHS // 2, BANDS // 2]


def _each(work: Callable[[tuple[slice, slice]], Any], size: int, edge: int) -> None:
    starts = range(0, size, edge)
    tiles = [(slice(y, y + edge), slice(x, x + edge)) for y in starts for x in starts]
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, tiles))


def time_once(layout: Layout, path: Place, data: Array, found: Found) -> None:
    """One round: written, read, and looked at."""
    discard(path)
    _timed(found, "write", lambda: make(layout, path, data))
    array = zarr.open_array(zarr_store(path), mode="r", zarr_format=3)
    _timed(found, "patches", lambda: read_patches(array))
    _timed(found, "plane", lambda: read_plane(array))


def _timed(found: Found, what: str, work: Callable[[], None]) -> None:
    begun = time.process_time()
    work()
    found.times.setdefault(what, []).append(time.process_time() - begun)


def count(path: Place, asked: Callable[[], tuple[int, int]], found: Found) -> None:
    """Objects and bytes that are stored; requests and bytes that reading takes.

    `asked` says how many requests and bytes there were since it was called before.
    """
    chunks = [file for file in below(path, "") if file.is_file() and file.name != "zarr.json"]
    found.objects, found.stored = len(chunks), sum(file.stat().st_size for file in chunks)
    array = zarr.open_array(zarr_store(path), mode="r", zarr_format=3)
    asked()
    patch = array[:, :, :PATCH, :PATCH]
    found.patch = asked()
    read_plane(array)
    found.plane = asked()
    if not patch.any():
        raise RuntimeError(f"{path} holds nothing")


def measure(
    layouts: tuple[Layout, ...],
    folder: Place,
    data: Array,
    repeat: int,
    counter: Callable[[Place], tuple[Place, Callable[[], tuple[int, int]]]] | None = None,
) -> dict[Layout, Found]:
    """Every layout in one place, in turns; what is imported or started late, before the first."""
    found = {layout: Found() for layout in layouts}
    time_once(layouts[0], folder / "first.zarr", data[..., :PATCH, :PATCH], Found())
    discard(folder / "first.zarr")
    for round_ in range(repeat):
        for number, layout in enumerate(layouts):
            path = folder / f"{number}.zarr"
            time_once(layout, path, data, found[layout])
            if round_ == 0 and counter:
                count(*counter(path), found[layout])
            discard(path)
    return found


@contextlib.contextmanager
def on_s3(folder: Path) -> Iterator[tuple[Place, Callable[..., Any]]]:
    """A bucket, and what counts requests to it."""
    with s3_server(folder) as server, S3Proxy(server.endpoint_url) as proxy:
        bucket, before = server.bucket("layouts"), dict(os.environ)
        os.environ.update(server.env)

        def at(path: str, url: str) -> Place:
            reached = {"s3": {f"s3://{bucket}": {"endpoint_url": url}}}
            return place(path, StorageSpec.model_validate(reached))

        def asked() -> tuple[int, int]:
            got = [entry for entry in proxy.log if entry.kind == "get"]
            proxy.clear()
            return len(got), sum(entry.sent for entry in got)

        try:
            cubes = at(f"s3://{bucket}/cubes", server.endpoint_url)
            yield cubes, lambda path: (at(str(path), proxy.url), asked)
        finally:
            os.environ.clear()
            os.environ.update(before)


def table(title: str, disk: Mapping[Layout, Found], s3: Mapping[Layout, Found]) -> Table:
    """One row a layout; the first is what the others are held against."""
    shown = Table(title=title)
    heads = (
        "months, bands, pixels", "MB", "objects", "patch: requests, MB", "plane: requests, MB",
        "disk: write", "patches", "plane", "S3: write", "patches", "plane",
    )  # fmt: skip
    for head in heads:
        shown.add_column(head, justify="left" if head == heads[0] else "right")
    first = next(iter(disk))
    for layout, here in disk.items():
        there = s3[layout]
        ratios = [
            f"{found[layout].took(what) / found[first].took(what):.2f}"
            for found in (disk, s3)
            for what in ("write", "patches", "plane")
        ]
        shown.add_row(
            layout.name, f"{here.stored / 1e6:.1f}", str(here.objects),
            *(f"{n}, {size / 1e6:.2f}" for n, size in (there.patch, there.plane)), *ratios,
        )  # fmt: skip
    seconds = [
        f"{found[first].took(what):.2f} s"
        for found in (disk, s3)
        for what in ("write", "patches", "plane")
    ]
    shown.add_section()
    shown.add_row("1.00 is", *[""] * 4, *seconds)
    return shown


def main(size: int = SIZE, repeat: int = 3) -> None:
    """Measure all layouts and codecs, and print two tables."""
    data = make_data(size)
    console = Console(width=200)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "s3").mkdir()
        with on_s3(folder / "s3") as (bucket, counter):
            for title, layouts in (("Shapes", SHAPES), ("Codecs", (USED, *CODECS))):
                distinct = tuple(dict.fromkeys(layouts))
                s3 = measure(distinct, bucket, data, repeat, counter)
                disk = measure(distinct, folder / "disk", data, repeat)
                for layout, found in disk.items():
                    found.objects, found.stored = s3[layout].objects, s3[layout].stored
                console.print(table(f"{title}, {size} x {size} pixels", disk, s3))
