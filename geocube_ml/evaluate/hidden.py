"""A cube or a sample table of which something is missing: its later steps, or a source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.errors import InputError, listed
from geocube_ml.spec.evaluate import EvaluateSpec


def first_steps(data: xr.Dataset, n: int) -> xr.Dataset:
    """As it was known after the first `n` time steps: later ones are missing in every source.

    Parameters
    ----------
    data : xarray.Dataset
        A cube or a sample table; a lazy one stays lazy.
    n : int

    Returns
    -------
    xarray.Dataset
        Of the same sizes and types.
    """
    early = xr.DataArray(np.arange(data.sizes["time"]) < n, dims="time")
    cut = {
        name: one.where(early, np.asarray(one.attrs["nodata"], one.dtype)[()])
        for name, one in data.data_vars.items()
        if "time" in one.dims and "nodata" in one.attrs
    }
    return data.assign(cut)


def dropped_source(data: xr.Dataset, source: str) -> xr.Dataset:
    """Without a source, as if it had never been gathered."""
    return data.drop_dims(f"{source}_band")


def early_steps(samples: xr.Dataset, spec: EvaluateSpec) -> list[int]:
    """Numbers of steps after which series are cut, as the spec names them.

    Raises
    ------
    InputError
        There are fewer steps, or no series.
    """
    if not spec.early:
        return []
    series = [name for name in source_names(samples) if not is_static(samples[name])]
    if not series:
        raise InputError("`evaluate.early` cuts series, but the samples have none. Leave it out.")
    n = samples.sizes["time"]
    if spec.early == "every":
        return list(range(1, n))
    wrong = [str(k) for k in spec.early if k >= n]
    if wrong:
        raise InputError(
            f"`evaluate.early` names {', '.join(wrong)}, but the series have {n} steps, all of "
            f"which are judged anyway. Name numbers from 1 to {n - 1}."
        )
    return sorted(set(spec.early))


def left_out(samples: xr.Dataset, spec: EvaluateSpec) -> list[str]:
    """Sources without which models are judged, as the spec names them.

    Raises
    ------
    InputError
        The samples have no such source, or no other.
    """
    names: Sequence[str] = source_names(samples)
    if not spec.without:
        return []
    asked = names if spec.without == "each" else spec.without
    wrong = [name for name in asked if name not in names]
    if wrong:
        raise InputError(
            f"`evaluate.without` names {listed(wrong)}, but the sources of the samples are "
            f"{listed(list(names))}. Correct it."
        )
    if len(names) == 1:
        raise InputError(
            f"`evaluate.without` leaves a source out, but the samples have {names[0]} alone. Add "
            "another source, or leave the field out."
        )
    return list(dict.fromkeys(asked))
