from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from geocube_ml.data.batch import Channels
from geocube_ml.data.folds import held_out
from geocube_ml.data.samples import gather_samples
from geocube_ml.errors import GridMismatch, InputError
from geocube_ml.models.network import one_thread
from geocube_ml.models.scaling import Scaling
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import DeepLabSpec, ForestSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import patch_table, train_model
from geocube_ml.train.patch_table import PatchTable
from geocube_ml.train.patches import PatchFeed, turned
from geocube_ml.train.samples import choose_rows
from tests.seasons import add_radar, add_terrain, fit_of, make_cube, make_still, scheme

TINY = {"width": 4, "epochs": 2, "patch": 16}
UNET = UNetSpec(**TINY, depth=1)
DEEPLAB = DeepLabSpec(**TINY, rates=(1,))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small batches on busy cores: more threads would only wait for each other."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def cube():
    """Counts say the class: each band is 1000 x (class + 1) or so, but where nothing was seen."""
    return make_cube()


@pytest.fixture(scope="module")
def samples(cube):
    return gather_samples(cube, SamplesSpec(block_m=100))


@pytest.fixture(scope="module")
def trained(cube, samples):
    return train_model(samples, UNET, cube=cube)


def weights(bundle):
    return bundle.model.state()


def assert_same_weights(a, b):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


def table_of(cube, samples, held=None, weight=None, patch=16, context=4):
    n = samples.sizes["sample"]
    held = np.zeros(n, bool) if held is None else held
    weight = np.ones(n, np.float32) if weight is None else weight
    channels = Channels.of(cube, None, None, np.nan)
    return PatchTable.of(cube, samples, channels, held, weight, patch, context), channels


# --- what is shown


def test_every_sample_lies_in_one_core_with_its_label_series_and_weight(cube, samples):
    n = samples.sizes["sample"]
    weight = np.arange(1, n + 1, dtype=np.float32)  # each its own: it says which sample it is
    held = np.arange(n) % 5 == 0
    table, _ = table_of(cube, samples, held, weight)
    counts = table.counts["counts of s2"]
    for codes, rows in ((table.label, ~held), (table.held, held)):
        patch, row, col = np.nonzero(codes != UNKNOWN)
        assert ((row >= 4) & (row < 20) & (col >= 4) & (col < 20)).all()
        which = table.weight[patch, row, col].astype(int) - 1
        assert sorted(which) == np.flatnonzero(rows).tolist()
        np.testing.assert_array_equal(codes[patch, row, col], samples["label"].values[which])
        np.testing.assert_array_equal(counts[patch, :, :, row, col], samples["s2"].values[which])


def test_what_lies_around_is_the_cubes_and_missing_beyond_it(cube, samples):
    table, _ = table_of(cube, samples)
    counts, s2 = table.counts["counts of s2"], cube["s2"].values
    assert len(counts) == 3 * 4  # cores of 16 in 37 x 53 pixels
    first, last = counts[0], counts[-1]
    assert (first[..., :4, :] == 0).all()
    assert (first[..., :4] == 0).all()
    np.testing.assert_array_equal(first[..., 4:, 4:], s2[..., :20, :20])
    np.testing.assert_array_equal(last[..., : 37 - 28, : 53 - 44], s2[..., 28:, 44:])
    assert (last[..., 37 - 28 :, :] == 0).all()


def test_patches_that_do_not_fit_in_memory_are_kept_in_a_file(cube, samples, monkeypatch):
    table, _ = table_of(cube, samples)
    monkeypatch.setattr(patch_table, "_IN_MEMORY", 1000)
    monkeypatch.setattr(patch_table, "_READ", 16)
    filed, _ = table_of(cube, samples)
    assert isinstance(filed.counts["counts of s2"], np.memmap)
    assert filed.digest() == table.digest()


def test_steps_in_which_a_label_does_not_hold_are_missing(cube, samples):
    partly = samples.copy(deep=True)
    partly["s2"].values[7, 2:] = 0
    table, _ = table_of(cube, partly, weight=np.arange(1, samples.sizes["sample"] + 1.0))
    ((patch, row, col),) = np.argwhere(table.weight == 8)
    np.testing.assert_array_equal(
        table.counts["counts of s2"][patch, :, :, row, col], partly["s2"].values[7]
    )


