"""Where samples lie on the grid of a cube."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError


def pixels_of(samples: xr.Dataset, cube: xr.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of each sample.

    Parameters
    ----------
    samples : xarray.Dataset
        With ``x`` and ``y``.
    cube : xarray.Dataset

    Returns
    -------
    row, col : (sample,) int64

    Raises
    ------
    InputError
        Some are no pixels of the cube: farther than a hundredth of a pixel from any centre.

    Examples
    --------
    >>> cube = xr.Dataset(coords={"y": [25.0, 15.0, 5.0], "x": [5.0, 15.0]})
    >>> row, col = pixels_of(xr.Dataset({"y": ("sample", [5.0]), "x": ("sample", [15.0])}), cube)
    >>> row.tolist(), col.tolist()
    ([2], [1])
    """
    found = []
    for dim in ("y", "x"):
        there, wanted = cube[dim].values.astype(float), samples[dim].values.astype(float)
        step = abs(there[1] - there[0]) if len(there) > 1 else np.inf
        at = pd.Index(there).get_indexer(wanted, method="nearest", tolerance=0.01 * step)
        lost = np.flatnonzero(at < 0)
        if lost.size:
            raise InputError(
                f"{lost.size} of {len(at)} samples are no pixels of the cube: the first has "
                f"{dim} {wanted[lost[0]]:.10g}, the cube's pixels are {there[0]:.10g} to "
                f"{there[-1]:.10g}, {step:g} apart. Give the cube that the samples were "
                "gathered from."
            )
        found.append(at.astype(np.int64))
    return found[0], found[1]
