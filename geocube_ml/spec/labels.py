"""What is labelled: polygons, classes, and how far from an edge a pixel counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.types import StringConstraints

from geocube_ml.spec.base import EXECUTION, Location, Spec

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
    """A class value as text; 3.0 is 3."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


class LabelsSpec(Spec):
    """Polygons whose inside is known."""

    path: Location = Field(json_schema_extra=EXECUTION)
    """GeoPackage, GeoJSON, GeoParquet or Shapefile."""

    layer: str | None = None
    """Layer of a file that has several."""

    class_column: str
    """Column that holds each polygon's class."""

    classes: tuple[ClassSpec, ...] = ()
    """The classes of the map, in the order of their codes 0, 1, ...; by default every value of
    the column, in alphabetical order.  Polygons of other values are listed and left out."""

    inset_m: float = Field(10, ge=0)
    """Inward buffer in metres; a pixel is labelled if its centre is at least so far inside."""

    background: ClassSpec | None = None
    """A class for every pixel outside all polygons of the file; unknown by default."""

    empty_class: Literal["error", "drop"] = "error"
    """What to do when a class has no labelled pixel left."""

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
