"""The labels: polygons of some of the fields."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import MAP_CRS, map_geobox
from geocube_ml.sim.phenology import SCHEME
from geocube_ml.sim.scenes import landscape
from geocube_ml.spec.simulate import SimSpec


def labelled_fields(spec: SimSpec) -> NDArray[np.int64]:
    """Numbers of the labelled fields: a share of each class, of those inside the map area."""
    land = landscape(spec)
    inside = shapely.within(land.polygons, map_geobox(spec.size).extent.geom)
    rng = generator(spec.seed, "labels")
    chosen = []
    for code in SCHEME.codes:
        mine = rng.permutation(np.flatnonzero(inside & (land.classes == code)))
        # a class without a label would be no class to whoever reads them
        chosen.append(mine[: max(round(spec.label_share * len(mine)), 1)])
    return np.sort(np.concatenate(chosen))


def write_labels(spec: SimSpec, path: Path) -> None:
    """Write the layer ``fields`` with the columns ``field`` and ``class``, in degrees."""
    land, field = landscape(spec), labelled_fields(spec)
    names = [SCHEME.names[code] for code in land.classes[field]]
    table = gpd.GeoDataFrame(
        {"field": field, "class": names}, geometry=land.polygons[field], crs=MAP_CRS
    ).to_crs("EPSG:4326")
    for old in path.parent.glob(path.name + "*"):  # and the journal of an interrupted run
        old.unlink()
    # a GeoPackage states when it was written, but equal specs give equal files
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{spec.year}-12-31T00:00:00.000Z"})
    try:
        table.to_file(path, layer="fields", driver="GPKG", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
