"""The command line, end to end, on a small simulated archive."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
import yaml

from geocube_ml.cluster import cores
from geocube_ml.errors import InputError
from geocube_ml.run import main
from geocube_ml.steps import settle
from geocube_ml.store.cube import open_cube
from tests.servers.process import wait_until
from tests.steps.conftest import stamps, tree

Recipe = Callable[..., Path]

MONTH = {"start": "2022-06", "end": "2022-06"}


def test_all_steps_leave_what_they_promise(finished, tmp_path, archive, capsys):
    out = tmp_path / "out"
    cube = open_cube(out / "cube.zarr")
    assert set(cube) == {"s2", "s2_clear", "label", "polygon", "class", "prob"}
    assert cube["s2"].dims == ("time", "s2_band", "y", "x")
    assert cube.rio.crs == archive.crs
    assert list(cube["class"].attrs["flag_values"]) == list(range(len(archive.classes.names)))
    assert cube["class"].attrs["model_digest"]
    with rasterio.open(out / "export" / "small_class.tif") as map_:
        assert map_.crs == archive.crs
        assert (map_.read(1) == cube["class"].values).all()
        assert map_.colormap(1)[255] == (0, 0, 0, 0)
    for name in archive.classes.names:
        assert name in (out / "report.html").read_text()
    scores = json.loads((out / "scores.json").read_text())
    assert {s["model"] for s in scores["reference"]} == {"tempcnn", "forest", "best possible"}
    assert main([str(finished)]) == 0
    said = capsys.readouterr().out
    for place in ("cube.zarr", "report.html", "labels_lost.csv", "export/small_class.tif"):
        assert str(out / place) in said


def test_a_second_run_does_nothing(finished, tmp_path, capsys):
    before = stamps(tmp_path / "out")
    assert main([str(finished)]) == 0
    after = stamps(tmp_path / "out")
    assert {k: v for k, v in after.items() if not k.startswith("runs/")} == {
        k: v for k, v in before.items() if not k.startswith("runs/")
    }
    assert capsys.readouterr().out.count("was done already") == 8


def test_a_second_run_needs_no_catalogue(recipe, tmp_path, archive):
    copy = tmp_path / "items"
    alone = {"labels": None, "evaluate": None, "period": MONTH}
    shutil.copytree(archive.items, copy)
    for path in copy.glob("*.json"):
        text = path.read_text().replace("../cogs", str(archive.folder / "cogs"))
        path.write_text(text)
    path = recipe({"sources.s2.items": {"catalog": str(copy)}, **alone})
    assert main([str(path)]) == 0
    shutil.rmtree(copy)
    shutil.rmtree(tmp_path / "out" / "cube.zarr")
    assert main([str(path)]) == 0
    assert "s2" in open_cube(tmp_path / "out" / "cube.zarr")


def test_a_dry_run_writes_nothing(recipe, tmp_path, capsys):
    assert main([str(recipe()), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().out
    assert "8 tiles" in said
    assert "nothing is written" in said


def test_a_dry_run_of_what_is_done_writes_nothing(with_cube, tmp_path, capsys):
    before = stamps(tmp_path / "out")
    assert main([str(with_cube), "--dry-run"]) == 0
    assert stamps(tmp_path / "out") == before
    assert "cube: is done" in capsys.readouterr().out


def test_another_reference_raster_is_noticed_wherever_it_lies(
    finished, recipe, archive, tmp_path, capsys
):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(archive.truth, moved / "truth.tif")
    same = recipe({"evaluate.reference": str(moved / "truth.tif")})
    assert main([str(same), "evaluate"]) == 0
    assert "evaluate  was done already" in capsys.readouterr().out
    shutil.copy(archive.best, moved / "truth.tif")
    assert main([str(same), "evaluate"]) == 2
    assert "rasters.reference" in capsys.readouterr().err


def test_named_steps_run_in_their_order(recipe, tmp_path):
    path = recipe({"period": MONTH})
    assert main([str(path), "labels", "cube"]) == 0
    assert (tmp_path / "out/records/labels/done.json").exists()
    assert not (tmp_path / "out/samples.zarr").exists()


def test_a_step_whose_forerunner_is_missing_names_it(recipe, capsys):
    assert main([str(recipe()), "train"]) == 2
    assert "`samples` is needed first" in capsys.readouterr().err


def test_a_recipe_without_labels_makes_the_cube(recipe, tmp_path, capsys):
    path = recipe({"labels": None, "evaluate": None, "period": MONTH})
    assert main([str(path)]) == 0
    assert "s2" in open_cube(tmp_path / "out" / "cube.zarr")
    assert main([str(path), "labels"]) == 2
    assert "no `labels`" in capsys.readouterr().err


def test_a_changed_recipe_is_refused_with_both_values_and_then_redone(
    finished, recipe, tmp_path, capsys
):
    cube = tree(tmp_path / "out/cube.zarr/s2")
    changed = recipe({"models": {"tempcnn": {"epochs": 3, "width": 16}, "forest": {"trees": 20}}})
    assert main([str(changed)]) == 2
    said = capsys.readouterr().err
    assert "models.tempcnn.epochs was 2, is 3" in said
    assert "train evaluate predict export report --redo" in said
    before = stamps(tmp_path / "out/cube.zarr/s2")

    assert main([str(changed), "train", "evaluate", "predict", "export", "report", "--redo"]) == 0
    assert stamps(tmp_path / "out/cube.zarr/s2") == before
    assert tree(tmp_path / "out/cube.zarr/s2") == cube
    bundle = json.loads((tmp_path / "out/models/tempcnn/bundle.json").read_text())
    assert bundle["spec"]["epochs"] == 3
    assert main([str(changed)]) == 0


def test_a_step_is_not_built_on_another_recipes_forerunner(finished, recipe, tmp_path, capsys):
    before = tree(tmp_path / "out" / "cube.zarr")
    bounds = [edge + 500 for edge in yaml.safe_load(finished.read_text())["grid"]["bounds"]]
    for changes, step in (
        ({"grid.bounds": bounds}, "labels"),
        ({"models": {"tempcnn": {"epochs": 5}}}, "predict"),
        ({"period": {"start": "2022-01", "end": "2022-06"}}, "report"),
    ):
        assert main([str(recipe(changes)), step]) == 2
        assert "from another recipe or other inputs" in capsys.readouterr().err
    assert tree(tmp_path / "out" / "cube.zarr") == before


def test_tiles_of_a_cube_that_was_removed_are_made_again(finished, tmp_path):
    before = tree(tmp_path / "out" / "cube.zarr")
    (tmp_path / "out/records/cube/done.json").unlink()
    shutil.rmtree(tmp_path / "out/cube.zarr")
    assert main([str(finished)]) == 0
    assert tree(tmp_path / "out" / "cube.zarr") == before


def test_a_model_of_an_interrupted_redo_is_not_taken_for_the_new_one(finished, recipe, tmp_path):
    shutil.rmtree(tmp_path / "out/records/train")  # as a kill between two deletions leaves it
    models = {"tempcnn": {"epochs": 3, "width": 16}, "forest": {"trees": 20}}
    assert main([str(recipe({"models": models})), "train"]) == 0
    bundle = json.loads((tmp_path / "out/models/tempcnn/bundle.json").read_text())
    assert bundle["spec"]["epochs"] == 3


def test_a_second_run_at_the_same_time_is_refused(with_cube, tmp_path, capsys):
    import fcntl

    with (tmp_path / "out" / "run.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main([str(with_cube), "cube"]) == 2
    assert "Another run is at work" in capsys.readouterr().err
    assert main([str(with_cube), "cube"]) == 0


def test_a_users_own_files_are_left_alone(recipe, tmp_path):
    own = tmp_path / "out" / "mine" / "thesis.partial"
    own.parent.mkdir(parents=True)
    own.write_text("precious")
    assert main([str(recipe({"period": MONTH})), "cube"]) == 0
    assert own.read_text() == "precious"


def test_items_that_moved_are_found_again_and_the_cube_kept(with_cube, recipe, copied, capsys):
    moved = recipe({"sources.s2.items": {"catalog": str(copied / "items")}})
    assert main([str(moved), "cube"]) == 0
    assert "was done already" in capsys.readouterr().out


def test_a_result_that_was_removed_is_made_again(finished, tmp_path):
    before = tree(tmp_path / "out" / "cube.zarr")
    shutil.rmtree(tmp_path / "out/cube.zarr/class")
    (tmp_path / "out/report.html").unlink()
    assert main([str(finished)]) == 0
    assert tree(tmp_path / "out" / "cube.zarr") == before
    assert (tmp_path / "out/report.html").exists()


def _python(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


_HELD = """
import pathlib, sys, time
from geocube_ml.run import main
from geocube_ml.steps import tiles

