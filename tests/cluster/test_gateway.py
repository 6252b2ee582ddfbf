"""Tiles by the client of a dask-gateway, as on a hub.

What is sent to workers is defined inside the tests, so that it travels by value.
"""

import os
import signal
import time
from itertools import takewhile

import pytest

from geocube_ml.cluster import open_cluster, prepare, remote
from geocube_ml.errors import ClusterError
from geocube_ml.spec.cluster import ClusterSpec
from tests.servers.gateway import gateway_server, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no gateway: {missing()}")

SPEC = ClusterSpec(where="current", pause=0, patience=240)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with gateway_server(tmp_path_factory.mktemp("gateway")) as server:
        yield server


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(remote, "LOOK", 0.3)
    monkeypatch.setattr(remote, "ANSWER", 3)


def run(workers, work, tasks=range(20), **kwargs):
    return workers.each(work, tasks, name="{:04d}".format, total=20, **kwargs)


def test_tiles_are_made_while_workers_come_and_go(gateway):
    def begin():
        os.environ["GEOCUBE_TEST"] += " and ready"

    def work(task, attempt):
        time.sleep(0.05)
        return os.getpid(), os.environ["GEOCUBE_TEST"]

    found, pids = {}, set()

    def done(task, value):
        found[task] = value
        if value[0] in pids:
            return
        pids.add(value[0])
        if len(pids) == 1:
            cluster.scale(2)
        elif len(pids) == 2:
            os.kill(value[0], signal.SIGKILL)  # another takes its place

    with (
        gateway.cluster(1, environment={"GEOCUBE_TEST": "given"}) as cluster,
        cluster.get_client() as client,
    ):
        with open_cluster(SPEC) as workers:
            assert workers.describe().startswith(
                "1 thread on 1 worker of the dask scheduler gateway://127.0.0.1:"
            )
            assert workers.dashboard.startswith(f"{gateway.address}/clusters/")
            assert workers.once(os.getpid) == os.getpid()
            workers.prepare("environment", begin)
            tasks = takewhile(lambda _: len(pids) < 3, range(1000))
            assert run(workers, work, tasks, done=done) == []
        assert sorted(found) == list(range(len(found)))
        assert {said for _, said in found.values()} == {"given and ready"}
        assert len(pids) == 3
        assert client.status == "running"


def test_workers_that_are_not_like_this_process(gateway, monkeypatch):
    here = {**prepare.versions(), "zarr": "9.9"}
    monkeypatch.setattr(prepare, "versions", lambda: here)
    with (
        gateway.cluster(1) as cluster,
        cluster.get_client(),
        pytest.raises(ClusterError, match=r"worker tls://.* zarr .* there, 9\.9 here"),
        open_cluster(SPEC),
    ):
        raise AssertionError


def test_a_cluster_that_grows_by_itself_begins_without_workers(gateway):
    with gateway.cluster(0) as cluster, cluster.get_client():
        cluster.adapt(minimum=0, maximum=1)
        with open_cluster(SPEC) as workers:
            assert run(workers, lambda *_: None) == []


@pytest.mark.parametrize("end", ["another stops it", "its client is closed"])
def test_a_cluster_that_is_shut_down_in_the_middle_is_told(gateway, end):
    def work(task, attempt):
        time.sleep(0.05)

    def done(task, value):
        if task == 3 and end == "another stops it":
            with gateway.gateway() as other:
                other.stop_cluster(cluster.name)
        elif task == 3:
            cluster.shutdown()

    with (
        gateway.cluster(1) as cluster,
        cluster.get_client(),
        pytest.raises(ClusterError, match=r"gateway://.* is lost.* \d of 20 tiles are done"),
        open_cluster(SPEC) as workers,
    ):
        run(workers, work, done=done)
