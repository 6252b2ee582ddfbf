"""Decision trees as flat arrays: what a forest, or a sum of boosted trees, answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.compiled import compiled

LEAF = -1

_BLOCK = 1_024  # rows; they and a tree stay in the second-level cache
_SIDE_BY_SIDE = 32  # rows that go down a tree together: one waits for memory while others compute

_NODE = np.dtype([("split", "i4"), ("threshold", "f4"), ("left", "i4"), ("right", "i4")])


@dataclass(frozen=True)
class Trees:
    """Trees that answer rows of numbers; arrays that are no trees are refused.

    Parameters
    ----------
    first : (tree,) int64
        First node of each tree; its nodes go on to the first of the next.
    column : (tree,) int32
        To which number of the answer the first value of its leaves is added; the others follow.
    feature : (node,) int32
        The column that a node looks at; `LEAF` of one that answers.
    threshold : (node,) float32
        Up to it, and with it, a row goes left.
    missing_left : (node,) bool
        Whether it does where the column is NaN.
    left, right : (node,) int32
        The nodes that follow, behind it in the same tree; of a leaf `left` is its row of `value`.
    value : (kind, width) float64
        What leaves answer.
    n_feature, n_out : int
        Columns of a row, and of an answer.

    Raises
    ------
    ValueError
        A shape, a column or a node that follows is not possible.
    """

    first: NDArray[np.int64]
    column: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    n_feature: int
    n_out: int

    def __post_init__(self) -> None:
        n_tree, n_node = len(self.first), len(self.feature)
        wanted = {
            "first": ((n_tree,), np.int64),
            "column": ((n_tree,), np.int32),
            "feature": ((n_node,), np.int32),
            "threshold": ((n_node,), np.float32),
            "missing_left": ((n_node,), np.bool_),
            "left": ((n_node,), np.int32),
            "right": ((n_node,), np.int32),
            "value": ((len(self.value), self.value.shape[-1]), np.float64),
        }
        for name, (shape, dtype) in wanted.items():
            found = getattr(self, name)
            if found.shape != shape or found.dtype != dtype:
                raise ValueError(
                    f"{name} of the trees must be {np.dtype(dtype)} {shape}, "
                    f"got {found.dtype} {found.shape}"
                )
        self._check_places()

    def _check_places(self) -> None:
        """A compiled loop would read anywhere, or never end."""
        n_node, width = len(self.feature), self.value.shape[1]
        ends = np.append(self.first, n_node)
        if ends[0] != 0 or (np.diff(ends) < 1).any():
            raise ValueError(f"{len(self.first)} trees do not divide {n_node} nodes")
        _check_within("column", self.column, self.n_out - width + 1)
        leaf = self.feature == LEAF
        _check_within("leaf", self.left[leaf], len(self.value))
        _check_within("feature", self.feature[~leaf], self.n_feature)
        node = np.flatnonzero(~leaf)
        end = np.repeat(ends[1:], np.diff(ends))[node]
        for side in (self.left[node], self.right[node]):
            if ((side <= node) | (side >= end)).any():
                raise ValueError("a node of the trees is not followed by nodes behind it")
        if np.isnan(self.threshold[node]).any() or not np.isfinite(self.value).all():
            raise ValueError("a threshold or an answer of the trees is no number")

    @cached_property
    def _nodes(self) -> NDArray[Any]:
        """A node in 16 bytes, which come together from the memory."""
        nodes = np.empty(len(self.feature), _NODE)
        inner = self.feature != LEAF
        nodes["split"] = np.where(inner, 2 * self.feature + self.missing_left, LEAF)
        for name in ("threshold", "left", "right"):
            nodes[name] = getattr(self, name)
        return nodes

    def add(self, rows: NDArray[np.float32], out: NDArray[np.float64]) -> None:
        """Add to each row's numbers what its leaves answer, from the first tree to the last.

        Parameters
        ----------
        rows : (n, feature) float32
            NaN where missing.
        out : (n, n_out) float64, contiguous
            Sums are the same whatever rows are beside a row.

        Raises
        ------
        ValueError
            The shapes do not fit.

        Examples
        --------
        >>> one = Trees(np.int64([0]), np.int32([0]), np.int32([1, LEAF, LEAF]),
        ...             np.float32([0.5, 0, 0]), np.array([True, False, False]),
        ...             np.int32([1, 0, 1]), np.int32([2, 0, 0]), np.array([[10.0], [20.0]]), 2, 1)
        >>> out = np.zeros((3, 1))
        >>> one.add(np.float32([[7, 0.5], [7, 0.6], [7, np.nan]]), out)
        >>> out[:, 0].tolist()
        [10.0, 20.0, 10.0]
        """
        if rows.shape[1:] != (self.n_feature,) or out.shape != (len(rows), self.n_out):
            raise ValueError(
                f"rows {rows.shape} and answers {out.shape} do not fit trees of "
                f"{self.n_feature} columns and {self.n_out} numbers"
            )
        if out.dtype != np.float64 or not out.flags.c_contiguous:
            raise ValueError(f"answers must be contiguous float64, got {out.dtype}")
        whole = np.ascontiguousarray(rows, np.float32)
        _add(self._nodes, self.first, self.column, self.value, whole, out)


def _check_within(what: str, at: NDArray[Any], n: int) -> None:
    if at.size and (at.min() < 0 or at.max() >= n):
        raise ValueError(
            f"a {what} of the trees must be 0 to {n - 1}, got {at.min()} to {at.max()}"
        )


def float32_below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 up to each number: float32 values compare with it as with the number.

    Examples
    --------
    >>> float32_below(np.array([0.1, 0.25])).astype(float).tolist()
    [0.09999999403953552, 0.25]
    """
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


@compiled
def _add(
    nodes: NDArray[Any], first: NDArray[np.int64], column: NDArray[np.int32],
    value: NDArray[np.float64], rows: NDArray[np.float32], out: NDArray[np.float64],
) -> None:  # fmt: skip
    n, width = len(rows), value.shape[1]
    at = np.empty(_SIDE_BY_SIDE, np.int32)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        for tree in range(len(first)):
            for low in range(start, stop, _SIDE_BY_SIDE):
                some = min(_SIDE_BY_SIDE, stop - low)
                at[:some] = first[tree]
                moving = True
                while moving:
                    moving = False
                    for i in range(some):
                        node = nodes[at[i]]
                        split = node["split"]
                        if split >= 0:
                            x = rows[low + i, split >> 1]
                            # no jump: which side is taken cannot be foretold
                            down = (x <= node["threshold"]) | (np.isnan(x) & (split & 1 == 1))
                            left, right = node["left"], node["right"]
                            at[i] = left if down else right
                            moving = True
                for i in range(some):
                    leaf, into = value[nodes[at[i]]["left"]], out[low + i]
                    for k in range(width):
                        into[column[tree] + k] += leaf[k]
