"""Who reads which raster, so that none is forgotten while it is read."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator


class Readers:
    """Many read a raster at a time; what GDAL keeps of it is dropped only while nobody does.

    Examples
    --------
    >>> readers = Readers()
    >>> with readers.reading("a.tif"), readers.nobody("a.tif", within_s=0.01) as alone:
    ...     alone
    False
    >>> with readers.reading("a.tif"), readers.nobody("b.tif", within_s=0.01) as alone:
    ...     alone
    True
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count: Counter[str] = Counter()
        self._closed: set[str] = set()

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Read within the block; begins when nobody makes GDAL forget the raster."""
        with self._changed:
            self._changed.wait_for(lambda: name not in self._closed)
            self._count[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._count[name] -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def nobody(self, name: str, within_s: float) -> Iterator[bool]:
        """Nobody reads within the block; False where others still did after so long."""
        with self._changed:
            alone = self._changed.wait_for(
                lambda: not self._count[name] and name not in self._closed, timeout=within_s
            )
            if alone:
                self._closed.add(name)
        try:
            yield alone
        finally:
            with self._changed:
                if alone:
                    self._closed.discard(name)
                    del self._count[name]
                self._changed.notify_all()
