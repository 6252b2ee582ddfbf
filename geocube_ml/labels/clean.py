"""Geometries as files have them become polygons and points that are fit to be computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geocube_ml.labels.problems import Rows

BLOCK = 100_000
"""Shapes of which coordinates are held at a time."""

_POINT, _POLYGON, _MULTIPOINT, _MULTIPOLYGON, _COLLECTION = 0, 3, 4, 6, 7
_USED = (_POINT, _POLYGON, _MULTIPOINT, _MULTIPOLYGON)


def clean(rows: Rows) -> Rows:
    """Polygons and points, valid and in two dimensions; other features are listed and left out.

    Parameters
    ----------
    rows : Rows
        As read, in the CRS of the file.

    Returns
    -------
    Rows
        With a column ``mended``: what was repaired, or nothing.  Of a collection the polygons are
        taken, of an invalid polygon what its lines enclose (`shapely.make_valid`); vertices that
        stand twice and heights go, and rings turn as those of the file's other polygons do.
    """
    rows = rows.without(
        shapely.is_missing(rows.shapes) | shapely.is_empty(rows.shapes), "no geometry"
    )
    rows = rows.without(~_finite(rows.shapes), "coordinates that are not numbers")
    shapes, mended = rows.shapes.copy(), np.full(len(rows.shapes), "", object)
    high = shapely.has_z(shapes) | shapely.has_m(shapes)
    shapes[high] = shapely.force_2d(shapes[high])
    _take_polygons(shapes, mended)
    _remove_repeated(shapes, mended)
    _mend_invalid(shapes, mended)
    _turn(shapes, mended)
    single = shapely.get_type_id(shapes) == _MULTIPOINT
    single &= shapely.get_num_geometries(shapes) == 1
    shapes[single] = shapely.get_geometry(shapes[single], 0)
    kinds = shapely.get_type_id(shapes)
    table = rows.table.assign(mended=mended)
    rows = Rows(rows.file, table, shapes, rows.book)
    other = ~np.isin(kinds, _USED)
    names = np.array([f"a {shape.geom_type}, not a polygon or point" for shape in shapes[other]])
    rows = rows.without(other, names if other.any() else "")
    flat = is_polygon(rows.shapes) & (shapely.area(rows.shapes) == 0)
    return rows.without(flat | shapely.is_empty(rows.shapes), "without an area", 0.0)


def is_polygon(shapes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which shapes have an inside."""
    found: NDArray[np.bool_] = np.isin(shapely.get_type_id(shapes), (_POLYGON, _MULTIPOLYGON))
    return found


def mend(shapes: NDArray[Any]) -> NDArray[Any]:
    """Valid polygons of invalid ones; of what a repair yields, lines and points have no inside."""
    found: NDArray[Any] = shapely.buffer(shapely.make_valid(shapes), 0)
    return found


def _finite(shapes: NDArray[Any]) -> NDArray[np.bool_]:
    finite = np.ones(len(shapes), bool)
    for at in range(0, len(shapes), BLOCK):
        coords, of = shapely.get_coordinates(shapes[at : at + BLOCK], return_index=True)
        finite[at + of[~np.isfinite(coords).all(axis=1)]] = False
    return finite


def _note(mended: NDArray[Any], at: NDArray[Any], what: Any) -> None:
    before = mended[at]
    mended[at] = np.where(before == "", what, before + ", " + what)


def _take_polygons(shapes: NDArray[Any], mended: NDArray[Any]) -> None:
    at = np.flatnonzero(shapely.get_type_id(shapes) == _COLLECTION)
    taken = mend(shapes[at])
    left = ~shapely.is_empty(taken)  # a collection without a polygon stays one, and is left out
    shapes[at[left]] = taken[left]
    _note(mended, at[left], "the polygons of a collection")


def _remove_repeated(shapes: NDArray[Any], mended: NDArray[Any]) -> None:
    for start in range(0, len(shapes), BLOCK):
        part = shapes[start : start + BLOCK]
        at = np.flatnonzero(is_polygon(part))
        coords, ring = shapely.get_coordinates(part[at], return_index=True)
        same = (coords[1:] == coords[:-1]).all(axis=1) & (ring[1:] == ring[:-1])
        at = at[np.unique(ring[1:][same])]
        thinned = shapely.remove_repeated_points(part[at])
        fewer = shapely.get_num_coordinates(thinned) < shapely.get_num_coordinates(part[at])
        part[at[fewer]] = thinned[fewer]
        _note(mended, start + at[fewer], "vertices that stood twice")


def _mend_invalid(shapes: NDArray[Any], mended: NDArray[Any]) -> None:
    at = np.flatnonzero(is_polygon(shapes) & ~shapely.is_valid(shapes))
    reasons = [str(why).split("[")[0].lower() for why in shapely.is_valid_reason(shapes[at])]
    shapes[at] = mend(shapes[at])
    _note(mended, at, np.array(reasons, object))


def _turn(shapes: NDArray[Any], mended: NDArray[Any]) -> None:
    """Formats differ in how rings turn, so what is wrong is what differs within a file."""
    # a repair turns its rings as it likes
    at = np.flatnonzero(is_polygon(shapes) & (mended == ""))
    looked = [_rings(shapes[at[start : start + BLOCK]]) for start in range(0, at.size, BLOCK)]
    if not looked:
        return
    shells = np.concatenate([left[shell] for left, shell, _ in looked])
    usual = bool(shells.mean() >= 0.5)
    for start, (left, shell, owner) in zip(range(0, at.size, BLOCK), looked, strict=True):
        wrong = np.where(shell, left != usual, left == usual)
        owners = at[start + np.unique(owner[wrong])]
        shapes[owners] = shapely.orient_polygons(shapes[owners], exterior_cw=not usual)
        _note(mended, owners, "rings turned the wrong way")


def _rings(
    polygons: NDArray[Any],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Of each ring whether it turns left, whether it is a shell, and whose it is."""
    parts, of_part = shapely.get_parts(polygons, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    shell = np.concatenate([[True], of_ring[1:] != of_ring[:-1]])  # the first ring of a part
    return shapely.is_ccw(rings), shell, of_part[of_ring]
