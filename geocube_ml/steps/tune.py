"""Step `tune`: better settings of the models are searched, and the recipe stays as it is."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from geocube_ml.data.table import read_samples
from geocube_ml.errors import SpecError
from geocube_ml.files import Place, whole_file
from geocube_ml.files import discard as remove
from geocube_ml.spec.base import written
from geocube_ml.spec.models import ModelSpec, PatchSpec
from geocube_ml.spec.tune import TuneSpec
from geocube_ml.steps.job import Job, Note
from geocube_ml.train.trials import Tuned
from geocube_ml.train.tune import tune_model

_COLUMNS = ("model", "trial", "state", "value", "seconds", "settings", "note")


def inputs(job: Job) -> dict[str, Any]:
    """What decides the trials."""
    return {
        "tune": job.recipe.tune.result(),
        "models": {name: spec.result() for name, spec in _models(job).items()},
        "samples": job.digest_of("samples"),
    }


def grows(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether only more is tried: what is known of the trials so far stays true."""
    was, is_ = before["tune"], now["tune"]
    longer = is_["trials"] >= was["trials"] and (
        is_["minutes"] is None or (was["minutes"] is not None and is_["minutes"] >= was["minutes"])
    )
    return longer and _but_length(before) == _but_length(now)


def _but_length(told: Mapping[str, Any]) -> dict[str, Any]:
    tune = {key: value for key, value in told["tune"].items() if key not in ("trials", "minutes")}
    return {**told, "tune": tune}


def plan(job: Job) -> list[str]:
    """What the step would do."""
    search = job.recipe.tune
    limit = "" if search.minutes is None else f", for {search.minutes:g} minutes at most"
    return [
        f"{name}: {search.trials} trials of {', '.join(search.space(name, spec))}, each on "
        f"{search.folds} folds of the training part{limit}"
        for name, spec in _models(job).items()
    ]


def run(job: Job) -> dict[str, Any]:
    """Search model by model; what is known of the trials is kept as they are done."""
    facts: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for name, spec in _models(job).items():
        work = TuneWork(
            job.samples_path, _folder(job) / f"{name}.study.json", name, spec, job.recipe.tune,
            job.threads,
        )  # fmt: skip
        found = job.workers.once(work, gpu=True, here={"note": job.note})
        rows += [{"model": name, **row} for row in _rows(found)]
        _write(_folder(job) / f"{name}.yaml", _described(name, found))
        facts[name] = {
            "own": found.own,
            "best": found.value,
            "trials": len(found.trials) - 1,
            "settings": _changes(spec, found.best),
        }
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    _write(_folder(job) / "trials.csv", text.getvalue())
    return facts


@dataclass(frozen=True)
class TuneWork:
    """Searches settings of one model, wherever there is a GPU."""

    samples: Place
    study: Place
    """What is known of the trials; also in a store, where it is put anew after each."""
    name: str
    spec: ModelSpec
    search: TuneSpec
    threads: int

    def __call__(self, note: Note | None = None) -> Tuned:
        """Search; `note` is told how many trials are done."""
        return tune_model(
            read_samples(self.samples), self.spec, self.search, name=self.name, study=self.study,
            workers=self.threads, told=note,
        )  # fmt: skip


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [_folder(job) / f"{name}.yaml" for name in _models(job)] + [_folder(job) / "trials.csv"]


def discard(job: Job) -> None:
    """Remove the trials too, so that they are made anew."""
    remove(_folder(job))


def _folder(job: Job) -> Place:
    return job.out / "tuning"


def _models(job: Job) -> dict[str, ModelSpec]:
    """Those that are searched: the recipe's, or those that `tune.models` names."""
    every = job.recipe.models
    if named := job.recipe.tune.models:
        return {name: every[name] for name in named}
    found: dict[str, ModelSpec] = {
        name: spec for name, spec in every.items() if not isinstance(spec, PatchSpec)
    }
    if not found:
        raise SpecError(
            f"{', '.join(every)} look at what lies around a pixel; only models of series are "
            "tuned. Add one to `models`."
        )
    return found


def _changes(spec: ModelSpec, best: ModelSpec) -> dict[str, Any]:
    """Fields that differ, by the names that `tune.models` has for them."""
    before, after = (_flat(one.model_dump(mode="json")) for one in (spec, best))
    return {field: value for field, value in after.items() if value != before[field]}


def _flat(fields: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{within}{name}.")
        else:
            found[f"{within}{name}"] = value
    return found


def _described(name: str, found: Tuned) -> str:
    """The best settings to be copied into a recipe, and how good they are."""
    what = "minus the RMSE" if found.value < 0 else "macro-F1"
    gain = found.value - found.own
    head = [
        f"# The best of {len(found.trials) - 1} trials on folds of the training part, by {what}:",
        f"# {found.value:.4f}; the recipe's own setting has {found.own:.4f}, which is {gain:.4f} "
        "less."
        if gain > 0
        else f"# {found.value:.4f}, which is the recipe's own setting.",
        "# It is the best of many: expect less of it on the hold-out, which had no part in this.",
    ]
    recipe = {"models": {name: written(found.best)}}
    return "\n".join(head) + "\n" + yaml.safe_dump(recipe, sort_keys=False)


def _rows(found: Tuned) -> list[dict[str, Any]]:
    """The table of trials; the recipe's own setting is trial 0."""
    return [
        {
            "trial": trial["number"],
            "state": trial["state"],
            "value": trial["value"],
            "seconds": round(trial["seconds"], 2),
            "settings": "; ".join(f"{field}: {value}" for field, value in trial["values"].items()),
            "note": trial["note"],
        }
        for trial in found.trials
    ]


def _write(path: Place, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
