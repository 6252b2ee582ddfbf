"""Fixtures that every test may use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import settings

from geocube_ml.sim import Archive, make_archive, open_archive
from geocube_ml.spec.simulate import SimSpec
from tests.servers.fixtures import *  # noqa: F403
from tests.small import DENSE, SMALL

settings.register_profile("default", deadline=None, max_examples=40)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default")
)

DATA = Path(
    os.environ.get("GEOCUBE_ML_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data"
).resolve()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Finds a folder or file of real data by its name; skips the test where there is none."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no real data at {path}; set GEOCUBE_ML_DATA to the folder that holds it")
        return path

    return find


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """Fills a folder by its name, once for all processes of a test run; to be left as it is."""
    top = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent  # each process has a folder of its own below it

    def filled(name: str, fill: Callable[[Path], Any]) -> Path:
        folder, done = top / "once" / name, top / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with (folder.parent / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of another, which failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


def _simulated(once: Callable[..., Path], name: str, **values: Any) -> Archive:
    return open_archive(
        once(name, lambda folder: make_archive(SimSpec(folder=str(folder), **values)))
    )


@pytest.fixture(scope="session")
def small_archive(once: Callable[..., Path]) -> Archive:
    """On disk; to be left as it is.  Runs that simulate with `SMALL` make the same files."""
    return _simulated(once, "small", **SMALL)


@pytest.fixture(scope="session")
def dense_archive(once: Callable[..., Path]) -> Archive:
    """Two tiles in two UTM zones, 24 dates; to be left as it is."""
    return _simulated(once, "dense", **DENSE)


@pytest.fixture
def no_compute() -> Callable[[], AbstractContextManager[None]]:
    """Fail if anything inside the block computes a dask graph."""

    @contextlib.contextmanager
    def guard() -> Iterator[None]:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("a lazy function computed")

        with dask.config.set(scheduler=refuse):
            yield

    return guard


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(self: socket.socket, address: Any) -> Any:
            host = address[0] if isinstance(address, tuple) else ""  # a name of a local socket
            if host in ("", "localhost", "::1") or str(host).startswith("127."):
                return connect(self, address)
            raise AssertionError(f"a test connects to {host}; use a server on 127.0.0.1")

        return attempt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield
