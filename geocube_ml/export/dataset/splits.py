"""Which split of a data set a sample, a polygon, a pixel belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from geocube_ml.data.apart import Ground, apart
from geocube_ml.data.folds import (
    GAP,
    HOLDOUT,
    NONE,
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    is_given,
    split_codes,
    with_gap,
)
from geocube_ml.kernels.sampling import blocks
from geocube_ml.spec.samples import SamplesSpec

NAMES = (*SPLITS, "gap", "none")
"""By their codes.  ``gap``: too near to test or validation; ``none``: the labels name no split."""

_VALIDATION_FOLD = 1
_FEWEST = 3  # folds: of two, one test and one validation, none would be left to train on


@dataclass(frozen=True)
class Splits:
    """The split of each sample, and by it that of any labelled pixel."""

    of_sample: NDArray[np.uint8]
    """Codes, the gap among them."""
    by: str
    """Where they come from, in words."""
    gap_m: float
    block_m: float
    polygons: NDArray[np.int64]
    """Those that have samples, in ascending order."""
    of_polygon: NDArray[np.uint8]
    blocks: NDArray[np.int64]
    """Spatial blocks that have samples, in ascending order."""
    of_block: NDArray[np.uint8]

    def of_pixels(
        self, polygon: NDArray[Any], x: NDArray[Any], y: NDArray[Any]
    ) -> NDArray[np.uint8]:
        """Split of the pixels of a window, before the gap is taken out.

        Parameters
        ----------
        polygon : (layer, y, x) int
            Number of the polygon; 0 and less for pixels outside polygons, whose split is that of
            their block.
        x, y : (x,) and (y,) float
            Metres.

        Returns
        -------
        (layer, y, x) uint8
            Codes; ``NONE`` where nothing was drawn from the polygon or block.
        """
        found = _looked_up(polygon, self.polygons, self.of_polygon)
        if (outside := polygon <= 0).any():
            across, down = np.meshgrid(x, y)
            here = _looked_up(blocks(across, down, self.block_m), self.blocks, self.of_block)
            found = np.where(outside, here, found)
        return found

    def count(self) -> Mapping[str, int]:
        """Samples of each split that there is."""
        n = np.bincount(self.of_sample, minlength=len(NAMES))
        return {name: int(n[code]) for code, name in enumerate(NAMES) if n[code]}


def split_samples(samples: xr.Dataset, spec: SamplesSpec) -> Splits:
    """The split of each sample.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.  Its ``split``, where it has one, decides; otherwise ``fold_block``:
        fold 0 is test, fold 1 validation (of two folds the other trains), the rest trains.
    spec : SamplesSpec
        Edge of the blocks, and the gap.

    Returns
    -------
    Splits
        A polygon is in one split.  What is nearer than the gap to a sample of test (or, of what
        trains, to one of validation) is in none.
    """
    polygon = samples["polygon"].values.astype(np.int64)
    given = is_given(samples)
    validated = samples["fold_block"].values.max() + 1 >= _FEWEST
    split = split_codes(samples, validation=_VALIDATION_FOLD if validated else None)
    if given:
        by = f"the labels' column `{spec.split_column}`"
    else:
        by = f"spatial blocks of {spec.block_m:g} m (fold {HOLDOUT} is test" + (
            f", fold {_VALIDATION_FOLD} validation)" if (split == VALIDATION).any() else ")"
        )
    inside = polygon > 0
    # a split that is given is of polygons, whatever lies beside them in a block
    of_ground = ~inside if given else np.full(len(split), True)
    return Splits(
        with_gap(samples, split, spec.gap_m),
        by,
        spec.gap_m,
        spec.block_m,
        *_table(polygon[inside], split[inside]),
        *_table(samples["block"].values[of_ground], split[of_ground]),
    )


def without_gap(split: NDArray[np.uint8], gap_m: float, pixel_m: float) -> NDArray[np.uint8]:
    """The split of pixels, ``GAP`` for those that are too near to test or validation.

    Parameters
    ----------
    split : (layer, y, x) uint8
    gap_m, pixel_m : float
        The gap, and the edge of a pixel, in metres.

    Examples
    --------
    >>> row = np.array([[[TRAIN, TRAIN, TRAIN, TEST]]], np.uint8)
    >>> without_gap(row, gap_m=20, pixel_m=10)
    array([[[0, 0, 3, 2]]], dtype=uint8)
    """
    out = split.copy()
    if gap_m <= pixel_m:
        return out
    for held, lower in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
        there = (out == held).any(axis=0)
        if there.any():
            near = distance_transform_edt(~there) * pixel_m < gap_m
            out[near & np.isin(out, lower)] = GAP
    return out


def distances(splits: Splits, samples: xr.Dataset) -> dict[str, float]:
    """Least distance between the samples of two splits, in metres.

    Parameters
    ----------
    splits : Splits
    samples : xarray.Dataset
        Of which they are.

    Returns
    -------
    dict
        ``"train - test"`` and so on; only of splits that there are.
    """
    ground = Ground.of(samples)
    of = [splits.of_sample == code for code in range(len(SPLITS))]
    return {
        f"{SPLITS[a]} - {SPLITS[b]}": apart(ground, of[a], of[b])["min_m"]
        for a, b in ((TRAIN, TEST), (VALIDATION, TEST), (TRAIN, VALIDATION))
        if of[a].any() and of[b].any()
    }


def _table(
    keys: NDArray[Any], split: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Keys in order and the split of each; ``NONE`` where they have several."""
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.uint8)
    order = np.lexsort((split, keys))
    known, first = np.unique(keys[order], return_index=True)
    ends = np.append(first[1:], len(order)) - 1
    low, high = split[order][first], split[order][ends]
    return known.astype(np.int64), np.where(low == high, low, NONE).astype(np.uint8)


def _looked_up(
    keys: NDArray[Any], known: NDArray[np.int64], split: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    if not len(known):
        return np.full(keys.shape, NONE, np.uint8)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, split[at], NONE).astype(np.uint8)
