"""The comparison of layouts: every layout holds the same, and requests are counted."""

import numpy as np
import zarr

from benchmarks import layout
from benchmarks.layout import CODECS, SHAPES, Found, Layout
from geocube_ml.store.layout import zarr_store


def test_the_data_look_like_a_cube():
    data = layout.make_data(128)
    assert data.shape == (12, 10, 128, 128)
    missing = (data == 0).all(axis=1)
    assert 0.08 < missing.mean() < 0.12
    assert ((data == 0).any(axis=1) == missing).all()
    seen = data[:, layout.FINE :].reshape(12, 6, 64, 2, 64, 2)
    clear = (seen > 0).all(axis=(3, 5))
    assert (np.ptp(seen, axis=(3, 5))[clear] == 0).all()  # 20 m bands
    assert 500 < data[data > 0].mean() < 5000


def test_every_layout_gives_back_what_was_written(tmp_path):
    data = layout.make_data(600)[..., :300, :140]  # cut chunks and shards
    for number, one in enumerate((*SHAPES, *CODECS)):
        layout.make(one, tmp_path / str(number), data)
        array = zarr.open_array(zarr_store(tmp_path / str(number)), mode="r")
        np.testing.assert_array_equal(array[:], data)
        assert array.chunks[2] == one.chunk[2]


def test_requests_and_bytes_are_counted_at_the_server(tmp_path):
    layouts = (Layout((12, 1, 128), 256), Layout((12, 10, 256), None))
    data = layout.make_data(512)
    (tmp_path / "s3").mkdir()
    with layout.on_s3(tmp_path / "s3") as (bucket, counter):
        one, other = layout.measure(layouts, bucket, data, 1, counter).values()
    assert (one.objects, other.objects) == (4, 4)
    assert one.patch[0] == 1  # one whole shard
    assert one.plane[0] == 4 * (1 + 4)  # of each shard its index, and four chunks
    assert other.patch[0] == 1
    assert other.plane == (4, other.stored)
    assert other.patch[1] < other.stored < data.nbytes
    assert min(one.took(what) for what in ("write", "patches", "plane")) > 0


def test_the_table_holds_ratios_to_the_first(capsys):
    found = {
        one: Found(4, 10**6, (1, 10), (2, 20), {w: [t] for w in ("write", "patches", "plane")})
        for one, t in zip(SHAPES[:2], (2.0, 3.0), strict=True)
    }
    shown = layout.table("Shapes", found, found)
    cells = [list(column.cells) for column in shown.columns]
    assert [column[1] for column in cells[5:]] == ["1.50"] * 6
    assert [column[2] for column in cells[5:]] == ["2.00 s"] * 6
