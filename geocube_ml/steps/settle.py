"""What a process does before its first tile; apart, so that it loads little."""

from __future__ import annotations

import os
import platform

from geocube_ml.errors import InputError, StorageError
from geocube_ml.files import LOCK, Place, forget_clients, redacted, storage_error

_CACHE = "GDAL_CACHEMAX"
_CACHE_MB = 128


def settle_in(out: Place) -> None:
    """What each process that works on tiles does first.

    Raises
    ------
    InputError
        It does not see the run's folder: what it writes would be lost.
    """
    forget_clients()  # as the keys of a worker may be others by now
    try:
        seen = (out / LOCK).exists()
    except Exception as error:
        why = storage_error(error, out) or redacted(str(error))
        raise StorageError(
            f"Process {os.getpid()} of {platform.node()}, which works on tiles, does not reach "
            f"the run's folder. {why}"
        ) from None
    if not seen:
        raise InputError(
            f"{platform.node()} does not see {out}. Take an `out:` that all workers reach: an "
            "object store (s3://bucket/prefix), or a disk that they share."
        )
    # GDAL takes a twentieth of the memory, in each process; a tile reads each block once
    os.environ.setdefault(_CACHE, f"{_CACHE_MB}")


def settle_out() -> None:
    """Take back what `settle_in` set."""
    if os.environ.get(_CACHE) == f"{_CACHE_MB}":
        del os.environ[_CACHE]
