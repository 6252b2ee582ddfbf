"""Step `samples`: labelled pixels of the cube become a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geocube_ml.data.samples import HOLDOUT, gather_samples
from geocube_ml.errors import MissingError
from geocube_ml.files import Place, whole_folder
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job
from geocube_ml.store.cube import open_cube, zarr_store

_ROWS = 65_536  # samples in a chunk of the table


def inputs(job: Job) -> dict[str, Any]:
    """What decides the samples."""
    return {
        "samples": job.recipe.samples.result(),
        "cube": job.digest_of("cube"),
        "labels": job.digest_of("labels"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    spec = job.recipe.samples
    most = f"at most {spec.per_polygon}" if spec.per_polygon else "all"
    return [f"{most} pixels a polygon, {spec.n_fold} folds, blocks of {spec.block_m:g} m"]


def run(job: Job) -> dict[str, Any]:
    """Gather the series of labelled pixels and write the table."""
    samples = gather_samples(open_cube(job.cube_path, chunks=_whole(job)), job.recipe.samples)
    rows = {name: {"chunks": (min(_ROWS, v.sizes["sample"]), *v.shape[1:])}
            for name, v in samples.data_vars.items()}  # fmt: skip
    with whole_folder(job.samples_path) as partial:
        samples.to_zarr(partial, mode="w", zarr_format=3, consolidated=False, encoding=rows)
    held = samples["fold_block"].values == HOLDOUT
    return {
        "samples": int(samples.sizes["sample"]),
        "held_out": int(held.sum()),
        "polygons": len(np.unique(samples["polygon"].values)),
        "unobserved": samples.attrs["n_unobserved"],
    }


def _whole(job: Job) -> dict[str, int]:
    """All steps and bands of a place in one read: one by one, 200 bands are 200 requests."""
    whole = {f"{name}_band": -1 for name in job.recipe.sources}
    return whole | ({"time": -1} if job.recipe.period else {})


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.samples_path / "zarr.json"]


def discard(job: Job) -> None:
    """Remove the table."""
    remove(job.samples_path)


def open_samples(job: Job) -> xr.Dataset:
    """The sample table, in memory; it is small beside the cube.

    Raises
    ------
    MissingError
        It was not made yet.
    """
    return read_samples(job.samples_path)


def read_samples(path: Place) -> xr.Dataset:
    """A sample table, in memory."""
    if not (path / "zarr.json").exists():
        raise MissingError(f"There are no samples at {path}. Run the step `samples`.")
    samples: xr.Dataset = xr.open_zarr(zarr_store(path), consolidated=False, mask_and_scale=False)
    return samples.load()
