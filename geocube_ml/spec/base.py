"""What every spec is: frozen, strict about its keys, and digestible.

A field is a *result* field unless it is marked ``EXECUTION``: where things lie and how many
threads do the work change nothing in the output, so they stay out of the digest.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from geocube_ml.errors import SpecError

EXECUTION: dict[str, Any] = {"role": "execution"}
"""``Field(json_schema_extra=EXECUTION)`` keeps a field out of the digest."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def digest(value: object) -> str:
    """The first 16 hex digits of the SHA-256 of a JSON-able value, keys in order.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Spec(BaseModel):
    """A frozen value that says what to compute."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )

    def result(self) -> dict[str, Any]:
        """The fields that decide the output, as JSON values."""
        fields = type(self).model_fields
        return {
            name: _result(getattr(self, name))
            for name, field in fields.items()
            if field.json_schema_extra != EXECUTION
        }

    def digest(self) -> str:
        """16 hex digits over the fields that decide the output."""
        return digest(self.result())

    @classmethod
    def read(cls, values: Mapping[str, Any], *, where: str, folder: Path | None = None) -> Self:
        """Validate a mapping, as read from a file.

        Parameters
        ----------
        values : mapping
            Keys and values as they stand in the file.
        where : str
            The file's name, for error messages.
        folder : Path, optional
            Relative locations are taken from here; the working directory by default.

        Raises
        ------
        SpecError
            With the place of each fault, and the nearest known key for an unknown one.
        """
        try:
            return cls.model_validate(values, context={"folder": folder or Path()})
        except ValidationError as error:
            faults = [_sentence(cls, fault) for fault in error.errors()]
            raise SpecError(f"{where}: " + " ".join(faults)) from error


def _result(value: object) -> object:
    if isinstance(value, Spec):
        return value.result()
    if isinstance(value, Mapping):
        return {str(key): _result(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_result(item) for item in value]
    return value


def _locate(text: str, info: ValidationInfo) -> str:
    """Fill in ``${VARIABLE}`` and ``${VARIABLE:-default}``, make a relative path absolute."""

    def fill(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], match[2])
        if found is None:
            raise ValueError(
                f"the environment variable {match[1]} in {text!r} is not set; "
                f"set it, or write ${{{match[1]}:-a default}}"
            )
        return found

    text = _VARIABLE.sub(fill, text)
    if "://" in text:
        return text
    folder = (info.context or {}).get("folder", Path())
    return os.path.normpath(Path(folder).absolute() / Path(text).expanduser())


Location = Annotated[str, AfterValidator(_locate)]
"""A path or URL; relative to the recipe's folder, ``${VARIABLE:-default}`` filled in."""


def _sentence(cls: type[BaseModel], fault: ErrorDetails) -> str:
    """One fault as a sentence: where, what, and the next step."""
    place = ".".join(str(part) for part in fault["loc"]) or "the recipe"
    if fault["type"] == "extra_forbidden":
        known = _known_keys(cls, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}."
        return f"{place}: unknown key {str(fault['loc'][-1])!r}; {hint}"
    if fault["type"] == "missing":
        return f"{place}: this key is missing; add it."
    if fault["type"] == "value_error":
        return f"{place}: {fault['ctx']['error']}."
    return f"{place}: {fault['msg'].rstrip('.')}, got {fault['input']!r}."


def _known_keys(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at a place; follows nested specs, mappings and tagged unions."""
    here: list[type[BaseModel]] = [cls]
    for part in path:
        nested = [n for spec in here for n in _nested(spec, str(part))]
        here = nested or here  # an index, a mapping's key or a union's tag adds no level
    return sorted({name for spec in here for name in spec.model_fields})


def _nested(spec: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = spec.model_fields.get(name)
    if field is not None:
        return _specs_in(field.annotation)
    kind = spec.model_fields.get("kind")
    return [spec] if kind is not None and name == kind.default else []


def _specs_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [spec for part in getattr(annotation, "__args__", ()) for spec in _specs_in(part)]
