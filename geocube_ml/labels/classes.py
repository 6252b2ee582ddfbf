"""Which class each value of a label file means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from geocube_ml.errors import InputError
from geocube_ml.labels.decisions import read_decisions
from geocube_ml.labels.values import texts
from geocube_ml.labels.vector import read_columns
from geocube_ml.raster import read_header
from geocube_ml.raster.header import check_asked
from geocube_ml.spec.labels import UNKNOWN, ClassSpec, LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()
_SHOWN = 20  # values in a message


@dataclass(frozen=True)
class Values:
    """What one source says of classes."""

    source: LabelSource
    raw: frozenset[str]
    """Values as texts, of labels whose class is not decided by a person; "" for none."""
    decided: frozenset[str] = frozenset()
    """Names of classes that people decided for."""

    @property
    def where(self) -> str:
        """What holds the values, for messages."""
        return repr(self.source.class_column) if self.source.class_column else "it"


def check_labels(spec: LabelsSpec, storage: StorageSpec = _STORAGE) -> None:
    """Refuse labels of which the files alone tell that they cannot be used.

    No geometry is read, and of a raster its header only.

    Parameters
    ----------
    spec : LabelsSpec
    storage : StorageSpec, optional
        How the files' buckets are reached, if they lie in some.

    Raises
    ------
    MissingError
        A file is not there.
    InputError
        No CRS, no such layer, band or column, values that cannot be classes, no value that is a
        class, or a class without any value (unless ``empty_class: drop``).
    """
    values = []
    for source in spec.sources:
        if source.is_raster:
            check_raster(source, storage)
        else:
            values.append(file_values(source, read_columns(source, storage)))
    if not values:
        return
    specs, names = known_classes(values, spec)
    if len(values) < len(spec.sources):
        return  # any class may be in a raster
    there = {name for of, one in zip(names, values, strict=True)
             for name in (*of.values(), *one.decided)}  # fmt: skip
    lacking = [one.name for one in specs if one.name not in there]
    if lacking and spec.empty_class == "error":
        held = "; ".join(f"{_of(one, values)}{one.where} holds {_some(one.raw)}" for one in values)
        whose = spec.sources[0].path + " has" if len(values) == 1 else "The sources have"
        raise InputError(
            f"{whose} no polygon of {', '.join(lacking)}: {held}. Correct the class's `values`, "
            "leave it out of `labels.classes`, or set `labels.empty_class: drop`."
        )


def check_raster(source: LabelSource, storage: StorageSpec) -> None:
    """Refuse a raster whose header tells that it holds no classes.

    Raises
    ------
    MissingError, AccessError, ReadError
        It cannot be read.
    InputError
        It has no CRS, no such band, or holds complex numbers.
    """
    header = read_header(source.path, storage)
    check_asked(header, source.path, (source.band,), "the cube's")
    if header.dtype.kind not in "iubf":  # floats may be whole, and are looked at when read
        raise InputError(
            f"{source.path} holds {header.dtype} numbers, but a raster of classes holds whole "
            "ones. Convert it, for example with `gdal_translate -ot Byte`, or name another file."
        )


def file_values(source: LabelSource, columns: pd.DataFrame) -> Values:
    """What a vector file says of classes, from its columns."""
    decisions = read_decisions(source.path, columns)
    if source.class_column is None:
        assert source.class_name is not None  # noqa: S101  the spec holds one of the two
        raw = frozenset({source.class_name})
    else:
        undecided = columns[source.class_column][~(decisions.dropped | decisions.relabelled)]
        raw = frozenset(texts(undecided).tolist())
    return Values(source, raw, frozenset(decisions.names[decisions.relabelled].tolist()))


def known_classes(
    values: Sequence[Values], spec: LabelsSpec
) -> tuple[tuple[ClassSpec, ...], tuple[dict[str, str], ...]]:
    """The classes of the sources, and the name of the class that each value means.

    Parameters
    ----------
    values : sequence of Values
        One a source.
    spec : LabelsSpec
        Its classes; every value is one where it names none.

    Returns
    -------
    classes : tuple of ClassSpec
        In the order of their codes.
    names : tuple of dict
        One a source: value to the name of its class; values that are not in it are left out.

    Raises
    ------
    InputError
        No value of a source is a class, a decision names none, or there are more than a byte holds.
    """
    names = tuple(_named(one, spec) for one in values)
    found = {name for of, one in zip(names, values, strict=True)
             for name in (*of.values(), *one.decided)}  # fmt: skip
    specs = spec.classes or tuple(ClassSpec(name=name) for name in sorted(found))
    for one in values:
        strange = sorted(one.decided - {c.name for c in specs})
        if strange:
            raise InputError(
                f"{one.source.path}: 'decision_class' holds {_some(strange)}, which is no class; "
                f"there are {_some(c.name for c in specs)}. Correct the column."
            )
    _check_number(specs, values, spec)
    return specs, names


def _named(values: Values, spec: LabelsSpec) -> dict[str, str]:
    source, raw = values.source, values.raw
    if source.class_name is not None:
        return dict.fromkeys(raw, source.class_name)
    of_class = {value: c.name for c in spec.classes for value in (c.values or (c.name,))}
    if not spec.classes:
        of_class = {value: value for value in raw if value}
    meant: dict[str, str | None] = {**of_class, **source.values}
    found = {value: name for value in raw if (name := meant.get(value)) is not None}
    if found or values.decided or not raw:
        return found
    if raw == {""}:
        raise InputError(
            f"{source.path}: every value of {values.where} is empty. Name another column."
        )
    known = sorted(value for value, name in meant.items() if name is not None)
    raise InputError(
        f"{source.path}: no value of {values.where} is a class of the recipe. The recipe knows "
        f"{', '.join(known) or 'none'}; the file has {_some(raw)}. Correct "
        "`labels.class_column`, or the `values` of `labels.classes`."
    )


def _of(one: Values, values: Sequence[Values]) -> str:
    return f"{one.source.path}, " if len(values) > 1 else ""


def _some(values: Iterable[str]) -> str:
    every = sorted(set(values))
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(value or "(empty)" for value in every[:_SHOWN]) + more


def _check_number(specs: Sequence[ClassSpec], values: Sequence[Values], spec: LabelsSpec) -> None:
    """Classes that the files name must be as distinct and as few as those of a recipe."""
    files = ", ".join(one.source.path for one in values)
    where = values[0].where if len(values) == 1 else "their columns"
    if len(specs) >= UNKNOWN:
        raise InputError(
            f"{files}: {where} has {len(specs)} values, at most {UNKNOWN - 1} classes fit into one "
            "byte. Name another column, or list `labels.classes`."
        )
    if spec.background and spec.background.name in {c.name for c in specs}:
        raise InputError(
            f"{files}: {spec.background.name!r} is both a value of {where} and the background's "
            "name. Give the background another name."
        )
