"""A model becomes a map: lazily, a block of the cube at a time."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from geocube_ml.errors import InputError
from geocube_ml.kernels.scaling import (
    PROB_NODATA,
    PROB_STEPS,
    most_likely,
    pack_probability,
)
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.labels import UNKNOWN, ClassScheme


def predict_map(cube: xr.Dataset, bundle: ModelBundle) -> xr.Dataset:
    """The map of a cube; on a dask-backed cube this builds a graph and reads nothing.

    Parameters
    ----------
    cube : xarray.Dataset
        With the variable, bands and months that the model was trained on.
    bundle : ModelBundle

    Returns
    -------
    xarray.Dataset
        ``class`` (y, x) uint8, 255 where no month was observed, with CF flag attributes; and
        ``prob`` (class, y, x) uint8 in steps of 1/250, 255 where there is none.

    Raises
    ------
    InputError
        The cube has no such variable.
    GridMismatch
        Its bands or months are not those that the model was trained on.
    """
    fit = bundle.fit
    if fit.source not in cube:
        raise InputError(
            f"The model needs the variable {fit.source!r}, the cube has "
            f"{', '.join(str(name) for name in cube)}. Rename it, or train on this cube."
        )
    counts = cube[fit.source]
    band = str(counts.dims[1])
    fit.check(
        tuple(str(name) for name in counts[band].values),
        tuple(int(month) for month in counts["time"].dt.month.values),
    )
    series = counts.chunk({"time": -1, band: -1}).data  # a model sees whole series
    n_class = len(bundle.classes.names)
    prob = da.map_blocks(
        bundle.predict_block, series, drop_axis=[0, 1], new_axis=0, dtype=np.float32,
        chunks=((n_class,), *series.chunks[2:]), meta=np.empty((0, 0, 0), np.float32),
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
            **{str(k): v for k, v in counts.coords.items() if k in ("y", "x", "spatial_ref")},
        },
    )


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
