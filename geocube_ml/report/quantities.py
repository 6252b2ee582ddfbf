"""Counts as physical values, and what they look like class by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.report.steps import step_word

MANY_BANDS = 8
"""Bands above which a source is a spectrum, and not a few layers of their own kinds."""

_MOST_BANDS = 4  # of a series that a page shows, where there is no index to show
_INTERVAL = (10, 90)  # percentiles
_READ = {"1": "dimensionless", "": "dimensionless", "degree": "degrees"}


@dataclass(frozen=True)
class Spread:
    """What the samples of one class hold along an axis: NaN where none has data."""

    count: int
    """Samples of the class."""

    mean: NDArray[np.float64]
    """(axis,)"""

    low: NDArray[np.float64]
    """(axis,) 10th percentile."""

    high: NDArray[np.float64]
    """(axis,) 90th percentile."""


@dataclass(frozen=True)
class Quantity:
    """A band or an index through time, or the bands of a static source; class by class."""

    source: str
    name: str
    """Band or index; empty where the bands are the axis."""
    units: str
    """Of the source; of bands that are the axis see `band_units`."""
    axis: pd.DatetimeIndex | tuple[str, ...]
    """Start of each time step, or the names of bands."""
    spreads: dict[int, Spread]
    """By class code; classes without samples are not there."""
    band_units: tuple[str, ...] = ()
    """Of each band, where these are the axis."""


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


def units_of(attrs: Mapping[Any, Any], band: str = "") -> str:
    """Units as one reads them: of a band that is derived its own, else those of its source.

    Examples
    --------
    >>> terrain = {"units": "m", "units_slope": "degree"}
    >>> units_of(terrain), units_of(terrain, "slope"), units_of({"units": "1"}, "red")
    ('m', 'degrees', 'dimensionless')
    """
    units = str(attrs.get(f"units_{band}", attrs.get("units", "counts")))
    return _READ.get(units, units)


def quantities(samples: xr.Dataset, n_class: int) -> Iterator[Quantity]:
    """What the samples look like, source by source.

    Parameters
    ----------
    samples : Dataset
        Series NAME (sample, time, NAME_band), static sources NAME (sample, NAME_band), as counts;
        ``label`` (sample) codes.
    n_class : int

    Yields
    ------
    Quantity
        One at a time, so that one band is in memory.  Of a series NDVI where it has red and nir,
        else each of its first bands; of a static source all bands.
    """
    label = samples["label"].to_numpy()
    for source in source_names(samples):
        bands = [str(band) for band in samples[f"{source}_band"].to_numpy()]
        units = units_of(samples[source].attrs)
        if is_static(samples[source]):
            values = physical(
                samples[source].transpose("sample", f"{source}_band").to_numpy(),
                samples[source].attrs,
            )
            own = tuple(units_of(samples[source].attrs, band) for band in bands)
            spreads = _by_class(values, label, n_class)
            yield Quantity(source, "", units, tuple(bands), spreads, own)
        else:
            yield from _series(samples, source, bands, n_class)


def _series(samples: xr.Dataset, source: str, bands: list[str], n_class: int) -> Iterator[Quantity]:
    variable, label = samples[source], samples["label"].to_numpy()
    starts = pd.DatetimeIndex(samples["time"].to_numpy())

    def band(name: str) -> NDArray[np.float32]:
        chosen = variable.isel({f"{source}_band": bands.index(name)})
        return physical(chosen.transpose("sample", "time").to_numpy(), variable.attrs)

    def quantity(name: str, units: str, values: NDArray[np.float32]) -> Quantity:
        steps, filled = _every_month(starts, values)
        return Quantity(source, name, units, steps, _by_class(filled, label, n_class))

    if {"red", "nir"} <= set(bands):
        yield quantity("NDVI", "dimensionless", _ndvi(band("red"), band("nir")))
        return
    for name in bands[:_MOST_BANDS]:
        yield quantity(name, units_of(variable.attrs, name), band(name))


def spread(values: NDArray[np.float32]) -> Spread:
    """Mean and percentiles at each place of an axis.

    Parameters
    ----------
    values : (sample, axis) float32, NaN without data

    Examples
    --------
    >>> spread(np.float32([[1, np.nan], [3, np.nan]])).mean
    array([ 2., nan])
    """
    out = np.full((3, values.shape[1]), np.nan)
    seen = np.isfinite(values).any(axis=0)  # numpy warns of a place without any
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


def _by_class(values: NDArray[np.float32], label: NDArray[Any], n_class: int) -> dict[int, Spread]:
    return {code: spread(values[label == code]) for code in range(n_class) if (label == code).any()}


def _every_month(
    starts: pd.DatetimeIndex, values: NDArray[np.float32]
) -> tuple[pd.DatetimeIndex, NDArray[np.float32]]:
    """With NaN for months that the axis skips, so that a line does not bridge them."""
    if step_word(starts) != "month":
        return starts, values
    every = pd.date_range(starts.min(), starts.max(), freq="MS")
    out = np.full((len(values), len(every)), np.nan, np.float32)
    out[:, every.get_indexer(starts)] = values
    return every, out
