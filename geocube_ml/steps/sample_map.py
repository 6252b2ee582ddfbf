"""Step `sample-map`: points of the map that people are to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from geocube_ml.evaluate.design import Design, count_map, design_sample, draw_points
from geocube_ml.evaluate.points import is_interpreted, write_points
from geocube_ml.files import Place, whole_file
from geocube_ml.files import discard as remove
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.steps.job import Job
from geocube_ml.store.cube import open_cube


def points_path(job: Job) -> Place:
    """The points that are drawn."""
    return job.out / "map_sample.gpkg"


def inputs(job: Job) -> dict[str, Any]:
    """What decides which points are drawn."""
    job.needs_classes("sample-map")
    spec = job.recipe.areas.result()
    return {
        "areas": {name: value for name, value in spec.items() if name != "level"},
        "predict": job.digest_of("predict"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    spec = job.recipe.areas
    n = f"{spec.points}" if spec.points else f"as many as an error of {spec.target_error:g} takes"
    return [f"points of the map to look at: {n}, {spec.allocation}, in {points_path(job)}"]


def run(job: Job) -> dict[str, Any]:
    """Draw the points and write them."""
    mapped = _map(job)
    names = ClassScheme.from_attrs(mapped.attrs).names
    pixels = count_map(mapped)
    design = design_sample(pixels, names, job.recipe.areas)
    points = draw_points(mapped, design, seed=job.recipe.areas.seed, note=job.note)
    discard(job)  # a file that somebody wrote into may lie there, though the step was not done
    write_points(points, points_path(job))
    return {
        "points": len(points),
        "strata": _strata(design),
        "expected_error": round(design.error, 6),
        "unmapped_pixels": int(np.prod(mapped.shape)) - int(pixels.sum()),
        "file": str(points_path(job)),
    }


def _map(job: Job) -> xr.DataArray:
    return open_cube(job.cube_path, chunks=None)["class"]


def _strata(design: Design) -> dict[str, dict[str, int]]:
    return {
        name: {"pixels": int(pixels), "points": int(n)}
        for name, pixels, n in zip(design.names, design.pixels, design.points, strict=True)
    }


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [points_path(job)]


def discard(job: Job) -> None:
    """Remove the points; a file in which somebody wrote what they saw stays, as ``..._1``."""
    path = points_path(job)
    if path.exists() and is_interpreted(path):
        aside = (path.with_name(f"{path.stem}_{n}{path.suffix}") for n in range(1, 1000))
        free = next(other for other in aside if not other.exists())
        with whole_file(free) as partial, path.open("rb") as file:
            partial.write_bytes(file.read())
    remove(path)
