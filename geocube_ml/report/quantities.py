"""Counts as physical values, and what they look like class by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.report.coarse import sources_of

_MOST_BANDS = 4  # that a page shows, where there is no index to show
_INTERVAL = (10, 90)  # percentiles


@dataclass(frozen=True)
class Spread:
    """Series of one class: NaN where no sample has data."""

    count: int
    """Samples of the class."""

    mean: NDArray[np.float64]
    """(time,)"""

    low: NDArray[np.float64]
    """(time,) 10th percentile."""

    high: NDArray[np.float64]
    """(time,) 90th percentile."""


@dataclass(frozen=True)
class Quantity:
    """A band or an index, class by class."""

    name: str
    units: str
    months: pd.DatetimeIndex
    spreads: dict[int, Spread]
    """By class code; classes without samples are not there."""


def physical(counts: NDArray[Any], attrs: Mapping[Any, Any]) -> NDArray[np.float32]:
    """Values in the units of `attrs`.

    Parameters
    ----------
    counts : array of any shape
    attrs : mapping
        ``nodata``, ``scale_factor`` and ``add_offset`` count, where they are.

    Returns
    -------
    float32 array of the same shape
        NaN where there is no data.

    Examples
    --------
    >>> physical(np.uint16([0, 2500]), {"nodata": 0, "scale_factor": 1e-4})
    array([ nan, 0.25], dtype=float32)
    """
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    values = counts.astype(np.float32) * np.float32(scale) + np.float32(offset)
    values[counts == attrs.get("nodata", np.nan)] = np.nan
    return values


def units_of(attrs: Mapping[Any, Any]) -> str:
    """Units as one reads them."""
    units = str(attrs.get("units", "counts"))
    return "dimensionless" if units in ("1", "") else units


def quantities(samples: xr.Dataset, n_class: int) -> Iterator[Quantity]:
    """NDVI by class where the samples have red and nir, else each of the first bands.

    Parameters
    ----------
    samples : Dataset
        NAME (sample, time, NAME_band) counts, and ``label`` (sample) codes.
    n_class : int

    Yields
    ------
    Quantity
        One at a time, so that one band is in memory.
    """
    source = sources_of(samples)[0]
    variable = samples[source]
    label = samples["label"].to_numpy()
    bands = [str(band) for band in samples[f"{source}_band"].to_numpy()]

    def band(name: str) -> NDArray[np.float32]:
        chosen = variable.isel({f"{source}_band": bands.index(name)})
        return physical(chosen.transpose("sample", "time").to_numpy(), variable.attrs)

    if {"red", "nir"} <= set(bands):
        yield _by_class(
            "NDVI", "dimensionless", samples, _ndvi(band("red"), band("nir")), label, n_class
        )
        return
    units = units_of(variable.attrs)
    for name in bands[:_MOST_BANDS]:
        yield _by_class(name, units, samples, band(name), label, n_class)


def spread(values: NDArray[np.float32]) -> Spread:
    """Mean and percentiles of each month.

    Parameters
    ----------
    values : (sample, time) float32, NaN without data

    Examples
    --------
    >>> spread(np.float32([[1, np.nan], [3, np.nan]])).mean
    array([ 2., nan])
    """
    out = np.full((3, values.shape[1]), np.nan)
    seen = np.isfinite(values).any(axis=0)  # numpy warns of a month without any
    if seen.any():
        chosen = values[:, seen].astype(np.float64)
        out[0, seen] = np.nanmean(chosen, axis=0)
        out[1:, seen] = np.nanpercentile(chosen, _INTERVAL, axis=0)
    return Spread(len(values), *out)


def _ndvi(red: NDArray[np.float32], nir: NDArray[np.float32]) -> NDArray[np.float32]:
    total = nir + red
    # two dark pixels that an atmospheric correction brought to zero have no index
    out = np.full_like(total, np.nan)
    np.divide(nir - red, total, out=out, where=total > 0)
    return out


def _by_class(
    name: str, units: str, samples: xr.Dataset,
    values: NDArray[np.float32], label: NDArray[Any], n_class: int,
) -> Quantity:  # fmt: skip
    months, values = _every_month(pd.DatetimeIndex(samples["time"].to_numpy()), values)
    spreads = {
        code: spread(values[label == code]) for code in range(n_class) if (label == code).any()
    }
    return Quantity(name, units, months, spreads)


def _every_month(
    months: pd.DatetimeIndex, values: NDArray[np.float32]
) -> tuple[pd.DatetimeIndex, NDArray[np.float32]]:
    """With NaN for months that the axis skips, so that a line does not bridge them."""
    every = pd.date_range(months.min(), months.max(), freq="MS")
    if not months.isin(every).all():
        return months, values  # steps that are not months
    out = np.full((len(values), len(every)), np.nan, np.float32)
    out[:, every.get_indexer(months)] = values
    return every, out
