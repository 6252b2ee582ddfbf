"""How good models are that estimate a number: tables and pictures of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geocube_ml.evaluate.notes import TITLES
from geocube_ml.evaluate.numbers import MEAN
from geocube_ml.report.accuracy import (
    hold_out,
    known,
    of_split,
    of_whole,
    remarks,
    size_rows,
)
from geocube_ml.report.figures import MUTED, own_style, png_uri
from geocube_ml.report.judged import early_rows, interval_words, leads, left_out_rows, without_rows

Score = Mapping[str, Any]

BASELINE = MEAN

FIGURES = {"rmse": "RMSE", "mae": "MAE", "bias": "bias", "r2": "R²"}
_LEADS = {"rmse": "RMSE", "mae": "MAE", "r2": "R²"}
_IN_UNITS = ("rmse", "mae", "bias")
_FEW = 300  # pairs of which each is a dot
_VERY_FEW = 80  # that may be drawn larger
_BINS = 40
_DIGITS = 3  # of the smallest RMSE


def is_number(scores: Mapping[str, Any] | None) -> bool:
    """Whether scores are of models that estimate a number."""
    return scores is not None and scores.get("quantity") is not None


def best(scores: Mapping[str, Any]) -> Score | None:
    """The hold-out score of the model with the least RMSE; no baseline."""
    models = [s for s in of_split(scores, hold_out(scores)) if s["model"] != BASELINE]
    return min(models, key=lambda score: known(score["rmse"], float("inf")), default=None)


def judged_numbers(scores: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """What the page says of them.

    Parameters
    ----------
    scores : mapping
        With ``quantity``, as `evaluate_models` returns them.
    notes : sequence of str
        What stands at the top of the page already.
    """
    held = hold_out(scores)
    of_held = of_split(scores, held)
    whole = of_whole(scores)
    splits = [split for split in TITLES if of_split(scores, split)]
    sizes = size_rows(scores, splits)
    units = scores["quantity"]["units"]
    return {
        "column": scores["quantity"]["column"],
        "units": units,
        "named": named(scores["quantity"]),
        "decimals": decimals([score["rmse"] for score in scores["scores"]]),
        "in_units": _IN_UNITS,
        "figures": FIGURES,
        "split": TITLES[str(held)],
        "is_hold_out": held != "random",
        "best": best(scores),
        "intervals": interval_words(of_held),
        "splits": [
            {
                "title": TITLES[split],
                "scores": of_split(scores, split),
                "sizes": ", ".join(f"{what.lower()}: {texts[at]}" for what, texts in sizes),
            }
            for at, split in enumerate(splits)
        ],
        "leads": leads(of_held, _LEADS, BASELINE),
        "lead_keys": list(_LEADS),
        "scatters": _scatters([s for s in of_held if s["model"] != BASELINE], scores["quantity"]),
        "left_out": left_out_rows(scores, BASELINE),
        "whole": TITLES[str(whole[0]["split"] if whole else held)],
        "early": early_rows(scores, whole),
        "without": without_rows(scores, "rmse"),
        "remarks": [text for text in remarks(scores) if text not in notes],
    }


def named(quantity: Mapping[str, str]) -> str:
    """A number and its unit, where it has one.

    Examples
    --------
    >>> named({"column": "agb", "units": "Mg/ha"}), named({"column": "ratio", "units": ""})
    ('agb (Mg/ha)', 'ratio')
    """
    units = quantity["units"]
    return f"{quantity['column']} ({units})" if units else quantity["column"]


def decimals(errors: Sequence[float | None]) -> int:
    """Digits after the point that all figures of a page are written with.

    Examples
    --------
    >>> decimals([40.37, 9.1, None]), decimals([1234.5]), decimals([0.0])
    (2, 0, 2)
    """
    there = [error for error in errors if error is not None and error > 0]
    if not there:
        return _DIGITS - 1
    return max(0, _DIGITS - 1 - floor(log10(min(there))))


def number(value: float | None, digits: int, sign: bool = False) -> str:
    """A figure as it is written; a dash where there is none.

    Examples
    --------
    >>> number(-1234.56, 1), number(None, 1), number(2.0, 2, sign=True), number(-0.0001, 2)
    ('−1,234.6', '–', '+2.00', '0.00')
    """
    if value is None:
        return "–"
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def _scatters(held: Sequence[Score], quantity: Mapping[str, str]) -> list[dict[str, str]]:
    """A picture a model, all on the same axes."""
    pairs = [np.array(score["pairs"], np.float64).reshape(-1, 2) for score in held]
    every = np.concatenate([*pairs, np.zeros((0, 2))])
    if not every.size:
        return []
    low, high = float(every.min()), float(every.max())
    margin = 0.04 * (high - low) or 0.04 * abs(high) or 0.5
    ends = low - margin, high + margin
    return [
        {
            "model": score["model"],
            "uri": scatter_chart(points, ends, named(quantity)),
            "drawn": ""
            if len(points) == score["n_test"]
            else f"{len(points):,} of {score['n_test']:,}",
        }
        for score, points in zip(held, pairs, strict=True)
    ]


def scatter_chart(pairs: NDArray[np.float64], ends: tuple[float, float], name: str) -> str:
    """Estimates against labels, as a data URI: a dot each where they are few, else counted.

    Parameters
    ----------
    pairs : (n, 2) float64
        Label and estimate.
    ends : (low, high)
        Of both axes.
    name : str
        Of the number, with its unit.
    """
    with own_style():
        figure = Figure(figsize=(3.0, 2.9))
        axes = figure.add_axes((0.19, 0.16, 0.78, 0.81))
        axes.plot(ends, ends, color=MUTED, lw=1, zorder=3)
        if len(pairs) <= _FEW:
            size, alpha = (4, 0.7) if len(pairs) <= _VERY_FEW else (3, 0.45)
            axes.plot(*pairs.T, "o", ms=size, color="#1f5f96", alpha=alpha, mec="none", zorder=2)
        else:
            _counted(axes, pairs, ends)
        axes.set(xlim=ends, ylim=ends)
        axes.locator_params(nbins=5)
        axes.set_xlabel(f"label, {name}", color=MUTED, parse_math=False)
        axes.set_ylabel("estimate", color=MUTED)
        axes.grid(color="#eceeec", lw=0.8)
        axes.set_axisbelow(True)
        return png_uri(figure, 200)


def _counted(axes: Axes, pairs: NDArray[np.float64], ends: tuple[float, float]) -> None:
    labels, told = pairs.T
    count, across, up = np.histogram2d(labels, told, bins=_BINS, range=(ends, ends))
    shown = np.ma.masked_equal(count.T, 0)
    norm = LogNorm(0.5, max(float(count.max()), 1))  # from a shade that is seen on white
    axes.pcolormesh(across, up, shown, cmap="Blues", norm=norm, zorder=2, lw=0)
