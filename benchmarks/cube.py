"""Scenes to a Zarr cube of monthly mosaics: 36 scenes of 10 bands and a mask.

Peer: `odc.stac.load` with dask chunks, a mask, a median by month, `to_zarr`, at the best of three
chunk sizes.  Limit: every COG that is needed decoded once by the fastest decoder at hand and the
finished cube encoded once, on all cores.  The bands of 20 m are repeated on the grid of 10 m, which
is what the peer does unless it is told otherwise; how long ours takes where they are interpolated
is told beside it.

    python -m benchmarks.cube PART FOLDER SIZE [CHUNK]    one part by itself: its peak of memory
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import rasterio
import xarray as xr
from numpy.typing import NDArray

from benchmarks.measure import Result, peak_bytes, speeds
from benchmarks.tiles import each_tile
from geocube_ml.cube import compose, observe
from geocube_ml.cube.mosaic import Mosaic, make_mosaic
from geocube_ml.grid import Grid, Tile, make_grid
from geocube_ml.items.catalog import find_items
from geocube_ml.raster import write_cog
from geocube_ml.raster.blocks import opened_tiff
from geocube_ml.raster.window import Span
from geocube_ml.sim.grids import MAP_CRS
from geocube_ml.sim.passes import Pass, passes
from geocube_ml.sim.scenes import make_scene
from geocube_ml.sim.stac import asset_geobox, item_id, make_item
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.sensor import BandSpec, MaskSpec, SensorSpec
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.spec.source import ItemsSpec, SourceSpec
from geocube_ml.store.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.store.cube import CubeStore, Variable

SIZE = 2048
CLEAR = (2, 4, 5, 6, 7)
CORES = len(os.sched_getaffinity(0))
CHUNKS = (512, 1024, 2048)
_TILE = 1
"""Of the simulated archive, on the grid of its map."""
MEMORY = 0.6
"""The most that ours may take of the peer's peak."""
BANDS = {
    "blue": "B02", "green": "B03", "red": "B04", "nir": "B08",
    "rededge1": "B05", "rededge2": "B06", "rededge3": "B07", "nir08": "B8A",
    "swir16": "B11", "swir22": "B12",
}  # fmt: skip


def run(folder: Path, size: int, repeat: int) -> Result:
    """Time the three parts on one simulated tile of `size` pixels, every tenth day of a year."""
    mosaic, items, assets = workload(folder, size)
    smooth, *_ = workload(folder, size, resampling="bilinear")
    rows, cols = mosaic.grid.shape
    pixels = len(items) * len(mosaic.source.chosen) * rows * cols / 1e6  # observations
    with _phases() as spent:
        made = ours(mosaic, folder / "ours.zarr")
    finished = {name: made[name].values for name in ("s2", "s2_clear")}
    best = _best_chunk(mosaic, items, folder, size)

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def one() -> float:
            work()
            return pixels

        return one

    found = speeds(
        {
            "ours": timed(lambda: ours(mosaic, folder / "again.zarr")),
            "smooth": timed(lambda: ours(smooth, folder / "smooth.zarr")),
            "peer": timed(lambda: peer(mosaic, items, folder / "peer.zarr", best)),
            "limit": timed(lambda: limit(mosaic, assets, finished, folder / "limit.zarr")),
        },
        repeat,
    )
    said = ", ".join(f"{name} {seconds:.2f}" for name, seconds in spent.items())
    print(f"cube: where ours spends its thread-seconds: {said}")
    share = found["limit"] / found.pop("smooth")
    print(f"cube: {share:.2f} times the limit's time where bands of 20 m are interpolated")
    if size >= min(CHUNKS):  # of less, most is what is imported
        _print_memory(folder, size, best)
    size_said = f"{len(items)} scenes x {len(mosaic.source.chosen)} x {rows} x {cols}"
    return Result("cube", size_said, "Mpx/s", **found, target_peer=5, target_limit=1 / 1.5)


