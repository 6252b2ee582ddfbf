from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.sampling import (
    any_data,
    blocks,
    draw,
    draw_in_turn,
    gather,
    spread,
    thinned,
)

groups = npst.arrays("int32", st.integers(0, 60), elements=st.integers(-1, 6))


def rng(seed=0):
    return np.random.default_rng(seed)


@given(groups, st.integers(0, 12), st.integers(0, 5))
def test_each_group_gives_its_limit_or_all_it_has(members, limit, seed):
    drawn = draw(members, limit, rng(seed))
    assert (np.diff(drawn) > 0).all()  # each once, in ascending order
    want = {group: min(n, limit) for group, n in Counter(members.tolist()).items() if limit}
    assert Counter(members[drawn].tolist()) == want


@given(groups, st.integers(1, 12))
def test_a_draw_is_repeated_by_its_seed(members, limit):
    np.testing.assert_array_equal(draw(members, limit, rng(3)), draw(members, limit, rng(3)))


def test_another_seed_draws_others():
    members = np.zeros(1000, int)
    assert not np.array_equal(draw(members, 10, rng(0)), draw(members, 10, rng(1)))


def test_every_member_is_drawn_as_often_as_any_other():
    members = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    generator = rng()
    counts = np.bincount(np.concatenate([draw(members, 2, generator) for _ in range(2000)]))
    assert np.abs(counts - 800).max() < 5 * np.sqrt(2000 * 0.4 * 0.6)  # five standard deviations


@given(st.data())
def test_gathered_values_are_those_of_the_pixels(data):
    lead = data.draw(st.lists(st.integers(1, 5), max_size=2))  # (time, band), (band), none
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * 2))
    n = data.draw(st.integers(0, 6))
    rows = data.draw(npst.arrays(int, n, elements=st.integers(0, shape[0] - 1)))
    cols = data.draw(npst.arrays(int, n, elements=st.integers(0, shape[1] - 1)))
    block = np.arange(np.prod([*lead, *shape]), dtype="uint16").reshape(*lead, *shape)
    got = gather(block, rows, cols)
    assert got.shape == (n, *lead)
    assert got.flags.c_contiguous
    for values, row, col in zip(got, rows, cols, strict=True):
        np.testing.assert_array_equal(values, block[..., row, col])


@pytest.mark.parametrize("nodata", [0.0, -1.0, np.nan])
@given(data=st.data())
def test_a_pixel_has_data_if_any_of_its_values_is_data(nodata, data):
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=4))
    values = data.draw(
        npst.arrays("float32", shape, elements=st.sampled_from([0.0, -1.0, 3.0, np.nan]))
    )
    got = any_data(values, nodata)
    assert got.shape == shape[:1]
    for pixel, has in zip(values, got, strict=True):
        assert has == any(v == v and v != nodata for v in pixel.ravel().tolist())


metres = st.floats(-1e6, 1e7).map(lambda v: round(v, 1))
points = st.lists(st.tuples(metres, metres), min_size=1, max_size=12)


@given(points, st.sampled_from([100.0, 500.0, 1000.0, 12_345.0]))
def test_points_are_together_exactly_if_their_squares_are(at, edge):
    x, y = np.array(at).T
    got = blocks(x, y, edge)
    squares = [(int(px // edge), int(py // edge)) for px, py in at]
    assert [[a == b for b in got] for a in got] == [[a == b for b in squares] for a in squares]


@given(points, st.data())
def test_a_point_has_its_block_wherever_the_map_begins(at, data):
    x, y = np.array(at).T
    some = data.draw(st.lists(st.sampled_from(range(len(at))), min_size=1, unique=True))
    np.testing.assert_array_equal(blocks(x[some], y[some], 1000), blocks(x, y, 1000)[some])


def test_squares_on_both_sides_of_zero_differ():
    got = blocks(np.array([-1.0, 1.0, -1.0, 1.0]), np.array([-1.0, -1.0, 1.0, 1.0]), 1000)
    assert len(set(got.tolist())) == 4


# --- a number a class, a least distance, folds at random


@given(st.data())
def test_each_class_gives_its_limit_and_its_groups_take_turns(data):
    n = data.draw(st.integers(0, 60))
    classes = data.draw(npst.arrays("uint8", n, elements=st.integers(0, 2)))
    group = data.draw(npst.arrays("int64", n, elements=st.integers(-2, 4))) * 3 + classes
    limits = data.draw(npst.arrays("int64", 3, elements=st.integers(0, 30)))
    drawn = draw_in_turn(classes, group, limits, rng())
    assert (np.diff(drawn) > 0).all()
    for one in range(3):
        there, got = Counter(group[classes == one]), Counter(group[drawn][classes[drawn] == one])
        assert got.total() == min(limits[one], there.total())
        most = max(got.values(), default=0)
        # a group that gave less than the most but one had no more
        assert all(got[g] == there[g] for g in there if got[g] < most - 1)


distances = st.sampled_from([1.0, 3.5, 10.0, 25.0, 400.0])


@given(st.integers(0, 10_000), distances)
def test_thinned_points_are_apart_and_none_could_be_added(seed, distance):
    generator = rng(seed)
    x, y = generator.integers(0, 12, (2, 80)) * 5.0 - 20
    kept = thinned(x, y, distance, generator)
    far = np.hypot(x[:, None] - x[kept], y[:, None] - y[kept])
    assert (far.min(axis=1)[np.setdiff1d(np.arange(80), kept)] < distance).all()
    between = far[kept]
    np.fill_diagonal(between, np.inf)
    assert (between >= distance).all()
    assert (np.diff(kept) > 0).all()


def test_any_point_may_stay():
    x = np.arange(6.0)
    generator = rng()
    first = Counter(tuple(thinned(x, 0 * x, 2.5, generator)) for _ in range(300))
    assert {at for kept in first for at in kept} == set(range(6))


@given(groups, st.integers(2, 6))
def test_random_folds_and_the_classes_in_them_differ_by_one(labels, n_fold):
    folds = spread(labels, n_fold, rng())
    size = np.bincount(folds, minlength=n_fold)
    assert size.max() - size.min() <= 1
    for one in np.unique(labels):
        of_class = np.bincount(folds[labels == one], minlength=n_fold)
        assert of_class.max() - of_class.min() <= 1
