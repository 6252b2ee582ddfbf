"""Step `export-model`: each model in a folder of its own, as others can use it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from geocube_ml.errors import InputError
from geocube_ml.export.mlm import DESCRIPTION, ONNX, WEIGHTS, mlm_item
from geocube_ml.export.onnx import to_onnx
from geocube_ml.files import Place, local_copy, read_json, whole_folder, write_json
from geocube_ml.files import discard as remove
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.steps.job import Job

ITEM = "item.json"
"""Name of the STAC item in the folder of a model."""

_UNTOLD = ("confusion", "reliability", "pairs", "left_out")
"""Of a score, what is a table."""


def inputs(job: Job) -> dict[str, Any]:
    """What decides the files; the figures too, if the models were judged."""
    return {
        "name": job.recipe.name,
        "licence": job.recipe.dataset.licence,
        "train": job.digest_of("train"),
        "evaluate": job.digest_of("evaluate") if _is_judged(job) else None,
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    figures = "with" if _is_judged(job) else "without"
    return [
        *(str(_folder(job) / name) for name in job.recipe.models),
        f"each with its weights, {ONNX} and {ITEM}, {figures} figures of accuracy",
    ]


def run(job: Job) -> dict[str, Any]:
    """Write a folder a model, whole or not at all."""
    notes = []
    for done, name in enumerate(job.recipe.models):
        job.note(done, len(job.recipe.models), name)
        bundle = ModelBundle.load(job.model_path(name))
        with whole_folder(_folder(job) / name) as partial:
            _copy(job.model_path(name), partial)
            try:
                to_onnx(bundle, partial / ONNX)
            except InputError as error:
                notes.append(f"{name} has no {ONNX}: {error}")
            item = mlm_item(
                bundle,
                partial,
                name=f"{job.recipe.name}_{name}",
                area=job.grid.lonlat().geom,
                interval=_interval(job),
                licence=job.recipe.dataset.licence,
                metrics=_metrics(job, name),
            )
            write_json(partial / ITEM, item.to_dict(include_self_link=False))
    return {"models": list(job.recipe.models), "notes": notes}


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [_folder(job) / name / ITEM for name in job.recipe.models]


def discard(job: Job) -> None:
    """Remove the folders."""
    for name in job.recipe.models:
        remove(_folder(job) / name)


def _folder(job: Job) -> Place:
    return job.out / "export" / "models"


def _is_judged(job: Job) -> bool:
    return job.records.facts("evaluate") is not None


def _copy(bundle: Place, folder: Path) -> None:
    with local_copy(bundle) as local:
        for file in (WEIGHTS, DESCRIPTION):
            shutil.copyfile(local / file, folder / file)


def _metrics(job: Job, name: str) -> list[dict[str, Any]]:
    """What `scores.json` says of a model, without its tables."""
    if not _is_judged(job):
        return []
    scores = read_json(job.scores_path)
    return [
        {key: value for key, value in score.items() if key not in _UNTOLD}
        for score in [*scores["scores"], *scores.get("reference", [])]
        if score["model"] == name
    ]


def _interval(job: Job) -> tuple[datetime, datetime]:
    """First and last moment of the time axis; without one, of the items."""
    if job.recipe.period is not None:
        first, last = job.recipe.period.days
        whole = time.max.replace(microsecond=0)
        return datetime.combine(first, time.min, UTC), datetime.combine(last, whole, UTC)
    moments = [
        moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        for found in job.items.values()
        for item in found.items
        for moment in (
            item.datetime,
            item.common_metadata.start_datetime,
            item.common_metadata.end_datetime,
        )
        if moment is not None
    ]
    return min(moments), max(moments)
