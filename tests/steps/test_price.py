"""The price is of what is left, and stands beside what that took."""

from __future__ import annotations

import json

import pytest

from geocube_ml.run import main
from geocube_ml.store.cube import CubeStore
from tests.steps.test_overviews import LARGE

NO_LABELS = {"labels": None, "evaluate": None, "store": {"chunk": 32, "shard": 64, "tile": 64,
             "steps": 3}}  # fmt: skip


def months(start, end):
    return {**NO_LABELS, "period": {"start": start, "end": end}}


def record(out):
    said = json.loads((out / "records/price/cube.json").read_text())
    return said["estimated"], said["was"]


@pytest.fixture
def planned(capsys):
    """Lines of a plan."""

    def plan(path):
        capsys.readouterr()
        assert main([str(path), "--dry-run"]) == 0
        return [line.strip() for line in capsys.readouterr().out.splitlines()]

    return plan


def test_a_run_that_was_interrupted_is_priced_as_far_as_it_did_not_come(
    recipe, tmp_path, monkeypatch, planned
):
    path = recipe(months("2022-05", "2022-08"))
    (every,) = [line for line in planned(path) if line.startswith("8 tiles")]
    assert every == "8 tiles, 16 tasks"
    whole, written = CubeStore.write, []

    def fails(self, *args, **kwargs):
        if len(written) >= 5:  # two threads write
            raise KeyboardInterrupt
        written.append(1)
        whole(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CubeStore, "write", fails)
        assert main([str(path)]) != 0
    done = len(list((tmp_path / "out/records/cube/tiles").glob("*.json")))
    assert 0 < done < 16
    lines = planned(path)
    verb = "is" if done == 1 else "are"
    assert f"8 tiles; {done} of 16 tasks {verb} done, {16 - done} left" in lines

    assert main([str(path)]) == 0
    told, was = record(tmp_path / "out")
    assert told["done_before"] == done
    assert was["tasks"] == told["tasks"] == 16 - done
    assert 0 < was["windows"] <= told["windows"]
    assert 0 < was["decoded_bytes"] <= told["decoded_bytes"]
    assert 0 < was["objects"] <= told["objects"] == (16 - done) * 2
    assert "cube: is done" in planned(path)


def test_a_cube_that_grows_is_priced_from_its_last_block_on(recipe, tmp_path, planned):
    assert main([str(recipe(months("2022-03", "2022-07")))]) == 0
    before, _ = record(tmp_path / "out")
    path = recipe(months("2022-03", "2022-10"))
    lines = planned(path)
    assert "8 tiles; 8 of 24 tasks are done, 16 left" in lines  # March to May stay
    assert any(line.endswith("in 5 time steps, for 16 of 24 tasks") for line in lines)
    assert main([str(path)]) == 0
    told, was = record(tmp_path / "out")
    assert was["tasks"] == told["tasks"] == before["tasks"] == 16
    assert told["write_bytes"] == before["write_bytes"]  # five months each
    assert was["objects"] <= told["objects"] == 32
    stored = sum(
        shard.stat().st_size
        for name in ("s2", "s2_clear")
        for block in (1, 2)
        for shard in (tmp_path / "out/cube.zarr" / name / "c" / str(block)).rglob("*")
        if shard.is_file()
    )
    assert was["stored_bytes"] == stored
    assert told["stored_bytes"] == pytest.approx(stored, rel=0.5)


def test_a_source_that_was_removed_is_priced_again(recipe, tmp_path, planned):
    path = recipe(months("2022-05", "2022-07"))
    assert main([str(path)]) == 0
    (tmp_path / "out/cube.zarr/s2/zarr.json").unlink()
    assert "8 tiles, 8 tasks" in planned(path)


def test_overviews_are_priced(recipe, tmp_path, planned):
    path = recipe(LARGE)
    (said,) = [line for line in planned(path) if line.startswith("overviews: ")]
    assert main([str(path)]) == 0
    told, _ = record(tmp_path / "out")
    names = [path.name for path in (tmp_path / "out/records/cube/tiles").glob("*.json")]
    made = [name for name in names if name.startswith("s2.2022-06.2022-06.4.")]
    assert told["overview_tasks"] == len(made) > 0
    assert said.startswith(f"overviews: {len(made)} tasks, reading ")
    cube = tmp_path / "out/cube.zarr/overviews/4"
    arrays = (cube / name for name in ("s2", "s2_clear"))
    objects = [p for array in arrays for p in array.rglob("c/**/*") if p.is_file()]
    assert 0 < len(objects) <= told["overview_objects"] == 2 * len(made)
