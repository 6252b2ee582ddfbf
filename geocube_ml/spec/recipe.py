"""A recipe: everything that a run needs to know, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from geocube_ml.errors import MissingError, SpecError, listed
from geocube_ml.spec.areas import AreasSpec
from geocube_ml.spec.base import EXECUTION, Location, Spec, check_name
from geocube_ml.spec.cluster import ClusterSpec
from geocube_ml.spec.composite import CompositeSpec, MedianSpec
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.doctor import DoctorSpec
from geocube_ml.spec.evaluate import EvaluateSpec
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.labels import LabelsSpec
from geocube_ml.spec.models import ModelSpec, PatchSpec, PredictSpec, by_name
from geocube_ml.spec.period import PeriodSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.spec.sensor import SensorSpec
from geocube_ml.spec.simulate import SimSpec
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec
from geocube_ml.spec.tune import TuneSpec

_TAKEN_VARIABLES = {
    "time", "y", "x", "spatial_ref", "label", "polygon", "class", "prob", "class_name", "block",
    "fold_block", "fold_polygon", "fold_random", "fold_group", "split", "sample", "weight", "doubt",
    "label_layer", "estimate", "dissimilarity", "applicable",
}  # fmt: skip
_TAKEN_MODELS = {"majority class", "best possible", "training mean"}


class Recipe(Spec):
    """One run, from items to report."""

    name: str = Field(pattern=r"^[\w-]+$")
    """Short, for file names and the report's title."""

    out: Location = Field(json_schema_extra=EXECUTION)
    """Folder that the run writes to, on this machine or ``s3://bucket/prefix``."""

    simulate: SimSpec | None = None
    """Make a simulated archive first; the demo, tests and benchmarks do."""

    sources: dict[str, SourceSpec] = Field(min_length=1)
    """Variable of the cube to its source; several share the grid and the time steps."""

    grid: GridSpec
    """Where the map lies."""

    period: PeriodSpec | None = None
    """What the cube spans; not needed where all sources are static."""

    composite: CompositeSpec = MedianSpec()
    """How a time step is made, of sources whose sensor does not say it."""

    store: StoreSpec = StoreSpec()
    """How the cube is cut."""

    storage: StorageSpec = Field(StorageSpec(), json_schema_extra=EXECUTION)
    """How object stores are reached."""

    unreadable: Literal["stop", "leave-out"] = Field("stop", json_schema_extra=EXECUTION)
    """What becomes of an item that cannot be read, however often it is tried: ``stop`` makes its
    tiles fail, ``leave-out`` makes them without it and lists it in the cube."""

    labels: LabelsSpec | None = None
    """What is known of the ground; without it only the cube is made."""

    samples: SamplesSpec = SamplesSpec()
    """Which labelled pixels are used, and the folds."""

    models: dict[str, ModelSpec] = {}
    """Name to model; a TempCNN and a forest by default."""

    evaluate: EvaluateSpec = EvaluateSpec()
    """How the models are judged."""

    predict: PredictSpec = PredictSpec()
    """What is written to the map."""

    areas: AreasSpec = AreasSpec()
    """How the map is checked by points that people look at."""

    doctor: DoctorSpec = DoctorSpec()
    """How doubtful labels are looked for."""

    dataset: DatasetSpec = DatasetSpec()
    """What a data set for others holds."""

    tune: TuneSpec = TuneSpec()
    """How better settings of the models are searched."""

    cluster: ClusterSpec = Field(ClusterSpec(), json_schema_extra=EXECUTION)
    """Where the work is done: ``threads`` of this process by default."""

    @field_validator("out")
    @classmethod
    def _writable(cls, out: str) -> str:
        if "://" in out and not out.startswith("s3://"):
            raise ValueError(
                f"a run is written to a folder of this machine or to s3://bucket/prefix, got {out}"
            )
        return out

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "workers" in values:
            raise ValueError(
                f"`workers` stands in `cluster` now: cluster: {{workers: {values['workers']}}}"
            )
        return values

    @field_validator("models", mode="before")
    @classmethod
    def _default(cls, models: Any) -> Any:
        return by_name(models or {"tempcnn": {}, "forest": {}})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for kind, names, taken in (
            ("source", self.sources, _TAKEN_VARIABLES),
            ("model", self.models, _TAKEN_MODELS),
        ):
            for name in names:
                check_name(kind, name)
                if name in taken:
                    raise ValueError(f"the name {name!r} of a {kind} is taken; choose another")
        endings = [f"{a}{end}" for a in self.sources for end in ("_clear", "_band")]
        twice = [name for name in self.sources if name in endings]
        if twice:
            raise ValueError(
                f"{twice[0]!r} is the name of what belongs to another source; choose another"
            )
        moving = [name for name, source in self.sources.items() if not source.sensor.static]
        if moving and self.period is None:
            raise ValueError(
                f"`period` is missing: the source {moving[0]} is a series; add start and end, or "
                "`static: true` to its sensor, to make one layer of all its items"
            )
        if self.period is not None and not moving:
            raise ValueError("all sources are static, so that `period` decides nothing; remove it")
        _ = self.like_source
        if self.grid.covers_area and self.grid.boundary is None and self.labels is None:
            raise ValueError(
                "grid: where the map lies is not said: there are no labels whose hull could be "
                "taken; add `bounds` (in the CRS), `bbox` (in degrees), `boundary` (a file of "
                "polygons), or `labels`"
            )
        self._columns_are_kept()
        self._estimates()
        without = set(() if self.evaluate.without == "each" else self.evaluate.without)
        if unknown := sorted(without - set(self.sources)):
            raise ValueError(
                f"evaluate.without names {listed(unknown)}, but the sources are "
                f"{listed(list(self.sources))}"
            )
        self._tunes()
        model = self.predict.model
        if model is not None and model not in self.models:
            raise ValueError(f"predict.model is {model!r}, but models has {', '.join(self.models)}")
        return self

    def _columns_are_kept(self) -> None:
        """Folds by a column of the labels need it."""
        kept = {
            name for one in (self.labels.sources if self.labels else ()) for name in one.columns
        }
        named = {"group": "group_column", "split": "split_column", "value": "value_column"}
        for split, field in named.items():
            column = getattr(self.samples, field)
            if column is None and split in (self.evaluate.splits or ()):
                raise ValueError(
                    f"evaluate.splits has {split!r}, but no column says it; add "
                    f"`samples.{field}` with the name of a column of the labels"
                )
            if column is not None and column not in kept:
                raise ValueError(
                    f"samples.{field} is {column!r}, but the labels keep "
                    f"{', '.join(sorted(kept)) or 'no columns'}; add it to the `columns` of a "
                    "source of labels"
                )

    def _estimates(self) -> None:
        """What is of classes alone has no place beside a number that models estimate."""
        column = self.samples.value_column
        if column is None:
            return
        of = f"samples.value_column is {column!r}, so that models estimate a number"
        for field in ("reference", "bound"):
            if getattr(self.evaluate, field) is not None:
                raise ValueError(
                    f"{of}, but evaluate.{field} is a raster of classes; remove one of the two"
                )
        patches = [name for name, spec in self.models.items() if isinstance(spec, PatchSpec)]
        if patches:
            raise ValueError(
                f"{of}, but {listed(patches)} tell{'s' if len(patches) == 1 else ''} classes "
                "apart; take models of series, such as tempcnn, or a forest"
            )

    def _tunes(self) -> None:
        """What is searched are fields of models that are there, of series."""
        for name in self.tune.models:
            if name not in self.models:
                raise ValueError(
                    f"tune.models names {name!r}, but models has {', '.join(self.models)}"
                )
            if isinstance(self.models[name], PatchSpec):
                raise ValueError(
                    f"tune.models names {name!r}, which looks at what lies around a pixel; only "
                    "models of series are tuned"
                )
            self.tune.space(name, self.models[name])

    def composite_of(self, name: str) -> CompositeSpec:
        """How a step of a source is made: as it says itself, its sensor, or the recipe."""
        source = self.sources[name]
        return source.composite or source.sensor.composite or self.composite

    @property
    def like_source(self) -> str | None:
        """Name of the source whose items' grid is taken, by `grid.like`; None where it is stated.

        Raises
        ------
        ValueError
            No source reads that asset, or several do and none is named.
        """
        return None if self._like is None else self._like[0]

    @property
    def like_asset(self) -> str | None:
        """The asset whose grid is taken, without its source; None where the grid is stated."""
        return None if self._like is None else self._like[1]

    def grid_result(self) -> dict[str, Any]:
        """What of the grid decides the result; the same however the asset of `like` is written."""
        like = None if self._like is None else "/".join(self._like)
        return self.grid.result() | {"like": like}

    @property
    def _like(self) -> tuple[str, str] | None:
        """Source and asset of `grid.like`."""
        like = self.grid.like
        if like is None:
            return None
        found = [name for name, source in self.sources.items() if like in source.assets]
        source, _, asset = like.partition("/")
        if not found and source in self.sources and asset in self.sources[source].assets:
            return source, asset
        if len(found) == 1:
            return found[0], like
        if found:
            raise ValueError(
                f"grid.like: {like} is an asset of {' and '.join(found)}; name the one whose grid "
                f"is meant, as in `like: {found[0]}/{like}`"
            )
        there = "; ".join(f"{name} {', '.join(s.assets)}" for name, s in self.sources.items())
        raise ValueError(
            f"grid.like: no source reads the asset {like!r}; they read: {there}. Name one, if need "
            f"be with its source, as in `like: {next(iter(self.sources))}/"
            f"{next(iter(self.sources.values())).assets[0]}`"
        )

    @property
    def map_model(self) -> str:
        """Name of the model that draws the map."""
        return self.predict.model or next(iter(self.models))


