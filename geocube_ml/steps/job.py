"""One run of a recipe: where its files are, who works on it, and what is done of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Protocol

import shapely
from odc.geo.geom import Geometry

from geocube_ml.cluster import Workers, cores
from geocube_ml.errors import InputError, MissingError, SpecError
from geocube_ml.files import PARTIAL, Place, discard, is_remote, place, sweep
from geocube_ml.grid import Grid, area_on, make_grid
from geocube_ml.labels.boundary import read_boundary
from geocube_ml.labels.hull import labels_hull
from geocube_ml.spec.base import digest
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.recipe import Recipe
from geocube_ml.steps import module_of
from geocube_ml.steps.items import Found, pinned
from geocube_ml.steps.records import Grows, Records
from geocube_ml.steps.tiles import TileTask, TileWriter, Unit, Work, write_tiles
from geocube_ml.store.cube import CubeStore


class Note(Protocol):
    """Told how much of a step is done, of how much, and what there is to say of it."""

    def __call__(self, done: int, total: int, said: str = "") -> None:
        """Show it."""


_DOUBTS = ("labels_doubtful.csv", "labels_doubtful.gpkg", "labels_doubt.parquet")
_OF_THE_MAP = ("map_sample.gpkg", "areas.json", "applicability.safetensors")


def _silent(done: int, total: int, said: str = "") -> None:
    """Say nothing."""


def _unchecked() -> None:
    """A plan has no lease."""


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
    check_lease : callable
        Raises if another run has taken the folder over.
    """

    recipe: Recipe
    dry: bool = False
    note: Note = _silent
    check_lease: Callable[[], None] = _unchecked
    digests: dict[str, str] = field(default_factory=dict)
    """Of the inputs of each step that was begun."""
    crew: Workers | None = None
    """Who makes the tiles; nobody while a run is only planned."""

    @cached_property
    def out(self) -> Place:
        """The run's folder."""
        return self.place(self.recipe.out)

    @cached_property
    def records(self) -> Records:
        """What is done."""
        return Records(self.out)

    @property
    def workers(self) -> Workers:
        """Who makes the tiles.

        Raises
        ------
        RuntimeError
            The job is only planned.
        """
        if self.crew is None:
            raise RuntimeError("a job that is only planned has no workers")
        return self.crew

    @property
    def threads(self) -> int:
        """Cores that a task may use which is alone in its process."""
        return self.recipe.cluster.workers or cores()

    def place(self, location: str) -> Place:
        """A location of the recipe."""
        return place(location, self.recipe.storage)

    @property
    def cube_path(self) -> Place:
        """The cube, a Zarr group."""
        return self.out / "cube.zarr"

    @property
    def samples_path(self) -> Place:
        """The sample table, a Zarr group."""
        return self.out / "samples.zarr"

    @property
    def losses_path(self) -> Place:
        """What was lost of the labels, and why."""
        return self.out / "labels_lost.csv"

    @property
    def polygons_path(self) -> Place:
        """The labels that are used, a row each, and one a raster source."""
        return self.out / "labels.parquet"

    @property
    def scores_path(self) -> Place:
        """The accuracy."""
        return self.out / "scores.json"

    @property
    def map_names(self) -> tuple[str, ...]:
        """Variables of the map: of classes, or of the number that models estimate."""
        return ("class", "prob") if self.recipe.samples.value_column is None else ("estimate",)

    def needs_classes(self, step: str) -> None:
        """Refuse a step that is of classes, where models estimate a number.

        Raises
        ------
        SpecError
            They do.
        """
        column = self.recipe.samples.value_column
        if column is not None:
            raise SpecError(
                f"The step `{step}` is of classes, but models of {self.recipe.name} estimate the "
                f"number {column!r} (`samples.value_column`). Leave the step out, or take a recipe "
                "without `value_column`."
            )

    def export_path(self, name: str) -> Place:
        """A variable of the map as a COG."""
        return self.out / "export" / f"{self.recipe.name}_{name}.tif"

    @property
    def report_path(self) -> Place:
        """The report."""
        return self.out / "report.html"

    def model_path(self, name: str) -> Place:
        """The bundle of a model."""
        return self.out / "models" / name

    def training_path(self, name: str) -> Place:
        """Curves and checkpoints of a model."""
        return self.out / "training" / name

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
    def items(self) -> dict[str, Found]:
        """The items of each source, as they are pinned.

        Raises
        ------
        StaleTarget
            Items that are pinned were searched for with other conditions.
        """
        model, area = self._model, self.grid.lonlat()
        return {
            name: model if model and name == self.recipe.like_source else pinned(self, name, area)
            for name in self.recipe.sources
        }

    @cached_property
    def _model(self) -> Found | None:
        """The items whose grid is taken, searched for everywhere; None where it is stated."""
        like = self.recipe.like_source
        return None if like is None else pinned(self, like, None)

    def pin_path(self, source: str) -> Place:
        """The pinned items of a source."""
        return self.out / "items" / f"{source}.parquet"

    @cached_property
    def grid(self) -> Grid:
        """The grid of the cube."""
        spec = self.recipe.grid.model_copy(update={"like": self.recipe.like_asset})
        items = [] if self._model is None else list(self._model.items)
        return make_grid(spec, self.recipe.store, items, self.recipe.storage, self._outline)

    @cached_property
    def area(self) -> Any:
        """The area to map, a shapely geometry in the grid's CRS; None where it is all of it."""
        return None if self._outline is None else area_on(self.grid.geobox, self._outline)

    @cached_property
    def _outline(self) -> Geometry | None:
        """The area to map, in a CRS of its own."""
        grid, storage = self.recipe.grid, self.recipe.storage
        if grid.boundary is not None:
            return read_boundary(grid.boundary, grid.boundary_layer, storage)
        if not grid.covers_area:
            return None
        hull = labels_hull(self.labels, storage)
        if not hull.geom.area:
            raise InputError(
                f"The hull of the labels is a {hull.geom.geom_type}, which has no area to map: it "
                "takes a polygon, or three points that are not on one line. Add labels, or say "
                "where the map lies: `boundary`, `bbox` or `bounds` in `grid`."
            )
        return hull

    def area_result(self) -> dict[str, Any] | None:
        """What of the area to map decides the result, to the millimetre; None without one."""
        if self.area is None:
            return None
        shape = shapely.transform(shapely.normalize(self.area), lambda at: at.round(3))
        return {
            "hectares": round(shape.area / 1e4, 4),
            "outline": digest(shapely.to_wkb(shape, hex=True)),
        }

    def grid_result(self) -> dict[str, Any]:
        """What of the grid decides the cube: where it covers an area, that too."""
        told = self.recipe.grid_result()
        if self.recipe.grid.covers_area:
            geobox = self.grid.geobox
            told |= {
                "crs": str(geobox.crs),
                "bounds": list(geobox.boundingbox.bbox),
                "area": self.area_result(),
            }
        return told

    @property
    def store(self) -> CubeStore:
        """The cube, for writing."""
        return CubeStore(self.cube_path, self.grid)

    # -- what is done -----------------------------------------------------------------------

    def begin(self, step: str, inputs: Mapping[str, Any], grows: Grows | None = None) -> None:
        """Note that a step has begun with these inputs; refuse what others left."""
        self.records.begin(step, inputs, grows)
        self.digests[step] = digest(inputs)

    def digest_of(self, step: str) -> str:
        """Digest of an earlier step's inputs, by the recipe as it is now.

        Raises
        ------
        MissingError
            It is not done.
        StaleTarget
            It was done by another recipe, or from other inputs.
        """
        if self.records.facts(step) is None and not self.dry:
            raise MissingError(
                f"The step `{step}` is needed first and is not done in {self.out}. Run it: name it "
                "on the command line, or name no step to run all."
            )
        if step not in self.digests:
            module = import_module(module_of(step))
            inputs = module.inputs(self)
            self.records.check(step, inputs, getattr(module, "grows", None) if self.dry else None)
            self.digests[step] = digest(inputs)
        return self.digests[step]

    def reread(self) -> None:
        """Look at the inputs anew: a step's results were removed."""
        self.digests.clear()
        for name in ("items", "grid", "area", "_outline", "_model"):
            self.__dict__.pop(name, None)

    def sweep(self) -> None:
        """Remove what an interrupted run left half-written; only what a run itself writes.

        The cube is swept by its store, when it is written.  An object store holds nothing in
        part.
        """
        if is_remote(self.out):
            return
        for path in (self.samples_path, self.losses_path, self.polygons_path, self.scores_path,
                     self.report_path, self.cube_path,
                     *(self.out / name for name in (*_DOUBTS, *_OF_THE_MAP))):  # fmt: skip
            discard(path.with_name(path.name + PARTIAL))
        for folder in ("items", "models", "export", "records", "runs"):
            sweep(self.out / folder)

    def write_tiles(
        self,
        step: str,
        work: Callable[[Unit], Work],
        units: Sequence[Unit] | None = None,
        store: CubeStore | None = None,
    ) -> None:
        """Compute and write all pending tiles of a step.

        Parameters
        ----------
        step : str
        work : callable
            Takes a unit, returns what computes it: called when it is sent to a worker.
        units : sequence of Unit, optional
            What is to be made in all; the grid's tiles by default.
        store : CubeStore, optional
            Where it is written; the cube by default.

        Raises
        ------
        TilesFailed
            Some could not be made.
        """
        if units is None:
            units = [Unit(tile, self.digests[step]) for tile in self.grid.tiles]
        writer = TileWriter(
            store or self.store, step, self.records.tiles(step), self.records.left_out(step),
            self.records.path(step, "failed"), self.recipe.cluster.attempts,
        )  # fmt: skip
        pending = self.records.pending(step, units)
        total = len(units)
        before = total - len(pending)
        self.note(before, total)
        write_tiles(
            self.workers, writer, (TileTask(unit, work(unit)) for unit in pending),
            total=len(pending), note=lambda done, _: self.note(before + done, total),
            check=self.check_lease,
        )  # fmt: skip
