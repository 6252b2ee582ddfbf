"""Reading one raster onto any grid, without nodata bleeding into data.

rasterio (GDAL) reads.  A raster whose pixels lie on the wanted grid is copied by a
windowed read.  Any other is sampled at the places of the grid's pixels, whose coordinates are
found once for all rasters of one CRS; only where the grid is coarser does GDAL's warper average.
A window has the same values whatever larger window it is cut from.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import DTypeLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geocube_ml.errors import InputError
from geocube_ml.files import redacted
from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.resample import bilinear, nearest
from geocube_ml.raster.remote import from_raster
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_ALIGNED = 1e-3  # pixels; footprints written with few decimals are this far off
_COARSER = 1.1  # UTM zones differ by permille in scale, which is not coarser
_GLANCE = 256  # pixels


def read_onto(
    href: str,
    geobox: GeoBox,
    *,
    nodata: float,
    dtype: DTypeLike,
    resampling: str = "nearest",
    coarsening: str = "nearest",
    storage: StorageSpec = _STORAGE,
) -> NDArray[Any]:
    """The first band of a raster on another grid.

    Parameters
    ----------
    href : str
        A path, ``s3://bucket/key``, a URL, or what GDAL knows by another name.
    geobox : GeoBox
        The wanted grid.
    nodata : float
        Value of a pixel without data, in the raster (unless it states its own) and in the result.
    dtype : dtype
        Of the result.
    resampling, coarsening : str
        GDAL's names; the first where the raster's pixels are as large as the grid's or larger,
        the second where they are smaller (by more than a tenth).  Nodata pixels take no part in
        an average.
    storage : StorageSpec
        How stores are reached, and how patiently; nothing to a file on a disk.

    Returns
    -------
    (y, x) array of `dtype`; `nodata` where the raster has none or does not reach.

    Raises
    ------
    MissingError
        It is not there.
    AccessError
        A store refuses access; also a ReadError.
    ReadError
        It cannot be opened or decoded (cut short, damaged), at last.
    InputError
        It has no CRS, or holds values that `dtype` cannot.
    """
    want = np.dtype(dtype)

    def take(src: rasterio.DatasetReader) -> NDArray[Any]:
        return _taken(src, href, geobox, nodata, want, resampling, coarsening)

    return from_raster(href, take, storage)


def _taken(
    src: rasterio.DatasetReader,
    href: str,
    geobox: GeoBox,
    nodata: float,
    dtype: np.dtype[Any],
    resampling: str,
    coarsening: str,
) -> NDArray[Any]:
    if src.crs is None:
        raise InputError(
            f"{redacted(href)} has no CRS, the grid is in {geobox.crs}. "
            "Write the CRS into the file, for example with `gdal_edit.py -a_srs`."
        )
    kind = np.dtype(src.dtypes[0])
    stated = src.nodata if src.nodata is not None and _holds(kind, src.nodata) else nodata
    if not _holds(kind, stated):  # room for a nodata that the raster cannot say
        kind = np.promote_types(kind, dtype)
    _check_whole(src, href, stated, dtype)
    offset = _offset(src.crs, src.transform, geobox)
    if offset is not None:
        values = _copied(src, (geobox.shape.y, geobox.shape.x), offset, stated, kind)
    elif (step := _step(*_extent(src), _pixel(geobox))) > _COARSER:
        values = _warped(src, geobox, stated, kind, coarsening, 1 / step)
    elif resampling in _SAMPLERS:
        values = _sampled(src, geobox, stated, kind, resampling)
    else:
        values = _warped(src, geobox, stated, kind, resampling, 1)
    if stated != nodata or np.issubdtype(values.dtype, np.floating):
        values = np.where(has_data(values, stated), values, np.array(nodata, dtype))
    return _fitted(values, dtype, href)


def _offset(crs: Any, transform: Affine, geobox: GeoBox) -> tuple[int, int] | None:
    """Row and column of the grid's first pixel in the raster, if the pixels coincide."""
    if str(crs) != str(geobox.crs) and crs != geobox.crs:
        return None
    shift = ~transform * geobox.transform  # grid pixel -> raster pixel
    size = max(geobox.shape)
    drift = max(abs(shift.a - 1), abs(shift.e - 1), abs(shift.b), abs(shift.d)) * size
    row, col = round(shift.f), round(shift.c)
    if max(drift, abs(shift.f - row), abs(shift.c - col)) > _ALIGNED:
        return None
    return row, col


