"""Step `train`: the recipe's models are fitted to the samples, and kept as bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geocube_ml.files import discard as remove
from geocube_ml.files import read_json
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.train import train_model


def inputs(job: Job) -> dict[str, Any]:
    """What decides the models."""
    return {
        "models": {name: spec.result() for name, spec in job.recipe.models.items()},
        "samples": job.digest_of("samples"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [f"{name}: {spec.kind}" for name, spec in job.recipe.models.items()]


def run(job: Job) -> dict[str, Any]:
    """Fit each model that has no bundle yet."""
    samples = open_samples(job)
    facts: dict[str, Any] = {}
    for name, spec in job.recipe.models.items():
        if not _is_fitted(job, name):
            bundle = train_model(samples, spec, name=name, workers=job.workers, note=job.note)
            bundle.facts["digest"] = job.digests["train"]
            bundle.save(job.model_path(name))
        facts[name] = ModelBundle.load(job.model_path(name)).facts
    return facts


def _is_fitted(job: Job, name: str) -> bool:
    """Whether a bundle is there that an interrupted run of this very step left."""
    path = job.model_path(name) / "bundle.json"
    return path.exists() and read_json(path)["facts"].get("digest") == job.digests["train"]


def outputs(job: Job) -> list[Path]:
    """What a finished step leaves."""
    return [job.model_path(name) / "bundle.json" for name in job.recipe.models]


def discard(job: Job) -> None:
    """Remove the models."""
    remove(job.out / "models")


def load_bundles(job: Job) -> dict[str, ModelBundle]:
    """All models of the recipe."""
    return {name: ModelBundle.load(job.model_path(name)) for name in job.recipe.models}
