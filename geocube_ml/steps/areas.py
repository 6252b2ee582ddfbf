"""Step `areas`: areas of the map's classes, by what people saw at the points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geocube_ml.evaluate.areas import estimate_interpreted
from geocube_ml.evaluate.design import class_hectares
from geocube_ml.evaluate.points import read_points
from geocube_ml.files import Place, content_digest, write_json
from geocube_ml.files import discard as remove
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.steps.job import Job
from geocube_ml.steps.sample_map import points_path
from geocube_ml.store.cube import open_cube


def areas_path(job: Job) -> Place:
    """The areas."""
    return job.out / "areas.json"


def inputs(job: Job) -> dict[str, Any]:
    """What decides the areas."""
    job.needs_classes("areas")
    path = _interpreted(job)
    return {
        "sample-map": job.digest_of("sample-map"),
        "points": content_digest([path]) if path.exists() else None,
        "level": job.recipe.areas.level,
    }


def grows(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Further points that were looked at are welcome: the areas are computed anew."""
    return all(before.get(name) == now[name] for name in ("sample-map", "level"))


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [f"areas of the classes with intervals, from {_interpreted(job)}"]


def run(job: Job) -> dict[str, Any]:
    """Estimate the areas and write them."""
    mapped = open_cube(job.cube_path, chunks=None)["class"]
    classes = ClassScheme.from_attrs(mapped.attrs).names
    points = read_points(_interpreted(job), classes, class_hectares(mapped))
    found = estimate_interpreted(points, classes, level=job.recipe.areas.level)
    write_json(areas_path(job), found)
    return {
        "points": found["points"],
        "open": found["open"],
        "overall": found["overall"],
        "hectares": {one["class"]: one["area"] for one in found["areas"]},
        "notes": found["notes"],
    }


def _interpreted(job: Job) -> Place:
    named = job.recipe.areas.interpreted
    return job.place(named) if named else points_path(job)


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [areas_path(job)]


def discard(job: Job) -> None:
    """Remove the areas; the points stay."""
    remove(areas_path(job))
