"""Step `labels`: labels become the cube's `label` and `polygon` variables."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geocube_ml.errors import MissingError
from geocube_ml.files import Place, content_digest, read_json, whole_file
from geocube_ml.files import discard as remove
from geocube_ml.grid import Tile
from geocube_ml.labels.burn import LabelBurner
from geocube_ml.labels.labels import Labels
from geocube_ml.labels.patch import NO_POLYGON, LabelPatch
from geocube_ml.labels.polygons import read_labels
from geocube_ml.labels.raster import label_attrs, label_lead
from geocube_ml.labels.vector import vector_parts
from geocube_ml.raster import distrust
from geocube_ml.spec.labels import UNKNOWN, LabelSource
from geocube_ml.steps.job import Job
from geocube_ml.steps.tiles import Pixels
from geocube_ml.store.coords import cube_coords
from geocube_ml.store.cube import Variable

_VARIABLES = ("label", "polygon")
_HA = 1e4


def inputs(job: Job) -> dict[str, Any]:
    """What decides the labels: the cube's grid, not its pixels, so that they outlive its growth."""
    job.digest_of("cube")  # it is there, and of this recipe
    geobox = job.grid.geobox
    return {
        "labels": job.labels.result(),
        "files": {
            str(at): content_digest(_parts(job, source))
            for at, source in enumerate(job.labels.sources)
        },
        "grid": [str(geobox.crs), list(geobox.transform), list(geobox.shape)],
        "store": job.recipe.store.result(),
    }


def _parts(job: Job, source: LabelSource) -> list[Place]:
    path = job.place(source.path)
    if not source.is_raster:
        return vector_parts(path)
    if not path.is_file():
        raise MissingError(
            f"There is no label raster {path}. Correct `labels.path`, or that of `labels.sources`."
        )
    return [path]


def plan(job: Job) -> list[str]:
    """What the step would do."""
    labels = _read(job)
    n_layer = LabelBurner(labels, job.grid).n_layer
    by_class = [
        f"{name}: {one['polygons']} polygons, {one['points']} points, {one['pixels']} pixels"
        for name, one in _by_class(labels).items()
    ]
    more = [f"pixels of {raster.href}" for raster in labels.rasters]
    if labels.background is not None:
        more.append(f"background: {labels.classes.names[labels.background]}")
    if n_layer > 1:
        more.append(f"{n_layer} layers, as labels of different times lie over one another")
    return [_found(labels), *by_class, *more, *_lost(labels)]


def run(job: Job) -> dict[str, Any]:
    """Write what is not written yet."""
    labels = _read(job)
    with whole_file(job.losses_path) as partial:
        labels.problems.to_csv(partial, index=False)
    attrs, burner = label_attrs(labels), LabelBurner(labels, job.grid, job.recipe.storage)
    lead = label_lead(burner.n_layer)
    dims, shape = (*lead, "y", "x"), (*lead.values(), *job.grid.shape)
    job.store.create(
        [
            Variable("label", dims, shape, "uint8", UNKNOWN, attrs["label"]),
            Variable("polygon", dims, shape, "int32", NO_POLYGON, attrs["polygon"]),
        ],
        cube_coords(job.grid, (), {}),
        job.digests["labels"],
    )
    digest = job.digests["labels"]
    job.write_tiles("labels", lambda unit: LabelsWork(burner.patch(unit.tile), digest))
    pixels = _tally(job, len(labels.classes.names), len(labels.rasters))
    with whole_file(job.polygons_path) as partial:
        _table(labels, pixels.of_rasters, burner.raster_layers).to_parquet(partial)
    by_class = _by_class(labels)
    for name, n in zip(labels.classes.names, pixels.of_classes.tolist(), strict=True):
        by_class[name]["pixels"] = n
    return {
        "polygons": int((~_is_point(labels)).sum()),
        "points": int(_is_point(labels).sum()),
        "rasters": len(labels.rasters),
        "layers": burner.n_layer,
        "pixels": int(pixels.of_classes.sum()),
        "by_class": by_class,
        "problems": {reason: n for reason, _, n in _problems(labels)},
        "disputed_ha": _disputed_ha(labels),
        "lost": _lost(labels),
        "dropped_classes": [
            c.name for c in job.labels.classes if c.name not in labels.classes.names
        ],
    }


@dataclass(frozen=True)
class LabelsWork:
    """Burns the labels of one tile."""

    patch: LabelPatch
    key: str
    """Of the step: rasters may have been replaced since a process read them for another."""

    def __call__(self, tile: Tile, last: bool) -> Pixels:  # noqa: ARG002
        """Labels and polygon numbers of the tile that the patch is of, and how many of each."""
        for raster in self.patch.rasters:
            _looked_at_anew(raster.href, self.key)
        burnt = self.patch.burn()
        label, polygon = burnt["label"], burnt["polygon"]
        # pixels of each class, and of each raster
        classes = np.bincount(label.ravel(), minlength=UNKNOWN + 1)[:UNKNOWN]
        rasters = [int((polygon == raster.polygon).sum()) for raster in self.patch.rasters]
        return Pixels(burnt, read={"classes": np.trim_zeros(classes, "b").tolist(),
                                   "rasters": rasters})  # fmt: skip


@lru_cache(maxsize=8)
def _looked_at_anew(href: str, _: str) -> None:
    distrust(href)


