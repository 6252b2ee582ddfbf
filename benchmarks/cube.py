"""Scenes to a Zarr cube of monthly mosaics.

Peer: `odc.stac.load` with dask chunks, a mask, a median by month, `to_zarr`.  Limit: every COG
that is needed decoded once and the finished cube encoded once, on all cores.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import rasterio
import xarray as xr

from benchmarks.measure import Result, speeds
from benchmarks.tiles import each_tile
from geocube_ml.cube.catalog import find_items
from geocube_ml.cube.coords import CLEAR_ATTRS, band_attrs, cube_coords
from geocube_ml.cube.grid import Grid, Tile, make_grid
from geocube_ml.cube.mosaic import Mosaic, make_mosaic
from geocube_ml.cube.store import CubeStore, Variable
from geocube_ml.sim import make_archive
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.recipe import PeriodSpec
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.spec.source import BandSpec, ItemsSpec, MaskSpec, SensorSpec, SourceSpec

SIZE = 1024
CLEAR = (2, 4, 5, 6, 7)
CORES = len(os.sched_getaffinity(0))


def run(folder: Path, size: int, repeat: int) -> Result:
    """Time the three parts on one simulated tile of `size` pixels, every tenth day of a year."""
    mosaic, items, assets = workload(folder, size)
    rows, cols = mosaic.grid.shape
    pixels = len(items) * len(mosaic.source.chosen) * rows * cols / 1e6  # observations
    finished = ours(mosaic, folder / "ours.zarr")

    def timed_ours() -> float:
        ours(mosaic, folder / "ours.zarr")
        return pixels

    def timed_peer() -> float:
        peer(mosaic, items, folder / "peer.zarr")
        return pixels

    def timed_limit() -> float:
        limit(mosaic, assets, finished, folder / "limit.zarr")
        return pixels

    found = speeds({"ours": timed_ours, "peer": timed_peer, "limit": timed_limit}, repeat)
    size_said = f"{len(items)} scenes x {len(mosaic.source.chosen)} x {rows} x {cols}"
    return Result("cube", size_said, "Mpx/s", **found, target_peer=5, target_limit=1 / 1.5)


def workload(folder: Path, size: int) -> tuple[Mosaic, list[Any], list[str]]:
    """The mosaic, its items, and the files that it needs."""
    archive = make_archive(SimSpec(folder=str(folder / "archive"), size=size, revisit_days=10))
    sensor = SensorSpec(
        bands={name: BandSpec(asset=key) for name, key in
               {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}.items()},
        mask=MaskSpec(asset="SCL", clear=CLEAR), scale=1e-4, offset="sentinel-2-boa",
    )  # fmt: skip
    source = SourceSpec(sensor=sensor, items=ItemsSpec(catalog=str(archive.items)))
    period = PeriodSpec(start="2022-01", end="2022-12")
    # one tile on its own grid, so that neither side has anything to warp
    items = [
        item for item in find_items(source, period) if item.properties["proj:code"] == archive.crs
    ]
    with rasterio.open(items[0].assets["B02"].href) as src:
        bounds = tuple(src.bounds)
    store = StoreSpec(chunk=256, shard=512, tile=512)
    grid = make_grid(GridSpec(crs=archive.crs, resolution=10, bounds=bounds), store)
    mosaic = make_mosaic(items, source, grid, period)
    assets = [item.assets[key].href for item in items for key in source.assets]
    return mosaic, items, assets


def ours(mosaic: Mosaic, path: Path) -> xr.Dataset:
    """The package's cube step, on all cores."""
    shutil.rmtree(path, ignore_errors=True)
    store, variables = _store(mosaic, path)
    every = (range(len(mosaic.months)), range(len(mosaic.source.chosen)))

    def one(tile: Tile) -> None:
        values, count = mosaic.read(*every, tile.y, tile.x)
        store.write(tile, {"s2": values, "s2_clear": count})

    store.create(variables, _coords(mosaic), "benchmark")
    each_tile(mosaic.grid.tiles, one)
    return xr.open_zarr(path, consolidated=False, mask_and_scale=False)


def peer(mosaic: Mosaic, items: list[Any], path: Path, chunk: int = 512) -> xr.Dataset:
    """What a user writes with odc-stac, xarray and dask."""
    shutil.rmtree(path, ignore_errors=True)
    scenes = odc.stac.load(
        items, bands=["B02", "B03", "B04", "B08", "SCL"], geobox=mosaic.grid.geobox,
        chunks={"x": chunk, "y": chunk}, groupby="solar_day", resampling={"SCL": "nearest"},
        dtype="uint16", nodata=0,
    )  # fmt: skip
    newer = xr.DataArray(
        [1000 if str(day)[:10] >= "2022-01-25" else 0 for day in scenes.time.values],
        dims="time", coords={"time": scenes.time},
    ).astype("float32")  # fmt: skip
    bands = scenes[["B02", "B03", "B04", "B08"]]
    clear = scenes["SCL"].isin(CLEAR) & (bands > 0)
    lowered = (bands.astype("float32") - newer).clip(min=1)  # as we do: dark, not missing
    months = lowered.where(clear).groupby("time.month").median()
    months = months.fillna(0).astype("uint16").chunk({"month": -1, "y": 256, "x": 256})
    months.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
    return xr.open_zarr(path, consolidated=False, mask_and_scale=False)


def limit(mosaic: Mosaic, assets: list[str], finished: xr.Dataset, path: Path) -> None:
    """Decode each file once, then encode the cube once; what no way of doing it can avoid."""
    shutil.rmtree(path, ignore_errors=True)
    store, variables = _store(mosaic, path)
    store.create(variables, _coords(mosaic), "benchmark")
    held = {name: finished[name].values for name in ("s2", "s2_clear")}

    def write(tile: Tile) -> None:
        store.write(tile, {name: v[..., tile.y, tile.x] for name, v in held.items()})

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(_decode, assets))
        list(pool.map(write, mosaic.grid.tiles))


def _decode(href: str) -> int:
    with rasterio.open(href) as src:
        return int(np.asarray(src.read(1)).nbytes)


def _store(mosaic: Mosaic, path: Path) -> tuple[CubeStore, list[Variable]]:
    grid: Grid = mosaic.grid
    n, bands = len(mosaic.months), len(mosaic.source.chosen)
    return CubeStore(path, grid), [
        Variable(
            "s2", ("time", "s2_band", "y", "x"), (n, bands, *grid.shape), "uint16", 0,
            band_attrs(mosaic.source),
        ),
        Variable("s2_clear", ("time", "y", "x"), (n, *grid.shape), "uint8", 0, CLEAR_ATTRS),
    ]  # fmt: skip


def _coords(mosaic: Mosaic) -> dict[str, xr.DataArray]:
    return cube_coords(mosaic.grid, mosaic.months, {"s2": list(mosaic.source.chosen)})
