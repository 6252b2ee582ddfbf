"""Scores arranged as the tables of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from geocube_ml.evaluate.notes import TITLES
from geocube_ml.evaluate.scores import BOUND, MAJORITY

Score = Mapping[str, Any]

_HOLD_OUT = ("split", "block", "blocks", "group", "polygon", "random")  # the sternest first
BASELINE = MAJORITY
_FEW_SPLITS = 3  # beside which there is room for kappa
_SIZES = {
    "n_test": "Test pixels",
    "test_polygons": "Test polygons",
    "n_train": "Training pixels",
    "train_polygons": "Training polygons",
}


@dataclass(frozen=True)
class Table:
    """Models by splits."""

    splits: list[str]
    rows: list[dict[str, Any]]
    """``model``, ``cells`` (a score or None a split) and ``optimism``, one a model."""
    sizes: list[tuple[str, list[str]]]
    """What was counted, and a text a split."""
    has_optimism: bool
    figures: dict[str, str]
    """Key to title of what is shown of each split: fewer where there are many splits."""


def hold_out(scores: Mapping[str, Any]) -> str | None:
    """The sternest split that there is."""
    there = {score["split"] for score in scores["scores"]}
    return next((split for split in _HOLD_OUT if split in there), None)


def of_split(scores: Mapping[str, Any], split: str | None) -> list[Score]:
    """Scores of one split, baseline last."""
    chosen = [score for score in scores["scores"] if score["split"] == split]
    return sorted(chosen, key=lambda score: score["model"] == BASELINE)


def of_whole(scores: Mapping[str, Any]) -> list[Score]:
    """What figures with a part hidden are compared with; empty where nothing was hidden."""
    hiding = [*(scores.get("early") or ()), *(scores.get("without") or ())]
    if not hiding:
        return []
    every = [*scores["scores"], *(scores.get("whole") or ())]
    return of_split({"scores": every}, hiding[0]["split"])


def best(scores: Mapping[str, Any]) -> Score | None:
    """The hold-out score of the model with the highest macro-F1; no baseline."""
    models = [s for s in of_split(scores, hold_out(scores)) if s["model"] != BASELINE]
    return max(models, key=lambda score: known(score["macro_f1"], -1), default=None)


def split_table(scores: Mapping[str, Any]) -> Table:
    """Models by splits, and by how much the random split flatters each."""
    by_pair = {(score["model"], score["split"]): score for score in scores["scores"]}
    splits = [split for split in TITLES if any(split == s for _, s in by_pair)]
    models = list(dict.fromkeys(model for model, _ in by_pair))
    models.sort(key=lambda model: model == BASELINE)
    stern = hold_out(scores)
    flattered = "random" in splits and stern != "random"
    rows = []
    for model in models:
        cells = [by_pair.get((model, split)) for split in splits]
        here, there = by_pair.get((model, "random")), by_pair.get((model, str(stern)))
        optimism = _difference(here, there) if flattered and here and there else None
        rows.append({"model": model, "cells": cells, "optimism": optimism})
    figures = {"macro_f1": "macro-F1", "overall": "overall"}
    if len(splits) <= _FEW_SPLITS:
        figures["kappa"] = "kappa"
    return Table(splits, rows, size_rows(scores, splits), flattered, figures)


def size_rows(scores: Mapping[str, Any], splits: Sequence[str]) -> list[tuple[str, list[str]]]:
    """How much was trained on and tested, and by what intervals are drawn: a text a split."""
    sizes = [
        (title, [_size(of_split(scores, s), key) for s in splits]) for key, title in _SIZES.items()
    ]
    drawn = [_drawn(of_split(scores, split)) for split in splits]
    if any(drawn):
        sizes.append(("Intervals by", [text or "–" for text in drawn]))
    return sizes


def optimism_of_best(scores: Mapping[str, Any]) -> float | None:
    """Macro-F1 by which the random split flatters the best model; None where it is not known."""
    lead = best(scores)
    rows = split_table(scores).rows
    row = next((row for row in rows if lead is not None and row["model"] == lead["model"]), None)
    return row["optimism"]["macro_f1"] if row is not None and row["optimism"] else None


def reference_rows(reference: Sequence[Score]) -> list[dict[str, Any]]:
    """Scores against a map that is true everywhere, with shares of the best possible."""
    bound = next((score for score in reference if score["model"] == BOUND), None)
    ordered = sorted(reference, key=lambda score: score["model"] == BOUND)
    return [
        {
            "score": score,
            "share_f1": _share(score, bound, "macro_f1"),
            "share_overall": _share(score, bound, "overall"),
        }
        for score in ordered
    ]


def class_rows(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """F1 of each class on the hold-out: a value a model, and the best of them."""
    held = of_split(scores, hold_out(scores))
    rows = []
    for code, name in enumerate(scores["classes"]["names"]):
        f1 = [known(score["f1"][code]) for score in held]
        there = [value for value in f1 if value is not None]
        n_test = sum(held[0]["confusion"][code]) if held else 0
        rows.append(
            {
                "code": code,
                "name": name,
                "n_test": n_test,
                "f1": f1,
                "best": max(there, default=None),
            }
        )
    return rows


def matrix_rows(score: Score) -> dict[str, Any]:
    """A confusion matrix with the shares of its rows, totals, recall and precision."""
    confusion = score["confusion"]
    rows = []
    for code, counts in enumerate(confusion):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        recall = counts[code] / total if total else None
        rows.append(
            {"cells": list(zip(counts, shares, strict=True)), "total": total, "recall": recall}
        )
    mapped = [sum(column) for column in zip(*confusion, strict=True)]
    precision = [confusion[i][i] / total if total else None for i, total in enumerate(mapped)]
    return {"model": score["model"], "rows": rows, "mapped": mapped, "precision": precision}


def matrices(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The confusion matrix of each model on the hold-out; no baseline."""
    held = of_split(scores, hold_out(scores))
    return [matrix_rows(score) for score in held if score["model"] != BASELINE]


