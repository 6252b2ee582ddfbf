"""Rasters of classes on the cube's grid, a window at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError
from geocube_ml.files import redacted
from geocube_ml.kernels.regions import inner, most_frequent, reach_of
from geocube_ml.labels.labels import ClassRaster
from geocube_ml.raster import read_header, read_onto
from geocube_ml.raster.header import check_asked
from geocube_ml.raster.window import step_of
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.storage import StorageSpec

LEFT_OUT = 254
"""Code of a pixel whose value is no class of the recipe; it is neither unknown nor background."""

_FINER = 0.05  # of a pixel by which the raster's may be smaller and still count as large
_MOST = 4_000_000  # values that are held at a time
_LARGEST = 2.0**53  # up to which a float holds every whole number
_LONG = 1 << 20  # entries of a table that is looked up by position


@dataclass(frozen=True)
class Region:
    """What a raster says in a window."""

    codes: NDArray[np.uint8]
    """(y, x) class, `LEFT_OUT`, or `UNKNOWN`."""
    kept: NDArray[np.bool_]
    """(y, x) whether the pixel lies so far inside its region that it is labelled."""
    clear: NDArray[np.bool_]
    """(y, x) whether it lies so far from whatever the raster says that it may be background."""


def read_region(
    raster: ClassRaster,
    geobox: GeoBox,
    inset: float,
    storage: StorageSpec,
    *,
    whole: bool = False,
) -> Region:
    """What a raster says in a window of a grid, and how far inside.

    Parameters
    ----------
    raster : ClassRaster
    geobox : GeoBox
        The window.
    inset : float
        The inward buffer, in the unit of the grid's CRS.
    storage : StorageSpec
        How the raster's bucket is reached.
    whole : bool
        Whether all of a pixel must lie so far inside, not only its centre.

    Returns
    -------
    Region
        The same of any window: what lies around it is read too.

    Raises
    ------
    MissingError, AccessError, ReadError
        It cannot be read; the message names it.
    InputError
        It has no CRS, lacks the band, or holds fractions.
    """
    size = abs(geobox.transform.e), abs(geobox.transform.a)
    reach = reach_of(inset, size, whole=whole)
    down, across = reach.size - 1, int(reach.max())
    around = GeoBox(
        (geobox.shape.y + 2 * down, geobox.shape.x + 2 * across),
        geobox.transform * Affine.translation(-across, -down),
        geobox.crs,
    )
    codes = read_codes(raster, around, storage)
    unknown = (codes == UNKNOWN).astype(np.uint8)
    here = (
        slice(down, down + geobox.shape.y),
        slice(across, across + geobox.shape.x),
    )
    inside = codes[here]
    return Region(
        codes=inside,
        kept=inner(codes, reach)[here] & (inside < LEFT_OUT),
        clear=inner(unknown, reach)[here] & (inside == UNKNOWN),
    )


def read_codes(raster: ClassRaster, geobox: GeoBox, storage: StorageSpec) -> NDArray[np.uint8]:
    """The class of a raster that most of each pixel of a grid has.

    Parameters
    ----------
    raster : ClassRaster
    geobox : GeoBox
        A window of any grid.
    storage : StorageSpec

    Returns
    -------
    (y, x) uint8
        Class, `LEFT_OUT` for a value that is neither 0 nor a class, and `UNKNOWN`: for 0 that is no
        class, for nodata, outside of the raster, and where no class (or unknown, which counts as
        one) has more of a pixel than every other.

    Raises
    ------
    MissingError, AccessError, ReadError, InputError
        As `read_region`.

    Notes
    -----
    Where the raster's pixels are as large as the grid's or larger it is the pixel that the centre
    lies in.  Where they are smaller, a pixel of the grid is asked at so many places, evenly spread,
    that they are no further apart than the raster's pixels; values become classes first, so that
    those that are one class are counted together, and what is unknown is not outvoted by a few
    pixels that are known.
    """
    header = read_header(raster.href, storage)
    check_asked(header, raster.href, (raster.band,), geobox.crs)
    step = step_of(header.crs, header.transform, (header.height, header.width), geobox)
    factor = _places(step[0]), _places(step[1])
    rows, cols = geobox.shape
    strip = max(_MOST // (factor[0] * factor[1] * cols), 1)
    codes = np.empty((rows, cols), np.uint8)
    missing = _missing(header.nodata[raster.band - 1], header.dtype)
    for top in range(0, rows, strip):
        part = geobox[top : min(top + strip, rows), :]
        fine = GeoBox(
            (part.shape.y * factor[0], part.shape.x * factor[1]),
            part.transform * Affine.scale(1 / factor[1], 1 / factor[0]),
            part.crs,
        )
        (values,) = read_onto(
            raster.href, fine, bands=(raster.band,), nodata=missing, dtype=None, storage=storage
        )
        found = _coded(values, missing, raster)
        voted = found if factor == (1, 1) else most_frequent(found, factor, UNKNOWN)
        codes[top : top + part.shape.y] = voted
    return codes


def _places(step: float) -> int:
    """Into how many places a pixel is cut that spans so many of the raster's pixels.

    An odd number, so that two classes share no pixel evenly by chance, unless the pixels fit.
    """
    n = max(ceil(step - _FINER), 1)
    return n if n % 2 or abs(step - n) < 1e-6 else n + 1


def _missing(stated: float | None, dtype: np.dtype[Any]) -> float:
    """A value that means unknown: the raster's own, or one that it cannot hold."""
    if stated is not None:
        return stated
    if dtype.kind == "f":
        return float("nan")
    if dtype.kind == "u":
        return -1
    least = int(np.iinfo(dtype).min)
    return least if dtype.itemsize == 8 else least - 1  # less than that no array holds


