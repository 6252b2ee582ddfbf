"""Servers as fixtures; a conftest imports those that its tests use.

A server of the session starts when a first test asks for it.  Import each into one conftest
only, the outermost that needs it: pytest starts another server for every import.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.dask import DaskCluster
from tests.servers.dask import dask_cluster as run_dask_cluster
from tests.servers.faults import S3Proxy
from tests.servers.files import Files
from tests.servers.s3 import S3, s3_server
from tests.servers.stac_api import StacApi, missing, stac_api_server
from tests.servers.token import TokenServer

__all__ = [
    "dask_cluster",
    "new_dask_cluster",
    "s3",
    "s3_faults",
    "serve_files",
    "stac_api",
    "token_server",
]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server; take a bucket of your own with ``s3.bucket()``."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_faults(s3: S3) -> Iterator[S3Proxy]:
    """A proxy in front of `s3`, well-behaved until told otherwise.

    ``s3.behind(s3_faults.url)`` is the server as seen through it.
    """
    with S3Proxy(s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Two workers, to be left as they were found; a worker that its nanny replaces is fine."""
    with run_dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def new_dask_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., DaskCluster]]:
    """Starts a cluster that the test may break; takes the arguments of `run_dask_cluster`."""
    with contextlib.ExitStack() as stack:

        def start(n_worker: int = 2, folder: Path | None = None, **options: object) -> DaskCluster:
            folder = folder or tmp_path_factory.mktemp("dask")
            return stack.enter_context(run_dask_cluster(folder, n_worker, **options))

        yield start


@pytest.fixture
def token_server() -> Iterator[TokenServer]:
    """Hands out tokens; ``serve_files(folder, tokens=token_server.tokens)`` asks for them."""
    with TokenServer() as server:
        yield server


@pytest.fixture
def serve_files() -> Iterator[Callable[..., Files]]:
    """Serves a folder until the test ends; takes the arguments of `Files`."""
    with contextlib.ExitStack() as stack:
        yield lambda folder, **options: stack.enter_context(Files(folder, **options))


@pytest.fixture(scope="session")
def stac_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StacApi]:
    """A STAC API; load items into a collection of your own with ``stac_api.load(items)``."""
    if reason := missing():
        pytest.skip(f"no STAC API: {reason}")
    with stac_api_server(tmp_path_factory.mktemp("stac")) as server:
        yield server
