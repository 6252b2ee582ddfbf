"""How far samples lie apart: pixels from centre to centre, objects from outline to outline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import KDTree

OUTLINE = "outline"
"""Variable of a table of objects: the shape of each, as hexadecimal WKB."""

_DRAWN = 2_000  # samples that a median is taken of, at most


@dataclass(frozen=True)
class Ground:
    """Where the samples of a table lie."""

    points: NDArray[np.float64]
    """(n, 2) metres."""
    outlines: NDArray[Any] | None
    """(n,) shapes of objects, in the same coordinates."""

    @classmethod
    def of(cls, samples: Mapping[str, Any] | xr.Dataset) -> Self:
        """Of a sample table."""
        points = np.column_stack([np.asarray(samples[name], np.float64) for name in ("x", "y")])
        outlines = shapely.from_wkb(np.asarray(samples[OUTLINE])) if OUTLINE in samples else None
        return cls(points, outlines)

    @cached_property
    def spacing(self) -> float:
        """Metres that any two samples are apart at least: the edge of a pixel, 0 of objects."""
        places = [np.unique(axis, return_inverse=True) for axis in self.points.T]
        (columns, col), (lines, line) = places
        if self.outlines is not None or len(np.unique(col * len(lines) + line)) < len(col):
            return 0.0
        steps = np.concatenate([np.diff(columns), np.diff(lines)])
        return float(steps.min(initial=np.inf))

    def tree(self, rows: NDArray[Any]) -> KDTree | shapely.STRtree:
        """Some samples, by a mask or by position, to be searched."""
        if self.outlines is not None:
            return shapely.STRtree(self.outlines[rows])
        return KDTree(self.points[rows], balanced_tree=False)

    def far(
        self,
        at: NDArray[Any],
        trees: Sequence[KDTree | shapely.STRtree],
        within: float = np.inf,
    ) -> NDArray[np.float64]:
        """Distance of some samples, by a mask or by position, to the nearest in any tree.

        Returns
        -------
        float64
            Metres; infinite where none is nearer than `within`.
        """
        wanted = self.points[at] if self.outlines is None else self.outlines[at]
        found = np.full(len(wanted), np.inf)
        for tree in trees:
            if isinstance(tree, KDTree):
                if tree.n:
                    found = np.minimum(found, tree.query(wanted, distance_upper_bound=within)[0])
            else:
                most = within if np.isfinite(within) else None
                (of, _), nearest = tree.query_nearest(
                    wanted, max_distance=most, return_distance=True, all_matches=False
                )
                found[of] = np.minimum(found[of], nearest)
        return found

    def said(
        self, at: NDArray[np.intp], trees: Sequence[KDTree | shapely.STRtree]
    ) -> dict[str, Any]:
        """How far samples lie from those in the trees.

        Returns
        -------
        dict
            ``n``; ``min_m``, the least distance of all; ``median_m``, the median of at most 2,000
            drawn ones.  Both are None where nothing can be measured.
        """
        few = at
        if len(at) > _DRAWN:
            few = np.sort(np.random.default_rng(0).choice(at, _DRAWN, replace=False))
        found = self.far(few, trees)
        if not np.isfinite(found).all() or found.size == 0:
            return {"n": len(at), "min_m": None, "median_m": None}
        least = found.min()
        if len(few) < len(at) and least > self.spacing:  # a search that may stop there is quick
            least = min(least, self.far(at, trees, within=least).min())
        return {
            "n": len(at),
            "min_m": round(float(least), 2),
            "median_m": round(float(np.median(found)), 2),
        }


def apart(ground: Ground, rows: NDArray[np.bool_], test: NDArray[np.bool_]) -> dict[str, Any]:
    """How far tested samples lie from the nearest of some rows; as `Ground.said`."""
    return ground.said(np.flatnonzero(test), [ground.tree(rows)])


def groups_apart(ground: Ground, group: NDArray[np.integer[Any]]) -> list[dict[str, Any]]:
    """How far each group of samples lies from all others.

    Parameters
    ----------
    ground : Ground
    group : (n,) integer
        From 0, without gaps; less than 0 is of no group.

    Returns
    -------
    list
        Of each group what `Ground.said` says.

    Notes
    -----
    Two groups differ in a binary digit of their numbers.  So a tree for each digit and each of its
    values is enough, however many groups there are: of each digit a group is looked up in the tree
    of those that differ from it there.
    """
    n_group = int(group.max(initial=-1)) + 1
    digits = range(max(n_group - 1, 0).bit_length())
    trees = [
        [ground.tree((group >= 0) & (group >> digit & 1 == value)) for value in (0, 1)]
        for digit in digits
    ]
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(n_group + 1))
    return [
        ground.said(
            order[starts[k] : starts[k + 1]],
            [trees[digit][1 - (k >> digit & 1)] for digit in digits],
        )
        for k in range(n_group)
    ]
