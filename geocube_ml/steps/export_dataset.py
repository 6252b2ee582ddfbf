"""Step `export-dataset`: what others can use, in one folder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd

from geocube_ml.export.dataset import export_dataset
from geocube_ml.export.dataset.about import Interval
from geocube_ml.export.dataset.chips import check_chip
from geocube_ml.export.dataset.write import check_replaceable
from geocube_ml.files import Place, local_copy
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.store.cube import open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What decides the data set."""
    return {
        "dataset": job.recipe.dataset.result(),
        "name": job.recipe.name,
        "cube": job.digest_of("cube"),
        "labels": job.digest_of("labels"),
        "samples": job.digest_of("samples"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    spec, shape = job.recipe.dataset, job.grid.shape
    check_chip(spec, shape)
    if spec.chips == "none":
        return [f"{_folder(job)}: series, no chips"]
    most = -(-shape[0] // spec.chip) * -(-shape[1] // spec.chip)
    return [f"{_folder(job)}: series, and at most {most} chips as {spec.chips}"]


def run(job: Job) -> dict[str, Any]:
    """Write the folder."""
    recipe = job.recipe
    cube = open_cube(job.cube_path, chunks=None)
    return export_dataset(
        cube,
        open_samples(job),
        _folder(job),
        recipe.dataset,
        name=recipe.name,
        draw=recipe.samples,
        labels=job.labels,
        polygons=_polygons(job),
        problems=_problems(job),
        facts=_facts(job),
        interval=_interval(job) if recipe.period is None else None,
        chunk=recipe.store.chunk,
        workers=job.threads,
        note=job.note,
    )


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [_folder(job) / "collection.json"]


def discard(job: Job) -> None:
    """Remove the folder, if it is a data set of ours."""
    check_replaceable(_folder(job))
    remove(_folder(job))


def _folder(job: Job) -> Place:
    return job.out / "dataset"


def _polygons(job: Job) -> pd.DataFrame:
    with local_copy(job.polygons_path) as path:
        return pd.read_parquet(path, columns=["polygon", "class", "area_m2"])


def _problems(job: Job) -> pd.DataFrame:
    with local_copy(job.losses_path) as path:
        return pd.read_csv(path, keep_default_na=False)


def _facts(job: Job) -> list[tuple[str, str]]:
    cube = job.records.facts("cube") or {}
    told = []
    for name, source in job.recipe.sources.items():
        made = cube.get("sources", {}).get(name, {})
        found = f": {made['items']:,} items of {made['days']:,} days" if made else ""
        method = "layer" if source.sensor.static else job.recipe.composite_of(name).method
        told.append((f"`{name}`", f"{source.sensor.title or name}{found}; {method}"))
    steps = ("cube", "labels", "samples")
    return told + [(f"Digest of `{step}`", job.digest_of(step)) for step in steps]


def _interval(job: Job) -> Interval:
    """First and last moment of the items, for a cube that has no time axis."""
    moments = [
        moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        for found in job.items.values()
        for item in found.items
        for moment in (
            item.datetime,
            item.common_metadata.start_datetime,
            item.common_metadata.end_datetime,
        )
        if moment is not None
    ]
    return _text(min(moments)), _text(max(moments))


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
