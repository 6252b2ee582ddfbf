"""Step `cube`: items become monthly mosaics in a Zarr group."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from geocube_ml.cube.catalog import items_digest
from geocube_ml.cube.coords import CLEAR_ATTRS, CLEAR_FILL, band_attrs, cube_coords
from geocube_ml.cube.grid import Tile
from geocube_ml.cube.mosaic import Mosaic, make_mosaic
from geocube_ml.cube.plan import missing_files, price
from geocube_ml.cube.store import Variable, open_cube
from geocube_ml.errors import MissingError
from geocube_ml.files import Place, below, read_json
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels

_LISTED = 20  # items that are left out, by name, in an attribute


def inputs(job: Job) -> dict[str, Any]:
    """What decides the cube."""
    recipe = job.recipe
    return {
        "sources": {name: source.result() for name, source in recipe.sources.items()},
        "grid": recipe.grid.result(),
        "period": recipe.period.result(),
        "composite": recipe.composite.result(),
        "store": recipe.store.result(),
        "items": items_digest(job.items),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    mosaic = _mosaic(job)
    return [*price(mosaic).lines(), *missing_files(mosaic)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    name, source = job.recipe.source
    mosaic = _mosaic(job)
    gone = missing_files(mosaic)
    if gone and job.recipe.unreadable == "stop":
        raise MissingError(gone[0] + " Restore them, or leave their items out.")
    bands, months, shape = list(source.chosen), mosaic.months, job.grid.shape
    dims = ("time", f"{name}_band", "y", "x")
    digest = job.digests["cube"]
    job.store.create(
        [
            Variable(
                name, dims, (len(months), len(bands), *shape), source.sensor.dtype,
                source.sensor.nodata, {**band_attrs(source), **_radiometry(mosaic)},
            ),
            Variable(
                f"{name}_clear", ("time", "y", "x"), (len(months), *shape), "uint8", CLEAR_FILL,
                CLEAR_ATTRS,
            ),
        ],
        cube_coords(job.grid, months, {name: bands}),
        digest,
        {"Conventions": "CF-1.11", "title": source.sensor.title or "monthly mosaics"},
    )  # fmt: skip
    # with its own granules only: a task must not grow with the area
    job.write_tiles("cube", lambda tile: CubeWork(name, mosaic.within(tile.y, tile.x)))
    left_out = _list_left_out(job, name)
    clear = open_cube(job.cube_path)[f"{name}_clear"]
    seen = (clear > 0).any(("y", "x")).values
    return {
        "items": sum(len(s.granules) for scenes in mosaic.scenes.values() for s in scenes),
        "days": sum(len(scenes) for scenes in mosaic.scenes.values()),
        "tiles": len(job.grid.tiles),
        "unseen_months": [month for month, any_ in zip(months, seen, strict=True) if not any_],
        "left_out": left_out,
        "pixels": int(np.prod(shape)),
    }


@dataclass(frozen=True)
class CubeWork:
    """Reads, masks and composites one tile."""

    name: str
    mosaic: Mosaic

    def __call__(self, tile: Tile, last: bool) -> Pixels:
        """All months and bands of a tile."""
        mosaic = replace(self.mosaic, waits=not last)
        every = (range(len(mosaic.months)), range(len(mosaic.source.chosen)))
        values, count, left_out = mosaic.read_listing(*every, tile.y, tile.x)
        listed = tuple(asdict(one) for one in left_out)
        return Pixels({self.name: values, f"{self.name}_clear": count}, listed)


def _list_left_out(job: Job, name: str) -> dict[str, int]:
    """Items that tiles were made without, and how many tiles; said in the cube too."""
    tiles: dict[str, int] = {}
    for path in below(job.records.left_out("cube"), ".json"):
        if not read_json(job.records.tiles("cube") / path.name)["left_out"]:
            continue  # of an attempt that was interrupted; the next one could read all
        for item in sorted({one["item"] for one in read_json(path)}):
            tiles[item] = tiles.get(item, 0) + 1
    if tiles:
        some = [f"{item} ({n} tile{'s' * (n > 1)})" for item, n in sorted(tiles.items())]
        more = [f"and {len(some) - _LISTED} more"] if len(some) > _LISTED else []
        said = "; ".join([*some[:_LISTED], *more])
        job.store.describe(name, {"items_left_out": said})
    return tiles


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    name, _ = job.recipe.source
    arrays = [job.cube_path / array / "zarr.json" for array in (name, f"{name}_clear")]
    return [job.items_path, job.cube_path / "zarr.json", *arrays]


def discard(job: Job) -> None:
    """Remove all of the cube, labels and map included: they lie on its grid."""
    job.records.forget(["items", "labels", "predict"])
    remove(job.cube_path)
    remove(job.items_path)


def _mosaic(job: Job) -> Mosaic:
    _, source = job.recipe.source
    return make_mosaic(
        job.items, source, job.grid, job.recipe.period,
        storage=job.recipe.storage, unreadable=job.recipe.unreadable,
    )  # fmt: skip


def _radiometry(mosaic: Mosaic) -> dict[str, Any]:
    """How many items had how much taken off, and how that was known."""
    found: dict[str, int] = {}
    for scenes in mosaic.scenes.values():
        for scene in scenes:
            for granule in scene.granules:
                said = f"{granule.offset.counts} ({granule.offset.evidence})"
                found[said] = found.get(said, 0) + 1
    if mosaic.source.sensor.offset == "none":
        return {}
    listed = "; ".join(f"{n} items: {said}" for said, n in sorted(found.items()))
    return {"offset_removed": listed}
