"""A cube to a map in the cube, with a TempCNN.

Peer: `xarray.apply_ufunc` over dask with a torch call a chunk.  Limit: the bare network on as
many series that are in memory already, on all cores.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks.measure import Result, speeds
from benchmarks.synthetic import BANDS, CLASSES, MONTHS, make_cube
from benchmarks.tiles import each_tile
from geocube_ml.grid import Grid, Tile
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit, FitSource
from geocube_ml.models.network import NetworkModel, one_thread
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.target import Target
from geocube_ml.predict import map_attrs, predict_map
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.models import TempCNNSpec
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import CubeStore, Variable

SIZE = 512
CORES = len(os.sched_getaffinity(0))
BATCH = 2048


def run(folder: Path, size: int, repeat: int) -> Result:
    """Time the three parts on a cube of `size` pixels; weights are random."""
    cube = make_cube(folder / "cube.zarr", size, labelled=0)
    bundle = make_bundle()
    pixels = cube.sizes["y"] * cube.sizes["x"] / 1e3

    def timed_ours() -> float:
        ours(cube, bundle, folder / "cube.zarr")
        return pixels

    def timed_peer() -> float:
        peer(cube, bundle, folder / "peer.zarr")
        return pixels

    def timed_limit() -> float:
        return limit(bundle, cube.sizes["y"] * cube.sizes["x"]) / 1e3

    with one_thread():
        found = speeds({"ours": timed_ours, "peer": timed_peer, "limit": timed_limit}, repeat)
    return Result("map", f"12 x 10 x {size} x {size}", "kpx/s", **found,
                  target_peer=1.5, target_limit=0.8)  # fmt: skip


def make_bundle() -> ModelBundle:
    """A TempCNN of the usual size with random weights."""
    torch.manual_seed(0)
    spec = TempCNNSpec()
    scaling = Scaling(np.full(10, 0.25, np.float32), np.full(10, 0.1, np.float32))
    source = FitSource(name="s2", bands=tuple(BANDS), nodata=0, scale=1e-4)
    fit = Fit(sources=(source,), steps=tuple(f"{month:02d}-01" for month in range(1, 13)))
    target = Target(len(CLASSES.names))
    network = build_network(spec, fit.layout, len(MONTHS), target.n_out).eval()
    model = NetworkModel(spec, fit.layout, len(MONTHS), target, scaling, [network])
    return ModelBundle("tempcnn", model, fit, CLASSES)


def ours(cube: xr.Dataset, bundle: ModelBundle, path: Path) -> None:
    """The package's prediction, a task a tile, written into the cube."""
    grid = Grid(cube.odc.geobox, StoreSpec(chunk=256, shard=256, tile=256))
    store, shape, attrs = CubeStore(path, grid), grid.shape, map_attrs(CLASSES)
    n = len(CLASSES.names)
    store.create(
        [
            Variable("class", ("y", "x"), shape, "uint8", 255, attrs["class"]),
            Variable("prob", ("class_name", "y", "x"), (n, *shape), "uint8", 255, attrs["prob"]),
        ],
        cube_coords(grid, (), {}),
        "benchmark",
    )

    def one(tile: Tile) -> None:
        found = predict_map(cube.isel(y=tile.y, x=tile.x), bundle).compute(scheduler="synchronous")
        store.write(tile, {name: found[name].values for name in ("class", "prob")})

    each_tile(grid.tiles, one)


def peer(cube: xr.Dataset, bundle: ModelBundle, path: Path) -> None:
    """What a user writes with apply_ufunc and torch."""
    model: Any = bundle.model

    def block(counts: NDArray[Any]) -> NDArray[np.float32]:  # (y, x, time, band)
        series = counts.reshape(-1, *counts.shape[2:]).astype(np.float32) * 1e-4
        scaled = np.concatenate(
            [(series - 0.25) / 0.1, np.ones((*series.shape[:2], 1), np.float32)], axis=2
        ).astype(np.float32)
        with torch.no_grad():
            logits = model.networks[0](torch.from_numpy(scaled.transpose(0, 2, 1).copy()))
        prob = torch.softmax(logits, dim=1).numpy()
        return prob.reshape(*counts.shape[:2], -1)

    prob = xr.apply_ufunc(
        block, cube["s2"].chunk({"time": -1, "s2_band": -1, "y": 256, "x": 256}),
        input_core_dims=[["time", "s2_band"]], output_core_dims=[["class"]], dask="parallelized",
        output_dtypes=["float32"],
        dask_gufunc_kwargs={"output_sizes": {"class": len(CLASSES.names)}},
    )  # fmt: skip
    found = xr.Dataset({"class": prob.argmax("class").astype("uint8"), "prob": prob})
    with dask.config.set(scheduler="threads", num_workers=CORES):
        found.drop_vars("spatial_ref").to_zarr(path, mode="w", zarr_format=3, consolidated=False)


def limit(bundle: ModelBundle, n: int) -> int:
    """The bare network, in batches, as many threads as cores."""
    model: Any = bundle.model
    series = torch.zeros((BATCH, len(BANDS) + 1, len(MONTHS)))

    def forward(_: int) -> None:
        with torch.inference_mode():
            model.networks[0](series)

    batches = -(-n // BATCH)
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(forward, range(batches)))
    return batches * BATCH
