"""The area to map, as a file of polygons says it."""

from __future__ import annotations

import logging

import numpy as np
import shapely
from odc.geo.geom import Geometry

from geocube_ml.errors import InputError
from geocube_ml.files import place
from geocube_ml.labels.vector import Words, read_shapes
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_BOUNDARY = Words("file", "grid.boundary", "grid.boundary_layer")
_POLYGONS = (3, 6)
_NEXT = "Correct `grid.boundary`, or leave it out: then the hull of the labels is mapped."
_log = logging.getLogger(__name__)


def read_boundary(
    location: str, layer: str | None = None, storage: StorageSpec = _STORAGE
) -> Geometry:
    """The union of a file's polygons; invalid rings are mended, and the log tells it.

    Parameters
    ----------
    location : str
        A vector file that GeoPandas reads, on this machine or in a store.
    layer : str, optional
        Of a file that has several.
    storage : StorageSpec
        How its store is reached.

    Returns
    -------
    odc.geo.geom.Geometry
        A Polygon or MultiPolygon in the file's CRS.

    Raises
    ------
    MissingError
        It is not there.
    InputError
        It cannot be read, has several layers and none is named, or has no CRS; or it holds no
        polygon, other geometries beside polygons, or coordinates that are not numbers.
    """
    found = read_shapes(location, layer, storage, _BOUNDARY)
    path, shapes = place(location, storage), np.asarray(found.to_numpy(), object)
    bare = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    shapes = shapes[~bare]
    if not len(shapes):
        raise InputError(f"The boundary {path} has no features with a geometry. {_NEXT}")
    others = sorted({s.geom_type for s in shapes[~np.isin(shapely.get_type_id(shapes), _POLYGONS)]})
    if others:
        raise InputError(
            f"The boundary {path} holds {', '.join(others)}, but only polygons have an area to "
            f"map. Take the others out of the file. {_NEXT}"
        )
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError(f"The boundary {path} has coordinates that are not numbers. {_NEXT}")
    wrong = ~shapely.is_valid(shapes)
    if bare.any():
        _log.warning("%d features of the boundary %s have no geometry", bare.sum(), path)
    if wrong.any():
        first = str(shapely.is_valid_reason(shapes[wrong][0]))
        _log.warning(
            "%d of the %d polygons of the boundary %s are mended, as their rings cross or touch "
            "themselves: %s in the first", wrong.sum(), len(shapes), path, first
        )  # fmt: skip
    whole = shapely.union_all(shapely.make_valid(shapes, method="structure", keep_collapsed=False))
    if not whole.area:
        raise InputError(f"The polygons of the boundary {path} have no area. {_NEXT}")
    return Geometry(whole, found.crs.to_wkt())