def workload(
    folder: Path, size: int, resampling: str = "nearest"
) -> tuple[Mosaic, list[Any], list[str]]:
    """The mosaic, its items, and the files that it needs."""
    spec = SimSpec(folder=str(folder / "archive"), size=size, revisit_days=10)
    _make_scenes(spec)
    sensor = SensorSpec(
        bands={name: BandSpec(asset=key, resampling=resampling) for name, key in BANDS.items()},
        mask=(MaskSpec(asset="SCL", clear=CLEAR),), scale=1e-4, offset="sentinel-2-boa",
    )  # fmt: skip
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=f"{spec.folder}/items"))
    period = PeriodSpec(start="2022-01", end="2022-12")
    items = list(find_items(source, period))
    with rasterio.open(items[0].assets["B02"].href) as src:
        bounds = tuple(src.bounds)
    grid = make_grid(GridSpec(crs=MAP_CRS, resolution=10, bounds=bounds), StoreSpec())
    mosaic = make_mosaic(items, source, grid, period)
    assets = [item.assets[key].href for item in items for key in source.assets]
    return mosaic, items, assets


def _make_scenes(spec: SimSpec) -> None:
    """One tile of a simulated archive; on its own grid neither side has anything to warp."""
    left = [p for p in passes(spec) if not _item_path(spec, p).exists()]
    if spec.size < min(CHUNKS):  # processes take longer to begin
        for passage in left:
            _make_scene(spec, passage)
        return
    # not fork: GDAL has threads that a fork does not take along
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(_make_scene, [spec] * len(left), left))


def _make_scene(spec: SimSpec, passage: Pass) -> None:
    scene = make_scene(spec, passage, _TILE)
    for key, values in scene.assets.items():
        path = Path(spec.folder) / "cogs" / item_id(scene) / f"{key}.tif"
        write_cog(path, values, asset_geobox(scene, key), nodata=0)
    (Path(spec.folder) / "items").mkdir(exist_ok=True)
    _item_path(spec, passage).write_text(json.dumps(make_item(scene)))


def _item_path(spec: SimSpec, passage: Pass) -> Path:
    return Path(spec.folder) / "items" / f"{passage.index:02d}.json"


def ours(mosaic: Mosaic, path: Path) -> xr.Dataset:
    """The package's cube step, on all cores."""
    shutil.rmtree(path, ignore_errors=True)
    store, variables = _store(mosaic, path)
    every = (range(len(mosaic.steps)), range(len(mosaic.source.chosen)))

    def one(tile: Tile) -> None:
        values, count = mosaic.read(*every, tile.y, tile.x)
        store.write(tile, {"s2": values, "s2_clear": count})

    store.create(variables, _coords(mosaic), "benchmark")
    each_tile(mosaic.grid.tiles, one)
    return xr.open_zarr(path, consolidated=False, mask_and_scale=False)


def peer(mosaic: Mosaic, items: list[Any], path: Path, chunk: int = 512) -> xr.Dataset:
    """What a user writes with odc-stac, xarray and dask."""
    import odc.stac

    shutil.rmtree(path, ignore_errors=True)
    scenes = odc.stac.load(
        items, bands=[*BANDS.values(), "SCL"], geobox=mosaic.grid.geobox,
        chunks={"x": chunk, "y": chunk}, groupby="solar_day", resampling="nearest",
        dtype="uint16", nodata=0,
    )  # fmt: skip
    newer = xr.DataArray(
        [1000 if str(day)[:10] >= "2022-01-25" else 0 for day in scenes.time.values],
        dims="time", coords={"time": scenes.time},
    ).astype("float32")  # fmt: skip
    bands = scenes[list(BANDS.values())]
    clear = scenes["SCL"].isin(CLEAR) & (bands > 0)
    lowered = (bands.astype("float32") - newer).clip(min=1)  # as we do: dark, not missing
    months = lowered.where(clear).groupby("time.month").median()
    months = months.fillna(0).astype("uint16").chunk({"month": -1, "y": 256, "x": 256})
    months.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    return xr.open_zarr(path, consolidated=False, mask_and_scale=False)


def limit(mosaic: Mosaic, assets: list[str], finished: dict[str, NDArray[Any]], path: Path) -> None:
    """Decode each file once, then encode the cube once; what no way of doing it can avoid."""
    shutil.rmtree(path, ignore_errors=True)
    store, variables = _store(mosaic, path)
    store.create(variables, _coords(mosaic), "benchmark")

    def write(tile: Tile) -> None:
        store.write(tile, {name: v[..., tile.y, tile.x] for name, v in finished.items()})

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(_decode, assets))
        list(pool.map(write, mosaic.grid.tiles))


