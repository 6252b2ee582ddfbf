"""Labelled polygons as objects: one sample each, summed up from the pixels that it covers.

exactextract says which share of each pixel lies within a polygon.  The pixels are read a storage
chunk at a time, each once; an object is summed up as soon as its last chunk was read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import shapely
import xarray as xr
from exactextract import exact_extract
from exactextract.feature import Feature, FeatureSource
from exactextract.raster import NumPyRasterSource
from exactextract.writer import Writer
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.data.pixels import chunks_of, values_at
from geocube_ml.errors import InputError, listed
from geocube_ml.kernels.objects import summed_up
from geocube_ml.kernels.sampling import gather
from geocube_ml.spec.samples import Statistic

_ALL = 1 - 1e-6  # of a pixel; shares are sums
_POINTS = (0, 4)  # shapely's numbers of Point and MultiPoint


@dataclass(frozen=True)
class Objects:
    """Labelled polygons and points, by number, and the pixels of each."""

    x: NDArray[np.float64]
    """Of the mean of its pixels, by the share that it covers."""
    y: NDArray[np.float64]
    polygon: NDArray[np.int32]
    label: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """(object + 1,): where the pixels of each begin, and the end."""
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    share: NDArray[np.float32]
    """(pixel,): of the pixel that lies within."""
    outline: NDArray[Any]
    """(object,): the shape of each."""
    statistics: tuple[Statistic, ...]

    @classmethod
    def of(
        cls,
        cube: xr.Dataset,
        geobox: GeoBox,
        labels: pd.DataFrame,
        statistics: tuple[Statistic, ...],
    ) -> Self:
        """All that have a pixel of their own.

        Parameters
        ----------
        cube : xarray.Dataset
            ``polygon`` says whose a pixel is: one that lies wholly within a polygon and is not its
            own, as it is disputed or another's, does not count, nor does a part of one that is
            another's, or that is nobody's while two polygons overlap there.
        geobox : GeoBox
            Of the cube.
        labels : GeoDataFrame
            In its CRS: ``polygon``, ``code``, ``geometry``, and ``layer`` where there are several.
        statistics : tuple
            The first stands for the source itself.

        Raises
        ------
        InputError
            Columns are missing, or no object has a pixel.
        """
        missing = [name for name in ("polygon", "code", "geometry") if name not in labels]
        if missing:
            raise InputError(
                f"`unit: polygon` needs the labels' {listed(missing)}; the table of labels has "
                f"{listed([str(name) for name in labels])}. Make it with the step `labels`."
            )
        vectors = labels[labels["polygon"] > 0].sort_values("polygon")
        geometry = np.asarray(vectors["geometry"].values)
        of, row, col, share = _covered(geometry, geobox)
        number = vectors["polygon"].to_numpy()
        layer = vectors["layer"].to_numpy() if "layer" in vectors else np.zeros(len(vectors), int)
        twice = _claimed_twice(geometry, layer, geobox, of, row, col)
        own = _owned(cube["polygon"], number[of], layer[of], row, col, (share < _ALL) & ~twice)
        of, row, col, share = of[own], row[own], col[own], share[own]
        if of.size == 0:
            raise InputError(
                "No labelled polygon has a pixel in the cube. Lower `labels.inset_m`, or look at "
                "the listing of lost labels beside it."
            )
        there, starts = np.unique(of, return_index=True)
        at = np.searchsorted(there, of)
        whole = np.bincount(at, share)
        return cls(
            np.bincount(at, share * cube["x"].values[col]) / whole,
            np.bincount(at, share * cube["y"].values[row]) / whole,
            number[there].astype(np.int32), vectors["code"].to_numpy("uint8")[there],
            np.append(starts, len(of)).astype(np.int64), row, col, share, geometry[there],
            statistics,
        )  # fmt: skip

    def take(self, at: NDArray[Any]) -> Self:
        """Some of them, by position or by a mask."""
        at = np.flatnonzero(at) if at.dtype == bool else at
        length = np.diff(self.starts)[at]
        starts = np.append(0, np.cumsum(length))
        pixel = np.arange(starts[-1]) + np.repeat(self.starts[at] - starts[:-1], length)
        return type(self)(
            self.x[at], self.y[at], self.polygon[at], self.label[at], starts,
            self.row[pixel], self.col[pixel], self.share[pixel], self.outline[at],
            self.statistics,
        )  # fmt: skip

    def read(self, source: xr.DataArray) -> dict[str, NDArray[Any]]:
        """Statistics of a source under the endings of its name: none, ``_std``, ...

        Returns
        -------
        dict
            (object, time, band) or (object, band) float32, float64 of sources of more than 16 bits:
            counts; missing values are the source's nodata under its own name, NaN under the others.
        """
        nodata = source.attrs["nodata"]
        shape = (len(self.polygon), *source.shape[:-2])
        dtype = np.result_type(source.dtype, np.float32)
        found = {
            _ending(statistic, k): np.full(shape, np.nan if k else nodata, dtype)
            for k, statistic in enumerate(self.statistics)
        }
        for objects, values, share, starts in self._whole(source):
            for k, statistic in enumerate(self.statistics):
                one = summed_up(values, share, starts, statistic, nodata).astype(dtype)
                if k == 0:
                    one[one == dtype.type(nodata)] = np.nextafter(
                        dtype.type(nodata), dtype.type(np.inf)
                    )  # it is a value, whatever it is
                    one[np.isnan(one)] = nodata
                found[_ending(statistic, k)][objects] = one
        return found

    def _whole(self, source: xr.DataArray) -> Iterator[tuple[NDArray[Any], ...]]:
        """Objects, values and shares of their pixels in the order of the pixels, and the starts."""
        of = np.repeat(np.arange(len(self.polygon)), np.diff(self.starts))
        left = np.diff(self.starts)  # pixels of each that were not read yet
        waiting: dict[int, list[tuple[NDArray[Any], NDArray[Any]]]] = {}
        for here, top, first, block in chunks_of(source, self.row, self.col):
            values = gather(block, self.row[here] - top, self.col[here] - first)
            objects, starts, number = np.unique(of[here], return_index=True, return_counts=True)
            done = number == np.diff(self.starts)[objects]
            if done.any():  # most lie within one chunk
                lies = np.repeat(done, number)
                ends = np.append(0, np.cumsum(number[done]))
                yield objects[done], values[lies], self.share[here[lies]], ends
            left[objects] -= number
            for k in np.flatnonzero(~done):
                part = slice(starts[k], starts[k] + number[k])
                waiting.setdefault(objects[k], []).append((here[part], values[part]))
                if left[objects[k]] == 0:
                    pixels, parts = zip(*waiting.pop(objects[k]), strict=True)
                    pixel = np.concatenate(pixels)
                    order = np.argsort(pixel)  # sums do not depend on how the cube is chunked
                    yield (
                        objects[k : k + 1], np.concatenate(parts)[order],
                        self.share[pixel[order]], np.array([0, len(order)]),
                    )  # fmt: skip


def _ending(statistic: Statistic, position: int) -> str:
    return f"_{statistic}" if position else ""


def _owned(
    polygon: xr.DataArray,
    number: NDArray[Any],
    layer: NDArray[Any],
    row: NDArray[Any],
    col: NDArray[Any],
    open_to_it: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Which pixels count: an object's own, and of those that are nobody's what is open to it."""
    said = values_at(polygon, row, col)
    if said.ndim == 2:
        said = said[np.arange(len(said)), layer]
    own: NDArray[np.bool_] = (said == number) | ((said == 0) & open_to_it)
    return own


