"""The sample table: what all sources know of labelled pixels, gathered once from the cube.

xbatcher hands out one patch a storage chunk, so each chunk that holds a sample is read once, and
chunks without one are not read.  The pixels are picked from a patch by a kernel.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from xbatcher import BatchGenerator

from geocube_ml.data.sources import deciding, source_names
from geocube_ml.errors import InputError
from geocube_ml.kernels.sampling import any_data, blocks, draw, gather
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import SamplesSpec

_DEFAULT = SamplesSpec()

HOLDOUT = 0
"""Fold of spatial blocks that no model is trained on."""


def gather_samples(cube: xr.Dataset, spec: SamplesSpec = _DEFAULT) -> xr.Dataset:
    """What all sources know of labelled pixels.

    Parameters
    ----------
    cube : xarray.Dataset
        Sources, each with a band dimension of its own: series NAME (time, NAME_band, y, x), static
        ones NAME (NAME_band, y, x); ``label`` and ``polygon`` (y, x).
    spec : SamplesSpec
        How many pixels of a polygon, and how folds are cut.

    Returns
    -------
    xarray.Dataset
        Along ``sample``: series (sample, time, NAME_band) and static sources (sample, NAME_band) as
        counts, ``label`` uint8, ``polygon`` int32, ``x`` and ``y`` (metres), ``block`` int64,
        ``fold_block`` and ``fold_polygon`` int16; row by row as the map lies, however the cube is
        chunked.  A polygon lies wholly in one fold of either kind: its block is that of the mean of
        its pixels.  Attribute ``n_unobserved`` counts labelled pixels left out because no series
        has an observation in any step, or, without series, no static source has data.

    Raises
    ------
    InputError
        No source, no labelled pixel, or fewer blocks, polygons or samples of any class than folds.
    """
    names = source_names(cube)
    if not names:
        raise InputError(
            "The cube has no source: no variable NAME with a dimension NAME_band. It has "
            f"{', '.join(str(name) for name in cube) or 'none'}. Run the step `cube` first."
        )
    rows, cols, polygon, label = _drawn(cube, spec)
    values = {name: _values(cube[name], rows, cols) for name in names}
    decide = deciding(cube)
    observed = np.logical_or.reduce(
        [any_data(values[name], cube[name].attrs["nodata"]) for name in decide]
    )
    if not observed.any():
        raise InputError(
            f"None of the {len(rows)} labelled pixels has an observation in any step of "
            f"{', '.join(decide)}. Widen the period, raise max_cloud_cover, or look at the mask's "
            "`clear` values."
        )
    rows, cols, polygon, label = (part[observed] for part in (rows, cols, polygon, label))

    x, y = cube["x"].values[cols], cube["y"].values[rows]
    block = _blocks(x, y, polygon, spec.block_m)
    owner = np.where(polygon > 0, polygon, -1 - np.unique(block, return_inverse=True)[1])

    sources = {
        name: (
            ("sample", *(dim for dim in cube[name].dims if dim not in ("y", "x"))),
            values[name][observed],
            _kept_attrs(cube[name]),
        )
        for name in names
    }
    bands = {f"{name}_band": cube[f"{name}_band"] for name in names}
    time = {"time": _steps(cube)} if any("time" in cube[name].dims for name in names) else {}
    return xr.Dataset(
        {
            **sources,
            "label": ("sample", label, _kept_attrs(cube["label"])),
            "polygon": ("sample", polygon.astype(np.int32), {"nodata": 0}),
            "x": ("sample", x, {"units": "m"}),
            "y": ("sample", y, {"units": "m"}),
            "block": ("sample", block),
            "fold_block": ("sample", _folds(label, block, spec, "spatial blocks")),
            "fold_polygon": ("sample", _folds(label, owner, spec, "polygons")),
        },
        coords=time | bands,
        attrs={"n_unobserved": int((~observed).sum())},
    ).drop_vars("spatial_ref", errors="ignore")


def count_polygons(samples: xr.Dataset, rows: NDArray[np.bool_]) -> int:
    """Number of polygons that some rows of a sample table come from; background is none."""
    polygons = samples["polygon"].values[rows]
    return len(np.unique(polygons[polygons > 0]))


def _steps(cube: xr.Dataset) -> xr.DataArray:
    """The time axis by itself: the bounds of its steps stay in the cube."""
    attrs = {key: value for key, value in cube["time"].attrs.items() if key != "bounds"}
    return xr.DataArray(cube["time"].values, dims="time", attrs=attrs)


def _chunk_shape(variable: xr.DataArray) -> tuple[int, int]:
    """Rows and columns of a storage chunk; of the whole array where it is not chunked."""
    sizes = dict(variable.chunksizes)
    rows, cols = (max(sizes[dim]) if sizes else variable.sizes[dim] for dim in ("y", "x"))
    return rows, cols


def _patches(
    data: xr.Dataset, shape: tuple[int, int], fill: Mapping[str, float]
) -> Iterator[tuple[int, int, xr.Dataset]]:
    """First row, first column and lazy content of each storage chunk, row by row."""
    rows, cols = data.sizes["y"], data.sizes["x"]
    high, wide = shape
    # xbatcher drops what does not fill a patch, so the last ones are filled up
    padded = data.drop_vars(list(data.coords)).pad(
        y=(0, -rows % high), x=(0, -cols % wide), constant_values=fill
    )
    # a dimension that is left out would be cut into single steps
    sizes = {dim: n for dim, n in data.sizes.items() if dim not in ("y", "x")}
    generator = BatchGenerator(padded, {**sizes, "y": high, "x": wide}, preload_batch=False)
    across = ceil(cols / wide)
    for at, patch in enumerate(generator):
        yield high * (at // across), wide * (at % across), patch


def _drawn(cube: xr.Dataset, spec: SamplesSpec) -> tuple[NDArray[Any], ...]:
    """Row, column, polygon and label of the pixels that are taken, row by row."""
    found: list[tuple[NDArray[Any], ...]] = []
    fill = {"label": UNKNOWN, "polygon": 0}
    shape = _chunk_shape(cube["label"])
    for top, left, patch in _patches(cube[["label", "polygon"]], shape, fill):
        label = patch["label"].values
        row, col = np.nonzero(label != UNKNOWN)
        if row.size:
            polygon = patch["polygon"].values[row, col]
            found.append((row + top, col + left, polygon, label[row, col]))
    if not found:
        raise InputError(
            "The cube has no labelled pixel. Look at the listing of lost polygons beside it; "
            "lower `labels.inset_m` or correct the labels' class column."
        )
    rows, cols, polygon, label = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((cols, rows))  # the samples do not depend on how the cube is chunked
    rows, cols, polygon, label = rows[order], cols[order], polygon[order], label[order]
    if spec.per_polygon is not None:
        # pixels outside polygons (a background class) are drawn by block, class by class
        block = blocks(cube["x"].values[cols], cube["y"].values[rows], spec.block_m)
        within = np.unique(block, return_inverse=True)[1]
        group = np.where(polygon > 0, polygon, -1 - 256 * within - label)
        kept = draw(group, spec.per_polygon, np.random.default_rng(spec.seed))
        rows, cols, polygon, label = rows[kept], cols[kept], polygon[kept], label[kept]
    return rows, cols, polygon, label


def _values(source: xr.DataArray, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[Any]:
    """(n, time, band) counts of the pixels of a series, (n, band) of a static source."""
    out = np.empty((len(rows), *source.shape[:-2]), source.dtype)
    shape = high, wide = _chunk_shape(source)
    fill = {"source": source.attrs["nodata"]}
    for top, left, patch in _patches(source.to_dataset(name="source"), shape, fill):
        here = np.flatnonzero((rows // high == top // high) & (cols // wide == left // wide))
        if here.size:
            out[here] = gather(patch["source"].values, rows[here] - top, cols[here] - left)
    return out


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
    _, first, at = np.unique(group, return_index=True, return_inverse=True)
    n, most = len(first), int(np.bincount(label).max())
    if n < spec.n_fold:
        raise InputError(
            f"{spec.n_fold} folds need as many {kind}, but the samples lie in {n}. Lower "
            f"`samples.n_fold`, or `samples.block_m` ({spec.block_m:g} m now)."
        )
    if most < spec.n_fold:
        raise InputError(
            f"{spec.n_fold} folds need a class with as many samples, but the largest has {most}. "
            "Lower `samples.n_fold`, or raise `samples.per_polygon`."
        )
    folds = np.empty(len(label), np.int16)
    splitter = StratifiedGroupKFold(spec.n_fold, shuffle=True, random_state=spec.seed)
    with warnings.catch_warnings():
        # a class with fewer samples than folds is reported with the scores
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(label, label, group)):
            folds[test] = fold
    of_group = folds[first]
    for empty in np.setdiff1d(np.arange(spec.n_fold), of_group):
        # few groups of mixed classes can leave a fold empty: it gets the smallest of the fullest
        fullest = np.flatnonzero(of_group == np.bincount(of_group).argmax())
        of_group[fullest[np.bincount(at)[fullest].argmin()]] = empty
    return of_group[at]


def _kept_attrs(variable: xr.DataArray) -> dict[str, Any]:
    return {k: v for k, v in variable.attrs.items() if k != "grid_mapping"}
