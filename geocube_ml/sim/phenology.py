"""Classes, their seasonal curves, and how fields and pixels deviate from them.

A pure pixel's reflectance, given its class, is Gaussian:

    reflectance(day) = mean of the class(day)
                     + loadings of the class(day) x coefficients of the field
                     + texture loadings x texture of the pixel
                     + noise

with independent standard normal coefficients and textures.  It stays Gaussian for any average
over days, so the best possible classifier of a monthly series is known exactly (`best`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocube_ml.spec.labels import ClassScheme

Floats = NDArray[np.float64]
Days = NDArray[np.int64] | Floats

BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
"""Order of every band axis of this package: the 10 m bands first."""

N_FINE = 4
"""How many of `BANDS` have pixels of 10 m; the others have 20 m."""

SCHEME = ClassScheme(
    names=(
        "winter cereal", "rapeseed", "maize", "soybean",
        "grassland", "broadleaf forest", "vineyard", "fallow",
    ),
    colors=(
        "#e8c547", "#d1495b", "#c2703d", "#4a7fb5",
        "#7fb069", "#2f7d4f", "#9a5b9b", "#b8b8b0",
    ),
)  # fmt: skip
"""The classes, in the order of their codes."""

SHARES = (0.18, 0.10, 0.17, 0.12, 0.14, 0.12, 0.09, 0.08)
"""Share of the fields that are of each class."""

NOISE = 0.004
"""Standard deviation of the reflectance of one pixel of one scene: sensor and atmosphere."""

N_TEXTURE = 2
"""Patterns that vary within a field: bright soil, dense cover."""

_WAVELENGTH = (0.490, 0.560, 0.665, 0.842, 0.704, 0.740, 0.783, 0.865, 1.610, 2.190)  # um

_SPECTRA = {  # reflectance in the order of BANDS
    "soil": (0.080, 0.105, 0.130, 0.210, 0.150, 0.170, 0.185, 0.220, 0.280, 0.240),
    "green": (0.028, 0.060, 0.035, 0.410, 0.090, 0.300, 0.385, 0.430, 0.205, 0.105),
    "dry": (0.075, 0.110, 0.145, 0.265, 0.175, 0.215, 0.240, 0.280, 0.330, 0.250),
    "flower": (0.055, 0.145, 0.120, 0.430, 0.180, 0.335, 0.405, 0.450, 0.220, 0.125),
    "leaf": (0.025, 0.050, 0.030, 0.385, 0.080, 0.270, 0.350, 0.400, 0.185, 0.090),
    "bark": (0.055, 0.075, 0.085, 0.200, 0.105, 0.150, 0.175, 0.210, 0.225, 0.160),
}

_COVER: dict[str, dict[str, tuple[float, ...]]] = {
    # share of each cover in the middle of January, February, ...; the rest is soil
    "winter cereal": {
        "green": (0.33, 0.36, 0.58, 0.90, 0.95, 0.54, 0.12, 0.12, 0.16, 0.20, 0.26, 0.31),
        "dry": (0.05, 0.03, 0.00, 0.00, 0.00, 0.34, 0.62, 0.48, 0.34, 0.22, 0.10, 0.08),
    },
    "rapeseed": {
        "green": (0.46, 0.46, 0.60, 0.54, 0.55, 0.74, 0.28, 0.14, 0.28, 0.42, 0.46, 0.47),
        "flower": (0.00, 0.00, 0.00, 0.30, 0.38, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
        "dry": (0.06, 0.04, 0.02, 0.00, 0.00, 0.14, 0.50, 0.46, 0.28, 0.16, 0.08, 0.06),
    },
    "maize": {
        "green": (0.09, 0.09, 0.11, 0.12, 0.15, 0.50, 0.86, 0.84, 0.60, 0.18, 0.11, 0.09),
        "dry": (0.24, 0.22, 0.20, 0.20, 0.06, 0.00, 0.00, 0.05, 0.28, 0.36, 0.30, 0.26),
    },
    "soybean": {
        "green": (0.12, 0.12, 0.14, 0.15, 0.14, 0.32, 0.70, 0.90, 0.42, 0.14, 0.14, 0.12),
        "dry": (0.16, 0.14, 0.12, 0.08, 0.04, 0.00, 0.00, 0.00, 0.32, 0.26, 0.20, 0.18),
    },
    "grassland": {
        "green": (0.44, 0.45, 0.60, 0.74, 0.76, 0.66, 0.64, 0.64, 0.66, 0.64, 0.54, 0.46),
        "dry": (0.24, 0.23, 0.16, 0.06, 0.04, 0.16, 0.18, 0.18, 0.14, 0.12, 0.18, 0.22),
    },
    "broadleaf forest": {
        "leaf": (0.06, 0.06, 0.12, 0.46, 0.88, 0.92, 0.92, 0.90, 0.84, 0.56, 0.18, 0.08),
        "bark": (0.66, 0.66, 0.60, 0.38, 0.08, 0.05, 0.05, 0.06, 0.10, 0.30, 0.56, 0.65),
    },
    "vineyard": {
        "green": (0.28, 0.29, 0.34, 0.34, 0.42, 0.60, 0.68, 0.66, 0.58, 0.42, 0.32, 0.29),
        "dry": (0.18, 0.17, 0.15, 0.14, 0.10, 0.08, 0.10, 0.12, 0.15, 0.18, 0.18, 0.18),
    },
    "fallow": {
        "green": (0.28, 0.30, 0.44, 0.54, 0.60, 0.54, 0.38, 0.32, 0.34, 0.36, 0.34, 0.30),
        "dry": (0.20, 0.19, 0.14, 0.12, 0.14, 0.24, 0.36, 0.40, 0.34, 0.26, 0.20, 0.20),
    },
}

_SHIFT = 6.0  # days by which a field is early or late
_VIGOUR = 0.09  # of the difference to bare soil
_BRIGHTNESS = 0.09  # of the soil's reflectance
_MOISTURE = (0.0, 0.0, 0.001, 0.004, 0.002, 0.003, 0.003, 0.004, 0.014, 0.013)
_WEATHER = (0.009, 0.011, 0.015, 0.032, 0.017, 0.024, 0.029, 0.033, 0.030, 0.026)
_ALIKE = 0.2  # in the logarithm of the wavelength, over which bands deviate together
_TEXTURE = (
    (0.004, 0.005, 0.007, 0.006, 0.007, 0.007, 0.007, 0.006, 0.010, 0.009),
    (-0.001, -0.001, -0.002, 0.012, -0.001, 0.007, 0.010, 0.012, -0.003, -0.004),
)

_N_BUMP = 24  # over the year: weather and management differ from month to month
_N_STEADY = 4  # shift, vigour, brightness, moisture

N_COEF = _N_STEADY + _N_BUMP * len(BANDS)
"""Coefficients of one field."""


def mean(days: Days) -> Floats:
    """Mean reflectance of each class.

    Parameters
    ----------
    days : (date,) days of the year from 0, taken modulo 365

    Returns
    -------
    (class, date, band) reflectance, 0 to 1
    """
    soil = np.array(_SPECTRA["soil"])
    return np.stack([soil + _above_soil(name, days) for name in SCHEME.names])


def loadings(days: Days) -> Floats:
    """What one standard deviation of each coefficient of a field adds to its reflectance.

    Parameters
    ----------
    days : (date,) days of the year from 0, taken modulo 365

    Returns
    -------
    (class, coefficient, date, band) reflectance
    """
    weather = _weather(days)
    out = []
    for name in SCHEME.names:
        above = _above_soil(name, days)
        slope = (_above_soil(name, days + 15) - _above_soil(name, days - 15)) / 30
        bare = _bare(name, days)[:, None] * np.array(_SPECTRA["soil"])
        steady = [-_SHIFT * slope, _VIGOUR * above, _BRIGHTNESS * bare]
        moisture = np.broadcast_to(_MOISTURE, above.shape)
        out.append(np.concatenate([np.stack([*steady, moisture]), weather]))
    return np.stack(out)


def texture_loadings() -> Floats:
    """What one standard deviation of each texture adds: (texture, band) reflectance."""
    return np.array(_TEXTURE)


def _weather(days: Days) -> Floats:
    """Loadings (bump x band, date, band) of deviations that last some weeks.

    Bumps in time have unit variance at every day; bands are correlated as their wavelengths
    are near.
    """
    centre = 365 * np.arange(_N_BUMP) / _N_BUMP
    away = (days[None, :] - centre[:, None] + 182.5) % 365 - 182.5
    bump = np.exp(-0.5 * (away / (365 / _N_BUMP)) ** 2)  # (bump, date)
    bump /= np.sqrt((bump**2).sum(axis=0))
    log = np.log(_WAVELENGTH)
    alike = np.exp(-np.abs(log[:, None] - log[None, :]) / _ALIKE)
    root = np.linalg.cholesky(alike).T * _WEATHER  # (coefficient, band)
    product = bump[:, None, :, None] * root[None, :, None, :]
    return product.reshape(-1, len(days), len(BANDS))


def _above_soil(name: str, days: Days) -> Floats:
    """Reflectance (date, band) less that of bare soil."""
    soil = np.array(_SPECTRA["soil"])
    parts = [
        _of_year(cover, days)[:, None] * (np.array(_SPECTRA[kind]) - soil)
        for kind, cover in _COVER[name].items()
    ]
    return np.asarray(np.sum(parts, axis=0))


def _bare(name: str, days: Days) -> Floats:
    """Share of soil (date,)."""
    covered = np.sum([_of_year(cover, days) for cover in _COVER[name].values()], axis=0)
    return np.asarray(1 - covered)


def _of_year(monthly: tuple[float, ...], days: Days) -> Floats:
    """Values given for the middle of each month, on any day."""
    middle = 365 * (np.arange(12) + 0.5) / 12
    return np.interp(days, middle, monthly, period=365)
