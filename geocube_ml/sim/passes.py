"""When the satellites pass, what they see of the area, and how cloudy it is then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from geocube_ml.sim.chance import generator
from geocube_ml.sim.grids import outline, tiles
from geocube_ml.spec.simulate import SimSpec

_SLANT = 0.25  # metres east per metre north: a descending orbit
_ORBITS = ((22, 10, 13, 29), (122, 10, 3, 29))  # number, and time of day
_CHANGE = {2022: (1, 25)}  # month and day from which the baseline is 04.00; else mid-April
_SPREAD = 1.0  # of the cover over dates: small is all or nothing


@dataclass(frozen=True)
class Pass:
    """One passage over both tiles."""

    index: int
    """Position in the year's passes."""

    when: datetime
    """Of the observation, in UTC."""

    orbit: int
    """Relative orbit."""

    platform: str
    """``S2A`` or ``S2B``."""

    baseline: str
    """Processing baseline, such as ``04.00``."""

    cover: float
    """Share of the world under cloud or shadow."""

    edge: tuple[float, float] | None
    """Easting and northing of a point on the swath's western edge, if it crosses the area."""

    @property
    def day(self) -> int:
        """Day of the year, from 0."""
        return self.when.timetuple().tm_yday - 1

    @property
    def offset(self) -> int:
        """What is added to reflectance x 10 000 in the files."""
        return 1000 if self.baseline >= "04.00" else 0

    def sees(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """True where a point of the map lies inside the swath."""
        if self.edge is None:
            return np.ones(np.shape(x), bool)
        return x >= self.edge_at(y)

    def edge_at(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Easting of the swath's edge; minus infinity if it does not cross the area."""
        if self.edge is None:
            return np.full(np.shape(y), -np.inf)
        return self.edge[0] + _SLANT * (y - self.edge[1])


def passes(spec: SimSpec) -> list[Pass]:
    """All passes of the year, in order."""
    first = datetime(spec.year, 1, 1, tzinfo=UTC) + timedelta(days=spec.revisit_days // 2)
    n_pass = (364 - spec.revisit_days // 2) // spec.revisit_days + 1
    days = [first + timedelta(days=spec.revisit_days * i) for i in range(n_pass)]
    change = datetime(spec.year, *_CHANGE.get(spec.year, (4, 15)), tzinfo=UTC)
    covers = _covers(spec, np.array([day.timetuple().tm_yday for day in days]))
    left, bottom, right, top = outline(tiles(spec.size)[0].geobox).bounds
    rng = generator(spec.seed, "swath")
    out = []
    for i, day in enumerate(days):
        orbit, *time = _ORBITS[i % 2]
        share = 0.35 + 0.05 * rng.standard_normal()
        edge = (left + share * (right - left), (bottom + top) / 2)
        out.append(
            Pass(
                index=i,
                when=day.replace(hour=time[0], minute=time[1], second=time[2]),
                orbit=orbit,
                platform=("S2A", "S2B")[i // 2 % 2],
                baseline="04.00" if day >= change else "03.01",
                cover=float(covers[i]),
                edge=edge if i % 2 else None,
            )
        )
    return out


def _covers(spec: SimSpec, days: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of cloud and shadow of each pass: the wanted mean, few in between, winter cloudier.

    The quantiles of a beta distribution, so that the mean holds for every seed.
    """
    if spec.cloud_cover == 0:
        return np.zeros(len(days))
    winter = np.cos(2 * np.pi * (days - 15) / 365)
    order = np.argsort(0.5 * winter + generator(spec.seed, "cover").standard_normal(len(days)))
    level = (np.argsort(order) + 0.5) / len(days)
    shape = _SPREAD * spec.cloud_cover, _SPREAD * (1 - spec.cloud_cover)
    return np.asarray(beta.ppf(level, *shape))
