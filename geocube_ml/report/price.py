"""What a cube was said to take, beside what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("tasks", "tasks", str),
    ("windows", "windows read", str),
    ("decoded_bytes", "decoded", lambda n: f"{n / 1e6:.3g} MB"),
    ("objects", "objects", str),
    ("stored_bytes", "stored", lambda n: f"{n / 1e6:.3g} MB"),
    ("worker_bytes", "memory of a process", lambda n: f"{n / 1e6:.0f} MB"),
    ("seconds", "time", lambda n: f"{n:.1f} s"),
)


def price_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of a table; both values are of the last run that made something of the cube.

    Parameters
    ----------
    record : mapping
        ``estimated`` and ``was``, of the step `cube`; empty where there is none.

    Examples
    --------
    >>> price_rows({"estimated": {"tasks": 9, "done_before": 3}, "was": {"tasks": 9}})
    [('Cube: tasks', '9 said before, 9 taken (3 of 12 were there)')]
    """
    told, was = record.get("estimated") or {}, record.get("was") or {}
    rows = [
        (f"Cube: {what}", f"{show(told[key])} said before, {show(was[key])} taken")
        for key, what, show in _SHOWN
        if told.get(key) is not None and was.get(key) is not None
    ]
    if rows and (before := told.get("done_before")):
        (what, said), *others = rows
        return [(what, f"{said} ({before} of {before + told['tasks']} were there)"), *others]
    return rows
