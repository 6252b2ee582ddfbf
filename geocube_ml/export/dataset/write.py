"""A data set that others can use: series, chips with masks, splits, classes, a sheet, STAC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from geocube_ml.data.known import step_bounds
from geocube_ml.data.sources import source_names
from geocube_ml.data.table import write_samples
from geocube_ml.errors import InputError, listed
from geocube_ml.export.dataset.about import About, Interval
from geocube_ml.export.dataset.chips import Chip, Chips, Window
from geocube_ml.export.dataset.images import ZARR, ChipFiles, CogChips, ZarrChips
from geocube_ml.export.dataset.readme import readme
from geocube_ml.export.dataset.sheet import datasheet
from geocube_ml.export.dataset.splits import NAMES, split_samples
from geocube_ml.export.dataset.stac import COLLECTION, MARK, write_collection
from geocube_ml.files import Place, place, read_json, whole_folder, write_json
from geocube_ml.files import names as names_in
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.samples import SamplesSpec

SERIES, MANIFEST = "series.parquet", "splits.csv"
_SHEET, _README, _CLASSES = "datasheet.md", "README.md", "classes.json"
_OURS = {SERIES, MANIFEST, _SHEET, _README, _CLASSES, COLLECTION, "chips", ZARR}

Note = Callable[[int, int], None]
T = TypeVar("T")
R = TypeVar("R")

_SPEC, _DRAW = DatasetSpec(), SamplesSpec()


def _silent(done: int, total: int) -> None:
    """Say nothing."""


def export_dataset(
    cube: xr.Dataset,
    samples: xr.Dataset,
    folder: str | Place,
    spec: DatasetSpec = _SPEC,
    *,
    name: str = "dataset",
    draw: SamplesSpec = _DRAW,
    labels: LabelsSpec | None = None,
    polygons: pd.DataFrame | None = None,
    problems: pd.DataFrame | None = None,
    facts: Sequence[tuple[str, str]] = (),
    interval: Interval | None = None,
    chunk: int = 256,
    workers: int = 1,
    note: Note = _silent,
) -> dict[str, Any]:
    """Write a data set, whole or not at all.

    Parameters
    ----------
    cube : xarray.Dataset
        From `open_cube`, best with ``chunks=None``: sources, ``label`` and ``polygon``.
    samples : xarray.Dataset
        From `gather_samples`.
    folder : path or ``s3://`` address
        Replaced if it exists.  For a store it is made on this machine first.
    spec : DatasetSpec
        Which chips, and what is said of the data set.
    name : str
        Id of the collection.
    draw : SamplesSpec
        That the samples were gathered with: the gap, the blocks, what the sheet tells.
    labels : LabelsSpec, optional
        What the classes were merged from, and what the sheet tells.
    polygons : DataFrame, optional
        Of `labels.parquet`; the sheet tells areas by it.
    problems : DataFrame, optional
        Of `labels_lost.csv`.
    facts : sequence of (name, text)
        More that the sheet tells of how it was made.
    interval : pair of texts, optional
        First and last moment; by default that of the time axis.
    chunk : int
        Edge of a storage chunk of the cube in pixels.
    workers : int
        Threads; each holds about a chunk of one source, all steps and bands.
    note : callable
        Told how many windows of the cube are done.

    Returns
    -------
    dict
        ``samples`` and ``chips``, by split; ``labelled`` pixels of the cube and, by reason, those
        in no mask.

    Raises
    ------
    InputError
        A chip is larger than the cube; the folder holds something else; or the cube has no CRS, no
        labels, or neither `interval` nor a time axis that says where it ends.
    """
    lacking = [one for one in ("label", "polygon") if one not in cube]
    if lacking:
        raise InputError(
            f"The cube has no {' and no '.join(lacking)}. Run the step `labels` first."
        )
    where = place(folder)
    check_replaceable(where)
    interval = interval or _interval(cube)
    splits = split_samples(samples, draw)
    chips = Chips(cube, splits, spec, chunk)
    with whole_folder(where) as partial:
        every, lost = _write_chips(chips, partial, workers, note)
        about = About(
            name, spec, draw, samples, splits, chips, every, lost,
            interval, labels, polygons, problems, facts,
        )  # fmt: skip
        names = np.array(NAMES, object)[splits.of_sample]
        write_samples(samples.assign(split=("sample", names)), partial / SERIES)
        about.manifest().to_csv(partial / MANIFEST, index=False)
        (partial / _SHEET).write_text(datasheet(about), encoding="utf-8")
        (partial / _README).write_text(readme(about), encoding="utf-8")
        write_json(partial / _CLASSES, about.class_table())
        write_collection(about, partial)
    return {
        "samples": dict(splits.count()),
        "chips": dict(Counter(chip.split for chip in every)),
        **lost,
    }


def check_replaceable(folder: Place) -> None:
    """Refuse to replace a folder that is not wholly a data set of ours.

    Parameters
    ----------
    folder : Path or UPath
        One that is not there, or is empty, can be used.

    Raises
    ------
    InputError
        It lacks the series or the collection with our mark, or holds something else beside them.
    """
    there = {name for name in names_in(folder) if not name.startswith(".")}  # of file managers
    if not there:
        return
    other = sorted(there - _OURS)
    if {SERIES, COLLECTION} <= there and _is_marked(folder / COLLECTION):
        if not other:
            return
        said = f"{listed(other[:5])}, which is no part of the data set that it holds"
    else:
        said = f"{listed((other or sorted(there))[:5])} and is no data set of this program"
    raise InputError(
        f"{folder} holds {said}, so it is not replaced. Name another folder, or, if nothing in it "
        "is needed, remove it."
    )


def _is_marked(path: Place) -> bool:
    try:
        said = read_json(path)
    except ValueError:  # no JSON, so not of ours
        return False
    return isinstance(said, dict) and MARK in said


def _write_chips(
    chips: Chips, folder: Path, workers: int, note: Note
) -> tuple[list[Chip], dict[str, int]]:
    """Write images and masks; which chips there are, and what of the labels is in none."""
    lost: Counter[str] = Counter()
    every: list[Chip] = []
    if chips.spec.chips == "none":
        return every, dict(lost)

    # first the labels alone: a Zarr group must know how many chips there are
    def look(window: Window) -> tuple[list[Chip], dict[str, int]]:
        found, out = chips.masks(window)
        return [chip for chip, _ in found], out

    windows: list[Window] = []
    for window, (found, out) in _each(look, chips.windows(), workers):
        lost.update(out)
        every.extend(found)
        if found:
            windows.append(window)
    every.sort(key=lambda chip: (chip.row, chip.col))
    if not every:
        return every, dict(lost)
    files: ChipFiles
    files = (
        CogChips(chips, folder) if chips.spec.chips == "cog" else ZarrChips(chips, folder, every)
    )

    def write(window: Window) -> None:
        files.write(window, chips.masks(window)[0])

    for done, _ in enumerate(_each(write, windows, workers), start=1):
        note(done, len(windows))
    return every, dict(lost)


def _each(
    function: Callable[[T], R], tasks: Sequence[T] | Iterator[T], workers: int
) -> Iterator[tuple[T, R]]:
    """Tasks and their results as they are done; twice as many as threads are under way."""
    with ThreadPoolExecutor(workers) as pool:
        pending: dict[Any, T] = {}
        left = iter(tasks)
        try:
            while True:
                while len(pending) < 2 * workers and (task := next(left, None)) is not None:
                    pending[pool.submit(function, task)] = task
                if not pending:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    yield pending.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _interval(cube: xr.Dataset) -> Interval:
    """First and last moment of the time axis."""
    if not any("time" in cube[name].dims for name in source_names(cube)):
        raise InputError(
            "The cube has no time axis, but a data set says of when it is. Give `interval`, the "
            "first and the last moment, as ('2022-03-01T00:00:00Z', '2022-03-31T23:59:59Z')."
        )
    begin, end = step_bounds(cube)
    first = begin[0].astype("datetime64[s]")
    last = end[-1].astype("datetime64[s]") - np.timedelta64(1, "s")
    return f"{first}Z", f"{last}Z"
