"""Forests and boosted trees as an ONNX graph: a TreeEnsembleRegressor, and what is around it."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import InputError
from geocube_ml.export.onnx_draft import ML, SERIES, Draft
from geocube_ml.kernels.trees import LEAF, Trees
from geocube_ml.models.tables.trees import TreesModel
from geocube_ml.spec.tables import BoostingSpec

if TYPE_CHECKING:
    import onnx


def trees_graph(onnx: ModuleType, model: TreesModel, temperature: float) -> onnx.ModelProto:
    """A graph from physical values to calibrated probabilities, or to numbers.

    Parameters
    ----------
    onnx : module
        The package.
    model : TreesModel
    temperature : float
        By which probabilities are softened.

    Returns
    -------
    onnx.ModelProto
        As `to_onnx` describes it.

    Raises
    ------
    InputError
        There are no trees, as there was one class only.

    Notes
    -----
    Thresholds are float32, the largest up to the number that was learnt, so that ``x <= threshold``
    decides as in the training; each node says where NaN goes.  Leaves are added in float32.
    """
    trees, target = model.trees, model.target
    if not len(trees.first):
        raise InputError(
            f"The {model.spec.kind} knows one class only, so that it has no trees to write. Train "
            "it on two classes at least."
        )
    draft = Draft(onnx, model.layout, model.n_step)
    mean = not isinstance(model.spec, BoostingSpec)
    columns = draft.flat(SERIES, model.layout.n_series)
    attributes: dict[str, Any] = {
        "aggregate_function": "AVERAGE" if mean else "SUM",
        "base_values": model.baseline.astype(np.float32).tolist(),
        "n_targets": trees.n_out,
        **_nodes(trees),
        **_leaves(trees),
    }
    found = draft.add("TreeEnsembleRegressor", columns, domain=ML, **attributes)
    if target.n_class is None:
        found = draft.add("Squeeze", found, draft.ints(1))
    else:
        prob = found if mean else _probabilities(draft, found, len(model.classes))
        prob = draft.placed(prob, model.classes, target.n_class)
        found = draft.softened(prob, temperature)
    return draft.finished(found, target, model.spec.kind)


def _probabilities(draft: Draft, sums: str, n_class: int) -> str:
    """(n, n_out) sums of boosted trees -> (n, k)."""
    if n_class > 2:
        return draft.add("Softmax", sums, axis=1)
    second = draft.add("Sigmoid", sums)
    first = draft.add("Sub", draft.keep(np.float32(1)), second)
    return draft.add("Concat", first, second, axis=1)


def _own(trees: Trees) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each node its tree, and that tree's first node."""
    size = np.diff(np.append(trees.first, len(trees.feature)))
    tree = np.repeat(np.arange(len(trees.first)), size)
    return tree, np.repeat(trees.first, size)


def _nodes(trees: Trees) -> dict[str, Any]:
    """Nodes are numbered within their tree."""
    inner = trees.feature != LEAF
    tree, first = _own(trees)
    return {
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": (np.arange(len(tree)) - first).tolist(),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        "nodes_featureids": np.where(inner, trees.feature, 0).tolist(),
        "nodes_values": np.where(inner, trees.threshold, 0).tolist(),
        "nodes_truenodeids": np.where(inner, trees.left - first, 0).tolist(),
        "nodes_falsenodeids": np.where(inner, trees.right - first, 0).tolist(),
        "nodes_missing_value_tracks_true": trees.missing_left.astype(np.int64).tolist(),
    }


def _leaves(trees: Trees) -> dict[str, Any]:
    """What leaves add to which number; of a leaf's zeros one is kept, as a leaf must add one."""
    leaf = np.flatnonzero(trees.feature == LEAF)
    tree, first = _own(trees)
    value = trees.value[trees.left[leaf]].astype(np.float32)  # (leaf, width)
    said = value != 0
    said[~said.any(axis=1), 0] = True
    row, at = np.nonzero(said)
    node = leaf[row]
    return {
        "target_treeids": tree[node].tolist(),
        "target_nodeids": (node - first[node]).tolist(),
        "target_ids": (trees.column[tree[node]] + at).tolist(),
        "target_weights": value[row, at].tolist(),
    }
