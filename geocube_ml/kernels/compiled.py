"""Loops over pixels, compiled by numba: one pass does what numpy takes ten for.

What is compiled holds no lock, so that threads work side by side, and is kept beside the sources
(or where ``NUMBA_CACHE_DIR`` says), so that a process compiles only what none did before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile a function of numbers and arrays for the types that it is called with.

    Sums are not reordered and products not contracted: a value depends neither on the window that
    it is computed in nor on the processor.
    """
    try:
        made = numba.njit(nogil=True, cache=True, error_model="numpy")(loop)
    except RuntimeError:  # no folder to keep it in: sources and home are read-only
        made = numba.njit(nogil=True, error_model="numpy")(loop)
    return cast(Loop, made)
