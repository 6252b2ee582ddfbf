"""Step `report`: one page on what was made and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

import geocube_ml
from geocube_ml.files import Place, local_copy, read_json
from geocube_ml.files import discard as remove
from geocube_ml.report.page import write_report
from geocube_ml.report.price import price_rows
from geocube_ml.spec.base import digest
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.store.cube import open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What decides the page."""
    return {
        "name": job.recipe.name,
        "evaluate": job.digest_of("evaluate"),
        "predict": job.digest_of("predict"),
        "version": geocube_ml.__version__,
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [str(job.report_path)]


def run(job: Job) -> dict[str, Any]:
    """Write the page."""
    scores = read_json(job.scores_path)
    write_report(
        job.report_path,
        title=job.recipe.name,
        cube=open_cube(job.cube_path),
        samples=open_samples(job),
        scores=scores,
        labels=_labels(job),
        problems=_table(job.losses_path),
        doubtful=_doubtful(job),
        facts=_facts(job),
        notes=_notes(job, scores),
        recipe=job.recipe,
        area=job.area,
        areas=_areas(job),
    )
    return {"bytes": job.report_path.stat().st_size}


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.report_path]


def discard(job: Job) -> None:
    """Remove the page."""
    remove(job.report_path)


def _table(path: Place) -> pd.DataFrame | None:
    if not path.exists():
        return None
    with local_copy(path) as local:
        # a class may be called NA; of numbers one that is missing is none
        missing = {name: [""] for name in ("area_m2", "doubt")}
        return pd.read_csv(local, keep_default_na=False, na_values=missing)


def _labels(job: Job) -> pd.DataFrame | None:
    """What is used of the label files; None in a run of before it was written."""
    if not job.polygons_path.exists():
        return None
    with local_copy(job.polygons_path) as local:
        return pd.read_parquet(local, columns=["polygon", "class", "area_m2"])


def _doubtful(job: Job) -> pd.DataFrame | None:
    """What the doctor found; None if it did not look, or looked at other samples."""
    inputs = job.records.begun("doctor") or {}
    done = job.records.facts("doctor") is not None
    if not done or inputs.get("samples") != job.digest_of("samples"):
        return None
    return _table(job.out / "labels_doubtful.csv")


def _areas(job: Job) -> dict[str, Any] | None:
    """Areas by points that people looked at; None if nobody did, or at those of another map."""
    inputs = job.records.begun("areas") or {}
    sampled = job.records.begun("sample-map") or {}
    done = job.records.facts("areas") is not None
    if not done or sampled.get("predict") != job.digest_of("predict"):
        return None
    if inputs.get("sample-map") != digest(sampled):
        return None
    found: dict[str, Any] = read_json(job.out / "areas.json")
    return found


def _facts(job: Job) -> list[tuple[str, str]]:
    recipe = job.recipe
    cube, labels = job.records.facts("cube") or {}, job.records.facts("labels") or {}
    samples = job.records.facts("samples") or {}
    geobox = job.grid.geobox
    grid = f"{geobox.shape.y} x {geobox.shape.x} pixels of {geobox.resolution.x:g} m, {geobox.crs}"
    titles = [source.sensor.title or name for name, source in recipe.sources.items()]
    period = recipe.period
    return [
        ("Sources", "; ".join(titles)),
        *([("Period", f"{period.start} to {period.end}, by {period.step}")] if period else []),
        ("Items", _items(cube.get("sources", {}))),
        ("Grid", grid),
        *_area(job),
        *_price(job),
        ("Labels", f"{labels.get('polygons')} polygons, {labels.get('pixels')} pixels"),
        ("Samples", f"{samples.get('samples')}, of which {samples.get('held_out')} held out"),
        ("Model of the map", recipe.map_model),
        ("Software", f"geocube_ml {geocube_ml.__version__}"),
        *((f"Digest of `{step}`", job.digest_of(step))
          for step in ("cube", "labels", "samples", "train", "evaluate", "predict")),
    ]  # fmt: skip


def _area(job: Job) -> list[tuple[str, str]]:
    if job.area is None:
        return []
    of = "the boundary" if job.recipe.grid.boundary else "the hull of the labels"
    return [("Area to map", f"{job.area.area / 1e4:,.0f} ha within {of}")]


def _price(job: Job) -> list[tuple[str, str]]:
    """What the cube was said to take, and what it took."""
    path = job.records.path("price", "cube")
    return price_rows(read_json(path) if path.exists() else {})


def _items(sources: Mapping[str, Any]) -> str:
    """How many items in all, and of each source."""
    each = [f"{name} {one['items']:,} of {one['days']:,} days" for name, one in sources.items()]
    total = sum(one["items"] for one in sources.values())
    return f"{total:,}: {'; '.join(each)}"


def _notes(job: Job, scores: dict[str, Any]) -> list[str]:
    cube, samples = job.records.facts("cube") or {}, job.records.facts("samples") or {}
    notes = list(scores["notes"])
    dropped = (job.records.facts("labels") or {}).get("dropped_classes", [])
    if dropped:
        notes.append(
            f"No labelled pixel is left of {', '.join(dropped)}; the map has no such class."
        )
    for name, source in cube.get("sources", {}).items():
        if unseen := source.get("unseen_steps"):
            notes.append(
                f"{name}: no clear observation in {len(unseen)} time steps, which stay missing: "
                f"{', '.join(unseen)}."
            )
    if samples.get("unobserved"):
        notes.append(
            f"{samples['unobserved']} labelled pixels have no clear observation at all; they are "
            "no samples."
        )
    return notes