def remarks(scores: Mapping[str, Any]) -> list[str]:
    """Notes of the evaluation and of each score, each once."""
    found = list(scores.get("notes") or ())
    for key in ("scores", "whole", "early", "without", "reference"):
        for score in scores.get(key) or ():
            where = TITLES.get(score["split"], "whole map").lower() + _hidden(score)
            found += [f"{score['model']}, {where}: {note}" for note in score.get("notes") or ()]
    return list(dict.fromkeys(found))


def _hidden(score: Score) -> str:
    """What the model was not shown."""
    if "steps" in score:
        return f", {score['steps']} steps known"
    return f", without {score['without']} ({score['how']})" if "without" in score else ""


def known(value: float | None, otherwise: float | None = None) -> Any:
    """The value, or `otherwise` where there is none (None or NaN).

    Examples
    --------
    >>> known(float("nan")), known(0.5)
    (None, 0.5)
    """
    return otherwise if value is None or not isfinite(value) else value


def _difference(here: Score, there: Score) -> dict[str, float | None]:
    pairs = {key: (known(here[key]), known(there[key])) for key in ("macro_f1", "overall")}
    return {k: None if a is None or b is None else a - b for k, (a, b) in pairs.items()}


def _share(score: Score, bound: Score | None, key: str) -> float | None:
    if bound is None or not known(bound[key]) or known(score[key]) is None:
        return None
    return float(score[key] / bound[key])


def _drawn(scores: Sequence[Score]) -> str:
    """How many groups of which kind were drawn again; empty where none was."""
    found = next((s["resampled"] for s in scores if s.get("resampled")), None)
    return "" if found is None else f"{found['n']:,} {found['unit']}"


def _size(scores: Sequence[Score], key: str) -> str:
    """One number where the models agree, else the range."""
    sizes = sorted({score[key] for score in scores})
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
