"""Tiles on threads: each as often as it takes, none half done when an error comes out."""

import errno
import os
import signal
import sys
import threading
import time
import weakref

import dask.array as da
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from geocube_ml.cluster import open_cluster
from geocube_ml.errors import (
    AccessError,
    FullDisk,
    GridMismatch,
    InputError,
    MissingError,
    ReadError,
    SpecError,
    StaleTarget,
    TilesFailed,
)
from geocube_ml.spec.cluster import ClusterSpec


@pytest.fixture
def workers():
    with open_cluster(ClusterSpec(workers=2)) as workers:
        yield workers


def run(workers, work, tasks=range(20), **kwargs):
    return workers.each(work, tasks, name="{:04d}".format, total=20, **kwargs)


def test_each_tile_is_worked_on_once_and_counted(workers):
    found, notes = {}, []
    failures = run(
        workers, lambda task, attempt: 10 * task + attempt,
        done=found.__setitem__, note=lambda *done: notes.append(done),
    )  # fmt: skip
    assert failures == []
    assert found == {task: 10 * task + 1 for task in range(20)}
    assert notes == [(n, 20) for n in range(1, 21)]


def test_no_tiles_are_no_work(workers):
    assert run(workers, lambda *_: pytest.fail("worked"), []) == []


def test_at_most_so_many_tiles_at_a_time_and_few_in_line(workers):
    lock, now, most, made, ended, ahead = threading.Lock(), [0], [0], [0], [0], [0]

    def tasks():
        for task in range(20):
            made[0] += 1
            ahead[0] = max(ahead[0], made[0] - ended[0])
            yield task

    def work(task, attempt):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    def done(task, value):
        ended[0] += 1

    run(workers, work, tasks(), done=done)
    assert most[0] == 2
    assert ahead[0] == workers.waves.peak == 4


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_dask_inside_a_tile_works_and_is_not_counted(workers, scheduler):
    """With as many tiles at work as there are threads, none waits for a thread of another."""
    both, found, notes = threading.Barrier(2), {}, []

    def work(task, attempt):
        both.wait(90)
        return int(da.arange(80, chunks=2).sum().compute(scheduler=scheduler)) + task

    run(workers, work, done=found.__setitem__, note=lambda *done: notes.append(done))
    assert found == {task: 3160 + task for task in range(20)}
    assert notes == [(n, 20) for n in range(1, 21)]


def test_a_tile_is_tried_again_and_told_which_attempt_it_is(workers):
    seen = []

    def work(task, attempt):
        seen.append((task, attempt))
        if task in (3, 4) and attempt < 3:
            raise ReadError("cut short")
        return attempt

    found = {}
    assert run(workers, work, done=found.__setitem__) == []
    assert [attempt for task, attempt in seen if task == 3] == [1, 2, 3]
    assert found[3] == found[4] == 3
    assert len(seen) == 24


def test_what_fails_each_time_is_listed_and_the_rest_goes_on(workers):
    def work(task, attempt):
        if task == 7:
            raise ReadError(f"attempt {attempt}") from ValueError("deep down")

    found = {}
    (failure,) = run(workers, work, done=found.__setitem__)
    assert (failure.name, failure.attempts) == ("0007", 3)
    assert isinstance(failure.error, ReadError)
    assert str(failure.error) == "attempt 3"
    assert "deep down" in failure.error.__notes__[0]
    assert "test_threads.py" in failure.error.__notes__[0]  # the traceback
    assert set(found) == set(range(20)) - {7}


@pytest.mark.parametrize("kind", [InputError, SpecError, GridMismatch, StaleTarget, MissingError])
def test_an_error_that_is_certain_to_come_again_is_not_tried_again(workers, kind):
    seen = []

    def work(task, attempt):
        seen.append(task)
        if task == 7:
            raise kind("as ever")

    (failure,) = run(workers, work)
    assert (failure.name, failure.attempts) == ("0007", 1)
    assert sorted(seen) == list(range(20))


