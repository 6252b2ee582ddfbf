"""What is claimed of TempCNN, on simulated ground: few labels, clouds, other places, fewer bands.

Models are trained on labelled fields of the western part of a map, and every pixel of the eastern
part is judged against the truth.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.ground import Ground, Place, make_ground
from geocube_ml import gather_samples, predict_map
from geocube_ml.files import whole_file
from geocube_ml.kernels.accuracy import confusion, figures
from geocube_ml.kernels.bootstrap import interval, resampled_sums
from geocube_ml.sim.phenology import BANDS, N_FINE, SCHEME
from geocube_ml.spec.base import digest
from geocube_ml.spec.models import ModelSpec
from geocube_ml.spec.networks import TempCNNSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.spec.tables import ForestSpec

MODELS = ("tempcnn", "unet", "forest")
SHARES = (1.0, 0.3, 0.1, 0.03)
"""Of the labelled fields of each class; of the least there is one a class at least."""

CUT = 192
"""Column of the map where the part that is judged begins; a multiple of U-Net's stride."""

MARGIN = 10
"""Columns before it whose fields are not trained on."""

_DRAWS = 500
_SIZES = {"quick": 192, "full": 384}
_ELSEWHERE = {
    "same place": {},
    "another place": {"seed": 1},
    "12 days later": {"days_late": 12.0},
    "brighter by a tenth": {"gain": 1.1, "offset": 0.005},
    "another place, later, brighter": {
        "seed": 1, "days_late": 12.0, "gain": 1.1, "offset": 0.005,
    },
}  # fmt: skip
"""Where and when models are used that were trained at the first."""


@dataclass(frozen=True)
class Case:
    """A model trained at one place, and judged at some."""

    model: str
    place: Place
    share: float
    bands: int
    seed: int
    judged: tuple[Place, ...]

    @property
    def name(self) -> str:
        """Of the file that keeps it."""
        spec = _spec(self.model, 0, self.seed).result()
        return f"claim-{self.model}-{digest([asdict(self), spec])}.json"


def run(kept: Path, workers: int | None = None, *, full: bool = False) -> dict[str, Any]:
    """Fit and judge all cases, as many at a time as there are cores.

    Parameters
    ----------
    kept : path
        Folder of what is done, so that a run that was stopped goes on.
    workers : int, optional
        Processes; with 1 none but this one.
    full : bool
        A larger map and three seeds instead of one.

    Returns
    -------
    dict
        For the file of results: ``few`` (labels), ``elsewhere``, ``bands``, each a list of what was
        measured, with 95 % intervals over the fields that are judged.
    """
    size, seeds = _SIZES["full" if full else "quick"], range(3 if full else 1)
    kept.mkdir(parents=True, exist_ok=True)
    cases = cases_of(size, seeds)
    for number, case in enumerate(_done(cases, kept, workers or _cores()), start=1):
        print(f"  simulated: {number} of {len(cases)}  {case.model} {case.share:g}", flush=True)
    told = {case: json.loads((kept / case.name).read_text()) for case in cases}
    for case in cases:
        (kept / case.name).unlink()
    return document(told, size, len(seeds))


def cases_of(size: int, seeds: Sequence[int]) -> list[Case]:
    """All that is fitted."""
    found = []
    for cover in (0.0, 0.5):
        home = Place(size, cloud_cover=cover)
        for share in SHARES:
            places = (home,)
            if cover and share == 1:
                places = tuple(Place(size, **changes) for changes in _ELSEWHERE.values())
            found += [(home, share, len(BANDS), places)]
        if cover:
            found += [(home, share, N_FINE, (home,)) for share in (1.0, 0.1)]
    return [
        Case(model, home, share, bands, seed, places)
        for home, share, bands, places in found
        for seed in seeds
        for model in MODELS
    ]


def do(case: Case, kept: Path) -> None:
    """Fit a model, and keep its figures at each place."""
    from geocube_ml.train import train_model

    samples = _samples(case.place).isel(s2_band=slice(case.bands))
    rows = chosen_rows(samples, case.share, case.seed)
    bundle = train_model(
        samples, _spec(case.model, int(rows.sum()), case.seed), rows=rows,
        cube=_bands(make_ground(case.place), case.bands),
    )  # fmt: skip
    polygons = len(np.unique(samples["polygon"].values[rows]))
    said = []
    for place in case.judged:
        ground = make_ground(place)
        east = _bands(ground, case.bands).isel(x=slice(CUT, None))
        mapped = predict_map(east, bundle)["class"].compute(scheduler="sync").values
        said.append(_judged(mapped, ground))
    with whole_file(kept / case.name) as partial:
        Path(partial).write_text(json.dumps({"polygons": polygons, "judged": said}))


