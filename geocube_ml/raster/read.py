"""Reading one raster onto any grid, without nodata bleeding into data.

GeoTIFFs on a disk are decoded by `raster.blocks`, everything else by rasterio (GDAL).  A raster
whose pixels lie on the wanted grid is copied by a windowed read.  Any other is sampled at the
places of the grid's pixels, whose coordinates are found once for all rasters of one CRS; only
where the grid is coarser does GDAL's warper average.  A window has the same values whatever
larger window it is cut from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.errors import ReadError
from geocube_ml.raster.blocks import DamagedError, opened_tiff
from geocube_ml.raster.gdal import GdalRaster, Raster, read_part
from geocube_ml.raster.header import check_asked, header_of, overview_shapes
from geocube_ml.raster.remote import from_raster, is_remote
from geocube_ml.raster.wanted import Terms, Wanted, holds
from geocube_ml.raster.warp import Part, inside, needed, warped
from geocube_ml.raster.window import Span, Way
from geocube_ml.spec.storage import StorageSpec

T = TypeVar("T")

_STORAGE = StorageSpec()
_GLANCE = 256  # pixels


def read_onto(
    href: str,
    geobox: GeoBox,
    *,
    bands: Sequence[int] = (1,),
    nodata: float,
    dtype: DTypeLike | None,
    resampling: str = "nearest",
    coarsening: str = "nearest",
    own_nodata: bool = True,
    storage: StorageSpec = _STORAGE,
) -> NDArray[Any]:
    """Some bands of a raster on another grid, in one open and one decode.

    Parameters
    ----------
    href : str
        A path, ``s3://bucket/key``, a URL, or what GDAL knows by another name.
    geobox : GeoBox
        The wanted grid.
    bands : sequence of int
        Numbers of bands, from 1, in the order of the result.
    nodata : float
        Value of a pixel without data, in the raster (unless it states its own) and in the result.
    dtype : dtype or None
        Of the result.  None: the raster's own, or a larger one that has `nodata` too.
    resampling, coarsening : str
        GDAL's names; the first where the raster's pixels are as large as the grid's or larger,
        the second where they are smaller (by more than a tenth).  Nodata pixels take no part in
        an average.
    own_nodata : bool
        Whether a nodata that the raster states takes the place of `nodata` in it.  Not of a mask,
        where it may be the clearest value.
    storage : StorageSpec
        How stores are reached, and how patiently; nothing to a file on a disk.

    Returns
    -------
    (band, y, x) array of `dtype`; `nodata` where the raster has none or does not reach.

    Raises
    ------
    MissingError
        It is not there.
    AccessError
        A store refuses access; also a ReadError.
    ReadError
        It cannot be opened or decoded (cut short, damaged), at last.
    InputError
        It has no CRS, lacks a band, or holds values that `dtype` cannot; or it states another
        nodata, and has data of the value `nodata`.
    """
    kind = None if dtype is None else np.dtype(dtype)
    wanted = Wanted(
        bands=tuple(bands), nodata=nodata, dtype=kind, resampling=resampling,
        coarsening=coarsening, own_nodata=own_nodata,
    )  # fmt: skip
    return of_raster(href, lambda raster: _read(raster, href, geobox, wanted), storage)


def read_overview(
    href: str,
    most: int,
    bands: Sequence[int] = (1,),
    storage: StorageSpec = _STORAGE,
    *,
    nodata: float | None = None,
) -> tuple[NDArray[Any], float | None]:
    """A coarse look at a whole raster, by single pixels of its smallest fitting overview.

    Parameters
    ----------
    href : str
        As of `read_onto`.
    most : int
        Rows and columns of the result, at most.  If no overview is so small, pixels of the
        smallest are left out; without overviews all blocks of the raster are read.
    bands : sequence of int
        Numbers of bands, from 1.
    storage : StorageSpec
        How stores are reached.
    nodata : float, optional
        Of a raster that states none.

    Returns
    -------
    values : (band, y, x) array of the raster's dtype
        With nodata where a mask of the raster, or an alpha band, says that there are no data.
    nodata : float or None
        That the raster states for the first of the bands, or else `nodata`.

    Raises
    ------
    MissingError, AccessError, ReadError
        As `read_onto`.
    InputError
        It lacks a band.
    """

    def take(src: rasterio.DatasetReader) -> tuple[NDArray[Any], float | None]:
        header = header_of(src)
        check_asked(replace(header, crs="not needed"), href, bands, "")
        shapes = [src.shape, *overview_shapes(src)]
        fitting = [shape for shape in shapes if max(shape) <= most]
        factor = max(src.shape) / most
        coarse = max(round(src.height / factor), 1), max(round(src.width / factor), 1)
        shape = max(fitting, default=coarse)
        values = src.read(list(bands), out_shape=(len(bands), *shape))
        stated = header.nodata[bands[0] - 1]
        missing = nodata if stated is None else stated
        known = missing is not None and holds(values.dtype, missing)
        if known and GdalRaster(src, header).masked(bands):
            masks = src.read_masks(list(bands), out_shape=values.shape)
            values[masks == 0] = missing
        return values, missing

    return from_raster(href, take, storage)


def of_raster(href: str, take: Callable[[Raster], T | None], storage: StorageSpec) -> T:
    """What is taken of an open raster.

    Parameters
    ----------
    href : str
        As of `read_onto`.
    take : callable
        Gets the raster, as plain blocks where it is a GeoTIFF on a disk.  Where None is taken of
        these, it gets the raster as GDAL has it, and takes something.
    storage : StorageSpec
        How stores are reached.

    Raises
    ------
    MissingError, AccessError, ReadError
        As `read_onto`.
    """

    def by_gdal(src: rasterio.DatasetReader) -> T | None:
        return take(GdalRaster(src, header_of(src)))

    got = None
    if not is_remote(href):
        try:
            with opened_tiff(href) as raster:
                got = None if raster is None else take(raster)
        except DamagedError as error:
            from_raster(href, by_gdal, storage)  # GDAL says more of what is wrong, if it notices
            raise ReadError(
                f"{href} cannot be read ({error}); it may be cut short or damaged. "
                "Fetch it again, or leave its item out."
            ) from error
    if got is None:
        got = from_raster(href, by_gdal, storage)
    assert got is not None  # noqa: S101  GDAL reads whatever there is
    return got


def _read(raster: Raster, href: str, geobox: GeoBox, wanted: Wanted) -> NDArray[Any] | None:
    """What is asked for of an open raster; None where GDAL is needed."""
    header = raster.header
    check_asked(header, href, wanted.bands, geobox.crs)
    how = wanted.way(header, geobox)
    if how.kind == "warp" and not isinstance(raster, GdalRaster):
        return None
    if wanted.apart(header):
        alone = [replace(wanted, bands=(band,)) for band in wanted.bands]
        return np.concatenate([_taken(raster, how, geobox, one, href) for one in alone])
    return _taken(raster, how, geobox, wanted, href)


def _taken(raster: Raster, how: Way, geobox: GeoBox, wanted: Wanted, href: str) -> NDArray[Any]:
    header, bands = raster.header, wanted.bands
    terms, whole = wanted.terms(header, href), Span(0, header.height, 0, header.width)
    if how.span.empty:
        values = terms.empty(len(bands), geobox.shape)
    elif (
        how.kind == "warp"
        and isinstance(raster, GdalRaster)
        and not terms.rival  # then each pixel must be looked at
        and not raster.masked(bands)
    ):
        _glance(raster, bands, terms)
        raster.note(bands, how.span)
        values = warped(raster.src, bands, how, geobox, terms)
    else:
        span = needed(how, header)
        part = Part(read_part(raster, bands, span, terms), span, header.transform, header.crs)
        values = part.onto(how, geobox, terms)
    if how.kind == "warp":
        values = np.where(inside(how.places, whole), values, np.array(terms.stated, terms.kind))
    return terms.finished(values)


def _glance(raster: GdalRaster, bands: Sequence[int], terms: Terms) -> None:
    """Refuse fractions where whole numbers are asked for: the raster's middle is enough."""
    header = raster.header
    if header.dtype.kind == "f" and terms.dtype.kind in "iu":
        height, width = min(header.height, _GLANCE), min(header.width, _GLANCE)
        top, left = (header.height - height) // 2, (header.width - width) // 2
        terms.check(raster.read(bands, Span(top, top + height, left, left + width)))
