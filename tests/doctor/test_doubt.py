import sys
import warnings
from importlib import import_module
from types import ModuleType

import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import Point, box

from geocube_ml.doctor.doubt import ALONE, NEVER_SEEN, confident_learning, doubtful_labels
from geocube_ml.doctor.edge import edge_distance
from geocube_ml.errors import InputError
from geocube_ml.spec.doctor import DoctorSpec
from tests.doctor.tables import flipped, found, read, table

QUICK = DoctorSpec(trees=20)


def seasons(n=120, size=1, n_class=3, noise=0.1, seed=0):
    """Series of polygons of `size` samples, of classes that peak at months of their own."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(n // size) % n_class, size)
    month = np.arange(12)
    peak = 2 + 8 * label / n_class
    series = np.exp(-((month - peak[:, None]) ** 2) / 4)[..., None] + rng.normal(
        0, noise, (n, 12, 2)
    )
    names = ("wheat", "maize", "grass", "rye")[:n_class]
    return table(series, label, names, 1 + np.repeat(np.arange(n // size), size))


@pytest.mark.parametrize(
    ("folder", "how", "least"),
    [("sits_cerrado2", "random", 0.8), ("sits_mt_mod13q1", "similar", 0.6)],
)
def test_flipped_labels_of_real_series_are_among_the_worst(folder, how, least, real_data):
    samples, wrong = flipped(read(real_data(folder)), how)
    assert found(doubtful_labels(samples, DoctorSpec(trees=50), workers=2), wrong) >= least


def test_a_polygon_that_is_flipped_as_a_whole_does_not_vouch_for_itself():
    """Each polygon has series of its own: with its neighbours in it, any class would be learnt."""
    samples = seasons(n=600, size=12, noise=0.15)
    rng = np.random.default_rng(1)
    own = rng.normal(0, 0.3, (50, 12, 2))[samples["polygon"].values - 1]
    samples["s2"] = samples["s2"] + own.astype("f4")
    samples["s2"].attrs["nodata"] = np.nan
    samples, wrong = flipped(samples, "random", seed=2)
    doubts = doubtful_labels(samples, QUICK)
    assert found(doubts, wrong) == 1
    assert len(doubts.labels) == 50
    assert doubts.labels["samples"].tolist() == [12] * 50


def test_reasons_say_the_class_and_the_neighbours():
    samples, (wrong,) = flipped(seasons(n_class=2), "random", share=1 / 120)
    worst = doubtful_labels(samples, QUICK).labels.iloc[0]
    at = int(np.flatnonzero(samples["polygon"].values == wrong)[0])
    given, true = ("maize", "wheat") if at % 2 == 0 else ("wheat", "maize")
    assert (worst["polygon"], worst["class"], worst["suggested"]) == (wrong, given, true)
    assert worst["reason"].startswith(f"the data say {true} (")
    assert f"15 of 15 neighbours are {true}; unlike other {given}" in worst["reason"]
    assert worst["doubt"] > 0.8


def test_the_same_labels_are_found_whatever_the_threads():
    samples, _ = flipped(seasons(), "random")
    one, two = (doubtful_labels(samples, QUICK, workers=workers) for workers in (1, 2))
    assert one.labels.equals(two.labels)
    assert np.array_equal(one.samples, two.samples, equal_nan=True)


def test_nearness_to_the_edge_raises_doubt_and_is_said():
    samples = seasons(n=60, size=20)
    polygons = gpd.GeoDataFrame(
        {"polygon": [1, 2, 3]},
        geometry=[box(-15, -25, 215, 25), box(205, -2000, 395, 2000), Point(500, 0)],
        crs="EPSG:32633",
    )
    samples = samples.assign(label=("sample", np.tile([0, 1, 2], 20).astype("u1"),
                                    samples["label"].attrs))  # fmt: skip
    samples["polygon"] = ("sample", 1 + np.arange(60, dtype="i4") // 20)
    far, near = (doubtful_labels(samples, QUICK, labels, inset_m=5, pixel_m=20).labels
                 for labels in (None, polygons))  # fmt: skip
    far, near = (one.set_index(["polygon", "code"]).sort_index() for one in (far, near))
    assert far["edge_m"].isna().all()
    assert (near["doubt"] > far["doubt"])[:2].all()
    assert near["reason"].loc[1].str.contains("30 m from the edge").all()
    assert near["doubt"].loc[3].tolist() == far["doubt"].loc[3].tolist()  # a point has none


def test_distances_to_the_edge_are_metres_on_the_ground():
    """EPSG:3857 at 60 degrees north counts two metres for each."""
    shape = box(1_000_000, 8_399_000, 1_000_400, 8_400_000)
    labels = gpd.GeoDataFrame({"polygon": [4]}, geometry=[shape], crs="EPSG:3857")
    x, y = np.array([1_000_100.0, 1_000_010, 0]), np.full(3, 8_399_500.0)
    got = edge_distance(x, y, np.array([4, 4, 4]), labels, 10)
    assert got[:2] == pytest.approx([60, 15], rel=0.01)
    assert np.isnan(got[2])


def test_missing_steps_are_no_reason_for_doubt():
    samples, wrong = flipped(seasons(), "random")
    rng = np.random.default_rng(0)
    samples["s2"].values[rng.random((120, 12)) < 0.3] = np.nan
    samples["s2"].values[:, 3] = np.nan  # a month without any
    assert found(doubtful_labels(samples, QUICK), wrong) >= 0.9


def test_a_sample_without_a_step_in_common_leaves_the_rest_of_its_label_to_be_judged():
    """The second sample of a wrong label is seen in a month that no other one is."""
    samples = seasons(n=48, size=2, n_class=2)
    samples["label"].values[:2] = 1 - samples["label"].values[0]
    samples["s2"].values[:, 3] = np.nan
    samples["s2"].values[1] = np.nan
    samples["s2"].values[1, 3] = 1
    worst = doubtful_labels(samples, QUICK).labels.iloc[0]
    assert worst["polygon"] == 1
    assert "unlike other maize" in worst["reason"]


def test_a_notebook_without_widgets_is_told_of_no_progress_bar(monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] in ("cleanlab", "tqdm"):
            monkeypatch.delitem(sys.modules, name)
    notebook = "IPython.utils._process_emscripten"  # by which tqdm knows one
    monkeypatch.setitem(sys.modules, notebook, ModuleType(notebook))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.warns(match="IProgress"):
        import_module("tqdm.auto")
    monkeypatch.delitem(sys.modules, "tqdm.auto")
    monkeypatch.delitem(sys.modules, "tqdm.autonotebook")
    confident_learning.cache_clear()
    # tqdm would take a warning that is an error for another console
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        confident_learning()
    confident_learning.cache_clear()
    assert "tqdm.autonotebook" in sys.modules
    assert not [one for one in told if "IProgress" in str(one.message)]


def test_what_cannot_be_judged_comes_last_and_says_so():
    samples = seasons(n=61)
    samples["label"].values[60] = 2
    samples["label"].values[:60] %= 2  # one grass
    samples["s2"].values[7] = np.nan
    doubts = doubtful_labels(samples, QUICK)
    last = doubts.labels.tail(2)
    assert sorted(zip(last["polygon"], last["reason"], strict=True)) == [
        (8, NEVER_SEEN), (61, ALONE),
    ]  # fmt: skip
    assert last["doubt"].isna().all()
    assert np.flatnonzero(np.isnan(doubts.samples)).tolist() == [7, 60]
    assert any("grass" in note for note in doubts.notes)


def test_without_polygons_blocks_are_judged_and_without_both_each_sample():
    samples = seasons(n=60)
    samples["polygon"][:] = 0
    by_block = doubtful_labels(samples, QUICK).labels
    assert len(by_block) == 18  # six blocks of three classes
    assert set(by_block["samples"]) <= {3, 4}
    alone = doubtful_labels(samples.drop_vars(["polygon", "block"]), QUICK).labels
    assert len(alone) == 60


def test_five_rows_are_judged_and_said_to_be_few():
    samples = seasons(n=5, n_class=2)
    doubts = doubtful_labels(samples, QUICK)
    assert doubts.labels["doubt"].notna().all()
    assert doubts.notes == ("few labels, judged by fewer still: wheat (3), maize (2)",)


def test_one_class_or_nothing_observed_is_an_error():
    samples = seasons(n=30)
    samples["label"][:] = 1
    with pytest.raises(InputError, match="there are: wheat 0, maize 30, grass 0"):
        doubtful_labels(samples, QUICK)
    samples = seasons(n=30)
    samples["s2"][:] = np.nan
    with pytest.raises(InputError, match="None of the 30 samples has an observation"):
        doubtful_labels(samples, QUICK)
