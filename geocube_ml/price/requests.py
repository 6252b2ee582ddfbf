"""What GDAL asks a store for when it reads rasters there, as it was seen at a proxy.

A raster that is opened costs a request for its first chunk, which holds the header of a COG; over
HTTP another one for its size.  Blocks that lie one behind the other are one request, cut where it
is long.  If that is all that a window needs, whole chunks are asked for; several runs are asked for
byte by byte, and not kept.  Chunks are kept until so many others came: a tile of many rasters finds
none of those of its neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from geocube_ml.cube.mosaic import Mosaic
from geocube_ml.cube.radiometry import LOOK_EDGE, looked_at
from geocube_ml.price.reads import Read, Taken, mean_block
from geocube_ml.price.sampled import Samples

_CHUNK = 16_384
"""Bytes."""
_KEPT = 1000
"""Chunks: GDAL's `CPL_VSIL_CURL_CACHE_SIZE` of 16 MB."""
_LONGEST = 614 * _CHUNK
"""Bytes of one request."""


@dataclass(frozen=True)
class Fetched:
    """Requests to stores, and the bytes of their answers."""

    requests: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Fetched) -> Fetched:
        """Of both."""
        return Fetched(self.requests + other.requests, self.bytes + other.bytes)


def fetched(reads: Mapping[Read, Taken], items: int, tasks: int, *, http: bool) -> Fetched:
    """What the reads of a source take from a store.

    Parameters
    ----------
    reads : mapping of Read to Taken
    items : int
        Whose rasters are read.
    tasks : int
        In which they are.
    http : bool
        Whether it is reached by plain HTTP, and not by S3 or Azure.
    """
    total = Fetched()
    chunks = sum(t.windows + t.singles * (_mean(t) / _CHUNK + 1) for t in reads.values())
    assets = len({read.asset for read in reads})
    # what the neighbour read last is still there, where a tile reads little
    stays = chunks / max(tasks, 1) < _KEPT / 2
    for taken in reads.values():
        share = min(1.0, items * assets / len(reads) / max(taken.windows, 1)) if stays else 1.0
        headers = taken.windows * share
        longer = taken.runs * int(_mean(taken) / _LONGEST)
        total += Fetched(
            headers * (2 if http else 1) + taken.runs + longer,
            headers * _CHUNK + taken.block_bytes + taken.singles * _CHUNK,
        )
    return total


def looked(mosaic: Mosaic, samples: Samples, items: int, *, http: bool) -> Fetched:
    """What looks at the offsets of items take from a store, before the first tile.

    Parameters
    ----------
    mosaic : Mosaic
    samples : Samples
        Of at least one header of each asset that is looked at.
    items : int
    http : bool
        As of `fetched`.
    """
    total = Fetched()
    for asset in looked_at(mosaic.source):
        header = samples.headers[asset][0]
        shapes = [(header.height, header.width), *header.overviews]
        rows, cols = max((s for s in shapes if max(s) <= LOOK_EDGE), default=min(shapes))
        blocks = ceil(rows / header.block[0]) * ceil(cols / header.block[1])
        share = rows * cols / (header.block[0] * header.block[1])
        total += Fetched(
            items * ((2 if http else 1) + 1),
            items * (_CHUNK + min(share, blocks) * mean_block(header)),
        )
    return total


def _mean(taken: Taken) -> float:
    """Bytes of a run of blocks."""
    return taken.block_bytes / max(taken.runs, 1)
