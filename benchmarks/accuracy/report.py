"""The table, the chart, and the page of the documentation, all made from the file of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import claims

FIGURES = {"overall": "accuracy", "balanced": "balanced accuracy", "macro_f1": "macro-F1"}

Results = dict[str, Any]
"""The document of `benchmarks/results/accuracy.json`."""


def rows_of(results: Results, parent: str) -> list[tuple[str, dict[str, Any]]]:
    """(part, split) of a set as a line, and what was measured there."""
    found = []
    for name, of_set in results["sets"].items():
        if name.split("/")[0] != parent:
            continue
        part = name.partition("/")[2]
        for split, measured in of_set["splits"].items():
            label = f"{part} {split}".strip() if part else split
            found.append((label, {**measured, "set": name, "published": of_set["published"]}))
    return found


def parents_of(results: Results) -> list[str]:
    """Names of the sets, parts of one together."""
    return list(dict.fromkeys(name.split("/")[0] for name in results["sets"]))


def cells_of(results: Results, parent: str) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of a set's table: models are lines, or columns where there are few."""
    places = rows_of(results, parent)
    models = list(dict.fromkeys(name for _, of in places for name in of["models"]))
    grid = {
        (model, label): _cell(of["models"][model], of["figure"]) if model in of["models"] else ""
        for label, of in places
        for model in models
    }
    outside = {label: _published(of) for label, of in places}
    if len(places) <= 4:
        lines = [[model, *(grid[model, label] for label, _ in places)] for model in models]
        if any(outside.values()):
            lines.append(["published", *(outside[label] for label, _ in places)])
        return ["model", *(label for label, _ in places)], lines
    heading = ["split", *models, "published"]
    return heading, [
        [label, *(grid[model, label] for model in models), outside[label]] for label, _ in places
    ]


def show(results: Results, parent: str, width: int = 120) -> None:
    """Print the table of a set."""
    heading, lines = cells_of(results, parent)
    _, first = rows_of(results, parent)[0]
    table = Table(title=f"{parent}: {FIGURES[first['figure']]}, 95 % interval")
    for at, name in enumerate(heading):
        table.add_column(name, justify="left" if at == 0 else "right")
    for line in lines:
        table.add_row(*line)
    Console(width=width).print(table)


def show_targets(results: Results, width: int = 120) -> None:
    """Print what was aimed at, beside what came out."""
    table = Table(title="Targets")
    for name in ("target", "wanted", "measured", ""):
        table.add_column(name, justify="right" if name in ("wanted", "measured") else "left")
    for one in results["targets"]:
        table.add_row(
            one["what"], f"{one['wanted']:.3f}", one["said"], "met" if one["met"] else "not met"
        )
    Console(width=width).print(table)


def draw(results: Results, path: Path) -> None:
    """A panel a set: every model's figure and interval, a colour a split."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parents = parents_of(results)
    figure, panels = plt.subplots(
        len(parents), 1, figsize=(9, 0.6 + 2.9 * len(parents)), squeeze=False, layout="constrained"
    )
    for parent, panel in zip(parents, panels[:, 0], strict=True):
        places = rows_of(results, parent)
        models = list(dict.fromkeys(name for _, of in places for name in of["models"]))
        many = len(places) > 4
        along, across = (places, models) if many else (models, places)
        for number, one in enumerate(across):
            shift = 0.7 * ((number + 0.5) / len(across) - 0.5)
            at, values, below, above = [], [], [], []
            for position, other in enumerate(along):
                (_, of), model = (other, one) if many else (one, other)
                said = of["models"].get(model)
                if said is None:
                    continue
                value = said[of["figure"]]
                at.append(position + shift)
                values.append(value)
                low, high = said["interval"] or (value, value)
                below.append(max(value - low, 0))
                above.append(max(high - value, 0))
            panel.errorbar(
                at, values, [below, above], fmt="o", markersize=4, capsize=2, linewidth=1,
                label=one if many else one[0],
            )  # fmt: skip
        _draw_published(panel, places, along, many)
        names = [label.replace(" random", "") for label, _ in places] if many else models
        panel.set_xticks(range(len(along)), names, rotation=20, ha="right")
        panel.set_ylabel(FIGURES[places[0][1]["figure"]])
        only = f", {places[0][0]} split" if len(places) == 1 else ""
        panel.set_title(f"{parent}{only}", loc="left", fontsize=10)
        panel.margins(y=0.1)
        panel.grid(axis="y", linewidth=0.4)
        whole = [at for at, (_, of) in enumerate(places) if many and of["kind"] != "random"]
        for at in whole:  # of all parts together
            panel.axvline(at - 0.5, color="0.4", linewidth=0.9)
        if len(places) > 1:
            panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_published(panel: Any, places: list[Any], along: list[Any], many: bool) -> None:
    """Published figures: a line across, or a stroke over a place."""
    told = False
    for position, (_, of) in enumerate(places):
        for one in of["published"]:
            if one["split"] != of["kind"] or one["figure"] != of["figure"]:
                continue
            # from left of the first model, where there is room for a name, across all
            ends = (position - 0.45, position + 0.45) if many else (-1.1, len(along) - 0.5)
            panel.hlines(
                one["value"], *ends, colors="0.4", linestyles="dashed", linewidth=0.9,
                label=None if told else "published",
            )  # fmt: skip
            if not many:
                panel.text(ends[0], one["value"], one["model"], fontsize=6, va="bottom")
            told = True


def _cell(said: dict[str, Any], figure: str) -> str:
    value, ends = said[figure], said["interval"]
    if ends is None:
        return f"{value:.3f}"
    return f"{value:.3f} ±{max(abs(end - value) for end in ends):.3f}"


def _published(measured: dict[str, Any]) -> str:
    found = [
        f"{one['model']} {one['value']:.3f}"
        for one in measured["published"]
        if one["split"] == measured["kind"] and one["figure"] == measured["figure"]
    ]
    return ", ".join(found)


BEGIN = "<!-- figures: made by python -m benchmarks.accuracy -->\n"
END = "<!-- end of figures -->\n"
"""Between these the page of the documentation is made."""


def write_page(results: Results, path: Path) -> None:
    """Put the figures into the page of the documentation."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{page(results)}\n{END}{after}")


