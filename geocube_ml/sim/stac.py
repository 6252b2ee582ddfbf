"""STAC items shaped like those of ``sentinel-2-l2a`` at the Planetary Computer."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geocube_ml.sim.grids import MAP_CRS, coarse, outline
from geocube_ml.sim.phenology import BANDS, N_FINE
from geocube_ml.sim.scenes import Scene

COLLECTION = "sentinel-2-l2a"

_EXTENSIONS = (
    "https://stac-extensions.github.io/eo/v1.0.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/projection/v1.2.0/schema.json",
)

_TITLES = {
    # common name, title, centre and width of the band in um
    "B02": ("blue", "Band 2 - Blue", 0.490, 0.098),
    "B03": ("green", "Band 3 - Green", 0.560, 0.045),
    "B04": ("red", "Band 4 - Red", 0.665, 0.038),
    "B05": ("rededge", "Band 5 - Vegetation red edge 1", 0.704, 0.019),
    "B06": ("rededge", "Band 6 - Vegetation red edge 2", 0.740, 0.018),
    "B07": ("rededge", "Band 7 - Vegetation red edge 3", 0.783, 0.028),
    "B08": ("nir", "Band 8 - NIR", 0.842, 0.145),
    "B8A": ("rededge", "Band 8A - Vegetation red edge 4", 0.865, 0.033),
    "B11": ("swir16", "Band 11 - SWIR (1.6)", 1.610, 0.143),
    "B12": ("swir22", "Band 12 - SWIR (2.2)", 2.190, 0.242),
}


def item_id(scene: Scene) -> str:
    """The id of a scene's item."""
    passage = scene.passage
    day = f"{passage.when:%Y%m%d}"
    return (
        f"{passage.platform}_MSIL2A_{passage.when:%Y%m%dT%H%M%S}_R{passage.orbit:03d}"
        f"_T{scene.tile.name}_{day}T180000"
    )


def asset_geobox(scene: Scene, key: str) -> GeoBox:
    """The grid of one asset."""
    fine = key in BANDS[:N_FINE]
    return scene.tile.geobox if fine else coarse(scene.tile.geobox)


def make_item(scene: Scene) -> dict[str, Any]:
    """The STAC item of a scene, its hrefs relative to the folder ``items``."""
    passage, name = scene.passage, item_id(scene)
    footprint = _footprint(scene)
    missing = 100 * (1 - float(scene.seen.mean()))
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": name,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [_corners(footprint)]},
        "bbox": list(footprint.bounds),
        "properties": {
            "datetime": f"{passage.when:%Y-%m-%dT%H:%M:%S}.024000Z",
            "platform": f"Sentinel-2{passage.platform[-1]}",
            "constellation": "Sentinel 2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": round(scene.cloud_cover, 6),
            "proj:epsg": scene.tile.epsg,
            "proj:code": f"EPSG:{scene.tile.epsg}",
            "sat:orbit_state": "descending",
            "sat:relative_orbit": passage.orbit,
            "s2:mgrs_tile": scene.tile.name,
            "s2:processing_baseline": passage.baseline,
            "s2:product_type": "S2MSI2A",
            "s2:generation_time": f"{passage.when:%Y-%m-%d}T18:00:00.000Z",
            "s2:nodata_pixel_percentage": round(missing, 6),
        },
        "links": [],
        "assets": {key: _asset(scene, key, name) for key in sorted(scene.assets)},
    }


def _asset(scene: Scene, key: str, name: str) -> dict[str, Any]:
    geobox = asset_geobox(scene, key)
    out: dict[str, Any] = {
        "href": f"../cogs/{name}/{key}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
        "gsd": geobox.resolution.x,
        "proj:bbox": list(geobox.boundingbox),
        "proj:shape": list(geobox.shape),
        "proj:transform": list(geobox.transform[:6]),
    }
    if key not in _TITLES:
        return out | {"title": "Scene classification map (SCL)"}
    common, title, centre, width = _TITLES[key]
    band = {
        "name": key, "common_name": common, "description": title,
        "center_wavelength": centre, "full_width_half_max": width,
    }  # fmt: skip
    return out | {"title": f"{title} - {geobox.resolution.x:.0f}m", "eo:bands": [band]}


def _corners(polygon: Any) -> list[list[float]]:
    corners: list[list[float]] = shapely.get_coordinates(polygon).tolist()
    return corners


def _footprint(scene: Scene) -> Any:
    """Polygon in degrees of what was seen; at most a pixel too large, never too small."""
    area, passage = outline(scene.tile.geobox), scene.passage
    if passage.edge is not None:
        _, bottom, right, top = area.buffer(10_000).bounds
        x_bottom, x_top = passage.edge_at(np.array([bottom, top])) - 20
        swath = shapely.Polygon([(x_bottom, bottom), (right, bottom), (right, top), (x_top, top)])
        area = area.intersection(swath)
    to_degrees = Transformer.from_crs(MAP_CRS, "EPSG:4326", always_xy=True)
    there = shapely.transform(area, to_degrees.transform, interleaved=False)
    return shapely.transform(there, lambda degrees: degrees.round(7))
