"""The archive on disk: COGs, STAC items, labels, the true map, the best possible map.

The scenes lie in ``items/<id>.json`` and ``cogs/<id>/<asset>.tif``, the polygons in
``labels.gpkg``, the maps in ``truth.tif`` and ``best.tif``.  ``archive.json`` is written last:
without it the archive counts as interrupted and is made again.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from geocube_ml.errors import MissingError, StaleTarget
from geocube_ml.files import Place, discard, names, place, read_json, sweep, upload, write_json
from geocube_ml.raster import write_cog
from geocube_ml.sim.best import macro_f1, truth_and_best
from geocube_ml.sim.grids import MAP_CRS, map_geobox, tiles
from geocube_ml.sim.labels import write_labels
from geocube_ml.sim.passes import Pass, passes
from geocube_ml.sim.phenology import SCHEME
from geocube_ml.sim.scenes import NODATA, make_scene
from geocube_ml.sim.stac import asset_geobox, item_id, make_item
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.spec.storage import StorageSpec

Note = Callable[[str, int, int], None]
"""Told of progress: stage, steps done, steps in all."""

_MARKER = "archive.json"
_STORAGE = StorageSpec()


@dataclass(frozen=True)
class Archive:
    """A finished archive."""

    folder: Place
    """Where it lies."""

    items: Place
    """Folder of the STAC items."""

    labels: Place
    """GeoPackage with the layer ``fields`` and the columns ``field`` and ``class``."""

    truth: Place
    """Class code of every pixel of the map area."""

    best: Place
    """The best possible map from clear-sky monthly series of single pixels."""

    classes: ClassScheme
    """What the codes of the maps mean."""

    crs: str
    """CRS of the map area."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top of the map area in `crs`, on whole 10 m pixels."""

    best_f1: float
    """Macro-F1 of the best possible map."""


def make_archive(
    spec: SimSpec, *, workers: int = 1, note: Note | None = None, storage: StorageSpec = _STORAGE
) -> Archive:
    """Make a simulated archive, or return at once if it is there.

    Parameters
    ----------
    spec : SimSpec
        Equal specs give equal files, byte for byte.
    workers : int
        Processes that make scenes.  With more than one, a script that calls this needs the usual
        ``if __name__ == "__main__":``.
    note : callable, optional
        Called with the stage (``scenes``, ``labels``, ``maps``), the steps done and their number.
    storage : StorageSpec, optional
        How the folder's bucket is reached, if it lies in one.

    Returns
    -------
    Archive

    Raises
    ------
    StaleTarget
        The folder holds an archive of another spec.
    """
    folder = place(spec.folder, storage)
    if (folder / _MARKER).exists():
        found = read_json(folder / _MARKER)["digest"]
        if found != spec.digest():
            raise StaleTarget(
                f"{folder} holds a simulated archive of another spec: its digest is {found}, "
                f"yours is {spec.digest()}. Name another folder, or delete this one."
            )
    elif isinstance(folder, Path):
        _make(spec, folder, workers, note or _silent)
    else:
        _clear(folder)
        with tempfile.TemporaryDirectory() as name:
            made = spec.model_copy(update={"folder": name})
            _make(made, Path(name), workers, note or _silent)
            upload(Path(name), folder)
    return open_archive(folder)


def _make(spec: SimSpec, folder: Path, workers: int, note: Note) -> None:
    _clear(folder)
    _make_scenes(spec, workers, note)
    write_labels(spec, folder / "labels.gpkg")
    note("labels", 1, 1)
    best_f1 = _write_maps(spec, folder, note)
    record = {
        "digest": spec.digest(),
        "spec": spec.result(),
        "classes": SCHEME.result(),
        "crs": MAP_CRS,
        "bounds": list(map_geobox(spec.size).boundingbox),
        "best_f1": best_f1,
    }
    write_json(folder / _MARKER, record)  # last: without it, nothing counts as made


def open_archive(folder: str | Place) -> Archive:
    """An archive that was made before.

    Raises
    ------
    MissingError
        There is none, or it was interrupted.
    """
    folder = place(folder)
    if not (folder / _MARKER).exists():
        raise MissingError(
            f"{folder} holds no finished simulated archive ({_MARKER} is not there). "
            "Make it with geocube_ml.sim.make_archive."
        )
    record = read_json(folder / _MARKER)
    return Archive(
        folder=folder,
        items=folder / "items",
        labels=folder / "labels.gpkg",
        truth=folder / "truth.tif",
        best=folder / "best.tif",
        classes=ClassScheme.model_validate(record["classes"]),
        crs=record["crs"],
        bounds=tuple(record["bounds"]),
        best_f1=record["best_f1"],
    )


def _clear(folder: Place) -> None:
    """Remove the scenes of an interrupted run, which may have been of another spec; only those."""
    sweep(folder)
    ours = re.compile(rf"S2._MSIL2A_.*_T({'|'.join(tile.name for tile in tiles(64))})_.*")
    for part in ("items", "cogs"):
        for name in names(folder / part):
            if ours.fullmatch(name):
                discard(folder / part / name)


def _make_scenes(spec: SimSpec, workers: int, note: Note) -> None:
    jobs = [(spec, passage, tile) for passage in passes(spec) for tile in range(2)]
    for done, _ in enumerate(_each(jobs, min(workers, len(jobs))), start=1):
        note("scenes", done, len(jobs))


def _each(jobs: list[tuple[SimSpec, Pass, int]], workers: int) -> Iterator[None]:
    """Make every scene; yields as each is done."""
    if workers == 1:
        for job in jobs:
            _make_one(*job)
            yield
        return
    # not fork: GDAL and BLAS have threads that a fork does not take along
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(_make_one, *job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()  # raises what the worker raised
                    yield
        finally:
            pool.shutdown(cancel_futures=True)


def _make_one(spec: SimSpec, passage: Pass, tile: int) -> None:
    scene, folder = make_scene(spec, passage, tile), Path(spec.folder)
    for key, values in scene.assets.items():
        path = folder / "cogs" / item_id(scene) / f"{key}.tif"
        write_cog(path, values, asset_geobox(scene, key), nodata=NODATA)
    write_json(folder / "items" / f"{item_id(scene)}.json", make_item(scene))


def _write_maps(spec: SimSpec, folder: Path, note: Note) -> float:
    geobox = map_geobox(spec.size)
    truth, best = truth_and_best(spec, lambda done, total: note("maps", done, total))
    for name, codes in (("truth.tif", truth), ("best.tif", best)):
        write_cog(
            folder / name, codes, geobox, nodata=UNKNOWN, colors=SCHEME.colors,
            tags={"classes": json.dumps(SCHEME.names)},
        )  # fmt: skip
    return macro_f1(truth, best)


def _silent(stage: str, done: int, total: int) -> None:
    """Takes note of nothing."""
