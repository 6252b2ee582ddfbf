"""Accuracy of the models on published series, or on a user's own, beside what others published.

    python -m benchmarks.accuracy [SET ...] [--models NAMES] [--full] [--seeds N] [--no-claims]
    python -m benchmarks.accuracy --data FILE [--class-column NAME] [--group-column NAME] ...

Sets are read from ``../shared/data``, or from the folder that GEOCUBE_ML_DATA names.  Every model
sees the same splits.  Figures are written to ``benchmarks/results/accuracy.json`` after each set,
a chart beside it; those of a user's file go to ``--out``.  A run that was stopped goes on where it
was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.__main__ import _cpu as cpu
from benchmarks.accuracy import claims, report
from benchmarks.accuracy.published import published
from benchmarks.accuracy.run import Trial, folds_of, forget, run, said
from benchmarks.accuracy.sets import Source, read
from benchmarks.accuracy.settings import MODELS, OWN, PLANS, REFERENCE, Plan, spec_of
from benchmarks.accuracy.splits import Split
from benchmarks.accuracy.summary import document, judge
from benchmarks.accuracy.targets import judged_targets
from geocube_ml.errors import GeocubeError, InputError

RESULTS = Path(__file__).parents[1] / "results" / "accuracy.json"
KEPT = Path(__file__).parents[2] / "out" / "bench-accuracy"
PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
VERSIONS = ("geocube-ml", "numpy", "scikit-learn", "torch")


def main(argv: list[str] | None = None) -> int:
    """Run what the command line asks for; 0 whether or not a target is met, 2 on bad input."""
    args = _parser().parse_args(argv)
    try:
        if args.data:
            _own(args)
        else:
            _published(args)
    except GeocubeError as error:
        print(f"bench-accuracy: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    names = ", ".join(plan.set for plan in PLANS)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"some of {names}; all by default")
    parser.add_argument("--models", help=f"some of {', '.join(MODELS)}, with commas between")
    parser.add_argument("--full", action="store_true", help="all models, more repeats: hours")
    parser.add_argument("--seeds", type=int, help="repeats, each with folds of its own")
    parser.add_argument("--workers", type=int, help="processes; one a core by default")
    parser.add_argument("--no-claims", action="store_true", help="leave the simulation out")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of what fits said")
    parser.add_argument("--out", type=Path, help="file of results")
    own = parser.add_argument_group("a user's own series")
    own.add_argument("--data", type=Path, help="arrays (.npz) or GeoParquet")
    own.add_argument("--class-column", default="class")
    own.add_argument("--group-column", help="what is never on both sides of a split")
    own.add_argument("--split-column", help="says train or test")
    own.add_argument("--ignore", nargs="*", default=[], help="columns that are no features")
    own.add_argument("--folds", type=int, default=5)
    return parser


def _published(args: argparse.Namespace) -> None:
    unknown = [name for name in args.sets if name not in {plan.set for plan in PLANS}]
    if unknown:
        raise InputError(
            f"There is no set {unknown[0]!r}, only {', '.join(plan.set for plan in PLANS)}."
        )
    plans = [plan for plan in PLANS if not args.sets or plan.set in args.sets]
    out = args.out or RESULTS
    results = _begun(out, full=args.full)
    done: list[Trial] = []
    for number, plan in enumerate(plans):
        sources = [Source(f"{plan.set}/{part}") for part in plan.parts] or [Source(plan.set)]
        if trials := _evaluate(results, plan, sources, args):
            done += trials
            results["targets"] = judged_targets(results["sets"])
            _write(results, out)
            if plan.set not in [later.set for later in plans[number + 1 :]]:
                report.show(results, plan.set)
    if results.get("targets"):
        report.show_targets(results)
    if not args.sets and not args.no_claims:
        begun = time.perf_counter()
        results["claims"] = claims.run(args.kept, args.workers, full=args.full)
        results["seconds"]["simulated"] = round(time.perf_counter() - begun)
        claims.show(results["claims"])
        claims.draw(results["claims"], out.with_name("accuracy-claims.png"))
        _write(results, out)
    if results["sets"]:
        report.draw(results, out.with_suffix(".png"))
    if out == RESULTS:
        report.write_page(results, PAGE)
    forget(done, args.kept)  # it is done: the next run begins anew
    print(f"Written to {out}")


def _own(args: argparse.Namespace) -> None:
    source = Source(
        args.data.stem, str(args.data.resolve()), args.class_column, args.group_column,
        args.split_column, tuple(args.ignore),
    )  # fmt: skip
    data = read(source)
    kinds = ["random"]
    if data.group is not None:
        kinds.append("group")
    if data.lon is not None:
        kinds.append("block")
    if data.test is not None:
        kinds.append("given")
    splits = tuple(Split(kind, args.folds) for kind in kinds)
    plan = Plan(source.name, "macro_f1", splits, OWN)
    print(
        f"{source.name}: {len(data.label)} series of {data.series.shape[1]} steps and "
        f"{data.series.shape[2]} channels, {len(data.classes)} classes; "
        f"{data.n_unobserved} without any value left out"
    )
    results: report.Results = _head(full=args.full)
    done = _evaluate(results, plan, [source], args)
    report.show(results, source.name)
    out = args.out or Path(f"{source.name}-accuracy.json")
    _write(results, out)
    report.draw(results, out.with_suffix(".png"))
    forget(done, args.kept)
    print(f"Written to {out}")


def _evaluate(
    results: report.Results, plan: Plan, sources: list[Source], args: argparse.Namespace
) -> list[Trial]:
    """Fit a plan's models, and put their figures into the results; the trials, none without any."""
    wanted = plan.models | plan.more if args.full or args.models else plan.models
    if args.models:
        names = args.models.split(",")
        unknown = [name for name in names if name.split("+")[0] not in MODELS]
        if unknown:
            raise InputError(f"There is no model {unknown[0]!r}, only {', '.join(MODELS)}.")
        chosen = {name: wanted.get(name, {}) for name in names if _fits(name, plan)}
    else:
        chosen = wanted
    if not chosen:
        return []
    seeds = range(args.seeds or (plan.full_seeds if args.full else plan.seeds))
    trials = {
        (source, split, name): [
            Trial(source, split, name, spec_of(name, changes), seed) for seed in seeds
        ]
        for source in sources
        for split in plan.splits
        for name, changes in chosen.items()
    }
    begun, n = time.perf_counter(), sum(map(len, trials.values()))
    flat = [trial for of in trials.values() for trial in of]
    for number, trial in enumerate(run(flat, args.kept, args.workers), start=1):
        print(
            f"  {plan.set}: {number} of {n}, {time.perf_counter() - begun:.0f} s  "
            f"{trial.source.name} {trial.split.kind} {trial.model}",
            flush=True,
        )
    for source in sources:
        of_set = {}
        for split in plan.splits:
            of_set[split.kind] = _split(plan, source, split, trials, args.kept)
        data = read(source)
        results["sets"][source.name] = {
            "n": len(data.label),
            "left_out": data.n_unobserved,
            "classes": list(data.classes),
            "published": [one.document() for one in published(source.name)],
            "splits": of_set,
        }
    key = f"{plan.set} {'/'.join(split.kind for split in plan.splits)}"
    results["seconds"][key] = round(time.perf_counter() - begun)
    return flat


