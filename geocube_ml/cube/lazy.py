"""The lazy cube: windows of mosaics as the chunks of a dask-backed Dataset.

Its chunks are array-likes whose ``__getitem__`` calls `Mosaic.read` for just what was asked: dask
gets one task a (step, band, window), fuses a slice into it, and a month of a band of a corner
opens that month's files of that band and their masks, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.cube.compose import by_band
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.errors import GridMismatch, InputError
from geocube_ml.spec.base import digest
from geocube_ml.store.coords import CLEAR_ATTRS, band_attrs, cube_coords


def lazy_cube(mosaics: Mapping[str, Mosaic]) -> xr.Dataset:
    """The lazy cube of some sources; building it reads nothing.

    What cannot be read stops a computation, whatever `Mosaic.unreadable` says: there is no place
    to list what was left out.

    Parameters
    ----------
    mosaics : mapping of name to Mosaic
        From `make_mosaic`, on one grid and, but for those without a time axis, of one period.

    Returns
    -------
    xarray.Dataset
        Of each source its name (time, `name`_band, y, x) of the sensor's dtype, and `name`_clear
        (time, y, x) uint8, the number of clear observations; without ``time`` where it has no time
        axis.  ``time`` is the start of each step.  Chunks are one step, one band (all of
        them where the composite sees them together), and the grid's chunk edge.

    Raises
    ------
    InputError
        No source.
    GridMismatch
        Two lie on different grids, or have different time steps.
    """
    if not mosaics:
        raise InputError("A cube needs at least one source, got none.")
    _check_same(mosaics)
    variables: dict[str, Any] = {}
    for name, mosaic in mosaics.items():
        variables |= _variables(name, replace(mosaic, unreadable="stop"))
    steps = next((m.steps for m in mosaics.values() if not m.source.sensor.static), ())
    bands = {name: list(mosaic.source.chosen) for name, mosaic in mosaics.items()}
    grid = next(iter(mosaics.values())).grid
    return xr.Dataset(variables, coords=cube_coords(grid, steps, bands))


def _check_same(mosaics: Mapping[str, Mosaic]) -> None:
    (first, one), *others = mosaics.items()
    for name, other in others:
        if other.grid.geobox != one.grid.geobox:
            raise GridMismatch(
                f"{first} lies on the grid {one.grid.geobox!r}, {name} on {other.grid.geobox!r}. "
                "Make both with one grid."
            )
    series = {n: m for n, m in mosaics.items() if not m.source.sensor.static}
    names = {name: [step.name for step in mosaic.steps] for name, mosaic in series.items()}
    for name, steps in names.items():
        mine = next(iter(names.values()))
        if steps != mine:
            raise GridMismatch(
                f"{next(iter(names))} has {len(mine)} steps from {mine[0]} to {mine[-1]}, {name} "
                f"has {len(steps)} from {steps[0]} to {steps[-1]}. Make both with one period."
            )


def _variables(name: str, mosaic: Mosaic) -> dict[str, Any]:
    sensor, grid = mosaic.source.sensor, mosaic.grid
    rows, cols = grid.shape
    n, edge = len(mosaic.steps), grid.store.chunk
    place = digest([str(grid.geobox.crs), list(grid.geobox.transform), rows, cols, edge])
    key = f"{name}-{mosaic.digest()}-{digest([step.name for step in mosaic.steps])}-{place}"
    lazy: dict[str, Any] = {"asarray": False, "lock": False}
    lead, dims = ((), ()) if sensor.static else ((n,), ("time",))
    values = _Values(mosaic, (*lead, len(mosaic.source.chosen), rows, cols), np.dtype(sensor.dtype))
    counts = _Counts(mosaic, (*lead, rows, cols), np.dtype(np.uint8))
    ones = (1,) * len(lead)
    depth = 1 if by_band(mosaic.composite) else len(mosaic.source.chosen)
    made: dict[str, Any] = {
        name: (
            (*dims, f"{name}_band", "y", "x"),
            da.from_array(values, chunks=(*ones, depth, edge, edge), name=key, **lazy),
            band_attrs(sensor, mosaic.composite, mosaic.source.chosen),
        )
    }
    if mosaic.counted:
        made[f"{name}_clear"] = (
            (*dims, "y", "x"),
            da.from_array(counts, chunks=(*ones, edge, edge), name=f"{key}-clear", **lazy),
            CLEAR_ATTRS,
        )
    return made


@dataclass(frozen=True)
class _Values:
    """A mosaic's values as dask sees them: a shape, a dtype, and slices that read."""

    mosaic: Mosaic
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        (*steps, bands, y, x), within = _spans(key, self.shape)
        found: NDArray[Any] = self.mosaic.read(_steps(steps), _positions(bands), y, x)[0]
        return np.asarray((found if steps else found[0])[within])


@dataclass(frozen=True)
class _Counts:
    """A mosaic's counts of clear observations, in the same way."""

    mosaic: Mosaic
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        (*steps, y, x), within = _spans(key, self.shape)
        # without a mask that knows where nothing was observed, data are counted
        bands = () if self.mosaic.source.sensor.seen_by_mask else (0,)
        found = self.mosaic.read(_steps(steps), bands, y, x)[1]
        return np.asarray((found if steps else found[0])[within])


def _steps(part: list[slice]) -> range:
    """Positions of steps; the one of a source without a time axis."""
    return _positions(part[0]) if part else range(1)


def _spans(key: Any, shape: tuple[int, ...]) -> tuple[list[slice], tuple[Any, ...]]:
    """What to read to answer a key of integers, slices and a list, and the key within that.

    Examples
    --------
    >>> _spans((2, slice(None, None, 2)), (5, 7))
    ([slice(2, 3, None), slice(0, 7, None)], (0, slice(0, 7, 2)))
    """
    spans: list[slice] = []
    within: list[Any] = []
    for part, n in zip(key, shape, strict=True):
        if isinstance(part, slice) and (part.step or 1) > 0:
            start, stop, step = part.indices(n)
            stop = max(start, stop)  # dask asks for nothing as slice(2, 1, 3)
            span: slice = slice(start, stop)
            at: Any = slice(0, stop - start, step)
        elif isinstance(part, int | np.integer):
            span, at = slice(int(part), int(part) + 1), 0
        else:
            wanted = np.arange(n)[part]
            low = int(wanted.min(initial=n))
            span, at = slice(low, int(wanted.max(initial=low - 1)) + 1), wanted - low
        spans.append(span)
        within.append(at)
    return spans, tuple(within)


def _positions(part: slice) -> range:
    return range(part.start, part.stop)
