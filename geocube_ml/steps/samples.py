"""Step `samples`: labelled pixels or polygons of the cube become a table."""

from __future__ import annotations

import json
from typing import Any

import geopandas as gpd
import numpy as np
import xarray as xr

from geocube_ml.data.folds import held_out
from geocube_ml.data.samples import gather_samples
from geocube_ml.data.table import read_samples, write_samples
from geocube_ml.files import Place, redacted
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job
from geocube_ml.store.cube import open_cube


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
    if spec.unit == "polygon":
        what = f"a sample a polygon: {', '.join(spec.statistics)} of its pixels"
    else:
        most = f"at most {spec.per_polygon}" if spec.per_polygon else "all"
        what = f"{most} pixels a polygon"
    rules = [
        f"none nearer than {spec.min_distance_m:g} m" if spec.min_distance_m else "",
        f"at most {spec.per_class} a class" if spec.per_class else "",
        f"{spec.share:.0%} of each class" if spec.share else "",
        "as many of each class" if spec.balanced else "",
    ]
    folds = f"{spec.n_fold} folds, blocks of {spec.block_m:g} m"
    return [", ".join([what, *(rule for rule in rules if rule), folds])]


def run(job: Job) -> dict[str, Any]:
    """Gather the series of what is labelled and write the table."""
    cube = open_cube(job.cube_path, chunks=_whole(job))
    samples = gather_samples(cube, job.recipe.samples, _labels(job), provenance=_provenance(job))
    write_samples(samples, job.samples_path)
    drawn = json.loads(samples.attrs["drawn"])
    return {
        "samples": int(samples.sizes["sample"]),
        "held_out": int(held_out(samples).sum()),
        "polygons": len(np.unique(samples["polygon"].values)),
        "unobserved": samples.attrs["n_unobserved"],
        "left_out": json.loads(samples.attrs["left_out"]),
        "by_class": {name: one["got"] for name, one in drawn.items()},
        "shortfall": [
            f"{one['got']} of {one['asked']} samples of {name}"
            for name, one in drawn.items()
            if one["asked"] is not None and one["got"] < one["asked"]
        ],
        "fold_distances": json.loads(samples.attrs["fold_distances"]),
    }


def _labels(job: Job) -> gpd.GeoDataFrame:
    """What the step `labels` says of each polygon."""
    with job.polygons_path.open("rb") as file:
        return gpd.read_parquet(file)


def _provenance(job: Job) -> dict[str, Any]:
    """Of what the table is made: digests, and the files of labels by their content."""
    begun = job.records.begun("labels") or {}
    digests = begun.get("files", {})  # by the sources' positions, which JSON sorts as text
    files = [redacted(job.place(source.path).name) for source in job.labels.sources]
    return {
        "recipe": {"name": job.recipe.name, "digest": job.digests["samples"]},
        "cube": job.digests["cube"],
        "labels": job.digests["labels"],
        "label_files": [
            {"name": name, "digest": digests[str(at)]} for at, name in enumerate(files)
        ],
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
