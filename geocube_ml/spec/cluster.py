"""Where tiles are worked on.  It changes no result, so nothing here is in a digest."""

from __future__ import annotations

import difflib
import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from geocube_ml.spec.base import EXECUTION, Filled, Spec

THREADS, PROCESSES, CURRENT = "threads", "processes", "current"

_ADDRESS = re.compile(r"^(tcp|tls|ws|wss|ucx)://\S+:\d+$")


class ClusterSpec(Spec):
    """Where tiles are worked on, and how often one is tried.

    ``cluster: processes`` is short for ``cluster: {where: processes}``.
    """

    where: Filled = Field(THREADS, json_schema_extra=EXECUTION)
    """``threads`` of this process; ``processes`` of this machine, started for the run;
    ``current``, the dask Client that is open (of dask-gateway on a hub, too); or the address of a
    scheduler, ``tcp://10.0.0.1:8786``; ``${VARIABLE:-default}`` is filled in."""

    workers: int | None = Field(None, ge=1, json_schema_extra=EXECUTION)
    """Threads or processes on this machine; the number of cores by default."""

    attempts: int = Field(3, ge=1, json_schema_extra=EXECUTION)
    """How often a tile is tried before it is listed as failed."""

    ahead: int = Field(2, ge=1, json_schema_extra=EXECUTION)
    """Tiles handed out for each thread, the one that it works on included."""

    pause: float = Field(5, ge=0, json_schema_extra=EXECUTION)
    """Seconds that a worker of a cluster rests, at most, after an attempt that failed: a broken one
    that fails at once would draw all tiles to itself."""

    patience: float = Field(120, gt=0, json_schema_extra=EXECUTION)
    """Seconds that a cluster may be without any worker."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        if isinstance(values, int):
            raise ValueError(f"write `cluster: {{workers: {values}}}` for so many threads")
        return {"where": values} if isinstance(values, str) else values

    @field_validator("where")
    @classmethod
    def _known(cls, where: str) -> str:
        words = (THREADS, PROCESSES, CURRENT)
        if where in words or _ADDRESS.match(where):
            return where
        if where.startswith("gateway://"):
            raise ValueError(
                f"{where!r} is reached by dask-gateway only; open its client there "
                f"(cluster.get_client()) and write {CURRENT!r}"
            )
        near = difflib.get_close_matches(where, words, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(words)}."
        raise ValueError(f"no place to work is called {where!r}; {hint} Else write tcp://HOST:PORT")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.workers is not None and self.where not in (THREADS, PROCESSES):
            raise ValueError(
                f"the number of workers ({self.workers}) is the cluster's own where it runs "
                f"elsewhere ({self.where!r}); leave `workers` out, and scale the cluster itself"
            )
        return self
