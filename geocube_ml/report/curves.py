"""Charts of models: how sure they are, and how early they are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from geocube_ml.report.figures import MUTED, RULE, own_style, svg_uri

_COLORS = ("#1f5f96", "#b4521e", "#4b8b5a", "#7a5195", "#a28312", "#5b6770", "#c0507a", "#2a9d9d")
_GRID = "#eceeec"

Score = Mapping[str, Any]


def reliability_chart(score: Score) -> str:
    """How often a model is right by how sure it is, before and after the temperature, as a URI."""
    with own_style():
        figure = Figure(figsize=(3.0, 2.5))
        axes = figure.add_axes((0.15, 0.17, 0.82, 0.8))
        axes.plot([0, 1], [0, 1], color=RULE, lw=1)
        said = np.array(score["reliability"])
        for (n, sure, right), color, name, width in zip(
            said, ("#b3b8b6", _COLORS[0]), ("before", "after"), (1.2, 1.8), strict=True
        ):
            there = n > 0
            axes.plot(
                sure[there] / n[there], right[there] / n[there], color=color, lw=width,
                marker="o", ms=3, label=name,
            )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("how sure", color=MUTED)
        axes.set_ylabel("how often right", color=MUTED)
        axes.grid(color=_GRID, lw=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="upper left", handlelength=1.4)
        return svg_uri(figure)


def early_chart(table: Mapping[str, Any]) -> str:
    """Macro-F1 by the steps that are known, a line a model, as a URI; see `early_rows`."""
    with own_style():
        figure = Figure(figsize=(5.4, 2.6))
        axes = figure.add_axes((0.075, 0.16, 0.915, 0.8))
        rows = table["rows"]
        at = np.arange(len(rows))
        for number, model in enumerate(table["models"]):
            color = _COLORS[number % len(_COLORS)]
            cells: Sequence[Any] = [row["cells"][number] for row in rows]
            value = np.array([_value(cell) for cell in cells])
            low, high = (np.array([_end(cell, side) for cell in cells]) for side in (0, 1))
            axes.fill_between(at, low, high, color=color, alpha=0.13, linewidth=0)
            axes.plot(at, value, color=color, lw=1.8, marker="o", ms=3.2, label=model)
        axes.set_xticks(at, [str(row["steps"] or "all") for row in rows])
        axes.set_xlabel("time steps that are known", color=MUTED)
        axes.set_ylim(0, 1.02)
        axes.grid(axis="y", color=_GRID, lw=0.8)
        axes.set_axisbelow(True)
        legend = axes.legend(frameon=False, loc="lower right", handlelength=1.4)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return svg_uri(figure)


def _value(score: Score | None) -> float:
    value = None if score is None else score["macro_f1"]
    return np.nan if value is None else float(value)


def _end(score: Score | None, side: int) -> float:
    ends = None if score is None else (score.get("interval") or {}).get("macro_f1")
    return np.nan if ends is None else float(ends[side])