def test_a_failure_holds_no_arrays(workers):
    class Block(np.ndarray):
        pass

    arrays = []

    def work(task, attempt):
        block = np.zeros(10).view(Block)
        arrays.append(weakref.ref(block))
        raise ReadError("read")

    failures = run(workers, work, range(3))
    assert len(failures) == 3
    assert not any(array() is not None for array in arrays)


def full(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error", [FullDisk("full"), full(errno.ENOSPC), full(errno.EDQUOT)], ids=str
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_stops_everything(workers, error, wrapped):
    seen = []

    def work(task, attempt):
        seen.append(task)
        time.sleep(0.01)
        if task == 3 and wrapped:
            raise ReadError("write") from error
        if task == 3:
            raise error

    with pytest.raises(FullDisk):
        run(workers, work)
    assert len(seen) <= 8


def test_it_stops_early_when_the_first_tiles_all_fail(workers):
    seen = []

    def work(task, attempt):
        seen.append(task)
        time.sleep(0.01)
        raise AccessError("403 Forbidden")

    with pytest.raises(TilesFailed, match=r"The first 8 of 20 tiles.*AccessError: 403") as caught:
        run(workers, work)
    assert len(seen) <= 8 * 3 + 16
    assert isinstance(caught.value.__cause__, ReadError)


@pytest.mark.parametrize("reason", ["interrupt", "done", "tasks", "disk"])
def test_tiles_under_way_are_finished_before_an_error_comes_out(workers, reason):
    log, found = [], []

    def work(task, attempt):
        log.append(("begun", task))
        if task == 3 and reason == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if task == 3 and reason == "disk":
            raise FullDisk("full")
        time.sleep(0.05)
        log.append(("done", task))

    def done(task, value):
        if task == 3 and reason == "done":
            raise FullDisk("full")
        found.append(task)

    def tasks():
        yield from range(8)
        if reason == "tasks":
            raise FullDisk("full")
        yield from range(8, 20)

    with pytest.raises(KeyboardInterrupt if reason == "interrupt" else FullDisk):
        run(workers, work, tasks(), done=done)
    seen = list(log)
    begun = {task for what, task in seen if what == "begun"} - ({3} if reason == "disk" else set())
    assert {task for what, task in seen if what == "done"} == begun
    missed = begun - set(found)  # an interrupt may hit `done` itself
    assert missed == {3} if reason == "done" else len(missed) <= (reason == "interrupt")
    assert len(begun) < 12  # not all
    time.sleep(0.1)
    assert log == seen  # nothing goes on behind the caller's back


def test_tiles_share_no_cores_within_and_all_is_as_before_afterwards():
    import torch

    def blas():
        return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

    def work(task, attempt):
        return max(blas()), torch.get_num_threads()

    before = blas(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = {}
        with open_cluster(ClusterSpec(workers=2)) as workers:
            run(workers, work, done=found.__setitem__)
        assert set(found.values()) == {(1, 1)}
        assert blas() == before[0]
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [torch.get_num_threads()] == [3]
    finally:
        torch.set_num_threads(before[1])


def test_torch_is_not_imported_for_it():
    code = (
        "import sys\n"
        "from geocube_ml.cluster import open_cluster\n"
        "with open_cluster() as w: w.each(max, [1], name=str, total=1)\n"
        "assert 'torch' not in sys.modules"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_a_preparation_is_run_once_and_undone():
    log = []
    with open_cluster(ClusterSpec(workers=2)) as workers:
        for _ in range(2):
            workers.prepare("store", lambda: log.append("begin"), lambda: log.append("end"))
        run(workers, lambda *_: log.append("work"), range(2))
    assert log == ["begin", "work", "work", "end"]


def test_once_runs_here(workers):
    assert workers.once(divmod, 7, 3) == (2, 1)
    assert workers.once(threading.get_ident, gpu=True) == threading.get_ident()


def test_it_says_what_it_is(workers):
    assert workers.describe() == "2 threads of this process"
    assert workers.threads == 2
    assert workers.dashboard is None
