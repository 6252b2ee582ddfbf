"""Step `predict`: the map becomes two variables of the cube."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.files import Place
from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.scaling import PROB_NODATA
from geocube_ml.kernels.scanline import inside
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.predict import check_cube, map_attrs, predict_map
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.coords import cube_coords, text_coord
from geocube_ml.store.cube import Variable, open_cube


def inputs(job: Job) -> dict[str, Any]:
    """What decides the map."""
    return {
        "model": job.recipe.map_model,
        "cube": job.digest_of("cube"),
        "train": job.digest_of("train"),
        "area": job.area_result(),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [f"the map of {job.recipe.map_model}: `class` and `prob`, {len(job.grid.tiles)} tiles"]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    bundle = ModelBundle.load(job.model_path(job.recipe.map_model))
    check_cube(open_cube(job.cube_path, chunks=None), bundle)
    names, shape = list(bundle.classes.names), job.grid.shape
    attrs = map_attrs(bundle.classes)
    made_by = {
        "model": bundle.name,
        "model_digest": bundle.digest(),
        "cube_digest": job.digest_of("cube"),
        "recipe_digest": job.recipe.digest(),
    }
    coords = {
        **cube_coords(job.grid, (), {}),
        "class_name": text_coord("class_name", names, "class"),
    }
    job.store.create(
        [
            Variable("class", ("y", "x"), shape, "uint8", UNKNOWN, {**attrs["class"], **made_by}),
            Variable(
                "prob", ("class_name", "y", "x"), (len(names), *shape), "uint8", PROB_NODATA,
                {**attrs["prob"], **made_by},
            ),
        ],
        coords,
        job.digests["predict"],
    )  # fmt: skip
    work = PredictWork(
        job.cube_path, job.model_path(job.recipe.map_model), bundle.fit.names,
        job.recipe.store.chunk, bundle.digest(),
    )  # fmt: skip
    job.workers.prepare("predict", work.prepare)
    pieces = Pieces(job.grid, job.area)
    job.write_tiles("predict", lambda unit: PredictTile(work, pieces.of(unit.tile), len(names)))
    count = np.bincount(open_cube(job.cube_path)["class"].values.ravel(), minlength=256)
    return {
        "model": bundle.name,
        "pixels": {name: int(count[code]) for code, name in enumerate(names)},
        "unknown": int(count[UNKNOWN]),
    }


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
    n_class: int

    def __call__(self, tile: Tile, last: bool) -> Pixels:
        """Map and probabilities of a tile; nodata outside the area."""
        if self.piece is None:
            return self.work(tile, last)
        inside = self.piece.inside()
        mapped = np.full(inside.shape, UNKNOWN, np.uint8)
        prob = np.full((self.n_class, *inside.shape), PROB_NODATA, np.uint8)
        if inside.any():
            found = self.work(tile, last).values
            mapped[inside] = found["class"][inside]
            prob[:, inside] = found["prob"][:, inside]
        return Pixels({"class": mapped, "prob": prob})


@dataclass(frozen=True)
class PredictWork:
    """Reads, predicts one tile; the bundle is loaded once in each process."""

    cube: Place
    bundle: Place
    sources: tuple[str, ...]
    """Variables that the model needs."""
    chunk: int
    digest: str
    """Of the model: what is kept in a process must not be taken for another's."""

    def prepare(self) -> None:
        """Load the bundle before the first tile comes."""
        _opened(self)

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        """Map and probabilities of a tile."""
        cube, bundle = _opened(self)
        # whole shards in one read each; then the same blocks as the lazy map has
        window = cube[list(self.sources)].isel(y=tile.y, x=tile.x).load()
        blocks = window.chunk(y=self.chunk, x=self.chunk)
        found = predict_map(blocks, bundle).compute(scheduler="synchronous")
        return Pixels({"class": found["class"].values, "prob": found["prob"].values})


@lru_cache(maxsize=2)
def _opened(work: PredictWork) -> tuple[xr.Dataset, ModelBundle]:
    """The cube, not in dask chunks, and the bundle."""
    return open_cube(work.cube, chunks=None), ModelBundle.load(work.bundle)


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.cube_path / name / "zarr.json" for name in ("class", "prob")]


def discard(job: Job) -> None:
    """Remove the map."""
    job.store.remove(["class", "prob", "class_name"])
