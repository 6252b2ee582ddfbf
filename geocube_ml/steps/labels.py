"""Step `labels`: polygons become the cube's `label` and `polygon` variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geocube_ml.files import Place, content_digest, whole_file
from geocube_ml.grid import Tile
from geocube_ml.labels.polygons import Labels, read_labels
from geocube_ml.labels.raster import NO_POLYGON, LabelBurner, LabelPatch, label_attrs
from geocube_ml.labels.vector import vector_parts
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import Variable

_VARIABLES = ("label", "polygon")


def inputs(job: Job) -> dict[str, Any]:
    """What decides the labels: the cube's grid, not its pixels, so that they outlive its growth."""
    job.digest_of("cube")  # it is there, and of this recipe
    geobox = job.grid.geobox
    return {
        "labels": job.labels.result(),
        "file": content_digest(vector_parts(job.place(job.labels.path))),
        "grid": [str(geobox.crs), list(geobox.transform), list(geobox.shape)],
        "store": job.recipe.store.result(),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    labels = read_labels(job.labels, job.grid, job.recipe.storage)
    n, pixels = len(labels.frame), int(labels.frame.n_pixel.sum())
    found = f"{n} polygons of {len(labels.classes.names)} classes, {pixels} pixels"
    return [found, *_reasons(labels)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    labels = read_labels(job.labels, job.grid, job.recipe.storage)
    with whole_file(job.losses_path) as partial:
        labels.losses.to_csv(partial, index=False)
    attrs = label_attrs(labels)
    shape = job.grid.shape
    job.store.create(
        [
            Variable("label", ("y", "x"), shape, "uint8", UNKNOWN, attrs["label"]),
            Variable("polygon", ("y", "x"), shape, "int32", NO_POLYGON, attrs["polygon"]),
        ],
        cube_coords(job.grid, (), {}),
        job.digests["labels"],
    )
    burner = LabelBurner(labels, job.grid)
    job.write_tiles("labels", lambda unit: LabelsWork(burner.patch(unit.tile)))
    by_class = labels.frame.groupby("class").n_pixel
    return {
        "polygons": len(labels.frame),
        "pixels": int(labels.frame.n_pixel.sum()),
        "by_class": {
            name: {"polygons": int(n), "pixels": int(pixels)}
            for name, n, pixels in zip(
                by_class.size().index, by_class.size(), by_class.sum(), strict=True
            )
        },
        "lost": _reasons(labels),
        "dropped_classes": [
            c.name for c in job.labels.classes if c.name not in labels.classes.names
        ],
    }


@dataclass(frozen=True)
class LabelsWork:
    """Burns the polygons of one tile."""

    patch: LabelPatch

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        """Labels and polygon numbers of the tile that the patch is of."""
        return Pixels(self.patch.burn())


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [job.losses_path, *(job.cube_path / name / "zarr.json" for name in _VARIABLES)]


def discard(job: Job) -> None:
    """Remove the labels."""
    job.store.remove(_VARIABLES)


def _reasons(labels: Labels) -> list[str]:
    counts = labels.losses["reason"].str.replace(r"^disputed by .*?;", "disputed;", regex=True)
    return [f"{n} polygons: {reason}" for reason, n in counts.value_counts().items()]
