"""Tiles as a step works on them: on threads, each tried once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geocube_ml.cluster import open_cluster
from geocube_ml.grid import Tile
from geocube_ml.spec.cluster import ClusterSpec


def each_tile(tiles: Sequence[Tile], work: Callable[[Tile], Any]) -> None:
    """Run `work` once for each tile, on as many threads as there are cores."""
    with open_cluster(ClusterSpec(attempts=1)) as workers:
        failures = workers.each(
            lambda tile, _: work(tile), tiles, name=lambda tile: tile.name, total=len(tiles)
        )
    if failures:
        raise failures[0].error
