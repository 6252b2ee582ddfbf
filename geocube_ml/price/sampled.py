"""A few headers of an archive, by which the price of reading all of it is told."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from textwrap import shorten

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.scenes import Granule
from geocube_ml.errors import GeocubeError, MissingError
from geocube_ml.files import redacted
from geocube_ml.raster.header import read_header
from geocube_ml.raster.window import Header
from geocube_ml.spec.storage import StorageSpec

_ITEMS = 3  # are looked at, spread over time
_DEADLINE_S = 8.0  # a plan must not wait for a network that is not there
_AT_A_TIME = 8
_LONGEST = 200  # characters of a reason


@dataclass(frozen=True)
class Samples:
    """Headers of the assets of some items of a source."""

    days: tuple[str, ...] = ()
    """Of the items that were looked at."""
    headers: Mapping[str, tuple[Header, ...]] = field(default_factory=dict)
    """Asset to the header in each of these items; only of assets that could be opened."""
    opened: int = 0
    """Headers that were read."""
    trouble: str = ""
    """Why some could not be."""

    def near(self, day: str) -> int:
        """Position of the item whose day is nearest."""
        at = [np.datetime64(d, "D") if d else np.datetime64(0, "D") for d in self.days]
        here = np.datetime64(day, "D") if day else np.datetime64(0, "D")
        return int(np.argmin([abs((d - here).astype(int)) for d in at])) if at else 0


def sample(mosaic: Mosaic) -> Samples:
    """Read the headers of up to three items of a source.

    Where nothing can be opened it says why, and soon: each file is asked for once, and none after
    the first two that do not answer.

    Parameters
    ----------
    mosaic : Mosaic
    """
    every = [
        (scene.day, granule)
        for step in mosaic.steps
        for scene in mosaic.scenes.get(step.name, ())
        for granule in scene.granules
    ]
    if not every:
        return Samples(trouble="there are no items")
    some = [every[at] for at in _spread(len(every))]
    storage = patience(mosaic.storage)
    first = mosaic.source.assets[0]
    trouble = ""
    for granule in (some[0][1], some[-1][1]):
        found, why = _header(granule, first, storage)
        trouble = why
        if found is not None:
            break
    else:
        return Samples(trouble=trouble)
    asked = [(granule, asset) for asset in mosaic.source.assets for _, granule in some]
    with ThreadPoolExecutor(min(_AT_A_TIME, len(asked))) as pool:
        got = list(pool.map(lambda one: _header(one[0], one[1], storage), asked))
    headers: dict[str, tuple[Header, ...]] = {}
    for at, asset in enumerate(mosaic.source.assets):
        found_here = [header for header, _ in got[at * len(some) : (at + 1) * len(some)]]
        there = [header for header in found_here if header is not None]
        if there:  # one that is missing is as another of the same asset
            headers[asset] = tuple(header or there[0] for header in found_here)
    return Samples(
        tuple(day for day, _ in some),
        headers,
        sum(header is not None for header, _ in got),
        next((why for _, why in got if why), ""),
    )


def patience(storage: StorageSpec) -> StorageSpec:
    """How a plan asks stores: once, and not for long."""
    return storage.model_copy(
        update={"attempts": 1, "deadline_s": min(_DEADLINE_S, storage.deadline_s)}
    )


def _spread(n: int) -> list[int]:
    """Positions of the items that are looked at."""
    return sorted({int(at) for at in np.linspace(0, n - 1, min(n, _ITEMS)).round()})


def _header(granule: Granule, asset: str, storage: StorageSpec) -> tuple[Header | None, str]:
    """A header, or why there is none."""
    try:
        return read_header(granule.hrefs[asset], storage), ""
    except GeocubeError as error:
        if isinstance(error, MissingError):
            return None, f"asset {asset} of {granule.id} is not there"
        return None, f"asset {asset} of {granule.id} cannot be opened: {_short(error)}"


def _short(error: GeocubeError) -> str:
    """The beginning of a reason, on one line and without secrets."""
    return shorten(redacted(str(error)), _LONGEST, placeholder="...")