def outputs(job: Job) -> list[Place]:
    """What a finished step leaves."""
    there = (job.cube_path / name / "zarr.json" for name in _VARIABLES)
    return [job.losses_path, job.polygons_path, *there]


def discard(job: Job) -> None:
    """Remove the labels."""
    remove(job.polygons_path)
    job.store.remove(_VARIABLES)


def _read(job: Job) -> Labels:
    for source in job.labels.sources:
        if source.is_raster:
            distrust(source.path)
    return read_labels(job.labels, job.grid, job.recipe.storage)


@dataclass(frozen=True)
class _Counts:
    """Labelled pixels, in all layers."""

    of_classes: NDArray[np.int64]
    of_rasters: NDArray[np.int64]


def _tally(job: Job, n_class: int, n_raster: int) -> _Counts:
    """Sums over the records of all tiles, whenever they were made."""
    folder = job.records.tiles("labels")
    with ThreadPoolExecutor(job.recipe.storage.requests) as pool:
        every = pool.map(lambda tile: read_json(folder / f"{tile.name}.json"), job.grid.tiles)
        classes, rasters = np.zeros(n_class, np.int64), np.zeros(n_raster, np.int64)
        for record in every:
            found = record["read"]["classes"]
            classes[: len(found)] += np.array(found, np.int64)
            rasters += np.array(record["read"]["rasters"], np.int64)
    return _Counts(classes, rasters)


def _table(labels: Labels, pixels: NDArray[np.int64], layers: tuple[int, ...]) -> gpd.GeoDataFrame:
    """The labels, and a row for each raster, of which the class is that of its pixels."""
    frame = labels.frame
    known: dict[str, Any] = {
        "polygon": [raster.polygon for raster in labels.rasters],
        "source": [raster.source for raster in labels.rasters],
        "feature": -1,
        "code": UNKNOWN,
        "class": "",
        "weight": [raster.weight for raster in labels.rasters],
        "valid_from": [raster.valid_from for raster in labels.rasters],
        "valid_to": [raster.valid_to for raster in labels.rasters],
        "layer": list(layers),
        "area_m2": np.nan,
        "n_pixel": pixels,
        "geometry": None,
    }
    index = range(len(labels.rasters))
    columns: dict[str, Any] = {}
    for name, column in frame.items():
        if name in known:
            more = pd.Series(known[name], index, dtype=column.dtype)
            columns[str(name)] = pd.concat([column, more], ignore_index=True)
        else:  # kept of the vectors
            more = pd.Series([None] * len(index), index, dtype=object)
            joined = pd.concat([column.astype(object), more], ignore_index=True)
            columns[str(name)] = _typed(joined)
    return gpd.GeoDataFrame(columns, geometry="geometry", crs=frame.crs)


def _typed(column: pd.Series) -> pd.Series:
    """Whole numbers stay such where some are missing."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "integer":
        return column.astype("Int64")
    return column.astype("boolean") if kind == "boolean" else column.infer_objects()


# -- what is told -----------------------------------------------------------------------------


def _is_point(labels: Labels) -> NDArray[np.bool_]:
    kinds = shapely.get_type_id(labels.frame.geometry.to_numpy())
    return np.isin(kinds, (0, 4))


def _found(labels: Labels) -> str:
    points = int(_is_point(labels).sum())
    counted = [
        f"{len(labels.frame) - points} polygons",
        *([f"{points} points"] if points else []),
        *([f"{len(labels.rasters)} rasters"] if labels.rasters else []),
    ]
    pixels = int(labels.frame["n_pixel"].sum())
    said = " and ".join([", ".join(counted[:-1]), counted[-1]] if counted[1:] else counted)
    return f"{said} of {len(labels.classes.names)} classes, {pixels} pixels of vectors"


def _by_class(labels: Labels) -> dict[str, dict[str, int]]:
    """Polygons, points and pixels of vectors, of each class."""
    frame, is_point = labels.frame, _is_point(labels)
    codes, n = frame["code"].to_numpy(), len(labels.classes.names)
    polygons, points = (np.bincount(codes[kind], minlength=n) for kind in (~is_point, is_point))
    pixels = np.bincount(codes, frame["n_pixel"], minlength=n)
    return {
        name: {"polygons": int(polygons[at]), "points": int(points[at]), "pixels": int(pixels[at])}
        for at, name in enumerate(labels.classes.names)
    }


def _problems(labels: Labels) -> list[tuple[str, str, int]]:
    """Reasons, what was done, and how often; the commonest first."""
    table = labels.problems
    # of which other feature is in the table
    reason = table["reason"].str.replace(r"^disputed by .*?; .*", "disputed", regex=True)
    reason = reason.str.replace(r"^(a duplicate) of feature .*", r"\1", regex=True)
    counts = Counter(zip(reason, table["done"], strict=True))
    return [(why, done, n) for (why, done), n in counts.most_common()]


def _lost(labels: Labels) -> list[str]:
    lines = [f"{n} labels {done}: {reason}" for reason, done, n in _problems(labels)]
    if disputed := _disputed_ha(labels):
        lines.append(f"{disputed:.4g} ha are disputed")
    return lines


def _disputed_ha(labels: Labels) -> float:
    """Ground that labels of different classes claim; what more than two claim counts once a
    pair.
    """
    disputed = labels.problems["reason"].str.startswith("disputed")
    return round(float(labels.problems["area_m2"][disputed].sum()) / _HA, 4)
