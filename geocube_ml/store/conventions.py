"""Where a cube lies, in the words of the Zarr conventions ``proj:``, ``spatial:``, ``multiscales``.

They stand beside CF's grid mapping and coordinates and say the same, so that a reader needs no
coordinate to place a pixel.  Texts: github.com/zarr-conventions (proj, spatial, multiscales).
A fact has one place: a group says its CRS and outline, an array its transform and shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import CRS

_WEB = "https://raw.githubusercontent.com/zarr-conventions"
_SPECS = "https://github.com/zarr-conventions"

_PROJ = {
    "schema_url": f"{_WEB}/geo-proj/refs/tags/v1/schema.json",
    "spec_url": f"{_SPECS}/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
_SPATIAL = {
    "schema_url": f"{_WEB}/spatial/refs/tags/v1/schema.json",
    "spec_url": f"{_SPECS}/spatial/blob/v1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial",
    "description": "Spatial coordinate information",
}
_MULTISCALES = {
    "schema_url": f"{_WEB}/multiscales/refs/tags/v1/schema.json",
    "spec_url": f"{_SPECS}/multiscales/blob/v1/README.md",
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "description": "Multiscale layout of zarr datasets",
}
_DIMENSIONS = ["y", "x"]


def group_attrs(geobox: GeoBox) -> dict[str, Any]:
    """Attributes of a group whose arrays lie on one grid: its CRS and its outline; and CF."""
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": [_PROJ, _SPATIAL],
        **_crs(geobox),
        "spatial:dimensions": _DIMENSIONS,
        "spatial:bbox": list(geobox.boundingbox.bbox),
    }


def array_attrs(geobox: GeoBox) -> dict[str, Any]:
    """Attributes of an array whose last two axes are y and x; its CRS is the group's."""
    return {
        "zarr_conventions": [_SPATIAL],
        "spatial:dimensions": _DIMENSIONS,
        **_place(geobox),
        "spatial:registration": "pixel",
    }


def pyramid_attrs(levels: Sequence[tuple[str, GeoBox]], factor: int) -> dict[str, Any]:
    """Attributes of a group that holds its overviews.

    Parameters
    ----------
    levels : sequence of (path below the group, GeoBox)
        From fine to coarse; the group itself is ``.``.
    factor : int
        Edge of a level's pixel in pixels of the level before.
    """
    layout: list[dict[str, Any]] = []
    for path, geobox in levels:
        relative: dict[str, Any] = {}
        scale = 1.0
        if layout:
            relative["derived_from"] = layout[-1]["asset"]
            scale = float(factor)
        layout.append(
            {
                "asset": path,
                **relative,
                "transform": {"scale": [scale, scale], "translation": [0.0, 0.0]},
                **_place(geobox),
            }
        )
    said = group_attrs(levels[0][1])
    return {
        **said,
        "zarr_conventions": [_MULTISCALES, *said["zarr_conventions"]],
        "multiscales": {"layout": layout, "resampling_method": "average"},
    }


def without(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes but those of the conventions, which a slice or a sum of the data makes untrue."""
    return {name: value for name, value in attrs.items() if not _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name in ("zarr_conventions", "multiscales") or name.startswith(("proj:", "spatial:"))


def _crs(geobox: GeoBox) -> dict[str, str]:
    crs = CRS.from_user_input(geobox.crs)
    epsg = crs.to_epsg(min_confidence=100)  # the same, not one like it
    return {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:wkt2": crs.to_wkt("WKT2_2019")}


def _place(geobox: GeoBox) -> dict[str, Any]:
    transform = [float(value) for value in geobox.transform[:6]]
    return {"spatial:transform": transform, "spatial:shape": [int(n) for n in geobox.shape]}
