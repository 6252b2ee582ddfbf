"""One run at a time in a folder: on a disk, and in an object store that has no locks."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
import pytest

from geocube_ml.errors import InputError
from geocube_ml.files import alone, place, read_json
from geocube_ml.files import lease as leases
from geocube_ml.files.lease import LOCK, _Lease
from geocube_ml.spec.storage import S3Spec, StorageSpec
from tests.servers.process import wait_until

LEASE = 0.8
"""Of holders that are dead, whom one waits for."""

LONG = 90.0
"""Of those who watch a holder that lives: any sign of life ends it, however late it comes."""


@pytest.fixture
def folder(s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return place(f"s3://{s3.bucket()}/run")


def hold(folder, lease_s=LEASE, **options):
    return alone(folder, lease_s=lease_s, **options)


def until(true: Callable[[], bool]) -> None:
    wait_until(true, what="the lease")


def beat(folder):
    return read_json(folder / LOCK)["beat"]


@pytest.fixture
def clock(monkeypatch):
    """Time stands still for the lease, unless it is moved; what it waits for comes at once."""

    class Clock:
        now = 0.0

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    fake = SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr(leases, "time", fake)
    return clock


@pytest.fixture(params=["disk", "store"])
def anywhere(request, tmp_path):
    return tmp_path / "run" if request.param == "disk" else request.getfixturevalue("folder")


def test_a_second_run_is_refused(anywhere):
    with (
        hold(anywhere),
        pytest.raises(InputError, match=r"Another run is at work in .*run"),
        hold(anywhere, LONG),
    ):
        pass


def test_the_next_run_may_begin_when_one_has_ended(anywhere):
    for _ in range(2):
        with hold(anywhere) as check:
            check()


def test_a_run_that_fails_leaves_the_folder_free(anywhere):
    with pytest.raises(ZeroDivisionError), hold(anywhere):
        1 / 0  # noqa: B018
    with hold(anywhere) as check:
        check()


def test_a_store_holds_nothing_after_a_run(folder):
    with hold(folder):
        assert (folder / LOCK).exists()
    assert not (folder / LOCK).exists()


def test_a_holder_that_is_dead_is_taken_over_after_a_lease(folder, monkeypatch):
    kill_heartbeats(monkeypatch)
    said = []
    dead = hold(folder)
    dead.__enter__()
    began = time.monotonic()
    with hold(folder, say=said.append) as check:
        check()
        assert time.monotonic() - began >= LEASE
        assert f"waiting {LEASE} s for a sign of life" in said[0]


def test_who_was_taken_over_is_told_and_leaves_the_other_alone(folder, monkeypatch):
    first = hold(folder)
    with monkeypatch.context() as patch:
        kill_heartbeats(patch)
        check_first = first.__enter__()
        second = hold(folder)
        check_second = second.__enter__()
    owner = read_json(folder / LOCK)["owner"]
    lease = first.gen.gi_frame.f_locals["lease"]
    lease._keep_once()
    with pytest.raises(InputError, match="taken over"):
        check_first()
    check_second()
    with pytest.raises(InputError, match="taken over"):
        first.__exit__(None, None, None) or check_first()
    assert read_json(folder / LOCK)["owner"] == owner
    second.__exit__(None, None, None)


def test_a_holder_gives_signs_of_life(folder):
    with hold(folder):
        for _ in range(3):
            before = beat(folder)
            until(lambda before=before: beat(folder) > before)


def test_of_four_that_begin_at_once_all_but_one_are_refused(folder, monkeypatch):
    monkeypatch.setattr(leases, "_BEATS", 400)  # soon seen, and yet patiently watched for
    outcomes, ready = [], threading.Barrier(4)

    def run():
        ready.wait()
        try:
            with hold(folder, LONG):
                outcomes.append("held")
                until(lambda: len(outcomes) == 4)
        except InputError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused", "refused", "refused"]


def test_a_first_sign_whose_answer_was_lost_is_recognized(s3, s3_faults, folder):
    bucket = str(folder).split("/")[2]
    storage = StorageSpec(s3={f"s3://{bucket}": S3Spec(endpoint_url=s3_faults.url)})
    with (
        s3_faults.faults(1.0, faults=("lost",), at_most=1),
        hold(place(str(folder), storage)) as check,
    ):
        check()
    assert s3_faults.injected()["lost"] >= 1


def test_a_store_that_is_away_for_a_moment_costs_nothing(s3, s3_faults, folder):
    bucket = str(folder).split("/")[2]
    spec = {f"s3://{bucket}": S3Spec(endpoint_url=s3_faults.url)}
    with hold(place(str(folder), StorageSpec(s3=spec, attempts=1))) as check:
        with s3_faults.faults(1.0, faults=("reset",), at_most=1000):
            until(lambda: s3_faults.injected().get("reset", 0) >= 4)
        before = beat(folder)
        until(lambda: beat(folder) > before)
        check()


def test_who_was_stopped_and_ends_leaves_the_lock_of_the_next_one(folder, monkeypatch):
    kill_heartbeats(monkeypatch)
    first = hold(folder)
    first.__enter__()
    with hold(folder):
        owner = read_json(folder / LOCK)["owner"]
        first.__exit__(None, None, None)
        assert read_json(folder / LOCK)["owner"] == owner


def test_who_was_stopped_notices_that_by_itself(folder, monkeypatch):
    kill_heartbeats(monkeypatch)
    first = hold(folder)
    check_first = first.__enter__()
    with hold(folder) as check:
        check()
        with pytest.raises(InputError, match="taken over"):
            check_first()
    first.__exit__(None, None, None)


def test_who_was_stopped_and_not_replaced_gives_a_sign_and_goes_on(folder, clock, monkeypatch):
    kill_heartbeats(monkeypatch)
    with hold(folder) as check:
        before = beat(folder)
        check()
        assert beat(folder) == before
        clock.now += 2 * LEASE
        check()
        assert beat(folder) == before + 1


def test_who_was_stopped_goes_on_while_the_store_is_away(s3_faults, folder, clock, monkeypatch):
    kill_heartbeats(monkeypatch)
    with hold(through(s3_faults, folder)) as check:
        clock.now += 2 * LEASE
        with s3_faults.faults(1.0, faults=("reset",), at_most=1000):
            check()
        assert s3_faults.injected()["reset"] >= 1
        check()


def test_a_holder_that_comes_at_the_last_moment_is_not_robbed(folder, clock, monkeypatch):
    kill_heartbeats(monkeypatch)
    dead = hold(folder)
    dead.__enter__()
    read, began = _Lease._read, clock.now

    def and_then_comes_another(lease):
        found = read(lease)
        if clock.now - began >= LEASE:
            (folder / LOCK).write_text(json.dumps({"owner": "another"}))
        return found

    monkeypatch.setattr(_Lease, "_read", and_then_comes_another)
    with pytest.raises(InputError, match="Another run is at work"), hold(folder):
        pass
    assert read_json(folder / LOCK) == {"owner": "another"}


def test_a_holder_that_ends_while_one_waits_is_followed(folder, monkeypatch):
    kill_heartbeats(monkeypatch)
    first = hold(folder)
    first.__enter__()
    with hold(folder, say=lambda _: (folder / LOCK).unlink()) as check:
        check()


def test_a_sign_that_hangs_is_left_for_the_next(s3_faults, folder):
    with hold(through(s3_faults, folder)) as check:
        with s3_faults.faults(1.0, faults=("hang_put", "hang_get"), hang_s=600, at_most=1000):
            until(lambda: bool(s3_faults.injected()))
        before = beat(folder)
        until(lambda: beat(folder) > before)
        check()


def test_no_failure_ends_the_signs_of_life(folder, monkeypatch, caplog):
    keep_once, failures = _Lease._keep_once, [aiohttp.ClientError("?sig=abc"), ValueError("x")]

    def fails_first(lease):
        if failures:
            raise failures.pop()
        keep_once(lease)

    monkeypatch.setattr(_Lease, "_keep_once", fails_first)
    caplog.set_level(logging.INFO, "geocube_ml.files.lease")
    with hold(folder) as check:
        before = beat(folder)
        until(lambda: beat(folder) > before)
        check()
    assert "ValueError: x" in caplog.text
    assert "ClientError: ?sig=***" in caplog.text


@pytest.mark.parametrize("body", ["", "[]", "<html>"])
def test_a_lock_that_cannot_be_read_is_held_by_somebody(folder, body):
    (folder / LOCK).write_text(body)
    said = []
    with hold(folder, say=said.append) as check:
        check()
    assert "held by a run, since an unknown time; waiting" in said[0]


def test_a_sign_that_arrives_late_is_our_own(folder):
    """The write that follows is refused: what it read is not there any more."""
    with hold(folder) as check:
        lease = check.__self__
        with lease._one:
            read, lease._read = lease._read, lambda: late(lease, read)
            lease._keep_once()
        check()


def late(lease, read):
    lease._read = read
    found = read()
    assert lease._write(IfMatch=found["tag"])
    return found


def through(proxy, folder):
    bucket = str(folder).split("/")[2]
    return place(str(folder), StorageSpec(s3={f"s3://{bucket}": S3Spec(endpoint_url=proxy.url)}))


def kill_heartbeats(monkeypatch):
    monkeypatch.setattr("geocube_ml.files.lease._Lease._keep", lambda _: None)
