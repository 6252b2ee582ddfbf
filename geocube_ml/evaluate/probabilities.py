"""What a model says of rows of a sample table: every figure is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.predict import predict_rows

_AT_ONCE = 65_536  # rows whose series are copied at a time


def probabilities(
    bundle: ModelBundle,
    samples: xr.Dataset,
    rows: NDArray[np.bool_],
    cube: xr.Dataset | None = None,
) -> NDArray[np.float32]:
    """Probabilities of classes, before the temperature.

    Parameters
    ----------
    bundle : ModelBundle
    samples : xarray.Dataset
        It may lack sources, if the model allows it.
    rows : (sample,) bool
        Of which.
    cube : xarray.Dataset, optional
        That the samples were taken from; models of patches need it, others do not look at it.

    Returns
    -------
    (n, class) float32
        Of the n rows in their order; NaN of a row of which the model knows no observation.

    Raises
    ------
    InputError
        A model of patches has no cube.
    """
    if bundle.halo:
        if cube is None:
            raise InputError(
                f"{bundle.name} looks at what lies around a pixel, which samples do not hold: give "
                "the cube too (`cube=`)."
            )
        return predict_rows(cube, bundle, samples, rows)
    prob = np.empty((int(rows.sum()), len(bundle.classes.names)), np.float32)
    for at, counts in in_parts(bundle, samples, rows):
        prob[at] = bundle.predict_proba(counts, calibrated=False)
    return prob


def in_parts(
    bundle: ModelBundle, samples: xr.Dataset, rows: NDArray[np.bool_]
) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    """What a bundle is asked, some rows at a time: their place among `rows`, and their counts."""
    chosen = np.flatnonzero(rows)
    names = bundle.needed(samples)
    for start in range(0, len(chosen), _AT_ONCE):
        some = chosen[start : start + _AT_ONCE]
        counts = {name: samples[name].values[some] for name in names}
        yield slice(start, start + len(some)), counts
