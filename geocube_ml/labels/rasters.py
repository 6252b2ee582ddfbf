"""Rasters of classes and masks: which values they hold, and what those mean."""

from __future__ import annotations

import json
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from odc.geo.geom import Geometry
from pyproj import CRS, Transformer
from rasterio.windows import Window

from geocube_ml.errors import InputError
from geocube_ml.grid import Grid
from geocube_ml.labels.classes import Values, check_raster
from geocube_ml.labels.hull import hull_on
from geocube_ml.labels.problems import Problems
from geocube_ml.labels.regions import as_whole
from geocube_ml.raster import Header, from_raster, read_header
from geocube_ml.spec.labels import LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_MOST_VALUES = 4096  # of a raster of classes
_EDGE = 2048  # pixels that are looked at at a time


@dataclass(frozen=True)
class Held:
    """What a raster of classes holds near the grid."""

    header: Header
    counts: dict[int, int]
    """Raw value to its number of pixels; without nodata, and without a 0 that means nothing."""
    texts: dict[int, str]
    """Raw value to what stands for it in a recipe: its number, or its name in the raster."""
    nodata: float | None

    def values(self, source: LabelSource) -> Values:
        """As those of a vector file."""
        return Values(source, frozenset(self.texts.values()))

    @property
    def crs(self) -> CRS:
        """Of the raster."""
        return CRS(self.header.crs)

    @property
    def footprint(self) -> Any:
        """Outline in its own CRS."""
        cols, rows = self.header.width, self.header.height
        corners = (0, 0), (cols, 0), (cols, rows), (0, rows)
        return shapely.Polygon([self.header.transform @ corner for corner in corners])

    @property
    def pixel_area(self) -> float:
        """In the unit of its CRS, squared."""
        return abs(self.header.transform.determinant)


def read_held(source: LabelSource, spec: LabelsSpec, grid: Grid, storage: StorageSpec) -> Held:
    """Which values a raster holds near a grid, read window by window.

    Raises
    ------
    MissingError, AccessError, ReadError
        It cannot be read.
    InputError
        It has no CRS, lacks the band, or holds fractions or more values than a map has classes.

    Notes
    -----
    A 0 that has no name, in the recipe or in the raster, means nothing where the raster states no
    nodata.
    """
    check_raster(source, storage)
    header = read_header(source.path, storage)
    nodata = header.nodata[source.band - 1]
    found, names = from_raster(
        source.path,
        lambda src: (_counts(src, source, grid, nodata), _names(src, source.band)),
        storage,
    )
    texts = {value: _text(value, names, source, spec) for value in found}
    nothing = source.class_name is not None or (
        nodata is None and not _named(texts.get(0, "0"), source, spec) and 0 not in names
    )
    gone = {value for value in found if value == 0 and nothing}
    counts = {value: n for value, n in sorted(found.items()) if value not in gone}
    return Held(header, counts, {value: texts[value] for value in counts}, nodata)


def place_raster(
    source: LabelSource, held: Held, names: dict[str, str], grid: Grid, book: Problems
) -> dict[int, str]:
    """What a raster's values mean.

    Values without a class are listed, and so is a raster that lies elsewhere: it means nothing.
    """
    crs = held.crs
    if not held.counts:
        outline = hull_on(Geometry(held.footprint, crs.to_wkt()), str(grid.geobox.crs))
        within = shapely.intersects(outline, grid.geobox.extent.geom)
        reason = "no pixel of a class within the cube" if within else "outside the cube"
        book.add(source.path, [-1], ["(raster)"], reason, "left out")
    metres = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 0.0
    for value, n in held.counts.items():
        if held.texts[value] not in names:
            area = n * held.pixel_area * metres**2 if metres else np.nan
            book.add(
                source.path, [-1], [held.texts[value]], "a class that the recipe leaves out",
                "left out", area,
            )  # fmt: skip
    return {value: names[text] for value, text in held.texts.items() if text in names}


def _text(value: int, names: dict[int, str], source: LabelSource, spec: LabelsSpec) -> str:
    plain, name = str(value), names.get(value, "")
    return plain if not name or _named(plain, source, spec) else name


def _named(text: str, source: LabelSource, spec: LabelsSpec) -> bool:
    known = {value for c in spec.classes for value in (c.values or (c.name,))}
    return text in source.values or text in known


def _counts(
    src: rasterio.DatasetReader, source: LabelSource, grid: Grid, nodata: float | None
) -> Counter[int]:
    found: Counter[int] = Counter()
    top, bottom, left, right = _span(src, grid)
    for row in range(top, bottom, _EDGE):
        for col in range(left, right, _EDGE):
            height, width = min(_EDGE, bottom - row), min(_EDGE, right - col)
            part = src.read(source.band, window=Window(col, row, width, height))
            whole, there = as_whole(part, nodata, source.path)
            values, n = np.unique(whole[there], return_counts=True)
            found.update(dict(zip(values.tolist(), n.tolist(), strict=True)))
            if len(found) > _MOST_VALUES:
                raise InputError(
                    f"{source.path} holds more than {_MOST_VALUES} different values, so it is no "
                    "raster of classes. Name another file or `band`."
                )
    return found


def _span(src: rasterio.DatasetReader, grid: Grid) -> tuple[int, int, int, int]:
    """Rows and columns of a raster that lie in the bounds of a grid."""
    outline = shapely.segmentize(
        grid.geobox.extent.geom, max(grid.geobox.extent.boundingbox.shape) / 64
    )
    x, y = shapely.get_coordinates(outline).T
    there = Transformer.from_crs(CRS(str(grid.geobox.crs)), CRS(src.crs), always_xy=True)
    x, y = there.transform(x, y)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return 0, 0, 0, 0
    col, row = ~src.transform @ (x[known], y[known])
    top, left = (max(int(np.floor(at.min())) - 1, 0) for at in (row, col))
    bottom = min(int(np.ceil(row.max())) + 1, src.height)
    right = min(int(np.ceil(col.max())) + 1, src.width)
    return top, bottom, left, right


def _names(src: rasterio.DatasetReader, band: int) -> dict[int, str]:
    """Names that the raster itself has for its values: category names, or tags as ours."""
    tags = src.tags() | src.tags(band)
    try:
        values = [int(value) for value in tags["flag_values"].split()]
        names = [str(name) for name in json.loads(tags["class_names"])]
        return dict(zip(values, names, strict=True))
    except (KeyError, ValueError):
        pass
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / "described.vrt"
        # they may lie in a file beside it, and a virtual raster alone tells them
        beside = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE")
        with beside, rasterio.open(src.name, sharing=False) as whole:
            rasterio.shutil.copy(whole, described, driver="VRT")
        root = ET.parse(described).getroot()
    categories = root.find(f"VRTRasterBand[@band='{band}']/CategoryNames")
    every = [] if categories is None else [one.text for one in categories]
    return {value: name for value, name in enumerate(every) if name}