def _decode(href: str) -> int:
    """All blocks of a file, by libdeflate, with nothing around it."""
    with opened_tiff(href) as tiff:
        assert tiff is not None  # noqa: S101  the archive's are plain COGs
        header = tiff.header
        return int(tiff.read((1,), Span(0, header.height, 0, header.width)).nbytes)


def _best_chunk(mosaic: Mosaic, items: list[Any], folder: Path, size: int) -> int:
    """The chunk size at which the peer is fastest."""
    seconds = {}
    for chunk in dict.fromkeys(min(chunk, size) for chunk in CHUNKS):
        begun = time.perf_counter()
        peer(mosaic, items, folder / "peer.zarr", chunk)
        seconds[chunk] = time.perf_counter() - begun
    said = ", ".join(f"{chunk}: {took:.1f} s" for chunk, took in seconds.items())
    print(f"cube: the peer by chunk size: {said}")
    return min(seconds, key=seconds.__getitem__)


def _store(mosaic: Mosaic, path: Path) -> tuple[CubeStore, list[Variable]]:
    grid: Grid = mosaic.grid
    n, bands = len(mosaic.steps), len(mosaic.source.chosen)
    return CubeStore(path, grid), [
        Variable(
            "s2", ("time", "s2_band", "y", "x"), (n, bands, *grid.shape), "uint16", 0,
            band_attrs(mosaic.source.sensor, mosaic.composite),
        ),
        Variable("s2_clear", ("time", "y", "x"), (n, *grid.shape), "uint8", 0, CLEAR_ATTRS),
    ]  # fmt: skip


def _coords(mosaic: Mosaic) -> dict[str, xr.DataArray]:
    return cube_coords(mosaic.grid, mosaic.steps, {"s2": list(mosaic.source.chosen)})


# -- where the time goes ----------------------------------------------------------------------


@contextmanager
def _phases() -> Iterator[dict[str, float]]:
    """Thread-seconds of each part of ours within the block, what a part calls not counted."""
    spent: dict[str, float] = {}
    clocks = threading.local()
    lock = threading.Lock()
    own: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            inner = getattr(clocks, "inner", 0.0)
            clocks.inner = 0.0
            begun = time.thread_time()
            try:
                return work(*args, **kwargs)
            finally:
                took = time.thread_time() - begun
                with lock:
                    own[name] += took - clocks.inner
                clocks.inner = inner + took

        return wrapper

    begun = time.process_time()
    with (
        patch.object(observe, "read_onto", timed("read", observe.read_onto)),
        patch.object(observe.Observer, "masks", timed("mask", observe.Observer.masks)),
        patch.object(compose, "clear_median", timed("composite", compose.clear_median)),
        patch.object(Mosaic, "read", timed("around them", Mosaic.read)),
    ):
        yield spent
    # Zarr encodes in threads of its own: its share is what is left
    spent.update({name: own[name] for name in ("read", "mask", "composite", "around them")})
    spent["encode"] = time.process_time() - begun - sum(own.values())


# -- memory -----------------------------------------------------------------------------------


def _print_memory(folder: Path, size: int, chunk: int) -> None:
    peak = {part: _peak(part, folder, size, chunk) for part in ("ours", "peer")}
    share = peak["ours"] / peak["peer"]
    print(
        f"cube: peak memory {peak['ours'] / 1e6:.0f} MB, the peer's {peak['peer'] / 1e6:.0f} MB: "
        f"{share:.0%}, target <= {MEMORY:.0%}: {'met' if share <= MEMORY else 'not met'}"
    )


def _peak(part: str, folder: Path, size: int, chunk: int) -> float:
    """Bytes, of a process that does one part alone."""
    command = [sys.executable, "-m", "benchmarks.cube", part, str(folder), str(size), str(chunk)]
    return float(subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True))


def main() -> None:
    """Do one part and print the peak of this process's memory in bytes."""
    part, folder, size, chunk = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    mosaic, items, _ = workload(folder, size)
    if part == "ours":
        ours(mosaic, folder / "alone.zarr")
    else:
        peer(mosaic, items, folder / "alone.zarr", chunk)
    print(peak_bytes())


if __name__ == "__main__":
    main()
