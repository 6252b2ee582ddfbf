"""Trials of a search, by Optuna; each is kept before the next begins.

Optuna: Akiba, Sano, Yanase, Ohta and Koyama (2019), KDD.  Its Tree-structured Parzen Estimator:
Bergstra, Bardenet, Bengio and Kegl (2011), Algorithms for Hyper-Parameter Optimization, NeurIPS 24.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import ValidationError

from geocube_ml.errors import InputError
from geocube_ml.files import Place, read_json, write_json
from geocube_ml.spec.models import ModelSpec
from geocube_ml.spec.tune import Space, TuneSpec, changed

if TYPE_CHECKING:
    import optuna

_STARTUP = 5  # trials before any is given up early


class Told(Protocol):
    """Told how many trials are done, of how many, and how good the best is."""

    def __call__(self, done: int, total: int, said: str = "") -> None:
        """Show it."""


Score = Callable[[ModelSpec, Callable[[float, int], None]], float]
"""From a spec to how good it is, the more the better; tells its second argument of each epoch."""


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    best: ModelSpec
    """The recipe's own spec where no trial was better."""
    value: float
    """Of the best: macro-F1, or minus the RMSE of a number, the mean of the folds."""
    own: float
    """Of the spec that the search began with."""
    trials: list[dict[str, Any]]
    """``number``, ``state`` (``complete``, ``pruned``, ``fail``), ``value``, ``seconds``, ``note``
    and ``values``: what was tried of each field.  Number 0 is the recipe's own."""


def optuna_package() -> ModuleType:
    """The package `optuna`.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        import optuna  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InputError(
            f"To tune, the extra is needed ({error}): pip install 'geocube-ml[tune]'."
        ) from error
    return optuna


def run_trials(
    spec: ModelSpec, space: Mapping[str, Space], search: TuneSpec, score: Score,
    path: Place | None, known: str, told: Told | None,
) -> Tuned:  # fmt: skip
    """Try the spec as it is, then as many others as the search wants.

    Parameters
    ----------
    spec : spec of a model
    space : mapping of field to Space
    search : TuneSpec
    score : Score
    path : path of a JSON file, or None
        What is known of the trials so far.
    known : str
        Digest of what decides the scores; a file of another is refused.
    told : callable or None

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        Optuna is not installed, or the file is damaged or of another search.

    Notes
    -----
    What a trial tries follows from the trials before it and a seed of its own, so that a search
    that was stopped goes on as if it had not been; the trial that it was in begins anew.  A trial
    whose values the spec or the training refuses is kept as failed, with the reason.
    """
    package = optuna_package()
    trials = _kept(path, known)
    spent = sum(trial["seconds"] for trial in trials)

    def keep(trial: dict[str, Any]) -> None:
        trials.append(trial)
        if path is not None:
            write_json(path, {"digest": known, "trials": trials})
        if told is not None:
            told(len(trials) - 1, search.trials, f"best {_best(trials)['value']:.4f}")

    if not trials:
        begun = time.monotonic()
        own = score(spec, lambda *_: None)
        spent += (seconds := time.monotonic() - begun)
        keep({"number": 0, "state": "complete", "value": own, "seconds": seconds, "note": "",
              "values": {}, "steps": {}})  # fmt: skip
    with _quiet(package):
        study = _study(package, spec, space, trials)
        while len(trials) <= search.trials:
            if search.minutes is not None and spent >= 60 * search.minutes:
                break
            trial = _tried(package, study, spec, space, search, score, len(trials))
            spent += trial["seconds"]
            keep(trial)
    best = _best(trials)
    return Tuned(changed(spec, best["values"]), best["value"], trials[0]["value"], trials)


def _best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of the best; a trial that was given up early is none."""
    return max((t for t in trials if t["state"] == "complete"), key=lambda trial: trial["value"])


def _kept(path: Place | None, known: str) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    try:
        said = read_json(path)
        found, trials = said["digest"], list(said["trials"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"What is kept of the search at {path} is damaged ({error}). Remove it, to begin anew."
        ) from error
    if found != known:
        raise InputError(
            f"What is kept at {path} is of another search: its digest is {found}, this one's "
            f"{known}. Remove it, to begin anew."
        )
    return trials


def _study(
    package: ModuleType, spec: ModelSpec, space: Mapping[str, Space],
    trials: list[dict[str, Any]],
) -> optuna.Study:  # fmt: skip
    """Optuna's memory of the trials so far."""
    warmup = getattr(spec, "epochs", 0) // 3
    study: optuna.Study = package.create_study(
        direction="maximize",
        pruner=package.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=warmup),
    )
    states = package.trial.TrialState
    for trial in trials[1:]:
        study.add_trial(
            package.trial.create_trial(
                state=states[trial["state"].upper()],
                value=trial["value"],
                params=trial["values"],
                distributions=_distributions(package, space),
                intermediate_values={int(step): v for step, v in trial["steps"].items()},
            )
        )
    return study


def _distributions(package: ModuleType, space: Mapping[str, Space]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, one in space.items():
        if one.choices:
            found[field] = package.distributions.CategoricalDistribution(one.choices)
        else:
            kind = "IntDistribution" if one.is_whole else "FloatDistribution"
            made = getattr(package.distributions, kind)
            found[field] = made(one.low, one.high, log=one.is_log)
    return found


def _tried(
    package: ModuleType, study: optuna.Study, spec: ModelSpec, space: Mapping[str, Space],
    search: TuneSpec, score: Score, number: int,
) -> dict[str, Any]:  # fmt: skip
    """One trial, and what there is to say of it."""
    begun = time.monotonic()
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    study.sampler = package.samplers.TPESampler(seed=seed)
    trial = study.ask(_distributions(package, space))

    def report(value: float, step: int) -> None:
        trial.report(value, step)
        if trial.should_prune():
            raise package.TrialPruned

    states, value, note = package.trial.TrialState, None, ""
    try:
        value = score(changed(spec, trial.params), report)
        state = states.COMPLETE
    except package.TrialPruned:
        state = states.PRUNED
    except (InputError, ValidationError) as error:
        # the spec as it is did well with these arrays, so that it is the values that do not do
        state, note = states.FAIL, _why(error)
    study.tell(trial, value, state=state)
    told = study.trials[-1]
    return {
        "number": number,
        "state": state.name.lower(),
        "value": told.value,
        "seconds": time.monotonic() - begun,
        "note": note,
        "values": dict(trial.params),
        "steps": {str(step): float(v) for step, v in told.intermediate_values.items()},
    }


def _why(error: InputError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(fault["msg"] for fault in error.errors())
    return " ".join(str(error).split())


@contextlib.contextmanager
def _quiet(package: ModuleType) -> Iterator[None]:
    """Optuna tells nothing within the block."""
    before = package.logging.get_verbosity()
    package.logging.set_verbosity(package.logging.WARNING)
    try:
        yield
    finally:
        package.logging.set_verbosity(before)