def as_whole(
    values: NDArray[Any], missing: float | None, href: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values of a raster of classes as whole numbers, also where its type could hold others.

    Parameters
    ----------
    values : array of int, float or bool
    missing : float or None
        A value that says nothing; NaN says nothing whatever this is.
    href : str
        The raster, for messages.

    Returns
    -------
    values : array of int or bool
        0 where one says nothing and the raster holds floats.
    there : array of bool
        Where one says something.

    Raises
    ------
    InputError
        There is a fraction, or a number too large to be told from the next one.
    """
    there = np.ones(values.shape, np.bool_) if missing is None else values != missing
    if values.dtype.kind != "f":
        return values, there
    there &= ~np.isnan(values)
    broken = there & ((values != np.rint(values)) | (np.abs(values) > _LARGEST))
    if broken.any():
        raise InputError(
            f"{redacted(href)} holds the number {values[broken][0]:.9g}; a raster of labels holds "
            "whole numbers, one a class. Write its classes into another one, or say which value "
            "is its nodata, for example with `gdal_edit.py -a_nodata`."
        )
    return np.where(there, values, 0).astype(np.int64), there


def _coded(values: NDArray[Any], missing: float, raster: ClassRaster) -> NDArray[np.uint8]:
    """Classes of raw values."""
    values, there = as_whole(values, missing, raster.href)
    codes = _looked_up(values, raster.table)
    codes[(codes == UNKNOWN) & (values != 0)] = LEFT_OUT
    codes[~there] = UNKNOWN
    return codes


def _looked_up(values: NDArray[Any], table: Mapping[int, int]) -> NDArray[np.uint8]:
    keys = np.array(sorted(table), np.int64)
    codes = np.array([table[int(key)] for key in keys], np.uint8)
    if not keys.size:
        return np.full(values.shape, UNKNOWN, np.uint8)
    first, n = int(keys[0]), int(keys[-1] - keys[0]) + 1
    if n <= _LONG:
        # an entry before and one behind for all other values
        every = np.full(n + 2, UNKNOWN, np.uint8)
        every[keys - first + 1] = codes
        return every[np.clip(values.astype(np.int64) - first + 1, 0, n + 1)]
    at = np.minimum(np.searchsorted(keys, values), keys.size - 1)
    return np.where(keys[at] == values, codes[at], UNKNOWN).astype(np.uint8)
