"""Step `train`: the recipe's models are fitted to the samples, and kept as bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geocube_ml.data.table import read_samples
from geocube_ml.files import Place, names, read_json, write_json
from geocube_ml.files import discard as remove
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.models import ModelSpec, PatchSpec
from geocube_ml.steps.job import Job, Note
from geocube_ml.store.cube import open_cube
from geocube_ml.train import train_model
from geocube_ml.train.curves import described
from geocube_ml.train.members import checkpoints_of, epochs_of


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
                job.samples_path, job.cube_path, job.model_path(name), job.training_path(name),
                name, spec, job.digests["train"], job.recipe.dataset.licence, job.threads,
            )  # fmt: skip
            job.workers.once(fit, gpu=True, here={"note": job.note})
        facts[name] = ModelBundle.load(job.model_path(name)).facts
    return facts


@dataclass(frozen=True)
class FitWork:
    """Fits one model and keeps it as a bundle, wherever there is a GPU."""

    samples: Place
    cube: Place
    bundle: Place
    folder: Place
    """Where the course of the training is kept."""
    name: str
    spec: ModelSpec
    digest: str
    licence: str
    threads: int

    def __call__(self, note: Note | None = None) -> None:
        """Fit; `note` is told how many epochs are done, and how good the model is."""
        spec = self.spec
        epochs = epochs_of(spec)

        def watch(member: int, said: dict[str, Any]) -> None:
            if note is not None:
                note(sum(epochs[:member]) + said["epoch"], sum(epochs), described(said))

        if epochs:
            _anew(self.folder, self.digest)
        bundle = train_model(
            read_samples(self.samples), spec, name=self.name,
            cube=open_cube(self.cube, chunks=None) if isinstance(spec, PatchSpec) else None,
            workers=self.threads, folder=self.folder if epochs else None, watch=watch,
        )  # fmt: skip
        bundle.facts["digest"] = self.digest
        bundle.facts["licence"] = self.licence
        bundle.save(self.bundle)
        for checkpoint in checkpoints_of(spec, self.folder):
            remove(checkpoint)  # the bundle has the weights


def _anew(folder: Place, digest: str) -> None:
    """Remove what is left of a training that was of something else."""
    said = folder / "begun.json"
    if said.exists() and read_json(said) != {"digest": digest}:
        remove(folder)
    write_json(said, {"digest": digest})


def _is_fitted(job: Job, name: str) -> bool:
    """Whether a bundle is there that an interrupted run of this very step left."""
    path = job.model_path(name) / "bundle.json"
    return path.exists() and read_json(path)["facts"].get("digest") == job.digests["train"]


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.model_path(name) / "bundle.json" for name in job.recipe.models]


def discard(job: Job) -> None:
    """Remove the models, and how they were trained."""
    for folder in ("models", "training"):
        for name in names(job.out / folder):  # one by one: each is whole by its own bundle.json
            remove(job.out / folder / name)
