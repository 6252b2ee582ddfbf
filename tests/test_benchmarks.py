"""Each workload runs, once and small, so that it cannot rot; and the peers agree with us."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import benchmarks.__main__ as command
from benchmarks import cube, feed, labels, map
from benchmarks.measure import Result
from benchmarks.synthetic import make_cube
from geocube_ml.spec.labels import UNKNOWN

# odc-stac's own way of opening items
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning"),
]


def test_the_cube_equals_what_odc_stac_and_xarray_make(tmp_path):
    """An independent implementation of the same mosaic."""
    mosaic, items, _ = cube.workload(tmp_path, 96)
    ours = cube.ours(mosaic, tmp_path / "ours.zarr")["s2"].values
    peer = cube.peer(mosaic, items, tmp_path / "peer.zarr", chunk=64)
    seen = [int(month) - 1 for month in peer["month"].values]
    theirs = np.stack([peer[key].values for key in cube.BANDS.values()], axis=1)
    np.testing.assert_array_equal(ours[seen], theirs)
    unseen = np.setdiff1d(np.arange(12), seen)
    assert not ours[unseen].any()


def test_the_feed_and_its_peer_have_the_same_rows(tmp_path):
    path = tmp_path / "cube.zarr"
    data = make_cube(path, 128, labelled=0.5)
    batches = list(feed.ours(path))
    series = torch.cat([batch.series for batch in batches]).numpy()
    peer_series = torch.cat([part for part, _ in feed.peer(path, 64, 128)]).numpy()
    assert series.shape == peer_series.shape == ((data["label"] != 255).sum(), 12, 10)
    rows = [np.sort(part.reshape(len(part), -1)[:, 0]) for part in (series, peer_series)]
    np.testing.assert_allclose(*rows, rtol=1e-6)


def test_the_map_equals_what_apply_ufunc_makes(tmp_path):
    data, bundle = make_cube(tmp_path / "cube.zarr", 64, labelled=0), map.make_bundle()
    map.ours(data, bundle, tmp_path / "cube.zarr")
    map.peer(data, bundle, tmp_path / "peer.zarr")
    ours = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, mask_and_scale=False)["class"]
    theirs = xr.open_zarr(tmp_path / "peer.zarr", consolidated=False, mask_and_scale=False)["class"]
    assert (ours.values == theirs.values).mean() > 0.999  # float32 in another order


def test_labels_are_what_rasterio_makes_but_for_disputed_ground(tmp_path):
    size = 240
    assert labels.make_fields(tmp_path / "fields.parquet", size) == 144
    for part in ("read", "ours", "tiles", "once"):
        assert labels.part_of(part, tmp_path, size)["seconds"] > 0
    ours, peer = (
        xr.open_zarr(tmp_path / name, consolidated=False, mask_and_scale=False)
        for name in ("10.zarr", "peer.zarr")
    )
    known = ours["label"].values != UNKNOWN
    disputed = peer["label"].values != ours["label"].values
    assert not disputed[known].any()
    assert 0 < disputed.sum() < 0.1 * known.sum()
    np.testing.assert_array_equal(ours["polygon"].values[known], peer["polygon"].values[known])


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results" / "latest.json")
    monkeypatch.setattr("sys.argv", ["benchmarks", "feed", "map", "--size", "64", "--repeat", "1"])
    assert command.main() == 0
    assert "feed" in capsys.readouterr().out
    document = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert document["machine"]["cores"] >= 1
    for row in document["workloads"]:
        assert row["ours"] > 0
        assert row["to_peer"] == pytest.approx(row["ours"] / row["peer"])
        assert isinstance(row["met"], bool)


def test_the_schedule_is_listed_and_goes_into_no_file(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(command, "RESULTS", tmp_path / "latest.json")
    monkeypatch.setattr("benchmarks.schedule.main", lambda: asked.append("schedule"))
    monkeypatch.setattr("sys.argv", ["benchmarks", "schedule"])
    assert command.main() == 0
    assert asked == ["schedule"]
    assert not (tmp_path / "latest.json").exists()
    monkeypatch.setattr("sys.argv", ["benchmarks", "shedule"])
    with pytest.raises(SystemExit):
        command.main()
    assert "cube, feed, map, labels, schedule" in capsys.readouterr().err


def test_a_target_is_met_only_if_both_ratios_are():
    sizes = {"workload": "w", "size": "1", "unit": "px/s", "ours": 6.0, "peer": 1.0}
    assert Result(**sizes, limit=8.0, target_peer=5, target_limit=0.7).met
    assert not Result(**sizes, limit=10.0, target_peer=5, target_limit=0.7).met
    assert not Result(**sizes, limit=8.0, target_peer=7, target_limit=0.7).met
