from __future__ import annotations

import numpy as np
import pytest

from geocube_ml.data.folds import trained_on
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import InputError
from geocube_ml.models.fit import Fit, FitSource
from geocube_ml.models.network import one_thread
from geocube_ml.spec.models import ForestSpec, TempCNNSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from geocube_ml.train.samples import choose_rows
from tests.seasons import NAMES, add_radar, add_terrain, fit_of, make_cube, make_still, scheme

NET = TempCNNSpec(width=8, epochs=2, batch=64)
TREES = ForestSpec(trees=6)
SPECS = pytest.mark.parametrize("spec", [NET, TREES], ids=["tempcnn", "forest"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches on busy cores: more threads would only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def samples():
    """About 1500 pixels of 77 polygons in some 24 blocks."""
    return gather_samples(make_cube(), SamplesSpec(block_m=100))


def assert_same(a, b, samples, calibrated=True):
    counts = counts_of(samples)
    np.testing.assert_array_equal(
        a.predict_proba(counts, calibrated=calibrated),
        b.predict_proba(counts, calibrated=calibrated),
    )


def counts_of(samples):
    return {"s2": samples["s2"].values}


def altered(samples, rows):
    """Other counts and other labels in some rows."""
    other = samples.copy(deep=True)
    other["s2"].values[rows] = 1234
    other["label"].values[rows] = (other["label"].values[rows] + 1) % len(NAMES)
    return other


@SPECS
def test_the_hold_out_is_never_used(samples, spec):
    held = samples["fold_block"].values == 0
    assert held.any()
    bundle = train_model(samples, spec)
    assert_same(bundle, train_model(altered(samples, held), spec), samples)
    assert_same(bundle, train_model(samples.sel(sample=~held), spec), samples)


@SPECS
def test_every_other_row_counts(samples, spec):
    """Beside the test above, so that it cannot pass for a model that ignores its samples."""
    some = samples["fold_block"].values == 1
    a, b = (train_model(s, spec) for s in (samples, altered(samples, some)))
    counts = counts_of(samples)
    assert not np.array_equal(a.predict_proba(counts), b.predict_proba(counts))


@SPECS
def test_only_the_rows_that_are_named_are_used(samples, spec):
    rows = np.arange(samples.sizes["sample"]) % 3 > 0
    bundle = train_model(samples, spec, rows=rows)
    assert_same(bundle, train_model(altered(samples, ~rows), spec, rows=rows), samples)
    assert bundle.facts["n_train"] + bundle.facts["n_validation"] == rows.sum()


@SPECS
def test_a_bundle_says_what_it_was_trained_on(samples, spec):
    bundle = train_model(samples, spec)
    assert bundle.name == spec.kind
    assert train_model(samples, TREES, name="mine").name == "mine"
    assert bundle.fit == Fit(
        sources=(FitSource(name="s2", bands=("b0", "b1", "b2"), nodata=0, scale=1e-4),),
        steps=("10-01", "11-01", "12-01", "01-01", "02-01", "03-01"),
    )
    assert bundle.classes == scheme()
    used = samples["fold_block"].values != 0
    assert bundle.facts["n_train"] + bundle.facts["n_validation"] == used.sum()
    assert bundle.facts["train_polygons"] == len(np.unique(samples["polygon"].values[used]))
    assert (bundle.facts["n_validation"] == 0) == (spec.kind == "forest")


def validation_of(samples, **more):
    """Labels of the rows that a network is given, and which of these are held out."""
    chosen = choose_rows(samples, NET, **more)
    return samples["label"].values[chosen.rows], chosen.held[chosen.rows]


def test_validation_takes_whole_blocks(samples):
    label, held = validation_of(samples)
    used = samples.sel(sample=samples["fold_block"].values != 0)
    np.testing.assert_array_equal(label, used["label"].values)
    block, polygon = used["block"].values, used["polygon"].values
    assert 0.05 < held.mean() < 0.3
    assert not set(block[held]) & set(block[~held])
    assert not set(polygon[held]) & set(polygon[~held])
    assert set(label[~held]) == set(range(len(NAMES)))


def test_no_validation_with_fewer_than_seven_blocks(samples):
    six = samples.copy()
    six["block"] = samples["block"] * 0 + np.arange(samples.sizes["sample"]) % 6
    assert not validation_of(six)[1].any()


def test_no_validation_where_a_class_lies_in_one_of_its_blocks(samples):
    lone = samples.copy(deep=True)
    label, block = lone["label"].values, lone["block"].values
    label[label == 3] = 2
    _, held = validation_of(lone, lenient=True)
    used = np.flatnonzero(lone["fold_block"].values != 0)
    one = block == block[used[held]][0]
    label[one & (lone["fold_block"].values != 0)] = 3
    held = validation_of(lone)[1]
    assert set(label[used][~held]) == {0, 1, 2, 3}


def test_many_blocks_with_few_rows_are_no_obstacle(samples):
    """Ten blocks, but five rows of each class: too few for one of seven folds."""
    rows = np.zeros(samples.sizes["sample"], bool)
    for code in (0, 1):
        rows[np.flatnonzero(samples["label"].values == code)[:5]] = True
    few = samples.sel(sample=rows).copy(deep=True)
    few["block"].values[:] = np.arange(10)
    few["fold_block"].values[:] = 1
    bundle = train_model(few, NET, lenient=True)
    assert bundle.facts["n_validation"] == 0
    assert bundle.facts["n_train"] == 10


@SPECS
def test_a_class_without_a_training_row(samples, spec):
    gone = samples.copy(deep=True)
    gone["fold_block"].values[gone["label"].values == 2] = 0
    with pytest.raises(InputError, match=r"No training row of: grassland; .*block_m"):
        train_model(gone, spec)
    prob = train_model(gone, spec, lenient=True).predict_proba(counts_of(gone))
    assert prob.shape[1] == len(NAMES)
    if spec.kind == "forest":
        assert (prob[:, 2] < 1e-3).all()


def test_one_class_alone_is_refused(samples):
    one = samples.sel(sample=samples["label"].values == 0).copy()
    one["label"].attrs.update(scheme(NAMES[:1]).attrs())
    with pytest.raises(InputError, match="There is one class only, winter wheat"):
        train_model(one, NET)


def test_patches_need_the_cube(samples):
    with pytest.raises(InputError, match=r"unet looks at what lies around.*`cube=`"):
        train_model(samples, UNetSpec())


@SPECS
def test_samples_from_a_file_train_the_same_model(samples, spec, tmp_path):
    import xarray as xr

    samples.to_zarr(tmp_path / "table", zarr_format=3, consolidated=False)
    back = xr.open_zarr(tmp_path / "table", consolidated=False, mask_and_scale=False).load()
    a, b = train_model(samples, spec), train_model(back, spec)
    assert (a.fit, a.classes, a.facts) == (b.fit, b.classes, b.facts)
    assert_same(a, b, samples)


def test_threads_do_not_change_a_forest(samples):
    a, b = (train_model(samples, TREES, workers=workers) for workers in (1, 2))
    assert_same(a, b, samples)


# --- several sources


@SPECS
@pytest.mark.parametrize("still", [False, True], ids=["three", "still"])
def test_every_source_says_something(spec, still):
    """A model is another one if a source's training rows are."""
    cube = make_still(bands=2) if still else add_terrain(add_radar(make_cube()))
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    bundle = train_model(samples, spec)
    assert bundle.fit.names == (("dem", "enmap") if still else ("s1", "s2", "dem"))
    assert bundle.fit.model_dump_json() == fit_of(cube).model_dump_json()  # NaN is not NaN
    counts = {name: samples[name].values for name in bundle.fit.names}
    prob = bundle.predict_proba(counts)
    trained = samples["fold_block"].values != 0
    for name in bundle.fit.names:
        other = samples.copy(deep=True)
        mixed = np.random.default_rng(0).permutation(samples[name].values[trained])
        other[name].values[trained] = mixed
        assert not np.array_equal(train_model(other, spec).predict_proba(counts), prob), name


@SPECS
def test_a_model_of_a_cube_without_a_time_axis_learns(spec):
    samples = gather_samples(make_still((60, 75), bands=200), SamplesSpec(block_m=100))
    more = {"epochs": 10, "width": 16} if spec.kind == "tempcnn" else {}
    bundle = train_model(samples, spec.model_copy(update=more))
    held = samples["fold_block"].values == 0
    prob = bundle.predict_proba({n: samples[n].values[held] for n in bundle.fit.names})
    assert (prob.argmax(axis=1) == samples["label"].values[held]).mean() > 0.9


# --- weights, a gap, a given split


def weighed(samples, weight):
    return samples.assign(weight=("sample", np.asarray(weight, "float32")))


@SPECS
def test_a_weight_of_zero_leaves_a_sample_out(samples, spec):
    out = np.arange(samples.sizes["sample"]) % 4 == 0
    zero = weighed(samples, np.where(out, 0, 1))
    rest = samples.sel(sample=~out)
    bundle = train_model(zero, spec)
    assert_same(bundle, train_model(rest, spec), samples)
    used = ~out & (samples["fold_block"].values != 0)
    assert bundle.facts["n_train"] + bundle.facts["n_validation"] == used.sum()


@SPECS
def test_equal_weights_are_no_weights_and_others_count(samples, spec):
    plain = train_model(samples, spec)
    n = samples.sizes["sample"]
    assert_same(plain, train_model(weighed(samples, np.full(n, 3)), spec), samples)
    assert_same(plain, train_model(samples.drop_vars("weight"), spec), samples)
    heavy = weighed(samples, np.where(samples["label"].values == 1, 20, 1))
    a, b = (
        one.predict_proba(counts_of(samples))[:, 1] for one in (plain, train_model(heavy, spec))
    )
    assert b.mean() > a.mean()


@SPECS
def test_nothing_left_to_train_on_is_said(samples, spec):
    none = weighed(samples, np.zeros(samples.sizes["sample"]))
    with pytest.raises(InputError, match=r"No training row of: winter wheat, .* or weigh 0"):
        train_model(none, spec)
    with pytest.raises(InputError, match=r"None of the 1333 samples is trained on"):
        train_model(none, spec, lenient=True)


@SPECS
def test_what_is_nearer_to_the_hold_out_than_the_gap_is_never_used(samples, spec):
    wide = samples.assign_attrs(gap_m=25.0)
    used = trained_on(wide)
    assert 0 < used.sum() < (samples["fold_block"].values != 0).sum()
    assert_same(train_model(wide, spec), train_model(altered(wide, ~used), spec), samples)


def given_split(samples):
    part = np.array(["train", "validation", "test", ""], object)[samples["polygon"].values % 4]
    return samples.assign(split=("sample", part))


@SPECS
def test_a_given_split_decides_what_is_trained_on(samples, spec):
    given = given_split(samples)
    used = np.isin(given["split"].values, ["train", "validation"])
    bundle = train_model(given, spec)
    assert_same(bundle, train_model(altered(given, ~used), spec), samples)
    if spec.kind == "forest":  # all that the validation rows decide is how sure it is
        other = train_model(altered(given, given["split"].values != "train"), spec)
        assert_same(bundle, other, samples, calibrated=False)
        assert other.temperature != bundle.temperature
    assert bundle.facts["n_train"] == (given["split"].values == "train").sum()
    assert bundle.facts["n_train"] + bundle.facts["n_validation"] == used.sum()
    near = given.assign_attrs(gap_m=25.0)
    kept = train_model(near, spec).facts["n_train"]
    assert 0 < kept == trained_on(near).sum() < bundle.facts["n_train"]


def test_a_given_split_says_when_to_stop(samples):
    given = given_split(samples)
    _, held = validation_of(given)
    used = given["split"].values[np.isin(given["split"].values, ["train", "validation"])]
    np.testing.assert_array_equal(held, used == "validation")
