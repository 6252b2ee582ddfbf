"""Tiles on dask clusters: real ones, of which workers and schedulers are killed.

What is sent to workers is defined inside the tests, so that it travels by value.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from distributed import Client

from geocube_ml.cluster import cores, open_cluster, prepare, remote
from geocube_ml.cluster import open as opening
from geocube_ml.errors import (
    AccessError,
    ClusterError,
    FullDisk,
    InputError,
    ReadError,
    TilesFailed,
)
from geocube_ml.spec.cluster import ClusterSpec


@pytest.fixture
def workers(client):
    with open_cluster(ClusterSpec(ahead=4, pause=0), client) as workers:
        yield workers


def run(workers, work, tasks=range(20), **kwargs):
    return workers.each(work, tasks, name="{:04d}".format, total=20, **kwargs)


def state(client):
    """Tasks that the scheduler knows, and plugins that workers get."""
    return client.run_on_scheduler(
        lambda dask_scheduler: (len(dask_scheduler.tasks), list(dask_scheduler.worker_plugins))
    )


def wait_until(true, seconds=90):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def test_each_tile_is_worked_on_until_it_is_done_or_listed(workers, tmp_path):
    def work(task, attempt):
        (tmp_path / f"{task}-{attempt}-{os.getpid()}").touch()
        time.sleep(0.01)
        if task == 3 and attempt < 3:
            raise OSError("the connection broke")
        if task == 4:
            raise InputError("no such band")
        if task == 5:
            raise ReadError("cut short")
        return 10 * task + attempt

    found, notes, made, ahead = {}, [], [0], [0]

    def tasks():
        for task in range(20):
            made[0] += 1
            ahead[0] = max(ahead[0], made[0] - len(found))
            yield task

    failures = run(
        workers, work, tasks(), done=found.__setitem__, note=lambda *done: notes.append(done)
    )
    assert found == {
        task: 10 * task + (3 if task == 3 else 1) for task in range(20) if task not in (4, 5)
    }
    assert notes == [(n, 20) for n in range(1, 19)]
    got = {failure.name: failure for failure in failures}
    assert {name: failure.attempts for name, failure in got.items()} == {"0004": 1, "0005": 3}
    assert isinstance(got["0004"].error, InputError)
    assert "cut short" in got["0005"].error.__notes__[0]  # with the traceback of the worker
    seen = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(attempt for task, attempt, _ in seen if task == "3") == ["1", "2", "3"]
    assert len(seen) == 24
    assert len({pid for *_, pid in seen} - {str(os.getpid())}) == 2
    assert workers.waves.peak == 8
    assert ahead[0] <= 8 + 3  # those that failed have no result yet, or never


def test_the_scheduler_is_left_as_it_was(client):
    _, before = state(client)
    with open_cluster(ClusterSpec(), client) as workers:
        run(workers, lambda *_: 1)
        assert len(state(client)[1]) == len(before) + 1
        wait_until(lambda: state(client)[0] == 0)
    assert state(client) == (0, before)


def test_two_runs_on_one_scheduler_do_not_share_results(client):
    with (
        open_cluster(ClusterSpec(), client) as one,
        open_cluster(ClusterSpec(), client) as other,
    ):
        for workers, value in [(one, "a"), (other, "b"), (one, "c")]:
            found = {}
            run(workers, lambda *_, value=value: value, done=found.__setitem__)
            assert set(found.values()) == {value}


def test_keys_can_be_read(workers, client):
    def work(task, attempt):
        from distributed import get_worker

        return get_worker().get_current_task()

    found = {}
    run(workers, work, [7], done=found.__setitem__)
    group, name, attempt, _ = found[7]
    assert group.startswith("tile-")
    assert (name, attempt) == ("0007", 1)


def test_an_error_that_cannot_travel_is_told_nevertheless(workers):
    def work(task, attempt):
        class Odd(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        raise Odd("this", "that")

    (failure,) = run(workers, work, [1])
    assert "Odd: this and that" in str(failure.error)
    assert failure.attempts == 3


def test_a_worker_rests_after_a_failure_and_so_draws_few_tiles_to_itself(client, tmp_path):
    """One of two fails at once what the other takes its time for."""

    def work(task, attempt):
        if (tmp_path / str(os.getpid())).exists():
            raise ReadError("this machine is broken")
        time.sleep(0.02)

    (tmp_path / str(client.run(os.getpid).popitem()[1])).touch()
    with open_cluster(ClusterSpec(pause=4), client) as workers:
        failures = run(workers, work)
        assert len(failures) <= 3  # without a rest, nearly all
        assert workers.waves.tries <= 30


def test_a_full_disk_of_a_worker_stops_everything(workers, tmp_path):
    def work(task, attempt):
        (tmp_path / str(task)).touch()
        if task == 3:
            raise ReadError("cannot write") from OSError(28, "No space left on device")
        time.sleep(0.02)

    with pytest.raises(FullDisk, match="No space left"):
        run(workers, work, range(200))
    assert len(list(tmp_path.iterdir())) < 100  # of 200


def test_it_stops_early_when_the_first_tiles_all_fail(workers, tmp_path):
    def work(task, attempt):
        (tmp_path / f"{task}-{attempt}").touch()
        raise AccessError("403 Forbidden")

    with pytest.raises(TilesFailed, match=r"The first 8 of 20 tiles.*AccessError: 403"):
        run(workers, work, range(200))
    assert len(list(tmp_path.iterdir())) < 100  # of 600


def test_an_interrupt_takes_back_what_has_not_begun(workers, client, tmp_path):
    def work(task, attempt):
        (tmp_path / str(task)).touch()
        time.sleep(0.05)

    def done(task, value):
        if task == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(workers, work, range(200), done=done)
    wait_until(lambda: state(client)[0] == 0)
    assert len(list(tmp_path.iterdir())) < 100  # of 200


def test_a_killed_worker_costs_no_tile(workers, tmp_path):
    def work(task, attempt):
        try:
            (tmp_path / "first").touch(exist_ok=task != 3)
        except FileExistsError:
            if not (tmp_path / "killed").exists():
                (tmp_path / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return attempt

    found = {}
    (tmp_path / "first").touch()
    assert run(workers, work, done=found.__setitem__) == []
    assert (tmp_path / "killed").exists()
    assert found == dict.fromkeys(range(20), 1)  # dask's own doing, not another attempt


def test_a_preparation_comes_to_workers_that_join_later_and_is_undone(
    client, local_cluster, monkeypatch
):
    monkeypatch.setattr(remote, "LOOK", 0.3)

    def begin():
        os.environ["GEOCUBE_TEST"] = "on"

    def end():
        del os.environ["GEOCUBE_TEST"]

    def look(task, attempt):
        from threadpoolctl import threadpool_info

        time.sleep(0.2)
        return os.getpid(), os.environ.get("GEOCUBE_TEST"), max(
            info["num_threads"] for info in threadpool_info()
        )  # fmt: skip

    def blas():
        import numpy  # noqa: F401
        from threadpoolctl import threadpool_info, threadpool_limits

        threadpool_limits(2)
        return [info["num_threads"] for info in threadpool_info()]

    def blas_now():
        from threadpoolctl import threadpool_info

        return [info["num_threads"] for info in threadpool_info()]

    before = client.run(blas)
    with open_cluster(ClusterSpec(), client) as workers:
        for _ in range(2):
            workers.prepare("environment", begin, end)
        local_cluster.scale(3)
        client.wait_for_workers(3, timeout=240)
        found = {}
        run(workers, look, done=found.__setitem__)
        assert len({pid for pid, *_ in found.values()}) == 3
        assert {(on, most) for _, on, most in found.values()} == {("on", 1)}
        assert workers.threads == 3
    assert set(client.run(lambda: os.environ.get("GEOCUBE_TEST")).values()) == {None}
    after = client.run(blas_now)
    assert {worker: after[worker] for worker in before} == before


def test_a_worker_that_cannot_be_prepared_gets_no_tile_done(workers, tmp_path):
    def begin():
        raise ReadError("no bundle there")

    with pytest.raises(ReadError, match="no bundle there"):
        workers.prepare("bundle", begin)
    (failure,) = run(workers, lambda *_: 1, [1])
    assert isinstance(failure.error, ClusterError)
    assert "not prepared (bundle): ReadError: no bundle there" in str(failure.error)


def test_two_runs_that_share_processes_wait_for_each_other_before_undoing():
    log = []
    for _ in range(2):
        prepare.begin("a", lambda: log.append("begin"), lambda: log.append("end"))
    prepare.end("a")
    assert log == ["begin"]
    prepare.end("a")
    assert log == ["begin", "end"]


def test_once_runs_where_the_gpu_is_or_here(client, dask, scheduler):
    with open_cluster(ClusterSpec(), client) as workers:
        assert workers.once(os.getpid, gpu=True) == os.getpid()
    _, address = scheduler
    worker = dask("worker", address, "--no-nanny", "--nthreads", "1", "--resources", "GPU=1")
    with open_cluster(ClusterSpec(where=address, patience=240)) as workers:
        assert workers.once(os.getpid) == os.getpid()
        assert workers.once(os.getpid, gpu=True) == worker.pid
        with pytest.raises(ZeroDivisionError):
            workers.once(divmod, 1, 0, gpu=True)


def test_processes_of_our_own_end_with_the_block():
    with open_cluster(ClusterSpec(where="processes", workers=1)) as workers:
        assert workers.describe().startswith("1 thread on 1 worker of the dask scheduler tcp://")
        found = {}
        run(workers, lambda *_: os.getpid(), range(2), done=found.__setitem__)
        with pytest.raises(ValueError, match="No client"):
            Client.current()  # what else is computed here stays here
    (pid,) = set(found.values())
    assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("workers", "n"), [(None, cores()), (5, 5)])
def test_there_is_a_process_a_core_unless_it_is_said(monkeypatch, workers, n):
    asked = []

    def started(**options):
        asked.append((options["n_workers"], options["threads_per_worker"]))
        raise InterruptedError

    monkeypatch.setattr(opening, "LocalCluster", started)
    spec = ClusterSpec(where="processes", workers=workers)
    with pytest.raises(InterruptedError), open_cluster(spec):
        pass
    assert asked == [(n, 1)]


def test_ctrl_c_in_a_terminal_ends_all_processes_soon(tmp_path):
    """It goes to every process of the terminal; the workers leave it to the first."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, time, signal\n"
        "from geocube_ml.cluster import open_cluster\n"
        "from geocube_ml.spec.cluster import ClusterSpec\n"
        "def work(task, attempt):\n"
        "    time.sleep(0.1)\n"
        "def done(task, value):\n"
        "    if task == 3: os.killpg(0, signal.SIGINT)\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    try:\n"
        "        with open_cluster(ClusterSpec(where='processes', workers=1)) as workers:\n"
        "            workers.each(work, range(400), name=str, total=400, done=done)\n"
        "    except KeyboardInterrupt:\n"
        "        print('told')\n"
    )
    ended = subprocess.run(
        [sys.executable, script], start_new_session=True, capture_output=True, timeout=300
    )
    assert ended.stdout == b"told\n"
    assert b"Traceback" not in ended.stderr


