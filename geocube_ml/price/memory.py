"""An upper bound of what a process that works on tiles holds.

It follows what the code keeps at a time, array by array; the constants were measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import numpy as np
from odc.geo.crs import CRS

from geocube_ml.cube.compose import by_band
from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.price.overviews import OverviewPrice
from geocube_ml.price.reads import Busiest, Read, reads_of
from geocube_ml.price.sampled import Samples
from geocube_ml.raster.window import step_of
from geocube_ml.spec.composite import BestSpec

_BASE = 510_000_000
"""Bytes of a process with all libraries, before its first tile; 50 MB of them where loops are
compiled that no process before it compiled."""
_LOOSE = 16_000_000
"""Bytes of a thread: blocks that kernels work on, and what the allocator does not give back."""
_WRITING = 2
"""Copies of a shard that is written: as chunks, and compressed; a tile's follow each other."""
_MASKING = 24
"""Bytes a pixel of a mask that is read: its values, of up to 8 bytes, and some of 1."""
_DISTANCE = 24
"""Bytes a pixel of a distance to clouds that is made."""
_MOVED = 120
"""Bytes a pixel of a raster in another CRS: places, weights, sums."""
_JOINED = 3
"""Copies of the pixels of tiles that continue each other: together, and to be averaged by GDAL."""
_PLACES = 8
"""Windows whose places in another CRS are kept, of 16 bytes a pixel."""
_BLOCK = 512 * 512  # pixels; where no header could be read


def worker_bytes(mosaic: Mosaic, most: Busiest, samples: Samples, threads: int) -> int:
    """Of the process itself, and of a tile in each of its threads.

    Parameters
    ----------
    mosaic : Mosaic
    most : Busiest
        What a step of a tile sees at most.
    samples : Samples
        For the sizes of blocks.
    threads : int
        That work on tiles in the process.
    """
    sensor, grid, rim = mosaic.source.sensor, mosaic.grid, mosaic.rim
    reads = reads_of(mosaic)
    masks = [read for read in reads if read.mask]
    bands = [read for read in reads if not read.mask]
    rows, cols = (min(grid.store.tile, edge) for edge in grid.shape)
    edge = bands[0].rim
    wide, widest = (rows + 2 * edge) * (cols + 2 * edge), (rows + 2 * rim) * (cols + 2 * rim)
    size, chosen = np.dtype(sensor.dtype).itemsize, len(mosaic.source.chosen)
    steps = min(len(mosaic.steps), 1 if sensor.static else grid.store.steps)
    pixel = steps * (chosen * size + mosaic.counted)
    out = rows * cols * pixel
    shard = min(rows, grid.store.shard) * min(cols, grid.store.shard)
    moved = _moved(mosaic, samples)

    looks = isinstance(mosaic.composite, BestSpec) and bool(mosaic.composite.cloud)
    # of each granule what is clear; of each scene too, and how far from clouds
    seen = most.granules * widest + most.scenes * wide * (5 if looks else 1)
    look = widest * (_MASKING * bool(masks) + _DISTANCE * looks)
    unit = max(
        out + seen + look + _read(masks, samples, widest, 1, moved),
        out
        + seen
        + _composing(mosaic, bands, most.scenes, wide, samples, moved)
        + _joining(mosaic, bands, most.granules, wide, samples),
        out + _WRITING * shard * pixel,
    )
    kept = _PLACES * 16 * widest if moved else 0
    return _BASE + kept + threads * (unit + _LOOSE)


def overview_bytes(overviews: OverviewPrice, threads: int) -> int:
    """Of the process itself, and of tiles of overviews in its threads; 0 without any."""
    held = overviews.worker_bytes + _LOOSE
    return _BASE + min(threads, max(overviews.levels)) * held if overviews.tasks else 0


def _composing(
    mosaic: Mosaic, bands: Iterable[Read], scenes: int, pixels: int, samples: Samples, moved: bool
) -> int:
    """Bytes while the bands of a step are read and composited."""
    sensor = mosaic.source.sensor
    size = np.dtype(sensor.dtype).itemsize
    widths = {read: len(read.bands) for read in bands}
    every = sum(widths.values())
    derived = any(band.derive for band in mosaic.source.chosen.values())
    made = (pixels * every * size + 48 * pixels) if derived else 0
    power = 2 if sensor.power == "decibel" else 0  # copies in linear power
    # a scene is fused of granules: what was found, what was found before, and where they count
    group = max(
        scenes * n * pixels * (size + 1) + 2 * n * pixels * (size + 1)
        + _read([read], samples, pixels, size, moved)
        for read, n in widths.items()
    )  # fmt: skip
    most = max(widths.values())
    if by_band(mosaic.composite):
        composite = most * pixels * size * (1 + power * (scenes + 1))
        return made + scenes * pixels + max(group, scenes * most * pixels * (size + 1) + composite)
    planes = scenes * pixels * (every * size + 1)
    clear = scenes * most * pixels
    composite = every * pixels * size * (2 + power * scenes) + 12 * scenes * pixels
    return made + planes + max(group, clear + composite + 2 * _LOOSE)


def _read(reads: Iterable[Read], samples: Samples, pixels: int, size: int, moved: bool) -> int:
    """Bytes while one asset is read: its blocks, its window, and what becomes of that."""
    most = 0
    for read in reads:
        headers = samples.headers.get(read.asset, ())
        block = max((header.bytes_of_block for header in headers), default=_BLOCK * size)
        window = len(read.bands) * pixels * size
        most = max(most, 2 * block + 2 * window + (_MOVED if moved else 8) * pixels)
    return most


def _joining(
    mosaic: Mosaic, bands: Iterable[Read], granules: int, pixels: int, samples: Samples
) -> int:
    """Bytes of tiles of a static source that continue each other, as one array and what is made
    of it, and of what each gives to the window.
    """
    sensor, geobox = mosaic.source.sensor, mosaic.grid.geobox
    if not sensor.static or granules < 2:
        return 0
    most = 0
    for read in bands:
        steps = [
            step_of(header.crs, header.transform, (header.height, header.width), geobox)
            for header in samples.headers.get(read.asset, ())
            if header.crs
        ]
        source = max((down * across for down, across in steps), default=1.0) * pixels
        size = len(read.bands) * np.dtype(sensor.dtype).itemsize
        most = max(most, ceil(_JOINED * source * size) + (granules - 1) * pixels * size)
    return most


def _moved(mosaic: Mosaic, samples: Samples) -> bool:
    """Whether some items are in another CRS than the grid, as they or sampled headers say."""
    crs = mosaic.grid.geobox.crs
    grids = {id(g.grids): g.grids for g in mosaic.granules}.values()
    if any(box.crs != crs for stated in grids for box in stated.values()):
        return True
    said = {header.crs for headers in samples.headers.values() for header in headers}
    return any(CRS(other) != crs for other in said if other)  # not every item states its grid
