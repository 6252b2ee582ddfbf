"""Random numbers and random surfaces that depend on nothing but the seed and their purpose."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A generator of its own for each purpose and index, such as tile and date.

    Examples
    --------
    >>> generator(0, "noise", 1).random() == generator(0, "noise", 1).random()
    True
    >>> generator(0, "noise", 1).random() == generator(0, "noise", 2).random()
    False
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *index])


def rough_surface(
    rng: np.random.Generator, shape: tuple[int, int], *, scale: float, decay: float
) -> NDArray[np.float64]:
    """A random surface with mean 0 and variance 1 that continues over its edges.

    Parameters
    ----------
    rng : Generator
    shape : (y, x) in cells
    scale : float
        Size of its largest features, in cells.
    decay : float
        How fast the amplitude falls with the spatial frequency; 1 is rugged, 2 is smooth.

    Returns
    -------
    (y, x) float
    """
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None, :]
    amplitude = (fy**2 + fx**2 + (1 / scale) ** 2) ** (-decay / 2)
    surface = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * amplitude, shape)
    surface -= surface.mean()
    return np.asarray(surface / surface.std())
