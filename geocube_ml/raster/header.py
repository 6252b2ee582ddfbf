"""What a raster says of itself, and what a window of it will cost to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import tifffile
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.errors import InputError, UnplacedError
from geocube_ml.files import redacted
from geocube_ml.raster.blocks import opened_tiff
from geocube_ml.raster.remote import from_raster, is_remote
from geocube_ml.raster.window import Header, way
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()


@dataclass(frozen=True)
class Cost:
    """What reading a window will take."""

    blocks: int
    """That are decoded."""
    decoded_bytes: int
    """Of them; those at the edges of an image counted as full."""
    compressed_bytes: int | None
    """Of them in the file; None where the header does not say."""
    requests: int
    """For the blocks of a raster in a store, if they lie in it in their order, as a COG's do; those
    that lie one behind the other are one request.  What the header takes is not in it: two, when
    a process first asks for it."""


def read_header(href: str, storage: StorageSpec = _STORAGE) -> Header:
    """What a raster says of itself, with the sizes of its blocks where they are at hand.

    Parameters
    ----------
    href : str
        A path, ``s3://bucket/key``, a URL, or what GDAL knows by another name.
    storage : StorageSpec
        How stores are reached, and how patiently.

    Raises
    ------
    MissingError, AccessError, ReadError
        As `read_onto`.
    """
    if not is_remote(href):
        with opened_tiff(href) as tiff:
            if tiff is not None:
                tiff.file.seek(0)
                with tifffile.TiffFile(tiff.file) as whole:
                    smaller = tuple(
                        (page.imagelength, page.imagewidth)
                        for page in whole.pages[1:]
                        if isinstance(page, tifffile.TiffPage) and page.subfiletype == 1
                    )
                return replace(tiff.header, overviews=smaller)
    header = from_raster(href, lambda src: header_of(src, whole=True), storage)
    file = Path(href.removeprefix("file://"))
    if not is_remote(href) and file.is_file():
        return replace(header, file_bytes=file.stat().st_size)
    return header


def header_of(src: rasterio.DatasetReader, *, whole: bool = False) -> Header:
    """The header of a raster that GDAL has opened.

    Parameters
    ----------
    src : DatasetReader
    whole : bool
        With overviews, and the sizes of blocks where it is a GeoTIFF; these may take a request.
    """
    interleaved = src.count == 1 or src.interleaving == rasterio.enums.Interleaving.pixel
    header = Header(
        src.height, src.width, src.count, np.dtype(src.dtypes[0]), str(src.crs or ""),
        src.transform, tuple(src.nodatavals), tuple(src.block_shapes[0]), interleaved,
    )  # fmt: skip
    if not whole:
        return header
    return replace(header, overviews=overview_shapes(src), block_bytes=_block_bytes(src, header))


def overview_shapes(src: rasterio.DatasetReader) -> tuple[tuple[int, int], ...]:
    """Rows and columns of each overview: half of 5 is 2 to some who write them, to others 3."""
    found = []
    for level in range(len(src.overviews(1))):
        with rasterio.open(src.name, overview_level=level) as smaller:
            found.append(smaller.shape)
    return tuple(found)


def cost(
    header: Header, geobox: GeoBox, bands: Sequence[int], resampling: str, coarsening: str
) -> Cost:
    """What `read_onto` will read for a window, by the code that it reads by.

    Parameters
    ----------
    header : Header
    geobox : GeoBox
        The window.
    bands : sequence of int
        Numbers of bands, from 1.
    resampling, coarsening : str
        As of `read_onto`.

    Returns
    -------
    Cost
        Exact in blocks and decoded bytes, unless GDAL averages or warps: its own margin around a
        window is not known.
    """
    span = way(header, geobox, resampling, coarsening).span
    planes, touched = header.planes(bands), list(header.touched(span))
    blocks = len(planes) * len(touched)
    compressed, requests = None, 0
    if touched:
        rows, cols = np.transpose(touched)
        if header.block_bytes is not None:
            compressed = int(header.block_bytes[np.ix_(planes)][:, rows, cols].sum())
        gaps = np.diff(rows * header.blocks[1] + cols) > 1
        requests = len(planes) * (1 + int(gaps.sum()))
    return Cost(blocks, blocks * header.bytes_of_block, compressed if touched else 0, requests)


def check_asked(header: Header, href: str, bands: Sequence[int], crs: object) -> None:
    """Refuse bands that a raster lacks, and a raster without a CRS.

    Raises
    ------
    InputError
        It lacks a band.
    UnplacedError
        It has no CRS; also an InputError and a ReadError, so that it can be left out.
    """
    lacking = [band for band in bands if not 1 <= band <= header.count]
    if lacking:
        raise InputError(
            f"{redacted(href)} has {header.count} band{'s'[: header.count > 1]}, but band "
            f"{lacking[0]} is asked for. State the `band` of the asset that is meant; they are "
            "numbered from 1."
        )
    if not header.crs:
        raise UnplacedError(
            f"{redacted(href)} has no CRS, the grid is in {crs}. "
            "Write the CRS into the file, for example with `gdal_edit.py -a_srs`."
        )


def _block_bytes(src: rasterio.DatasetReader, header: Header) -> NDArray[np.int64] | None:
    """As `Header.block_bytes`; None where it is no GeoTIFF."""
    if src.driver not in ("GTiff", "COG"):
        return None
    planes = range(1, 2 if header.interleaved else header.count + 1)
    rows, cols = header.blocks
    sizes = [
        src.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=plane) or 0
        for plane in planes for y in range(rows) for x in range(cols)
    ]  # fmt: skip
    return np.array(sizes, np.int64).reshape(len(planes), rows, cols)
