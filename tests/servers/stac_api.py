"""A STAC API: stac-fastapi on pgstac, which is what the Planetary Computer runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pystac

from tests.servers.process import free_ports, running, wait_until

MODULES = ("pypgstac", "stac_fastapi.pgstac", "uvicorn")


def missing() -> str | None:
    """Why no STAC API can be started here; None where it can."""
    if _postgres() is None:
        return (
            "no PostgreSQL with PostGIS below /usr/lib/postgresql; "
            "apt-get install postgresql-15-postgis-3"
        )
    if os.geteuid() == 0 and not _user():
        return "PostgreSQL refuses to run as root, and there is no user `postgres`"
    for module in MODULES:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return f"no module {module}; pip install 'geocube-ml[dev]'"
    return None


class StacApi:
    """A running server and its database."""

    def __init__(self, url: str, env: dict[str, str], folder: Path) -> None:
        self.url = url
        self._env = env
        self._folder = folder

    def load(
        self,
        items: Iterable[pystac.Item],
        collections: Iterable[pystac.Collection] = (),
    ) -> None:
        """Add or replace; a collection that nobody gave is made from its name."""
        items = list(items)
        given = {c.id: c.to_dict(include_self_link=False) for c in collections}
        for name in {str(item.collection_id) for item in items} - set(given):
            given[name] = _collection(name).to_dict(include_self_link=False)
        self._load("collections", list(given.values()))
        self._load("items", [item.to_dict(include_self_link=False) for item in items])

    def _load(self, what: str, values: list[dict[str, object]]) -> None:
        if values:
            path = self._folder / f"{what}.ndjson"
            path.write_text("".join(json.dumps(value) + "\n" for value in values))
            _pypgstac(self._env, "load", what, str(path), "--method", "upsert")


@contextlib.contextmanager
def stac_api_server(folder: Path) -> Iterator[StacApi]:
    """An API without collections; logs go to `folder`, the database to one of its own."""
    with _database(folder / "postgres.log") as port:
        env = os.environ | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": "postgres",
            "PGPASSWORD": "not-asked-for",
            "PGDATABASE": "postgres",
        }
        _pypgstac(env, "migrate")
        serve = free_ports(1)[0]
        command = [sys.executable, "-m", "uvicorn", "--factory", "--host", "127.0.0.1"]
        command += ["--port", str(serve), "stac_fastapi.pgstac.app:create_app"]
        with running(command, log=folder / "uvicorn.log", env=env) as process:
            wait_until(lambda: _listens(serve), process, what="stac-fastapi", timeout_s=240)
            yield StacApi(f"http://127.0.0.1:{serve}", env, folder)


@contextlib.contextmanager
def _database(log: Path) -> Iterator[int]:
    """The port of an empty PostgreSQL; nothing of it is kept."""
    programs = _postgres()
    assert programs is not None
    user = _user() if os.geteuid() == 0 else ""
    # not below `folder`: pytest's folders are closed to other users
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if user:
            shutil.chown(home, user, user)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [programs / "initdb", "--pgdata", home, "--no-sync", *options],
            cwd=home,
            user=user or None,
            group=user or None,
            extra_groups=[] if user else None,
            check=True,
            capture_output=True,
        )
        port = free_ports(1)[0]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "timezone": "UTC",
        }
        command = [str(programs / "postgres"), "-D", str(home)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # asked, not killed: it would leave its shared memory behind
        with running(command, log=log, user=user, end=signal.SIGINT) as process:
            ready = "ready to accept connections"
            wait_until(lambda: ready in process.text(), process, what="PostgreSQL")
            yield port
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _postgres() -> Path | None:
    """The programs of the newest PostgreSQL that has PostGIS, where Debian puts them."""
    versions = [p for p in Path("/usr/lib/postgresql").glob("*") if p.name.isdigit()]
    for path in sorted(versions, key=lambda p: -int(p.name)):
        postgis = Path("/usr/share/postgresql") / path.name / "extension/postgis.control"
        if (path / "bin/initdb").exists() and postgis.exists():
            return path / "bin"
    return None


def _user() -> str:
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return ""


def _pypgstac(env: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "pypgstac.pypgstac", *arguments]
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"pypgstac {' '.join(arguments)}:\n{done.stdout[-3000:]}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _collection(name: str) -> pystac.Collection:
    always = pystac.TemporalExtent([[dt.datetime(2000, 1, 1, tzinfo=dt.UTC), None]])
    everywhere = pystac.SpatialExtent([[-180, -90, 180, 90]])
    return pystac.Collection(name, "For tests.", pystac.Extent(everywhere, always))
