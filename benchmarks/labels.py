"""A million fields onto 20,000 x 20,000 pixels, tile by tile into the store.

Each part runs in a process of its own, which tells its time and the most memory it held: reading
the labels (checked, mended, shrunk), burning them by the package, and by `rasterio.features` alone,
of the same shrunk polygons, tile by tile with the same tree and store (peer), and all at once into
one array, without a store (limit).  Once more they are burned onto four times as many pixels.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result, peak_bytes
from benchmarks.tiles import each_tile
from geocube_ml.grid import Grid, Tile, make_grid
from geocube_ml.labels.burn import LabelBurner
from geocube_ml.labels.labels import Labels
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import label_attrs
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import UNKNOWN, ClassSpec, LabelSource, LabelsSpec
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import CubeStore, Variable

SIZE = 20_000
FIELD = 20  # pixels from one field to the next: a million fields on all of them
CLASSES = tuple("abcdefghij")
INSET_M = 10
_LEFT, _BOTTOM = 300_000.0, 5_000_000.0
_TILE = 1024
_PARTS = ("read", "ours", "tiles", "once", "ours on 4 x the pixels")


def run(folder: Path, size: int, repeat: int) -> Result:
    """Measure all parts, and print what each took."""
    n = make_fields(folder / "fields.parquet", size)
    found: dict[str, list[dict[str, float]]] = {part: [] for part in _PARTS}
    found["read"].append(measured("read", folder, size))
    for _ in range(repeat):
        for part in _PARTS[1:-1]:
            found[part].append(measured(part, folder, size))
    found[_PARTS[-1]].append(measured(_PARTS[-1], folder, size))
    _print(n, found)
    speeds = {part: median(size**2 / 1e6 / one["seconds"] for one in found[part])
              for part in ("ours", "tiles", "once")}  # fmt: skip
    return Result("labels", f"{n} polygons x {size} x {size}", "Mpx/s", speeds["ours"],
                  speeds["tiles"], speeds["once"], target_peer=2, target_limit=1)  # fmt: skip


def make_fields(path: Path, size: int) -> int:
    """Fields of 5 to 9 vertices, of which a few overlap and one in 200 is no valid polygon."""
    rng = np.random.default_rng(0)
    across = size // FIELD
    row, col = np.divmod(np.arange(across**2), across)
    middle = 10 * FIELD * (np.stack([col, row], axis=-1) + 0.5) + [_LEFT, _BOTTOM]
    vertices = rng.integers(5, 10, len(middle))
    turn = np.sort(rng.random((len(middle), 9)), axis=1)
    turn[np.arange(9) >= vertices[:, None]] = np.nan  # as many as each has
    turn *= 2 * np.pi
    radius = 10 * FIELD * rng.uniform(0.4, 0.58, turn.shape)
    ring = middle[:, None] + radius[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    crossed = rng.random(len(middle)) < 0.005
    ring[crossed, 1], ring[crossed, 2] = ring[crossed, 2], ring[crossed, 1].copy()
    known = np.isfinite(ring[..., 0])
    owner = np.repeat(np.arange(len(middle)), known.sum(axis=1))
    shapes = shapely.polygons(shapely.linearrings(ring[known], indices=owner))
    crops = np.array(CLASSES)[rng.integers(0, len(CLASSES), len(shapes))]
    gpd.GeoDataFrame({"crop": crops}, geometry=shapes, crs="EPSG:32633").to_parquet(path)
    return len(shapes)


def measured(part: str, folder: Path, size: int) -> dict[str, float]:
    """What one part takes, in a process that did nothing before."""
    command = [sys.executable, "-m", "benchmarks.labels", part, str(folder), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def part_of(part: str, folder: Path, size: int) -> dict[str, float]:
    """Do one part: ``seconds``, of a processor too, ``bytes`` at most, and before it began."""
    if part == "read":
        work = _reading(folder, size)
    elif part == "once":
        work = _at_once(_labels(folder), grid_of(size))
    elif part == "tiles":
        work = _by_tiles(_labels(folder), grid_of(size), folder / "peer.zarr")
    else:
        resolution = 5 if part == _PARTS[-1] else 10
        work = _ours(_labels(folder), grid_of(size, resolution), folder / f"{resolution}.zarr")
    before = _forget_peak()
    begun, busy = time.perf_counter(), time.process_time()
    work()
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - busy,
        "bytes": peak_bytes(),
        "bytes_before": before,
    }


def _forget_peak() -> int:
    """Count the most memory from now on; how much is held now."""
    refs, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not refs.exists():
        return peak_bytes()
    refs.write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def grid_of(size: int, resolution: float = 10) -> Grid:
    """As many pixels of ten metres to a side, or smaller ones on the same ground."""
    bounds = (_LEFT, _BOTTOM, _LEFT + 10 * size, _BOTTOM + 10 * size)
    return make_grid(
        GridSpec(crs="EPSG:32633", resolution=resolution, bounds=bounds),
        StoreSpec(chunk=256, shard=_TILE, tile=_TILE),
    )


def _labels(folder: Path) -> Labels:
    with (folder / "labels.pickle").open("rb") as file:
        found: Labels = pickle.load(file)  # what this benchmark wrote
    return found


def _reading(folder: Path, size: int) -> Callable[[], None]:
    source = LabelSource(path=str(folder / "fields.parquet"), class_column="crop")
    classes = tuple(ClassSpec(name=name) for name in CLASSES)
    spec = LabelsSpec(sources=(source,), classes=classes, inset_m=INSET_M, empty_class="drop")

    def work() -> None:
        labels = read_labels(spec, grid_of(size))
        with (folder / "labels.pickle").open("wb") as file:
            pickle.dump(labels, file)

    return work


def _ours(labels: Labels, grid: Grid, path: Path) -> Callable[[], None]:
    few, small = replace(labels, frame=labels.frame[:9]), grid_of(FIELD)
    LabelBurner(few, small).burn(small.tiles[0])  # compiles it

    def work() -> None:
        store, burner = _store(path, labels, grid), LabelBurner(labels, grid)
        each_tile(grid.tiles, lambda tile: store.write(tile, burner.burn(tile)))

    return work


def _by_tiles(labels: Labels, grid: Grid, path: Path) -> Callable[[], None]:
    shapes, numbers, codes = _arrays(labels)

    def work() -> None:
        store, tree = _store(path, labels, grid), shapely.STRtree(shapes)

        def burn(tile: Tile) -> None:
            geobox = grid.geobox[tile.y, tile.x]
            near = np.sort(tree.query(geobox.extent.geom))[::-1]  # the lower number is burned last
            polygon = rasterize(
                zip(shapes[near], numbers[near], strict=True), out_shape=geobox.shape, fill=0,
                transform=geobox.transform, dtype="int32",
            ) if near.size else np.zeros(geobox.shape, np.int32)  # fmt: skip
            store.write(tile, {"polygon": polygon, "label": codes[polygon]})

        each_tile(grid.tiles, burn)

    return work


def _at_once(labels: Labels, grid: Grid) -> Callable[[], None]:
    shapes, numbers, codes = _arrays(labels)

    def work() -> None:
        polygon = rasterize(
            zip(shapes[::-1], numbers[::-1], strict=True), out_shape=grid.shape, fill=0,
            transform=grid.geobox.transform, dtype="int32",
        )  # fmt: skip
        codes[polygon]

    return work


def _arrays(labels: Labels) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.uint8]]:
    """Shapes, their numbers, and the class of each number."""
    numbers = labels.frame["polygon"].to_numpy()
    codes = np.full(numbers.max() + 1, UNKNOWN, np.uint8)
    codes[numbers] = labels.frame["code"]
    return labels.frame.geometry.to_numpy(), numbers, codes


def _store(path: Path, labels: Labels, grid: Grid) -> CubeStore:
    store, attrs = CubeStore(path, grid), label_attrs(labels)
    store.create(
        [
            Variable("label", ("y", "x"), grid.shape, "uint8", UNKNOWN, attrs["label"]),
            Variable("polygon", ("y", "x"), grid.shape, "int32", 0, attrs["polygon"]),
        ],
        cube_coords(grid, (), {}),
        "benchmark",
    )
    return store


def _print(n: int, found: dict[str, list[dict[str, float]]]) -> None:
    table = Table(title=f"{n:,} polygons; each part alone in a process")
    for heading in ("part", "seconds", "of a processor", "polygons/s", "memory", "before"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, every in found.items():
        if every:
            one = {key: median(each[key] for each in every) for key in every[0]}
            table.add_row(
                part, f"{one['seconds']:.1f}", f"{one['cpu_seconds']:.1f}",
                f"{n / one['seconds']:,.0f}", f"{one['bytes'] / 1e9:.2f} GB",
                f"{one['bytes_before'] / 1e9:.2f} GB",
            )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    print(json.dumps(part_of(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