def test_the_current_client_is_taken_and_left_open(client):
    with client.as_current(), open_cluster(ClusterSpec(where="current")) as workers:
        found = {}
        run(workers, lambda *_: os.getpid(), range(2), done=found.__setitem__)
        assert os.getpid() not in found.values()
    assert client.status == "running"


def test_no_current_client():
    with (
        pytest.raises(ClusterError, match=r"No dask client is open.*get_client"),
        open_cluster(ClusterSpec(where="current")),
    ):
        raise AssertionError


def test_an_address_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(opening, "CONNECT", 0.5)
    with (
        pytest.raises(
            ClusterError, match=r"answers at tcp://127\.0\.0\.1:9 .*`cluster: processes`"
        ),
        open_cluster(ClusterSpec(where="tcp://127.0.0.1:9")),
    ):
        raise AssertionError


def test_certificates_that_are_not_there():
    with (
        pytest.raises(ClusterError, match=r"answers at tls://127\.0\.0\.1:9 "),
        open_cluster(ClusterSpec(where="tls://127.0.0.1:9")),
    ):
        raise AssertionError


def test_no_workers(scheduler):
    _, address = scheduler
    with (
        pytest.raises(ClusterError, match=r"no worker after 0.5 s.*cluster\.scale\(4\)"),
        open_cluster(ClusterSpec(where=address, patience=0.5)),
    ):
        raise AssertionError


