"""Data sheet of a data set, in the sections of Gebru et al. (2021), "Datasheets for Datasets"."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pandas as pd

from geocube_ml.data.folds import SPLITS
from geocube_ml.data.sources import is_static, source_names
from geocube_ml.export.dataset.about import About
from geocube_ml.export.dataset.chips import LOST, step_names

_ROWS = 20  # of reasons that are listed
_ASKED = "_Not said. {}_"
_OF_SERIES = ["split", "polygons", "samples"]
_OF_LABEL = {
    "other split": "polygons of another split than their chip's, masked so that none leaks",
    "gap": "nearer than the gap to pixels of test or validation",
    "no split": "of polygons or ground that no sample was drawn from, or that name no split",
    "too few": "of chips with less than the least share of labelled pixels",
}


def datasheet(about: About) -> str:
    """Text of `datasheet.md`: seven sections, with what is known; what is not, is asked for."""
    parts = [
        [f"# {about.title}: data sheet"],
        ["After Gebru et al. (2021), Datasheets for Datasets, Communications of the ACM 64 (12)."],
        ["## Motivation", *_motivation(about)],
        ["## Composition", *_composition(about)],
        ["## Collection", *_collection(about)],
        ["## Preprocessing", *_preprocessing(about)],
        ["## Uses", *_uses(about)],
        ["## Distribution", *_distribution(about)],
        ["## Maintenance", *_maintenance(about)],
    ]
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def _motivation(about: About) -> list[str]:
    ask = _ASKED.format(
        "For what was it made, by whom, and who paid for it? Write it into `dataset.description`."
    )
    made_by = ", ".join(about.spec.providers)
    return [
        about.spec.description or ask,
        f"Made by {made_by}."
        if made_by
        else _ASKED.format("Who made it? Write it into `dataset.providers`."),
    ]


def _composition(about: About) -> list[str]:
    cube, n = about.chips.cube, about.samples.sizes["sample"]
    unit = "polygon" if about.draw.unit == "polygon" else "pixel"
    chips = (
        f"{len(about.every):,} image chips of {about.spec.chip} x {about.spec.chip} pixels with "
        "masks. What of a chip lies beyond the edge of the map is nodata."
        if about.every
        else "There are no image chips."
    )
    classes = about.by_class()
    area = classes["hectares"].sum() if "hectares" in classes else 0
    layers = (
        f"Labels of one place differ over time: a mask has {about.chips.n_layer} bands, each with "
        "labels of its own; `series.parquet` holds only the time steps in which a label is true."
        if about.chips.n_layer > 1
        else None
    )
    timed = about.labels and any(one.valid_from or one.valid_to for one in about.labels.sources)
    if timed and about.every:
        layers = (f"{layers} " if layers else "") + (
            "Labels are true for a time only; outside it series are nodata, images of chips not."
        )
    texts = [
        f"{n:,} labelled series, each of a {unit} (`series.parquet`). {chips}",
        _told([
            *((f"`{name}`", _source(about, name)) for name in source_names(cube)),
            ("Period", _period(about)),
            ("Grid", f"pixels of {about.chips.pixel_m:g} m, {about.chips.crs}"),
            ("Polygons", f"{int(classes['polygons'].sum()):,}, of {area:,.1f} ha in all"
             if about.polygons is not None else f"{int(classes['polygons'].sum()):,}"),
        ]),
        "By class:",
        _table(classes if about.every else classes.filter(regex="^(?!.* pixels$)")),
        "By split:",
        _table(about.by_split() if about.every else about.by_split()[_OF_SERIES]),
        f"Splits are by {about.splits.by}. A polygon is in one split only. "
        + (f"What is nearer than {about.splits.gap_m:g} m to test or validation is in none "
           "(`gap`)." if about.splits.gap_m else "No gap is kept between them."),
        _chipless(about),
        _distances(about),
        layers,
    ]  # fmt: skip
    return [text for text in texts if text]


def _source(about: About, name: str) -> str:
    cube = about.chips.cube
    attrs, bands = cube[name].attrs, [str(band) for band in cube[f"{name}_band"].values]
    shown = ", ".join(bands) if len(bands) <= 24 else f"{bands[0]} to {bands[-1]} ({len(bands)})"
    still = ", one layer" if is_static(cube[name]) else ""
    scale = f"{attrs.get('scale_factor', 1):g}"
    return (
        f"{attrs.get('long_name', name)}{still}: {shown}; {cube[name].dtype}, nodata "
        f"{attrs['nodata']:g}, value = count * {scale} + {attrs.get('add_offset', 0):g}"
        + (f" {attrs['units']}" if attrs.get("units", "1") != "1" else "")
    )


def _period(about: About) -> str:
    first, last = (moment[:10] for moment in about.interval)
    if not about.has_series:
        return f"{first} to {last}"
    steps = step_names(about.chips.cube)
    return f"{first} to {last}, {len(steps)} time steps, {steps[0]} to {steps[-1]}"


def _chipless(about: About) -> str | None:
    """Splits that have samples but no chip, and what helps."""
    lacking = [name for name in SPLITS if name in about.splits.count()
               and name not in {chip.split for chip in about.every}]  # fmt: skip
    if not about.every or not lacking:
        return None
    return (
        f"**No chip is of {' or '.join(lacking)}**: each belongs to the split that most of its "
        "labels have. Smaller chips (`dataset.chip`) or larger blocks (`samples.block_m`) change "
        "that."
    )


def _distances(about: About) -> str:
    least = about.distances()
    text = "Least distance between samples: " + "; ".join(
        f"{pair} {metres:,.0f} m" for pair, metres in least.items()
    )
    folds = about.samples.attrs.get("fold_distances")
    return (text + "." if least else "") + (
        f"\n\nDistances between folds, as the samples have them:\n\n{_folds(str(folds))}"
        if folds
        else ""
    )


def _folds(text: str) -> str:
    """A row a fold: how far its samples are from the nearest of the other folds."""
    rows = [
        {"kind": kind, "fold": fold, "samples": one.get("n"),
         "least m": one.get("min_m"), "median m": one.get("median_m")}
        for kind, folds in json.loads(text).items()
        for fold, one in folds.items()
    ]  # fmt: skip
    return _table(pd.DataFrame(rows))


def _short(value: object) -> str:
    return re.sub(r"^\{|\}$", "", json.dumps(value, ensure_ascii=False)).replace('"', "")


def _collection(about: About) -> list[str]:
    labels = about.labels
    texts = ["Images are composites of the clear observations of each time step."
             if about.has_series else "Images are layers without a time axis."]  # fmt: skip
    if labels:
        files = [
            f"- `{source.path.rpartition('/')[2]}`: "
            + (f"column `{source.class_column}`" if source.class_column
               else f"all {source.class_name}" if source.class_name else "a raster of classes")
            + (f", valid {source.valid_from or 'always'} to {source.valid_to or 'always'}"
               if source.valid_from or source.valid_to else "")
            for source in labels.sources
        ]  # fmt: skip
        texts += ["Labels, the most trusted first:", "\n".join(files)]
    texts.append(_ASKED.format(
        "Who labelled it, from what and when, and how certain are they? Write it into "
        "`dataset.description`."
    ) if not about.spec.description else "Of who labelled it and how: see Motivation.")  # fmt: skip
    return texts + ([_told(about.facts)] if about.facts else [])


def _preprocessing(about: About) -> list[str]:
    draw, texts = about.draw, []
    if about.labels:
        whole = " as a whole" if about.labels.whole_pixels else " with its centre"
        texts.append(
            f"A pixel is labelled if it lies{whole} at least {about.labels.inset_m:g} m inside "
            "its polygon. "
            + (f"What lies outside all labels is {about.labels.background.name}."
               if about.labels.background else "What lies outside the labels is unknown.")
        )  # fmt: skip
    drawn = [
        f"at most {draw.per_polygon} pixels a polygon" if draw.per_polygon else None,
        f"at most {draw.per_class} a class" if draw.per_class else None,
        f"{draw.share:.0%} of each class" if draw.share else None,
        "as many of each class as the rarest has" if draw.balanced else None,
        f"at least {draw.min_distance_m:g} m apart" if draw.min_distance_m else None,
    ]
    said = ", ".join(one for one in drawn if one) or "all"
    texts.append(f"Samples drawn: {said}; seed {draw.seed}.")
    merged = [one for one in about.class_table()["classes"] if one["merged_from"] != [one["name"]]]
    if merged:
        texts.append("Classes that were merged or renamed:")
        texts.append(
            "\n".join(f"- {one['name']}: from {', '.join(one['merged_from'])}" for one in merged)
        )
    lost = [(f"{about.samples.attrs['n_unobserved']:,} labelled pixels",
             "drawn, but never seen clearly: no samples")
            ] if about.samples.attrs.get("n_unobserved") else []  # fmt: skip
    if about.spec.chips != "none":
        lost += [(f"{about.lost[key]:,} labelled pixels", f"in no mask: {_OF_LABEL[key]}")
                 for key in LOST if about.lost.get(key)]  # fmt: skip
    texts += ["What was lost, and why:", _told(lost) if lost else "Of labelled pixels, none."]
    if about.problems is not None and len(about.problems):
        texts += ["Of the label files (each feature is named in the run's `labels_lost.csv`):",
                  _table(_reasons(about.problems))]  # fmt: skip
    return texts


def _reasons(problems: pd.DataFrame) -> pd.DataFrame:
    """Number of features by what was done and why, without what is of one feature alone."""
    done = problems["done"] if "done" in problems else pd.Series("left out", problems.index)
    why = problems["reason"].astype(str).map(lambda text: re.sub(r"\d[\d.,]*", "…", text[:100]))
    counts = pd.DataFrame({"done": done, "reason": why}).value_counts().reset_index(name="features")
    if len(counts) <= _ROWS:
        return counts
    rest = {"done": "", "reason": f"{len(counts) - _ROWS} further reasons",
            "features": counts["features"][_ROWS:].sum()}  # fmt: skip
    return pd.concat([counts[:_ROWS], pd.DataFrame([rest])])


def _uses(about: About) -> list[str]:
    rare = about.by_class()
    few = [row["class"] for _, row in rare.iterrows() if row["test samples"] == 0]
    texts = [
        (
            "Pixels or series are classified into these classes; masks also serve to segment. "
            "Judge on `test` alone, and choose settings on `validation`."
        ),
        "Unknown (255) is no class: leave it out of a loss and of scores.",
    ]
    if few:
        texts.append(
            f"No test sample has {', '.join(few)}: nothing can be said of how well "
            f"{'it is' if len(few) == 1 else 'they are'} found."
        )
    texts.append(
        "Labels tell of the places and years that they are of; elsewhere, and in other years, "
        "scores may be lower. Shares of classes among samples are not shares of the area."
    )
    return texts


def _distribution(about: About) -> list[str]:
    spec = about.spec
    ask = _ASKED.format(
        "Under what licence may others use it? Write its SPDX identifier into `dataset.licence`."
    )
    return [
        f"Licence: {spec.licence}." + (f" {ask}" if spec.licence == "proprietary" else ""),
        f"Cite as: {spec.citation}"
        if spec.citation
        else _ASKED.format("How is it cited? Write it into `dataset.citation`."),
        "Images keep the terms of those that they were made from, and labels those of their files.",
    ]


def _maintenance(about: About) -> list[str]:
    provenance = about.samples.attrs.get("provenance")
    made = json.loads(str(provenance)) if provenance else {}
    known = [(key, _short(made[key])) for key in made if key != "samples"]  # told above
    return [
        *(["Made with:", _told(known)] if known else []),
        _ASKED.format(
            "Who keeps it, and where are errors reported? Write it into `dataset.description`."
        )
        if not about.spec.description
        else "Of who keeps it and where errors are reported: see Motivation.",
    ]


def _told(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in facts)


def _table(frame: pd.DataFrame) -> str:
    """A table of Markdown."""
    rows = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value).replace("|", "\\|")
