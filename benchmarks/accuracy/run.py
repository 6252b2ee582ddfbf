"""Fit every model on the same splits, on all cores, and keep what each fit said.

A fit is one model on one fold.  It runs in a process of its own with one thread, and what it says
of the test rows is kept in a folder until the run is done, so that a run that was stopped goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.sets import Source, read
from benchmarks.accuracy.splits import Fold, Split, folds
from geocube_ml.errors import InputError
from geocube_ml.files import whole_file
from geocube_ml.spec.base import digest
from geocube_ml.spec.models import ModelSpec


@dataclass(frozen=True, eq=False)  # one is itself
class Trial:
    """A model on a split of a set, for one seed."""

    source: Source
    split: Split
    model: str
    """What it is called in the tables."""
    spec: ModelSpec
    seed: int
    """Of the folds, and of the model."""

    def fits(self) -> list[Fit]:
        """One a fold."""
        return [
            Fit(self, fold) for fold in range(len(folds_of(self.source, self.split, self.seed)))
        ]


@dataclass(frozen=True)
class Fit:
    """A trial on one fold."""

    trial: Trial
    fold: int

    @property
    def name(self) -> str:
        """Of the file that keeps it: a digest of all that decides it, but for the code."""
        trial = self.trial
        said = [
            trial.source.name, _stamp(trial.source.file), trial.split.kind, trial.split.n_fold,
            trial.seed, self.fold, trial.spec.result(),
        ]  # fmt: skip
        return f"{trial.source.name.replace('/', '-')}-{trial.model}-{digest(said)}.npz"


@dataclass(frozen=True)
class Said:
    """What a fit said of its test rows."""

    rows: NDArray[np.int64]
    prob: NDArray[np.float32]
    """(row, class)"""
    seconds: float
    """Of processor time, for fitting and predicting."""


@lru_cache(maxsize=64)
def folds_of(source: Source, split: Split, seed: int) -> list[Fold]:
    """The folds of a set."""
    return folds(read(source), split, seed)


def run(trials: Sequence[Trial], kept: Path, workers: int | None = None) -> Iterator[Trial]:
    """Fit what is not kept yet; a trial is handed over when its last fold is done.

    Parameters
    ----------
    trials : sequence of Trial
    kept : path
        Folder of what fits said.
    workers : int, optional
        Processes; a core each by default, and with 1 none but this one.

    Raises
    ------
    InputError
        A set cannot be read or split, or a model cannot be fitted; the text names the trial.
    """
    kept.mkdir(parents=True, exist_ok=True)
    fits = {trial: trial.fits() for trial in trials}
    todo = {fit: trial for trial in trials for fit in fits[trial] if not (kept / fit.name).exists()}
    left = {trial: sum(of is trial for of in todo.values()) for trial in trials}
    yield from (trial for trial in trials if not left[trial])
    if not todo:
        return
    for fit in _done(list(todo), kept, workers or len(os.sched_getaffinity(0))):
        trial = todo[fit]
        left[trial] -= 1
        if not left[trial]:
            yield trial


def _done(fits: Sequence[Fit], kept: Path, workers: int) -> Iterator[Fit]:
    """Fits, as they are done; in this process where one worker is wanted."""
    if workers == 1:
        for fit in fits:
            do(fit, kept)
            yield fit
        return
    # threads of BLAS and OpenMP are counted when a process starts
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(fits)), context, initializer=_one_thread) as pool:
        futures = {pool.submit(do, fit, kept): fit for fit in fits}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def do(fit: Fit, kept: Path) -> None:
    """Fit one model to one fold, and keep what it says of the test rows."""
    from geocube_ml.train.arrays import fit_model

    trial = fit.trial
    data = read(trial.source)
    train, test = folds_of(trial.source, trial.split, trial.seed)[fit.fold]
    begun = time.process_time()
    try:
        fitted = fit_model(
            trial.spec.model_copy(update={"seed": trial.seed}), data.series[train],
            data.label[train], len(data.classes), layout=data.layout,
        )  # fmt: skip
    except InputError as error:
        raise InputError(
            f"{trial.model} on {data.name}, {trial.split.kind}, seed {trial.seed}, fold {fit.fold}:"
            f" {error}"
        ) from error
    prob = fitted.predict_proba(data.series[test])
    seconds = time.process_time() - begun
    with whole_file(kept / fit.name) as partial, Path(partial).open("wb") as file:
        np.savez(file, rows=test, prob=prob.astype(np.float32), seconds=seconds)


def said(trial: Trial, kept: Path) -> list[Said]:
    """What the fits of a trial said, a fold each."""
    found = []
    for fit in trial.fits():
        with np.load(kept / fit.name) as file:
            found.append(Said(file["rows"], file["prob"], float(file["seconds"])))
    return found


def forget(trials: Sequence[Trial], kept: Path) -> None:
    """Remove what the fits of some trials said."""
    for trial in trials:
        for fit in trial.fits():
            (kept / fit.name).unlink(missing_ok=True)


def _stamp(file: str | None) -> list[object]:
    """Of a user's file: what changes when it is written again."""
    if file is None:
        return []
    state = Path(file).stat()
    return [file, state.st_size, state.st_mtime_ns]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
