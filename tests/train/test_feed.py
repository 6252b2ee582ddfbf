from __future__ import annotations

import numpy as np
import pytest
import torch

from geocube_ml.models.layout import Layout
from geocube_ml.models.scaling import Scaling
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.models import TempCNNSpec
from geocube_ml.train.feed import RowsFeed, epoch_seed, jittered

SIZES = np.array([60, 25, 5])  # rows of each class


def make_feed(held=(), n_band=2, **more):
    """Series whose first band is the number of the row."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), SIZES)
    series = rng.normal(size=(90, 4, n_band)).astype("float32")
    series[:, :, 0] = np.arange(90)[:, None]
    series[::7, 1] = np.nan
    mask = np.zeros(90, bool)
    mask[list(held)] = True
    plain = Scaling(np.zeros(n_band, "float32"), np.ones(n_band, "float32"))
    spec = TempCNNSpec(**({"batch": 16, "jitter": 0} | more))
    return RowsFeed.of(
        series, plain, torch.from_numpy(label), None, mask, Layout((n_band,)), spec, spec.seed
    )


def shown(feed, epoch=0):
    """Numbers of the rows, and labels, in their order."""
    batches = list(feed.batches(epoch))
    assert len(batches) == feed.n_batch
    rows = torch.cat([batch.inputs[:, 0, 0] for batch in batches]).long()
    return rows.numpy(), torch.cat([batch.target for batch in batches]).numpy()


def test_an_epoch_shows_each_row_once_in_an_order_of_its_own():
    feed = make_feed(held=range(0, 90, 9))
    one, again, other = (shown(feed, epoch)[0] for epoch in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert sorted(one) == sorted(set(range(90)) - set(range(0, 90, 9)))
    assert feed.n_batch == 5
    assert list(one) != list(other)
    assert list(shown(make_feed(seed=1), 3)[0]) != list(one)


@pytest.mark.parametrize(("batch", "sizes"), [(16, [15] * 6), (80, [45, 45]), (2, [2] * 45),
                                              (88, [45, 45]), (500, [90])])  # fmt: skip
def test_batches_are_of_about_equal_sizes_and_never_of_one_row(batch, sizes):
    got = [len(shown.target) for shown in make_feed(batch=batch).batches(0)]
    assert sorted(got) == sorted(sizes)


def test_oversampled_classes_come_as_often_as_the_commonest():
    feed = make_feed(sampling="oversample", batch=2)
    rows, label = shown(feed)
    np.testing.assert_array_equal(np.bincount(label), [60, 60, 60])
    count = np.bincount(rows, minlength=90)
    assert set(count[:60]) == {1}
    assert set(count[60:85]) == {2, 3}
    assert set(count[85:]) == {12}


def test_a_balanced_epoch_is_as_long_as_the_rows():
    rows, label = shown(make_feed(sampling="balanced", batch=2))
    np.testing.assert_array_equal(np.bincount(label), [30, 30, 30])
    assert np.bincount(rows).max() == 6  # 30 of a class with 5 rows


def test_numbers_have_no_classes_to_balance():
    feed = make_feed(sampling="balanced")
    numbers = RowsFeed(**{**vars(feed), "target": feed.target.float()})
    assert len(shown(numbers)[0]) == len(shown(make_feed())[0])


def test_what_is_held_out_comes_as_it_is():
    feed = make_feed(held=[3, 80], jitter=0.5, drop_source=0.5)
    (batch,) = feed.held()
    assert batch.inputs[:, 0, 0].tolist() == [3, 80]
    assert batch.target.tolist() == [0, 1]
    assert not list(make_feed().held())


def test_augmented_series_keep_their_gaps_and_differ_from_epoch_to_epoch():
    feed = make_feed(augment=AugmentSpec(jitter=0.3, drop=0.3))
    one, again, other = (next(feed.batches(epoch)) for epoch in (0, 0, 1))
    assert torch.equal(one.inputs, again.inputs)
    assert not torch.equal(one.inputs, other.inputs)
    whole = next(make_feed().batches(0))
    assert torch.equal(one.target, whole.target)
    assert (one.inputs[:, 2] <= whole.inputs[:, 2]).all()
    assert one.inputs[:, 2].sum() < whole.inputs[:, 2].sum()
    assert (one.inputs[:, :2][(one.inputs[:, 2:] == 0).expand(-1, 2, -1)] == 0).all()


LAYOUT = Layout((2, 1), (1,))


def make_inputs(*area):
    """Two bands of a series, one of another, one static; by channel, then three flags."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(200, 4 + 3, 6, *area, generator=generator)
    observed = (torch.rand(200, 3, 6, *area, generator=generator) < 0.6).float()
    observed[:, 2] = (torch.arange(200) > 1).float().reshape(200, 1, *(1,) * len(area))
    inputs[:, 4:] = observed
    inputs[:, :4] *= observed[:, [0, 0, 1, 2]]
    inputs[:, 3] = inputs[:, 3, :1]
    return inputs


@pytest.mark.parametrize("area", [(), (3, 2)])
def test_jitter_leaves_gaps_flags_and_the_stillness_of_static_channels_alone(area):
    inputs = make_inputs(*area)
    generator = torch.Generator().manual_seed(0)
    got = jittered(inputs, LAYOUT, TempCNNSpec(jitter=0.5), generator)
    there = inputs[:, 4:][:, [0, 0, 1, 2]]
    assert torch.equal(got[:, 4:], inputs[:, 4:])
    assert (got[:, :4][there == 0] == 0).all()
    assert (got[:, :4][there == 1] != inputs[:, :4][there == 1]).all()
    assert torch.equal(got[:, 3], got[:, 3, :1].expand_as(got[:, 3]))


def test_a_band_that_is_missing_alone_stays_missing():
    inputs = make_inputs()
    inputs[:, 1, 2] = 0  # its source was observed
    got = jittered(inputs, LAYOUT, TempCNNSpec(jitter=0.5), torch.Generator().manual_seed(0))
    assert (got[:, 1, 2] == 0).all()


def test_all_pixels_of_a_patch_are_varied_alike():
    one = make_inputs()
    patch = one[..., None, None].expand(*one.shape, 3, 2)
    got, alone = (
        jittered(part, LAYOUT, TempCNNSpec(), torch.Generator().manual_seed(0))
        for part in (patch, one)
    )
    assert torch.equal(got, alone[..., None, None].expand_as(got))


def test_a_source_is_taken_from_some_and_never_the_last():
    inputs = make_inputs()
    spec = TempCNNSpec(jitter=0, drop_source=0.5)
    got = jittered(inputs, LAYOUT, spec, torch.Generator().manual_seed(0))
    before, after = ((x[:, 4:].amax(dim=2) > 0) for x in (inputs, got))
    lost = before & ~after
    assert (lost.sum(dim=1) <= 1).all()
    assert after.any(dim=1).all()
    assert 0.35 < lost.any(dim=1).float().mean() < 0.65
    assert (lost.sum(dim=0) > 10).all()
    of_source = torch.tensor([0, 0, 1, 2])
    gone = lost[:, of_source][..., None].expand(-1, -1, 6)
    assert (got[:, :4][gone] == 0).all()
    assert torch.equal(got[:, :4][~gone], inputs[:, :4][~gone])


def test_epochs_and_seeds_have_numbers_of_their_own():
    found = {epoch_seed(seed, epoch) for seed in range(20) for epoch in range(20)}
    assert len(found) == 400
    epoch_seed(-1, 0)
