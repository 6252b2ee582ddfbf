"""Reading polygons, checking them, and listing what was lost and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Proj

from geocube_ml.errors import InputError
from geocube_ml.grid import Grid
from geocube_ml.kernels.polygons import burn, inset, overlaps
from geocube_ml.labels.classes import known_classes
from geocube_ml.labels.vector import read_vector
from geocube_ml.spec.labels import ClassScheme, ClassSpec, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_MAX_SCALE_ERROR = 0.005  # of a buffer measured in the grid's CRS
_EQUAL_AREA = "EPSG:6933"  # of the whole globe, in metres
_STORAGE = StorageSpec()


@dataclass(frozen=True)
class Labels:
    """Polygons that are fit to be rasterized onto a grid.

    Attributes
    ----------
    frame : GeoDataFrame in the grid's CRS
        One row a polygon: ``polygon`` (1, 2, ...), ``feature`` (its row in the file, from 0),
        ``code``, ``class``, ``area_m2`` (of the whole polygon), ``n_pixel``; the geometry is
        already shrunk.
    disputed : (n,) array of shapely geometries
        Ground that polygons of different classes claim; it stays unlabelled.
    taken : (n,) array of shapely geometries
        All polygons of the file before they were shrunk, of whatever class: what is not
        background.
    classes : ClassScheme
    background : int or None
        Code of what lies outside all polygons.
    losses : DataFrame
        ``feature``, ``class``, ``reason``, ``area_m2``: what was left out, mended or disputed.
    """

    frame: gpd.GeoDataFrame
    disputed: NDArray[Any]
    taken: NDArray[Any]
    classes: ClassScheme
    background: int | None
    losses: pd.DataFrame


def read_labels(spec: LabelsSpec, grid: Grid, storage: StorageSpec = _STORAGE) -> Labels:
    """Read polygons, check them, and shrink them by the inward buffer.

    Parameters
    ----------
    spec : LabelsSpec
        File, class column, classes, buffer.
    grid : Grid
        The cube's grid; decides the CRS, and which polygons have a pixel left.
    storage : StorageSpec, optional
        How the file's bucket is reached, if it lies in one.

    Returns
    -------
    Labels

    Raises
    ------
    MissingError
        The file or layer is not there.
    InputError
        No CRS, no such column, no polygons, none within the cube, or a class without a single
        labelled pixel (unless ``empty_class: drop``).

    Notes
    -----
    A polygon that is invalid is mended and listed.  One that is lost (no class, not a polygon,
    outside the cube, vanished under the buffer, smaller than a pixel) is listed and skipped.
    """
    raw = read_vector(spec, storage)
    book = _Book(grid)
    every = _projected(_known_geometry(raw, spec, book), spec, grid, book)
    every = every.set_geometry(gpd.GeoSeries(_mended(every, book), every.index, crs=every.crs))
    wanted, specs = _known_class(every, spec, book)
    shapes = wanted.geometry.to_numpy()

    inside = shapely.intersects(shapes, grid.geobox.extent.geom)
    if not inside.any():
        raise InputError(_elsewhere(spec, wanted, grid))
    for at in np.flatnonzero(~inside):
        reason = "without an area" if shapely.is_empty(shapes[at]) else "outside the cube"
        book.lost(wanted.iloc[at], reason, shapes[at])
    wanted, shapes = wanted[inside].assign(area_m2=book.area(shapes[inside])), shapes[inside]

    shrunk = _inset(shapes, spec.inset_m, grid)
    empty = shapely.is_empty(shrunk)
    for at in np.flatnonzero(empty):
        book.lost(wanted.iloc[at], f"vanished under the buffer of {spec.inset_m:g} m", shapes[at])
    wanted, shrunk = wanted[~empty], shrunk[~empty]

    clashes = overlaps(shrunk, wanted["class"].to_numpy())
    for i, j, common in clashes:
        other = f"feature {wanted['feature'].iloc[j]} ({wanted['class'].iloc[j]})"
        book.lost(wanted.iloc[i], f"disputed by {other}; left unlabelled", common)
    disputed = np.array([common for _, _, common in clashes], object)

    counts = _pixels(shrunk, disputed, grid)
    for at in np.flatnonzero(counts == 0):
        book.lost(wanted.iloc[at], "no undisputed pixel has its centre inside", shrunk[at])
    kept = counts > 0
    frame = gpd.GeoDataFrame(
        wanted[kept].assign(n_pixel=counts[kept]).reset_index(drop=True),
        geometry=shrunk[kept],
        crs=str(grid.geobox.crs),
    )
    frame.insert(0, "polygon", np.arange(1, len(frame) + 1))
    return _coded(frame, specs, spec, disputed, every.geometry.to_numpy(), book)


class _Book:
    """What was lost, mended or disputed, in the order in which it was found."""

    def __init__(self, grid: Grid) -> None:
        self._crs = str(grid.geobox.crs)
        self._true = _scale_error(grid) <= _MAX_SCALE_ERROR
        self._rows: list[tuple[int, str, str, float]] = []

    def area(self, shapes: NDArray[Any]) -> NDArray[np.float64]:
        """Square metres on the ground of shapes in the grid's CRS."""
        series = gpd.GeoSeries(shapes, crs=self._crs)
        found: NDArray[np.float64] = (
            series if self._true else series.to_crs(_EQUAL_AREA)
        ).area.to_numpy()
        return found

    def lost(self, row: Any, reason: str, shape: Any) -> None:
        area = 0.0 if shape is None else float(self.area(np.array([shape], object))[0])
        self._rows.append((int(row["feature"]), str(row["class"]), reason, round(area, 1)))

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self._rows, columns=["feature", "class", "reason", "area_m2"])


