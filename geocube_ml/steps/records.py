"""What is done of a run: small JSON files, on a disk or in an object store.

What is done is read from records, never from the presence of data.  A step's ``begun.json`` holds
its inputs (the part of the recipe that decides the result, and the digests of the steps before),
so that a change is noticed and can be named; ``done.json`` is written after its data.  While a
result grows, ``before.json`` holds both as they were, until the first tile of what comes is made.
A tile's record is one small object, found by listing: a thousand tiles a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from geocube_ml.errors import StaleTarget
from geocube_ml.files import Place, discard, names, read_json, write_json
from geocube_ml.spec.base import digest
from geocube_ml.steps import NAMES
from geocube_ml.steps.tiles import Unit

Grows = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


class Records:
    """The records of a run.

    Parameters
    ----------
    out : Path or UPath
        The run's folder.
    """

    def __init__(self, out: Place) -> None:
        self._out = out

    def path(self, step: str, name: str) -> Place:
        """Where one of a step's records is."""
        return self._out / "records" / step / f"{name}.json"

    def tiles(self, step: str) -> Place:
        """Folder of the records of a step's tiles."""
        return self._out / "records" / step / "tiles"

    def left_out(self, step: str) -> Place:
        """Folder of what tiles were made without; only of those that lack something."""
        return self._out / "records" / step / "left_out"

    def begin(self, step: str, inputs: Mapping[str, Any], grows: Grows | None = None) -> None:
        """Check that what is there belongs to these inputs; note that the step has begun.

        Parameters
        ----------
        step : str
        inputs : mapping
        grows : callable, optional
            Takes the inputs before and now; whether what is there stays and only more comes.

        Raises
        ------
        StaleTarget
            Another recipe, or other inputs, began this step; names what differs.
        """
        if self.check(step, inputs, grows):
            begun, done, before = (self.path(step, name) for name in ("begun", "done", "before"))
            # one that is there is of a growth that was stopped before it made anything
            if begun.exists() and not before.exists():
                finished = read_json(done) if done.exists() else None
                write_json(before, {"begun": read_json(begun), "done": finished})
            discard(done)
            write_json(begun, {"digest": digest(inputs), "inputs": inputs})

    def make(self, step: str) -> None:
        """Note that tiles are made from now on: what was there before does not come back."""
        discard(self.path(step, "before"))

    def restore(self, step: str) -> bool:
        """Be as before a growth that has made nothing; whether there was such a one."""
        path = self.path(step, "before")
        if not path.exists():
            return False
        was = read_json(path)
        write_json(self.path(step, "begun"), was["begun"])
        if was["done"] is not None:
            write_json(self.path(step, "done"), was["done"])
        discard(path)
        return True

    def begun(self, step: str) -> dict[str, Any] | None:
        """The inputs that a step was begun with, or None if it was not."""
        path = self.path(step, "begun")
        if not path.exists():
            return None
        inputs: dict[str, Any] = read_json(path)["inputs"]
        return inputs

    def check(self, step: str, inputs: Mapping[str, Any], grows: Grows | None = None) -> bool:
        """Refuse if the step was begun with other inputs; whether it is new, or grows."""
        path = self.path(step, "begun")
        if not path.exists():
            return True
        before = read_json(path)
        if before["digest"] == digest(inputs):
            return False
        if grows is not None and grows(before["inputs"], inputs):
            return True
        raise StaleTarget(
            f"{self._out} holds the result of the step `{step}` from another recipe or other "
            f"inputs: {_difference(before['inputs'], dict(inputs))} another `out:`, or "
            f"make it anew with: {' '.join(self._after(step))} --redo"
        )

    def _after(self, step: str) -> list[str]:
        """A step, and those that were begun after it."""
        first = step if step in NAMES else NAMES[0]  # items belong to the cube
        return [
            name
            for name in NAMES[NAMES.index(first) :]
            if name == first or self.path(name, "begun").exists()
        ]

    def finish(self, step: str, inputs_digest: str, facts: Mapping[str, Any]) -> None:
        """Note that a step is done; written after its data."""
        write_json(self.path(step, "done"), {"digest": inputs_digest, "facts": facts})
        discard(self.path(step, "failed"))
        discard(self.path(step, "before"))

    def facts(self, step: str) -> dict[str, Any] | None:
        """What a finished step noted, or None if it is not done."""
        path = self.path(step, "done")
        if not path.exists():
            return None
        facts: dict[str, Any] = read_json(path)["facts"]
        return facts

    def forget(self, steps: Iterable[str]) -> None:
        """Remove the records of steps, so that they are made anew."""
        for step in steps:
            discard(self._out / "records" / step)

    def forget_units(self, step: str, beginning: str) -> None:
        """Remove the records of units whose names begin so."""
        for name in names(self.tiles(step)):
            if name.startswith(beginning):
                discard(self.tiles(step) / name)

    def pending(self, step: str, units: Sequence[Unit]) -> list[Unit]:
        """Units of a step without a record; those that failed last time at the end.

        Else a run would meet nothing but failures at its beginning, and give up.
        """
        done = names(self.tiles(step))
        left = [unit for unit in units if f"{unit.name}.json" not in done]
        path = self.path(step, "failed")
        failed = set(read_json(path)) if path.exists() else set()
        return sorted(left, key=lambda unit: unit.name in failed)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first few values that differ, and the beginning of what to do."""
    gone, new = (
        sorted(one.get("sources", {}).keys() - other.get("sources", {}).keys())
        for one, other in ((before, now), (now, before))
    )
    if gone:
        instead = f", but {_quoted(new)}, which it lacks" if new else ""
        return (
            f"it has {_quoted(gone)}, which the recipe does not name any more{instead}. Sources "
            f"are added to a cube, not taken away or renamed. Name {_quoted(gone)} again, take"
        )
    a, b = dict(_leaves(before)), dict(_leaves(now))
    found = [
        f"{key} was {a.get(key, 'not given')}, is {b.get(key, 'not given')}"
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]
    return (
        "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "") + ". Take"
    )


def _quoted(names: Sequence[str]) -> str:
    return f"the source{'s' * (len(names) > 1)} " + ", ".join(f"`{name}`" for name in names)


def _leaves(value: Any, at: Sequence[str] = ()) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*at, str(key)))
    else:
        yield ".".join(at), list(value) if isinstance(value, tuple) else value
