from __future__ import annotations

import errno

import numpy as np
import pytest

from geocube_ml.kernels import compiled as module
from geocube_ml.kernels.compiled import _Files, compiled


def files(folder, stamp="now"):
    return _Files(str(folder), "loop", stamp)


def twice(values):
    return values * 2


def test_what_was_kept_is_found_by_its_types(tmp_path):
    files(tmp_path).save("u2", b"of u2")
    files(tmp_path).save("f4", b"of f4")
    assert files(tmp_path).load("u2") == b"of u2"
    assert files(tmp_path).load("f4") == b"of f4"
    assert files(tmp_path).load("i4") is None


def test_of_other_sources_nothing_is_found(tmp_path):
    files(tmp_path, "before").save("u2", b"older")
    assert files(tmp_path).load("u2") is None
    files(tmp_path).save("u2", b"newer")
    assert files(tmp_path).load("u2") == b"newer"


def test_two_processes_that_save_at_once_keep_each_their_own(tmp_path, monkeypatch):
    """Both have read the list before either writes it."""
    one, other = files(tmp_path), files(tmp_path)
    monkeypatch.setattr(one, "_load_index", dict)
    monkeypatch.setattr(other, "_load_index", dict)
    one.save("u2", b"of u2")
    other.save("f4", b"of f4")
    assert files(tmp_path).load("f4") == b"of f4"
    assert files(tmp_path).load("u2") in (None, b"of u2")


def test_code_that_could_not_be_written_is_not_listed(tmp_path, monkeypatch):
    """A later process would take what an older one left under that name."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = files(tmp_path)
    monkeypatch.setattr(kept, "_save_data", full)
    with pytest.raises(OSError, match="No space"):
        kept.save("u2", b"code")
    assert files(tmp_path).load("u2") is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_takes_only_what_would_be_kept(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Files, "save", full)
    loop = compiled(twice)
    assert loop(np.arange(3)).tolist() == [0, 2, 4]
    assert loop.stats.cache_misses  # it was to be kept


def test_without_a_folder_each_process_compiles(monkeypatch):
    def nowhere(_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(module, "_Kept", nowhere)
    assert compiled(twice)(np.arange(3)).tolist() == [0, 2, 4]


def test_an_edit_of_any_kernel_is_another_source(tmp_path, monkeypatch):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "a.py"))
    before = module._sources.__wrapped__()
    (tmp_path / "b.py").write_text("x = 2\n")
    assert module._sources.__wrapped__() != before
