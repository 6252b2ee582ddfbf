"""Which of the labelled pixels or objects become samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.sampling import blocks, draw, draw_in_turn, thinned
from geocube_ml.spec.samples import SamplesSpec


def drawn(
    x: NDArray[Any],
    y: NDArray[Any],
    polygon: NDArray[Any],
    label: NDArray[Any],
    spec: SamplesSpec,
) -> tuple[NDArray[np.intp], NDArray[np.int64] | None]:
    """Which are taken: first by distance, then by polygon, then by class.

    Parameters
    ----------
    x, y : (n,) float
        Metres.
    polygon : (n,) integer
        0 and less are of no polygon: they are drawn by block and class instead.
    label : (n,) uint8
    spec : SamplesSpec
        Rules and seed.

    Returns
    -------
    positions : (k,) intp, ascending
    asked : (class,) int64 or None
        How many of each class were asked for; None where no number is.

    Notes
    -----
    The draw is a function of the samples in their order, the rules and the seed.
    """
    rng = np.random.default_rng(spec.seed)
    kept = np.arange(len(label))
    group = _groups(x, y, polygon, label, spec.block_m)
    if spec.min_distance_m is not None:
        kept = thinned(x, y, spec.min_distance_m, rng)
    if spec.per_polygon is not None:
        kept = kept[draw(group[kept], spec.per_polygon, rng)]
    if spec.share is not None:
        exact = np.round(spec.share * np.bincount(label[kept]), 6)  # 0.07 * 100 is above 7
        number = np.ceil(exact).astype(np.int64)
        alone = np.zeros(len(kept), np.intp)  # one group: any of the class, whosever it is
        kept = kept[draw_in_turn(label[kept], alone, number, rng)]
    if spec.per_class is None and not spec.balanced:
        return kept, None
    there = np.bincount(label[kept])
    most = spec.per_class if spec.per_class is not None else int(there.max())
    if spec.balanced:
        most = min(most, int(there[there > 0].min()))
    asked = np.full(len(there), most)
    return kept[draw_in_turn(label[kept], group[kept], asked, rng)], asked


def _groups(
    x: NDArray[Any], y: NDArray[Any], polygon: NDArray[Any], label: NDArray[Any], block_m: float
) -> NDArray[np.int64]:
    """Polygon of each; of what has none (a background class) block and class."""
    within = np.unique(blocks(x, y, block_m), return_inverse=True)[1]
    return np.where(polygon > 0, polygon.astype(np.int64), -1 - 256 * within - label)