def chosen_rows(samples: xr.Dataset, share: float, seed: int) -> NDArray[np.bool_]:
    """(sample,) rows of a share of the polygons of each class that lie west of the cut.

    Those of a smaller share are among those of a larger one.
    """
    x, polygon = samples["x"].values, samples["polygon"].values
    west = np.sort(np.unique(x))[0] + 10 * (CUT - MARGIN)
    beyond = np.unique(polygon[x > west])
    number, first = np.unique(polygon, return_index=True)
    label = samples["label"].values[first]
    rng = np.random.default_rng([seed, 1])
    chosen = []
    for code in np.unique(label):
        mine = rng.permutation(np.setdiff1d(number[label == code], beyond))
        chosen.append(mine[: max(round(share * len(mine)), 1)])
    return np.isin(polygon, np.concatenate(chosen))


def document(told: dict[Case, Any], size: int, n_seed: int) -> dict[str, Any]:
    """Figures for the file of results: means over seeds, and the interval of the first seed."""
    few, elsewhere, bands = [], [], []
    for case in told:
        if case.seed:
            continue
        same = [
            said for other, said in told.items() if _but_seed(other) == _but_seed(case)
        ]  # fmt: skip
        base = {"model": case.model, "polygons": told[case]["polygons"], "share": case.share}
        figure = _mean([said["judged"][0] for said in same])
        if case.bands == len(BANDS):
            few.append({**base, "cloudy": case.place.cloud_cover > 0, **figure})
        if case.place.cloud_cover and case.share in (1.0, 0.1):
            bands.append({**base, "bands": case.bands, **figure})
        if len(case.judged) > 1:
            elsewhere += [
                {**base, "where": where, **_mean([said["judged"][at] for said in same])}
                for at, where in enumerate(_ELSEWHERE)
            ]
    return {
        "figure": "macro_f1", "size": size, "seeds": n_seed, "few": few, "elsewhere": elsewhere,
        "bands": bands,
    }  # fmt: skip


def show(claims: dict[str, Any], width: int = 120) -> None:
    """Print the three tables."""
    for title, heading, lines in tables(claims):
        table = Table(title=f"Simulated, {title}: macro-F1 of every pixel, 95 % interval")
        for name in heading:
            table.add_column(name, justify="left" if name == "where" else "right")
        for line in lines:
            table.add_row(*line)
        Console(width=width).print(table)


