"""A dask cluster of processes, as on a hub: a scheduler, and workers under nannies."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.process import Process, free_ports, wait_until

if TYPE_CHECKING:
    from distributed import Client

_ROOT = Path(__file__).parents[2]


class DaskCluster:
    """Processes that can be killed one by one.

    Parameters
    ----------
    folder : for logs and for what workers spill
    env : added to ours, for all processes
    memory_limit : of each worker, as dask writes it; "0" is none
    worker_options : more arguments of ``dask worker``
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        memory_limit: str = "0",
        worker_options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self._port = free_ports(1)[0]
        self.address = f"tcp://127.0.0.1:{self._port}"
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._env = {**os.environ, "PYTHONPATH": path, **(env or {})}
        self._options = ("--memory-limit", memory_limit, *worker_options)
        self.nannies: dict[str, Process] = {}
        """By the name of their worker."""
        self.schedulers: list[Process] = []
        """The last one is the current one."""

    def start_scheduler(self) -> Process:
        """Returned when it listens; at the address of the one before, if there was one."""
        options = ["--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        process = self._start(f"scheduler-{len(self.schedulers)}", "scheduler", *options)
        self.schedulers.append(process)
        wait_until(
            lambda: "Scheduler at:" in process.text(), process, what="dask scheduler", timeout_s=240
        )
        return process

    def start_worker(self, name: str | None = None) -> Process:
        """The nanny of one more worker; returns at once, see `wait_for_workers`."""
        name = name or f"worker-{len(self.nannies)}"
        self.nannies[name] = self._start(
            name,
            "worker",
            self.address,
            *("--host", "127.0.0.1", "--name", name, "--nthreads", "1", "--no-dashboard"),
            *("--local-directory", str(self.folder), *self._options),
        )
        return self.nannies[name]

    def client(self) -> Client:
        """To be closed by the caller, as in ``with cluster.client() as client``."""
        from distributed import Client

        return Client(self.address, timeout="90s", set_as_default=False)

    def wait_for_workers(self, n: int, timeout_s: float = 240) -> None:
        """Until the scheduler has as many workers."""
        with self.client() as client:
            client.wait_for_workers(n, timeout=timeout_s)

    def worker_pids(self) -> dict[str, int]:
        """Workers that run now, by name; not their nannies."""
        import psutil

        pids = {}
        for name, nanny in self.nannies.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(nanny.pid).children():
                    if "spawn_main" in " ".join(child.cmdline()):
                        pids[name] = child.pid
        return pids

    def kill_worker(self, name: str | None = None, *, for_good: bool = False) -> int:
        """``kill -9`` of a worker, by default the first; its nanny starts another.

        With `for_good` its nanny is killed too.  Returns the pid of the worker.
        """
        pids = self.worker_pids()
        name = name or next(iter(pids))
        if for_good:
            self.nannies.pop(name).kill()
        else:
            os.kill(pids[name], signal.SIGKILL)
        return pids[name]

    def kill_scheduler(self) -> None:
        """``kill -9``; its workers then end by themselves, as dask's do.

        `start_scheduler` and `start_worker` replace them, under the same address.
        """
        self.schedulers[-1].kill()

    def kill(self) -> None:
        """``kill -9`` of the scheduler, then of all others, which would end by themselves."""
        self.kill_scheduler()
        self.close()

    def restart(self) -> None:
        """A new scheduler and workers of the same names, whatever has become of the old ones."""
        names = list(self.nannies)
        self.close()
        self.start_scheduler()
        for name in names:
            self.start_worker(name)

    def logs(self) -> dict[str, str]:
        """What every process of this cluster has logged, by name."""
        files = sorted(self.folder.glob("*.log"))
        return {path.stem: path.read_text(errors="replace") for path in files}

    def close(self) -> None:
        for process in [*self.nannies.values(), *self.schedulers]:
            process.stop()

    def _start(self, name: str, *arguments: str) -> Process:
        command = [sys.executable, "-m", "dask", *arguments]
        return Process(command, log=self.folder / f"{name}.log", env=self._env)


@contextlib.contextmanager
def dask_cluster(folder: Path, n_worker: int = 2, **options: object) -> Iterator[DaskCluster]:
    """A cluster whose workers have arrived; `options` are those of `DaskCluster`."""
    cluster = DaskCluster(folder, **options)  # type: ignore[arg-type]
    try:
        cluster.start_scheduler()
        for _ in range(n_worker):
            cluster.start_worker()
        cluster.wait_for_workers(n_worker)
        yield cluster
    finally:
        cluster.close()
