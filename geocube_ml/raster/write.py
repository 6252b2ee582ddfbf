"""Writing one Cloud-Optimized GeoTIFF, from anything that is read by slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geocube_ml.files import PARTIAL, Place, place, whole_file

_STRIP = 1024  # rows that are encoded at a time


class ArrayLike(Protocol):
    """What can be written: has a shape and a dtype, and is read by slices (numpy, Zarr, dask)."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> Any: ...  # noqa: D102
    def __getitem__(self, key: Any, /) -> Any: ...


def write_cog(
    path: str | Place,
    values: ArrayLike,
    geobox: GeoBox,
    *,
    nodata: float | None = None,
    colors: Sequence[str] | None = None,
    names: Sequence[str] = (),
    tags: dict[str, str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    overviews: Literal["nearest", "average", "mode"] = "nearest",
    blocksize: int = 512,
) -> Place:
    """Write a Cloud-Optimized GeoTIFF, whole or not at all.

    Parameters
    ----------
    path : path or ``s3://`` address
        Replaced if it exists.
    values : (y, x) or (band, y, x) array of numpy, Zarr or dask
        Read in strips of rows.
    geobox : GeoBox
        Its grid.
    nodata : float, optional
        Recorded in the file.
    colors : sequence of ``#rrggbb``, optional
        Colour table: colour of value 0, 1, ...; `nodata` is transparent.  Needs uint8.
    names : sequence of str, optional
        One description a band.
    tags : mapping, optional
        Metadata of the file.
    scale : float, optional
        Physical value of one count.
    offset : float, optional
        Physical value of the count 0.
    overviews : str
        How overviews are made; ``nearest`` and ``mode`` keep classes classes.
    blocksize : int
        Edge of an internal block in pixels.

    Returns
    -------
    Path or UPath

    Raises
    ------
    OSError
        The file cannot be written; nothing is left at `path` then.
    """
    path = place(path)
    count = values.shape[0] if len(values.shape) == 3 else 1
    height, width = values.shape[-2:]
    profile = {
        "driver": "GTiff", "height": height, "width": width, "count": count,
        "dtype": np.dtype(values.dtype).name, "crs": str(geobox.crs),
        "transform": geobox.transform, "nodata": nodata,
        "tiled": True, "blockxsize": blocksize, "blockysize": blocksize,
    }  # fmt: skip
    with whole_file(path) as partial:
        strips = partial.with_name(f"{path.name}.strips{PARTIAL}")
        try:
            with rasterio.open(strips, "w", **profile) as dst:
                for top in range(0, height, _STRIP):
                    rows = slice(top, min(top + _STRIP, height))
                    strip = np.asarray(values[..., rows, :])
                    window = Window(0, top, width, rows.stop - top)
                    dst.write(strip.reshape(count, -1, width), window=window)
                if colors is not None:
                    dst.write_colormap(1, _color_table(colors, nodata))
                for band, name in enumerate(names, start=1):
                    dst.set_band_description(band, name)
                if scale is not None:
                    dst.scales = [scale] * count
                if offset is not None:
                    dst.offsets = [offset] * count
                dst.update_tags(**(tags or {}))
            rasterio.shutil.copy(
                strips, partial, driver="COG", compress="DEFLATE", predictor="YES",
                blocksize=blocksize, overview_resampling=overviews, num_threads=1,
            )  # fmt: skip
        finally:
            strips.unlink(missing_ok=True)
    return path


def hex_to_rgb(color: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255.

    Examples
    --------
    >>> hex_to_rgb("#ff8000")
    (255, 128, 0)
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _color_table(colors: Sequence[str], nodata: float | None) -> dict[int, tuple[int, ...]]:
    table: dict[int, tuple[int, ...]] = {
        value: (*hex_to_rgb(color), 255) for value, color in enumerate(colors)
    }
    if nodata is not None:
        table[int(nodata)] = (0, 0, 0, 0)
    return table
