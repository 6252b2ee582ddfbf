"""Fit every model on the same splits, on all cores, and keep what each fit said.

A fit is one model on one fold.  It runs in a process of its own with one thread, and what it says
of the test rows is kept in a folder until the run is done, so that a run that was stopped goes on.
An ensemble needs no fit of its own: its answer is the mean of what its models said.
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
from geocube_ml.spec.models import EnsembleSpec, ModelSpec


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

    @property
    def seeded(self) -> ModelSpec:
        """The spec with the trial's seed."""
        return self.spec.model_copy(update={"seed": self.seed})

    def fits(self) -> list[list[Fit]]:
        """Of each fold what is fitted: the model, or those of an ensemble."""
        spec = self.seeded
        parts = list(spec.parts.values()) if isinstance(spec, EnsembleSpec) else [spec]
        n_fold = len(folds_of(self.source, self.split, self.seed))
        return [[Fit(self, part, fold) for part in parts] for fold in range(n_fold)]


@dataclass(frozen=True)
class Fit:
    """A model on one fold."""

    trial: Trial
    spec: ModelSpec
    fold: int

    @property
    def name(self) -> str:
        """Of the file that keeps it: a digest of all that decides it, but for the code."""
        trial = self.trial
        said = [
            trial.source.name, _stamp(trial.source.file), trial.split.kind, trial.split.n_fold,
            trial.seed, self.fold, self.spec.result(),
        ]  # fmt: skip
        return f"{trial.source.name.replace('/', '-')}-{self.spec.kind}-{digest(said)}.npz"


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
    fits = {trial: [fit for fold in trial.fits() for fit in fold] for trial in trials}
    todo: dict[str, Fit] = {}
    for of_trial in fits.values():
        for fit in of_trial:
            if not (kept / fit.name).exists():
                todo.setdefault(fit.name, fit)
    left = {trial: {fit.name for fit in of_trial} & set(todo) for trial, of_trial in fits.items()}
    yield from (trial for trial in trials if not left[trial])
    if not todo:
        return
    for fit in _done(list(todo.values()), kept, workers or len(os.sched_getaffinity(0))):
        for trial, names in left.items():
            if fit.name in names:
                names.remove(fit.name)
                if not names:
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
            fit.spec, data.series[train], data.label[train], len(data.classes),
            layout=data.layout,
        )  # fmt: skip
    except InputError as error:
        raise InputError(
            f"{trial.model} ({fit.spec.kind}) on {data.name}, {trial.split.kind}, seed "
            f"{trial.seed}, fold {fit.fold}: {error}"
        ) from error
    prob = fitted.predict_proba(data.series[test])
    seconds = time.process_time() - begun
    with whole_file(kept / fit.name) as partial, Path(partial).open("wb") as file:
        np.savez(file, rows=test, prob=prob.astype(np.float32), seconds=seconds)


def said(trial: Trial, kept: Path) -> list[Said]:
    """What the fits of a trial said, a fold each."""
    found = []
    for fold in trial.fits():
        parts = []
        for fit in fold:
            with np.load(kept / fit.name) as file:
                parts.append(Said(file["rows"], file["prob"], float(file["seconds"])))
        prob = np.mean([part.prob for part in parts], axis=0)
        found.append(Said(parts[0].rows, prob, sum(part.seconds for part in parts)))
    return found


def forget(trials: Sequence[Trial], kept: Path) -> None:
    """Remove what the fits of some trials said."""
    for trial in trials:
        for fold in trial.fits():
            for fit in fold:
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
