"""Step `doctor`: which labels are doubtful, as a table to be filled in and a layer of the cube."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.doctor.decisions import read_decisions
from geocube_ml.doctor.doubt import Doubts, doubtful_labels
from geocube_ml.doctor.table import doubt_table
from geocube_ml.errors import InputError
from geocube_ml.files import Place, content_digest, local_copy, whole_file
from geocube_ml.files import discard as remove
from geocube_ml.grid import Grid, Tile
from geocube_ml.kernels.sampling import blocks
from geocube_ml.kernels.scaling import PROB_NODATA, PROB_STEPS, pack_probability
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.steps.job import Job
from geocube_ml.steps.samples import open_samples
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import Variable, open_cube

_WORST = 10  # that the record of the step holds


def tables(job: Job) -> tuple[Place, Place]:
    """The table of the most doubtful labels, as CSV and as GeoPackage."""
    return job.out / "labels_doubtful.csv", job.out / "labels_doubtful.gpkg"


def inputs(job: Job) -> dict[str, Any]:
    """What decides which labels are doubtful."""
    job.needs_classes("doctor")
    return {
        "doctor": job.recipe.doctor.result(),
        "labels": job.digest_of("labels"),
        "samples": job.digest_of("samples"),
    }


def plan(job: Job) -> list[str]:
    """What the step would do."""
    spec = job.recipe.doctor
    return [
        f"{spec.trees} trees and {spec.neighbours} neighbours judge each label by the others",
        f"{_names(job)} list the most doubtful {spec.listed:.0%}",
    ]


def run(job: Job) -> dict[str, Any]:
    """Judge the labels, write the tables, the doubt of each label, and the layer."""
    spec, samples = job.recipe.doctor, open_samples(job)
    with job.polygons_path.open("rb") as file:
        labels = gpd.read_parquet(file)
    objects = job.recipe.samples.unit == "polygon"
    doubts = doubtful_labels(
        samples, spec, None if objects else labels,
        inset_m=job.labels.inset_m, pixel_m=abs(job.grid.geobox.resolution.x), workers=job.threads,
    )  # fmt: skip
    table, counts = doubt_table(doubts, labels, job.labels, spec.listed, job.recipe.storage)
    _write_tables(job, table)
    with whole_file(_of_labels(job)) as partial:
        doubts.labels.to_parquet(partial, index=False)
    _write_layer(job, samples, doubts, objects)
    classes = ClassScheme.from_attrs(samples["label"].attrs).names
    worst = table.drop(columns="geometry").head(_WORST)
    return {
        **counts,
        "labels": len(doubts.labels),
        "samples": int(samples.sizes["sample"]),
        "estimated_wrong": doubts.estimated_wrong,
        "by_class": {
            name: {
                "labels": int((doubts.labels["class"] == name).sum()),
                "listed": int((table["class"] == name).sum()),
            }
            for name in classes
        },
        "worst": [
            {key: row[key] for key in ("file", "feature", "class", "suggested", "doubt", "reason")}
            for row in worst.to_dict("records")
        ],
        "notes": list(doubts.notes),
    }


def _names(job: Job) -> str:
    return " and ".join(path.name for path in tables(job))


def _of_labels(job: Job) -> Place:
    """The doubt of every label."""
    return job.out / "labels_doubt.parquet"


def _write_tables(job: Job, table: gpd.GeoDataFrame) -> None:
    csv, geopackage = tables(job)
    with whole_file(csv) as partial:
        # with its mark, a program of tables reads it as UTF-8
        table.drop(columns="geometry").to_csv(partial, index=False, encoding="utf-8-sig")
    with whole_file(geopackage) as partial, tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / geopackage.name  # GDAL warns of a GeoPackage of another ending
        table.to_file(local, driver="GPKG", layer=geopackage.stem)
        shutil.copyfile(local, partial)


def _write_layer(job: Job, samples: xr.Dataset, doubts: Doubts, objects: bool) -> None:
    attrs = {
        "long_name": "doubt of the label",
        "comment": "of a sample its own, of another labelled pixel that of its label",
        "units": "1",
        "scale_factor": 1 / PROB_STEPS,
        "add_offset": 0.0,
        "nodata": PROB_NODATA,
        "grid_mapping": "spatial_ref",
    }
    job.store.create(
        [Variable("doubt", ("y", "x"), job.grid.shape, "uint8", PROB_NODATA, attrs)],
        cube_coords(job.grid, (), {}),
        job.digests["doctor"],
    )
    own = np.zeros(0, np.intp) if objects else np.flatnonzero(~np.isnan(doubts.samples))
    affine = ~job.grid.geobox.transform
    col, row = affine * (samples["x"].values[own], samples["y"].values[own])
    spots = pd.DataFrame({
        "row": np.floor(row).astype(np.int64),
        "col": np.floor(col).astype(np.int64),
        "polygon": samples["polygon"].values[own].astype(np.int64),
        "doubt": pack_probability(doubts.samples[own]),
    })  # fmt: skip
    within = dict(_by_tile(spots, job.grid))
    place, key, block_m = _of_labels(job), job.digests["doctor"], job.recipe.samples.block_m
    none = spots.iloc[:0].to_numpy()
    job.write_tiles(
        "doctor",
        lambda unit: DoubtWork(
            job.cube_path, place, key, block_m, within.get(unit.tile.name, none)
        ),
    )


def _by_tile(spots: pd.DataFrame, grid: Grid) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Samples of each tile that has any: row and column within it, polygon, doubt."""
    for tile in grid.tiles:
        inside = (
            (spots["row"] >= tile.y.start) & (spots["row"] < tile.y.stop)
            & (spots["col"] >= tile.x.start) & (spots["col"] < tile.x.stop)
        )  # fmt: skip
        if inside.any():
            yield tile.name, spots[inside].to_numpy() - [tile.y.start, tile.x.start, 0, 0]


