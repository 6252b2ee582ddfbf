"""The page: sections from what there is, and a sentence where something is not made yet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from geocube_ml.data.sources import source_names
from geocube_ml.evaluate.notes import TITLES
from geocube_ml.evaluate.scores import BOUND
from geocube_ml.files import Place, place, whole_file
from geocube_ml.report import accuracy, judged, numbers
from geocube_ml.report.curves import early_chart, reliability_chart
from geocube_ml.report.doubt import doubtful as doubtful_labels
from geocube_ml.report.labels import drawn as drawn_samples
from geocube_ml.report.labels import labelled
from geocube_ml.report.labels import problems as problems_of
from geocube_ml.report.observations import clear_tables, observations, seen_table
from geocube_ml.report.pictures import maps, series
from geocube_ml.report.sources import cards
from geocube_ml.report.steps import step_word
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.recipe import Recipe

_HERE = Path(__file__).parent


def write_report(
    path: str | Place,
    *,
    title: str,
    cube: xr.Dataset | None = None,
    samples: xr.Dataset | None = None,
    scores: Mapping[str, Any] | None = None,
    labels: pd.DataFrame | None = None,
    problems: pd.DataFrame | None = None,
    doubtful: pd.DataFrame | None = None,
    facts: Sequence[tuple[str, Any]] | None = None,
    notes: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    area: Any = None,
    areas: Mapping[str, Any] | None = None,
) -> Place:
    """Write one self-contained HTML page; the same bytes for the same input.

    Parameters
    ----------
    path : path or ``s3://`` address
        Replaced if it exists; written whole or not at all.
    title : str
        Heading of the page.
    cube : Dataset, optional
        Raw counts, read coarsely.  May hold ``class`` (y, x) and ``label`` (y, x) codes, ``prob``
        (class_name, y, x), ``doubt`` (y, x); series NAME (time, NAME_band, y, x) and NAME_clear
        (time, y, x); static sources NAME (NAME_band, y, x) and NAME_clear (y, x).
    samples : Dataset, optional
        NAME (sample, time, NAME_band) or (sample, NAME_band) counts and ``label`` (sample).
    scores : mapping, optional
        ``classes`` (``names`` and ``colors``), ``scores``, ``reference`` and ``notes``.
    labels : DataFrame, optional
        ``polygon``, ``class`` and ``area_m2`` of the labels that are used.
    problems : DataFrame, optional
        ``source``, ``feature``, ``class``, ``reason``, ``done``, ``area_m2`` of labels that were
        left out or changed.
    doubtful : DataFrame, optional
        Labels that the doctor doubts, the worst first.
    facts : sequence of (name, value), optional
        Where the page comes from: period, grid, digests, software.
    notes : sequence of str, optional
        What a reader must know first.
    recipe : Recipe, optional
        That made the cube: says how its sources were masked and composited.
    area : shapely geometry in the cube's CRS, optional
        The area to map: what was observed is counted within it.
    areas : mapping, optional
        Areas by points that people looked at, from `estimate_areas`.

    Returns
    -------
    Path or UPath
    """
    path = place(path)
    text = render(
        title, cube, samples, scores, labels, problems, doubtful, facts or (), notes or (), recipe,
        area, areas,
    )  # fmt: skip
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def render(
    title: str,
    cube: xr.Dataset | None,
    samples: xr.Dataset | None,
    scores: Mapping[str, Any] | None,
    labels: pd.DataFrame | None,
    problems: pd.DataFrame | None,
    doubtful: pd.DataFrame | None,
    facts: Sequence[tuple[str, Any]],
    notes: Sequence[str],
    recipe: Recipe | None = None,
    area: Any = None,
    areas: Mapping[str, Any] | None = None,
) -> str:
    """The page as text; parameters as `write_report`."""
    scheme = _scheme(cube, samples, scores)
    told, estimated = None, None
    if scores is not None and scores["scores"]:
        if numbers.is_number(scores):
            estimated = numbers.judged_numbers(scores, notes)
        else:
            told = _judged(scores, notes)
    known = None
    if samples is not None and scheme is not None and source_names(samples):
        known = series(samples, scheme)
    clear = {} if cube is None else clear_tables(cube, area)
    drawn = None if cube is None else maps(cube, scheme, clear)
    page: str = _template().render(
        title=title,
        summary=_summary(scores, cube, samples, facts),
        notes=list(notes),
        maps=drawn,
        judged=told,
        numbers=estimated,
        areas=judged.area_rows(areas),
        reference=accuracy.reference_rows((scores or {}).get("reference") or ()),
        titles=TITLES,
        scheme=scheme,
        series=known,
        in_time=samples is not None and "time" in samples.dims,
        sources=[] if cube is None or drawn is None else cards(cube, recipe, drawn.others),
        seen=[] if cube is None else seen_table(cube, clear, area),
        observations=observations(clear),
        labelled=labelled(labels, cube, samples, scheme),
        problems=None if problems is None else problems_of(problems),
        drawn=None if samples is None else drawn_samples(samples, scheme),
        has_samples=samples is not None,
        doubtful=None if doubtful is None or doubtful.empty else doubtful_labels(doubtful, cube),
        has_area=area is not None,
        facts=[(str(name), str(value)) for name, value in facts],
    )
    return page


def _signed(value: float) -> str:
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def _template() -> Any:
    env = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["css"] = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
    env.globals["baseline"] = accuracy.BASELINE
    env.globals["bound"] = BOUND
    env.globals["mean"] = numbers.BASELINE
    env.filters |= {
        "ends": judged.ends,
        "number": numbers.number,
        "two": lambda value: "–" if value is None else f"{value:.2f}",
        "three": lambda value: "–" if accuracy.known(value) is None else f"{value:.3f}",
        "signed": lambda value: "–" if value is None else _signed(value),
        "percent": lambda value: "–" if value is None else f"{value:.1%}",
        "count": "{:,}".format,
        "area": lambda size: "–" if accuracy.known(size) is None else f"{size:,.2f}",
        "metres": lambda value: "–" if value is None else f"{value:,.0f}",
    }
    return env.get_template("page.html")


def _scheme(
    cube: xr.Dataset | None, samples: xr.Dataset | None, scores: Mapping[str, Any] | None
) -> ClassScheme | None:
    """Classes as whoever knows their names tells them; the map's attributes may shorten them."""
    if scores is not None:
        return ClassScheme(**scores["classes"])
    for data, name in ((cube, "class"), (samples, "label"), (cube, "label")):
        if data is None or name not in data or "flag_colors" not in data[name].attrs:
            continue
        attrs = data[name].attrs
        words = [word.replace("_", " ") for word in str(attrs["flag_meanings"]).split()]
        colors = str(attrs["flag_colors"]).split()
        return ClassScheme(names=tuple(attrs.get("class_names", words)), colors=tuple(colors))
    return None


