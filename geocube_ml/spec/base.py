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
from types import NoneType, UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from geocube_ml.errors import SpecError

EXECUTION: dict[str, Any] = {"role": "execution"}
"""``Field(json_schema_extra=EXECUTION)`` keeps a field out of the digest."""

_ONE_SLASH = re.compile(r"[a-z][a-z0-9]+:/(?!/)")
_BUCKET = re.compile(r"s3://[^/]+(/[^/]+)*/?$")
_NAME = re.compile(r"^[A-Za-z_][\w-]*$")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def check_name(kind: str, name: str) -> None:
    """Refuse a name that could not be part of a file's name.

    Raises
    ------
    ValueError
    """
    if not _NAME.match(name):
        raise ValueError(
            f"a {kind}'s name is letters, digits, - and _, it becomes part of file names; got "
            f"{name!r}"
        )


def written(value: Any) -> Any:
    """A spec as one writes it in a recipe: what is not the default, and every ``kind``."""
    if isinstance(value, Spec):
        fields = {
            name: written(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if getattr(value, name) != field.get_default(call_default_factory=True)
        }
        kind = getattr(value, "kind", None)
        return {"kind": kind, **fields} if kind else fields
    if isinstance(value, Mapping):
        return {name: written(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [written(one) for one in value]
    return value


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
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        validate_default=True,  # a default that is stated (100 for 100.0) changes no digest
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
            faults = [_sentence(cls, fault, values) for fault in error.errors()]
            raise SpecError(f"{where}: " + " ".join(faults)) from error


def _result(value: object) -> object:
    if isinstance(value, Spec):
        return value.result()
    if isinstance(value, Mapping):
        return {str(key): _result(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_result(item) for item in value]
    return value


def _fill(text: str) -> str:
    """Fill in ``${VARIABLE}`` and ``${VARIABLE:-default}``."""

    def fill(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]  # empty is as good as not set, as in a shell
        if found is None:
            raise ValueError(
                f"the environment variable {match[1]} in {text!r} is not set, or empty; "
                f"set it, or write ${{{match[1]}:-a default}}"
            )
        return found

    return _VARIABLE.sub(fill, text)


def _locate(text: str, info: ValidationInfo) -> str:
    """Fill in variables, make a relative path absolute."""
    text = _fill(text)
    if _ONE_SLASH.match(text):
        raise ValueError(f"an address has two slashes after its colon, as s3://bucket; got {text}")
    if text.startswith("s3://") and not _BUCKET.match(text):
        raise ValueError(f"write s3://bucket/prefix, without empty parts; got {text}")
    if "://" in text:
        if "@" in text.split("://", 1)[1].split("/", 1)[0]:
            raise ValueError(
                "the address holds a name or password, which would be written into the run's "
                "records; leave it out, and put keys into the environment"
            )
        return text
    folder = (info.context or {}).get("folder", Path())
    return os.path.normpath(Path(folder).absolute() / Path(text).expanduser())


Location = Annotated[str, AfterValidator(_locate)]
"""A path or URL; relative to the recipe's folder, ``${VARIABLE:-default}`` filled in."""

Filled = Annotated[str, BeforeValidator(_fill)]
"""Text with ``${VARIABLE:-default}`` filled in."""


def _sentence(cls: type[BaseModel], fault: ErrorDetails, values: Mapping[str, Any]) -> str:
    """One fault as a sentence: where, what, and the next step."""
    here: Any = cls
    known: list[str] = []
    shown: list[str] = []
    said: Any = values
    loc = list(fault["loc"])
    while loc:
        part = loc.pop(0)
        known = sorted(getattr(here, "model_fields", ()))
        key, item = getattr(here, "short_for", ("", BaseModel))
        if key and isinstance(said, Mapping) and key not in said:
            known = sorted({*known, *item.model_fields} - {key})
            if part == key and loc:  # what its item holds was written without it
                loc, here = loc[1:], item
                continue
        here, stands = _inside(here, part)
        shown += [str(part)] if stands else []
        said = said.get(part) if isinstance(said, Mapping) else None
    place = ".".join(shown) + ": " if shown else ""
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(shown[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}."
        return f"{place}unknown key {shown[-1]!r}; {hint}"
    if fault["type"] == "missing":
        return f"{place}this key is missing; add it."
    if fault["type"] == "value_error":
        return f"{place}{fault['ctx']['error']}."
    if fault["type"] == "union_tag_invalid":
        said, known_tags = fault["ctx"]["tag"], fault["ctx"]["expected_tags"]
        key = fault["ctx"]["discriminator"].strip("'")
        return f"{place}the {key} {said!r} is not one of {known_tags}; take one of them."
    return f"{place}{fault['msg'].rstrip('.')}, got {fault['input']!r}."


def _inside(annotation: Any, part: int | str) -> tuple[Any, bool]:
    """What is allowed one part further down, and whether that part stands in the file.

    Keys and indices do; the tag by which pydantic names a member of a union does not.
    """
    args = [arg for arg in get_args(annotation) if arg not in (NoneType, Ellipsis)]
    inside, stands = args[-1] if args else None, True  # a mapping's value, a tuple's item
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        inside = field.annotation if field else None
        if field is not None and field.discriminator is not None:
            return Annotated[inside, field], stands
    elif get_origin(annotation) is Annotated:  # of what comes by here, only a tagged union is
        tag = next(d for meta in args[1:] if (d := getattr(meta, "discriminator", None)))
        members = {spec.model_fields[tag].default: spec for spec in get_args(args[0])}
        inside, stands = members.get(part), False
    if get_origin(inside) in (Union, UnionType):  # X | None
        inside = get_args(inside)[0]
    return inside, stands
