"""Regions of a class raster: shrunk, and brought to coarser pixels."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from geocube_ml.kernels.regions import inner, most_frequent, reach_of

few = st.sampled_from([0, 1, 255])


@settings(max_examples=40)
@given(
    codes=npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=few),
    inset=st.integers(0, 35),
    size=st.sampled_from([(10, 10), (10, 20), (7, 5)]),
    whole=st.booleans(),
)
def test_what_is_kept_lies_so_far_from_all_other_pixels(codes, inset, size, whole):
    """By the definition, with what lies outside as another code."""
    (height, width), rim = size, 8
    wide = np.pad(codes.astype(int), rim, constant_values=-1)
    row, col = np.mgrid[: wide.shape[0], : wide.shape[1]]
    squares = shapely.box(col * width, row * height, (col + 1) * width, (row + 1) * height)
    got = inner(wide.astype(np.uint8), reach_of(inset, size, whole=whole))
    got = got[rim:-rim, rim:-rim]
    for y, x in np.ndindex(codes.shape):
        own = squares[y + rim, x + rim]
        others = squares[wide % 256 != codes[y, x]]
        others = others if codes[y, x] != 255 else squares[(wide % 256) != 255]
        apart = shapely.distance(own if whole else own.centroid, others).min(initial=np.inf)
        assert got[y, x] == (apart >= inset - 1e-6)


def test_a_square_by_hand():
    """Five pixels of 10 m in a square: ten metres in, three are left, twenty in, one is."""
    codes = np.full((9, 9), 255, np.uint8)
    codes[2:7, 2:7] = 4
    for inset, side in ((0, 5), (5, 5), (5.1, 3), (10, 3), (15, 3), (15.1, 1), (25, 1)):
        kept = inner(codes, reach_of(inset, (10, 10))) & (codes == 4)
        assert kept.sum() == side**2, inset
    assert not (inner(codes, reach_of(25.1, (10, 10))) & (codes == 4)).any()
    for inset, side in ((0, 5), (0.1, 3), (10, 3), (10.1, 1), (20, 1)):
        kept = inner(codes, reach_of(inset, (10, 10), whole=True)) & (codes == 4)
        assert kept.sum() == side**2, inset


def test_a_corner_counts_by_its_distance():
    """The nearest corner of a pixel diagonally beside is 7.07 metres from the centre."""
    codes = np.zeros((3, 3), np.uint8)
    codes[0, 0] = 1
    assert inner(codes, np.array([0]))[1, 1]
    wide = np.pad(codes, 4, mode="edge")
    assert inner(wide, reach_of(7, (10, 10)))[5, 5]
    assert not inner(wide, reach_of(7.1, (10, 10)))[5, 5]


@settings(max_examples=40)
@given(
    cells=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    factor=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    data=st.data(),
)
def test_a_cell_has_the_code_of_most_of_its_pixels(cells, factor, data):
    shape = cells[0] * factor[0], cells[1] * factor[1]
    codes = data.draw(npst.arrays(np.uint8, shape, elements=few))
    got = most_frequent(codes, factor, none=9)
    assert got.shape == cells
    for y, x in np.ndindex(cells):
        cell = codes[y * factor[0] : (y + 1) * factor[0], x * factor[1] : (x + 1) * factor[1]]
        counts = np.bincount(cell.ravel(), minlength=256)
        most = np.flatnonzero(counts == counts.max())
        assert got[y, x] == (most[0] if most.size == 1 else 9)
