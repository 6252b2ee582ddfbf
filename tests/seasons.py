"""Small cubes of fields with seasonal curves, drawn from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from geocube_ml.data.sources import described
from geocube_ml.grid import Grid
from geocube_ml.kernels.mask import has_data
from geocube_ml.models.fit import Fit
from geocube_ml.spec.grid import StoreSpec
from geocube_ml.spec.labels import UNKNOWN, ClassScheme, ClassSpec
from geocube_ml.store.cube import CubeStore, Variable, open_cube

NAMES = ("winter wheat", "maize", "grassland", "forest")
SHAPE = (37, 53)  # not a whole number of any chunks
LEFT, TOP = 399_970, 5_000_370  # a block of 100 m begins within the map


def scheme(names=NAMES):
    return ClassScheme.of(tuple(ClassSpec(name=name) for name in names))


def curves(codes, n_month, n_band, n_class):
    """(class, month, band) counts: each class has a month of its own in which it peaks."""
    month, band = np.arange(n_month), np.arange(n_band)
    peak = codes[:, None, None] * n_month / n_class
    season = np.exp(-((month[None, :, None] - peak) ** 2) / 4)
    return 1000 + 200 * codes[:, None, None] + (2500 + 10 * band) * season


def make_cube(
    shape=SHAPE, months=6, bands=3, names=NAMES, dtype="uint16", nodata=0, cloudy=0.2,
    alike=False, background=None, seed=0,
):  # fmt: skip
    """Fields of 5 x 4 pixels with an unknown edge, in memory.

    alike : all pixels of a field have one series, which does not depend on the class.
    background : code of the pixels between the fields, in place of unknown.
    """
    rng = np.random.default_rng(seed)
    rows, cols = shape
    row, col = np.mgrid[:rows, :cols]
    across = cols // 5 + 1
    field = row // 6 * across + col // 5
    inside = (row % 6 < 5) & (col % 5 < 4)
    n_field = field.max() + 1
    of_field = rng.permutation(np.arange(n_field) % len(names))
    outside = UNKNOWN if background is None else background
    label = np.where(inside, of_field[field], outside).astype("uint8")
    polygon = np.where(inside, field + 1, 0).astype("int32")

    if alike:
        series = rng.integers(500, 4000, (n_field, months, bands))[field.ravel()].astype(float)
    else:
        series = curves(of_field[field.ravel()], months, bands, len(names))
        series += rng.normal(0, 150, series.shape)
    missing = rng.random(series.shape[:2]) < cloudy
    missing[missing.all(axis=1), 0] = False
    counts = np.rint(series).astype(dtype)
    counts[missing] = nodata
    counts = np.moveaxis(counts.reshape(rows, cols, months, bands), (0, 1), (2, 3))

    grid = geobox(shape)
    flags = {**scheme(names).attrs(), "nodata": UNKNOWN, "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "s2": (("time", "s2_band", "y", "x"), np.ascontiguousarray(counts), {
                "scale_factor": 1e-4, "nodata": nodata, "units": "1",
                "grid_mapping": "spatial_ref"}),
            "label": (("y", "x"), label, flags),
            "polygon": (("y", "x"), polygon, {"nodata": 0, "grid_mapping": "spatial_ref"}),
        },
        coords={
            **xr_coords(grid),
            "time": pd.date_range("2023-10-01", periods=months, freq="MS").to_numpy(),
            "s2_band": np.array([f"b{k}" for k in range(bands)], object),
        },
    )  # fmt: skip


def add_radar(cube, seed=1):
    """The cube with a second series, `s1`: bands vv and vh in linear power, its own gaps."""
    rng = np.random.default_rng(seed)
    shape = (cube.sizes["time"], 2, *cube["label"].shape)
    code = np.where(cube["label"] == UNKNOWN, 0, cube["label"]).astype(int)
    power = (0.02 + 0.05 * code) * rng.gamma(20, 1 / 20, shape)
    power[np.broadcast_to(rng.random((shape[0], 1, *shape[2:])) < 0.2, shape)] = np.nan
    attrs = {"nodata": np.nan, "units": "1", "grid_mapping": "spatial_ref"}
    return cube.assign(
        s1=(("time", "s1_band", "y", "x"), power.astype("float32"), attrs)
    ).assign_coords(s1_band=np.array(["vv", "vh"], object))


def add_terrain(cube, seed=2):
    """The cube with a static source, `dem`: elevation and slope, int16 of a tenth, offset 500."""
    rng = np.random.default_rng(seed)
    code = np.where(cube["label"] == UNKNOWN, 0, cube["label"]).astype(int)
    metres = np.stack([520 + 40 * code, 3.0 + code]) + rng.normal(0, 2, (2, *code.shape))
    counts = np.rint((metres - 500) * 10).astype("int16")
    counts[:, rng.random(code.shape) < 0.05] = -9999
    attrs = {
        "nodata": -9999, "scale_factor": 0.1, "add_offset": 500.0, "units": "m",
        "grid_mapping": "spatial_ref",
    }  # fmt: skip
    return cube.assign(dem=(("dem_band", "y", "x"), counts, attrs)).assign_coords(
        dem_band=np.array(["elevation", "slope"], object)
    )


def make_still(shape=SHAPE, bands=200, seed=0):
    """A cube without a time axis: one hyperspectral image, `enmap`, and a DEM."""
    cube = make_cube(shape, months=1, bands=bands, cloudy=0, seed=seed)
    image = cube["s2"].isel(time=0, drop=True).rename(s2_band="enmap_band")
    # the curves peak in time alone; here each class has a band of its own at which it does
    code = np.where(cube["label"] == UNKNOWN, 0, cube["label"]).astype(int)
    peak = (np.arange(bands)[:, None, None] - (code + 1) * bands / 5) ** 2
    image = (image + (1500 * np.exp(-peak / bands)).astype("uint16")).assign_attrs(image.attrs)
    still = cube.drop_vars(["s2", "s2_band", "time"]).assign(enmap=image)
    return add_terrain(still)


def geobox(shape):
    rows, cols = shape
    bounds = (LEFT, TOP - 10 * rows, LEFT + 10 * cols, TOP)
    return GeoBox.from_bbox(bounds, "EPSG:32633", resolution=10)


def stored(cube, path, chunk=16):
    """The same cube, written as a run writes it and opened again."""
    grid = Grid(geobox(cube["label"].shape[-2:]), StoreSpec(chunk=chunk, shard=2 * chunk, tile=64))
    store = CubeStore(path, grid)
    fill = {name: variable.attrs["nodata"] for name, variable in cube.items()}
    names = list(cube.data_vars)
    store.create(
        [Variable(name, v.dims, v.shape, v.dtype, fill[name], v.attrs) for name, v in cube.items()],
        {str(name): coord for name, coord in cube.coords.items()},
        "0" * 16,
    )
    for tile in grid.tiles:
        store.write(tile, {n: cube[n].isel(y=tile.y, x=tile.x).values for n in names})
    return open_cube(path)


def fit_of(cube):
    """What a cube is like, for a model."""
    return Fit.model_validate(described(cube))


def labelled(cube):
    """(series, label, polygon, x, y) of each labelled pixel, found by a plain loop."""
    s2, nodata = cube["s2"].values, cube["s2"].attrs["nodata"]
    found = []
    for i, y in enumerate(cube["y"].values):
        for j, x in enumerate(cube["x"].values):
            code = int(cube["label"].values[i, j])
            if code != UNKNOWN and has_data(s2[:, :, i, j], nodata).any():
                found.append((s2[:, :, i, j], code, int(cube["polygon"].values[i, j]), x, y))
    return found


def make_series(n=240, months=6, bands=3, seed=0):
    """(n, month, band) physical values with missing months, and the class of each."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % len(NAMES)).astype("uint8")
    series = curves(label.astype(int), months, bands, len(NAMES))
    series = 1e-4 * (series + rng.normal(0, 250, series.shape))
    series[rng.random(series.shape[:2]) < 0.2] = np.nan
    return series.astype("float32"), label
