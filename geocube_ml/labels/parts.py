"""The labels of one source, shrunk, and those of all sources as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geocube_ml.grid import Grid
from geocube_ml.labels.clashes import disputes, duplicates, layers
from geocube_ml.labels.clean import is_polygon
from geocube_ml.labels.inset import shrink
from geocube_ml.labels.problems import Rows
from geocube_ml.labels.scale import Scale
from geocube_ml.labels.validity import valid_of
from geocube_ml.spec.labels import LabelsSpec

_SHARED_M = 0.02  # ground narrower than this is an edge that two polygons share
TYPES = {
    "polygon": "int64", "source": "int64", "feature": "int64", "code": "uint8", "class": "str",
    "weight": "float32", "valid_from": "datetime64[ns]", "valid_to": "datetime64[ns]",
    "layer": "int64", "area_m2": "float64", "n_pixel": "int64",
}  # fmt: skip
OWN = tuple(TYPES)


@dataclass(frozen=True)
class Part:
    """The labels of one source, with shapes that are shrunk, and what is disputed among them."""

    source: int
    rows: Rows
    first: NDArray[np.int64]
    """Of disputes, row of the one."""
    second: NDArray[np.int64]
    """Row of the other."""
    ground: NDArray[Any]
    """Shape of what both claim."""


def part_of(
    at: int,
    rows: Rows,
    code_of: dict[str, int],
    spec: LabelsSpec,
    grid: Grid,
    scale: Scale,
) -> Part:
    """Labels of one source without duplicates, shrunk, and what is disputed among them.

    Parameters
    ----------
    at : int
        Position of the source.
    rows : Rows
        From `place_rows`.
    code_of : dict
        Name of a class to its code.
    spec : LabelsSpec
    grid : Grid
    scale : Scale
        Of the grid's CRS.
    """
    rows = Rows(rows.file, rows.table.reset_index(drop=True), rows.shapes, rows.book)
    later, first = duplicates(
        rows.shapes, rows.table["class"].to_numpy(object), valid_of(rows.table)
    )
    if later.size:
        twice = np.zeros(len(rows.shapes), bool)
        twice[later] = True
        features = rows.table["feature"].to_numpy()
        of = np.full(len(twice), "", object)
        of[later] = [f"a duplicate of feature {feature}" for feature in features[first]]
        rows = rows.without(twice, of[twice], rows.table["area_m2"].to_numpy()[twice])
    sliver = _slivers(rows.shapes, grid)
    shrunk = shrink(rows.shapes, spec.inset_m, scale)
    table = rows.table.assign(
        source=at, code=rows.table["class"].map(code_of).to_numpy(np.uint8), sliver=sliver
    )
    clash = disputes(
        rows.shapes, table["code"].to_numpy(np.int64), valid_of(table), grid.geobox,
        _SHARED_M * float(np.nanmax(scale.most)),
    )  # fmt: skip
    rows = Rows(rows.file, table, rows.shapes, rows.book)
    if clash.first.size:
        rivals = table[["feature", "class"]].iloc[clash.second]
        why = [f"disputed by feature {feature} ({name}); left unlabelled"
               for feature, name in rivals.itertuples(index=False)]  # fmt: skip
        ground = scale.area(shapely.area(clash.ground), shapely.bounds(clash.ground))
        rows.note(clash.first, np.array(why, object), "unlabelled", ground)
    gone = is_polygon(rows.shapes) & shapely.is_empty(shrunk)
    thin = np.where(table["sliver"][gone], " (a sliver)", "").astype(object)
    reasons = f"vanished under the buffer of {spec.inset_m:g} m" + thin
    back = np.cumsum(~gone) - 1
    rows = rows.shaped(shrunk).without(gone, reasons, table["area_m2"][gone].to_numpy())
    alive = ~(gone[clash.first] & gone[clash.second])
    # where one of two vanished the other still may not have the ground
    first, second = (
        np.where(gone[end[alive]], back[other[alive]], back[end[alive]])
        for end, other in ((clash.first, clash.second), (clash.second, clash.first))
    )
    return Part(at, rows, first, second, clash.ground[alive])


def _slivers(shapes: NDArray[Any], grid: Grid) -> NDArray[np.bool_]:
    """Polygons that are narrower than a pixel on average."""
    # of the rectangle that has its area and its perimeter; of rounder ones, of the square
    half = shapely.length(shapes) / 2
    width = (half - np.sqrt(np.maximum(half**2 - 4 * shapely.area(shapes), 0))) / 2
    pixel = min(abs(grid.geobox.transform.a), abs(grid.geobox.transform.e))
    found: NDArray[np.bool_] = is_polygon(shapes) & (width < pixel)
    return found


def joined(
    parts: Sequence[Part], crs: str, grid: Grid
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """The labels of all sources in layers, and the ground that is disputed in each."""
    tables = [part.rows.table for part in parts]
    if not tables:
        bare = {name: np.empty(0, kind) for name, kind in TYPES.items()}
        none = {name: np.empty(0, np.int64) for name in ("source", "layer")}
        return (
            gpd.GeoDataFrame(bare | {"sliver": np.empty(0, bool)}, geometry=[], crs=crs),
            gpd.GeoDataFrame(none, geometry=[], crs=crs),
        )
    shapes = np.concatenate([part.rows.shapes for part in parts])
    more = list(dict.fromkeys(name for table in tables for name in further(table)))
    table = pd.concat([_with(one, more) for one in tables], ignore_index=True)
    table["layer"] = layers(shapes, valid_of(table), grid.geobox)
    table["polygon"] = np.arange(1, len(table) + 1)
    table["n_pixel"] = np.int64(0)
    starts = np.cumsum([0, *(len(one) for one in tables)])
    layer = table["layer"].to_numpy()
    rows: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for part, start in zip(parts, starts[:-1], strict=True):
        here, there = layer[start + part.first], layer[start + part.second]
        other = here != there
        for of, ground in ((here, part.ground), (there[other], part.ground[other])):
            rows.append((np.full(len(of), part.source), of, ground))
    source, of_layer, ground = (np.concatenate(column) for column in zip(*rows, strict=True))
    disputed = gpd.GeoDataFrame({"source": source, "layer": of_layer}, geometry=ground, crs=crs)
    return gpd.GeoDataFrame(table, geometry=shapes, crs=crs), disputed


def _with(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A table with all columns that any source keeps, None where it lacks one."""
    lacking = [name for name in columns if name not in table]
    return table.assign(**{name: np.full(len(table), None, object) for name in lacking})


def further(table: pd.DataFrame) -> list[str]:
    """Columns that the sources keep."""
    return [str(name) for name in table if name not in (*OWN, "sliver", "geometry")]


def taken_of(parts: Sequence[gpd.GeoDataFrame], crs: str) -> gpd.GeoDataFrame:
    """What all sources have near the grid, as one table."""
    if parts:
        return gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=crs)
    none = {"source": np.empty(0, np.int64), "valid_from": np.empty(0, "datetime64[ns]"),
            "valid_to": np.empty(0, "datetime64[ns]")}  # fmt: skip
    return gpd.GeoDataFrame(none, geometry=[], crs=crs)
