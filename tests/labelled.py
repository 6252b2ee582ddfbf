"""Labels made of arrays, and what each pixel of them must be by plain shapely."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geocube_ml.grid import Grid
from geocube_ml.labels.labels import ClassRaster, Labels
from geocube_ml.raster import write_cog
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.labels import ClassScheme, ClassSpec

CRS = "EPSG:32633"
LEFT, TOP = 500_000, 5_001_000
CLASSES = ClassScheme.of(tuple(ClassSpec(name=name) for name in ("a", "b", "c", "rest")))
NEVER = np.datetime64("NaT", "ns")


def grid_of(rows, cols, tile=64, pixel=10):
    """A grid of 10-metre pixels near the middle of its zone."""
    geobox = GeoBox((rows, cols), Affine(pixel, 0, LEFT, 0, -pixel, TOP), CRS)
    return Grid(geobox, StoreSpec(chunk=tile, shard=tile, tile=tile))


def year(first, last=None):
    """A validity of whole years."""
    return (
        np.datetime64(f"{first}-01-01", "ns"),
        np.datetime64(f"{last or first}-12-31", "ns"),
    )


def labels_of(
    rows=(),
    *,
    disputed=(),
    taken=None,
    rasters=(),
    hull=None,
    n_layer=1,
    background=None,
    inset_m=0.0,
    whole_pixels=False,
):
    """Labels of rows (geometry, code, source, validity, layer), the last three optional; what is
    taken is (geometry, source, validity), what is disputed (geometry, source, layer).
    """
    full = [_row(*row) for row in rows]
    shapes = np.array([row[0] for row in full], object)
    times = np.array([row[3] for row in full], "datetime64[ns]").reshape(-1, 2)
    frame = gpd.GeoDataFrame(
        {
            "polygon": np.arange(1, len(full) + 1),
            "source": np.array([row[2] for row in full], np.int64),
            "feature": np.arange(len(full)),
            "code": np.array([row[1] for row in full], np.uint8),
            "class": [CLASSES.names[row[1]] for row in full],
            "weight": np.ones(len(full), np.float32),
            "valid_from": times[:, 0],
            "valid_to": times[:, 1],
            "layer": np.array([row[4] for row in full], np.int64),
            "area_m2": shapely.area(shapes),
            "n_pixel": np.zeros(len(full), np.int64),
        },
        geometry=shapes, crs=CRS,
    )  # fmt: skip
    if taken is None:
        taken = [(row[0], row[2], row[3]) for row in full]
    else:
        taken = [(*row, (NEVER, NEVER))[:3] for row in taken]
    times = np.array([row[2] for row in taken], "datetime64[ns]").reshape(-1, 2)
    return Labels(
        frame=frame,
        disputed=gpd.GeoDataFrame(
            {
                "source": np.array([row[1] for row in disputed], np.int64),
                "layer": np.array([row[2] for row in disputed], np.int64),
            },
            geometry=[row[0] for row in disputed], crs=CRS,
        ),
        taken=gpd.GeoDataFrame(
            {
                "source": np.array([row[1] for row in taken], np.int64),
                "valid_from": times[:, 0],
                "valid_to": times[:, 1],
            },
            geometry=[row[0] for row in taken], crs=CRS,
        ),
        rasters=tuple(rasters),
        hull=hull,
        n_layer=n_layer,
        classes=CLASSES,
        background=background,
        problems=pd.DataFrame(),
        inset_m=inset_m,
        whole_pixels=whole_pixels,
    )  # fmt: skip


def _row(shape, code, source=0, valid=(NEVER, NEVER), layer=0):
    return shape, code, source, valid, layer


def raster_of(path, values, *, source=0, table=None, nodata=255, valid=(NEVER, NEVER), crs=CRS,
              pixel=10.0, left=LEFT, top=TOP):  # fmt: skip
    """A class raster that is written; its values are its codes."""
    values = np.asarray(values)
    geobox = GeoBox(values.shape, Affine(pixel, 0, left, 0, -pixel, top), crs)
    write_cog(path, values[None], geobox, nodata=nodata)
    table = {int(v): int(v) for v in np.unique(values) if v < 4} if table is None else table
    return ClassRaster(source, str(path), 1, table, nodata, *valid, 1.0)


def squares_of(grid):
    """(y, x) each pixel as a box."""
    rows, cols = grid.shape
    at = grid.geobox.transform
    col, row = np.meshgrid(np.arange(cols), np.arange(rows))
    x, y = at.c + at.a * col, at.f + at.e * row
    return shapely.box(x, y + at.e, x + at.a, y)


def defined(labels, grid, inset_m=None):
    """(label_layer, y, x) labels and polygons of vectors, pixel by pixel; background keeps away by
    `inset_m`, in metres of the grid.
    """
    inset_m = labels.inset_m if inset_m is None else inset_m
    squares, whole = squares_of(grid), labels.whole_pixels
    centres = shapely.centroid(squares)

    def covered(shapes):
        found = np.zeros(squares.shape, bool)
        for shape in shapes:
            if whole:
                found |= shapely.area(shapely.intersection(shape, squares)) > 1e-3
            else:
                found |= shapely.contains(shape, centres)
        return found

    label = np.full((labels.n_layer, *squares.shape), 255, np.uint8)
    polygon = np.zeros(label.shape, np.int32)
    taken = labels.taken
    for row in labels.frame.sort_values(["source", "polygon"]).itertuples():
        if whole:
            inside = shapely.contains(row.geometry, squares)
            inside &= shapely.distance(row.geometry.boundary, squares) > 1e-3
        else:
            inside = shapely.contains(row.geometry, centres)
        earlier = (taken["source"].to_numpy() < row.source) & np.array(
            [
                _meet(row.valid_from, row.valid_to, other.valid_from, other.valid_to)
                for other in taken.itertuples()
            ],
            bool,
        )
        same = (labels.disputed["layer"] == row.layer) & (labels.disputed["source"] == row.source)
        inside &= ~covered(taken.geometry[earlier]) & ~covered(labels.disputed.geometry[same])
        inside &= label[row.layer] == 255
        label[row.layer][inside], polygon[row.layer][inside] = row.code, row.polygon
    if labels.background is not None:
        apart = np.full(squares.shape, np.inf)
        for shape in taken.geometry:
            apart = np.minimum(apart, shapely.distance(shape, squares if whole else centres))
        clear = apart > 0 if inset_m == 0 else apart >= inset_m
        if whole:
            clear &= shapely.contains(labels.hull, squares)
            clear &= ~covered(taken.geometry)
        else:
            clear &= shapely.contains(labels.hull, centres)
        label[0][clear] = labels.background
    return label, polygon


def _meet(start, end, other_start, other_end):
    first = max((t for t in (start, other_start) if not pd.isna(t)), default=None)
    last = min((t for t in (end, other_end) if not pd.isna(t)), default=None)
    return first is None or last is None or first <= last
