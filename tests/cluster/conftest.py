"""Clusters on 127.0.0.1 that end with the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from tests.servers.process import wait_until


@pytest.fixture(scope="session")
def local_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(local_cluster: LocalCluster) -> Iterator[Client]:
    """With two workers, as it was made."""
    local_cluster.scale(2)
    with Client(local_cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=240)
        yield client


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start ``dask scheduler`` or ``dask worker`` as processes of their own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "dask",
            *args,
            "--host",
            "127.0.0.1",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        return started[-1]

    yield start
    for process in reversed(started):
        process.kill()
        process.wait(60)


@pytest.fixture
def scheduler(dask: Callable[..., subprocess.Popen[bytes]], tmp_path: Path):
    """A scheduler's process and its address."""
    file = tmp_path / "scheduler.json"
    process = dask("scheduler", "--port", "0", "--scheduler-file", str(file))
    wait_until(lambda: file.exists() and bool(file.read_text()), what="dask scheduler")
    return process, json.loads(file.read_text())["address"]
