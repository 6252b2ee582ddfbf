"""Running a recipe's steps in order, each only as far as it is not done."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from distributed import Client
from rasterio.errors import NotGeoreferencedWarning

from geocube_ml.cluster import open_cluster
from geocube_ml.errors import (
    FullDisk,
    GeocubeError,
    InputError,
    MissingError,
    SpecError,
    chain,
)
from geocube_ml.files import (
    Place,
    alone,
    discard,
    forget_clients,
    names,
    redacted,
    storage_error,
    write_json,
)
from geocube_ml.labels.classes import check_labels
from geocube_ml.sim import make_archive
from geocube_ml.spec.recipe import Recipe
from geocube_ml.steps import ASKED_FOR, NAMES, module_of
from geocube_ml.steps.job import Job
from geocube_ml.steps.progress import Reporter
from geocube_ml.steps.records import Grows
from geocube_ml.steps.settle import settle_in, settle_out
from geocube_ml.steps.summary import summary

_SOFTWARE = ("geocube-ml", "numpy", "xarray", "dask", "zarr", "rasterio", "torch", "scikit-learn")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_WRONG = (InputError, MissingError, SpecError)  # of what a user gave
_SOME_ROOM = 1_000_000  # bytes; GDAL says only that a write failed


def run_recipe(
    recipe: Recipe,
    steps: Sequence[str] = (),
    *,
    dry_run: bool = False,
    redo: bool = False,
    reporter: Reporter | None = None,
    client: Client | None = None,
) -> Place:
    """Run a recipe's steps; what is done already is not done again.

    Parameters
    ----------
    recipe : Recipe
    steps : sequence of str
        Some of ``cube labels samples train evaluate predict export report``, which are the
        default, or ``cube`` alone for a recipe without labels; and, where they are named, ``tune
        sample-map areas doctor decide export-dataset export-model``.
    dry_run : bool
        Print the plan and write nothing.
    redo : bool
        Make the named steps anew, replacing what they wrote.
    reporter : Reporter, optional
        Prints to standard output by default.
    client : distributed.Client, optional
        Of the cluster to run on, whatever the recipe's `cluster` says; it is left open.

    Returns
    -------
    Path or UPath
        The run's folder.

    Raises
    ------
    GeocubeError
        With the next step; whatever is done stays done.
    """
    reporter = reporter or Reporter()
    forget_clients()  # keys may have been renewed since the last run of this process
    job = Job(recipe, dry=dry_run, note=reporter.note)
    chosen = [name for name in NAMES if name in steps] or list(
        [name for name in NAMES if name not in ASKED_FOR]
        if recipe.labels is not None
        else NAMES[:1]
    )
    try:
        if dry_run:
            _plan(job, chosen, reporter)
        else:
            with (
                alone(job.out, lease_s=recipe.storage.lease_s, say=reporter.say) as check,
                open_cluster(recipe.cluster, client) as workers,
            ):
                job.check_lease, job.crew = check, workers
                workers.prepare("folder and GDAL", partial(settle_in, job.out), settle_out)
                _run(job, chosen, redo, reporter)
    except FullDisk as error:
        raise FullDisk(_full(job, error)) from error
    except GeocubeError:
        raise
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        if refused := storage_error(error, job.out):
            raise refused from error
        raise InputError(
            f"{error.filename or job.out} cannot be used ({error.strerror}). Take another `out:`, "
            "or change what is there or its rights."
        ) from error
    except Exception as error:
        if _is_full(error, job.out):
            raise FullDisk(_full(job, error)) from error
        if refused := storage_error(error, job.out):
            raise refused from error
        raise
    return job.out


def _run(job: Job, chosen: list[str], redo: bool, reporter: Reporter) -> None:
    # rasterio silences it around rasterize, but not for a second thread
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    reporter.say(f"on {job.workers.describe()}")
    if job.workers.dashboard:
        reporter.say(f"dashboard {job.workers.dashboard}")
    job.sweep()
    started = datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    _simulate(job, reporter)
    if "labels" in chosen:  # else a wrong name of a column is found when the cube is made
        check_labels(job.labels, job.recipe.storage)
    for name in chosen:
        step = import_module(module_of(name))
        if redo:
            # first the records: what is left of a result without them does not count
            job.records.forget([name])
            step.discard(job)
            job.reread()
        begun = time.monotonic()
        inputs = step.inputs(job)
        fresh = not _is_done(job, name, step, inputs)
        job.check_lease()
        job.begin(name, inputs, _grows(step))
        if fresh:
            reporter.start(name)
            try:
                facts = step.run(job)
                job.check_lease()
                job.records.finish(name, job.digests[name], facts)
            except GeocubeError as error:
                if isinstance(error, _WRONG):
                    # else the recipe that is corrected, as the error says, would be another one
                    if not _left_anything(job, name, step):
                        discard(job.records.path(name, "begun"))
                        discard(job.records.path(name, "before"))
                    else:
                        job.records.restore(name)
                rows.append({"step": name, "failed": redacted(str(error))})
                _write_run(job, started, rows)
                raise
            finally:
                reporter.stop()
        seconds = time.monotonic() - begun
        rows.append({"step": name, "seconds": round(seconds, 2), "made": fresh})
        reporter.say(f"{name:9} {'done' if fresh else 'was done already':16} {seconds:6.1f} s")
    _write_run(job, started, rows)
    for line in summary(job, chosen):
        reporter.say(line)


def _left_anything(job: Job, name: str, step: ModuleType) -> bool:
    """Whether a step that stopped wrote any of its results; items that are pinned are none."""
    pins = [job.pin_path(source) for source in job.recipe.sources]
    results = [path for path in step.outputs(job) if path not in pins]
    return any(path.exists() for path in results) or bool(names(job.records.tiles(name)))


def _is_done(job: Job, name: str, step: ModuleType, inputs: dict[str, Any]) -> bool:
    """Whether a step is done with these inputs and its results are still there."""
    begun = job.records.path(name, "begun").exists()
    if job.records.check(name, inputs, _grows(step)) and begun:
        return False  # more comes to what is there
    if not all(path.exists() for path in step.outputs(job)):
        keeps: Callable[[Job], bool] | None = getattr(step, "keeps", None)
        if keeps is None or not keeps(job):
            job.records.forget([name])  # never made, or removed: all tiles are to be made
        return False
    return job.records.facts(name) is not None


def _grows(step: ModuleType) -> Grows | None:
    """How a step tells whether its result only becomes larger; most are made anew."""
    grows: Grows | None = getattr(step, "grows", None)
    return grows


def _plan(job: Job, chosen: list[str], reporter: Reporter) -> None:
    reporter.say(f"Plan of {job.recipe.name}; nothing is written.")
    reporter.say(f"To: {job.out}")
    reporter.say(f"On: {job.recipe.cluster.where}")
    simulate = job.recipe.simulate
    if simulate is not None and not (job.place(simulate.folder) / "archive.json").exists():
        reporter.say(f"simulate: an archive of {simulate.size} x {simulate.size} pixels a scene")
        reporter.say("The steps can be planned once it is there.")
        return
    for name in chosen:
        step = import_module(module_of(name))
        more = job.records.check(name, step.inputs(job), _grows(step))
        made = job.records.facts(name) is not None
        if made and not more and all(path.exists() for path in step.outputs(job)):
            reporter.say(f"{name}: is done")
            continue
        reporter.say(f"{name}:")
        for line in step.plan(job):
            reporter.say(f"  {line}")


def _simulate(job: Job, reporter: Reporter) -> None:
    if job.recipe.simulate is None:
        return
    reporter.start("simulate")
    try:
        make_archive(
            job.recipe.simulate, workers=job.threads, note=lambda _, *n: reporter.note(*n),
            storage=job.recipe.storage,
        )  # fmt: skip
    finally:
        reporter.stop()


def _write_run(job: Job, started: datetime, rows: list[dict[str, Any]]) -> None:
    stamp = started.strftime("%Y%m%dT%H%M%S.%fZ")
    write_json(job.out / "runs" / f"{stamp}.json", _run_record(job, started, rows))


def _run_record(job: Job, started: datetime, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All that differs from run to run, and so has no place in the cube."""
    return {
        "recipe": _without_secrets(job.recipe.model_dump(mode="json")),
        "started": started.isoformat(),
        "steps": rows,
        "facts": {name: job.records.facts(name) for name in NAMES},
        "software": {name: version(name) for name in _SOFTWARE},
        "python": platform.python_version(),
        "machine": {"platform": platform.platform(), "workers": job.workers.describe()},
    }


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def _is_full(error: BaseException, folder: Place) -> bool:
    for link in chain(error):
        if isinstance(link, OSError) and link.errno in _NO_ROOM:
            return True
        if os.strerror(errno.ENOSPC) in str(link):  # as libraries pass it on
            return True
    return (
        isinstance(folder, Path) and folder.exists() and shutil.disk_usage(folder).free < _SOME_ROOM
    )


def _full(job: Job, error: BaseException) -> str:
    if not isinstance(job.out, Path):
        return (
            f"No room is left to write on the way to {job.out} ({redacted(str(error))}). Make "
            "room, also where temporary files lie, and run the same command again; it goes on "
            "where it stopped."
        )
    free = shutil.disk_usage(job.out).free
    return (
        f"The disk of {job.out} is full: {free / 1e6:.1f} MB are free. Make room and run the same "
        "command again; it goes on where it stopped. `--dry-run` says how much is needed."
    )
