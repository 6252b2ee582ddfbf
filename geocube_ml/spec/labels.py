"""What is labelled: sources of labels, classes, and how far from an edge a pixel counts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.types import StringConstraints

from geocube_ml.spec.base import EXECUTION, Location, Spec
from geocube_ml.spec.validity import day_of, is_date

UNKNOWN = 255
"""Code of a pixel without a label; never a class."""

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]

PALETTE = (
    "#e8c547", "#2f7d4f", "#c2703d", "#7fb069", "#4a7fb5", "#9a5b9b",
    "#b8b8b0", "#d1495b", "#5fa8a0", "#806443", "#aac0e0", "#e58fb1",
)  # fmt: skip
"""Colours for classes that name none."""


class ClassSpec(Spec):
    """One class of the map."""

    name: str = Field(min_length=1)
    """As it stands in the legend."""

    values: tuple[str, ...] = ()
    """Values of the label column that mean this class; its name by default."""

    color: Color | None = None
    """``#rrggbb``; from the package's palette by default."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and isinstance(value.get("values"), list):
            # 3 and "3" in a YAML file mean the same class
            return value | {"values": [_plain(item) for item in value["values"]]}
        return value


def _plain(value: Any) -> str:
    """A class value as text; 3.0 is 3, also as a text."""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    whole = re.fullmatch(r"(-?\d+)\.0+", text)
    return whole[1] if whole else text


OF_A_LABEL = (
    "polygon", "source", "feature", "code", "class", "weight", "valid_from", "valid_to", "layer",
    "area_m2", "n_pixel", "geometry", "label", "x", "y", "time", "sample", "spatial_ref",
    "inside", "mended", "named", "sliver", "dropped", "decided", "relabelled", "bad_day",
    "bad_weight", "no_weight",
)  # fmt: skip
"""Names that samples and labels have for something else than a column of a file."""

_RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".nc", ".asc")


