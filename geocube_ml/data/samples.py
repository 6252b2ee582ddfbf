"""The sample table: the series of labelled pixels, gathered once from the cube.

xbatcher hands out one patch a storage chunk, so each chunk that holds a sample is read once, and
chunks without one are not read.  The pixels are picked from a patch by a kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from xbatcher import BatchGenerator

from geocube_ml.errors import InputError
from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.sampling import blocks, draw, gather
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import SamplesSpec

_DEFAULT = SamplesSpec()

HOLDOUT = 0
"""Fold of spatial blocks that no model is trained on."""


def gather_samples(cube: xr.Dataset, spec: SamplesSpec = _DEFAULT) -> xr.Dataset:
    """The series of labelled pixels.

    Parameters
    ----------
    cube : xarray.Dataset
        One source variable (time, band, y, x), ``label`` and ``polygon`` (y, x).
    spec : SamplesSpec
        How many pixels of a polygon, and how folds are cut.

    Returns
    -------
    xarray.Dataset
        Along ``sample``: the source (sample, time, band) as counts, ``label`` uint8, ``polygon``
        int32, ``x`` and ``y`` (metres), ``block`` int64, ``fold_block`` and ``fold_polygon``
        int16.  A polygon lies wholly in one fold of either kind: its block is that of the mean
        of its pixels.  Attribute ``n_unobserved`` counts labelled pixels left out because no
        month has an observation.

    Raises
    ------
    InputError
        No labelled pixel, or fewer blocks or polygons than folds.
    """
    name = source_name(cube)
    edge = _chunk_edge(cube[name])
    rows, cols = _drawn(cube, spec, edge)
    series, observed = _series(cube[name], rows, cols, edge)
    if not observed.any():
        raise InputError(
            f"None of the {len(rows)} labelled pixels has an observation in any month. Widen the "
            "period, raise max_cloud_cover, or look at the mask's `clear` values."
        )
    rows, cols, series = rows[observed], cols[observed], series[observed]

    label = _points(cube["label"], rows, cols)
    polygon = _points(cube["polygon"], rows, cols)
    x, y = cube["x"].values[cols], cube["y"].values[rows]
    block = _blocks(x, y, polygon, spec.block_m)
    owner = np.where(polygon > 0, polygon, -1 - np.unique(block, return_inverse=True)[1])

    band = cube[name].dims[1]
    return xr.Dataset(
        {
            name: (("sample", "time", band), series, _kept_attrs(cube[name])),
            "label": ("sample", label, _kept_attrs(cube["label"])),
            "polygon": ("sample", polygon.astype(np.int32), {"nodata": 0}),
            "x": ("sample", x, {"units": "m"}),
            "y": ("sample", y, {"units": "m"}),
            "block": ("sample", block),
            "fold_block": ("sample", _folds(label, block, spec, "spatial blocks")),
            "fold_polygon": ("sample", _folds(label, owner, spec, "polygons")),
        },
        coords={"time": cube["time"], band: cube[band]},
        attrs={"source": name, "n_unobserved": int((~observed).sum())},
    ).drop_vars("spatial_ref", errors="ignore")


def source_name(data: xr.Dataset) -> str:
    """Name of the variable of observations: the one with time and its own band dimension.

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    names = [str(n) for n, v in data.items() if "time" in v.dims and f"{n}_band" in v.dims]
    if len(names) != 1:
        raise InputError(
            f"One variable with `time` and its own band dimension is needed, got {names or 'none'}."
        )
    return names[0]


def _chunk_edge(source: xr.DataArray) -> int:
    """Edge of a storage chunk; of the whole array where it is not chunked."""
    sizes = dict(source.chunksizes)
    return int(max(sizes["y"][0], sizes["x"][0])) if sizes else max(source.shape[-2:])


