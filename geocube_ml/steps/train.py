"""Step `train`: the recipe's models are fitted to the samples, and kept as bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geocube_ml.data.table import read_samples
from geocube_ml.files import Place, names, read_json
from geocube_ml.files import discard as remove
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.models import ModelSpec
from geocube_ml.steps.job import Job, Note
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
    facts: dict[str, Any] = {}
    for name, spec in job.recipe.models.items():
        if not _is_fitted(job, name):
            fit = FitWork(
                job.samples_path, job.model_path(name), name, spec, job.digests["train"],
                job.threads,
            )  # fmt: skip
            job.workers.once(fit, gpu=True, here={"note": job.note})
        facts[name] = ModelBundle.load(job.model_path(name)).facts
    return facts


@dataclass(frozen=True)
class FitWork:
    """Fits one model and keeps it as a bundle, wherever there is a GPU."""

    samples: Place
    bundle: Place
    name: str
    spec: ModelSpec
    digest: str
    threads: int

    def __call__(self, note: Note | None = None) -> None:
        """Fit; `note` is told how many epochs are done."""
        samples = read_samples(self.samples)
        bundle = train_model(samples, self.spec, name=self.name, workers=self.threads, note=note)
        bundle.facts["digest"] = self.digest
        bundle.save(self.bundle)


def _is_fitted(job: Job, name: str) -> bool:
    """Whether a bundle is there that an interrupted run of this very step left."""
    path = job.model_path(name) / "bundle.json"
    return path.exists() and read_json(path)["facts"].get("digest") == job.digests["train"]


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.model_path(name) / "bundle.json" for name in job.recipe.models]


def discard(job: Job) -> None:
    """Remove the models."""
    for name in names(job.out / "models"):  # one by one: each is whole by its own bundle.json
        remove(job.out / "models" / name)
