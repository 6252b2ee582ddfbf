"""How the blocks of a GeoTIFF on a disk are found and coded.

Only what GDAL would read to the same values is described; of anything else (another compression, a
CRS that is spelled out, control points, odd bits) nothing is said, and GDAL reads it.
"""

from __future__ import annotations

import logging
import os
import struct
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import tifffile
from affine import Affine
from numpy.typing import NDArray

from geocube_ml.raster.window import Header

# GDAL says what is wrong with a file, where anything is
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

NONE, LZW, DEFLATE, OLD_DEFLATE, ZSTD = 1, 5, 8, 32946, 50000
_COMPRESSIONS = (NONE, LZW, DEFLATE, OLD_DEFLATE, ZSTD)
_PLAIN = (1, 2, 3)  # photometric: grey, RGB, palette; the values are as they stand
_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")

_MODEL, _RASTER_TYPE, _GEOGRAPHIC, _ANGLE, _PROJECTED, _LENGTH = 1024, 1025, 2048, 2054, 3072, 3076
_TEXTS = (1026, 2049, 3073)
_REDUNDANT = (2057, 2059)  # axis and flattening of a geographic CRS that has a code
_DEGREE, _METRE = 9102, 9001
_USER_DEFINED = 32767
_ALPHA = (1, 2)  # extra samples: times alpha, and not
_SUBFILE_TYPE, _MASK = 254, 4
_PIXEL_IS_POINT = 2


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the blocks of a GeoTIFF lie, and how they are coded."""

    header: Header
    """With `block_bytes`."""
    compression: int
    predictor: int
    striped: bool
    """Whether the last row of blocks ends with the image."""
    offsets: NDArray[np.int64]
    """(plane, block row, block column) in the file."""
    bytes: NDArray[np.int64]
    """As `Header.block_bytes`."""
    fill: float
    """Of a block that was left out."""


class _Layouts:
    """What was found in files, while they do not change; what was used longest ago goes first."""

    _MOST_BLOCKS = 2_000_000  # of 16 bytes

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Layout | None] = OrderedDict()
        self._blocks = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> tuple[bool, Layout | None]:
        with self._lock:
            if key not in self._kept:
                return False, None
            self._kept.move_to_end(key)
            return True, self._kept[key]

    def put(self, key: tuple[Any, ...], layout: Layout | None) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = layout
                self._blocks += _size(layout)
            while self._blocks > self._MOST_BLOCKS:
                _, oldest = self._kept.popitem(last=False)
                self._blocks -= _size(oldest)


def _size(layout: Layout | None) -> int:
    return 200 + (0 if layout is None else layout.offsets.size)


_layouts = _Layouts()


def layout_of(file: BinaryIO) -> Layout | None:
    """The layout of an open GeoTIFF; None where GDAL must read it, be it whole or damaged."""
    said = os.fstat(file.fileno())
    key = (said.st_dev, said.st_ino, said.st_mtime_ns, said.st_size)
    known, layout = _layouts.get(key)
    if not known:
        layout = _parsed(file, said.st_size)
        _layouts.put(key, layout)
    return layout


def _parsed(file: BinaryIO, size: int) -> Layout | None:
    try:
        file.seek(0)  # where it is now would be taken for the file's begin
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            if (
                tiff.byteorder != "<"
                or sys.byteorder != "little"
                or not isinstance(page, tifffile.TiffPage)
            ):
                return None
            return None if _masked(tiff, page) else _layout(page, size)
    except Exception:
        return None


def _masked(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Whether an alpha band or a mask within the file says where there are data."""
    samples = page.tags.valueof("ExtraSamples", ())
    if any(sample in _ALPHA for sample in np.atleast_1d(samples)):
        return True
    file, form, at, seen = tiff.filehandle, tiff.tiff, page.offset, set[int]()
    while at and at not in seen:  # the first tag of a directory alone: all of them take 1 ms
        seen.add(at)
        file.seek(at)
        (n,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        tags = file.read(n * form.tagsize + form.offsetsize)
        (code,) = struct.unpack("<H", tags[:2])
        (value,) = struct.unpack("<I", tags[form.tagsize - form.offsetsize :][:4])
        if code == _SUBFILE_TYPE and value & _MASK:
            return True
        (at,) = struct.unpack(form.offsetformat, tags[-form.offsetsize :])
    return False


def _layout(page: tifffile.TiffPage, size: int) -> Layout | None:
    dtype, tags = page.dtype, page.tags
    transform, crs = _transform(page), _crs(page)
    ordinary = (
        page.compression in _COMPRESSIONS
        and page.predictor in (1, 2, 3)
        and page.photometric in _PLAIN
        and page.planarconfig in (1, 2)
        and page.fillorder == 1
        and page.imagedepth == page.tiledepth == 1
        and tags.valueof("Orientation", 1) == 1
    )
    if not ordinary or dtype is None or transform is None or not crs:
        return None
    if dtype.str[1:] not in _DTYPES or page.bitspersample != 8 * dtype.itemsize:
        return None
    if page.predictor == 3 and dtype.kind != "f":
        return None
    said = tags.valueof(42113)
    nodata = None if said is None else float(str(said).strip("\0 "))
    if nodata is not None and not _held(dtype, nodata):
        return None
    rows, cols = page.imagelength, page.imagewidth
    striped = not page.is_tiled
    block = (min(page.rowsperstrip, rows), cols) if striped else (page.tilelength, page.tilewidth)
    interleaved = page.planarconfig == 1
    planes = 1 if interleaved else page.samplesperpixel
    shape = (planes, -(-rows // block[0]), -(-cols // block[1]))
    offsets = np.array(page.dataoffsets, np.int64).reshape(shape)
    counts = np.array(page.databytecounts, np.int64).reshape(shape)
    header = Header(
        rows, cols, page.samplesperpixel, dtype, crs, transform,
        (nodata,) * page.samplesperpixel, block, interleaved, (), counts, size,
    )  # fmt: skip
    return Layout(
        header, int(page.compression), int(page.predictor), striped, offsets, counts,
        0.0 if nodata is None else nodata,
    )  # fmt: skip


def _held(dtype: np.dtype[Any], nodata: float) -> bool:
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype)
    return nodata.is_integer() and info.min <= nodata <= info.max


def _transform(page: tifffile.TiffPage) -> Affine | None:
    tags = page.tags
    scale, tie = tags.valueof(33550), tags.valueof(33922)
    if tags.valueof(34264) is not None or scale is None or tie is None:
        return None
    if len(tie) != 6 or len(scale) < 2 or min(scale[:2]) <= 0:
        return None
    col, row, _, x, y, _ = tie
    moved = Affine.translation(x, y) * Affine.scale(scale[0], -scale[1])
    if _keys(page).get(_RASTER_TYPE) == _PIXEL_IS_POINT:
        col, row = col + 0.5, row + 0.5
    return moved * Affine.translation(-col, -row) if col or row else moved


def _keys(page: tifffile.TiffPage) -> dict[int, Any]:
    """GeoKeys whose value is a number; of those that are texts or doubles, their place."""
    said = page.tags.valueof(34735) or ()
    return {said[at]: said[at + 3] for at in range(4, len(said) - 3, 4)}


def _crs(page: tifffile.TiffPage) -> str:
    """Its EPSG code, where it is said by a code alone."""
    keys = _keys(page)
    model = keys.pop(_MODEL, 0)
    code = keys.pop({1: _PROJECTED, 2: _GEOGRAPHIC}.get(model, 0), _USER_DEFINED)
    keys.pop(_RASTER_TYPE, None)
    if model == 1:
        keys.pop(_GEOGRAPHIC, None)
        if keys.pop(_LENGTH, _METRE) != _METRE:
            return ""
    for known in (*_TEXTS, *(_REDUNDANT if model == 2 else ())):
        keys.pop(known, None)
    if keys.pop(_ANGLE, _DEGREE) != _DEGREE or keys or not 1024 <= code < _USER_DEFINED:
        return ""
    return f"EPSG:{code}"