def page(results: Results) -> str:
    """The part of ``docs/accuracy.md`` that is made of figures, as Markdown."""
    machine = results["machine"]
    software = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    measured_on = (
        f"Measured on {results['when'][:10]} with {machine['cores']} cores ({machine['cpu']}), "
        f"{software}."
    )
    parts = [measured_on]
    for parent in parents_of(results):
        heading, lines = cells_of(results, parent)
        of = [measured for _, measured in rows_of(results, parent)]
        repeats = sorted({(one["kind"], one["folds"], one["seeds"]) for one in of})
        said = "; ".join(
            f"{kind}: {_counted(n_fold, 'fold')}, {_counted(seeds, 'repeat')}"
            for kind, n_fold, seeds in repeats
        )
        drawn = ", ".join(sorted({one["interval_by"] for one in of}))
        parts.append(
            f"### {parent}\n\n{_sentence(FIGURES[of[0]['figure']])}, 95 % interval drawn over "
            f"{drawn}. {_sentence(said)}.\n\n{_markdown(heading, lines)}"
        )
        parts += [text for text in (_each(results, parent), _ahead(results, parent)) if text]
    rows = [
        [one["what"], f"{one['wanted']:.3f}", one["said"], "met" if one["met"] else "not met"]
        for one in results.get("targets", ())
    ]
    if rows:
        table = _markdown(["target", "wanted", "measured", ""], rows)
        parts.append(f"### What was aimed at\n\n{table}")
    if "claims" in results:
        parts.append(_claims(results["claims"]))
    return "\n\n".join(parts) + "\n"


def _each(results: Results, parent: str) -> str:
    """What was left out in turn, one by one."""
    tables = []
    for _, measured in rows_of(results, parent):
        if "groups" not in measured:
            continue
        models = measured["models"]
        rows = [
            [name, *(f"{said['by_fold'][at]:.3f}" for said in models.values())]
            for at, name in enumerate(measured["groups"])
        ]
        tables.append("Left out in turn:\n\n" + _markdown(["left out", *models], rows))
    return "\n\n".join(tables)


def _claims(measured: dict[str, Any]) -> str:
    """The simulated ground, as tables; their picture lies beside the file of results."""
    seeds = _counted(measured["seeds"], "seed")
    head = (
        "### Simulated ground\n\nTrained on fields of the western part of a map: macro-F1 of "
        "every pixel of the eastern part. 95 % interval of the first seed, drawn over fields; "
        f"{seeds}.\n\n"
        "![Few labels, other places, fewer bands](../benchmarks/results/accuracy-claims.png)"
    )
    parts = [head]
    for title, heading, lines in claims.tables(measured):
        parts.append(f"{_sentence(title)}:\n\n{_markdown(heading, lines)}")
    return "\n\n".join(parts)


def _ahead(results: Results, parent: str) -> str:
    """How far each model is ahead of the forest, series by series."""
    rows = []
    for label, measured in rows_of(results, parent):
        for model, said in measured["models"].items():
            ends = said.get("ahead_interval")
            if ends:
                between = f"{ends[0]:+.3f} to {ends[1]:+.3f}"
                rows.append([label, model, f"{said['ahead']:+.3f}", between])
    if not rows:
        return ""
    return "Ahead of the forest, paired:\n\n" + _markdown(
        ["split", "model", "ahead", "95 % interval"], rows
    )


def _markdown(heading: list[str], lines: list[list[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
