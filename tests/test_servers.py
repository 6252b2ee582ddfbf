"""The servers do what the tests that use them take for granted."""

from __future__ import annotations

import dataclasses
import datetime as dt
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pystac
import pystac_client
import pytest
import requests
import s3fs

from tests.servers.dask import DaskCluster
from tests.servers.faults import FAULTS, Plan, S3Proxy
from tests.servers.files import Files
from tests.servers.process import Process, running, wait_until
from tests.servers.s3 import S3
from tests.servers.stac_api import StacApi
from tests.servers.token import TokenServer


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has collected its exit status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until(true: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- processes


def test_a_server_ends_when_the_tests_are_killed(tmp_path: Path):
    code = (
        "import sys, time, pathlib\n"
        "from tests.servers.process import Process\n"
        "shell = ['sh', '-c', 'sleep 100 & echo $!; wait']\n"
        "print(Process(shell, log=pathlib.Path(sys.argv[1])).pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    log = tmp_path / "log"
    tests = subprocess.Popen(
        [sys.executable, "-c", code, str(log)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    with tests:
        assert tests.stdout is not None
        server = int(tests.stdout.readline())
        until(lambda: log.read_text().strip() != "")
        child = int(log.read_text())
        assert not gone(server)
        assert not gone(child)
        tests.kill()
    until(lambda: gone(server) and gone(child))


def test_a_server_that_ends_early_shows_its_log(tmp_path: Path):
    with (
        running(["sh", "-c", "echo no such option; exit 2"], log=tmp_path / "log") as process,
        pytest.raises(RuntimeError, match=r"(?s)it: a server ended.*no such option"),
    ):
        wait_until(lambda: False, process, what="it")


def test_a_server_is_asked_before_it_is_killed(tmp_path: Path):
    script = "trap 'echo goodbye; exit' INT; echo ready; while :; do sleep 0.05; done"
    with running(["sh", "-c", script], log=tmp_path / "log", end=signal.SIGINT) as process:
        wait_until(lambda: "ready" in process.text(), process, what="it")
    assert "goodbye" in process.text()
    assert not process.running


def test_a_missing_program_is_named(tmp_path: Path):
    with pytest.raises(RuntimeError, match="no-such-program"):
        Process(["no-such-program"], log=tmp_path / "log")


# -- S3


def test_a_wrong_secret_is_refused(s3: S3):
    bucket = s3.bucket()
    assert s3.request("PUT", f"{bucket}/a", b"1").status_code == 200
    for wrong in ({"secret": "another"}, {"key": "nobody"}):
        answer = dataclasses.replace(s3, **wrong).request("GET", f"{bucket}/a")
        assert answer.status_code == 403


def test_a_bucket_is_private_unless_it_is_open(s3: S3):
    bucket = s3.bucket()
    for name in (bucket, s3.open_bucket):
        s3.request("PUT", f"{name}/a", b"1")

    def status(method: str, path: str) -> int:
        return requests.request(method, f"{s3.endpoint_url}/{path}", timeout=60).status_code

    assert status("GET", f"{bucket}/a") == 403
    assert status("GET", f"{bucket}?list-type=2") == 403
    assert status("GET", f"{s3.open_bucket}/a") == 200
    assert status("GET", f"{s3.open_bucket}?list-type=2") == 200
    assert status("PUT", f"{s3.open_bucket}/b") == 403


def test_a_bucket_must_be_made(s3: S3):
    assert s3.request("PUT", "never-made/a", b"1").status_code == 404


def test_a_second_conditional_put_is_refused(s3: S3):
    bucket = s3.bucket()
    first, second = (
        s3.request("PUT", f"{bucket}/a", content, headers={"If-None-Match": "*"})
        for content in (b"1", b"2")
    )
    assert (first.status_code, second.status_code) == (200, 412)
    assert s3.objects(bucket) == {"a": b"1"}


def test_objects_are_read_anew(s3: S3):
    bucket = s3.bucket()
    assert s3.objects(bucket) == {}
    s3.request("PUT", f"{bucket}/folder/a", b"1")
    s3.request("PUT", f"{bucket}/b", b"2")
    assert s3.objects(bucket) == {"b": b"2", "folder/a": b"1"}
    assert s3.objects(bucket, "folder") == {"folder/a": b"1"}


def test_the_environment_is_enough_for_another_process(s3: S3):
    bucket = s3.bucket()
    code = f"import s3fs; s3fs.S3FileSystem().pipe('{bucket}/a', b'1')"
    env = os.environ | s3.env
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=300)
    assert s3.objects(bucket) == {"a": b"1"}


# -- faults


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_happens_twice_and_is_then_let_through(s3: S3, s3_faults: S3Proxy, fault: str):
    seen = s3.behind(s3_faults.url)
    bucket = s3.bucket()
    s3.request("PUT", f"{bucket}/a", bytes(1000))
    method, data = ("PUT", bytes(1000)) if fault == "hang_put" else ("GET", b"")

    def ask() -> str:
        try:
            answer = seen.request(method, f"{bucket}/a", data)
        except requests.RequestException as error:
            text = str(error)
            for sign in ("reset by peer", "IncompleteRead", "closed connection"):
                if sign in text:
                    return sign
            raise
        return f"{answer.status_code} {answer.reason}"

    begun = time.monotonic()
    with s3_faults.faults(faults=[fault], hang_s=0.4):
        got = [ask() for _ in range(3)]
    held = time.monotonic() - begun

    want = {
        "slow_down": "503 Service Unavailable",
        "too_many": "429 Too Many Requests",
        "reset": "reset by peer",
        "lost": "reset by peer",
        "reset_body": "reset by peer",
        "truncated": "IncompleteRead",
        "hang_put": "closed connection",
        "hang_get": "closed connection",
    }[fault]
    assert got == [want, want, "200 OK"]
    assert s3_faults.injected() == {fault: 2}
    if fault in ("hang_put", "hang_get"):
        assert held >= 2 * 0.4
    if fault in ("reset_body", "truncated"):
        assert [entry.sent for entry in s3_faults.log] == [500, 500, 1000]


def test_slow_down_says_so_in_xml(s3: S3, s3_faults: S3Proxy):
    with s3_faults.faults(faults=["slow_down"]):
        assert "<Code>SlowDown</Code>" in s3.behind(s3_faults.url).request("GET").text


def test_only_a_lost_write_reaches_the_server(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    for fault in ("reset", "lost"):
        with s3_faults.faults(faults=[fault]), pytest.raises(requests.ConnectionError):
            s3.behind(s3_faults.url).request("PUT", f"{bucket}/{fault}", b"1")
    assert s3.objects(bucket) == {"lost": b"1"}


def test_a_client_that_gives_up_is_not_waited_for(s3: S3, s3_faults: S3Proxy):
    with s3_faults.faults(faults=["hang_get"], hang_s=60), pytest.raises(requests.ReadTimeout):
        s3.behind(s3_faults.url).request("GET", timeout_s=(60, 0.2))
    until(lambda: not s3_faults._open)


def test_faults_can_be_aimed(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    seen = s3.behind(s3_faults.url)
    with s3_faults.faults(
        faults=["slow_down"], where=lambda r: r.kind == "put" and "/b" in r.path, at_most=99
    ):
        status = {
            key: [seen.request("PUT", f"{bucket}/{key}", b"1").status_code for _ in range(4)]
            for key in ("a", "b")
        }
        status["list"] = [seen.request("GET", f"{bucket}?list-type=2").status_code]
    assert status == {"a": [200] * 4, "b": [503] * 4, "list": [200]}


def test_the_seed_decides_whatever_the_order(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket("always-the-same")  # the seed decides by addresses
    seen = s3.behind(s3_faults.url)

    def failing(keys: list[int], seed: int) -> set[int]:
        s3_faults.clear()
        with s3_faults.faults(0.5, faults=["slow_down"], seed=seed):
            return {k for k in keys if seen.request("HEAD", f"{bucket}/{k}").status_code == 503}

    keys = list(range(20))
    assert failing(keys, 1) == failing(keys[::-1], 1)
    assert failing(keys, 1) != failing(keys, 2)
    assert 3 < len(failing(keys, 1)) < 17


def test_a_gate_holds_requests_until_it_is_opened(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    seen = s3.behind(s3_faults.url)
    with (
        s3_faults.gate(lambda r: r.kind == "put" and "/held" in r.path) as gate,
        ThreadPoolExecutor(1) as pool,
    ):
        put = pool.submit(seen.request, "PUT", f"{bucket}/held", b"1")
        until(lambda: bool(gate.held))
        assert seen.request("PUT", f"{bucket}/other", b"1").status_code == 200
        assert not put.done()
        assert s3.objects(bucket) == {"other": b"1"}
        gate.open()
        assert put.result().status_code == 200
        assert seen.request("PUT", f"{bucket}/held-not", b"1").status_code == 200
    assert gate.held == {f"/{bucket}/held", f"/{bucket}/held-not"}
    assert set(s3.objects(bucket)) == {"held", "held-not", "other"}


def test_a_gate_drops_what_nobody_waits_for(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    with s3_faults.gate(lambda r: r.kind == "put"):
        with pytest.raises(requests.ReadTimeout):
            s3.behind(s3_faults.url).request("PUT", f"{bucket}/a", b"1", timeout_s=(60, 0.2))
        until(lambda: not s3_faults._open)
    assert s3.objects(bucket) == {}


def test_unknown_faults_are_refused():
    with pytest.raises(ValueError, match="slowdown"):
        Plan(faults=["slowdown"])


def test_requests_are_counted_by_kind(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    fs = s3fs.S3FileSystem(
        **s3.behind(s3_faults.url).storage_options,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    fs.pipe(f"{bucket}/folder/a", bytes(1000))
    assert fs.cat_file(f"{bucket}/folder/a", start=10, end=30) == bytes(20)
    assert fs.info(f"{bucket}/folder/a")["size"] == 1000
    assert fs.find(f"{bucket}/folder") == [f"{bucket}/folder/a"]
    fs.rm([f"{bucket}/folder/a"])

    assert s3_faults.counts() == {"put": 1, "get": 1, "head": 1, "list": 1, "delete": 1}
    assert s3_faults.count(kind="put", status=200, received=1000) == 1
    assert s3_faults.count(kind="get", status=206, sent=20) == 1


def test_a_client_that_retries_recovers(s3: S3, s3_faults: S3Proxy):
    bucket = s3.bucket()
    fs = s3fs.S3FileSystem(
        **s3.behind(s3_faults.url).storage_options,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    with s3_faults.faults(faults=["slow_down", "reset", "lost"], at_most=1):
        fs.pipe(f"{bucket}/a", bytes(1000))
        assert fs.cat_file(f"{bucket}/a") == bytes(1000)
    assert {e.kind for e in s3_faults.log if e.fault} >= {"put", "get"}


# -- dask


def test_a_killed_worker_is_replaced(dask_cluster: DaskCluster):
    with dask_cluster.client() as client:  # a nanny gives up a worker that dies while it starts
        until(lambda: set(client.run(lambda dask_worker: dask_worker.status.name).values())
              == {"running"})  # fmt: skip
        assert client.run(operator.add, 1, 2, nanny=True)
    before = dask_cluster.worker_pids()
    assert sorted(before) == ["worker-0", "worker-1"]
    killed = dask_cluster.kill_worker("worker-0")
    assert killed == before["worker-0"]
    until(lambda: gone(killed))

    until(lambda: dask_cluster.worker_pids().get("worker-0", killed) != killed)
    dask_cluster.wait_for_workers(2)
    after = dask_cluster.worker_pids()
    assert after["worker-1"] == before["worker-1"]
    with dask_cluster.client() as client:
        assert client.submit(operator.add, 1, 2).result() == 3
        assert set(client.run(os.getpid).values()) == set(after.values())
    assert killed != after["worker-0"]
    assert "Restarting worker" in dask_cluster.logs()["worker-0"]


def test_workers_end_with_their_scheduler_and_can_be_started_again(
    new_dask_cluster: Callable[..., DaskCluster],
):
    cluster = new_dask_cluster(1, env={"A_MARK": "7"})
    with cluster.client() as client:
        assert list(client.run(os.getenv, "A_MARK").values()) == ["7"]
    worker = cluster.worker_pids()["worker-0"]
    cluster.kill_scheduler()
    until(lambda: gone(worker))  # dask's own doing

    cluster.start_scheduler()
    cluster.start_worker("another")
    cluster.wait_for_workers(1)
    pid = cluster.kill_worker("another", for_good=True)
    until(lambda: gone(pid))
    assert cluster.worker_pids() == {}


# -- files and tokens


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, b""),
        (None, 200, b"0123456789"),
    ],
)
def test_files_are_read_by_range(
    serve_files: Callable[..., Files], tmp_path: Path, asked: str | None, status: int, got: bytes
):
    (tmp_path / "a b").write_bytes(b"0123456789")
    files = serve_files(tmp_path)
    headers = {"Range": asked} if asked else {}
    answer = requests.get(f"{files.url}/a%20b", headers=headers, timeout=60)
    assert (answer.status_code, answer.content) == (status, got)
    assert files.count(kind="get", status=status, sent=len(got)) == 1


def test_only_files_below_the_folder_are_served(serve_files: Callable[..., Files], tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"1")
    (tmp_path / "open").mkdir()
    files = serve_files(tmp_path / "open")
    assert requests.get(f"{files.url}/%2e%2e/secret", timeout=60).status_code == 404


def test_a_cog_is_read_over_http_and_faults(serve_files: Callable[..., Files], tmp_path: Path):
    import numpy as np
    import rasterio

    profile = {"driver": "COG", "width": 600, "height": 600, "count": 1, "dtype": "uint16"}
    values = np.arange(600 * 600, dtype="uint16").reshape(600, 600)
    with rasterio.open(tmp_path / "a.tif", "w", **profile, crs="EPSG:32633") as out:
        out.write(values, 1)
    files = serve_files(tmp_path)
    options = {"GDAL_HTTP_MAX_RETRY": 5, "GDAL_HTTP_RETRY_DELAY": 0.05}
    with (
        files.faults(faults=["slow_down"], at_most=1),
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", **options),
        rasterio.open(f"/vsicurl/{files.url}/a.tif") as cog,
    ):
        np.testing.assert_array_equal(cog.read(1), values)
    assert files.injected()["slow_down"] > 0


def test_a_token_opens_one_container_until_it_expires(
    token_server: TokenServer, serve_files: Callable[..., Files], tmp_path: Path
):
    for container in ("one", "two"):
        (tmp_path / "account" / container).mkdir(parents=True)
        (tmp_path / "account" / container / "a.tif").write_bytes(b"1")
    files = serve_files(tmp_path, tokens=token_server.tokens)

    def status(container: str, token: str) -> int:
        blob = f"https://account.blob.core.windows.net/{container}/a.tif?{token}"
        return requests.get(files.href(blob), timeout=60).status_code

    got = requests.get(f"{token_server.sas_url}/account/one", timeout=60).json()
    assert sorted(got) == ["msft:expiry", "token"]
    assert status("one", got["token"]) == 200
    assert status("one", "") == 403
    assert status("one", "sig=made-up") == 403
    assert status("two", got["token"]) == 403

    token_server.tokens.clock.move(token_server.tokens.valid_s + 1)
    assert status("one", got["token"]) == 403
    assert token_server.tokens.handed_out == [("account", "one")]


def test_planetary_computer_signs_with_these_tokens(
    token_server: TokenServer, serve_files: Callable[..., Files], tmp_path: Path
):
    (tmp_path / "account/one").mkdir(parents=True)
    (tmp_path / "account/one/a.tif").write_bytes(b"1")
    files = serve_files(tmp_path, tokens=token_server.tokens)
    code = (
        "import planetary_computer as pc\n"
        "blob = 'https://account.blob.core.windows.net/one/a.tif'\n"
        "assert pc.sign(blob) == pc.sign(blob)\n"
        "print(pc.sign(blob))\n"
    )
    signed = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | token_server.env,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout.strip()
    assert requests.get(files.href(signed), timeout=60).content == b"1"
    assert token_server.tokens.handed_out == [("account", "one")]


# -- STAC API


def _items(collection: str, n: int) -> list[pystac.Item]:
    start = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)
    return [
        pystac.Item(
            id=f"item-{i}",
            geometry={"type": "Point", "coordinates": [15 + i / 100, 46]},
            bbox=[15 + i / 100, 46, 15 + i / 100, 46],
            datetime=start + dt.timedelta(days=i),
            properties={"eo:cloud_cover": i},
            collection=collection,
        )
        for i in range(n)
    ]


def test_a_search_is_paged(stac_api: StacApi):
    stac_api.load(_items("paged", 25))
    client = pystac_client.Client.open(stac_api.url)
    pages = list(client.search(collections=["paged"], limit=10).pages())
    assert [len(page) for page in pages] == [10, 10, 5]
    assert len({item.id for page in pages for item in page}) == 25


def test_a_search_is_filtered(stac_api: StacApi):
    stac_api.load(_items("filtered", 20))
    search = pystac_client.Client.open(stac_api.url).search(
        collections=["filtered"],
        datetime="2022-01-03/2022-01-12",
        bbox=[15, 45, 15.055, 47],
        query={"eo:cloud_cover": {"gte": 4}},
    )
    assert {item.id for item in search.items()} == {"item-4", "item-5"}


def test_an_item_that_is_loaded_again_is_replaced(stac_api: StacApi):
    items = _items("replaced", 2)
    stac_api.load(items)
    items[0].properties["eo:cloud_cover"] = 99
    stac_api.load(items[:1])
    client = pystac_client.Client.open(stac_api.url)
    found = {item.id: item for item in client.search(collections=["replaced"]).items()}
    assert {k: v.properties["eo:cloud_cover"] for k, v in found.items()} == {
        "item-0": 99,
        "item-1": 1,
    }
