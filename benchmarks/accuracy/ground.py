"""Simulated ground whose true classes are known: monthly cubes in memory, without files.

The landscape, its seasons, its clouds and the scene classification are those of the simulated
archive; a month is the median of what the classification calls clear.  Two things differ: all bands
have pixels of 10 m, and the texture within fields is of the class (rough in forests and vineyards,
smooth in cereals), so that what lies around a pixel says something that its own series does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from geocube_ml.grid import make_grid
from geocube_ml.sim import phenology
from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import MAP_CRS, centres, map_geobox
from geocube_ml.sim.landscape import make_landscape, mixing, texture_on
from geocube_ml.sim.passes import passes
from geocube_ml.sim.phenology import BANDS, NOISE, SCHEME
from geocube_ml.sim.scenes import field_reflectance
from geocube_ml.sim.sky import classify, make_sky, sky_cells, through
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.store.coords import cube_coords

CLEAR = (4, 5)
"""Codes of the scene classification that are taken."""

_RED, _NIR = BANDS.index("B04"), BANDS.index("B08")
_ROUGH = np.float32([0.6, 0.8, 1.0, 1.0, 0.8, 2.0, 2.5, 1.5])
"""How strong the texture is within the fields of each class; 1 in the simulated archive."""


@dataclass(frozen=True)
class Place:
    """A simulated area and year.

    Parameters
    ----------
    size : int
        As of `SimSpec`; the map is about 1.7 by 0.9 times as large.
    seed : int
        Another is another landscape with other weather.
    cloud_cover : float
        Mean share of a scene under cloud or shadow.
    days_late : float
        By which the season of every class is late.
    gain, offset : float
        What the sensor makes of reflectance: gain x reflectance + offset.
    """

    size: int
    seed: int = 0
    cloud_cover: float = 0.5
    days_late: float = 0.0
    gain: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Ground:
    """A cube, and what is true."""

    cube: xr.Dataset
    """``s2`` (time, s2_band, y, x) counts, and of every field ``label`` and ``polygon`` (y, x)."""
    truth: NDArray[np.uint8]
    """(y, x) the class that holds most of a pixel."""
    field: NDArray[np.int64]
    """(y, x) number of the field that holds most of it."""


@lru_cache(maxsize=4)
def make_ground(place: Place) -> Ground:
    """The ground of a place; labels reach to a pixel within the edge of their field."""
    spec = SimSpec(folder="unused", seed=place.seed, size=place.size, cloud_cover=place.cloud_cover)
    land, box = make_landscape(spec), map_geobox(spec.size)
    mix = mixing(land, box)
    share = np.asarray(mix.max(axis=1).todense()).reshape(box.shape)
    field = np.asarray(mix.argmax(axis=1)).reshape(box.shape)
    truth = land.classes[field]
    texture = texture_on(land, box) * (mix @ _ROUGH[land.classes]).reshape(box.shape)
    texture = np.einsum("tyx,tb->byx", texture, phenology.texture_loadings().astype(np.float32))
    cells = sky_cells(land.world, *centres(box))
    months: dict[int, list[NDArray[np.float32]]] = {month: [] for month in range(1, 13)}
    for passage in passes(spec):
        day = np.array([passage.day - place.days_late])
        pure = field_reflectance(land, phenology.mean(day), phenology.loadings(day))[:, 0]
        noise = generator(spec.seed, "benchmark", passage.index)
        seen = (mix @ pure).T.reshape(-1, *box.shape) + texture
        seen += np.float32(NOISE) * noise.standard_normal(seen.shape, np.float32)
        sky = make_sky(spec, passage).at(cells)
        seen = through(sky, seen, slice(None))
        clear = np.isin(classify(sky, seen[_RED], seen[_NIR]), CLEAR)
        months[passage.when.month].append(np.where(clear, seen, np.float32(np.nan)))
    series = np.stack([_median(months[month]) for month in sorted(months)])
    counts = np.rint(1e4 * (place.gain * series + place.offset)).clip(1, 65_535)
    inner = _inside(field) & (share > 0.999)
    return Ground(
        _cube(
            box, np.where(np.isnan(counts), 0, counts).astype(np.uint16),
            np.where(inner, truth, UNKNOWN).astype(np.uint8),
            np.where(inner, field + 1, 0).astype(np.int32),
        ),
        truth, field,
    )  # fmt: skip


def _median(seen: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Of what was seen in a month, NaN where nothing was."""
    stack = np.sort(np.stack(seen), axis=0)  # NaN last
    count = (~np.isnan(stack)).sum(axis=0, keepdims=True)
    low = np.take_along_axis(stack, np.maximum(count - 1, 0) // 2, axis=0)
    high = np.take_along_axis(stack, np.maximum(count, 1) // 2, axis=0)
    return np.asarray((low + np.where(count > 1, high, low))[0] / 2, np.float32)


def _inside(field: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels all of whose neighbours are of the same field."""
    same = np.zeros(field.shape, bool)
    for number in np.unique(field):
        rows, cols = np.nonzero(field == number)
        window = np.s_[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        same[window] |= binary_erosion(field[window] == number, np.ones((3, 3)))
    return same


def _cube(
    box: object, counts: NDArray[np.uint16], label: NDArray[np.uint8], polygon: NDArray[np.int32]
) -> xr.Dataset:
    bounds = box.boundingbox  # type: ignore[attr-defined]
    grid = make_grid(
        GridSpec(crs=MAP_CRS, resolution=10, bounds=tuple(bounds)),
        StoreSpec(chunk=64, shard=64, tile=64),
    )
    months = PeriodSpec(start="2022-01", end="2022-12").steps
    attrs = {"nodata": 0, "scale_factor": 1e-4, "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "s2": (("time", "s2_band", "y", "x"), counts, attrs),
            "label": (("y", "x"), label, {**SCHEME.attrs(), "nodata": UNKNOWN}),
            "polygon": (("y", "x"), polygon, {"nodata": 0}),
        },
        coords=cube_coords(grid, months, {"s2": list(BANDS)}),
    )
