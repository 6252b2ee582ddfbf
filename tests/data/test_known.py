from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from geocube_ml.data.known import step_bounds
from geocube_ml.data.samples import NOT_VALID, gather_samples
from geocube_ml.errors import InputError
from geocube_ml.spec.samples import SamplesSpec
from tests.data.tables import table_of
from tests.seasons import add_radar, add_terrain, make_cube

SPEC = SamplesSpec(block_m=100)


@pytest.fixture(scope="module")
def cube():
    return make_cube()  # October to March


@pytest.fixture(scope="module")
def plain(cube):
    return gather_samples(cube, SPEC)


def days(labels, first, last):
    """Validities of the first labels; the others hold always."""
    found = labels.copy()
    found.loc[: len(first) - 1, "valid_from"] = pd.to_datetime(first).to_numpy()
    found.loc[: len(last) - 1, "valid_to"] = pd.to_datetime(last).to_numpy()
    return found


def test_only_steps_wholly_within_the_validity_have_values(cube, plain):
    """A month counts if its first and its last day lie within, counted by hand."""
    labels = days(
        table_of(cube),
        ["2023-11-01", "2023-11-02", None, None, "2023-10-01"],
        ["2024-01-31", "2024-01-31", "2023-12-30", "2023-12-31", "2023-10-31"],
    )
    got = gather_samples(cube, SPEC, labels)
    held = {
        1: [1, 2, 3], 2: [2, 3], 3: [0, 1], 4: [0, 1, 2], 5: [0], 6: range(6),
    }  # fmt: skip
    for number, months in held.items():
        ours, all_of_it = (one["s2"].values[one["polygon"].values == number]
                           for one in (got, plain))  # fmt: skip
        want = np.where(np.isin(np.arange(6), list(months))[:, None], all_of_it, 0)
        want = want[(want != 0).any(axis=(1, 2))]  # nothing was seen of the others
        np.testing.assert_array_equal(ours, want)
    assert got.attrs["n_unobserved"] == plain.sizes["sample"] - got.sizes["sample"]


def test_bounds_of_the_cube_say_when_its_last_step_ends(cube):
    labels = days(table_of(cube), ["2024-03-01"] * 77, ["2024-03-10"] * 77)
    with pytest.raises(InputError, match=r"None of the \d+ labelled samples is valid"):
        gather_samples(cube, SPEC, labels)
    starts = cube["time"].values
    ends = np.append(starts[1:], np.datetime64("2024-03-11"))
    bound = cube.assign_coords(time_bnds=(("time", "nv"), np.stack([starts, ends], axis=1)))
    got = gather_samples(bound, SPEC, labels)
    assert (got["s2"].values[:, :5] == 0).all()
    assert (got["s2"].values[:, 5] != 0).all()
    one = cube.isel(time=[0])
    with pytest.raises(InputError, match=r"where its only step ends.*time_bnds"):
        gather_samples(one, SPEC, labels)


def test_labels_that_hold_in_no_step_are_left_out_and_counted(cube, plain):
    labels = days(table_of(cube), ["2022-01-01", "2023-10-02"], ["2022-12-31", "2023-11-15"])
    got = gather_samples(cube, SPEC, labels)
    n = int(np.isin(plain["polygon"], [1, 2]).sum())
    assert json.loads(got.attrs["left_out"]) == {NOT_VALID: {"labels": 2, "samples": 40}}
    assert got.sizes["sample"] == plain.sizes["sample"] - n
    assert not np.isin(got["polygon"], [1, 2]).any()


def test_every_series_and_no_static_source_is_masked(cube):
    every = add_terrain(add_radar(cube))
    labels = days(table_of(every), ["2023-11-01"] * 77, ["2024-01-31"] * 77)
    got, plain = gather_samples(every, SPEC, labels), gather_samples(every, SPEC)
    same = plain.sel(sample=np.isin(
        plain["x"].values * 1e8 + plain["y"].values, got["x"].values * 1e8 + got["y"].values
    ))  # fmt: skip
    np.testing.assert_array_equal(got["dem"], same["dem"])
    np.testing.assert_array_equal(got["s1"].values[:, 1:4], same["s1"].values[:, 1:4])
    assert np.isnan(got["s1"].values[:, [0, 4, 5]]).all()


