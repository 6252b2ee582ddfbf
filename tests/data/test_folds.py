from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocube_ml.data.folds import (
    GAP,
    TEST,
    TRAIN,
    VALIDATION,
    fold_distances,
    held_out,
    make_folds,
    split_codes,
    trained_on,
    with_gap,
)
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import InputError
from geocube_ml.kernels.sampling import blocks
from geocube_ml.spec.samples import SamplesSpec
from tests.data.tables import table_of
from tests.seasons import make_cube

SPEC = SamplesSpec(block_m=100)


@pytest.fixture(scope="module")
def cube():
    return make_cube(background=3)


@pytest.fixture(scope="module")
def labels(cube):
    n = len(table_of(cube))
    region = np.array(["north", "east", "south"])[np.arange(n) % 3]
    split = np.array(["train", "train", "validation", "test"])[np.arange(n) // 5 % 4]
    return table_of(cube, region=region, part=split, year=2020 + np.arange(n) % 2)


def gathered(cube, labels, **more):
    return gather_samples(cube, SamplesSpec(block_m=100, **more), labels)


@settings(max_examples=40)
@given(st.data())
def test_no_polygon_and_no_block_lies_in_two_folds(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    n, n_fold = data.draw(st.integers(40, 200)), data.draw(st.integers(2, 4))
    x, y = rng.uniform(0, 1000, (2, n))
    # polygons are patches of 60 m; some samples are of none
    polygon = (1 + x // 60 + 40 * (y // 60)).astype(int) * (rng.random(n) < 0.8)
    label = rng.integers(0, data.draw(st.integers(1, 4)), n).astype("uint8")
    spec = SamplesSpec(block_m=data.draw(st.sampled_from([80, 200])), n_fold=n_fold, seed=n)
    region = np.array(["a", "b", "c", ""], object)[polygon % 4]
    made = make_folds(
        x, y, polygon, label, {"region": region}, spec.model_copy(update={"group_column": "region"})
    )
    made = {name: one[1] for name, one in made.items()}
    inside = polygon > 0
    for name in ("fold_polygon", "fold_block", "fold_group", "block"):
        for one in np.unique(polygon[inside]):
            assert len(set(made[name][polygon == one])) == 1, name
    for one in np.unique(made["block"]):
        assert len(set(made["fold_block"][made["block"] == one])) == 1
    for name in ("fold_random", "fold_polygon", "fold_block"):
        assert set(made[name]) == set(range(n_fold))
        assert made[name].dtype == "int16"


def test_folds_at_random_have_all_classes_alike(cube, labels):
    got = gathered(cube, labels)
    for code in range(4):
        size = np.bincount(got["fold_random"].values[got["label"].values == code])
        assert len(size) == 5
        assert size.max() - size.min() <= 1


def test_groups_are_the_values_of_a_column(cube, labels):
    got = gathered(cube, labels, group_column="region")
    assert got["fold_group"].attrs == {"column": "region", "groups": ["east", "north", "south"]}
    inside = got["polygon"].values > 0
    names = np.array(got["fold_group"].attrs["groups"])[got["fold_group"].values[inside]]
    assert names.tolist() == got["region"].values[inside].tolist()
    assert gathered(cube, labels, group_column="year")["fold_group"].attrs["groups"] == [
        "2020", "2021"
    ]  # fmt: skip


def test_what_is_of_no_polygon_goes_with_its_nearest_sample(cube, labels):
    got = gathered(cube, labels, group_column="region", split_column="part")
    inside = got["polygon"].values > 0
    x, y = got["x"].values, got["y"].values
    for at in np.flatnonzero(~inside)[::40]:
        away = np.hypot(x[inside] - x[at], y[inside] - y[at])
        near = np.flatnonzero(inside)[away == away.min()]
        assert got["fold_group"].values[at] in got["fold_group"].values[near]
        assert got["split"].values[at] in got["split"].values[near]


def test_a_label_without_a_value_is_in_no_fold(cube, labels):
    some = labels.assign(region=labels["region"].where(labels["polygon"] > 4, None))
    got = gathered(cube, some, group_column="region")
    small = np.isin(got["polygon"].values, [1, 2, 3, 4])
    assert (got["fold_group"].values[small] == -1).all()
    assert (got["fold_group"].values[~small] >= 0).all()
    assert set(json.loads(got.attrs["fold_distances"])["group"]) == {"0", "1", "2"}


def test_a_given_split_says_what_is_trained_on(cube, labels):
    got = gathered(cube, labels, split_column="part", gap_m=500)
    np.testing.assert_array_equal(held_out(got), got["split"].values == "test")
    assert not trained_on(got).any()
    np.testing.assert_array_equal(
        trained_on(got.assign_attrs(gap_m=0)), got["split"].values == "train"
    )
    assert set(got["split"].values) == {"train", "validation", "test"}
    plain = gathered(cube, labels)
    np.testing.assert_array_equal(held_out(plain), plain["fold_block"].values == 0)
    np.testing.assert_array_equal(trained_on(plain), plain["fold_block"].values != 0)


@pytest.mark.parametrize("gap", [5, 20, 45])
def test_no_row_that_is_trained_on_is_nearer_to_the_hold_out_than_the_gap(cube, labels, gap):
    got = gathered(cube, labels, gap_m=gap)
    assert got.attrs["gap_m"] == gap
    held, used = held_out(got), trained_on(got)
    x, y = got["x"].values, got["y"].values
    away = np.hypot(x[:, None] - x[held], y[:, None] - y[held]).min(axis=1)
    np.testing.assert_array_equal(used, ~held & (away >= gap))
    assert (used.sum() < (~held).sum()) == (gap > 10)


def test_a_gap_lies_around_what_a_given_split_tests_and_validates(cube, labels):
    got = gathered(cube, labels, split_column="part")
    codes = split_codes(got)
    split, x, y = got["split"].values, got["x"].values, got["y"].values
    assert [set(split[codes == code]) for code in (TRAIN, VALIDATION, TEST)] == [
        {"train"}, {"validation"}, {"test"}
    ]  # fmt: skip
    found = with_gap(got, codes, 30)
    for held, lower in ((TEST, (TRAIN, VALIDATION)), (VALIDATION, (TRAIN,))):
        others = codes == held if held == TEST else found == held
        away = np.hypot(x[:, None] - x[others], y[:, None] - y[others]).min(axis=1)
        codes[np.isin(codes, lower) & (away < 30)] = GAP
    np.testing.assert_array_equal(found, codes)
    assert set(found) == {TRAIN, VALIDATION, TEST, GAP}
    by_block = split_codes(got, by_block=True, validation=1)
    np.testing.assert_array_equal(by_block == TEST, got["fold_block"].values == 0)
    np.testing.assert_array_equal(by_block == VALIDATION, got["fold_block"].values == 1)


def test_the_least_distance_is_that_of_all_samples_however_many():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1000, (2, 6000))
    fold = (x // 350).astype(int) * 3  # strips; of their numbers not all are there
    said = fold_distances({"x": x, "y": y, "fold_block": fold})["block"]
    assert list(said) == ["0", "3", "6"]
    for one in np.unique(fold):
        here = fold == one
        near = np.hypot(x[here][:, None] - x[~here], y[here][:, None] - y[~here]).min(axis=1)
        assert said[str(one)]["n"] == here.sum()
        assert said[str(one)]["min_m"] == round(float(near.min()), 2)
        assert said[str(one)]["median_m"] == pytest.approx(np.median(near), rel=0.1)
    twice = {"x": [0.0, 0, 10], "y": [0.0, 0, 0], "fold_random": [0, 1, 1]}
    assert fold_distances(twice)["random"]["1"] == {"n": 2, "min_m": 0, "median_m": 5}


def test_distances_between_folds_are_those_of_all_pairs(cube, labels):
    got = gathered(cube, labels, split_column="part", group_column="region")
    said = json.loads(got.attrs["fold_distances"])
    assert set(said) == {"random", "polygon", "block", "group", "split"}
    x, y = got["x"].values, got["y"].values
    between = np.hypot(x[:, None] - x, y[:, None] - y)
    for kind in ("polygon", "block", "split"):
        fold = got[kind if kind == "split" else f"fold_{kind}"].values
        for one in np.unique(fold):
            near = between[fold == one][:, fold != one].min(axis=1)
            assert said[kind][str(one)] == {
                "n": int((fold == one).sum()),
                "min_m": round(float(near.min()), 2),
                "median_m": round(float(np.median(near)), 2),
            }
    assert said == fold_distances(got)


def test_columns_that_are_none_and_values_that_are_wrong(cube, labels):
    with pytest.raises(InputError, match=r"`samples\.group_column` is 'farm', but the labels keep"):
        gathered(cube, labels, group_column="farm")
    with pytest.raises(InputError, match=r"`samples\.split_column` is 'part', .*keep none"):
        gather_samples(cube, SamplesSpec(block_m=100, split_column="part"))
    with pytest.raises(InputError, match=r"the column split, .*`samples\.split_column`"):
        gathered(cube, labels.rename(columns={"part": "split"}))
    wrong = labels.assign(part=labels["part"].replace({"test": "Test", "validation": "val"}))
    with pytest.raises(InputError, match=r"'part' says Test, val; a given split is one of train"):
        gathered(cube, wrong, split_column="part")
    with pytest.raises(InputError, match=r"No sample has the split test in the column 'part'"):
        gathered(cube, labels.assign(part="train"), split_column="part")
    with pytest.raises(InputError, match=r"Folds by 'region' need two of its values.* have north"):
        gathered(cube, labels.assign(region="north"), group_column="region")


def test_a_class_with_one_sample_is_no_obstacle(labels):
    lone = make_cube()
    lone["label"].values[lone["label"].values == 2] = 1
    lone["label"].values[0, 0] = 2
    got = gather_samples(lone, SPEC)
    assert np.bincount(got["label"])[2] == 1
    assert set(got["fold_random"].values) == set(range(5))


def test_a_cube_without_labels_is_refused(cube):
    with pytest.raises(InputError, match=r"no label and no polygon: it has s2\. Run the step"):
        gather_samples(cube[["s2"]], SPEC)


def test_blocks_are_those_of_the_mean_of_a_polygon(cube, labels):
    got = gathered(cube, labels)
    one = got["polygon"].values == 20
    mean = (got["x"].values[one].mean(keepdims=True), got["y"].values[one].mean(keepdims=True))
    assert set(got["block"].values[one]) == set(blocks(*mean, 100))
