"""A small cube as it is stored: two series, a static source, labels and a map."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geocube_ml.store.cube import open_cube

SHAPE = (8, 12)
MONTHS = np.arange("2022-01", "2022-08", dtype="M8[M]").astype("M8[ns]")  # a start more
N = len(MONTHS) - 1
BANDS = {"s2": ["red", "nir", "swir16"], "s1": ["vv", "vh"], "dem": ["elevation", "slope"]}
REFLECTANCE = {"long_name": "Sentinel-2", "units": "1", "scale_factor": 1e-4, "add_offset": 0.0}
CHUNKS = {"time": 3, "s2_band": 1, "s1_band": 1, "dem_band": 1, "y": 4, "x": 6}


def stored_cube(path: Path) -> xr.Dataset:
    """The small cube as `open_cube` reads it."""
    with warnings.catch_warnings():
        # that other programs may not know where the metadata stand together
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        small_cube().chunk(CHUNKS).to_zarr(path, zarr_format=3, consolidated=True)
    return open_cube(path)


def small_cube(seed: int = 0) -> xr.Dataset:
    """Values as they are stored, and a third of them missing; in memory."""
    rng = np.random.default_rng(seed)
    geobox = GeoBox(SHAPE, Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    coords = {str(name): coord for name, coord in xr_coords(geobox).items()}
    coords["time"] = xr.DataArray(MONTHS[:-1], dims="time", attrs={"bounds": "time_bnds"})
    coords["time_bnds"] = xr.DataArray(
        np.stack([MONTHS[:-1], MONTHS[1:]], axis=1), dims=("time", "nv")
    )
    for source, bands in BANDS.items():
        coords[f"{source}_band"] = xr.DataArray(np.array(bands, object), dims=f"{source}_band")

    grid = {"grid_mapping": "spatial_ref"}
    s2 = rng.integers(1, 9000, (N, 3, *SHAPE)).astype("uint16")
    s2[rng.random(s2.shape) < 0.3] = 0
    s2[:, :, 0, 0] = 0  # never observed
    s1 = rng.gamma(2, 0.05, (N, 2, *SHAPE)).astype("float32")
    s1[rng.random(s1.shape) < 0.3] = np.nan
    dem = rng.normal(300, 50, (2, *SHAPE)).astype("float32")
    dem[:, 1, 1] = -9999
    return xr.Dataset(
        {
            "s2": (("time", "s2_band", "y", "x"), s2, {**REFLECTANCE, "nodata": 0, **grid}),
            "s2_clear": (("time", "y", "x"), (s2[:, 0] > 0).astype("uint8"), grid),
            "s1": (
                ("time", "s1_band", "y", "x"),
                s1,
                {"long_name": "Sentinel-1", "units": "1", "nodata": np.nan, **grid},
            ),
            "dem": (("dem_band", "y", "x"), dem, {"units": "m", "nodata": -9999.0, **grid}),
            "label": (
                ("y", "x"),
                rng.integers(0, 3, SHAPE).astype("uint8"),
                {"flag_values": [0, 1, 2], "nodata": 255, **grid},
            ),
            "polygon": (("y", "x"), rng.integers(0, 9, SHAPE, "int32"), {"nodata": 0, **grid}),
            "prob": (
                ("class_name", "y", "x"),
                rng.choice([0, 100, 250, 255], (2, *SHAPE)).astype("uint8"),
                {"scale_factor": 1 / 250, "add_offset": 0.0, "nodata": 255, **grid},
            ),
        },
        coords=coords,
        attrs={"title": "small"},
    )
