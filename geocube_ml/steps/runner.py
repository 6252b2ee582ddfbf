"""Running a recipe's steps in order, each only as far as it is not done."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from rasterio.errors import NotGeoreferencedWarning

from geocube_ml.errors import FullDisk, GeocubeError, InputError
from geocube_ml.files import write_json
from geocube_ml.sim import make_archive
from geocube_ml.spec.recipe import Recipe
from geocube_ml.steps import NAMES
from geocube_ml.steps.job import Job
from geocube_ml.steps.progress import Reporter

_SOFTWARE = ("geocube-ml", "numpy", "xarray", "dask", "zarr", "rasterio", "torch", "scikit-learn")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SOME_ROOM = 1_000_000  # bytes; GDAL says only that a write failed


def run_recipe(
    recipe: Recipe,
    steps: Sequence[str] = (),
    *,
    dry_run: bool = False,
    redo: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Run a recipe's steps; what is done already is not done again.

    Parameters
    ----------
    recipe : Recipe
    steps : sequence of str
        Some of ``cube labels samples train evaluate predict export report``; all by default, or
        ``cube`` alone for a recipe without labels.
    dry_run : bool
        Print the plan and write nothing.
    redo : bool
        Make the named steps anew, replacing what they wrote.
    reporter : Reporter, optional
        Prints to standard output by default.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    GeocubeError
        With the next step; whatever is done stays done.
    """
    reporter = reporter or Reporter()
    job = Job(recipe, dry=dry_run, note=reporter.note)
    chosen = [name for name in NAMES if name in steps] or list(
        NAMES if recipe.labels is not None else NAMES[:1]
    )
    try:
        if dry_run:
            _plan(job, chosen, reporter)
        else:
            with _alone(job.out):
                _run(job, chosen, redo, reporter)
    except GeocubeError:
        raise
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{error.filename or job.out} cannot be used ({error.strerror}). Take another `out:`, "
            "or change what is there or its rights."
        ) from error
    except Exception as error:
        if _is_full(error, job.out):
            raise FullDisk(_full(job)) from error
        raise
    return job.out


def _run(job: Job, chosen: list[str], redo: bool, reporter: Reporter) -> None:
    # rasterio silences it around rasterize, but not for a second thread
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    job.sweep()
    started, rows = datetime.now(UTC), []
    _simulate(job, reporter)
    for name in chosen:
        step = import_module(f"geocube_ml.steps.{name}")
        if redo:
            # first the result: a record without it does not count
            step.discard(job)
            job.forget([name])
            job.reread()
        begun = time.monotonic()
        inputs = step.inputs(job)
        fresh = not _is_done(job, name, step, inputs)
        job.begin(name, inputs)
        if fresh:
            reporter.start(name)
            try:
                job.finish(name, step.run(job))
            finally:
                reporter.stop()
        seconds = time.monotonic() - begun
        rows.append({"step": name, "seconds": round(seconds, 2), "made": fresh})
        reporter.say(f"{name:9} {'done' if fresh else 'was done already':16} {seconds:6.1f} s")
    stamp = started.strftime("%Y%m%dT%H%M%S.%fZ")
    write_json(job.out / "runs" / f"{stamp}.json", _run_record(job, started, rows))
    for line in _summary(job, chosen):
        reporter.say(line)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse a second run in the same folder; the lock ends with the process, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "run.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another run is at work in {out}. Wait until it ends, or take another `out:`."
            ) from error
        yield


def _is_done(job: Job, name: str, step: ModuleType, inputs: dict[str, Any]) -> bool:
    """Whether a step is done with these inputs and its results are still there."""
    job.check(name, inputs)
    if not all(path.exists() for path in step.outputs(job)):
        job.forget([name])  # never made, or somebody removed it: its tiles are to be made anew
    return job.facts(name) is not None


