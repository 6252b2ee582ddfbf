"""Step `predict`: the map becomes variables of the cube."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.evaluate.applicability import (
    Applicability,
    applicability_attrs,
    below,
    learn_applicability,
)
from geocube_ml.files import Place
from geocube_ml.files import discard as remove
from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.scaling import PROB_NODATA
from geocube_ml.kernels.scanline import inside
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.predict import check_cube, estimate_attrs, map_attrs, predict_tile
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.coords import cube_coords, text_coord
from geocube_ml.store.cube import Variable, open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What decides the map."""
    told = {
        "model": job.recipe.map_model,
        "cube": job.digest_of("cube"),
        "train": job.digest_of("train"),
        "area": job.area_result(),
    }
    return told | ({"applicability": True} if job.recipe.predict.applicability else {})


def plan(job: Job) -> list[str]:
    """What the step would do."""
    made = " and ".join(f"`{name}`" for name in _names(job))
    return [f"the map of {job.recipe.map_model}: {made}, {len(job.grid.tiles)} tiles"]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    bundle = ModelBundle.load(job.model_path(job.recipe.map_model))
    check_cube(open_cube(job.cube_path, chunks=None), bundle)
    made_by = {
        "model": bundle.name,
        "model_digest": bundle.digest(),
        "cube_digest": job.digest_of("cube"),
        "recipe_digest": job.recipe.digest(),
    }
    coords = cube_coords(job.grid, (), {})
    if bundle.quantity is None:
        coords["class_name"] = text_coord("class_name", list(bundle.classes.names), "class")
    variables = _variables(bundle, job.grid.shape, made_by)
    known = None
    if job.recipe.predict.applicability:
        known = _known_path(job)
        variables += _learnt(job, known, made_by["cube_digest"])
    job.store.create(variables, coords, job.digests["predict"])
    work = PredictWork(
        job.cube_path, job.model_path(job.recipe.map_model), job.recipe.store.chunk,
        bundle.digest(), known,
    )  # fmt: skip
    job.workers.prepare("predict", work.prepare)
    pieces = Pieces(job.grid, job.area)
    blank = {one.name: np.full(one.shape[:-2], one.fill, one.dtype) for one in variables}
    job.write_tiles("predict", lambda unit: PredictTile(work, pieces.of(unit.tile), blank))
    counted = _classes(job, bundle) if bundle.quantity is None else _numbers(job, bundle.quantity)
    return {"model": bundle.name, **counted, **(_applicable(job) if known else {})}


def _learnt(job: Job, path: Place, cube_digest: str) -> list[Variable]:
    """Write what pixels are compared with; the variables that say how far they are from it."""
    learnt = learn_applicability(open_samples(job), seed=job.recipe.samples.seed)
    learnt.save(path)
    attrs = applicability_attrs(learnt.known.threshold)
    kinds: tuple[tuple[str, str, float], ...] = (
        ("dissimilarity", "float32", np.nan), ("applicable", "uint8", UNKNOWN),
    )  # fmt: skip
    return [
        Variable(name, ("y", "x"), job.grid.shape, dtype, nodata,
                 {**attrs[name], "cube_digest": cube_digest})
        for name, dtype, nodata in kinds
    ]  # fmt: skip


def _applicable(job: Job) -> dict[str, int]:
    """Pixels in and outside of the area of applicability."""
    count = _counted(job, "applicable")
    return {"applicable": int(count[1]), "not_applicable": int(count[0])}


def _counted(job: Job, name: str) -> NDArray[np.int64]:
    """(256,) pixels of each code, read a tile at a time."""
    values = open_cube(job.cube_path, chunks=None)[name]
    count = np.zeros(256, np.int64)
    for tile in job.grid.tiles:
        count += np.bincount(values[tile.y, tile.x].values.ravel(), minlength=256)
    return count


def _known_path(job: Job) -> Place:
    """What pixels are compared with."""
    return job.out / "applicability.safetensors"


def _names(job: Job) -> tuple[str, ...]:
    """Variables that the step writes."""
    more = ("dissimilarity", "applicable") if job.recipe.predict.applicability else ()
    return (*job.map_names, *more)


def _variables(
    bundle: ModelBundle, shape: tuple[int, int], made_by: Mapping[str, str]
) -> list[Variable]:
    """What the step writes."""
    if bundle.quantity is not None:
        said = {**estimate_attrs(bundle.quantity), **made_by}
        return [Variable("estimate", ("y", "x"), shape, "float32", np.nan, said)]
    attrs, n_class = map_attrs(bundle.classes), len(bundle.classes.names)
    return [
        Variable("class", ("y", "x"), shape, "uint8", UNKNOWN, {**attrs["class"], **made_by}),
        Variable(
            "prob", ("class_name", "y", "x"), (n_class, *shape), "uint8", PROB_NODATA,
            {**attrs["prob"], **made_by},
        ),
    ]  # fmt: skip


def _classes(job: Job, bundle: ModelBundle) -> dict[str, Any]:
    """Pixels of each class."""
    count = _counted(job, "class")
    names = enumerate(bundle.classes.names)
    return {
        "pixels": {name: int(count[code]) for code, name in names},
        "unknown": int(count[UNKNOWN]),
    }


