"""The area that labels span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geom import Geometry
from pyproj import CRS, Transformer

from geocube_ml.errors import InputError
from geocube_ml.grid import followed
from geocube_ml.labels.onto import period_of
from geocube_ml.labels.vector import read_shapes
from geocube_ml.raster import read_header
from geocube_ml.spec.labels import LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_BLOCK = 100_000  # shapes of which coordinates are held at a time
_DEGREES = CRS("EPSG:4326")
_LABELS = (0, 3, 4, 6, 7)  # points, polygons, several of them, and collections


def labels_hull(spec: LabelsSpec, storage: StorageSpec = _STORAGE) -> Geometry:
    """Convex hull of all labels; no grid is needed.

    Parameters
    ----------
    spec : LabelsSpec
    storage : StorageSpec, optional
        How the files' buckets are reached, if they lie in some.

    Returns
    -------
    odc.geo.geom.Geometry
        In the CRS of the labels if all sources have the same, else in EPSG:4326; a point or a line
        where the labels are no more.  In degrees it may reach beyond 180, where labels lie across
        the antimeridian.

    Raises
    ------
    MissingError, InputError
        As `read_labels`; or no label has coordinates.
    """
    return joined_hull(spec, [_of_source(one, storage) for one in spec.sources])


def joined_hull(spec: LabelsSpec, hulls: Sequence[tuple[CRS, Any]]) -> Geometry:
    """The hull of sources of which each has a hull in a CRS, as `labels_hull`."""
    places = [(crs, hull) for crs, hull in hulls if not shapely.is_empty(hull)]
    if not places:
        files = ", ".join(source.path for source in spec.sources)
        raise InputError(f"No label of {files} has coordinates. Name other files.")
    crs = places[0][0]
    if any(other != crs for other, _ in places):
        crs = _DEGREES
    parts = np.array([_onto(hull, of, crs) for of, hull in places], object)
    return Geometry(convex(_unwrapped(parts, crs)), crs.to_string())


def shapes_hull(shapes: NDArray[Any], crs: CRS) -> Any:
    """Convex hull of all shapes that may label ground, in their CRS; of whole shapes, as read."""
    kinds = shapely.get_type_id(shapes)
    return convex(_unwrapped(shapes[np.isin(kinds, _LABELS)], crs))


def hull_on(hull: Geometry, crs: str) -> Any:
    """A hull in the CRS of a grid, as far as that reaches.

    Parameters
    ----------
    hull : Geometry
        From `labels_hull`.
    crs : str
        Of the grid.

    Returns
    -------
    shapely geometry
        As `geocube_ml.grid.area_on` has it; where some of it has no place in the CRS, the convex
        hull of what has one.
    """
    own, target = CRS(str(hull.crs)), CRS(crs)
    if own == target:
        return hull.geom
    bent, period = followed(hull, crs).geom, period_of(own)
    there = Transformer.from_crs(own, target, always_xy=True)
    xy = shapely.get_coordinates(bent)
    moved = np.column_stack(there.transform(*xy.T))
    with np.errstate(invalid="ignore"):  # what has no place is infinite
        off = np.column_stack(there.transform(moved[:, 0], moved[:, 1], direction="INVERSE")) - xy
        if period:
            off[:, 0] -= period * np.round(off[:, 0] / period)
    known = (np.abs(off) < 1e-6 * np.abs(xy).max(initial=1.0)).all(axis=1)
    if known.all():
        return shapely.set_coordinates(bent, moved)
    return convex(shapely.MultiPoint(moved[known]))


def convex(shapes: Any) -> Any:
    """Convex hull of all shapes that have coordinates."""
    every, corners = np.atleast_1d(np.asarray(shapes, object)), [np.empty((0, 2))]
    for at in range(0, len(every), _BLOCK):
        xy = shapely.get_coordinates(every[at : at + _BLOCK])
        xy = xy[np.isfinite(xy).all(axis=1)]
        if len(xy):  # a line through all of them has their hull
            line = shapely.linestrings(np.concatenate([xy, xy[-1:]]))
            corners.append(shapely.get_coordinates(shapely.convex_hull(line)))
    return shapely.convex_hull(shapely.MultiPoint(np.concatenate(corners)))


def _of_source(source: LabelSource, storage: StorageSpec) -> tuple[CRS, Any]:
    if not source.is_raster:
        series = read_shapes(source.path, source.layer, storage)
        crs, shapes = CRS(series.crs), np.asarray(series.to_numpy(), object)
        return crs, shapes_hull(shapes, crs)
    header = read_header(source.path, storage)
    if not header.crs:
        raise InputError(f"{source.path} has no CRS, so where its labels lie is not known.")
    rows, cols = header.height, header.width
    corners = [header.transform @ at for at in ((0, 0), (cols, 0), (cols, rows), (0, rows))]
    return CRS(header.crs), shapely.Polygon(corners)


def _unwrapped(shapes: NDArray[Any], crs: CRS) -> Any:
    """Shapes without the gap at the antimeridian, if they lie on both sides of it."""
    period = period_of(crs)
    west, _, east, _ = shapely.bounds(shapes).T
    if not period or not np.nanmax(east, initial=-np.inf) - np.nanmin(west) > period / 2:
        return shapes

    def eastward(coords: Any) -> Any:
        return np.column_stack([np.where(coords[:, 0] < 0, coords[:, 0] + period, coords[:, 0]),
                                coords[:, 1]])  # fmt: skip

    turned = shapely.transform(shapes, eastward)
    low, _, high, _ = shapely.bounds(turned).T
    narrower = np.nanmax(high) - np.nanmin(low) < np.nanmax(east) - np.nanmin(west)
    return turned if narrower else shapes


def _onto(hull: Any, source: CRS, crs: CRS) -> Any:
    """A hull in another CRS, whose edges it follows."""
    if source == crs:
        return hull
    step = max(hull.length / 200, 1e-9)
    there = Transformer.from_crs(source, crs, always_xy=True)
    return shapely.transform(
        shapely.segmentize(hull, step), lambda coords: np.column_stack(there.transform(*coords.T))
    )
