"""A dask-gateway, as on a hub: it starts clusters, reached by TLS through its proxy."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.process import free_ports, running, wait_until

if TYPE_CHECKING:
    import dask_gateway

PACKAGES = {
    "dask_gateway": "dask-gateway",
    "dask_gateway_server": "dask-gateway-server",
    "sqlalchemy": "sqlalchemy",
    "cryptography": "cryptography",
    "colorlog": "colorlog",
}

_ROOT = Path(__file__).parents[2]


def missing() -> str | None:
    """Why no gateway can be started here; None where it can."""
    for module, package in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            return f"no {package}; pip install dask-gateway 'dask-gateway-server[local]'"
    server = importlib.util.find_spec("dask_gateway_server")
    assert server is not None
    assert server.origin is not None
    if not Path(server.origin).with_name("proxy").joinpath("dask-gateway-proxy").exists():
        return "dask-gateway-server is built without its proxy; install one of its wheels"
    return None


class GatewayServer:
    """Where a gateway is, and who may use it."""

    user = "tester"
    password = "a-test-password"

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def gateway(self) -> dask_gateway.Gateway:
        """To be closed by the caller, as in ``with server.gateway() as gateway``."""
        import dask
        from dask_gateway import BasicAuth, Gateway

        with dask.config.set({"gateway.http-client.proxy": False}):
            gateway = Gateway(self.address, auth=BasicAuth(self.user, self.password))
        _kept.append(gateway)
        return gateway

    @contextlib.contextmanager
    def cluster(self, n_worker: int = 2, **options: Any) -> Iterator[dask_gateway.GatewayCluster]:
        """A cluster whose workers have been asked for; `options` are what the gateway offers."""
        with self.gateway() as gateway, gateway.new_cluster(**options) as cluster:
            _kept.append(cluster)
            cluster.scale(n_worker)
            yield cluster


@contextlib.contextmanager
def gateway_server(
    folder: Path, *, variables: Mapping[str, str] | None = None
) -> Iterator[GatewayServer]:
    """A gateway whose clusters are processes of this machine.

    Their environment is not ours but little more than PATH, as on a hub.

    Parameters
    ----------
    folder : for its log, and for what its clusters write
    variables : for schedulers and workers; a cluster's option `environment` replaces them
    """
    private, public = free_ports(2)
    config = folder / "config.py"
    config.write_text(_CONFIG.format(**_values(folder, private, public, variables or {})))
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "dask_gateway_server", "-f", str(config)]
    env = os.environ | {"PYTHONPATH": path}
    # asked, not killed: it ends its clusters, which are not of its process group
    with running(command, log=folder / "gateway.log", env=env, end=signal.SIGTERM) as process:
        wait_until(lambda: _answers(public), process, what="dask-gateway-server")
        yield GatewayServer(public)


_kept: list[object] = []  # dask-gateway's destructors raise where its loop has ended

_CONFIG = """\
from dask_gateway_server.options import Mapping, Options

c.DaskGateway.address = "127.0.0.1:{private}"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = {password!r}
c.Proxy.address = "127.0.0.1:{public}"

c.Backend.cluster_options = Options(Mapping("environment", {environment!r}))
c.ClusterConfig.scheduler_cmd = {scheduler!r}
c.ClusterConfig.worker_cmd = {worker!r}

# soon, so that all is over before the gateway itself is killed
c.LocalBackend.sigint_timeout = c.LocalBackend.sigterm_timeout = 1
c.LocalBackend.sigkill_timeout = 1
c.LocalBackend.clusters_directory = {folder!r}
# a worker that is lost is replaced within about two of these
c.DBBackendBase.cluster_heartbeat_period = 1
c.DBBackendBase.worker_status_period = 1
# in place of a heartbeat that a busy machine delays
c.DBBackendBase.cluster_heartbeat_timeout = 60
"""


def _values(
    folder: Path, private: int, public: int, variables: Mapping[str, str]
) -> dict[str, Any]:
    dask = [sys.executable, "-m", "dask"]
    return {
        "private": private,
        "public": public,
        "password": GatewayServer.password,
        "environment": dict(variables),
        "scheduler": [*dask, "scheduler"],
        "worker": [*dask, "worker", "--host", "127.0.0.1"],
        "folder": str(folder / "clusters"),
    }


def _answers(port: int) -> bool:
    """The gateway, through its proxy, which listens before it knows where the gateway is."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"http://127.0.0.1:{port}/api/health", timeout=10).ok
        except requests.RequestException:
            return False