def _judged(scores: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    held = accuracy.hold_out(scores)
    of_held, best = accuracy.of_split(scores, held), accuracy.best(scores)
    sure = judged.calibration(of_held)
    whole = accuracy.of_whole(scores)
    early = judged.early_rows(scores, whole)
    return {
        "split": TITLES[str(held)],
        "is_hold_out": held != "random",
        "best": best,
        "intervals": judged.interval_words(of_held),
        "leads": judged.leads(of_held),
        "detail": judged.class_detail(best, scores["classes"]["names"]),
        "calibration": sure,
        "reliability": [(s["model"], reliability_chart(s)) for s in sure if s.get("reliability")],
        "whole": TITLES[str(whole[0]["split"] if whole else held)],
        "early": early,
        "early_chart": None if early is None else early_chart(early),
        "without": judged.without_rows(scores),
        "left_out": judged.left_out_rows(scores),
        "table": accuracy.split_table(scores),
        "optimism": accuracy.optimism_of_best(scores),
        "models": [score["model"] for score in of_held],
        "scores": of_held,
        "classes": accuracy.class_rows(scores),
        "matrices": accuracy.matrices(scores),
        "remarks": [text for text in accuracy.remarks(scores) if text not in notes],
    }


def _summary(
    scores: Mapping[str, Any] | None,
    cube: xr.Dataset | None,
    samples: xr.Dataset | None,
    facts: Sequence[tuple[str, Any]],
) -> dict[str, Any]:
    """The figures of the first line; None where one is not known."""
    best = None
    if scores is not None:
        best = numbers.best(scores) if numbers.is_number(scores) else accuracy.best(scores)
    starts = next(
        (pd.DatetimeIndex(data["time"].to_numpy())
         for data in (cube, samples) if data is not None and "time" in data.dims),
        None,
    )  # fmt: skip
    told = {name.lower(): str(value) for name, value in facts}
    items = re.match(r"[\d,]+", told.get("items", ""))
    polygons = re.search(r"([\d,]+) polygons?\b", "; ".join(told.values()))
    n_polygon = polygons[1] if polygons else None
    if n_polygon is None and best is not None:
        n_polygon = f"{best['train_polygons'] + best['test_polygons']:,}"
    return {
        "best": best,
        "is_hold_out": best is not None and best["split"] != "random",
        "counts": [
            f"{n} {what if n != '1' else what.removesuffix('s')}"
            for n, what in (
                *([(str(len(starts)), f"{step_word(starts)}s")] if starts is not None else []),
                (items[0] if items else None, "items"),
                (n_polygon, "polygons"),
            )
            if n
        ],
    }
