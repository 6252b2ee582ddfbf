"""Reading one raster onto any grid, without nodata bleeding into data.

GeoTIFFs on a disk are decoded by `raster.blocks`, everything else by rasterio (GDAL).  A raster
whose pixels lie on the wanted grid is copied by a windowed read.  Any other is sampled at the
places of the grid's pixels, whose coordinates are found once for all rasters of one CRS; only
where the grid is coarser does GDAL's warper average.  A window has the same values whatever
larger window it is cut from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocube_ml.errors import InputError, ReadError
from geocube_ml.files import redacted
from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.resample import bilinear, nearest
from geocube_ml.raster.blocks import DamagedError, opened_tiff
from geocube_ml.raster.count import Counts, note
from geocube_ml.raster.header import check_asked, header_of, overview_shapes
from geocube_ml.raster.remote import from_raster, is_remote
from geocube_ml.raster.window import Header, Span, Way, way
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_GLANCE = 256  # pixels
_SAMPLERS = {"nearest": nearest, "bilinear": bilinear}


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
        It has no CRS, lacks a band, or holds values that `dtype` cannot.
    """
    want = None if dtype is None else np.dtype(dtype)
    asked = _Asked(href, tuple(bands), geobox, nodata, want, resampling, coarsening, own_nodata)

    def take(src: rasterio.DatasetReader) -> NDArray[Any]:
        return _by_gdal(_GdalRaster(src, header_of(src)), asked)

    if not is_remote(href):
        try:
            values = _directly(asked)
        except DamagedError as error:
            from_raster(href, take, storage)  # GDAL says more of what is wrong, where it notices
            raise ReadError(
                f"{href} cannot be read ({error}); it may be cut short or damaged. "
                "Fetch it again, or leave its item out."
            ) from error
        if values is not None:
            return values
    return from_raster(href, take, storage)


