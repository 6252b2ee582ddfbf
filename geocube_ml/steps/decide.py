"""Step `decide`: what a person decided of doubtful labels goes back into the label files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from geocube_ml.doctor.decisions import read_decisions, record_decisions
from geocube_ml.errors import MissingError
from geocube_ml.files import Place, content_digest
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.steps import NAMES
from geocube_ml.steps.doctor import tables
from geocube_ml.steps.job import Job
from geocube_ml.store.cube import open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What was decided; of the labels the step itself looks whether they are as the doctor saw."""
    job.needs_classes("decide")
    there = [path for path in tables(job) if path.exists()]
    if job.records.facts("doctor") is None or not there:
        raise MissingError(
            f"Nothing can be decided yet: the step `doctor` is not done in {job.out}. Run it, fill "
            "in `decision` (keep, drop, relabel) and `decision_class` in labels_doubtful.csv or "
            ".gpkg, and run `decide`."
        )
    return {"decisions": content_digest(there)}


def grows(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:  # noqa: ARG001
    """Further decisions are always welcome: what is recorded stays, and only more comes."""
    return True


def plan(job: Job) -> list[str]:
    """What the step would do."""
    n = sum(len(rows) for rows in _decided(job))
    return [f"{n} decisions go into: {', '.join(source.path for source in job.labels.sources)}"]


def run(job: Job) -> dict[str, Any]:
    """Write the decisions into the label files."""
    decided = _decided(job)
    # as the doctor saw them: the labels' files may name others by now
    label = open_cube(job.cube_path, chunks=None)["label"]
    classes = ClassScheme.from_attrs(label.attrs).names
    found = record_decisions(decided, job.labels, classes, job.recipe.storage)
    return {
        "written": found.written,
        "unchanged": found.unchanged,
        "files": list(found.files),
        "left_out": list(found.left_out),
        "next": next_steps(job) if found.written else [],
    }


def next_steps(job: Job) -> list[str]:
    """Steps whose results are of the labels as they were."""
    kept = ("cube", "decide")
    return [name for name in NAMES if name not in kept and job.records.facts(name) is not None]


def _decided(job: Job) -> list[pd.DataFrame]:
    return [read_decisions(path) for path in tables(job) if path.exists()]


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves: nothing but what stands in the label files."""
    return [path for path in tables(job) if path.exists()]


def discard(job: Job) -> None:
    """Nothing is removed: decisions stay in the label files."""
