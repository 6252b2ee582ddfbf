"""What is searched for better settings of a model, and for how long."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from geocube_ml.errors import listed
from geocube_ml.spec.base import Spec
from geocube_ml.spec.models import EnsembleSpec, ModelSpec

Choice = str | float | int | bool | None

_E_NUMBER = re.compile(r"\d+(\.\d*)?[eE][+-]?\d+")

_FACTOR = 10
"""A range whose ends are further apart than this is searched on a logarithmic scale."""


class Space(Spec):
    """What is tried of one field: all of a range, or some choices."""

    low: float | int | None = None
    """Where a range begins; None of choices."""
    high: float | int | None = None
    """Where a range ends; None of choices."""
    choices: tuple[Choice, ...] = ()
    """What is chosen from; none of a range."""

    @classmethod
    def of(cls, written: Any) -> Space:
        """From a list as it stands in a recipe.

        Raises
        ------
        ValueError
            It is none, or a range whose end is not above its beginning.

        Examples
        --------
        >>> Space.of([0.0001, 0.01]).is_log, Space.of([32, 64, 128]).choices
        (True, (32, 64, 128))
        """
        if not isinstance(written, list | tuple) or not written:
            raise ValueError(
                "write a range as two numbers, [0.001, 0.01], or choices, [3, 5, 7]; got "
                f"{written!r}"
            )
        if len(written) != 2 or not all(_is_number(value) for value in written):
            return cls(choices=tuple(written))
        low, high = written
        if not low < high < math.inf:
            raise ValueError(f"a range ends above its beginning, got {written}")
        return cls(low=low, high=high)

    @property
    def is_whole(self) -> bool:
        """Whether the range is of whole numbers: both its ends are."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def is_log(self) -> bool:
        """Whether the range is searched on a logarithmic scale."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 and self.high / self.low > _FACTOR

    def examples(self) -> Iterable[Choice]:
        """Values at which a field can be seen to take the whole space: its ends, or all choices."""
        return self.choices or (self.low, self.high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(values: Any) -> Any:
    """With texts that are numbers as numbers: YAML takes 1e-4, without a point, for a text."""
    if not isinstance(values, list | tuple):
        return values
    return [float(v) if isinstance(v, str) and _E_NUMBER.fullmatch(v) else v for v in values]


class TuneSpec(Spec):
    """What the step `tune` searches; the hold-out has no part in it."""

    trials: int = Field(30, ge=1)
    """Settings that are tried of each model, beside the recipe's own."""

    minutes: float | None = Field(None, gt=0)
    """Of each model: no trial begins later, counted over all runs of the step.  How many are tried
    then depends on the machine."""

    folds: int = Field(3, ge=2)
    """Parts of the training blocks, of which each is held out once a trial."""

    seed: int = 0
    """Of the folds, and of what is tried."""

    models: dict[str, dict[str, tuple[Choice, ...]]] = {}
    """Name of a model of the recipe to its fields, each with a range of two numbers (whole ones if
    both are) or a list of choices; a field within another is written with a dot
    (``encoder.width``, ``of.forest.trees``).  Of a model without fields the usual ones are
    searched; without any name, all models of the recipe are."""

    @field_validator("models", mode="before")
    @classmethod
    def _none(cls, models: Any) -> Any:
        if not isinstance(models, Mapping):
            return models
        return {
            name: {field: _numbers(values) for field, values in (fields or {}).items()}
            if isinstance(fields, Mapping | None)
            else fields
            for name, fields in models.items()
        }

    @field_validator("models")
    @classmethod
    def _spaces(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, fields in models.items():
            for field, written in fields.items():
                try:
                    Space.of(written)
                except ValueError as error:
                    raise ValueError(f"{name}.{field}: {error}") from None
        return models

    def space(self, name: str, spec: ModelSpec) -> dict[str, Space]:
        """What is searched of a model.

        Raises
        ------
        ValueError
            The model has no such field, or the field refuses an end or a choice.
        """
        written = self.models.get(name) or usual_space(spec)
        space = {field: Space.of(values) for field, values in written.items()}
        for field, one in space.items():
            for value in one.examples():
                try:
                    changed(spec, {field: value})
                except ValidationError as error:
                    last = field.rpartition(".")[2]
                    for fault in error.errors():
                        if last in fault["loc"][-1:]:  # else it only does not fit the other fields
                            raise ValueError(
                                f"tune: {name}.{field}: {value!r}: {fault['msg']}"
                            ) from None
        return space


def changed(spec: ModelSpec, values: Mapping[str, Any]) -> ModelSpec:
    """A spec with other values of some fields, checked.

    Raises
    ------
    ValueError
        It has no such field; pydantic's where the values are refused.
    """
    fields = spec.model_dump()
    for field, value in values.items():
        *parents, last = field.split(".")
        at: Any = fields
        known: Mapping[str, Any] = spec.result()
        said: str = spec.kind
        for part in parents:
            at = at.get(part) if isinstance(at, dict) else None
            if isinstance(at, dict):
                known, said = at, f"{said}.{part}"
        if not isinstance(at, dict) or last not in at or last == "kind":
            names = [name for name in known if name != "kind"]
            raise ValueError(
                f"tune: there is no field {field!r} to search; {said} has {listed(names)}"
            )
        at[last] = value
    return type(spec).model_validate(fields)


_TRAINING: dict[str, tuple[Choice, ...]] = {
    "learning_rate": (3e-4, 1e-2),
    "weight_decay": (1e-4, 0.1),
    "jitter": (0.0, 0.4),
}

_USUAL: dict[str, dict[str, tuple[Choice, ...]]] = {
    "tempcnn": {"width": (32, 64, 128), "kernel": (3, 5, 7), "dropout": (0.0, 0.6)},
    "tempcnn-attention": {"width": (32, 64, 128), "heads": (2, 4, 8), "dropout": (0.0, 0.6)},
    "ltae": {"width": (64, 128, 256), "heads": (4, 8, 16), "dropout": (0.0, 0.4)},
    "lstm": {"width": (32, 64, 128), "layers": (1, 3), "dropout": (0.0, 0.5)},
    "gru": {"width": (32, 64, 128), "layers": (1, 3), "dropout": (0.0, 0.5)},
    "inceptiontime": {"width": (16, 32, 48), "depth": (3, 6, 9), "kernel": (10, 20, 40)},
    "fusion": {"drop_source": (0.0, 0.4)},
    "forest": {"min_leaf": (1, 20), "class_weights": ("equal", "balanced")},
    "boosting": {"learning_rate": (0.02, 0.3), "leaves": (7, 127), "min_leaf": (5, 100)},
    "minirocket": {
        "features": (2_500, 5_000, 10_000, 20_000), "class_weights": ("equal", "balanced"),
    },
}  # fmt: skip


def usual_space(spec: ModelSpec) -> dict[str, tuple[Choice, ...]]:
    """What is searched of a kind of model where the recipe does not say it.

    Examples
    --------
    >>> from geocube_ml.spec.models import model_spec
    >>> usual_space(model_spec("forest"))["min_leaf"]
    (1, 20)
    """
    if isinstance(spec, EnsembleSpec):
        return {
            f"of.{name}.{field}": values
            for name, part in spec.of.items()
            for field, values in usual_space(part).items()
        }
    training = _TRAINING if hasattr(spec, "weight_decay") else {}
    return {**training, **_USUAL.get(spec.kind, {})}
