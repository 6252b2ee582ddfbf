"""The fields: convex parcels with a class each, what each pixel holds of them, and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import rasterize
from scipy import sparse
from scipy.ndimage import gaussian_filter, map_coordinates

from geocube_ml.sim import phenology
from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import MAP_CRS, centres, pixel_of, strip, world_geobox
from geocube_ml.spec.simulate import SimSpec

SUB = 3
"""Sub-pixels along the edge of a pixel of 10 m; odd, so that two fields never tie."""

_AREA = (0.7, 6.0)  # ha; a parcel larger than a draw between these is divided
_TYPICAL, _SPREAD = 2.2, 0.6  # ha, and in its logarithm
_CLUMP = 1.5  # pixels, size of the texture
_ROWS = 256  # of pixels that are rasterized at a time


@dataclass(frozen=True)
class Landscape:
    """Fields that cover the world, one number each."""

    polygons: NDArray[np.object_]
    """(field,) shapely polygons in the map's CRS."""

    classes: NDArray[np.uint8]
    """(field,) codes."""

    coefficients: NDArray[np.float32]
    """(field, coefficient) standard normal: how a field deviates from its class."""

    texture: NDArray[np.float32]
    """(texture, y, x) standard normal on the world's grid."""

    world: GeoBox
    """The world's grid of 10 m."""


def make_landscape(spec: SimSpec) -> Landscape:
    """The landscape of a spec."""
    world = world_geobox(spec.size)
    rng = generator(spec.seed, "fields")
    polygons = _divide(np.array(world.extent.geom.exterior.coords)[:-1], rng)
    # exact shares, so that a small archive has every class
    share = np.cumsum((0, *phenology.SHARES))
    steps = np.diff(np.round(share / share[-1] * len(polygons)).astype(int))
    classes = rng.permutation(np.repeat(np.arange(len(steps), dtype=np.uint8), steps))
    coefficients = rng.standard_normal((len(polygons), phenology.N_COEF), np.float32)
    return Landscape(polygons, classes, coefficients, _texture(spec, world), world)


def mixing(landscape: Landscape, geobox: GeoBox) -> sparse.csr_array:
    """Share of each field in each pixel.

    Parameters
    ----------
    landscape : Landscape
    geobox : GeoBox
        Any grid of 10 m inside the world, in any CRS.

    Returns
    -------
    (pixel, field) sparse float32 whose rows sum to 1; pixels in row-major order
    """
    polygons = landscape.polygons
    if geobox.crs != MAP_CRS:
        there = Transformer.from_crs(MAP_CRS, geobox.crs, always_xy=True).transform
        polygons = shapely.transform(polygons, there, interleaved=False)
    # neighbours reach over each other by a centimetre, or a sub-pixel might lie in none
    polygons = shapely.buffer(polygons, 0.01, join_style="mitre")
    tree = shapely.STRtree(polygons)
    parts = []
    height, width = geobox.shape
    for top in range(0, height, _ROWS):
        part = strip(geobox, slice(top, min(top + _ROWS, height)))
        near = np.sort(tree.query(shapely.box(*part.boundingbox)))
        step = part.resolution.x / SUB
        field = rasterize(
            zip(polygons[near], near, strict=True),
            out_shape=(part.shape[0] * SUB, width * SUB),
            transform=Affine(step, 0, part.transform.c, 0, -step, part.transform.f),
            fill=-1,
            dtype="int32",
        )
        parts.append(_shares(field, len(polygons)))
    return sparse.vstack(parts, format="csr")


def texture_on(landscape: Landscape, geobox: GeoBox) -> NDArray[np.float32]:
    """The texture (texture, y, x) on another grid of 10 m inside the world."""
    at = pixel_of(landscape.world, *centres(geobox))
    sampled = [map_coordinates(part, at, order=1, mode="nearest") for part in landscape.texture]
    return np.stack(sampled)


def _shares(field: NDArray[np.int32], n_field: int) -> sparse.csr_array:
    height, width = field.shape[0] // SUB, field.shape[1] // SUB
    inside = field.reshape(height, SUB, width, SUB).swapaxes(1, 2).reshape(height * width, -1)
    pixel = np.repeat(np.arange(len(inside), dtype=np.int32), SUB**2)
    weight = np.full(inside.size, 1 / SUB**2, np.float32)
    shares = sparse.coo_array((weight, (pixel, inside.ravel())), (len(inside), n_field))
    return shares.tocsr()


def _texture(spec: SimSpec, world: GeoBox) -> NDArray[np.float32]:
    point = np.zeros((25, 25))
    point[12, 12] = 1
    gain = np.sqrt((gaussian_filter(point, _CLUMP) ** 2).sum())
    rng = generator(spec.seed, "texture")
    white = rng.standard_normal((phenology.N_TEXTURE, *world.shape), np.float32)
    smooth = [gaussian_filter(part, _CLUMP, mode="wrap") / np.float32(gain) for part in white]
    return np.stack(smooth)


def _divide(corners: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.object_]:
    """Cut a convex polygon in two, again and again, until the parts are fields."""
    todo, done = [corners], []
    while todo:
        part = todo.pop()
        limit = np.clip(_TYPICAL * np.exp(_SPREAD * rng.standard_normal()), *_AREA)
        if _area(part) <= limit * 1e4:
            done.append(part)
        else:
            todo.extend(_halves(part, rng))
    return np.array([shapely.Polygon(part) for part in done], dtype=object)


def _halves(
    part: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two parts of a convex polygon, cut across its longer direction at a slight angle."""
    middle = part - part.mean(axis=0)
    along = np.linalg.eigh(middle.T @ middle)[1][:, 1]
    turn = np.deg2rad(rng.normal(0, 9))
    normal = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ along
    across = part @ normal
    low, high = across.min(), across.max()
    side = across - (low + rng.uniform(0.36, 0.64) * (high - low))
    after = np.roll(side, -1)
    meets = (side < 0) != (after < 0)
    share = (side / np.where(meets, side - after, 1))[:, None]
    cut = part + share * (np.roll(part, -1, axis=0) - part)  # on the edge that follows a corner
    below: list[NDArray[np.float64]] = []
    above: list[NDArray[np.float64]] = []
    for i in range(len(part)):
        (below if side[i] < 0 else above).append(part[i])
        if meets[i]:
            below.append(cut[i])
            above.append(cut[i])
    return np.array(below), np.array(above)


def _area(part: NDArray[np.float64]) -> float:
    x, y = (part - part[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
