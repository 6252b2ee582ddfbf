"""Labelled pixels of a cube to shuffled float tensors.

Peer: xbatcher with patches of 16 pixels, loaded and stacked one by one (on a strip of the cube,
as it would take minutes on all of it).  Limit: the same chunks read by all cores and not used.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor
from xbatcher import BatchGenerator

from benchmarks.measure import Result, speeds
from benchmarks.synthetic import make_cube
from geocube_ml.data.samples import gather_samples
from geocube_ml.kernels.scaling import to_physical
from geocube_ml.models.scaling import Scaling
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import SamplesSpec

SIZE = 1024
PATCH = 16
CORES = len(os.sched_getaffinity(0))
SCALING = Scaling(np.full(10, 0.25, np.float32), np.full(10, 0.1, np.float32))


def run(folder: Path, size: int, repeat: int) -> Result:
    """Time the three parts on a cube of `size` pixels, half of whose squares are labelled."""
    cube = make_cube(folder / "cube.zarr", size, labelled=0.5)
    pixels = cube.sizes["y"] * cube.sizes["x"] / 1e6

    def timed_ours() -> float:
        ours(cube)
        return pixels

    def timed_peer() -> float:
        strip = cube.isel(y=slice(0, 4 * PATCH))
        peer(strip)
        return strip.sizes["y"] * strip.sizes["x"] / 1e6

    def timed_limit() -> float:
        limit(folder / "cube.zarr")
        return pixels

    found = speeds({"ours": timed_ours, "peer": timed_peer, "limit": timed_limit}, repeat)
    return Result("feed", f"12 x 10 x {size} x {size}", "Mpx/s", **found,
                  target_peer=2.5, target_limit=0.6)  # fmt: skip


def ours(cube: xr.Dataset) -> tuple[Tensor, Tensor]:
    """The package's sample table, standardized and shuffled."""
    samples = gather_samples(cube, SamplesSpec(n_fold=2, block_m=200))
    return _tensors(samples["s2"].values, samples["label"].values)


def peer(cube: xr.Dataset) -> tuple[Tensor, Tensor]:
    """What a user writes with xbatcher."""
    sizes = {dim: cube.sizes[dim] for dim in ("time", "s2_band")}
    series, label = [], []
    for patch in BatchGenerator(
        cube[["s2", "label"]], {**sizes, "y": PATCH, "x": PATCH}, preload_batch=False
    ):
        stacked = patch.load().stack(sample=("y", "x"))
        known = stacked["label"].values != UNKNOWN
        series.append(stacked["s2"].transpose("sample", "time", "s2_band").values[known])
        label.append(stacked["label"].values[known])
    return _tensors(np.concatenate(series), np.concatenate(label))


def limit(path: Path) -> None:
    """Read every chunk once, on all cores."""
    array = zarr.open_array(path / "s2", mode="r")
    edge = array.chunks[-1]
    corners = [
        (y, x) for y in range(0, array.shape[2], edge) for x in range(0, array.shape[3], edge)
    ]
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda at: array[:, :, at[0] : at[0] + edge, at[1] : at[1] + edge], corners))


def _tensors(counts: np.ndarray, label: np.ndarray) -> tuple[Tensor, Tensor]:
    order = np.random.default_rng(0).permutation(len(label))
    series = SCALING.apply(to_physical(counts[order], 0, 1e-4))
    return torch.from_numpy(series), torch.from_numpy(label[order].astype(np.int64))