@dataclass(frozen=True)
class DoubtWork:
    """Writes the doubt of one tile's labels."""

    cube: Place
    labels: Place
    """The doubt of every label, a Parquet file."""
    key: str
    """Of the step's inputs: what is kept in a process must not be taken for another run's."""
    block_m: float
    """Edge of the blocks by which what is no polygon is judged."""
    spots: NDArray[np.int64]
    """(n, 4) row and column within the tile, polygon, and stored doubt, of its samples."""

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        """``doubt`` (y, x) uint8, 255 where no label is, or none that can be judged."""
        cube = open_cube(self.cube, chunks=None)[["label", "polygon"]].isel(y=tile.y, x=tile.x)
        cube = cube.load()
        shape = (cube.sizes["y"], cube.sizes["x"])
        labels, polygons = (cube[name].values.reshape(-1, *shape) for name in cube)
        x, y = np.meshgrid(cube["x"].values, cube["y"].values)
        block, known = blocks(x, y, self.block_m), _known(self.labels, self.key)
        packed = np.full(shape, PROB_NODATA, np.uint8)
        row, col, of, own = self.spots.T
        for label, polygon in zip(labels, polygons, strict=True):
            there = label != UNKNOWN
            keys = pd.MultiIndex.from_arrays([
                polygon[there].astype(np.int64),
                np.where(polygon[there] > 0, 0, block[there]),
                label[there].astype(np.int64),
            ])  # fmt: skip
            doubt = np.full(shape, np.nan)
            doubt[there] = known.reindex(keys).to_numpy()
            layer = pack_probability(doubt)
            here = np.flatnonzero(there[row, col] & (polygon[row, col] == of))
            layer[row[here], col[here]] = 0  # a sample has a doubt of its own
            np.maximum.at(layer, (row[here], col[here]), own[here].astype(np.uint8))
            # of several labels of a pixel, at several times, the most doubtful
            more = (layer != PROB_NODATA) & ((packed == PROB_NODATA) | (layer > packed))
            packed[more] = layer[more]
        return Pixels({"doubt": packed})


@lru_cache(maxsize=1)
def _known(path: Place, _: str) -> pd.Series:
    """Doubt by polygon, block and class."""
    with local_copy(path) as local:
        labels = pd.read_parquet(local, columns=["polygon", "block", "code", "doubt"])
    return labels.set_index(["polygon", "block", "code"])["doubt"]


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    return [*tables(job), _of_labels(job), job.cube_path / "doubt" / "zarr.json"]


def discard(job: Job) -> None:
    """Remove the layer and the tables; one in which something was decided stays, as ``..._1``."""
    _keep_decisions(job)
    job.store.remove(["doubt"])
    for path in (*tables(job), _of_labels(job)):
        remove(path)


def _keep_decisions(job: Job) -> None:
    """Give tables with decisions that are in no label file another name: no work is lost."""
    there = [path for path in tables(job) if path.exists()]
    if job.records.facts("decide") is not None:
        recorded = (job.records.begun("decide") or {}).get("decisions")
        if recorded == content_digest(there):
            return
    for path in there:
        try:
            decided = len(read_decisions(path)) > 0
        except (InputError, ValueError, OSError):  # changed beyond reading: still a person's
            decided = True
        if decided:
            n = next(n for n in range(1, 1000) if not _aside(path, n).exists())
            with whole_file(_aside(path, n)) as partial, path.open("rb") as file:
                partial.write_bytes(file.read())


def _aside(path: Place, n: int) -> Place:
    return path.with_name(f"{path.stem}_{n}{path.suffix}")
