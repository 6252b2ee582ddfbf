"""Step `export`: the map as Cloud-Optimized GeoTIFFs."""

from __future__ import annotations

from typing import Any

from geocube_ml.export.cog import to_cog
from geocube_ml.files import Place
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job
from geocube_ml.store.cube import open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What decides the files."""
    return {"name": job.recipe.name, "predict": job.digest_of("predict")}


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [str(path) for path in outputs(job)]


def run(job: Job) -> dict[str, Any]:
    """Write a file a variable of the map."""
    cube, names = open_cube(job.cube_path), job.map_names
    for done, (name, path) in enumerate(zip(names, outputs(job), strict=True), 1):
        to_cog(cube[name], path)
        job.note(done, len(names))
    return {path.name: path.stat().st_size for path in outputs(job)}


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.export_path(name) for name in job.map_names]


def discard(job: Job) -> None:
    """Remove the files."""
    for path in outputs(job):
        remove(path)