def _patches(data: xr.Dataset, edge: int) -> Iterator[tuple[int, int, xr.Dataset]]:
    """First row, first column and lazy content of each storage chunk, row by row."""
    rows, cols = data.sizes["y"], data.sizes["x"]
    # xbatcher drops what does not fill a patch, so the last ones are filled up
    fill = {name: variable.attrs.get("nodata", 0) for name, variable in data.items()}
    padded = data.drop_vars(list(data.coords)).pad(
        y=(0, -rows % edge), x=(0, -cols % edge), constant_values=fill
    )
    # a dimension that is left out would be cut into single steps
    sizes = {dim: n for dim, n in data.sizes.items() if dim not in ("y", "x")}
    generator = BatchGenerator(padded, {**sizes, "y": edge, "x": edge}, preload_batch=False)
    wide = ceil(cols / edge)
    for at, patch in enumerate(generator):
        yield edge * (at // wide), edge * (at % wide), patch


def _drawn(cube: xr.Dataset, spec: SamplesSpec, edge: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows and columns of the pixels that are taken, in the order of the chunks."""
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for top, left, patch in _patches(cube[["label", "polygon"]], edge):
        label = patch["label"].values
        row, col = np.nonzero(label != UNKNOWN)
        if row.size:
            group = patch["polygon"].values[row, col].astype(np.int64)
            # pixels outside polygons (a background class) are drawn by chunk, class by class
            group = np.where(
                group > 0, group, -1 - 256 * len(found) - label[row, col].astype(np.int64)
            )
            found.append((row + top, col + left, group))
    if not found:
        raise InputError(
            "The cube has no labelled pixel. Look at the listing of lost polygons beside it; "
            "lower `labels.inset_m` or correct the labels' class column."
        )
    rows, cols, groups = (np.concatenate(part) for part in zip(*found, strict=True))
    if spec.per_polygon is not None:
        kept = draw(groups, spec.per_polygon, np.random.default_rng(spec.seed))
        rows, cols = rows[kept], cols[kept]
    return rows, cols


def _series(
    source: xr.DataArray, rows: NDArray[Any], cols: NDArray[Any], edge: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(n, time, band) counts of the pixels, and where any month was observed."""
    n_time, n_band = source.shape[:2]
    out = np.empty((len(rows), n_time, n_band), source.dtype)
    for top, left, patch in _patches(source.to_dataset(name="source"), edge):
        here = np.flatnonzero((rows // edge == top // edge) & (cols // edge == left // edge))
        if here.size:
            out[here] = gather(patch["source"].values, rows[here] - top, cols[here] - left)
    observed = np.asarray(has_data(out, source.attrs["nodata"]).any(axis=(1, 2)))
    return out, observed


def _points(variable: xr.DataArray, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
    at = {"y": xr.DataArray(rows, dims="sample"), "x": xr.DataArray(cols, dims="sample")}
    values: NDArray[Any] = variable.isel(at).values
    return values


def _blocks(
    x: NDArray[Any], y: NDArray[Any], polygon: NDArray[Any], edge: float
) -> NDArray[np.int64]:
    """Spatial block of each sample; that of its polygon's mean pixel, so none is cut in two."""
    _, at = np.unique(polygon, return_inverse=True)
    n = np.bincount(at)
    mean_x, mean_y = np.bincount(at, x) / n, np.bincount(at, y) / n
    of_polygon = blocks(mean_x, mean_y, edge)[at]
    return np.where(polygon > 0, of_polygon, blocks(x, y, edge))


def _folds(
    label: NDArray[Any], group: NDArray[Any], spec: SamplesSpec, kind: str
) -> NDArray[np.int16]:
    """Fold of each sample; groups stay whole, classes are spread as evenly as that allows."""
    n = len(np.unique(group))
    if n < spec.n_fold:
        raise InputError(
            f"{spec.n_fold} folds need as many {kind}, but the samples lie in {n}. Lower "
            f"`samples.n_fold`, or `samples.block_m` ({spec.block_m:g} m now)."
        )
    folds = np.empty(len(label), np.int16)
    splitter = StratifiedGroupKFold(spec.n_fold, shuffle=True, random_state=spec.seed)
    with warnings.catch_warnings():
        # a class with fewer samples than folds is reported with the scores
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(label, label, group)):
            folds[test] = fold
    return folds


def _kept_attrs(variable: xr.DataArray) -> dict[str, Any]:
    return {k: v for k, v in variable.attrs.items() if k != "grid_mapping"}
