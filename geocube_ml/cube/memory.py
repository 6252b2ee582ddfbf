"""An upper bound of what a process that works on tiles holds."""

from __future__ import annotations

import numpy as np

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.reads import Busiest
from geocube_ml.cube.sampled import Samples

_BASE = 300_000_000


def worker_bytes(mosaic: Mosaic, most: Busiest, samples: Samples, threads: int) -> int:  # noqa: ARG001
    """Of the process itself, and of a tile in each of its threads."""
    size = np.dtype(mosaic.source.sensor.dtype).itemsize
    pixels = mosaic.grid.store.tile**2
    n_band = len(mosaic.source.chosen)
    written = min(mosaic.grid.store.steps, len(mosaic.steps)) * pixels * (n_band * size + 1)
    return _BASE + threads * (2 * written + pixels * most.granules * (3 * size + 3))