def test_workers_that_are_not_like_this_process(client, monkeypatch):
    here = {**prepare.versions(), "Python": "3.99", "zarr": "9.9"}
    monkeypatch.setattr(prepare, "versions", lambda: here)
    with (
        pytest.raises(ClusterError, match=r"Python 3\.\d+ there, 3\.99 here; zarr .* there, 9\.9"),
        open_cluster(ClusterSpec(), client),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("what", "sign"), [("scheduler", signal.SIGKILL), ("scheduler", signal.SIGSTOP),
                       ("worker", signal.SIGKILL)], ids=["killed", "hung", "no workers left"],
)  # fmt: skip
def test_a_lost_cluster_is_noticed_and_told(scheduler, dask, monkeypatch, what, sign):
    monkeypatch.setattr(remote, "LOOK", 0.3)
    process, address = scheduler
    worker = dask("worker", address, "--no-nanny", "--nthreads", "1")
    lost = process if what == "scheduler" else worker

    def work(task, attempt):
        time.sleep(0.05)

    def done(task, value):
        if task == 3:
            lost.send_signal(sign)
            workers.spec = ClusterSpec(patience=1)
            monkeypatch.setattr(remote, "ANSWER", 2)

    spec = ClusterSpec(where=address, patience=240)
    with (
        pytest.raises(ClusterError, match=r"tcp://127.* \d of 20 tiles are done; the same command"),
        open_cluster(spec) as workers,
    ):
        run(workers, work, done=done)
    assert threading.active_count() < 50
