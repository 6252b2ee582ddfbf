"""What is read, counted: opened rasters, decoded blocks, bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Counts:
    """What was read of rasters."""

    opens: int = 0
    """Rasters that were opened for pixels; one that is asked for again counts again."""
    blocks: int = 0
    """Blocks that were decoded; of an image that keeps its bands apart, each band's by itself."""
    decoded_bytes: int = 0
    """Of these blocks, those at the edges of an image counted as full."""
    compressed_bytes: int = 0
    """Of the blocks that were read without GDAL; GDAL does not say what it reads."""


_counts: ContextVar[Counts | None] = ContextVar("counts", default=None)


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Count what this thread reads within the block.

    Yields
    ------
    Counts
        Grows as rasters are read.  Reads that failed count as far as they came.

    Examples
    --------
    >>> with counted() as counts:
    ...     pass
    >>> counts.blocks
    0
    """
    outer, counts = _counts.get(), Counts()
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)
        if outer is not None:
            note(counts, into=outer)


def note(more: Counts, into: Counts | None = None) -> None:
    """Add to what is counted, if anybody counts."""
    counts = into or _counts.get()
    if counts is not None:
        counts.opens += more.opens
        counts.blocks += more.blocks
        counts.decoded_bytes += more.decoded_bytes
        counts.compressed_bytes += more.compressed_bytes