def test_two_labels_of_one_pixel_have_each_their_own_months(cube):
    labels = table_of(cube)
    number = int(labels["polygon"].max()) + 1
    again = labels.iloc[[0]].assign(polygon=number, layer=1, code=3)
    both = days(pd.concat([again, labels], ignore_index=True), ["2024-01-01"], ["2024-03-31"])
    both.loc[1, "valid_to"] = pd.Timestamp("2023-12-31")
    layered = cube.copy()
    for name, fill in (("label", 255), ("polygon", 0)):
        second = xr.full_like(cube[name], fill)
        second[:5, :4] = 3 if name == "label" else number
        stack = xr.concat([cube[name], second], "label_layer")
        layered[name] = stack.assign_attrs(cube[name].attrs)
    got = gather_samples(layered.chunk(y=16, x=16), SPEC, both)
    first, then = (got.sel(sample=got["polygon"] == one) for one in (1, number))
    assert (then["label"] == 3).all()
    assert (then["s2"].values[:, :3] == 0).all()
    assert (first["s2"].values[:, 3:] == 0).all()
    assert (first["s2"].values[:, :3] != 0).any()


def test_weights_and_columns_are_those_of_the_label(cube):
    n = len(table_of(cube))
    labels = table_of(
        cube, weight=np.linspace(0, 2, n).astype("float32"), region=["north", None] * (n // 2) + [
            "south"], year=np.arange(n) + 2000, score=[0.5, np.nan] * (n // 2) + [1.5],
        seen=pd.date_range("2023-01-01", periods=n).astype("datetime64[ns]"),
    )  # fmt: skip
    with_rest = make_cube(background=3)
    got = gather_samples(with_rest, SPEC, labels)
    inside = got["polygon"].values > 0
    at = got["polygon"].values[inside] - 1
    for name in ("weight", "year", "score", "seen"):
        np.testing.assert_array_equal(got[name].values[inside], labels[name].to_numpy()[at])
    assert (got["weight"].values[~inside] == 1).all()
    assert np.isnan(got["year"].values[~inside]).all()
    assert np.isnat(got["seen"].values[~inside]).all()
    assert set(got["region"].values[~inside]) == {""}
    text = np.array([one or "" for one in labels["region"].fillna("")], object)
    assert got["region"].values[inside].tolist() == text[at].tolist()
    assert "source" not in got
    assert gather_samples(cube, SPEC, labels)["year"].dtype.kind == "i"


def test_a_table_of_other_labels_is_refused(cube):
    labels = table_of(cube)
    with pytest.raises(InputError, match=r"pixels of the labels 3, 4, which the table"):
        gather_samples(cube, SPEC, labels[~labels["polygon"].isin([3, 4])])
    with pytest.raises(InputError, match=r"lacks weight, valid_from; it has polygon"):
        gather_samples(cube, SPEC, labels.drop(columns=["weight", "valid_from"]))
    with pytest.raises(InputError, match=r"the polygon 1 more than once"):
        gather_samples(cube, SPEC, pd.concat([labels, labels.iloc[[0]]]))
    with pytest.raises(InputError, match=r"weight of label 2 is nan"):
        gather_samples(cube, SPEC, labels.assign(weight=[1, np.nan] + [1] * 75))
    with pytest.raises(InputError, match=r"weight of label 1 is -1"):
        gather_samples(cube, SPEC, labels.assign(weight=-1.0))
    with pytest.raises(InputError, match=r"the column x, a name that the sample table"):
        gather_samples(cube, SPEC, labels.assign(x=1))


def test_pixels_of_class_rasters_are_looked_up_too(cube):
    """Their ids are below 0; as they have no shape they are no polygon."""
    mixed = cube.copy(deep=True)
    left = mixed["polygon"].values[:, :25]
    left[left > 0] = -1
    labels = table_of(mixed)
    raster = pd.DataFrame({"polygon": [-1], "weight": np.float32([0.25])})
    both = pd.concat([labels, raster], ignore_index=True)
    both = both.astype({"valid_from": "datetime64[ns]", "valid_to": "datetime64[ns]"})
    got = gather_samples(mixed, SPEC, both)
    assert set(got["weight"].values[got["polygon"].values == -1]) == {0.25}
    assert len(set(got["block"].values[got["polygon"].values == -1])) > 5


def test_steps_end_as_bounds_say_or_where_the_next_begins():
    def bounds(days, **more):
        time = np.array(days, "datetime64[ns]")
        begin, end = step_bounds(xr.Dataset(coords={"time": time}).assign_coords(**more))
        np.testing.assert_array_equal(begin, time)
        return end.astype("datetime64[D]").astype(str).tolist()

    assert bounds(["2023-01-01", "2023-02-01"]) == ["2023-02-01", "2023-03-01"]
    assert bounds(["2023-01-01", "2023-04-01"]) == ["2023-04-01", "2023-07-01"]
    assert bounds(["2023-01-05", "2023-01-15"]) == ["2023-01-15", "2023-01-25"]
    said = np.array([["2023-01-05", "2023-01-09"]], "datetime64[ns]")
    assert bounds(["2023-01-05"], time_bnds=(("time", "nv"), said)) == ["2023-01-09"]
    with pytest.raises(InputError, match=r"where its only step ends.*time_bnds"):
        bounds(["2023-01-05"])
