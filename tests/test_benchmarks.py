"""Each workload runs, once and small, so that it cannot rot; and the peers agree with us."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import benchmarks.__main__ as command
from benchmarks import cube, feed, map
from benchmarks.measure import Result
from benchmarks.synthetic import make_cube

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


def test_the_feed_has_a_row_for_each_labelled_pixel(tmp_path):
    data = make_cube(tmp_path / "cube.zarr", 128, labelled=0.5)
    series, label = feed.ours(data)
    peer_series, peer_label = feed.peer(data)
    assert series.shape == peer_series.shape == ((data["label"] != 255).sum(), 11, 12)
    assert sorted(label.tolist()) == sorted(peer_label.tolist())


def test_the_map_equals_what_apply_ufunc_makes(tmp_path):
    data, bundle = make_cube(tmp_path / "cube.zarr", 64, labelled=0), map.make_bundle()
    map.ours(data, bundle, tmp_path / "cube.zarr")
    map.peer(data, bundle, tmp_path / "peer.zarr")
    ours = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, mask_and_scale=False)["class"]
    theirs = xr.open_zarr(tmp_path / "peer.zarr", consolidated=False, mask_and_scale=False)["class"]
    assert (ours.values == theirs.values).mean() > 0.999  # float32 in another order


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
    assert "cube, feed, map, schedule" in capsys.readouterr().err


def test_a_target_is_met_only_if_both_ratios_are():
    sizes = {"workload": "w", "size": "1", "unit": "px/s", "ours": 6.0, "peer": 1.0}
    assert Result(**sizes, limit=8.0, target_peer=5, target_limit=0.7).met
    assert not Result(**sizes, limit=10.0, target_peer=5, target_limit=0.7).met
    assert not Result(**sizes, limit=8.0, target_peer=7, target_limit=0.7).met
