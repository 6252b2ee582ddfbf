"""Fixtures that every test may use."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import settings

from geocube_ml.sim import Archive, make_archive
from geocube_ml.spec.simulate import SimSpec
from tests.servers.fixtures import *  # noqa: F403
from tests.small import SMALL

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
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
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """On disk; to be left as it is.  Runs that simulate with `SMALL` make the same files."""
    return make_archive(SimSpec(folder=str(tmp_path_factory.mktemp("archive")), **SMALL))


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
