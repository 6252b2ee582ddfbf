"""One attempt at a tile, and what is to be made of an error."""

from __future__ import annotations

import errno
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from distributed.protocol import pickle

from geocube_ml.cluster.prepare import not_ready, one_torch_thread
from geocube_ml.errors import (
    ClusterError,
    FullDisk,
    GridMismatch,
    InputError,
    MissingError,
    SpecError,
    StaleTarget,
    chain,
)
from geocube_ml.files import redacted

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[T, int], R]
"""Takes a task and the number of the attempt, from 1."""

_CERTAIN = (InputError, SpecError, GridMismatch, StaleTarget, MissingError)  # fail every time
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What came of an attempt."""

    verdict: Literal["done", "again", "certain", "stop"]
    value: R | None = None
    error: BaseException | None = None


def attempt(work: Work[T, R], needs: Sequence[str], task: T, number: int) -> Outcome[R]:
    """Work on a task, and judge what goes wrong where it goes wrong.

    Parameters
    ----------
    work : callable
    needs : sequence of str
        Preparations without which this process must not work.
    task : object
    number : int
        Of the attempt, from 1.
    """
    try:
        if wrong := not_ready(needs):
            raise ClusterError(wrong)
        with one_torch_thread():
            return Outcome("done", work(task, number))
    except Exception as error:
        for cause in chain(error):
            if isinstance(cause, FullDisk):
                return Outcome("stop", error=_light(cause))
            if isinstance(cause, OSError) and cause.errno in _FULL:
                full = FullDisk(f"No room is left to write: {cause}. Make room, and start again.")
                full.__cause__ = error
                return Outcome("stop", error=_light(full))
        return Outcome("certain" if isinstance(error, _CERTAIN) else "again", error=_light(error))


def _light(error: BaseException) -> BaseException:
    """The error with its traceback as text: frames would keep the tile's arrays."""
    error.add_note(redacted("".join(traceback.format_exception(error))))
    for link in chain(error):
        link.__traceback__ = None
    return error


def attempt_elsewhere(
    work: Work[T, R], needs: Sequence[str], pause: float, task: T, number: int
) -> Outcome[R]:
    """An attempt on a worker, which rests after one that failed; its outcome can travel."""
    outcome = attempt(work, needs, task, number)
    if outcome.verdict == "again":
        time.sleep(pause * random.uniform(0.5, 1))
    if outcome.error is not None:
        try:
            pickle.loads(pickle.dumps(outcome.error))
        except Exception:
            plain = RuntimeError(f"{type(outcome.error).__name__}: {outcome.error}")
            return Outcome(outcome.verdict, error=plain)
    return outcome
