from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

from geocube_ml.data.loader import cube_loader
from geocube_ml.store.chunks import LocalChunks
from tests.seasons import add_radar, add_terrain, make_cube, stored


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """15 steps: a block of time of 12, and one that is not full."""
    path = tmp_path_factory.mktemp("chunks") / "cube"
    stored(add_terrain(add_radar(make_cube(months=15))), path)
    return path


def windows(shape, edge=16):
    for top in range(0, shape[0], edge):
        for left in range(0, shape[1], edge):
            bottom, right = min(top + edge, shape[0]), min(left + edge, shape[1])
            yield slice(top, bottom), slice(left, right)


@pytest.mark.parametrize("name", ["s1", "s2", "dem"])
def test_chunks_are_those_that_zarr_reads(path, name):
    array = zarr.open_array(path / name, mode="r")
    chunks = LocalChunks.of(path / name)
    for y, x in windows(array.shape[-2:]):
        planes, order, width = chunks.planes(y, x)
        high, wide = y.stop - y.start, x.stop - x.start
        got = planes[order].reshape(len(order), -1, width)[:, :high, :wide]
        np.testing.assert_array_equal(got, array[..., y, x].reshape(len(order), high, wide))
    assert chunks.planes(slice(8, 16), slice(0, 16)) is None  # not where a chunk begins
    assert chunks.planes(slice(0, 32), slice(0, 16)) is None


def test_what_was_never_written_is_the_fill_value(path, tmp_path):
    shutil.copytree(path / "s2", tmp_path / "s2")
    shutil.rmtree(tmp_path / "s2" / "c" / "1")
    array = zarr.open_array(tmp_path / "s2", mode="r")
    planes, order, _ = LocalChunks.of(tmp_path / "s2").planes(slice(0, 16), slice(0, 16))
    np.testing.assert_array_equal(planes[order].reshape(15, 3, 16, 16), array[..., :16, :16])
    assert not array[12:].any()
    assert array[:12].any()


def test_other_layouts_are_left_to_zarr(tmp_path):
    values = np.arange(256, dtype="uint16").reshape(4, 8, 8)
    plain = xr.Dataset({"a": (("band", "y", "x"), values)})
    plain.to_zarr(tmp_path / "plain", zarr_format=3, consolidated=False)
    plain.to_zarr(tmp_path / "two", zarr_format=2, consolidated=False)
    for place in ("plain", "two", "nothing"):
        assert LocalChunks.of(tmp_path / place / "a") is None


@pytest.mark.parametrize("damage", ["index", "chunk", "short"])
def test_a_damaged_shard_is_an_error_and_no_values(path, tmp_path, damage):
    shutil.copytree(path, tmp_path / "cube")
    file = next((tmp_path / "cube" / "s2" / "c").rglob("0/0/0/0"), None) or next(
        one for one in (tmp_path / "cube" / "s2" / "c").rglob("*") if one.is_file()
    )
    content = bytearray(file.read_bytes())
    if damage == "index":
        content[-20] ^= 255
    elif damage == "chunk":
        content[:400] = bytes(400)
    else:
        content = content[:-100]
    file.write_bytes(content)
    loader = cube_loader(tmp_path / "cube")
    with pytest.raises((ValueError, RuntimeError, OSError)):
        list(loader)
