from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.data.draw import drawn
from geocube_ml.data.samples import gather_samples
from geocube_ml.spec.samples import SamplesSpec
from tests.seasons import NAMES, make_cube


@pytest.fixture(scope="module")
def cube():
    return make_cube(background=3, cloudy=0)


def counts(samples):
    return json.loads(samples.attrs["drawn"])


def far(samples):
    x, y = samples["x"].values, samples["y"].values
    between = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(between, np.inf)
    return between


def test_a_number_of_each_class_is_drawn_from_its_polygons_in_turn(cube):
    got = gather_samples(cube, SamplesSpec(block_m=100, per_class=40))
    every = np.bincount(cube["label"].values.ravel(), minlength=4)
    assert counts(got) == {
        name: {"labelled": int(n), "asked": 40, "got": 40}
        for name, n in zip(NAMES, every, strict=True)
    }
    for code in range(3):
        polygons = got["polygon"].values[got["label"].values == code]
        each = np.unique(polygons, return_counts=True)[1]
        assert each.max() - each.min() <= 1
        assert len(each) == len(np.unique(cube["polygon"].values[cube["label"].values == code]))


def test_a_class_with_less_than_was_asked_for_gives_all_and_is_told(cube):
    got = gather_samples(cube, SamplesSpec(block_m=100, per_class=450))
    said = counts(got)
    assert said["forest"]["got"] == 450
    for name in NAMES[:3]:
        assert said[name]["got"] == said[name]["labelled"] < said[name]["asked"] == 450


def test_what_was_never_observed_is_missing_from_what_was_got(cube):
    dark = cube.copy(deep=True)
    dark["s2"].values[..., :20] = 0
    said = counts(gather_samples(dark, SamplesSpec(block_m=100, per_class=40)))
    assert all(one["got"] < one["asked"] == 40 for one in said.values())


def test_balanced_takes_as_many_as_the_rarest_class_has(cube):
    rare = cube.copy(deep=True)
    rare["label"].values[rare["label"].values == 1] = 0
    rare["label"].values[:5, :4] = 1
    said = counts(gather_samples(rare, SamplesSpec(block_m=100, balanced=True)))
    assert [one["got"] for one in said.values()] == [20] * 4
    few = gather_samples(rare, SamplesSpec(block_m=100, balanced=True, per_class=7))
    assert np.bincount(few["label"]).tolist() == [7] * 4


def test_a_share_of_each_class(cube):
    said = counts(gather_samples(cube, SamplesSpec(block_m=100, share=0.1)))
    for one in said.values():
        assert one["got"] == int(np.ceil(0.1 * one["labelled"]))
        assert one["asked"] is None


def test_a_share_is_rounded_up_from_what_it_is_and_not_from_what_floats_make_of_it():
    n = np.zeros(100)
    taken, _ = drawn(n, n, n, n.astype("uint8"), SamplesSpec(share=0.07))
    assert len(taken) == 7
    taken, _ = drawn(n, n, n, n.astype("uint8"), SamplesSpec(share=0.071))
    assert len(taken) == 8


@pytest.mark.parametrize("more", [{}, {"per_class": 20}, {"per_polygon": 2}])
def test_no_two_samples_are_nearer_than_the_least_distance(cube, more):
    got = gather_samples(cube, SamplesSpec(block_m=100, min_distance_m=30, n_fold=3, **more))
    assert far(got).min() == 30  # of pixels of 10 m there are some
    if more:
        return
    kept = np.stack([got["x"], got["y"]], axis=1)
    y, x = np.meshgrid(cube["y"], cube["x"], indexing="ij")
    others = np.hypot(x.reshape(-1, 1) - kept[:, 0], y.reshape(-1, 1) - kept[:, 1]).min(axis=1)
    assert others.max() < 30  # nowhere is room for one more


@settings(max_examples=4, deadline=None)
@given(y=st.integers(5, 40), x=st.integers(5, 60))
def test_draws_do_not_depend_on_the_chunks(cube, y, x):
    spec = SamplesSpec(
        block_m=100, min_distance_m=15, per_polygon=4, per_class=30, n_fold=3, seed=2
    )
    xr.testing.assert_identical(
        gather_samples(cube.chunk(y=y, x=x), spec), gather_samples(cube, spec)
    )


def test_rules_hold_together_and_follow_the_seed():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 100, (2, 3000)) * 10.0
    polygon = (x // 50 + 20 * (y // 50)).astype(int)
    label = (polygon % 3).astype("uint8")
    found = {}
    for seed in (0, 0, 1):
        spec = SamplesSpec(min_distance_m=12, per_polygon=3, per_class=100, seed=seed)
        kept, asked = drawn(x, y, polygon, label, spec)
        assert asked.tolist() == [100] * 3
        assert np.bincount(label[kept]).tolist() == [100] * 3
        assert np.bincount(polygon[kept])[1:].max() <= 3
        found.setdefault(seed, []).append(kept.tolist())
    assert found[0][0] == found[0][1] != found[1][0]
