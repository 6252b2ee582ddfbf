"""Step `evaluate`: how good the models are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geocube_ml.cube.store import open_cube
from geocube_ml.errors import InputError, MissingError
from geocube_ml.evaluate import BOUND, evaluate_models, evaluate_reference
from geocube_ml.files import content_digest, write_json
from geocube_ml.files import discard as remove
from geocube_ml.raster import read_onto
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.steps.train import load_bundles


def inputs(job: Job) -> dict[str, Any]:
    """What decides the figures."""
    return {
        "evaluate": job.recipe.evaluate.result(),
        "rasters": {role: content_digest([path]) for role, path in _rasters(job).items()},
        "block_m": job.recipe.samples.block_m,
        "train": job.digest_of("train"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    spec = job.recipe.evaluate
    rasters = "; beside a raster that is true everywhere" if spec.reference else ""
    return [f"splits: {', '.join(spec.splits)}{rasters}"]


def run(job: Job) -> dict[str, Any]:
    """Judge the models and write the figures."""
    samples, bundles = open_samples(job), load_bundles(job)
    spec = job.recipe.evaluate
    scores = evaluate_models(
        samples, bundles, job.recipe.models, spec,
        seed=job.recipe.samples.seed, workers=job.workers, note=job.note,
    )  # fmt: skip
    if spec.reference:
        classes = ClassScheme.from_attrs(samples["label"].attrs)
        scores["reference"] = evaluate_reference(
            open_cube(job.cube_path), samples, bundles,
            _class_raster(job, spec.reference, classes),
            _class_raster(job, spec.bound, classes) if spec.bound else None,
            block_m=job.recipe.samples.block_m, edge=job.recipe.store.tile, note=job.note,
        )  # fmt: skip
    write_json(job.scores_path, scores)
    return _headline(job, scores)


def outputs(job: Job) -> list[Path]:
    """What a finished step leaves."""
    return [job.scores_path]


def discard(job: Job) -> None:
    """Remove the figures."""
    remove(job.scores_path)


def _rasters(job: Job) -> dict[str, Path]:
    """The rasters that the recipe judges against."""
    spec = job.recipe.evaluate
    named = {"reference": spec.reference, "bound": spec.bound}
    paths = {role: Path(path) for role, path in named.items() if path}
    for role, path in paths.items():
        if not path.is_file():
            raise MissingError(f"There is no file {path}. Correct `evaluate.{role}`.")
    return paths


def _class_raster(job: Job, path: str, classes: ClassScheme) -> NDArray[np.uint8]:
    """A class raster on the cube's grid, its codes turned into the recipe's by their names."""
    values = read_onto(path, job.grid.geobox, nodata=UNKNOWN, dtype="uint8")
    with rasterio.open(path) as src:
        said = src.tags().get("classes") or src.tags().get("class_names") or "null"
    try:
        names = json.loads(said)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list):
        raise InputError(
            f"{path} does not name its classes. Add the tag `classes`, a JSON list of the names "
            f"of codes 0, 1, ...; it is {said!r} now."
        )
    table = np.full(256, UNKNOWN, np.uint8)
    for code, name in enumerate(names):
        if name in classes.names:
            table[code] = classes.names.index(name)
    if (table == UNKNOWN).all():
        raise InputError(
            f"{path} has none of the recipe's classes: it names {', '.join(names)}, the recipe "
            f"{', '.join(classes.names)}."
        )
    codes: NDArray[np.uint8] = table[values]
    return codes


def _headline(job: Job, scores: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, dict[str, float | None]] = {}
    for score in [*scores["scores"], *scores["reference"]]:
        found.setdefault(score["model"], {})[score["split"]] = score["macro_f1"]
    best = found.get(BOUND, {}).get("reference")
    mapped = found[job.recipe.map_model].get("reference")
    share = round(mapped / best, 4) if best and mapped else None
    return {"macro_f1": found, "share_of_best": share, "notes": scores["notes"]}
