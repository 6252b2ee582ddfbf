"""One scene: the counts of every band and the scene classification, as one tile sees a pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocube_ml.sim import phenology
from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import Tile, centres, coarse, tiles
from geocube_ml.sim.landscape import Landscape, make_landscape, mixing, texture_on
from geocube_ml.sim.passes import Pass
from geocube_ml.sim.phenology import BANDS, N_FINE, NOISE
from geocube_ml.sim.sky import VISIBLE, classify, make_sky, sky_cells, through
from geocube_ml.spec.simulate import SimSpec

NODATA = 0
"""Of every band and of the scene classification."""

_FINE, _COARSE = slice(0, N_FINE), slice(N_FINE, None)
_RED, _NIR = BANDS.index("B04"), BANDS.index("B08")


@dataclass(frozen=True)
class Scene:
    """What one tile holds of one pass."""

    tile: Tile
    passage: Pass
    assets: dict[str, NDArray[np.uint16] | NDArray[np.uint8]]
    """Counts of each band (uint16) and ``SCL`` (uint8), on their own grids."""

    seen: NDArray[np.bool_]
    """(y, x) of 20 m: inside the swath."""

    cloud: NDArray[np.bool_]
    """(y, x) of 20 m: under a cloud, whatever the classification says."""

    shadow: NDArray[np.bool_]
    """(y, x) of 20 m: in a shadow and not under a cloud."""

    @property
    def cloud_cover(self) -> float:
        """True share of cloud in what was seen, in percent."""
        return 100 * float(self.cloud.sum()) / max(int(self.seen.sum()), 1)


@dataclass(frozen=True)
class _View:
    """What is the same for all scenes of a tile."""

    fine: sparse.csr_array
    coarse: sparse.csr_array
    texture: NDArray[np.float32]
    cells: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def make_scene(spec: SimSpec, passage: Pass, tile_index: int) -> Scene:
    """Render one scene; the landscape and the view of the tile are kept for the next one."""
    tile, land, view = tiles(spec.size)[tile_index], landscape(spec), _view(spec, tile_index)
    day = np.array([passage.day])
    field = field_reflectance(land, phenology.mean(day), phenology.loadings(day))[:, 0]
    rng = generator(spec.seed, "noise", tile_index, passage.index)
    above = make_sky(spec, passage).at(view.cells)
    halves = above.each(_halved)
    seen = passage.sees(view.x, view.y)

    fine = _ground(view.fine, field[:, _FINE], view.texture, _FINE, rng)
    fine = through(above, fine, _FINE)
    rough = _ground(view.coarse, field[:, _COARSE], _halved(view.texture), _COARSE, rng)
    rough = through(halves, rough, _COARSE)

    assets: dict[str, NDArray[np.uint16] | NDArray[np.uint8]] = {}
    for band, reflectance in zip(BANDS, [*fine, *rough], strict=True):
        assets[band] = _counts(reflectance, seen, passage.offset)
    scl = classify(halves, _halved(fine[_RED]), _halved(fine[_NIR]))
    assets["SCL"] = np.where(seen, scl, np.uint8(NODATA))
    cloud = seen & (halves.opacity > VISIBLE)
    return Scene(tile, passage, assets, seen, cloud, seen & (halves.shade > VISIBLE) & ~cloud)


@lru_cache(maxsize=1)
def landscape(spec: SimSpec) -> Landscape:
    """The landscape of a spec, made once a process."""
    return make_landscape(spec)


def field_reflectance(
    land: Landscape, mean: phenology.Floats, loadings: phenology.Floats
) -> NDArray[np.float32]:
    """Reflectance (field, date, band) of pure pixels without texture and noise.

    `mean` is (class, date, band), `loadings` are (class, coefficient, date, band).
    """
    out = np.empty((len(land.classes), *mean.shape[1:]), np.float32)
    for code in phenology.SCHEME.codes:
        mine = land.classes == code
        # not a matrix product, whose rounding may depend on the number of threads
        deviation = np.einsum("fk,kdb->fdb", land.coefficients[mine], loadings[code])
        out[mine] = mean[code] + deviation
    return out


@lru_cache(maxsize=2)
def _view(spec: SimSpec, tile_index: int) -> _View:
    geobox = tiles(spec.size)[tile_index].geobox
    land = landscape(spec)
    fine = mixing(land, geobox)
    return _View(
        fine=fine,
        coarse=sparse.csr_array(_quarters((geobox.shape[0], geobox.shape[1])) @ fine),
        texture=texture_on(land, geobox),
        cells=sky_cells(land.world, *centres(geobox)),
        x=centres(coarse(geobox))[0],
        y=centres(coarse(geobox))[1],
    )


def _ground(
    mix: sparse.csr_array,
    field: NDArray[np.float32],
    texture: NDArray[np.float32],
    bands: slice,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Reflectance (band, y, x) without the sky."""
    shape = texture.shape[1:]
    weight = phenology.texture_loadings()[:, bands].astype(np.float32)
    ground: NDArray[np.float32] = (mix @ field).T.reshape(-1, *shape)
    ground = ground + np.einsum("tyx,tb->byx", texture, weight)
    return ground + np.float32(NOISE) * rng.standard_normal(ground.shape, np.float32)


def _counts(
    reflectance: NDArray[np.float32], seen: NDArray[np.bool_], offset: int
) -> NDArray[np.uint16]:
    counts = np.clip(np.rint(reflectance * 10_000) + offset, 1, 65_535).astype(np.uint16)
    if counts.shape != seen.shape:
        seen = seen.repeat(2, axis=0).repeat(2, axis=1)
    return np.where(seen, counts, np.uint16(NODATA))


def _halved(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels of (..., y, x)."""
    *free, height, width = fine.shape
    quads = fine.reshape(*free, height // 2, 2, width // 2, 2)
    return np.asarray(quads.mean(axis=(-3, -1)))


def _quarters(shape: tuple[int, int]) -> sparse.csr_array:
    """The matrix (pixel of 20 m, pixel of 10 m) that takes the mean of four."""
    width = shape[1]
    rows, cols = np.indices(shape)
    to = (rows // 2 * (width // 2) + cols // 2).ravel()
    weight = np.full(to.size, 0.25, np.float32)
    return sparse.csr_array((weight, (to, np.arange(to.size))), (to.size // 4, to.size))
