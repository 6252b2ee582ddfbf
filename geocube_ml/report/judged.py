"""Intervals, leads, calibration and what hides something, arranged as tables of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geocube_ml.report.accuracy import BASELINE, known

Score = Mapping[str, Any]

_LEADS = {  # the log loss after the temperature
    "macro_f1": "macro-F1", "balanced": "balanced", "overall": "overall", "kappa": "kappa",
    "log_loss_softened": "log loss",
}  # fmt: skip
_OF_CLASS = {"f1": "F1", "iou": "IoU", "users": "user’s", "producers": "producer’s"}
_LESS_IS_BETTER = ("log_loss", "log_loss_softened", "ece", "ece_softened", "rmse", "mae")


def ends(score: Score, key: str, at: int | None = None) -> list[float] | None:
    """The interval of a figure, or of one of its classes; None where there is none."""
    found = (score.get("interval") or {}).get(key)
    if found is not None and at is not None:
        found = found[at]
    return found


def interval_words(held: Sequence[Score]) -> str | None:
    """How the intervals were drawn; None where there is none."""
    drawn = next((score["resampled"] for score in held if score.get("resampled")), None)
    if drawn is None:
        return None
    return (
        f"{drawn['level']:.0%} intervals, from {drawn['resamples']:,} resamples of "
        f"{drawn['n']:,} whole {drawn['unit']}"
    )


def leads(
    held: Sequence[Score], titles: Mapping[str, str] = _LEADS, baseline: str = BASELINE
) -> dict[str, Any] | None:
    """By how much each model is above the one that all are compared with.

    Parameters
    ----------
    held : sequence of score
    titles : mapping
        Figure to what it is called.
    baseline : str
        Name of who looks at no pixel, and is left out.

    Returns
    -------
    dict or None
        ``to``, ``titles``, and ``rows``: ``model`` and ``cells`` (``value``, ``ends``, ``sure``:
        "better" or "worse" where the interval does not hold 0).
    """
    compared = [s for s in held if s.get("difference") and s["model"] != baseline]
    if not compared:
        return None
    rows = [
        {"model": score["model"], "cells": [_apart(score, key) for key in titles]}
        for score in compared
    ]
    return {"to": compared[0]["difference"]["to"], "titles": list(titles.values()), "rows": rows}


def calibration(held: Sequence[Score]) -> list[Score]:
    """Scores that tell how sure a model was; no baseline."""
    return [s for s in held if known(s.get("ece")) is not None and s["model"] != BASELINE]


def class_detail(best: Score | None, names: Sequence[str]) -> dict[str, Any] | None:
    """All figures of each class, of one model, with intervals."""
    if best is None or "iou" not in best:
        return None
    rows = [
        {
            "code": code,
            "name": name,
            "cells": [(known(best[key][code]), ends(best, key, code)) for key in _OF_CLASS],
        }
        for code, name in enumerate(names)
    ]
    return {"model": best["model"], "titles": list(_OF_CLASS.values()), "rows": rows}


def early_rows(scores: Mapping[str, Any], whole: Sequence[Score]) -> dict[str, Any] | None:
    """Macro-F1 by the number of steps that are known; the last row is all of them."""
    early = scores.get("early") or ()
    if not early:
        return None
    models = list(dict.fromkeys(score["model"] for score in early))
    steps = sorted({(score["steps"], score["until"]) for score in early})
    by_pair = {(score["model"], score["steps"]): score for score in early}
    rows = [
        {"steps": n, "until": until, "cells": [by_pair.get((model, n)) for model in models]}
        for n, until in steps
    ]
    complete = {score["model"]: score for score in whole}
    rows.append({"steps": None, "until": None, "cells": [complete.get(model) for model in models]})
    return {"models": models, "rows": rows}


def left_out_rows(scores: Mapping[str, Any], baseline: str = BASELINE) -> dict[str, Any] | None:
    """Figures of each group by models that were fitted without it."""
    held = [s for s in scores["scores"] if s.get("left_out") and s["model"] != baseline]
    if not held:
        return None
    rows = [
        {"group": cells[0]["group"], "n_test": cells[0]["n_test"], "cells": list(cells)}
        for cells in zip(*(score["left_out"] for score in held), strict=True)
    ]
    return {"models": [score["model"] for score in held], "rows": rows}


def without_rows(scores: Mapping[str, Any], key: str = "macro_f1") -> list[dict[str, Any]]:
    """What each model loses without each source."""
    return [
        {
            "model": score["model"],
            "source": score["without"],
            "how": score["how"],
            "score": score,
            "lost": _apart(score, key),
        }
        for score in scores.get("without") or ()
    ]


def area_rows(areas: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Areas by the points that people looked at; ``unit`` is empty where it is not told."""
    return {"unit": "", **areas} if areas else None


def _apart(score: Score, key: str) -> dict[str, Any] | None:
    found = score["difference"].get(key) if score.get("difference") else None
    if found is None:
        return None
    sure = None
    if found["interval"] and (found["interval"][0] > 0 or found["interval"][1] < 0):
        up = found["interval"][0] > 0
        sure = "better" if up != (key in _LESS_IS_BETTER) else "worse"
    return {"value": found["value"], "ends": found["interval"], "sure": sure}
