from __future__ import annotations

import json

import pytest

from geocube_ml.files import PARTIAL, read_json, sweep, whole_file, whole_folder, write_json


class Stop(Exception):
    """What goes wrong in a test."""


def spoil(path, error):
    path.write_text("half")
    raise error


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        assert partial.name.endswith(PARTIAL)
        assert partial.parent == path.parent  # so that the move is a rename
    assert path.read_text() == "half"
    assert tree(tmp_path) == ["new", "new/a.txt"]


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_a_failed_file_leaves_the_earlier_one(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(error), whole_file(path) as partial:
        spoil(partial, error)
    assert path.read_text() == "before"
    assert tree(tmp_path) == ["a.txt"]


def test_a_failed_new_file_leaves_nothing(tmp_path):
    with pytest.raises(Stop), whole_file(tmp_path / "a.txt") as partial:
        spoil(partial, Stop)
    assert tree(tmp_path) == []


def test_a_block_that_writes_no_file_is_an_error_and_keeps_the_earlier(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "before"


def test_a_folder_replaces_the_earlier_one_as_a_whole(tmp_path):
    path = tmp_path / "model"
    for name in ("old", "new"):
        with whole_folder(path) as partial:
            assert list(partial.iterdir()) == []
            (partial / name).write_text(name)
    assert tree(tmp_path) == ["model", "model/new"]


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_a_failed_folder_leaves_the_earlier_one(tmp_path, error):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old").write_text("before")
    with pytest.raises(error), whole_folder(path) as partial:
        spoil(partial / "new", error)
    assert tree(tmp_path) == ["model", "model/old"]


def test_what_an_interrupted_run_left_is_not_taken_up(tmp_path):
    left = tmp_path / f"model{PARTIAL}"
    left.mkdir()
    (left / "stale").write_text("x")
    with whole_folder(tmp_path / "model") as partial:
        (partial / "new").write_text("y")
    assert tree(tmp_path) == ["model", "model/new"]


def test_sweep_removes_what_is_half_written_and_nothing_else(tmp_path):
    kept = ["a.txt", "b/c.json", "partial", "b/partial.txt", "b/my.partially", "e.tmp"]
    gone = [
        f"a.txt{PARTIAL}",
        f"b/c{PARTIAL}/d/e.txt",
        f"b/c{PARTIAL}/d/f{PARTIAL}",
        f"map.tif.strips{PARTIAL}",
        f"b/map.tif{PARTIAL}.ovr.tmp",
    ]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    sweep(tmp_path)
    assert tree(tmp_path) == sorted([*kept, "b"])
    sweep(tmp_path)
    assert tree(tmp_path) == sorted([*kept, "b"])


def test_sweep_of_a_folder_that_is_not_there_does_nothing(tmp_path):
    sweep(tmp_path / "nothing")
    assert tree(tmp_path) == []


def test_equal_values_are_equal_files(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "ä"})
    write_json(tmp_path / "b.json", {"a": "ä", "b": [1, 2.5]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": "ä", "b": [1, 2.5]}


def test_a_value_that_is_no_json_leaves_the_earlier_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert tree(tmp_path) == ["a.json"]