write, (records, signs) = tiles.write_json, map(pathlib.Path, sys.argv[1:3])

def held(path, value):
    if path.parent == records and len(list(records.glob("*.json"))) == 2:
        (signs / "held").touch()
        while not (signs / "go").exists():
            time.sleep(0.02)
    write(path, value)

tiles.write_json = held
sys.exit(main(sys.argv[3:]))
"""


def _stopped(
    how: signal.Signals, path: Path, *steps: str, records: Path, signs: Path
) -> tuple[int, str]:
    """Run, and send a signal when two tiles are recorded and the third is done but for that."""
    signs.mkdir()
    run = _python("-c", _HELD, str(records), str(signs), str(path), *steps)
    try:
        wait_until(
            lambda: (signs / "held").exists() or run.poll() is not None, what="run", timeout_s=300
        )
        run.send_signal(how)
        (signs / "go").touch()
        _, err = run.communicate(timeout=300)
    finally:
        run.kill()
    return run.returncode, err


def test_a_run_that_is_killed_twice_goes_on_and_ends_as_an_undisturbed_one(
    undisturbed, recipe, tmp_path
):
    path, out = recipe({"cluster": {"workers": 1}}), tmp_path / "out"
    kept = {}
    for step in ("cube", "predict"):
        records = out / "records" / step / "tiles"
        code, said = _stopped(signal.SIGKILL, path, records=records, signs=tmp_path / step)
        assert code == -signal.SIGKILL, said
        whole = [file for file in records.iterdir() if file.suffix == ".json"]
        assert len(whole) == 2
        kept |= {file: file.stat().st_mtime_ns for file in whole}

    assert main([str(path)]) == 0
    for file, stamp in kept.items():  # what was done is not done again
        assert file.stat().st_mtime_ns == stamp
    for name in ("cube.zarr", "samples.zarr", "export"):
        assert tree(out / name) == tree(undisturbed / name)


def test_an_interrupt_says_how_to_go_on(recipe, tmp_path):
    path = recipe({"cluster": {"workers": 1}})
    records = tmp_path / "out/records/cube/tiles"
    code, said = _stopped(signal.SIGINT, path, "cube", records=records, signs=tmp_path / "signs")
    assert code == 130
    assert said.strip() == "Interrupted. The same command goes on where it stopped."
    assert main([str(path), "cube"]) == 0


def test_the_cube_does_not_depend_on_the_number_of_workers(recipe, tmp_path, undisturbed):
    path = recipe({"cluster": {"workers": 3 if cores() == 1 else 1}})  # the other had all cores
    assert main([str(path), "cube", "labels"]) == 0
    for name in ("s2", "s2_clear", "label", "polygon"):
        assert tree(tmp_path / "out/cube.zarr" / name) == tree(undisturbed / "cube.zarr" / name)


def test_off_a_terminal_progress_is_plain_lines(recipe, capfd):
    assert main([str(recipe({"period": MONTH})), "cube"]) == 0
    said = "".join(capfd.readouterr())
    assert "\x1b" not in said
    assert "cube" in said


def test_on_a_terminal_progress_is_a_bar(recipe):
    here, there = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "geocube_ml.run", str(recipe({"period": MONTH})), "cube"],
        stdout=there,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        cwd=Path(__file__).parents[2],
    )
    os.close(there)
    said = b""
    try:
        while True:
            try:
                said += os.read(here, 4096)
            except OSError:  # the other end is closed
                break
        assert run.wait(timeout=300) == 0
    finally:
        run.kill()
        run.communicate()
        os.close(here)
    assert "━" in said.decode(errors="replace")


def test_the_written_cube_equals_the_lazy_one(finished, tmp_path):
    """The notebook's functions and the command give the same pixels."""
    import geocube_ml as gml

    recipe = gml.read_recipe(finished)
    ((name, source),) = recipe.sources.items()
    items = gml.read_items(tmp_path / "out/items/s2.parquet")
    grid = gml.make_grid(recipe.grid, recipe.store)
    lazy = gml.lazy_cube({name: gml.make_mosaic(items, source, grid, recipe.period)})
    written = open_cube(tmp_path / "out/cube.zarr")
    xr.testing.assert_equal(
        lazy["s2"].compute().drop_vars("s2_band"), written["s2"].drop_vars("s2_band")
    )
    xr.testing.assert_equal(lazy["s2_clear"].compute(), written["s2_clear"])


def test_a_worker_that_does_not_see_the_folder_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"does not see .*out\. Take an `out:` that all workers"):
        settle.settle_in(tmp_path / "out")
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    (tmp_path / "run.lock").touch()
    settle.settle_in(tmp_path)
    assert os.environ["GDAL_CACHEMAX"] == "128"
    settle.settle_out()
    assert "GDAL_CACHEMAX" not in os.environ
    monkeypatch.setenv("GDAL_CACHEMAX", "512")  # a user's own choice is left
    settle.settle_in(tmp_path)
    settle.settle_out()
    assert os.environ["GDAL_CACHEMAX"] == "512"


def test_a_redo_that_is_killed_leaves_nothing_that_counts_as_done(finished, tmp_path, monkeypatch):
    from geocube_ml.steps import cube

    before = tree(tmp_path / "out/cube.zarr")

    def half(path: Path) -> None:
        (tmp_path / "out/cube.zarr/s2/c/0/0/0/0").unlink()
        (tmp_path / "out/cube.zarr/zarr.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cube, "remove", half)
        assert main([str(finished), "cube", "--redo"]) == 130
    assert main([str(finished)]) == 0
    assert tree(tmp_path / "out/cube.zarr") == before
