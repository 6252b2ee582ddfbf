"""A model becomes a map: lazily, a block of the cube at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

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
from geocube_ml.spec.labels import UNKNOWN, ClassScheme


def predict_map(cube: xr.Dataset, bundle: ModelBundle) -> xr.Dataset:
    """The map of a cube; on a dask-backed cube this builds a graph and reads nothing.

    Parameters
    ----------
    cube : xarray.Dataset
        With the sources, bands and steps that the model was trained on; it may have more sources.
    bundle : ModelBundle

    Returns
    -------
    xarray.Dataset
        ``class`` (y, x) uint8, 255 where nothing was observed, with CF flag attributes; and
        ``prob`` (class_name, y, x) uint8 in steps of 1/250, 255 where there is none.

    Raises
    ------
    InputError
        The cube lacks a source.
    GridMismatch
        Its bands or steps are not those that the model was trained on.
    """
    check_cube(cube, bundle)
    names = bundle.fit.names
    lead = cube[names[0]].chunk()
    blocks: list[Any] = []
    for name in names:
        # a model sees whole series; and all sources are cut as the first one is
        whole = {dim: -1 for dim in cube[name].dims if dim not in ("y", "x")}
        cut = {dim: lead.chunksizes[dim] for dim in ("y", "x")}
        source = cube[name].chunk({**whole, **cut})
        blocks += [source.data, (*(f"{name} {dim}" for dim in whole), "y", "x")]
    prob = da.blockwise(
        partial(_predict, names=names, bundle=bundle), ("class", "y", "x"), *blocks,
        new_axes={"class": len(bundle.classes.names)}, concatenate=True, dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )  # fmt: skip
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
    bundle.fit.check(Fit.model_validate(found))


def _predict(
    *blocks: NDArray[Any], names: tuple[str, ...], bundle: ModelBundle
) -> NDArray[np.float32]:
    return bundle.predict_block(dict(zip(names, blocks, strict=True)))


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
