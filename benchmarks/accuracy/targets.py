"""What was aimed at, held against what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.accuracy.settings import PLANS, REFERENCE


def judged_targets(sets: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target of the sets that were run: what, wanted, measured, met.

    Parameters
    ----------
    sets : dict
        The ``sets`` of the file of results.
    """
    found: list[dict[str, Any]] = []

    def add(what: str, wanted: float, measured: float, said: str = "") -> None:
        found.append(
            {
                "what": what, "wanted": wanted, "measured": round(measured, 4),
                "said": said or f"{measured:.3f}", "met": bool(measured >= wanted),
            }
        )  # fmt: skip

    if "sits_mt_mod13q1" in sets:
        splits = sets["sits_mt_mod13q1"]["splits"]
        add("sits_mt_mod13q1, random: accuracy of the best model", 0.98, *_best(splits["random"]))
        add("sits_mt_mod13q1, blocks: ahead of the forest by", 0.03, *_ahead(splits["block"]))
    if "ucr_crop_train" in sets:
        split = sets["ucr_crop_train"]["splits"]["random"]
        add("ucr_crop_train: ahead of the forest by", 0.0, *_ahead(split))
        rocket = split["models"].get("minirocket")
        if rocket:
            value, said = _best(split, without=("minirocket", REFERENCE))
            lead = value - rocket["overall"]
            add("ucr_crop_train: ahead of MiniRocket by", 0.0, lead, f"{said}: {lead:+.3f}")
        if set(split["models"]) & set(_more("ucr_crop_train")):
            add("ucr_crop_train, full run: accuracy of the best model", 0.78, *_best(split))
    if "tempcnn_formosat2" in sets:
        split = sets["tempcnn_formosat2"]["splits"]["given"]
        tempcnn = split["models"].get("tempcnn")
        forest = split["models"].get(REFERENCE)
        if tempcnn and forest and len(tempcnn["by_seed"]) > 1:
            low, high = _over_seeds(tempcnn["by_seed"], forest["by_seed"])
            add(
                "tempcnn_formosat2: TempCNN ahead of the forest over seeds, lower end", 0.0, low,
                f"{tempcnn['ahead']:+.3f} ({low:+.3f} to {high:+.3f})",
            )  # fmt: skip
        if tempcnn and tempcnn.get("ahead_interval"):
            low, high = tempcnn["ahead_interval"]
            add(
                "tempcnn_formosat2: the same over test polygons, lower end", 0.0, low,
                f"{tempcnn['ahead']:+.3f} ({low:+.3f} to {high:+.3f})",
            )  # fmt: skip
    for name, of_set in sets.items():
        for one in of_set["published"] if name.startswith("dea_cropmask") else ():
            if one["split"] == "random":
                value, said = _best(of_set["splits"]["random"])
                add(f"{name}: within a point of published", one["value"] - 0.01, value, said)
    if "worldcereal_uga_ssd2017_monthly" in sets:
        split = sets["worldcereal_uga_ssd2017_monthly"]["splits"]["group"]
        add("worldcereal_uga_ssd2017_monthly: macro-F1 of the best model", 0.35, *_best(split))
    return found


def _more(name: str) -> list[str]:
    """Models of the full run alone."""
    return [model for plan in PLANS if plan.set == name for model in plan.more]


def _best(split: dict[str, Any], without: tuple[str, ...] = ()) -> tuple[float, str]:
    """Highest figure of a split, and whose it is."""
    figures = {
        name: said[split["figure"]] for name, said in split["models"].items() if name not in without
    }
    name = max(figures, key=lambda one: figures[one])
    return figures[name], f"{name} {figures[name]:.3f}"


def _over_seeds(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean lead, paired by seed (Student's t): other seeds, same polygons."""
    lead = np.subtract(one, other)
    half = stats.t.ppf(0.975, len(lead) - 1) * lead.std(ddof=1) / np.sqrt(len(lead))
    return float(lead.mean() - half), float(lead.mean() + half)


def _ahead(split: dict[str, Any]) -> tuple[float, str]:
    """Of the model that is farthest ahead of the reference, how far."""
    ahead = {
        name: (said["ahead"], said["ahead_interval"])
        for name, said in split["models"].items()
        if "ahead" in said
    }
    name = max(ahead, key=lambda one: ahead[one][0])
    value, ends = ahead[name]
    between = f" ({ends[0]:+.3f} to {ends[1]:+.3f})" if ends else ""
    return value, f"{name} {value:+.3f}{between}"