def test_an_epoch_shows_every_sample_once_turned_with_its_values(cube, samples):
    table, channels = table_of(cube, samples)
    spec = UNetSpec(**TINY, jitter=0, batch=5)
    feed = PatchFeed(table, channels, fit_of(cube).layout, spec, seed=3)
    shown = list(feed.batches(0))
    assert [len(batch.target) for batch in shown] == [4, 4, 4]
    assert feed.n_batch == 3
    found = []
    for batch in shown:
        known = batch.target != UNKNOWN
        series = batch.inputs.movedim((1, 2), (-2, -1))[known]
        found += zip(batch.target[known].tolist(), series.numpy(), strict=True)
    assert len(found) == samples.sizes["sample"]
    physical = fit_of(cube).stacked({"s2": samples["s2"].values})
    want = sorted((int(code), *np.nan_to_num(one).ravel())
                  for code, one in zip(samples["label"].values, physical, strict=True))  # fmt: skip
    got = sorted((code, *one[:3].T.ravel()) for code, one in found)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch(cube, samples):
    table, channels = table_of(cube, samples)
    augment = AugmentSpec(drop=0.2)

    def shown(seed, epoch):
        feed = PatchFeed(
            table, channels, fit_of(cube).layout, UNetSpec(**TINY, augment=augment), seed
        )
        return torch.cat([batch.inputs.flatten() for batch in feed.batches(epoch)])

    assert torch.equal(shown(0, 1), shown(0, 1))
    assert not torch.equal(shown(0, 0), shown(0, 1))
    assert not torch.equal(shown(0, 0), shown(1, 0))


def test_turning_has_eight_ways():
    one = torch.arange(6).reshape(1, 1, 2, 3)[..., :2, :2]
    found = {tuple(turned(one, [way]).flatten().tolist()) for way in range(8)}
    assert len(found) == 8


# --- what is learnt


def test_labels_of_other_rows_change_nothing(cube, samples, trained):
    other = samples.copy(deep=True)
    held = held_out(samples)
    other["label"].values[held] = (other["label"].values[held] + 1) % 4
    wrong = cube.assign(label=cube["label"] * 0)
    assert held.any()
    assert_same_weights(train_model(other, UNET, cube=wrong), trained)


def test_labels_of_chosen_rows_do(cube, samples, trained):
    other = samples.copy(deep=True)
    rows = np.flatnonzero(~held_out(samples))[:200]
    other["label"].values[rows] = (other["label"].values[rows] + 1) % 4
    changed = weights(train_model(other, UNET, cube=cube))
    assert any((changed[name] != value).any() for name, value in weights(trained).items())


def test_rows_of_validation_are_not_trained_on(cube, samples):
    chosen = choose_rows(samples, UNET)
    assert chosen.held.any()
    other = samples.copy(deep=True)
    other["label"].values[chosen.held] = 0
    one = UNetSpec(**TINY | {"epochs": 1}, depth=1)  # of one candidate, whatever its loss

    def fitted(table):
        rows = chosen.rows & ~chosen.held
        return train_model(table.assign(split=split_of(rows)), one, cube=cube)

    def split_of(rows):
        split = np.where(rows, "train", np.where(chosen.held, "validation", "test"))
        return ("sample", split.astype(object))

    assert_same_weights(fitted(samples), fitted(other))