def _copied(
    src: rasterio.DatasetReader,
    shape: tuple[int, int],
    offset: tuple[int, int],
    nodata: float,
    kind: np.dtype[Any],
) -> NDArray[Any]:
    out = np.full(shape, nodata, kind)
    row, col = offset
    top, bottom = max(row, 0), min(row + shape[0], src.height)
    left, right = max(col, 0), min(col + shape[1], src.width)
    if top < bottom and left < right:
        window = Window(left, top, right - left, bottom - top)
        out[top - row : bottom - row, left - col : right - col] = src.read(1, window=window)
    return out


@functools.lru_cache(maxsize=256)
def _step(crs: str, transform: Affine, shape: tuple[int, int], grid: GeoBox) -> float:
    """Pixels of the raster that one pixel of the grid spans, at the raster's middle.

    `grid` is one pixel of the grid at its origin of coordinates: the answer must not depend on the
    window that is read.
    """
    x = transform.c + transform.a * shape[1] / 2 + transform.b * shape[0] / 2
    y = transform.f + transform.d * shape[1] / 2 + transform.e * shape[0] / 2
    size = grid.resolution.x
    if CRS.from_user_input(crs) == CRS.from_user_input(str(grid.crs)):
        across = abs(size)
    else:
        there = Transformer.from_crs(crs, str(grid.crs), always_xy=True)
        left, top = there.transform(x, y)
        (x0, x1), (y0, y1) = there.transform([left, left + size], [top, top], direction="INVERSE")
        across = float(np.hypot(x1 - x0, y1 - y0))
    return float(across / np.hypot(transform.a, transform.d))


def _sampled(
    src: rasterio.DatasetReader, geobox: GeoBox, nodata: float, kind: np.dtype[Any], method: str
) -> NDArray[Any]:
    col, row = _pixels_of(src, geobox)
    top, bottom = max(int(row.min()) - 1, 0), min(int(row.max()) + 2, src.height)
    left, right = max(int(col.min()) - 1, 0), min(int(col.max()) + 2, src.width)
    if top >= bottom or left >= right:
        return np.full((geobox.shape.y, geobox.shape.x), nodata, kind)
    values = src.read(1, window=Window(left, top, right - left, bottom - top))
    return _SAMPLERS[method](values.astype(kind, copy=False), row - top, col - left, nodata)


