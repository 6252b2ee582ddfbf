"""Step `evaluate`: how good the models are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.data.table import read_samples
from geocube_ml.errors import InputError, MissingError, TilesFailed
from geocube_ml.evaluate import (
    BOUND,
    FoldTask,
    Found,
    HeldOut,
    fold_tasks,
    gather_scores,
    judge_fold,
    judge_window,
    reference_scores,
)
from geocube_ml.files import Place, content_digest, write_json
from geocube_ml.files import discard as remove
from geocube_ml.grid import Tile
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.raster import distrust, from_raster, read_onto
from geocube_ml.spec.base import digest
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.spec.models import ModelSpec, PatchSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.steps.tiles import causes
from geocube_ml.store.cube import open_cube

T = TypeVar("T")
R = TypeVar("R")


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
    named = spec.splits or ("hold-out", "polygon", "random")
    if spec.splits is None and job.recipe.samples.group_column:
        named = (*named, "group")
    parts = [f"splits: {', '.join(named)}"]
    if spec.early:
        after = (
            "every step" if spec.early == "every" else f"{', '.join(map(str, spec.early))} steps"
        )
        parts.append(f"series cut after {after}")
    if spec.without:
        each = "each source" if spec.without == "each" else ", ".join(spec.without)
        parts.append(f"without {each}")
    if spec.reference:
        parts.append("beside a raster that is true everywhere")
    return ["; ".join(parts)]


def run(job: Job) -> dict[str, Any]:
    """Judge the models and write the figures."""
    samples, recipe = open_samples(job), job.recipe
    spec, seed = recipe.evaluate, recipe.samples.seed
    bundles = {name: job.model_path(name) for name in recipe.models}
    trained = {name: ModelBundle.load(path).digest() for name, path in bundles.items()}
    key = digest([trained, job.digests["evaluate"]])
    tasks = fold_tasks(samples, recipe.models, spec, seed)
    judge = FoldWork(job.samples_path, job.cube_path, bundles, recipe.models, seed, key)
    found = dict(_each(job, judge, tasks, lambda task: task.name))
    scores = gather_scores(samples, recipe.models, spec, found, seed=seed)
    if spec.reference:
        classes = ClassScheme.from_attrs(samples["label"].attrs)
        held = HeldOut.of(samples, recipe.samples.block_m)
        window = WindowWork(
            job.cube_path, bundles, job.grid.geobox, held, recipe.storage, key,
            _class_raster(job, spec.reference, classes),
            _class_raster(job, spec.bound, classes) if spec.bound else None,
        )  # fmt: skip
        judged = _each(job, window, job.grid.tiles, lambda tile: tile.name)
        scores["reference"] = reference_scores(samples, [matrices for _, matrices in judged])
    write_json(job.scores_path, scores)
    return _headline(job, scores)


def _each(
    job: Job, work: Callable[[T, int], R], tasks: Iterable[T], name: Callable[[T], str]
) -> list[tuple[T, R]]:
    """What work finds for each task, in their order; a figure over some of them is none."""
    tasks, found = list(tasks), dict[str, R]()
    failures = job.workers.each(
        work, tasks, name=name, total=len(tasks), note=job.note,
        done=lambda task, result: found.update({name(task): result}),
    )  # fmt: skip
    if failures:
        if isinstance(failures[0].error, InputError):
            raise failures[0].error
        raise TilesFailed(
            f"{len(failures)} of {len(tasks)} parts of the step `evaluate` could not be done.\n"
            f"{causes(failures)}\nMend the cause and run the same command again."
        )
    job.check_lease()
    return [(task, found[name(task)]) for task in tasks]


@dataclass(frozen=True)
class FoldWork:
    """Fits and judges one model on one fold."""

    samples: Place
    cube: Place
    """For models that look at what lies around a pixel."""
    bundles: Mapping[str, Place]
    models: Mapping[str, ModelSpec]
    seed: int
    key: str
    """Of the models: what is kept in a process must not be taken for another run's."""

    def __call__(self, task: FoldTask, _: int) -> Found:
        """Sums over the rows of each group that is tested."""
        bundle = _bundle(self.bundles[task.model], self.key)
        samples = _samples(self.samples, self.key)
        cube = None
        if isinstance(self.models[task.model], PatchSpec):
            cube = _cube(self.cube, self.key)
            if task.hides:  # lazily, so that a window reads what it covers and no more
                cube = open_cube(self.cube)
        return judge_fold(
            task, samples, {task.model: bundle}, self.models, seed=self.seed, cube=cube
        )