def read_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Parameters
    ----------
    path : path of a YAML file
        Relative locations inside it are taken from its folder; ``sensor:`` may name a YAML file.

    Returns
    -------
    Recipe

    Raises
    ------
    MissingError
        There is no such file.
    SpecError
        It is not YAML, or a key or value is wrong; the text names the file with the fault, and
        the nearest known key.
    """
    path = Path(path)
    values = _yaml(path)
    sources = values.get("sources")
    if isinstance(sources, Mapping):
        for source in sources.values():
            if isinstance(source, dict) and isinstance(source.get("sensor"), str):
                source["sensor"] = _sensor(path.parent / source["sensor"], source["sensor"])
    return Recipe.read(values, where=path.name, folder=path.parent)


def _sensor(path: Path, name: str) -> SensorSpec:
    return SensorSpec.read(_yaml(path), where=name, folder=path.parent)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, _OnceLoader)
    except FileNotFoundError as error:
        raise MissingError(f"There is no file {path}. Check the name.") from error
    except PermissionError as error:
        raise MissingError(
            f"{path} cannot be read: permission denied. Change its rights."
        ) from error
    except IsADirectoryError as error:
        raise MissingError(f"{path} is a folder; name the YAML file in it.") from error
    except _TwiceError as error:
        raise SpecError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise SpecError(f"{path} must hold keys and values, got {found}.")
    return values


class _TwiceError(ValueError):
    """A key stands twice in one mapping."""


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key stands once; by itself PyYAML takes the last of several."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:  # as written; merged keys (<<) are not in yet
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                raise _TwiceError(
                    f"the key {key.value!r} stands in line {lines[key.tag, key.value]} and again "
                    f"in line {line}; remove one of the two."
                )
            lines[key.tag, key.value] = line
        return node
