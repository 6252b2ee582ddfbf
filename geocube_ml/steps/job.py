"""One run of a recipe: its files, and what is done of it.

What is done is read from records on disk, never from the presence of data.  A record holds the
inputs of its step (the part of the recipe that decides the result, and the digests of the steps
before), so that a change is noticed and can be named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pystac

from geocube_ml.cube.catalog import find_items, pin_items, read_items
from geocube_ml.cube.grid import Grid, Tile, make_grid
from geocube_ml.cube.store import CubeStore
from geocube_ml.cube.tiles import for_each_tile
from geocube_ml.errors import MissingError, SpecError, StaleTarget
from geocube_ml.files import PARTIAL, discard, read_json, sweep, write_json
from geocube_ml.spec.base import digest
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.recipe import Recipe
from geocube_ml.steps import NAMES

Note = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Say nothing."""


@dataclass
class Job:
    """A recipe and the folder that it writes to.

    Parameters
    ----------
    recipe : Recipe
    dry : bool
        Plan only; nothing may be written.
    note : callable
        Told how much of the current step is done.
    """

    recipe: Recipe
    dry: bool = False
    note: Note = _silent
    digests: dict[str, str] = field(default_factory=dict)
    """Of the inputs of each step that was begun."""

    @property
    def out(self) -> Path:
        """The run's folder."""
        return Path(self.recipe.out)

    @property
    def cube_path(self) -> Path:
        """The cube, a Zarr group."""
        return self.out / "cube.zarr"

    @property
    def items_path(self) -> Path:
        """The pinned items."""
        return self.out / "items.parquet"

    @property
    def samples_path(self) -> Path:
        """The sample table, a Zarr group."""
        return self.out / "samples.zarr"

    @property
    def losses_path(self) -> Path:
        """What was lost of the labels, and why."""
        return self.out / "labels_lost.csv"

    @property
    def scores_path(self) -> Path:
        """The accuracy."""
        return self.out / "scores.json"

    @property
    def map_path(self) -> Path:
        """The map as a COG."""
        return self.out / "export" / f"{self.recipe.name}_class.tif"

    @property
    def prob_path(self) -> Path:
        """The probabilities as a COG, one band a class."""
        return self.out / "export" / f"{self.recipe.name}_prob.tif"

    @property
    def report_path(self) -> Path:
        """The report."""
        return self.out / "report.html"

    def model_path(self, name: str) -> Path:
        """The bundle of a model."""
        return self.out / "models" / name

    @property
    def workers(self) -> int:
        """Threads that work on tiles."""
        return self.recipe.workers or len(os.sched_getaffinity(0))

    @property
    def labels(self) -> LabelsSpec:
        """The recipe's labels.

        Raises
        ------
        SpecError
            It has none.
        """
        if self.recipe.labels is None:
            raise SpecError(
                f"The recipe {self.recipe.name} has no `labels`, so only the step `cube` can run. "
                "Add `labels:` with a path and a class_column."
            )
        return self.recipe.labels

    @cached_property
    def items(self) -> list[pystac.Item]:
        """The items, from the pin; searched for and pinned first if they are not yet.

        Raises
        ------
        StaleTarget
            The pinned items were searched for with other conditions.
        """
        recipe = self.recipe
        _, source = recipe.source
        wanted = {
            "items": source.items.result(),
            "simulate": recipe.simulate.result() if recipe.simulate else None,
            "assets": list(source.assets),
            "period": recipe.period.result(),
            "grid": recipe.grid.result(),
        }
        place = source.items.model_dump(mode="json")
        self.check("items", wanted)
        known = self._record("items", "place")  # written last: without it the pin does not count
        if self.items_path.exists() and known.exists() and read_json(known) == place:
            return read_items(self.items_path)
        area = None if recipe.grid.like else make_grid(recipe.grid, recipe.store).lonlat()
        found = find_items(source, recipe.period, area)
        if self.dry:
            return found
        pin_items(found, self.items_path)
        self.begin("items", wanted)
        write_json(known, place)
        return read_items(self.items_path)

    @cached_property
    def grid(self) -> Grid:
        """The grid of the cube."""
        spec = self.recipe.grid
        return make_grid(spec, self.recipe.store, self.items if spec.like else ())

    @property
    def store(self) -> CubeStore:
        """The cube, for writing."""
        return CubeStore(self.cube_path, self.grid)

    # -- records ----------------------------------------------------------------------------

    def begin(self, step: str, inputs: Mapping[str, Any]) -> None:
        """Check that what is on disk belongs to these inputs; note that the step has begun.

        Raises
        ------
        StaleTarget
            Another recipe, or other inputs, began this step; names what differs.
        """
        self.check(step, inputs)
        path = self._record(step, "begun")
        if not self.dry and not path.exists():
            write_json(path, {"digest": digest(inputs), "inputs": inputs})
        self.digests[step] = digest(inputs)

    def check(self, step: str, inputs: Mapping[str, Any]) -> None:
        """Refuse if the step was begun with other inputs."""
        path = self._record(step, "begun")
        if not path.exists():
            return
        before = read_json(path)
        if before["digest"] != digest(inputs):
            after = NAMES[NAMES.index(step) :] if step in NAMES else NAMES
            raise StaleTarget(
                f"{self.out} holds the result of the step `{step}` from another recipe or other "
                f"inputs: {_difference(before['inputs'], dict(inputs))}. Take another `out:`, or "
                f"make it anew with: {' '.join(after)} --redo"
            )

    def finish(self, step: str, facts: Mapping[str, Any]) -> None:
        """Note that a step is done; written after its data."""
        write_json(self._record(step, "done"), {"digest": self.digests[step], "facts": facts})

    def facts(self, step: str) -> dict[str, Any] | None:
        """What a finished step noted, or None if it is not done."""
        path = self._record(step, "done")
        if not path.exists():
            return None
        facts: dict[str, Any] = read_json(path)["facts"]
        return facts

    def digest_of(self, step: str) -> str:
        """Digest of an earlier step's inputs, by the recipe as it is now.

        Raises
        ------
        MissingError
            It is not done.
        StaleTarget
            It was done by another recipe, or from other inputs.
        """
        if self.facts(step) is None and not self.dry:
            raise MissingError(
                f"The step `{step}` is needed first and is not done in {self.out}. Run it: name it "
                "on the command line, or name no step to run all."
            )
        if step not in self.digests:
            inputs = import_module(f"geocube_ml.steps.{step}").inputs(self)
            self.check(step, inputs)
            self.digests[step] = digest(inputs)
        return self.digests[step]

    def reread(self) -> None:
        """Look at the inputs anew: a step's results were removed."""
        self.digests.clear()
        self.__dict__.pop("items", None)
        self.__dict__.pop("grid", None)

    def sweep(self) -> None:
        """Remove what an interrupted run left half-written; only what a run itself writes.

        The cube is swept by its store, when it is written.
        """
        for path in (self.items_path, self.samples_path, self.losses_path, self.scores_path,
                     self.report_path, self.cube_path):  # fmt: skip
            discard(path.with_name(path.name + PARTIAL))
        for folder in ("models", "export", "records", "runs"):
            sweep(self.out / folder)

    def forget(self, steps: Iterable[str]) -> None:
        """Remove the records of steps, so that they are made anew."""
        for step in steps:
            shutil.rmtree(self.out / "records" / step, ignore_errors=True)

    def pending(self, step: str) -> list[Tile]:
        """Tiles of a step without a record; one listing, whatever their number."""
        folder = self.out / "records" / step / "tiles"
        done = set(os.listdir(folder)) if folder.exists() else set()
        return [tile for tile in self.grid.tiles if f"{tile.name}.json" not in done]

    def write_tiles(
        self, step: str, variables: Collection[str], work: Callable[[Tile], Mapping[str, Any]]
    ) -> int:
        """Compute and write all pending tiles of a step.

        Parameters
        ----------
        step : str
        variables : collection of str
            What `work` returns.
        work : callable
            Takes a tile, returns variable to (..., y, x) array.

        Returns
        -------
        int
            Number of tiles written.
        """
        store = self.store

        def one(tile: Tile) -> None:
            values = work(tile)
            store.write(tile, values)
            # last: a crash repeats a tile, never skips one
            path = self.out / "records" / step / "tiles" / f"{tile.name}.json"
            write_json(path, {"digest": self.digests[step], "variables": sorted(variables)})

        tiles = self.pending(step)
        total = len(self.grid.tiles)
        before = total - len(tiles)
        self.note(before, total)
        for_each_tile(
            tiles, one, workers=self.workers, note=lambda done, _: self.note(before + done, total)
        )
        return len(tiles)

    def _record(self, step: str, name: str) -> Path:
        return self.out / "records" / step / f"{name}.json"


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first few values that differ, as a sentence."""
    a, b = dict(_leaves(before)), dict(_leaves(now))
    found = [
        f"{key} was {a.get(key, 'not given')}, is {b.get(key, 'not given')}"
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _leaves(value: Any, at: Sequence[str] = ()) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*at, str(key)))
    else:
        yield ".".join(at), list(value) if isinstance(value, tuple) else value