def _numbers(job: Job, quantity: Mapping[str, str]) -> dict[str, Any]:
    """Mean, least and greatest of the map, and pixels that were observed."""
    estimate = open_cube(job.cube_path)["estimate"]
    counted = xr.Dataset({
        "n": estimate.count(),
        "mean": estimate.mean(dtype=np.float64), "min": estimate.min(), "max": estimate.max(),
    }).compute()  # fmt: skip
    n = int(counted["n"])
    found = {name: float(counted[name]) if n else None for name in ("mean", "min", "max")}
    return {**quantity, **found, "pixels": n, "unknown": int(estimate.size) - n}


class Pieces:
    """What of the area to map lies in each tile.

    Parameters
    ----------
    grid : Grid
    area : shapely geometry in the grid's CRS, or None
        All of the grid by default.
    """

    def __init__(self, grid: Grid, area: Any) -> None:
        self._geobox = grid.geobox
        self._area = area
        self._row: tuple[int, Any] | None = None

    def of(self, tile: Tile) -> Piece | None:
        """The piece of a tile; None where the area covers it."""
        if self._area is None:
            return None
        geobox = self._geobox[tile.y, tile.x]
        if self._row is None or self._row[0] != tile.iy:
            # a boundary may have a million vertices: cut once a row of tiles, then tile by tile
            row = self._geobox[tile.y, :]
            self._row = tile.iy, _cut(self._area, row)
        shape = _cut(self._row[1], geobox)
        if shapely.covers(shape, geobox.extent.geom):
            return None
        return Piece(shape, geobox)


def _cut(shape: Any, geobox: GeoBox) -> Any:
    """What of a shape lies within a window, and two pixels around it: no edge along its own."""
    rim = 2 * geobox.resolution.x
    return shapely.intersection(shape, shapely.buffer(geobox.extent.geom, rim, join_style="mitre"))


@dataclass(frozen=True)
class Piece:
    """A part of the area to map."""

    shape: Any
    """In the CRS of `geobox`."""
    geobox: GeoBox
    """Of a tile."""

    def inside(self) -> NDArray[np.bool_]:
        """(y, x) pixels of the tile whose centre lies in the area."""
        size = (self.geobox.shape.y, self.geobox.shape.x)
        return inside([self.shape], self.geobox.transform, size)


@dataclass(frozen=True)
class PredictTile:
    """The work of one tile: as `PredictWork`, without what lies outside the area to map."""

    work: PredictWork
    piece: Piece | None
    blank: Mapping[str, NDArray[Any]]
    """Variable to what a pixel without data holds, along the axes before y and x."""

    def __call__(self, tile: Tile, last: bool) -> Pixels:
        """The map of a tile; nodata outside the area."""
        if self.piece is None:
            return self.work(tile, last)
        inside = self.piece.inside()
        found = self.work(tile, last).values if inside.any() else {}
        cut = {}
        for name, nodata in self.blank.items():
            cut[name] = np.tile(nodata[..., None, None], inside.shape)
            if found:
                cut[name][..., inside] = found[name][..., inside]
        return Pixels(cut)


@dataclass(frozen=True)
class PredictWork:
    """Reads, predicts one tile; the bundle is loaded once in each process."""

    cube: Place
    bundle: Place
    chunk: int
    digest: str
    """Of the model: what is kept in a process must not be taken for another's."""
    known: Place | None = None
    """What pixels are compared with, for the area of applicability."""

    def prepare(self) -> None:
        """Load the bundle before the first tile comes."""
        _opened(self)

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        """The map of a tile."""
        cube, bundle, learnt = _opened(self)
        y, x = tile.y, tile.x
        if learnt is not None:
            names = dict.fromkeys((*bundle.needed(cube), *learnt.fit.names))
            window = cube[list(names)].isel(y=y, x=x).load()
            if not bundle.halo:  # what is read once serves both
                cube, y, x = window, slice(0, window.sizes["y"]), slice(0, window.sizes["x"])
        # whole shards in one read; then blocks as the lazy map has them
        found = predict_tile(cube, bundle, y, x, self.chunk)
        if learnt is not None:
            index = learnt.of_block({name: window[name].values for name in learnt.fit.names})
            found["dissimilarity"] = index
            found["applicable"] = below(index, learnt.known.threshold)
        return Pixels(found)


@lru_cache(maxsize=2)
def _opened(work: PredictWork) -> tuple[xr.Dataset, ModelBundle, Applicability | None]:
    """The cube, not in dask chunks, the bundle, and what pixels are compared with."""
    learnt = None if work.known is None else Applicability.load(work.known)
    return open_cube(work.cube, chunks=None), ModelBundle.load(work.bundle), learnt


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.cube_path / name / "zarr.json" for name in _names(job)]


def discard(job: Job) -> None:
    """Remove the map."""
    job.store.remove(["class", "prob", "class_name", "estimate", "dissimilarity", "applicable"])
    remove(_known_path(job))
