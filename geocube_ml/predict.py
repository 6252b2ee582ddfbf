"""A model becomes a map: lazily, or a window of the cube at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import dask.array.overlap as overlaps
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.places import pixels_of
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError
from geocube_ml.kernels.scaling import (
    PROB_NODATA,
    PROB_STEPS,
    most_likely,
    pack_probability,
)
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit
from geocube_ml.models.patches import PatchModel, Window, window_of, windows
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

_BLOCK = 256  # pixels: samples are answered for in windows of at most this edge


def predict_map(cube: xr.Dataset, bundle: ModelBundle) -> xr.Dataset:
    """The map of a cube; on a dask-backed cube this builds a graph and reads nothing.

    Parameters
    ----------
    cube : xarray.Dataset
        With the sources, bands and steps that the model was trained on; it may have more sources,
        and, for a model that was trained so, fewer.  Its upper left is that of the whole cube, or
        of a model of patches a multiple of its stride from there.
    bundle : ModelBundle

    Returns
    -------
    xarray.Dataset
        ``class`` (y, x) uint8, 255 where nothing was observed, with CF flag attributes; and
        ``prob`` (class_name, y, x) uint8 in steps of 1/250, 255 where there is none.  Of a model
        of numbers ``estimate`` (y, x) float32 in their unit, NaN where nothing was observed, in
        place of both.  Its chunks are the cube's; for a model of patches whole numbers of its
        stride, and no smaller than its halo.

    Raises
    ------
    InputError
        The cube lacks a source.
    GridMismatch
        Its bands or steps are not those that the model was trained on.
    """
    check_cube(cube, bundle)
    names, halo = bundle.needed(cube), bundle.halo
    lead = cube[names[0]].chunk()
    cut = {dim: _cut(lead.chunksizes[dim], halo, _stride(bundle)) for dim in ("y", "x")}
    blocks: list[Any] = []
    for name in names:
        # a model sees whole series; and all sources are cut as the first one is
        whole = {dim: -1 for dim in cube[name].dims if dim not in ("y", "x")}
        source = cube[name].chunk({**whole, **cut}).data
        if halo:
            depth = {source.ndim - 2: halo, source.ndim - 1: halo}
            source = overlaps.overlap(source, depth, "none", allow_rechunk=False)
        blocks += [source, (*(f"{name} {dim}" for dim in whole), "y", "x")]
    if bundle.quantity is not None:
        return _estimate_map(blocks, names, bundle, lead)
    prob = da.blockwise(
        partial(_predict, names=names, bundle=bundle), ("class", "y", "x"), *blocks,
        new_axes={"class": len(bundle.classes.names)}, concatenate=True, dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )  # fmt: skip
    if halo:
        prob = overlaps.trim_internal(prob, {1: halo, 2: halo}, {1: "none", 2: "none"})
    attrs = map_attrs(bundle.classes)
    return xr.Dataset(
        {
            "class": (
                ("y", "x"),
                prob.map_blocks(most_likely, UNKNOWN, drop_axis=0, dtype=np.uint8),
                attrs["class"],
            ),
            "prob": (
                ("class_name", "y", "x"),
                prob.map_blocks(pack_probability, dtype=np.uint8),
                attrs["prob"],
            ),
        },
        coords={
            "class_name": np.array(bundle.classes.names, object),
            **{str(k): v for k, v in lead.coords.items() if k in ("y", "x", "spatial_ref")},
        },
    )


def _estimate_map(
    blocks: list[Any], names: tuple[str, ...], bundle: ModelBundle, lead: xr.DataArray
) -> xr.Dataset:
    """The map of a number, from sources and their axes as `blockwise` takes them."""
    found = da.blockwise(
        partial(_estimate, names=names, bundle=bundle), ("y", "x"), *blocks,
        concatenate=True, dtype=np.float32, meta=np.empty((0, 0), np.float32),
    )  # fmt: skip
    return xr.Dataset(
        {"estimate": (("y", "x"), found, estimate_attrs(bundle.quantity or {}))},
        coords={str(k): v for k, v in lead.coords.items() if k in ("y", "x", "spatial_ref")},
    )


def _cut(chunks: Sequence[int], halo: int, stride: int) -> tuple[int, ...]:
    """Chunks along y or x, joined so that each begins at a multiple of the stride and none is
    smaller than the halo.

    Examples
    --------
    >>> _cut((10, 10, 10, 10, 3), 8, 4)
    (8, 12, 8, 15)
    """
    starts, total, end = [0], sum(chunks), 0
    for size in chunks[:-1]:
        end += size
        start = end // stride * stride
        if start - starts[-1] >= max(halo, 1) and total - start >= halo:
            starts.append(start)
    return tuple(b - a for a, b in zip(starts, [*starts[1:], total], strict=True))


def _stride(bundle: ModelBundle) -> int:
    return bundle.model.stride if isinstance(bundle.model, PatchModel) else 1


def predict_tile(
    cube: xr.Dataset, bundle: ModelBundle, y: slice, x: slice, edge: int
) -> dict[str, NDArray[Any]]:
    """The map of a window of a cube, computed.

    Parameters
    ----------
    cube : xarray.Dataset
        The whole one, of which the window and the model's halo are read, once.
    bundle : ModelBundle
    y, x : slice
        Rows and columns.
    edge : int
        Pixels that are answered at a time: memory beside the window does not grow with it.

    Returns
    -------
    dict
        ``class`` (y, x) and ``prob`` (class_name, y, x), or ``estimate`` (y, x), as of
        `predict_map`.
    """
    whole, counts = _read(cube, bundle, y, x)
    shape = y.stop - y.start, x.stop - x.start
    if bundle.quantity is not None:
        return {"estimate": _estimate_parts(bundle, counts, shape, edge)}
    mapped = np.empty(shape, np.uint8)
    packed = np.empty((len(bundle.classes.names), *shape), np.uint8)
    for part in windows(shape, edge, 0, 1):
        down, over = part.core
        prob = _answered(cube, bundle, whole, counts, _moved(down, y.start), _moved(over, x.start))
        mapped[down, over] = most_likely(prob, UNKNOWN)
        packed[:, down, over] = pack_probability(prob)
    return {"class": mapped, "prob": packed}


def _estimate_parts(
    bundle: ModelBundle, counts: Mapping[str, NDArray[Any]], shape: tuple[int, int], edge: int
) -> NDArray[np.float32]:
    """(y, x) numbers of what was read, a part at a time."""
    found = np.empty(shape, np.float32)
    for part in windows(shape, edge, 0, 1):
        seen = {name: values[..., *part.core] for name, values in counts.items()}
        found[part.core] = bundle.estimate_block(seen)
    return found


def predict_window(
    cube: xr.Dataset, bundle: ModelBundle, y: slice, x: slice, *, calibrated: bool = True
) -> NDArray[np.float32]:
    """Probabilities of a window of a cube: the same whatever the window.

    Parameters
    ----------
    cube : xarray.Dataset
        The whole one, of which the window and the model's halo are read.
    bundle : ModelBundle
    y, x : slice
        Rows and columns.
    calibrated : bool
        Softened by the temperature.

    Returns
    -------
    (class, y, x) float32
        NaN where nothing was observed.
    """
    whole, counts = _read(cube, bundle, y, x)
    return _answered(cube, bundle, whole, counts, y, x, calibrated)


def predict_rows(
    cube: xr.Dataset, bundle: ModelBundle, samples: xr.Dataset, rows: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Probabilities of samples by a model that looks at what lies around them.

    Parameters
    ----------
    cube : xarray.Dataset
        That the samples are pixels of.
    bundle : ModelBundle
    samples : xarray.Dataset
        From `gather_samples`.
    rows : (sample,) bool
        Of which.

    Returns
    -------
    (n, class) float32
        Of the n rows in their order, before the temperature; NaN of a row of which the cube has
        no observation.

    Raises
    ------
    InputError
        They are no pixels of the cube.

    Notes
    -----
    Blocks of the cube are read once, with the model's halo.  Steps in which a label does not hold
    are seen as the cube has them.
    """
    row, col = pixels_of(samples.isel(sample=rows), cube)
    prob = np.empty((len(row), len(bundle.classes.names)), np.float32)
    _, block = np.unique(np.stack([row // _BLOCK, col // _BLOCK]), axis=1, return_inverse=True)
    for number in range(block.max(initial=-1) + 1):
        of = np.flatnonzero(block == number)
        y, x = (slice(int(at[of].min()), int(at[of].max()) + 1) for at in (row, col))
        found = predict_window(cube, bundle, y, x, calibrated=False)
        prob[of] = found[:, row[of] - y.start, col[of] - x.start].T
    return prob


def _read(
    cube: xr.Dataset, bundle: ModelBundle, y: slice, x: slice
) -> tuple[Window, dict[str, NDArray[Any]]]:
    """Counts of a window and the halo around it."""
    window = window_of((y, x), _shape(cube), bundle.halo, _stride(bundle))
    names = list(bundle.needed(cube))
    part = cube[names].isel(y=window.seen[0], x=window.seen[1])
    return window, {name: part[name].values for name in names}


def _answered(
    cube: xr.Dataset, bundle: ModelBundle, whole: Window, counts: Mapping[str, NDArray[Any]],
    y: slice, x: slice, calibrated: bool = True,
) -> NDArray[np.float32]:  # fmt: skip
    """Probabilities of a part of what was read."""
    part = window_of((y, x), _shape(cube), bundle.halo, _stride(bundle))
    (top, left), (down, over) = (at.start for at in whole.seen), part.seen
    seen = {
        name: values[..., _moved(down, -top), _moved(over, -left)]
        for name, values in counts.items()
    }
    return bundle.predict_block(seen, calibrated=calibrated)[:, *part.within]


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _shape(cube: xr.Dataset) -> tuple[int, int]:
    return cube.sizes["y"], cube.sizes["x"]


def check_cube(cube: xr.Dataset, bundle: ModelBundle) -> None:
    """Refuse a cube that is not like the one that the model was trained on.

    Raises
    ------
    InputError
        It lacks a source.
    GridMismatch
        Its bands or steps differ.
    """
    found = described(cube)
    if not found["sources"]:
        raise InputError(
            f"The model needs {', '.join(bundle.fit.names)}, but the cube has no source: no "
            "variable NAME with a dimension NAME_band. Run the step `cube` first."
        )
    bundle.fit.check(Fit.model_validate(found), tolerant=bundle.tolerant)


def _predict(
    *blocks: NDArray[Any], names: tuple[str, ...], bundle: ModelBundle
) -> NDArray[np.float32]:
    return bundle.predict_block(dict(zip(names, blocks, strict=True)))


def _estimate(
    *blocks: NDArray[Any], names: tuple[str, ...], bundle: ModelBundle
) -> NDArray[np.float32]:
    return bundle.estimate_block(dict(zip(names, blocks, strict=True)))


def estimate_attrs(quantity: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of the map of a number, of which `ModelBundle.quantity` tells."""
    return {
        "long_name": quantity["column"],
        "units": quantity["units"],
        "nodata": np.nan,
        "grid_mapping": "spatial_ref",
    }


def map_attrs(classes: ClassScheme) -> dict[str, dict[str, Any]]:
    """Attributes of the map's two variables."""
    return {
        "class": {
            "long_name": "most likely class",
            **classes.attrs(),
            "nodata": UNKNOWN,
            "grid_mapping": "spatial_ref",
        },
        "prob": {
            "long_name": "probability of each class",
            "units": "1",
            "scale_factor": 1 / PROB_STEPS,
            "add_offset": 0.0,
            "nodata": PROB_NODATA,
            "grid_mapping": "spatial_ref",
        },
    }
