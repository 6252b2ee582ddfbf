"""Loops over pixels, compiled by numba: one pass does what numpy takes ten for.

What is compiled holds no lock, so that threads work side by side, and is kept beside the sources
(or where ``NUMBA_CACHE_DIR`` says), so that a process compiles only what none did before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile a function of numbers and arrays for the types that it is called with.

    Sums are not reordered and products not contracted: a value depends neither on the window that
    it is computed in nor on the processor.
    """
    made: Any = numba.njit(nogil=True, error_model="numpy")(loop)
    with suppress(RuntimeError):  # no folder to keep it in: sources and home are read-only
        made._cache = _Kept(loop)
    return cast(Loop, made)


class _Kept(FunctionCache):  # type: ignore[misc]
    """numba's, for many processes that begin at once, and code that calls code of other files."""

    def __init__(self, loop: Callable[..., Any]) -> None:
        super().__init__(loop)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, _sources())

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep it if there is room; it is there without, too."""
        with suppress(OSError):
            super().save_overload(sig, data)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """Machine code in files named by what they hold.

    numba numbers them, and lists a file before it is written: a process that is killed leaves the
    name of a file of older sources, and two that save at once take one number.
    """

    def save(self, key: Any, data: Any) -> None:
        """Write the code, and then say where it is."""
        what = hashlib.sha256(repr((key, self._source_stamp)).encode()).hexdigest()
        name = self._data_name_pattern.format(number=int(what[:12], 16))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})


@cache
def _sources() -> str:
    """What all loops are made of: an edit of one file changes those that call it too."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()