@dataclass(frozen=True)
class ClassRaster:
    """A class raster, and the code of the recipe's scheme for each of its own."""

    href: str
    table: NDArray[np.uint8]

    def read(self, geobox: GeoBox, storage: StorageSpec) -> NDArray[np.uint8]:
        """(y, x) codes on a grid."""
        (values,) = read_onto(self.href, geobox, nodata=UNKNOWN, dtype="uint8", storage=storage)
        codes: NDArray[np.uint8] = self.table[values]
        return codes


@dataclass(frozen=True)
class WindowWork:
    """Judges all models on one tile, against a raster that is true everywhere."""

    cube: Place
    bundles: Mapping[str, Place]
    geobox: GeoBox
    held: HeldOut
    storage: StorageSpec
    key: str
    reference: ClassRaster
    bound: ClassRaster | None

    def __call__(self, tile: Tile, _: int) -> dict[str, NDArray[np.int64]]:
        """Model to (class, class) confusion."""
        for raster in (self.reference, self.bound):
            if raster is not None:
                _looked_at_anew(raster.href, self.key)
        cube = _cube(self.cube, self.key)
        here = self.geobox[tile.y, tile.x]
        bundles = {name: _bundle(path, self.key) for name, path in self.bundles.items()}
        reference = self.reference.read(here, self.storage)
        bound = self.bound.read(here, self.storage) if self.bound else None
        return judge_window(cube, tile.y, tile.x, self.held, bundles, reference, bound)


@lru_cache(maxsize=8)
def _looked_at_anew(href: str, _: str) -> None:
    """Once a run and process: the raster may have been replaced since the last run."""
    distrust(href)


@lru_cache(maxsize=1)
def _samples(path: Place, _: str) -> xr.Dataset:
    return read_samples(path)


@lru_cache(maxsize=8)
def _bundle(path: Place, _: str) -> ModelBundle:
    return ModelBundle.load(path)


@lru_cache(maxsize=1)
def _cube(path: Place, _: str) -> xr.Dataset:
    return open_cube(path, chunks=None)


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.scores_path]


def discard(job: Job) -> None:
    """Remove the figures."""
    remove(job.scores_path)


def _rasters(job: Job) -> dict[str, Place]:
    """The rasters that the recipe judges against."""
    spec = job.recipe.evaluate
    named = {"reference": spec.reference, "bound": spec.bound}
    paths = {role: job.place(path) for role, path in named.items() if path}
    for role, path in paths.items():
        if not path.is_file():
            raise MissingError(f"There is no file {path}. Correct `evaluate.{role}`.")
    return paths


def _class_raster(job: Job, href: str, classes: ClassScheme) -> ClassRaster:
    """A class raster whose codes become the recipe's by their names."""
    distrust(href)
    tags = from_raster(href, lambda src: src.tags(), job.recipe.storage)
    said = tags.get("classes") or tags.get("class_names") or "null"
    try:
        names = json.loads(said)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list):
        raise InputError(
            f"{href} does not name its classes. Add the tag `classes`, a JSON list of the names "
            f"of codes 0, 1, ...; it is {said!r} now."
        )
    table = np.full(256, UNKNOWN, np.uint8)
    for code, name in enumerate(names):
        if name in classes.names:
            table[code] = classes.names.index(name)
    if (table == UNKNOWN).all():
        raise InputError(
            f"{href} has none of the recipe's classes: it names {', '.join(names)}, the recipe "
            f"{', '.join(classes.names)}."
        )
    return ClassRaster(href, table)


def _headline(job: Job, scores: dict[str, Any]) -> dict[str, Any]:
    if scores["quantity"] is not None:
        return _errors(scores)
    found: dict[str, dict[str, float | None]] = {}
    for score in [*scores["scores"], *scores["reference"]]:
        found.setdefault(score["model"], {})[score["split"]] = score["macro_f1"]
    best = found.get(BOUND, {}).get("reference")
    mapped = found[job.recipe.map_model].get("reference")
    share = round(mapped / best, 4) if best and mapped else None
    return {"macro_f1": found, "share_of_best": share, "notes": scores["notes"]}


def _errors(scores: dict[str, Any]) -> dict[str, Any]:
    """The headline of models that estimate a number."""
    rmse: dict[str, dict[str, float | None]] = {}
    for score in scores["scores"]:
        rmse.setdefault(score["model"], {})[score["split"]] = score["rmse"]
    return {"rmse": rmse, "quantity": scores["quantity"], "notes": scores["notes"]}