def _pixels_of(
    src: rasterio.DatasetReader, geobox: GeoBox
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Column and row of the raster, with fractions, of the centre of each pixel of the grid."""
    x, y = _places(geobox, str(src.crs))
    back = ~src.transform
    if back.b == back.d == 0:  # stays a row and a column of places where it was one
        col, row = back.a * x + back.c, back.e * y + back.f
    else:
        col, row = back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f
    # what rounding leaves of a coordinate's last digits differs from window to window
    return col.round(6), row.round(6)


@functools.lru_cache(maxsize=8)  # a tile reads all its rasters, of a few CRSs, one after the other
def _places(geobox: GeoBox, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X (1, x) or (y, x) and y (y, 1) or (y, x) of the grid's pixel centres in another CRS."""
    rows, cols = geobox.shape
    to_grid = geobox.transform
    x = (to_grid.a * (np.arange(cols, dtype=np.float64) + 0.5) + to_grid.c)[None, :]
    y = (to_grid.e * (np.arange(rows, dtype=np.float64) + 0.5) + to_grid.f)[:, None]
    if CRS.from_user_input(crs) == CRS.from_user_input(str(geobox.crs)):
        return x, y
    there = Transformer.from_crs(str(geobox.crs), crs, always_xy=True)
    every_x, every_y = np.broadcast_arrays(x, y)
    moved_x, moved_y = there.transform(every_x, every_y)
    return moved_x, moved_y


def _warped(
    src: rasterio.DatasetReader,
    geobox: GeoBox,
    nodata: float,
    kind: np.dtype[Any],
    method: str,
    scale: float,
) -> NDArray[Any]:
    with WarpedVRT(
        src,
        crs=str(geobox.crs),
        transform=geobox.transform,
        height=geobox.shape.y,
        width=geobox.shape.x,
        resampling=Resampling[method],
        src_nodata=nodata if _holds(np.dtype(src.dtypes[0]), nodata) else None,
        nodata=nodata,
        dtype=kind.name,
        # GDAL's default error of 1/8 pixel, and its guess of the scale from the shape of the
        # window, make a pixel's value depend on the window that it is read in
        tolerance=1e-9,
        XSCALE=round(scale, 3),
        YSCALE=round(scale, 3),
    ) as vrt:
        values: NDArray[Any] = vrt.read(1)
    # the warper answers for some pixels beyond the edge, differently from window to window
    col, row = _pixels_of(src, geobox)
    inside = (col >= 0) & (col < src.width) & (row >= 0) & (row < src.height)
    return np.where(inside, values, np.array(nodata, kind))


def _extent(src: rasterio.DatasetReader) -> tuple[str, Affine, tuple[int, int]]:
    return str(src.crs), src.transform, (src.height, src.width)


def _pixel(geobox: GeoBox) -> GeoBox:
    """One pixel of the grid, the same for every window of it."""
    to_crs = geobox.transform
    return GeoBox((1, 1), Affine(to_crs.a, to_crs.b, 0, to_crs.d, to_crs.e, 0), geobox.crs)


_SAMPLERS = {"nearest": nearest, "bilinear": bilinear}


def _holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a dtype has the value."""
    if not np.issubdtype(kind, np.integer):
        return True
    info = np.iinfo(kind)
    return info.min <= value <= info.max and float(value).is_integer()


def _fitted(values: NDArray[Any], dtype: np.dtype[Any], href: str) -> NDArray[Any]:
    """The values in another dtype, refused where it cannot hold them."""
    if values.dtype == dtype:
        return values
    if values.dtype.kind == "f" and dtype.kind in "iu":
        values = np.rint(values)  # whole numbers that were averaged
    with np.errstate(invalid="ignore"):
        fitted = values.astype(dtype)
        changed = ~np.isclose(fitted, values, equal_nan=True)
    if changed.any():
        raise InputError(_misfit(href, values.dtype, values[changed][0], dtype))
    return fitted


def _check_whole(
    src: rasterio.DatasetReader, href: str, nodata: float, dtype: np.dtype[Any]
) -> None:
    """Refuse fractions where whole numbers are asked for; a look at the middle is enough."""
    if np.dtype(src.dtypes[0]).kind != "f" or dtype.kind not in "iu":
        return
    height, width = min(src.height, _GLANCE), min(src.width, _GLANCE)
    middle = Window((src.width - width) // 2, (src.height - height) // 2, width, height)
    values = src.read(1, window=middle)
    broken = has_data(values, nodata) & (values != np.rint(values))
    if broken.any():
        raise InputError(_misfit(href, values.dtype, values[broken][0], dtype))


def _misfit(href: str, found: np.dtype[Any], value: float, dtype: np.dtype[Any]) -> str:
    return (
        f"{redacted(href)} holds {found} values such as {value:g}, which are not {dtype} values. "
        "State the `dtype` that its pixels have in the sensor."
    )