def test_the_seed_decides(cube, samples, trained):
    assert train_model(samples, UNET, cube=cube).digest() == trained.digest()
    other = train_model(samples, UNetSpec(**TINY, depth=1, seed=1), cube=cube)
    assert other.digest() != trained.digest()


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(cube, samples, trained, tmp_path):
    def stop(member, said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(samples, UNET, cube=cube, folder=tmp_path, watch=stop)
    told = []
    again = train_model(
        samples, UNET, cube=cube, folder=tmp_path, watch=lambda _, said: told.append(said["epoch"])
    )
    assert told == [2]
    assert_same_weights(again, trained)


def test_scaling_is_learnt_on_training_rows_alone(cube, samples, trained):
    chosen = choose_rows(samples, UNET)
    rows = chosen.rows & ~chosen.held
    want = Scaling.learn(fit_of(cube).stacked({"s2": samples["s2"].values[rows]}))
    np.testing.assert_array_equal(trained.model.scaling.mean, want.mean)
    np.testing.assert_array_equal(trained.model.scaling.std, want.std)
    assert trained.facts["n_train"] == rows.sum()
    assert trained.facts["n_validation"] == chosen.held.sum()
    assert trained.temperature != 1


@pytest.mark.parametrize("spec", [UNET, DEEPLAB], ids=["unet", "deeplab"])
@pytest.mark.parametrize("kind", ["three", "still"])
def test_all_sources_are_seen(spec, kind):
    cube = add_terrain(add_radar(make_cube())) if kind == "three" else make_still(bands=6)
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    bundle = train_model(samples, spec, cube=cube)
    counts = {name: cube[name].values for name in bundle.fit.names}
    before = bundle.predict_block(counts)
    assert np.isfinite(before).any()
    for name in bundle.fit.names:
        moved = {**counts, name: np.roll(counts[name], 5, axis=-1)}
        assert (np.nan_to_num(bundle.predict_block(moved)) != np.nan_to_num(before)).any()


def test_a_source_may_be_missing_if_the_model_learnt_so():
    cube = add_radar(make_cube())
    samples = gather_samples(cube, SamplesSpec(block_m=100))
    spec = UNetSpec(**TINY, depth=1, drop_source=0.3)
    bundle = train_model(samples, spec, cube=cube)
    gone = {"s1": cube["s1"].values, "s2": np.zeros_like(cube["s2"].values)}
    np.testing.assert_array_equal(
        bundle.predict_block({"s1": cube["s1"].values}), bundle.predict_block(gone)
    )


def test_texture_that_single_pixels_do_not_show_is_learnt():
    """Stripes and noise of the same values: a forest of single pixels can only guess."""
    rng = np.random.default_rng(0)
    shape = (96, 96)
    field = np.add.outer(np.arange(96) // 12, np.arange(96) // 12)
    label = (field % 2).astype("uint8")
    values = rng.integers(1000, 2000, 96)
    noise = rng.choice(values, shape)
    stripes = np.broadcast_to(values[:, None], shape)
    counts = np.where(label == 1, stripes, noise).astype("uint16")
    polygon = (np.arange(96) // 12)[:, None] * 8 + np.arange(96) // 12 + 1
    cube = make_cube(shape, months=1, bands=1)
    cube["s2"][:] = counts[None, None]
    flags = {**scheme(("noise", "stripes")).attrs(), "nodata": UNKNOWN}
    cube["label"] = (("y", "x"), label, {**flags, "grid_mapping": "spatial_ref"})
    cube["polygon"] = (("y", "x"), polygon.astype("int32"), cube["polygon"].attrs)
    samples = gather_samples(cube, SamplesSpec(block_m=240))
    test = held_out(samples)
    unet = train_model(
        samples, UNetSpec(width=8, depth=1, epochs=25, patch=24, learning_rate=0.02), cube=cube
    )
    forest = train_model(samples, ForestSpec(trees=20))
    right = samples["label"].values[test]
    found = unet.predict_block({"s2": cube["s2"].values}).argmax(axis=0)
    at = tuple(np.searchsorted(side, samples[dim].values[test]) for dim, side in
               (("y", cube["y"].values[::-1]), ("x", cube["x"].values)))  # fmt: skip
    seen = found[95 - at[0], at[1]]
    guessed = forest.predict_proba({"s2": samples["s2"].values[test]}).argmax(axis=1)
    assert (guessed == right).mean() < 0.7
    assert (seen == right).mean() > 0.9


# --- bad input


def test_other_cubes_are_refused(cube, samples):
    changed = cube.assign(s2=cube["s2"].where(cube["s2"] == 0, cube["s2"] + 1))
    with pytest.raises(InputError, match=r"have other values of 's2' than the cube"):
        train_model(samples, UNET, cube=changed.assign(s2=changed["s2"].astype("uint16")))
    with pytest.raises(InputError, match=r"samples are no pixels of the cube.*has x 4000"):
        train_model(samples, UNET, cube=cube.isel(x=slice(20, None)))
    moved = cube.assign_coords(y=cube["y"] + 5)
    with pytest.raises(InputError, match=r"are no pixels of the cube.*, 10 apart"):
        train_model(samples, UNET, cube=moved)
    with pytest.raises(GridMismatch, match="bands"):
        train_model(samples, UNET, cube=cube.isel(s2_band=[0, 1]))


def test_two_labels_of_one_pixel_are_refused(cube, samples):
    twice = xr.concat([samples, samples.isel(sample=slice(3))], "sample", data_vars="minimal")
    with pytest.raises(InputError, match=r"^\d samples are pixels that have labels of several"):
        train_model(twice, UNET, cube=cube, rows=np.ones(twice.sizes["sample"], bool))


def test_polygons_and_drawn_rows_are_refused(cube, samples):
    with pytest.raises(InputError, match=r"whole polygons.*`samples\.unit: pixel`"):
        train_model(samples.assign(outline=samples["label"].astype(object)), UNET, cube=cube)
    with pytest.raises(InputError, match=r"`sampling: balanced` cannot be.*`class_weights"):
        train_model(samples, UNetSpec(**TINY, sampling="balanced"), cube=cube)