class LabelSource(Spec):
    """One file of labels: polygons and points, or a raster of classes."""

    path: Location = Field(json_schema_extra=EXECUTION)
    """A vector file that GeoPandas reads (GeoPackage, GeoJSON, GeoParquet, Shapefile, ...), or a
    raster (by its ending: GeoTIFF, VRT, ...), on this machine or in a store."""

    layer: str | None = None
    """Layer of a vector file that has several."""

    band: int = Field(1, ge=1)
    """Band of a raster that holds the classes."""

    class_column: str | None = None
    """Column that holds each feature's class; a raster has none."""

    class_name: str | None = None
    """The class of every feature, or of every pixel of a mask that is not 0 and not nodata, where
    the file is of one class.  A raster without it holds classes; 0 means none, unless it has a name
    or the raster states another nodata."""

    values: dict[str, str | None] = {}
    """Value of this file to the name of a class, or to null to leave it out; before the `values`
    of the classes."""

    valid_from: str | None = None
    """First day on which a label is true: a column, or a date (``2022-03-01``, ``2022-03`` or
    ``2022``) for the whole file; always by default, and where the column is empty.  A label joins
    only the time steps that lie wholly within its validity."""

    valid_to: str | None = None
    """Last day on which a label is true, as `valid_from`; of a month or year its last day."""

    weight: str | float = 1.0
    """How much a label counts in training: a number for the whole file, or a column, in which
    nothing counts as 1."""

    columns: tuple[str, ...] = ()
    """Further columns that its samples keep: a region, a year, a given split."""

    @property
    def is_raster(self) -> bool:
        """Whether it is read as a raster."""
        return self.path.lower().endswith(_RASTERS)

    @field_validator("values", mode="before")
    @classmethod
    def _as_text(cls, values: Any) -> Any:
        # 3 and "3" in a YAML file mean the same class
        return (
            {_plain(key): value for key, value in values.items()}
            if isinstance(values, Mapping)
            else values
        )

    @field_validator("valid_from", "valid_to", mode="before")
    @classmethod
    def _day(cls, value: Any, info: ValidationInfo) -> Any:
        # 2022-03-01 in a YAML file is a date, 2022 a number
        text = value.isoformat() if isinstance(value, date) else value
        text = str(text) if isinstance(text, int) else text
        if isinstance(text, str) and is_date(text):
            day_of(text, last=info.field_name == "valid_to")
        return text

    @field_validator("weight")
    @classmethod
    def _counts(cls, weight: str | float) -> str | float:
        if not isinstance(weight, str) and not 0 <= weight < float("inf"):
            raise ValueError(f"a weight is a number of at least 0, or a column; got {weight}")
        return weight

    @field_validator("columns")
    @classmethod
    def _names(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        taken = sorted(set(columns) & set(OF_A_LABEL))
        if taken:
            raise ValueError(
                f"samples have something else under the name {', '.join(taken)}; rename the column "
                "in the file, or leave it out"
            )
        return columns

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = self.valid_from, self.valid_to
        columns = [end for end in ends if end and not is_date(end)]
        if self.is_raster and columns:
            raise ValueError(
                f"{self.path} is a raster, which has no columns; {columns[0]!r} must be a date, "
                "such as 2022-03-01"
            )
        if ends[0] and ends[1] and not columns:
            first, last = day_of(ends[0], last=False), day_of(ends[1], last=True)
            if last < first:
                raise ValueError(
                    f"{self.path}: the validity ends ({ends[1]}) before it begins ({ends[0]})"
                )
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.class_column and self.class_name:
            raise ValueError(
                f"{self.path}: `class_column` {self.class_column!r} and `class_name` "
                f"{self.class_name!r} both say the class; remove one of the two"
            )
        if not self.is_raster and not self.class_column and not self.class_name:
            raise ValueError(
                f"{self.path}: add `class_column`, the column that holds each feature's class, or "
                "`class_name` where all are of one class"
            )
        vectors_only = [name for name in ("layer", "class_column") if getattr(self, name)]
        if self.is_raster and (vectors_only or self.columns or isinstance(self.weight, str)):
            named = [
                *vectors_only,
                *(["columns"] if self.columns else []),
                *(["weight"] if isinstance(self.weight, str) else []),
            ]
            raise ValueError(
                f"{self.path} is a raster, which has no columns and layers; remove "
                f"{', '.join(named)}"
            )
        return self


_OF_A_SOURCE = tuple(LabelSource.model_fields)


class LabelsSpec(Spec):
    """What is known of the ground."""

    short_for: ClassVar[tuple[str, type[Spec]]] = ("sources", LabelSource)

    sources: tuple[LabelSource, ...]
    """Files of labels, the most trusted first: where one has a polygon or a class, later ones say
    nothing.  A single one may be written without `sources`, as `path`, `class_column`, ..."""

    classes: tuple[ClassSpec, ...] = ()
    """The classes of the map, in the order of their codes 0, 1, ...; by default every value of
    the sources, in alphabetical order.  Labels of other values are listed and left out."""

    inset_m: float = Field(10, ge=0)
    """Inward buffer in metres on the ground; a pixel is labelled if its centre is at least so far
    inside its polygon, or its region of a raster.  A point labels the pixel that it lies in."""

    whole_pixels: bool = False
    """Label a pixel only if all of it lies within the shrunk polygon, not only its centre."""

    background: ClassSpec | None = None
    """A class for what lies outside all labels, but within their convex hull, and at least the
    buffer away from them; unknown by default."""

    empty_class: Literal["error", "drop"] = "error"
    """What to do when a class has no labelled pixel left."""

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, values: Any) -> Any:
        """`path`, `class_column` and what else says a source may stand without `sources`."""
        if not isinstance(values, Mapping):
            return values
        said = {name: value for name, value in values.items() if name in _OF_A_SOURCE}
        if not said:
            return values
        if "sources" in values:
            raise ValueError(f"{', '.join(said)} belong to one of `sources`; move them there")
        rest = {name: value for name, value in values.items() if name not in _OF_A_SOURCE}
        return {**rest, "sources": [said]}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.sources:
            raise ValueError("`sources` is empty; name at least one file of labels")
        names = [c.name for c in self.classes]
        for source in self.sources if names else ():
            for name in (source.class_name, *source.values.values()):
                if name is not None and name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f"did you mean {near[0]!r}? " if near else ""
                    raise ValueError(
                        f"{source.path}: {name!r} is none of the classes {', '.join(names)}; {hint}"
                        "add it to `classes`, or correct it"
                    )
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [c.name for c in (*self.classes, *([self.background] if self.background else []))]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"class names must differ, got {', '.join(twice)} more than once")
        values = [value for c in self.classes for value in (c.values or (c.name,))]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"the value {', '.join(twice)} belongs to more than one class")
        if len(names) >= UNKNOWN:
            raise ValueError(f"at most {UNKNOWN - 1} classes fit into one byte, got {len(names)}")
        return self


class ClassScheme(Spec):
    """The classes as they are used: dense codes from 0, a name and a colour each."""

    names: tuple[str, ...] = Field(min_length=1)
    """Names in the order of their codes."""

    colors: tuple[Color, ...]
    """``#rrggbb`` in the order of their codes."""

    @classmethod
    def of(cls, classes: tuple[ClassSpec, ...]) -> Self:
        """Codes by position; a class without a colour takes the next one of the palette."""
        colors = [c.color or PALETTE[i % len(PALETTE)] for i, c in enumerate(classes)]
        return cls(names=tuple(c.name for c in classes), colors=tuple(colors))

    @property
    def codes(self) -> range:
        """0, 1, ... one a class."""
        return range(len(self.names))

    def attrs(self) -> dict[str, Any]:
        """Attributes of a variable that holds the codes: CF flags, and the names as they are.

        Examples
        --------
        >>> scheme = ClassScheme(names=("winter wheat", "maize"), colors=("#ffff00", "#00aa00"))
        >>> scheme.attrs()["flag_meanings"]
        'winter_wheat maize'
        """
        return {
            "flag_values": list(self.codes),
            # CF separates the words by blanks
            "flag_meanings": " ".join("_".join(name.split()) for name in self.names),
            "flag_colors": " ".join(self.colors),
            "class_names": list(self.names),
        }

    @classmethod
    def from_attrs(cls, attrs: Mapping[Any, Any]) -> Self:
        """The scheme that `attrs` wrote."""
        return cls(names=tuple(attrs["class_names"]), colors=tuple(attrs["flag_colors"].split()))
