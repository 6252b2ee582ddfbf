"""Work on many tiles with dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

from geocube_ml.cube.grid import Tile

Note = Callable[[int, int], None]
"""Called with the number of tiles done and the number of all."""


def for_each_tile(
    tiles: Sequence[Tile], work: Callable[[Tile], Any], *, workers: int, note: Note | None = None
) -> None:
    """Run `work` once for each tile, on `workers` threads.

    Parameters
    ----------
    tiles : sequence of Tile
    work : callable
        Takes a tile; whatever it writes is its own business.  One dask task a tile.
    workers : int
        Threads.
    note : callable, optional
        Told how many tiles are done.

    Raises
    ------
    Exception
        The first that `work` raises; tiles that were being worked on are finished first.
    """
    done = 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1
        if note is not None:
            note(done, len(tiles))

    tasks = [delayed(work, pure=False)(tile, dask_key_name=f"tile-{tile.name}") for tile in tiles]
    # dask raises while other tiles are still being written; leaving the pool waits for them
    with ThreadPoolExecutor(workers) as pool, Callback(posttask=count):
        compute(*tasks, scheduler="threads", pool=pool)
