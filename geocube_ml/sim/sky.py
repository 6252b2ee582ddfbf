"""Clouds, their shadows, and what the scene classification (SCL) makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import map_coordinates

from geocube_ml.sim.chance import generator, rough_surface
from geocube_ml.sim.grids import pixel_of, world_geobox
from geocube_ml.sim.passes import Pass
from geocube_ml.spec.simulate import SimSpec

VISIBLE = 0.05
"""Opacity, or depth of a shadow, from which a pixel is no longer clear."""

CELL = 4
"""Pixels of 10 m along the edge of one cell of the sky."""

# reflectance of a thick cloud, and share of the light that a full shadow leaves, by band
_CLOUD = (0.70, 0.69, 0.70, 0.74, 0.71, 0.72, 0.73, 0.74, 0.52, 0.42)
_SHADED = (0.45, 0.40, 0.36, 0.30, 0.35, 0.33, 0.32, 0.30, 0.26, 0.24)

_FALSE = 2.2  # standard deviations at which ground is taken for cloud or shadow


@dataclass(frozen=True)
class Sky:
    """The sky over a grid at one pass: (y, x) float32 each."""

    opacity: NDArray[np.float32]
    """Of the clouds, 0 to 1."""

    thin: NDArray[np.float32]
    """The part of the opacity that is thin high cloud."""

    shade: NDArray[np.float32]
    """Depth of the shadow, 0 to 1."""

    doubt: NDArray[np.float32]
    """Standard normal; errors of the scene classification follow it."""

    @property
    def spoiled(self) -> NDArray[np.bool_]:
        """True under cloud or shadow."""
        return (self.opacity > VISIBLE) | (self.shade > VISIBLE)

    def each(self, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Sky:
        """The sky with every layer changed in the same way, such as resampled."""
        return Sky(change(self.opacity), change(self.thin), change(self.shade), change(self.doubt))

    def at(self, cells: NDArray[np.float64]) -> Sky:
        """The sky at other places: (2, y, x) rows and columns of its cells."""
        return self.each(lambda layer: map_coordinates(layer, cells, order=1, mode="nearest"))


def sky_cells(world: GeoBox, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and columns (2, y, x) in the sky of points of the map."""
    return (pixel_of(world, x, y) + 0.5) / CELL - 0.5


def make_sky(spec: SimSpec, passage: Pass) -> Sky:
    """The sky over the world, with the pass's share of cloud and shadow."""
    height, width = world_geobox(spec.size).shape
    shape = (-(-height // CELL), -(-width // CELL))
    rng = generator(spec.seed, "sky", passage.index)
    thick = rough_surface(rng, shape, scale=45, decay=2.4)
    thin = rough_surface(rng, shape, scale=80, decay=2.6)
    doubt = rough_surface(rng, shape, scale=4, decay=2.0).astype(np.float32)
    shift = _shadow_shift(passage, rng)

    def skies(level: float) -> Sky:
        dense = 1 - np.exp(-3 * np.clip(thick - level, 0, None))
        veil = 0.35 * np.clip(thin - level - 0.8, 0, 1)
        opacity = 1 - (1 - dense) * (1 - veil)
        # the sky continues over its edges, and so do its shadows
        shade = np.roll(dense, shift, axis=(0, 1)) * (1 - opacity)
        thin_alone = veil * (1 - dense)
        return Sky(
            opacity.astype(np.float32),
            thin_alone.astype(np.float32),
            shade.astype(np.float32),
            doubt,
        )

    low, high = -8.0, 8.0
    for _ in range(14):
        level = (low + high) / 2
        if skies(level).spoiled.mean() > passage.cover:
            low = level
        else:
            high = level
    return skies(high)


def through(sky: Sky, reflectance: NDArray[np.float32], bands: slice) -> NDArray[np.float32]:
    """What is seen of (band, y, x) reflectance below the sky; `bands` of the package's order."""
    cloud = np.array(_CLOUD[bands], np.float32)[:, None, None]
    loss = 1 - np.array(_SHADED[bands], np.float32)[:, None, None]
    lit = reflectance * (1 - loss * sky.shade)
    seen: NDArray[np.float32] = lit + sky.opacity * (cloud - lit)
    return seen


def classify(sky: Sky, red: NDArray[np.float32], nir: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The scene classification: right about most clouds, blind to thin ones and to edges.

    Parameters
    ----------
    sky : Sky
        On the grid of the classification.
    red, nir : (y, x) float32
        Reflectance as seen.

    Returns
    -------
    (y, x) uint8 SCL codes: 3 shadow, 4 vegetation, 5 bare, 7 unsure, 8 and 9 cloud, 10 cirrus
    """
    seems = sky.opacity + np.float32(0.06) * sky.doubt
    dark = sky.shade + np.float32(0.15) * sky.doubt
    veiled = sky.thin > 0.6 * sky.opacity
    rules = [
        (sky.opacity > VISIBLE) & veiled & (seems > 0.22),
        (sky.opacity > VISIBLE) & (seems > 0.65),
        (sky.opacity > VISIBLE) & (seems > 0.28),
        (sky.shade > VISIBLE) & (dark > 0.32),
        ~sky.spoiled & (sky.doubt > _FALSE),
        ~sky.spoiled & (sky.doubt < -_FALSE),
        (sky.opacity > VISIBLE) & (seems > 0.18),
        nir - red > 0.4 * (nir + red),
    ]
    codes = [10, 9, 8, 3, 8, 3, 7, 4]
    return np.select(rules, codes, default=5).astype(np.uint8)


def _shadow_shift(passage: Pass, rng: np.random.Generator) -> tuple[int, int]:
    """Rows and columns of the sky from a cloud to its shadow, away from a south-eastern sun."""
    elevation = np.deg2rad(41 + 22 * np.cos(2 * np.pi * (passage.day - 172) / 365))
    length = rng.uniform(250, 700) / np.tan(elevation) / (10 * CELL)
    azimuth = np.deg2rad(160)
    return -round(-length * np.cos(azimuth)), round(-length * np.sin(azimuth))