def _claimed_twice(
    geometry: NDArray[Any],
    layer: NDArray[Any],
    geobox: GeoBox,
    of: NDArray[Any],
    row: NDArray[Any],
    col: NDArray[Any],
) -> NDArray[np.bool_]:
    """Which pixels of an object hold ground that it shares with another of its layer."""
    one, other = shapely.STRtree(geometry).query(geometry, predicate="intersects")
    pair = (one < other) & (layer[one] == layer[other])
    one, other = one[pair], other[pair]
    shared, at = shapely.get_parts(
        shapely.intersection(geometry[one], geometry[other]), return_index=True
    )
    ground = shapely.area(shared) > 0  # what they share beside it are edges
    in_shared, rows, cols, _ = _covered(shared[ground], geobox)
    at = at[ground][in_shared]
    shape = len(geometry), *geobox.shape
    twice = [np.ravel_multi_index((owner[at], rows, cols), shape) for owner in (one, other)]
    return np.isin(np.ravel_multi_index((of, row, col), shape), np.concatenate(twice))


def _covered(
    geometry: NDArray[Any], geobox: GeoBox
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Geometry, row, column and share of each pixel that is covered; geometry by geometry."""
    rows, cols = geobox.shape
    point = np.isin(shapely.get_type_id(geometry), _POINTS)
    found: list[tuple[NDArray[Any], ...]] = []

    places, of = shapely.get_coordinates(geometry[point], return_index=True)
    to = geobox.transform  # rows and columns lie along the axes
    col = np.floor((places[:, 0] - to.c) / to.a).astype(np.int64)
    row = np.floor((places[:, 1] - to.f) / to.e).astype(np.int64)
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    pairs = np.unique(np.stack([of[inside], row[inside] * cols + col[inside]]), axis=1)
    found.append((np.flatnonzero(point)[pairs[0]], pairs[1], np.ones(pairs.shape[1])))

    area = np.flatnonzero(~point & ~shapely.is_empty(geometry) & ~shapely.is_missing(geometry))
    ones = np.broadcast_to(np.uint8(1), (rows, cols))  # takes no memory
    box = geobox.boundingbox
    writer = _Kept(found)
    exact_extract(
        NumPyRasterSource(ones, box.left, box.bottom, box.right, box.top),
        _Polygons(geometry, area), ["cell_id", "coverage"], include_cols=["at"], output=writer,
    )  # fmt: skip
    of, cell, share = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((cell, of))
    cell = cell[order]
    return (
        of[order].astype(np.intp), (cell // cols).astype(np.int32),
        (cell % cols).astype(np.int32), share[order].astype(np.float32),
    )  # fmt: skip


class _Polygon(Feature):  # type: ignore[misc]
    """A polygon, or what was found of one, as exactextract reads and writes them."""

    def __init__(self, wkb: bytes = b"", **values: Any) -> None:
        super().__init__()
        self.wkb, self.values = wkb, values

    def geometry(self) -> bytes:
        return self.wkb

    def fields(self) -> list[str]:
        return list(self.values)

    def get(self, name: str) -> Any:
        return self.values[name]

    def set(self, name: str, value: Any) -> None:
        self.values[name] = value

    def set_geometry(self, wkb: bytes | None) -> None:
        """Is that of the polygon; nobody asks for it again."""

    def set_geometry_format(self) -> str:
        return "wkb"


class _Polygons(FeatureSource):  # type: ignore[misc]
    """Some of the geometries; faster than by way of GeoJSON."""

    def __init__(self, geometry: NDArray[Any], at: NDArray[np.intp]) -> None:
        super().__init__()
        self.geometries, self.at = geometry, at

    def count(self) -> int:
        return len(self.at)

    def __iter__(self) -> Iterator[_Polygon]:
        for at in self.at:
            yield _Polygon(shapely.to_wkb(self.geometries[at]), at=int(at))

    def srs_wkt(self) -> None:
        """Is that of the raster."""


class _Kept(Writer):  # type: ignore[misc]
    """Keeps the pixels that each polygon covers."""

    def __init__(self, found: list[tuple[NDArray[Any], ...]]) -> None:
        super().__init__()
        self.found = found

    def add_operation(self, operation: Any) -> None:
        """All are kept."""

    def add_column(self, name: str) -> None:
        """All are kept."""

    def write(self, feature: Any) -> None:
        one = _Polygon()
        feature.copy_to(one)
        cell = one.values.get("cell_id")
        if cell is not None and len(cell):
            share = np.asarray(one.values["coverage"], np.float32)
            self.found.append((np.full(len(cell), one.values["at"]), np.array(cell), share))

    def finish(self) -> None:
        """There is nothing to close."""

    def features(self) -> None:
        """They are in `found`."""