def _known_geometry(raw: gpd.GeoDataFrame, spec: LabelsSpec, book: _Book) -> gpd.GeoDataFrame:
    shapes = raw.geometry.to_numpy()
    polygonal = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    finite = np.array([bool(np.isfinite(shapely.get_coordinates(s)).all()) for s in shapes])
    for at in np.flatnonzero(~polygonal):
        shape = shapes[at]
        none = shape is None or shapely.is_empty(shape)
        kind = "no geometry" if none else f"a {shape.geom_type}, not a polygon"
        book.lost(raw.iloc[at], kind, None)
    for at in np.flatnonzero(polygonal & ~finite):
        book.lost(raw.iloc[at], "coordinates that are not numbers", None)
    good = polygonal & finite
    if not good.any():
        kinds = ", ".join(sorted({"none" if s is None else s.geom_type for s in shapes}))
        raise InputError(f"{spec.path} has no polygons, its geometries are: {kinds}.")
    return raw[good]


def _projected(
    frame: gpd.GeoDataFrame, spec: LabelsSpec, grid: Grid, book: _Book
) -> gpd.GeoDataFrame:
    """Polygons in the grid's CRS; what lies where that CRS ends is outside the cube."""
    there = frame.to_crs(str(grid.geobox.crs))
    finite = np.isfinite(there.bounds.to_numpy()).all(axis=1)
    if not finite.any():
        raise InputError(_elsewhere(spec, frame, grid))
    for at in np.flatnonzero(~finite):
        book.lost(frame.iloc[at], "outside the cube", None)
    return there[finite]


def _known_class(
    frame: gpd.GeoDataFrame, spec: LabelsSpec, book: _Book
) -> tuple[gpd.GeoDataFrame, tuple[ClassSpec, ...]]:
    """Rows of a class of the scheme, their values replaced by the class's name."""
    values = frame["class"].to_numpy()
    specs, name_of = known_classes(values.tolist(), spec)
    known = np.array([value in name_of for value in values])
    for at in np.flatnonzero(~known):
        row = frame.iloc[at]
        reason = "the class has no name" if not values[at] else "a class that the recipe leaves out"
        book.lost(row, reason, row.geometry)
    named = frame[known].copy()
    named["class"] = [name_of[value] for value in values[known]]
    return named, specs


def _mended(frame: gpd.GeoDataFrame, book: _Book) -> NDArray[Any]:
    shapes: NDArray[Any] = frame.geometry.to_numpy().copy()
    for at in np.flatnonzero(~shapely.is_valid(shapes)):
        reason = str(shapely.is_valid_reason(shapes[at])).split("[")[0].lower()
        # of what a repair yields, lines and points have no inside
        shapes[at] = shapely.buffer(shapely.make_valid(shapes[at]), 0)
        book.lost(frame.iloc[at], f"mended ({reason})", shapes[at])
    return shapes


