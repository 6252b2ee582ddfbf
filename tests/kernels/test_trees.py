from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.trees import LEAF, Trees, float32_below


def grown(seed, n_tree=3, n_feature=4, width=2, n_out=3, depth=5):
    """Trees that are drawn: nodes of a tree one after the other, children behind their parent."""
    rng = np.random.default_rng(seed)
    nodes = []

    def grow(left):
        at = len(nodes)
        nodes.append(None)
        if left == 0 or rng.random() < 0.2:
            nodes[at] = (LEAF, 0, False, rng.integers(5), 0)
            return at
        feature, threshold = rng.integers(n_feature), rng.integers(-2, 3)
        low, high = grow(left - 1), grow(left - 1)
        nodes[at] = (feature, threshold, rng.random() < 0.5, low, high)
        return at

    first = [grow(depth) for _ in range(n_tree)]
    dtypes = (np.int32, np.float32, np.bool_, np.int32, np.int32)
    columns = [np.array(part, t) for part, t in zip(zip(*nodes, strict=True), dtypes, strict=True)]
    column = rng.integers(n_out - width + 1, size=n_tree).astype(np.int32)
    value = rng.normal(size=(5, width))
    return Trees(np.array(first, np.int64), column, *columns, value, n_feature, n_out)


def definition(trees, rows):
    """What `Trees.add` should add, a row at a time."""
    out = np.zeros((len(rows), trees.n_out))
    for row, into in zip(rows, out, strict=True):
        for at, column in zip(trees.first, trees.column, strict=True):
            while trees.feature[at] != LEAF:
                x = row[trees.feature[at]]
                low = trees.missing_left[at] if np.isnan(x) else x <= trees.threshold[at]
                at = trees.left[at] if low else trees.right[at]
            answer = trees.value[trees.left[at]]
            into[column : column + len(answer)] += answer
    return out


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_a_row_goes_down_each_tree_and_missing_values_go_where_a_node_says(seed, data):
    trees = grown(seed)
    value = st.integers(-3, 3).map(float) | st.just(np.nan)
    shape = (data.draw(st.integers(0, 40)), 4)
    rows = data.draw(npst.arrays(np.float32, shape, elements=value))
    out = np.ones((len(rows), 3))
    trees.add(rows, out)
    np.testing.assert_allclose(out, 1 + definition(trees, rows), rtol=0, atol=1e-12)


def test_an_answer_does_not_depend_on_the_rows_beside_it():
    trees = grown(1, n_tree=9)
    rows = np.random.default_rng(0).normal(size=(2500, 4)).astype("float32")
    whole, parts = np.zeros((2, 2500, 3))
    trees.add(rows, whole)
    for start in range(0, 2500, 7):
        trees.add(rows[start : start + 7], parts[start : start + 7])
    np.testing.assert_array_equal(whole, parts)


@given(threshold=st.floats(allow_nan=False), near=st.integers(-2, 2))
def test_float32_values_compare_with_the_float32_below_as_with_the_threshold(threshold, near):
    below = float32_below(np.array([threshold]))[0]
    with np.errstate(over="ignore"):
        x = np.float32(threshold)
    for _ in range(abs(near)):
        x = np.nextafter(x, np.float32(np.copysign(np.inf, near)))
    assert (x <= below) == (float(x) <= threshold)


def test_no_trees_add_nothing():
    none = np.zeros(0, np.int32)
    trees = Trees(
        np.zeros(0, np.int64), none, none, np.zeros(0, np.float32), np.zeros(0, bool), none, none,
        np.zeros((0, 1)), 2, 1,
    )  # fmt: skip
    out = np.full((3, 1), 7.0)
    trees.add(np.zeros((3, 2), np.float32), out)
    assert (out == 7).all()


def changed(**some):
    trees = grown(3)
    names = Trees.__dataclass_fields__
    return Trees(**({name: getattr(trees, name) for name in names} | some))


def at(name, where, value):
    """One of the arrays with another value at a node that is no leaf, or at a leaf."""
    trees = grown(3)
    leaf = trees.feature == LEAF
    found = getattr(trees, name).copy()
    found[np.flatnonzero(leaf if where == "leaf" else ~leaf)[0]] = value
    return {name: found}


@pytest.mark.parametrize(
    ("some", "said"),
    [
        (at("left", "node", 0), "not followed"),  # a row would go round for ever
        (at("right", "node", -1), "not followed"),
        (at("right", "node", 10**6), "not followed"),
        (at("left", "leaf", 5), "leaf of the trees must be 0 to 4, got 0 to 5"),
        (at("feature", "node", 4), "feature of the trees must be 0 to 3"),
        (at("feature", "node", -2), "feature of the trees"),
        (at("threshold", "node", np.nan), "no number"),
        ({"column": np.int32([0, 2, 0])}, "column of the trees must be 0 to 1, got 0 to 2"),
        ({"column": np.int32([0, 0])}, "column of the trees must be int32"),
        ({"first": np.int64([1, 2, 3])}, "do not divide"),
        ({"first": np.int64([0, 5, 5])}, "do not divide"),
        ({"value": np.full((5, 2), np.inf)}, "no number"),
        ({"value": np.zeros(5)}, "value of the trees"),
        ({"left": grown(3).left[:-1]}, "left of the trees"),
        ({"threshold": grown(3).threshold.astype(float)}, "must be float32"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(some, said):
    with pytest.raises(ValueError, match=said):
        changed(**some)


def test_rows_and_answers_of_other_shapes_are_refused():
    trees = grown(0)
    with pytest.raises(ValueError, match="do not fit trees of 4 columns and 3 numbers"):
        trees.add(np.zeros((2, 5), np.float32), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="contiguous float64"):
        trees.add(np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32))