def _split(
    plan: Plan, source: Source, split: Split, trials: dict[Any, list[Trial]], kept: Path
) -> dict[str, Any]:
    """Figures of all models on a split."""
    data = read(source)
    judged = {
        name: judge(data, split.kind, [said(trial, kept) for trial in of])
        for (of_source, of_split, name), of in trials.items()
        if (of_source, of_split) == (source, split)
    }
    reference = judged.get(REFERENCE) or judged.get(f"{REFERENCE}+balanced")
    n_fold = len(folds_of(source, split, 0))
    first = next(iter(judged.values()))
    each = split.kind == "leave-one-out" and data.group is not None and bool(data.group_names)
    return {
        "kind": split.kind,
        "figure": plan.figure,
        "folds": n_fold,
        "seeds": len(first.by_seed[plan.figure]),
        "interval_by": first.unit,
        **({"groups": [data.group_names[code] for code in np.unique(data.group)]} if each else {}),
        "models": {
            name: document(one, reference, plan.figure, by_fold=each)
            for name, one in judged.items()
        },
    }


def _fits(name: str, plan: Plan) -> bool:
    """Whether a model is asked for on a set: a changed one only where the plan has it."""
    return "+" not in name or name in plan.models | plan.more


def _head(*, full: bool) -> report.Results:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "full": full,
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
            "cpu": cpu(),
        },
        "versions": {name: version(name) for name in VERSIONS},
        "seconds": {},
        "sets": {},
    }


def _begun(out: Path, *, full: bool) -> report.Results:
    """A document to write into; sets that are not run stay as they were measured."""
    results = _head(full=full)
    if out.exists():
        before = json.loads(out.read_text())
        for part in ("seconds", "sets", "claims", "targets"):
            if part in before:
                results[part] = before[part]
    return results


def _write(results: report.Results, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
