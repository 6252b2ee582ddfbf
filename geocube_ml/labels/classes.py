"""Which class each value of a label file means."""

from __future__ import annotations

from collections.abc import Sequence

from geocube_ml.errors import InputError
from geocube_ml.labels.vector import read_values
from geocube_ml.spec.labels import UNKNOWN, ClassSpec, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_SHOWN = 20  # values in a message


def check_labels(spec: LabelsSpec, storage: StorageSpec = _STORAGE) -> None:
    """Refuse labels of which the file alone tells that they cannot be used; reads no geometry.

    Parameters
    ----------
    spec : LabelsSpec
        File, class column, classes.
    storage : StorageSpec, optional
        How the file's bucket is reached, if it lies in one.

    Raises
    ------
    MissingError
        The file is not there.
    InputError
        No CRS, no such layer or column, no value that is a class, or a class without any value
        (unless ``empty_class: drop``).
    """
    values = read_values(spec, storage)
    specs, name_of = known_classes(values, spec)
    there = {name_of[value] for value in values if value in name_of}
    lacking = [one.name for one in specs if one.name not in there]
    if lacking and spec.empty_class == "error":
        raise InputError(
            f"{spec.path} has no polygon of {', '.join(lacking)}: {spec.class_column!r} holds "
            f"{_some(values)}. Correct the class's `values`, leave it out of `labels.classes`, or "
            "set `labels.empty_class: drop`."
        )


def known_classes(
    values: Sequence[str], spec: LabelsSpec
) -> tuple[tuple[ClassSpec, ...], dict[str, str]]:
    """The classes of a file, and the name of the class that each value means.

    Parameters
    ----------
    values : sequence of str
        Of all features, empty where there is none.
    spec : LabelsSpec
        Its classes; every value is one where it names none.

    Raises
    ------
    InputError
        No value is a class, or there are more than a byte holds.
    """
    specs = spec.classes or tuple(ClassSpec(name=v) for v in sorted(set(values) - {""}))
    if not specs:
        raise InputError(
            f"{spec.path}: every value of {spec.class_column!r} is empty. Name another column."
        )
    _check_number(specs, spec)
    name_of = {value: c.name for c in specs for value in (c.values or (c.name,))}
    if not name_of.keys() & set(values):
        raise InputError(
            f"{spec.path}: no value of {spec.class_column!r} is a class of the recipe. The recipe "
            f"knows {', '.join(sorted(name_of))}; the file has {_some(values)}. Correct "
            "`labels.class_column`, or the `values` of `labels.classes`."
        )
    return specs, name_of


def _some(values: Sequence[str]) -> str:
    every = sorted(set(values))
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _check_number(specs: Sequence[ClassSpec], spec: LabelsSpec) -> None:
    """Classes that the file names must be as distinct and as few as those of a recipe."""
    if len(specs) >= UNKNOWN:
        raise InputError(
            f"{spec.path}: {spec.class_column!r} has {len(specs)} values, at most {UNKNOWN - 1} "
            "classes fit into one byte. Name another column, or list `labels.classes`."
        )
    if spec.background and spec.background.name in {c.name for c in specs}:
        raise InputError(
            f"{spec.path}: {spec.background.name!r} is both a value of {spec.class_column!r} and "
            "the background's name. Give the background another name."
        )