def _inset(shapes: NDArray[Any], distance: float, grid: Grid) -> NDArray[Any]:
    """Shrink in true metres: in the grid's CRS if its scale is true there, else in UTM."""
    series = gpd.GeoSeries(shapes, crs=str(grid.geobox.crs))
    if distance == 0 or _scale_error(grid) <= _MAX_SCALE_ERROR:
        return inset(shapes, distance)
    shrunk = shapes.copy()
    lon = series.representative_point().to_crs("EPSG:4326").x.to_numpy()
    zone = np.floor(lon / 6)  # a UTM zone is true for its six degrees only
    for one in np.unique(zone):
        here = series[zone == one]
        utm = here.to_crs(here.estimate_utm_crs())
        within = gpd.GeoSeries(inset(utm.to_numpy(), distance), crs=utm.crs)
        shrunk[zone == one] = within.to_crs(str(grid.geobox.crs)).to_numpy()
    return shrunk


def _scale_error(grid: Grid) -> float:
    """How far a metre of the grid's CRS is from a metre on the ground, at worst."""
    ring = shapely.get_coordinates(grid.lonlat().geom)
    factors = [Proj(CRS(str(grid.geobox.crs))).get_factors(lon, lat) for lon, lat in ring]
    scales = [s for f in factors for s in (f.meridional_scale, f.parallel_scale)]
    return float(max(abs(scale - 1) for scale in scales))


def _pixels(shapes: NDArray[Any], disputed: NDArray[Any], grid: Grid) -> NDArray[np.int64]:
    """Undisputed pixels whose centre lies in each polygon, counted tile by tile."""
    ids = np.arange(1, len(shapes) + 1)
    counts = np.zeros(len(shapes) + 1, np.int64)
    tree, clashes = shapely.STRtree(shapes), shapely.STRtree(disputed)
    for tile in grid.tiles:
        geobox = grid.geobox[tile.y, tile.x]
        near = np.sort(tree.query(geobox.extent.geom, predicate="intersects"))
        clash = clashes.query(geobox.extent.geom, predicate="intersects")
        if near.size:
            burnt = burn(
                [*shapes[near], *disputed[clash]], [*ids[near], *np.zeros(len(clash), int)],
                transform=geobox.transform, shape=(geobox.shape.y, geobox.shape.x),
                fill=0, dtype="int32",
            )  # fmt: skip
            counts += np.bincount(burnt.ravel(), minlength=len(counts))
    return counts[1:]


def _coded(
    frame: gpd.GeoDataFrame,
    specs: Sequence[ClassSpec],
    spec: LabelsSpec,
    disputed: NDArray[Any],
    taken: NDArray[Any],
    book: _Book,
) -> Labels:
    present = set(frame["class"])
    lacking = [c.name for c in specs if c.name not in present]
    losses = book.table()
    if lacking and (spec.empty_class == "error" or not present):
        why = _why(losses, next(c for c in specs if c.name == lacking[0]))
        raise InputError(
            f"No labelled pixel is left of: {', '.join(lacking)}. {why} Lower `labels.inset_m` "
            f"({spec.inset_m:g} m now), widen the grid, leave the class out of `labels.classes`, "
            "or set `labels.empty_class: drop`."
        )
    every = ClassScheme.of((*specs, *([spec.background] if spec.background else [])))
    # a class that is dropped takes its colour with it
    left = [code for code in every.codes if code >= len(specs) or every.names[code] in present]
    classes = ClassScheme(
        names=tuple(every.names[code] for code in left),
        colors=tuple(every.colors[code] for code in left),
    )
    background = len(left) - 1 if spec.background else None
    code_of = {name: code for code, name in enumerate(classes.names)}
    frame["code"] = np.array([code_of[name] for name in frame["class"]], np.uint8)
    return Labels(frame, disputed, taken, classes, background, losses)


def _why(losses: pd.DataFrame, lacking: ClassSpec) -> str:
    """Polygons that were lost before their value became a class stand under their value."""
    names = {lacking.name, *lacking.values}
    reasons = losses[losses["class"].isin(names)]["reason"].value_counts()
    if reasons.empty:
        return f"The file has no polygon of {lacking.name}."
    counted = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"Of {lacking.name}: {counted}."


def _elsewhere(spec: LabelsSpec, frame: gpd.GeoDataFrame, grid: Grid) -> str:
    def place(bounds: Sequence[float]) -> str:
        return "west {:.4f}, south {:.4f}, east {:.4f}, north {:.4f}".format(*bounds)

    labels = place(frame.to_crs("EPSG:4326").total_bounds)
    cube = place(grid.lonlat().boundingbox.bbox)
    return (
        f"No polygon of {spec.path} lies in the cube. In degrees the labels reach {labels}, the "
        f"cube {cube}. Correct the labels' CRS, or the recipe's grid."
    )
