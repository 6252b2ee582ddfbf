"""Open what a spec says to run on, and see that it fits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from distributed import Client, LocalCluster

from geocube_ml.cluster import prepare
from geocube_ml.cluster.remote import DaskWorkers
from geocube_ml.cluster.threads import ThreadWorkers, cores
from geocube_ml.cluster.workers import Workers
from geocube_ml.errors import ClusterError
from geocube_ml.spec.cluster import CURRENT, PROCESSES, THREADS, ClusterSpec

CONNECT = 10.0
"""Seconds in which a scheduler must answer the first time."""


@contextlib.contextmanager
def open_cluster(
    spec: ClusterSpec = ClusterSpec(),  # noqa: B008
    client: Client | None = None,
) -> Iterator[Workers]:
    """What to run on, for as long as the block lasts.

    Parameters
    ----------
    spec : ClusterSpec
    client : distributed.Client, optional
        Taken whatever the spec says of where, and left open.

    Raises
    ------
    ClusterError
        There is no such cluster, it has no workers, or they differ from this process.

    Examples
    --------
    >>> with open_cluster(ClusterSpec(workers=2)) as workers:
    ...     workers.describe()
    '2 threads of this process'
    """
    workers: ThreadWorkers | DaskWorkers
    with contextlib.ExitStack() as stack:
        if client is None and spec.where == THREADS:
            workers = ThreadWorkers(spec)
            stack.callback(workers.close)
        else:
            ours = client is None and spec.where == PROCESSES
            client = client or stack.enter_context(_client(spec))
            if client.asynchronous:
                raise ClusterError("The dask client is asynchronous. Open one that is not.")
            workers = DaskWorkers(client, spec)
            stack.callback(workers.close)
            _check(workers)
            base = partial(prepare.settle_in, prepare.versions())
            workers.prepare("threads and versions", base, prepare.unlimit_threads)
            if ours:
                workers.prepare("interrupts", prepare.ignore_interrupts)
        yield workers


@contextlib.contextmanager
def _client(spec: ClusterSpec) -> Iterator[Client]:
    """A client of the spec's cluster; of one that was made here, the end is here, too."""
    if spec.where == CURRENT:
        try:
            yield Client.current()
        except ValueError as error:
            raise ClusterError(
                "No dask client is open in this process, and `cluster: current` takes that. Open "
                "one first (client = cluster.get_client(), or distributed.Client(...)), or write "
                f"`cluster: {PROCESSES}`."
            ) from error
        return
    with contextlib.ExitStack() as stack:
        address: str | LocalCluster = spec.where
        if spec.where == PROCESSES:
            address = stack.enter_context(
                LocalCluster(
                    n_workers=spec.workers or cores(),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                )
            )
        try:
            # not the default: what else this process computes stays in this process
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, TypeError) as error:  # the latter for tls:// without certificates
            raise ClusterError(
                f"No dask scheduler answers at {spec.where} ({error}). Start one there (dask "
                f"scheduler), correct the address, or write `cluster: {PROCESSES}`."
            ) from error
        yield stack.enter_context(client)


def _check(workers: DaskWorkers) -> None:
    """Wait for a first worker, and compare all with this process."""
    if not workers.threads:
        client, patience = workers.client, workers.spec.patience
        wanted = client.submit(int, pure=False)  # clusters that grow by themselves do so for tasks
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError as error:
            raise ClusterError(
                f"The dask scheduler {workers.address} has no worker after {patience:g} s. Scale "
                "it (cluster.scale(4); dask worker ADDRESS), or wait longer: "
                "`cluster: {patience: 600}`."
            ) from error
        finally:
            wanted.release()
        workers.look()
    for where, got in workers.versions().items():
        prepare.check_versions(prepare.versions(), got, where)