def tables(claims: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, heading and lines of the three tables."""
    found = []
    for title, part, keys in (
        ("labelled fields", "few", ("cloudy", "share", "polygons")),
        ("used elsewhere", "elsewhere", ("where",)),
        ("bands", "bands", ("share", "bands")),
    ):
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        for one in claims[part]:
            line = lines.setdefault(tuple(_plain(one[key]) for key in keys), {})
            low, high = one["interval"]
            line[one["model"]] = f"{one['macro_f1']:.3f} ({low:.3f}-{high:.3f})"
        heading = [*("" if key == "cloudy" else key for key in keys), *MODELS]
        found.append(
            (
                title, heading,
                [[*key, *(line.get(model, "") for model in MODELS)] for key, line in lines.items()],
            )
        )  # fmt: skip
    return found


def draw(claims: dict[str, Any], path: Path) -> None:
    """Three panels: by the share of labelled fields, elsewhere, and by bands."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(14, 4.6), sharey=True, layout="constrained")
    looks = dict(zip(MODELS, (("#1f6fb4", "o"), ("#d1495b", "s"), ("#3b3b3b", "^")), strict=False))
    for model in MODELS:
        for cloudy in (False, True):
            line = [one for one in claims["few"]
                    if (one["model"], one["cloudy"]) == (model, cloudy)]  # fmt: skip
            name, style = (f"{model}, cloudy", "-") if cloudy else (f"{model}, clear", ":")
            beside = 1 + 0.05 * (2 * MODELS.index(model) + cloudy - len(MODELS) + 0.5)
            at = np.array([100 * one["share"] for one in line]) * beside
            _bars(panels[0], at, line, looks[model], name, style)
        line = [one for one in claims["elsewhere"] if one["model"] == model]
        at = np.arange(len(line)) + 0.12 * (MODELS.index(model) - 1)
        _bars(panels[1], at, line, looks[model], model, "")
        line = [one for one in claims["bands"] if one["model"] == model]
        line = sorted(line, key=lambda one: (one["share"], one["bands"]))
        at = np.arange(len(line)) + 0.12 * (MODELS.index(model) - 1)
        _bars(panels[2], at, line, looks[model], model, "")
    panels[0].set(xscale="log", xlabel="labelled fields, % (log)", title="Few labels")
    panels[0].set_xticks([100 * share for share in SHARES], [f"{100 * s:g}" for s in SHARES])
    panels[0].minorticks_off()
    names = [name.replace(", ", ",\n") for name in _ELSEWHERE]
    panels[1].set_xticks(range(len(names)), names, rotation=25, ha="right")
    panels[1].set_title("Trained at one place, used elsewhere (cloudy)")
    kinds = sorted({(one["share"], one["bands"]) for one in claims["bands"]})
    panels[2].set_xticks(range(len(kinds)), [f"{b} bands\n{100 * s:g} %" for s, b in kinds])
    panels[2].set_title("Bands, share of labelled fields (cloudy)")
    for panel in panels:
        panel.set_ylabel("macro-F1 of every pixel")
        panel.grid(axis="y", linewidth=0.4)
        panel.legend(fontsize=7, frameon=False, loc="best" if panel is panels[1] else "lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(
    panel: Any, at: Any, line: list[Any], look: tuple[str, str], name: str, style: str
) -> None:
    values = np.array([one["macro_f1"] for one in line])
    ends = np.array([one["interval"] for one in line]).T
    panel.errorbar(
        at, values, [values - ends[0], ends[1] - values], color=look[0], label=name, fmt=look[1],
        markersize=4, linestyle=style or "none", linewidth=1.2, elinewidth=0.8, capsize=2,
    )  # fmt: skip


def _spec(model: str, n_row: int, seed: int) -> ModelSpec:
    """Defaults, but for smaller batches of few rows, and a U-Net as small as the ground."""
    if model == "forest":
        return ForestSpec(seed=seed)
    if model == "unet":
        return UNetSpec(width=16, batch=4, epochs=40, seed=seed)
    few = {"batch": 32, "epochs": 40} if n_row < 2000 else {}
    return TempCNNSpec(seed=seed, **few)


@lru_cache(maxsize=2)
def _samples(place: Place) -> xr.Dataset:
    return gather_samples(make_ground(place).cube, SamplesSpec(per_polygon=20, block_m=300))


def _bands(ground: Ground, n: int) -> xr.Dataset:
    """The cube with its first bands; those of 10 m come first."""
    return ground.cube.isel(s2_band=slice(n))


def _judged(mapped: NDArray[np.uint8], ground: Ground) -> dict[str, Any]:
    """Macro-F1 of every pixel east of the cut, and its interval over the fields there."""
    truth, field = ground.truth[:, CUT:].ravel(), ground.field[:, CUT:].ravel()
    n_class = len(SCHEME.names)
    _, at = np.unique(field, return_inverse=True)
    sums = np.zeros((at.max() + 1, n_class, n_class))
    known = mapped.ravel() < n_class
    np.add.at(sums, (at[known], truth[known], mapped.ravel()[known]), 1)
    whole = confusion(truth, mapped.ravel(), n_class)
    value = float(figures(whole)["macro_f1"])
    drawn = figures(resampled_sums(sums, _DRAWS, np.random.default_rng(0)))["macro_f1"]
    return {"macro_f1": value, "interval": [float(end) for end in interval(drawn, value)]}


def _done(cases: list[Case], kept: Path, workers: int) -> Iterator[Case]:
    """Cases, in their order, as they are done or were before."""
    if workers == 1:
        for case in cases:
            _once(case, kept)
            yield case
        return
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        yield from (
            case for case, _ in zip(cases, pool.map(_once, cases, [kept] * len(cases)), strict=True)
        )


def _once(case: Case, kept: Path) -> None:
    if not (kept / case.name).exists():
        do(case, kept)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _but_seed(case: Case) -> tuple[Any, ...]:
    return case.model, case.place, case.share, case.bands, case.judged


def _mean(judged: list[dict[str, Any]]) -> dict[str, Any]:
    values = [one["macro_f1"] for one in judged]
    return {
        "macro_f1": round(float(np.mean(values)), 4),
        "interval": [round(end, 4) for end in judged[0]["interval"]],
        "by_seed": [round(value, 4) for value in values],
    }


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "cloudy" if value else "clear"
    return f"{100 * value:g} %" if isinstance(value, float) else str(value)
