"""What a person is told when a run ends: its figures, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geocube_ml.export.dataset.chips import LOST
from geocube_ml.steps.job import Job

_SHOWN = 5  # doubtful labels


def summary(job: Job, chosen: list[str]) -> list[str]:
    """Lines on the steps that were asked for."""
    what = "variable" if len(job.map_names) == 1 else "variables"
    made = {
        "cube": ("cube", job.cube_path),
        "labels": ("labels lost", job.losses_path),
        "samples": ("samples", job.samples_path),
        "train": ("models", job.out / "models"),
        "evaluate": ("accuracy", job.scores_path),
        "predict": ("map", f"{job.cube_path}, {what} {' and '.join(job.map_names)}"),
        "export": ("GeoTIFF", job.export_path(job.map_names[0])),
        "report": ("report", job.report_path),
        "doctor": ("doubtful", job.out / "labels_doubtful.csv"),
        "decide": ("decided", job.out / "labels_doubtful.csv"),
        "export-dataset": ("data set", job.out / "dataset"),
        "export-model": ("models", job.out / "export" / "models"),
        "tune": ("tuning", job.out / "tuning"),
    }
    lines = ["", *_figures(job), *_doubts(job, chosen), *_dataset(job, chosen)]
    lines += _tuning(job, chosen)
    if (found := job.records.facts("export-model")) and "export-model" in chosen:
        lines += [f"note: {note}" for note in found["notes"]]
    lines += [f"{made[name][0]:12} {made[name][1]}" for name in chosen]
    return [*lines, f"{'run records':12} {job.out / 'runs'}"]


def _figures(job: Job) -> list[str]:
    lines = []
    cube = job.records.facts("cube") or {}
    for name, source in cube.get("sources", {}).items():
        if unseen := source.get("unseen_steps"):
            lines.append(f"{name}: no clear observation in {', '.join(unseen)}")
    if left_out := cube.get("left_out"):
        lines.append("tiles were made without what could not be read:")
        lines += [f"  {item}, in {n} of the tiles" for item, n in left_out.items()]
    if labels := job.records.facts("labels"):
        lines.append(f"{labels['polygons']} polygons with {labels['pixels']} labelled pixels")
        lines += [f"  lost: {reason}" for reason in labels["lost"]]
        lines += [f"  no pixel left of: {name}" for name in labels["dropped_classes"]]
    if samples := job.records.facts("samples"):
        lines += [f"only {text}" for text in samples["shortfall"]]
        lines += [f"  {one['samples']} left out: {why}"
                  for why, one in samples["left_out"].items()]  # fmt: skip
    if found := job.records.facts("evaluate"):
        lines += ["", *_accuracy(found)]
        if share := found.get("share_of_best"):
            lines.append(f"{job.recipe.map_model} reaches {share:.1%} of the best possible")
        lines += [f"note: {note}" for note in found["notes"]]
    return [*lines, ""] if lines else []


def _doubts(job: Job, chosen: list[str]) -> list[str]:
    """What the doctor found, and what was decided of it."""
    lines = []
    if (found := job.records.facts("doctor")) and "doctor" in chosen:
        lines.append(
            f"the most doubtful {found['listed']} of {found['judged']} labels are listed; about "
            f"{found['estimated_wrong']} are wrong"
        )
        lines += [
            f"  {row['file']}, feature {row['feature']}, {row['class']}: {row['reason']}"
            for row in found["worst"][:_SHOWN]
        ]
        lines += [f"note: {note}" for note in found["notes"]]
        lines.append("fill in `decision` (keep, drop, relabel) there, then run the step decide")
    if (said := job.records.facts("decide")) and "decide" in chosen:
        lines.append(
            f"{said['written']} decisions were written into {', '.join(said['files']) or 'no file'}"
            f", {said['unchanged']} stand there already"
        )
        lines += [f"  left out: {why}" for why in said["left_out"]]
        if said["next"]:
            lines.append(f"the labels are others now; run: {' '.join(said['next'])} --redo")
    return [*lines, ""] if lines else []


def _dataset(job: Job, chosen: list[str]) -> list[str]:
    """What a data set holds, by split, and what of the labels is in no mask."""
    found = job.records.facts("export-dataset")
    if found is None or "export-dataset" not in chosen:
        return []
    lines = [
        f"{sum(n.values())} {what}: " + ", ".join(f"{split} {n[split]}" for split in n)
        for what, n in (("series", found["samples"]), ("chips", found["chips"]))
        if n
    ]
    lines += [
        f"  in no mask, {why}: {found[why]} labelled pixels" for why in LOST if found.get(why)
    ]
    return [*lines, ""]


def _tuning(job: Job, chosen: list[str]) -> list[str]:
    """The best of each search beside the recipe's own setting."""
    if "tune" not in chosen:
        return []
    lines = []
    for name, one in (job.records.facts("tune") or {}).items():
        figure = "RMSE" if one["best"] < 0 else "macro-F1"
        best, own = abs(one["best"]), abs(one["own"])
        lines.append(
            f"{name}: {figure} {best:.4f} after {one['trials']} trials, {own:.4f} by the recipe "
            f"({best - own:+.4f})"
        )
        lines += [f"  {field}: {value}" for field, value in one["settings"].items()]
    return [*lines, "the recipe stays as it is; copy what you like from there", ""]


def _accuracy(found: Mapping[str, Any]) -> list[str]:
    """A line a model, a column a split: macro-F1, or the RMSE of numbers in their unit."""
    number = "rmse" in found
    figures: dict[str, dict[str, float | None]] = found["rmse" if number else "macro_f1"]
    there = {split for row in figures.values() for split in row}
    order = ("split", "block", "blocks", "group", "polygon", "random", "reference")
    splits = [split for split in order if split in there]
    title = f"RMSE {found['quantity']['units']}".rstrip() if number else "macro-F1"
    head = f"{title:16}" + "".join(f"{split:>11}" for split in splits)
    return [head] + [
        f"{model:16}" + "".join(f"{_shown(row.get(split), number):>11}" for split in splits)
        for model, row in figures.items()
    ]


def _shown(value: float | None, number: bool) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if number else f"{value:.3f}"