def _plan(job: Job, chosen: list[str], reporter: Reporter) -> None:
    reporter.say(f"Plan of {job.recipe.name}; nothing is written.")
    reporter.say(f"To: {job.out}")
    simulate = job.recipe.simulate
    if simulate is not None and not (Path(simulate.folder) / "archive.json").exists():
        reporter.say(f"simulate: an archive of {simulate.size} x {simulate.size} pixels a scene")
        reporter.say("The steps can be planned once it is there.")
        return
    for name in chosen:
        step = import_module(f"geocube_ml.steps.{name}")
        job.check(name, step.inputs(job))
        if job.facts(name) is not None and all(path.exists() for path in step.outputs(job)):
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
        make_archive(job.recipe.simulate, workers=job.workers, note=lambda _, *n: reporter.note(*n))
    finally:
        reporter.stop()


def _run_record(job: Job, started: datetime, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All that differs from run to run, and so has no place in the cube."""
    return {
        "recipe": job.recipe.model_dump(mode="json"),
        "started": started.isoformat(),
        "steps": rows,
        "facts": {name: job.facts(name) for name in NAMES},
        "software": {name: version(name) for name in _SOFTWARE},
        "python": platform.python_version(),
        "machine": {"platform": platform.platform(), "workers": job.workers},
    }


def _summary(job: Job, chosen: list[str]) -> list[str]:
    made = {
        "cube": ("cube", job.cube_path),
        "labels": ("labels lost", job.losses_path),
        "samples": ("samples", job.samples_path),
        "train": ("models", job.out / "models"),
        "evaluate": ("accuracy", job.scores_path),
        "predict": ("map", f"{job.cube_path}, variables class and prob"),
        "export": ("GeoTIFF", job.map_path),
        "report": ("report", job.report_path),
    }
    lines = ["", *_figures(job)]
    lines += [f"{made[name][0]:12} {made[name][1]}" for name in chosen]
    return [*lines, f"{'run records':12} {job.out / 'runs'}"]


def _figures(job: Job) -> list[str]:
    lines = []
    if unseen := (job.facts("cube") or {}).get("unseen_months"):
        lines.append(f"months without a clear observation: {', '.join(unseen)}")
    if labels := job.facts("labels"):
        lines.append(f"{labels['polygons']} polygons with {labels['pixels']} labelled pixels")
        lines += [f"  lost: {reason}" for reason in labels["lost"]]
        lines += [f"  no pixel left of: {name}" for name in labels["dropped_classes"]]
    if found := job.facts("evaluate"):
        lines += ["", *_accuracy(found["macro_f1"])]
        if share := found["share_of_best"]:
            lines.append(f"{job.recipe.map_model} reaches {share:.1%} of the best possible")
        lines += [f"note: {note}" for note in found["notes"]]
    return [*lines, ""] if lines else []


def _accuracy(macro_f1: dict[str, dict[str, float | None]]) -> list[str]:
    """A line a model, a column a split."""
    found = {split for row in macro_f1.values() for split in row}
    splits = [split for split in ("block", "polygon", "random", "reference") if split in found]
    head = f"{'macro-F1':16}" + "".join(f"{split:>11}" for split in splits)
    return [head] + [
        f"{model:16}" + "".join(f"{_shown(row.get(split)):>11}" for split in splits)
        for model, row in macro_f1.items()
    ]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _is_full(error: BaseException, folder: Path) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _NO_ROOM:
            return True
        if os.strerror(errno.ENOSPC) in str(seen):  # as libraries pass it on
            return True
        seen = seen.__cause__ or seen.__context__
    return folder.exists() and shutil.disk_usage(folder).free < _SOME_ROOM


def _full(job: Job) -> str:
    free = shutil.disk_usage(job.out).free
    return (
        f"The disk of {job.out} is full: {free / 1e6:.1f} MB are free. Make room and run the same "
        "command again; it goes on where it stopped. `--dry-run` says how much is needed."
    )
