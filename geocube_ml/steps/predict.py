"""Step `predict`: the map becomes two variables of the cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from geocube_ml.cube.grid import Tile
from geocube_ml.cube.mosaic import cube_coords, text_coord
from geocube_ml.cube.store import Variable, open_cube
from geocube_ml.files import discard as remove
from geocube_ml.kernels.scaling import PROB_NODATA
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.network import one_thread
from geocube_ml.predict import map_attrs, predict_map
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.steps.job import Job


def inputs(job: Job) -> dict[str, Any]:
    """What decides the map."""
    return {
        "model": job.recipe.map_model,
        "cube": job.digest_of("cube"),
        "train": job.digest_of("train"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    return [f"the map of {job.recipe.map_model}: `class` and `prob`, {len(job.grid.tiles)} tiles"]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    bundle = ModelBundle.load(job.model_path(job.recipe.map_model))
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
    cube = open_cube(job.cube_path)

    def tile_values(tile: Tile) -> dict[str, Any]:
        found = predict_map(cube.isel(y=tile.y, x=tile.x), bundle).compute(scheduler="synchronous")
        return {"class": found["class"].values, "prob": found["prob"].values}

    # tiles run side by side, so each works on one thread
    with threadpool_limits(1), one_thread():
        job.write_tiles("predict", ("class", "prob"), tile_values)
    count = np.bincount(open_cube(job.cube_path)["class"].values.ravel(), minlength=256)
    return {
        "model": bundle.name,
        "pixels": {name: int(count[code]) for code, name in enumerate(names)},
        "unknown": int(count[UNKNOWN]),
    }


def outputs(job: Job) -> list[Path]:
    """What a finished step leaves."""
    return [job.cube_path / "class", job.cube_path / "prob"]


def discard(job: Job) -> None:
    """Remove the map."""
    for path in [*outputs(job), job.cube_path / "class_name"]:
        remove(path)
