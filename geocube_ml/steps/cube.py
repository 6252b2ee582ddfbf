"""Step `cube`: items become monthly mosaics in a Zarr group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geocube_ml.cube.catalog import items_digest
from geocube_ml.cube.grid import Tile
from geocube_ml.cube.mosaic import (
    CLEAR_ATTRS,
    CLEAR_FILL,
    Mosaic,
    band_attrs,
    cube_coords,
    make_mosaic,
)
from geocube_ml.cube.plan import missing_files, price
from geocube_ml.cube.store import Variable, open_cube
from geocube_ml.errors import MissingError
from geocube_ml.files import discard as remove
from geocube_ml.steps.job import Job


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
    return [*price(mosaic).lines(job.workers), *missing_files(mosaic)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    name, source = job.recipe.source
    mosaic = _mosaic(job)
    gone = missing_files(mosaic)
    if gone:
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
    every = (range(len(months)), range(len(bands)))

    def tile_values(tile: Tile) -> dict[str, Any]:
        values, count = mosaic.read(*every, tile.y, tile.x)
        return {name: values, f"{name}_clear": count}

    job.write_tiles("cube", (name, f"{name}_clear"), tile_values)
    clear = open_cube(job.cube_path)[f"{name}_clear"]
    seen = (clear > 0).any(("y", "x")).values
    return {
        "items": sum(len(s.granules) for scenes in mosaic.scenes.values() for s in scenes),
        "days": sum(len(scenes) for scenes in mosaic.scenes.values()),
        "tiles": len(job.grid.tiles),
        "unseen_months": [month for month, any_ in zip(months, seen, strict=True) if not any_],
        "pixels": int(np.prod(shape)),
    }


def outputs(job: Job) -> list[Path]:
    """What a finished step leaves."""
    name, _ = job.recipe.source
    return [job.items_path, job.cube_path / name, job.cube_path / f"{name}_clear"]


def discard(job: Job) -> None:
    """Remove all of the cube, labels and map included: they lie on its grid."""
    remove(job.cube_path)
    remove(job.items_path)
    job.forget(["items", "labels", "predict"])


def _mosaic(job: Job) -> Mosaic:
    _, source = job.recipe.source
    return make_mosaic(job.items, source, job.grid, job.recipe.period)


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