def read_overview(
    href: str, most: int, bands: Sequence[int] = (1,), storage: StorageSpec = _STORAGE
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

    Returns
    -------
    values : (band, y, x) array of the raster's dtype
    nodata : float or None
        That the raster states for the first of the bands.

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
        return values, header.nodata[bands[0] - 1]

    return from_raster(href, take, storage)


class _Raster(Protocol):
    """An open raster."""

    @property
    def header(self) -> Header: ...
    def read(self, bands: Sequence[int], span: Span) -> NDArray[Any]: ...


@dataclass(frozen=True)
class _GdalRaster:
    """One that GDAL has opened."""

    src: rasterio.DatasetReader
    header: Header

    def read(self, bands: Sequence[int], span: Span) -> NDArray[Any]:
        """(band, y, x) values of a part that lies within the raster."""
        self.note(bands, span)
        window = Window(span.left, span.top, *span.shape[::-1])
        values: NDArray[Any] = self.src.read(list(bands), window=window)
        return values

    def masked(self, bands: Sequence[int]) -> bool:
        """Whether a mask of the whole raster, or an alpha band, says where bands have data."""
        if is_remote(asked := str(self.src.name)) or asked.startswith("/vsi"):
            # GDAL would look for a mask beside the file: requests for what is hardly ever there
            return ColorInterp.alpha in self.src.colorinterp
        flags = [flag for band in bands for flag in self.src.mask_flag_enums[band - 1]]
        return MaskFlags.per_dataset in flags

    def missing(self, bands: Sequence[int], span: Span) -> NDArray[np.bool_]:
        """(band, y, x) where the mask says that there are no data."""
        window = Window(span.left, span.top, *span.shape[::-1])
        missing: NDArray[np.bool_] = self.src.read_masks(list(bands), window=window) == 0
        return missing

    def note(self, bands: Sequence[int], span: Span) -> None:
        """Count what is read for a part."""
        blocks = len(self.header.planes(bands)) * len(list(self.header.touched(span)))
        note(Counts(1, blocks, blocks * self.header.bytes_of_block))


@dataclass(frozen=True)
class _Asked:
    """What is asked for; see `read_onto`."""

    href: str
    bands: tuple[int, ...]
    geobox: GeoBox
    nodata: float
    dtype: np.dtype[Any] | None
    resampling: str
    coarsening: str
    own_nodata: bool

    def way(self, header: Header) -> Way:
        return way(header, self.geobox, self.resampling, self.coarsening)


def _directly(asked: _Asked) -> NDArray[Any] | None:
    """What is asked for of a GeoTIFF on a disk; None where GDAL is needed."""
    with opened_tiff(asked.href) as raster:
        if raster is None:
            return None
        check_asked(raster.header, asked.href, asked.bands, asked.geobox.crs)
        how = asked.way(raster.header)
        return None if how.kind == "warp" else _taken(raster, how, asked)


def _by_gdal(raster: _GdalRaster, asked: _Asked) -> NDArray[Any]:
    header = raster.header
    check_asked(header, asked.href, asked.bands, asked.geobox.crs)
    if len({str(header.nodata[band - 1]) for band in asked.bands}) > 1:
        planes = [_by_gdal(raster, replace(asked, bands=(band,))) for band in asked.bands]
        return np.concatenate(planes)
    return _taken(raster, asked.way(header), asked)


def _taken(raster: _Raster, how: Way, asked: _Asked) -> NDArray[Any]:
    header, nodata = raster.header, asked.nodata
    kind, said = header.dtype, header.nodata[asked.bands[0] - 1]
    if asked.dtype is None:
        asked = replace(asked, dtype=_with_room(kind, nodata))
    stated = said if asked.own_nodata and said is not None and _holds(kind, said) else nodata
    if not _holds(kind, stated):  # room for a nodata that the raster cannot say
        kind = np.promote_types(kind, _known(asked.dtype))
    masked = isinstance(raster, _GdalRaster) and raster.masked(asked.bands)
    if isinstance(raster, _GdalRaster) and how.kind == "warp":
        if masked and not how.span.empty:
            values = _warped_masked(raster, how, asked, stated, kind)
        else:
            values = _warped(raster, how, asked, stated, kind)
    elif how.span.empty:
        values = np.full((len(asked.bands), *asked.geobox.shape), stated, kind)
    else:
        values = raster.read(asked.bands, how.span)
        values = values.astype(kind, copy=False)
        if isinstance(raster, _GdalRaster) and masked:
            values[raster.missing(asked.bands, how.span)] = stated
        _check_whole(values, stated, asked)
        if how.kind == "copy":
            values = _placed(values, how, asked.geobox, stated)
        else:
            values = _sampled(values, how, stated)
    if stated != nodata or np.issubdtype(values.dtype, np.floating):
        values = np.where(has_data(values, stated), values, np.array(nodata, asked.dtype))
    return _fitted(values, asked)


def _placed(values: NDArray[Any], how: Way, geobox: GeoBox, nodata: float) -> NDArray[Any]:
    """Values that lie on the grid, with nodata beyond them."""
    span, (row, col) = how.span, how.offset
    if span.shape == tuple(geobox.shape):
        return values
    out = np.full((len(values), *geobox.shape), nodata, values.dtype)
    out[:, span.top - row : span.bottom - row, span.left - col : span.right - col] = values
    return out


def _sampled(values: NDArray[Any], how: Way, nodata: float) -> NDArray[Any]:
    col, row = how.places
    col, row = col - how.span.left, row - how.span.top
    planes = [_SAMPLERS[how.method](plane, row, col, nodata) for plane in values]
    return planes[0][None] if len(planes) == 1 else np.stack(planes)


def _warped(
    raster: _GdalRaster, how: Way, asked: _Asked, nodata: float, kind: np.dtype[Any]
) -> NDArray[Any]:
    geobox, header = asked.geobox, raster.header
    if header.dtype.kind == "f" and _known(asked.dtype).kind in "iu":  # the middle is enough
        height, width = min(header.height, _GLANCE), min(header.width, _GLANCE)
        top, left = (header.height - height) // 2, (header.width - width) // 2
        middle = raster.read(asked.bands, Span(top, top + height, left, left + width))
        _check_whole(middle, nodata, asked)
    raster.note(asked.bands, how.span)
    down, across = how.step
    with WarpedVRT(
        raster.src,
        crs=str(geobox.crs),
        transform=geobox.transform,
        height=geobox.shape.y,
        width=geobox.shape.x,
        resampling=Resampling[how.method],
        src_nodata=nodata if _holds(header.dtype, nodata) else None,
        nodata=nodata,
        dtype=kind.name,
        # GDAL's default error of 1/8 pixel, and its guess of the scale from the shape of the
        # window, make a pixel's value depend on the window that it is read in
        tolerance=1e-9,
        XSCALE=round(1 / across, 3),
        YSCALE=round(1 / down, 3),
    ) as vrt:
        values: NDArray[Any] = vrt.read(list(asked.bands))
    # the warper answers for some pixels beyond the edge, differently from window to window
    col, row = how.places
    inside = (col >= 0) & (col < header.width) & (row >= 0) & (row < header.height)
    return np.where(inside, values, np.array(nodata, kind))


def _warped_masked(
    raster: _GdalRaster, how: Way, asked: _Asked, nodata: float, kind: np.dtype[Any]
) -> NDArray[Any]:
    """As `_warped`, of a raster with a mask: a copy of the part, with nodata for what is masked.

    The warper looks at a mask or at nodata, not at both.
    """
    header, (top, bottom, left, right) = raster.header, how.span
    down, across = (int(np.ceil(2 * step)) + 2 for step in how.step)  # more than GDAL looks at
    top, bottom = max(top - down, 0), min(bottom + down, header.height)
    left, right = max(left - across, 0), min(right + across, header.width)
    span = Span(top, bottom, left, right)
    values = raster.read(asked.bands, span).astype(kind, copy=False)
    values[raster.missing(asked.bands, span)] = nodata
    count, height, width = values.shape
    part = replace(
        header, height=height, width=width, count=count, dtype=kind,
        transform=header.transform * Affine.translation(left, top), nodata=(nodata,) * count,
    )  # fmt: skip
    col, row = how.places
    there = replace(how, places=(col - left, row - top))
    with MemoryFile() as file:
        with file.open(
            driver="GTiff", height=height, width=width, count=count, dtype=kind.name,
            crs=header.crs, transform=part.transform, nodata=nodata,
        ) as copy:  # fmt: skip
            copy.write(values)
        with file.open() as copy:
            of_copy = replace(asked, bands=tuple(range(1, count + 1)))
            return _warped(_GdalRaster(copy, part), there, of_copy, nodata, kind)


def _with_room(kind: np.dtype[Any], nodata: float) -> np.dtype[Any]:
    """A dtype that has the values of another, and nodata."""
    if _holds(kind, nodata):
        return kind
    least = np.min_scalar_type(int(nodata)) if float(nodata).is_integer() else np.dtype("f4")
    return np.promote_types(kind, least)


def _known(dtype: np.dtype[Any] | None) -> np.dtype[Any]:
    assert dtype is not None  # noqa: S101  it is decided when a raster is open
    return dtype


def _holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a dtype has the value."""
    if not np.issubdtype(kind, np.integer):
        return True
    info = np.iinfo(kind)
    return info.min <= value <= info.max and float(value).is_integer()


def _fitted(values: NDArray[Any], asked: _Asked) -> NDArray[Any]:
    """The values in the dtype that is asked for, refused where it cannot hold them."""
    dtype = _known(asked.dtype)
    if np.can_cast(values.dtype, dtype):
        return values.astype(dtype, copy=False)
    if values.dtype.kind == "f" and dtype.kind in "iu":
        values = np.rint(values)  # whole numbers that were averaged
    with np.errstate(invalid="ignore"):
        fitted = values.astype(dtype)
        changed = ~np.isclose(fitted, values, equal_nan=True)
    if changed.any():
        raise InputError(_misfit(asked.href, values.dtype, values[changed][0], dtype))
    return fitted


def _check_whole(values: NDArray[Any], nodata: float, asked: _Asked) -> None:
    """Refuse fractions where whole numbers are asked for."""
    dtype = _known(asked.dtype)
    if values.dtype.kind != "f" or dtype.kind not in "iu":
        return
    broken = has_data(values, nodata) & (values != np.rint(values))
    if broken.any():
        raise InputError(_misfit(asked.href, values.dtype, values[broken][0], dtype))


def _misfit(href: str, found: np.dtype[Any], value: float, dtype: np.dtype[Any]) -> str:
    return (
        f"{redacted(href)} holds {found} values such as {value:g}, which are not {dtype} values. "
        "State the `dtype` that its pixels have in the sensor."
    )
