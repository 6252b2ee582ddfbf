from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from zarr.abc.store import RangeByteRequest
from zarr.storage import LocalStore

from geocube_ml.data.loader import cube_loader, patch_loader, sample_loader, standard_scaling
from geocube_ml.data.samples import gather_samples
from geocube_ml.data.sources import described
from geocube_ml.errors import GridMismatch, InputError, MissingError
from geocube_ml.models.fit import Fit
from geocube_ml.models.scaling import Scaling
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.store.cube import open_cube
from tests.seasons import add_radar, add_terrain, make_cube, make_still, stored


@pytest.fixture(scope="module")
def cube():
    """All kinds of sources: two series, one of them float, and a layer without time."""
    return add_terrain(add_radar(make_cube()))


@pytest.fixture(scope="module")
def path(cube, tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "cube"
    stored(cube, path)
    return path


@pytest.fixture(scope="module")
def samples(cube):
    return gather_samples(cube, SamplesSpec(block_m=100))


def seen(loader):
    """All batches of an epoch, joined."""
    batches = list(loader)
    names = ("series", "observed", "label", "weight", "polygon", "row", "column")
    return {name: torch.cat([getattr(b, name) for b in batches]).numpy() for name in names}


def same(one, other):
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def places(got):
    return list(zip(got["row"].tolist(), got["column"].tolist(), strict=True))


def labelled_places(cube):
    return [
        (int(r), int(c)) for r, c in zip(*np.nonzero(cube["label"].values != UNKNOWN), strict=True)
    ]


def stacked(cube, got):
    """What a model sees of these pixels when it predicts."""
    fit = Fit.model_validate(described(cube))
    counts = {
        name: np.moveaxis(cube[name].values[..., got["row"], got["column"]], -1, 0)
        for name in fit.names
    }
    return fit, fit.stacked(counts)


# --- each labelled pixel once, with its own values


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    chunk=st.tuples(st.integers(3, 45), st.integers(3, 45)),
    batch=st.integers(1, 300),
    pixels=st.sampled_from((1, 37, 10_000)),
    threads=st.integers(1, 3),
    workers=st.integers(1, 3),
)
def test_each_labelled_pixel_comes_once_in_an_order_of_seed_and_epoch(
    shape, chunk, batch, pixels, threads, workers
):
    cube = make_cube(shape, months=2, background=1)
    lazy = cube.chunk(y=chunk[0], x=chunk[1])
    options = {"batch_size": batch, "buffer_bytes": pixels * 25, "seed": 3}
    loader = cube_loader(lazy, threads=threads, **options)
    first, second = seen(loader), seen(loader)  # the next epoch
    for got in (first, second):
        assert sorted(places(got)) == labelled_places(cube)
        _, values = stacked(cube, got)
        np.testing.assert_array_equal(got["series"], np.nan_to_num(values))
        np.testing.assert_array_equal(got["label"], cube["label"].values[got["row"], got["column"]])
        np.testing.assert_array_equal(
            got["polygon"], cube["polygon"].values[got["row"], got["column"]]
        )
    sizes = [len(b) for b in loader]
    assert len(loader) == len(sizes)
    assert set(sizes[:-1]) <= {batch}
    again = cube_loader(lazy, threads=4 - threads, **options)
    again.set_epoch(1)
    same(seen(again), second)

    # what workers do: each fills every so-manieth buffer, and they are put in their order
    numbers = list(again.numbers)  # of the epoch that follows
    by_worker = {w: [again.buffers[at] for at in numbers[w::workers]] for w in range(workers)}
    joined = [by_worker[n % workers][n // workers]["row"] for n in range(len(numbers))]
    np.testing.assert_array_equal(torch.cat(joined).numpy(), seen(again)["row"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # 3 on a machine of 2 cores
def test_workers_change_nothing(path):
    """Processes, as PyTorch starts them."""
    want = cube_loader(path, batch_size=50, buffer_bytes=20_000)
    epochs = [seen(want), seen(want)]
    assert places(epochs[0]) != places(epochs[1])
    for workers in (1, 2, 3):
        loader = cube_loader(path, batch_size=50, buffer_bytes=20_000, workers=workers)
        assert isinstance(loader, DataLoader)
        for epoch in epochs[: 1 if workers == 2 else 2]:
            same(seen(loader), epoch)


def test_values_are_bit_for_bit_what_a_model_sees_when_it_predicts(path, cube):
    plain = seen(cube_loader(path, fill=float("nan"), shuffle=False))
    fit, values = stacked(cube, plain)
    np.testing.assert_array_equal(plain["series"], values)
    scaling = Scaling.learn(values)
    mean, std = standard_scaling(cube_loader(path, fill=float("nan"), batch_size=100))
    np.testing.assert_allclose(mean, scaling.mean, rtol=1e-5)
    np.testing.assert_allclose(std, scaling.std, rtol=1e-4)

    got = seen(cube_loader(path, mean=scaling.mean, std=scaling.std))
    fit, values = stacked(cube, got)
    want = scaling.apply(values, fit.layout.sizes)  # (n, channel + source, time)
    n_channel = fit.layout.n_channel
    np.testing.assert_array_equal(got["series"], want[:, :n_channel].transpose(0, 2, 1))
    np.testing.assert_array_equal(got["observed"], want[:, n_channel:].transpose(0, 2, 1) == 1)
    assert cube_loader(path).channels.names[-3:] == ("s2_b2", "dem_elevation", "dem_slope")


def test_a_pixel_counted_by_hand():
    cube = make_cube((5, 5), months=2, bands=2).copy(deep=True)
    cube["label"][:], cube["polygon"][:] = UNKNOWN, 0
    cube["label"][3, 2], cube["polygon"][3, 2] = 1, 7
    cube["s2"][:, :, 3, 2] = [[1000, 3000], [0, 0]]
    (batch,) = cube_loader(cube, mean=[0.1, 0.1], std=[0.1, 0.2], fill=-9)
    torch.testing.assert_close(batch.series, torch.tensor([[[0.0, 1.0], [-9, -9]]]))
    assert batch.observed.tolist() == [[[True], [False]]]
    assert [int(part) for part in (batch.label, batch.polygon, batch.row, batch.column)] == [
        1,
        7,
        3,
        2,
    ]
    assert batch.label.dtype == torch.int64
    assert float(batch.weight) == 1


def test_a_cube_without_a_time_axis_has_one_step():
    cube = make_still(bands=5)
    got = seen(cube_loader(cube, shuffle=False))
    _, values = stacked(cube, got)
    np.testing.assert_array_equal(got["series"], np.nan_to_num(values))


# --- reading


@pytest.mark.parametrize("by_zarr", [False, True])
def test_one_pixel_in_a_hundred_reads_each_chunk_once(path, cube, monkeypatch, by_zarr):
    """Scattered, and none in the lower right quarter, whose chunks are not read at all."""
    chosen = np.random.default_rng(0).random(cube["label"].shape) < 0.05
    chosen[16:, 32:] = False
    reads = []
    pread, get = os.pread, LocalStore.get

    def noted(file, size, first):
        reads.append((os.fstat(file).st_ino, first))
        return pread(file, size, first)

    async def noted_by_zarr(self, key, prototype, byte_range=None):
        if key.startswith("s2/c/") and isinstance(byte_range, RangeByteRequest):  # no index
            reads.append((key, byte_range.start))
        return await get(self, key, prototype, byte_range)

    only = open_cube(path, chunks=None).drop_vars(["s1", "dem"]) if by_zarr else path
    loader = cube_loader(only, select=chosen)
    monkeypatch.setattr(os, "pread", noted)
    monkeypatch.setattr(LocalStore, "get", noted_by_zarr)
    got = seen(loader)
    assert sorted(places(got)) == [at for at in labelled_places(cube) if chosen[at]]
    with_pixel = {(row // 16, col // 16) for row, col in places(got)}
    assert len(with_pixel) < 12
    n_chunk = 3 if by_zarr else 3 + 2 + 2 + 1  # a chunk a band; of all sources, and the polygon
    assert len(reads) == len(set(reads)) == n_chunk * len(with_pixel)


def test_a_lazy_cube_is_read_a_chunk_at_a_time_and_nothing_while_it_is_made(cube):
    reads = []

    def note(block, block_info=None):
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    data = cube["s2"].chunk(y=16, x=16, time=-1, s2_band=1).data
    noted = data.map_blocks(note, dtype=data.dtype, meta=data._meta)
    loader = cube_loader(cube.assign(s2=cube["s2"].copy(data=noted)))
    assert not reads
    seen(loader)
    assert len(reads) == len(set(reads)) == 3 * 3 * 4
    same_epoch = cube_loader(cube.chunk(y=7, x=53).assign(s2=cube["s2"].chunk(y=16, x=16)))
    assert sorted(places(seen(same_epoch))) == labelled_places(cube)


def test_a_batch_has_pixels_of_all_chunks_of_its_buffer(path, cube):
    loader = cube_loader(path, batch_size=100, buffer_bytes=10**9)
    tiles = {(row // 16, col // 16) for row, col in places(seen(loader))}
    for batch in list(loader)[:-1]:
        here = set(zip((batch.row // 16).tolist(), (batch.column // 16).tolist(), strict=True))
        assert len(here) > 0.8 * len(tiles)
    small = cube_loader(path, batch_size=50, buffer_bytes=1)  # a chunk a buffer
    batch = next(iter(small))
    assert (
        len(set(zip((batch.row // 16).tolist(), (batch.column // 16).tolist(), strict=True))) == 1
    )


# --- which pixels, and how much they count


def test_a_function_selects_by_label_and_polygon(path, cube):
    got = seen(cube_loader(path, select=lambda label, polygon: (label == 1) & (polygon % 2 == 0)))
    want = (cube["label"] == 1) & (cube["polygon"] % 2 == 0)
    assert sorted(places(got)) == [tuple(map(int, at)) for at in np.argwhere(want.values)]
    where = cube["label"] == 2
    got = seen(cube_loader(path, select=where))
    assert set(got["label"]) == {2}


def test_labels_weigh_and_hold_for_a_time_and_several_may_hold_of_a_pixel(cube):
    """Two layers: of the first field in the first half of the time, and in the second."""
    months = cube["time"].values
    label = np.full((2, *cube["label"].shape), UNKNOWN, np.uint8)
    polygon = np.zeros(label.shape, np.int32)
    label[:, 2, 3], polygon[:, 2, 3] = (0, 1), (1, 2)
    label[0, 9, 9] = 3  # background
    dims = ("label_layer", "y", "x")
    layered = cube.assign(label=(dims, label, cube["label"].attrs), polygon=(dims, polygon))
    table = pd.DataFrame(
        {
            "polygon": [1, 2],
            "weight": [0.5, 2.0],
            "valid_from": [pd.NaT, pd.Timestamp(months[3])],
            "valid_to": [pd.Timestamp(months[3]) - pd.Timedelta(days=1), pd.NaT],
        }
    )
    got = seen(cube_loader(layered, labels=table, shuffle=False, fill=float("nan")))
    by_label = {int(code): k for k, code in enumerate(got["label"])}
    assert sorted(by_label) == [0, 1, 3]
    whole = cube["s2"].values[:, :, 2, 3] * np.float32(1e-4)
    whole[cube["s2"].values[:, :, 2, 3] == 0] = np.nan
    # channels: s1 has two, then s2
    early, late = (got["series"][by_label[code]][:, 2:5] for code in (0, 1))
    np.testing.assert_allclose(early[:3], whole[:3])
    np.testing.assert_allclose(late[3:], whole[3:])
    assert np.isnan(early[3:]).all()
    assert np.isnan(late[:3]).all()
    assert [float(got["weight"][by_label[code]]) for code in (0, 1, 3)] == [0.5, 2, 1]
    patch = seen(patch_loader(layered, size=8, context=2, labels=table, fill=float("nan")))
    assert sorted(places(patch)) == [(0, 0), (0, 0), (8, 8)]
    which = [k for k, one in enumerate(patch["label"]) if (one == 0).any()]
    np.testing.assert_allclose(patch["series"][which[0], :3, 2:5, 2 + 2, 2 + 3], whole[:3])
    assert np.isnan(patch["series"][which[0], 3:, 2:5, 2 + 2, 2 + 3]).all()


def test_a_pixel_that_nothing_saw_weighs_nothing(cube):
    blind = cube.drop_vars(["s1", "dem", "s1_band", "dem_band"]).copy(deep=True)
    blind["s2"][:, :, :4, :4] = 0
    got = seen(cube_loader(blind))
    inside = (got["row"] < 4) & (got["column"] < 4)
    assert inside.sum() == 16
    assert not got["weight"][inside].any()
    assert not got["observed"][inside].any()
    assert (got["weight"][~inside] == 1).all()


def test_an_elevation_is_no_observation_but_where_there_is_nothing_else(cube):
    blind = cube.drop_vars(["s1", "s1_band"]).copy(deep=True)
    blind["s2"][:, :, :4, :4] = 0
    spec = AugmentSpec(drop=0.9)
    for loader in (cube_loader(blind), cube_loader(blind, augment=spec)):
        got = seen(loader)
        inside = (got["row"] < 4) & (got["column"] < 4)
        assert got["observed"][inside][:, :, 1].any()
        assert not got["weight"][inside].any()
        assert (got["weight"][~inside] == 1).all()
    alone = seen(cube_loader(blind.drop_vars(["s2", "s2_band"])))
    np.testing.assert_array_equal(alone["weight"], alone["observed"].any(axis=(1, 2)))


# --- the table


def test_a_table_on_a_disk_and_in_memory_has_each_row_once(samples, tmp_path):
    rows = {n: {"chunks": (min(100, v.sizes["sample"]), *v.shape[1:])} for n, v in samples.items()}
    samples.to_zarr(tmp_path / "t", mode="w", zarr_format=3, consolidated=False, encoding=rows)
    wanted = samples["fold_block"].values != 0
    for chunks in (None, {}):
        lazy = xr.open_zarr(tmp_path / "t", consolidated=False, mask_and_scale=False, chunks=chunks)
        lazy["s2"].attrs.setdefault("nodata", 0)
        options = {"rows": wanted, "batch_size": 30}
        on_disk = sample_loader(lazy, buffer_bytes=250 * 100, **options)
        in_memory = sample_loader(samples, buffer_bytes=1000, threads=2, **options)
        assert on_disk.feed.chunk == 100
        for loader in (on_disk, in_memory):
            got = seen(loader)
            np.testing.assert_array_equal(np.sort(got["row"]), np.flatnonzero(wanted))
            fit = Fit.model_validate(described(samples))
            counts = {name: samples[name].values[got["row"]] for name in fit.names}
            np.testing.assert_array_equal(got["series"], np.nan_to_num(fit.stacked(counts)))
            np.testing.assert_array_equal(got["label"], samples["label"].values[got["row"]])
            np.testing.assert_array_equal(got["polygon"], samples["polygon"].values[got["row"]])
            assert places(got) != places(seen(loader))
    (first,) = [batch for k, batch in enumerate(in_memory) if k == 0]
    assert np.ptp(first.row.numpy()) > 0.8 * len(wanted)  # of the whole table


def test_rows_in_order_and_a_last_batch_left_out(samples):
    n = samples.sizes["sample"]
    loader = sample_loader(samples, shuffle=False, batch_size=n - 1, drop_last=True)
    got = seen(loader)
    assert len(loader) == 1
    np.testing.assert_array_equal(got["row"], np.arange(n - 1))


# --- patches


@pytest.mark.parametrize(
    ("size", "context", "chunk"), [(16, 4, 16), (10, 3, 16), (37, 0, 7), (64, 8, 16)]
)
def test_each_labelled_pixel_lies_in_one_core_and_windows_are_the_cubes(cube, size, context, chunk):
    lazy = cube.chunk(y=chunk, x=chunk)
    loader = patch_loader(lazy, size=size, context=context, batch_size=3, fill=float("nan"))
    got = seen(loader)
    rim = context
    fit = Fit.model_validate(described(cube))
    wide = cube.pad(y=(rim, size + rim), x=(rim, size + rim), constant_values={
        "s1": np.nan, "s2": 0, "dem": -9999, "label": UNKNOWN, "polygon": 0})  # fmt: skip
    count = np.zeros(cube["label"].shape, int)
    for k, (row, col) in enumerate(places(got)):
        assert row % size == col % size == 0
        window = wide.isel(y=slice(row, row + size + 2 * rim), x=slice(col, col + size + 2 * rim))
        flat = {
            name: np.moveaxis(window[name].values.reshape(*window[name].shape[:-2], -1), -1, 0)
            for name in fit.names
        }
        want = np.moveaxis(fit.stacked(flat), 0, -1)  # (time, channel, pixel)
        np.testing.assert_array_equal(got["series"][k].reshape(want.shape), want)
        core = np.zeros(got["label"][k].shape, bool)
        core[rim : rim + size, rim : rim + size] = True
        label = np.where(core, window["label"].values, UNKNOWN)
        np.testing.assert_array_equal(got["label"][k], label)
        np.testing.assert_array_equal(got["weight"][k] > 0, label != UNKNOWN)
        inside = np.nonzero(label != UNKNOWN)
        count[inside[0] + row - rim, inside[1] + col - rim] += 1
    np.testing.assert_array_equal(count, cube["label"].values != UNKNOWN)
    assert got["observed"].shape[2] == 3


def test_a_pass_that_is_broken_off_is_an_epoch_of_its_own(samples):
    whole = sample_loader(samples, batch_size=64)
    want = [seen(whole)["row"] for _ in range(3)]
    loader = sample_loader(samples, batch_size=64)
    begun = iter(loader)
    next(begun)
    np.testing.assert_array_equal(seen(loader)["row"], want[1])
    loader.set_epoch(2)
    first = next(iter(loader)).row.numpy()
    np.testing.assert_array_equal(first, want[2][:64])
    loader.set_epoch(0)
    rest = np.concatenate([batch.row.numpy() for batch in begun])  # keeps its own epoch
    np.testing.assert_array_equal(rest, want[0][64:])
    np.testing.assert_array_equal(seen(loader)["row"], want[0])


# --- variations


def test_variations_depend_on_the_seed_and_the_epoch_alone(path):
    spec = AugmentSpec(shift=1, drop=0.1, jitter=0.1, clouds=0.5, scale=0.1)
    loader = cube_loader(path, augment=spec, batch_size=64, fill=7)
    first, second = seen(loader), seen(loader)
    again = cube_loader(path, augment=spec, batch_size=64, fill=7, threads=1)
    same(seen(again), first)
    again.set_epoch(1)
    same(seen(again), second)
    plain = seen(cube_loader(path, batch_size=64, fill=7))
    np.testing.assert_array_equal(plain["label"], first["label"])
    assert first["observed"].mean() < plain["observed"].mean()
    assert (first["series"][~first["observed"][:, :, 1]][:, 2:5] == 7).all()


def test_a_small_network_learns_from_the_stream(samples):
    mean, std = standard_scaling(sample_loader(samples, fill=float("nan")))
    loader = sample_loader(samples, mean=mean, std=std, batch_size=64)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6 * 7, 4))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    right = []
    for _ in range(6):
        for batch in loader:
            logits = network(batch.series)
            right.append(float((logits.argmax(1) == batch.label).float().mean()))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, batch.label).backward()
            optimizer.step()
    assert np.mean(right[-10:]) > 0.9 > np.mean(right[:3])


# --- what is refused


def test_what_does_not_fit_is_refused(path, cube, samples, tmp_path):
    with pytest.raises(InputError, match=r"`std` must be above 0, got 0"):
        cube_loader(path, std=np.zeros(7))
    with pytest.raises(
        InputError, match=r"each of the 7 channels \(s1: 2, s2: 3, dem: 2\), got sh"
    ):
        cube_loader(path, mean=[1, 2])
    with pytest.raises(GridMismatch, match=r"`select` has the shape \(2, 2\)"):
        cube_loader(path, select=np.ones((2, 2), bool))
    with pytest.raises(InputError, match="no labelled pixel that is wanted"):
        cube_loader(path, select=np.zeros(cube["label"].shape, bool))
    with pytest.raises(InputError, match="no `label`"):
        cube_loader(cube.drop_vars("label"))
    with pytest.raises(InputError, match="no source to stream"):
        cube_loader(cube[["label", "polygon"]])
    with pytest.raises(MissingError, match="no cube"):
        cube_loader(tmp_path / "nothing")
    with pytest.raises(InputError, match="`rows` must be a bool for each"):
        sample_loader(samples, rows=[True])
    with pytest.raises(InputError, match="no row that is wanted"):
        sample_loader(samples, rows=np.zeros(samples.sizes["sample"], bool))
    with pytest.raises(InputError, match="`batch_size` must be at least 1, got 0"):
        sample_loader(samples, batch_size=0)
    with pytest.raises(InputError, match="core of at least 2 pixels"):
        patch_loader(path, size=1)
    with pytest.raises(InputError, match="learnt from physical values"):
        standard_scaling(cube_loader(path))
    with pytest.raises(InputError, match="numbered from 0, got -1"):
        cube_loader(path).set_epoch(-1)
