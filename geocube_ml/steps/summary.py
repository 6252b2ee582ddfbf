"""What a person is told when a run ends: its figures, and where everything is."""

from __future__ import annotations

from geocube_ml.steps.job import Job


def summary(job: Job, chosen: list[str]) -> list[str]:
    """Lines on the steps that were asked for."""
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
    if found := job.records.facts("evaluate"):
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
