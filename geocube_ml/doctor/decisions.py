"""What people decided of doubtful labels goes back into the label files, with its history."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pandas as pd
import pyogrio

from geocube_ml.doctor.columns import check_writable, read_columns, write_columns
from geocube_ml.doctor.table import DECIDED, file_digest
from geocube_ml.errors import InputError, MissingError, listed
from geocube_ml.files import Place, local_copy, place
from geocube_ml.spec.labels import LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

DECISIONS = ("keep", "drop", "relabel")
"""What can be decided of a label."""

_STORAGE = StorageSpec()
_NEEDED = ("source", "feature", "class", "doubt", "decision", "decision_class", "file_digest")


@dataclass(frozen=True)
class Recorded:
    """What became of decisions.

    Attributes
    ----------
    written : int
        Features whose decision is new in their file.
    unchanged : int
        Features whose file says the same already.
    files : tuple of str
        Those that were written.
    left_out : tuple of str
        Decisions that have no place in a file, each with its reason.
    """

    written: int
    unchanged: int
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def read_decisions(path: Place) -> pd.DataFrame:
    """The rows of a table of doubtful labels in which something was decided.

    Parameters
    ----------
    path : Path or UPath
        ``labels_doubtful.csv`` or ``labels_doubtful.gpkg``, as a person filled it.  A program of
        tables may have written the first with semicolons or tabs.

    Returns
    -------
    DataFrame
        All columns as text.

    Raises
    ------
    MissingError
        It is not there.
    InputError
        A column is missing, or its text is not UTF-8.
    """
    if not path.exists():
        raise MissingError(f"There is no table of doubtful labels {path}. Run the step `doctor`.")
    if path.suffix.lower() == ".gpkg":
        with local_copy(path) as local:
            frame = pyogrio.read_dataframe(local, read_geometry=False)
        frame = frame.astype(object).where(frame.notna(), "").astype(str)
    else:
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not in UTF-8: byte {error.start} is {error.object[error.start]:#x}, as "
                "programs of tables write in an encoding of their own. Save it as CSV UTF-8, or "
                f"decide in {path.with_suffix('.gpkg').name}."
            ) from error
        first = text.partition("\n")[0]
        cut = max(",;\t", key=first.count)
        frame = pd.read_csv(
            StringIO(text), sep=cut, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL
        )
    missing = [name for name in _NEEDED if name not in frame]
    if missing:
        raise InputError(
            f"{path} lacks the column {listed(missing)}; it has "
            f"{listed([str(name) for name in frame])}. Fill in the table as the step `doctor` "
            "wrote it, and add no other heading."
        )
    for name in (*DECIDED, "class"):
        if name in frame:
            frame[name] = frame[name].str.strip()
    told = (frame["decision"] != "") | (frame["decision_class"] != "")
    found: pd.DataFrame = frame[told].reset_index(drop=True)
    return found


def record_decisions(
    decisions: pd.DataFrame | Sequence[pd.DataFrame],
    spec: LabelsSpec,
    classes: Sequence[str],
    storage: StorageSpec = _STORAGE,
    *,
    who: str | None = None,
    now: datetime | None = None,
) -> Recorded:
    """Write decisions into the label files.

    Each file gets the columns ``decision``, ``decision_class`` and ``decision_history``, a JSON
    list of ``when``, ``who``, ``decision``, ``class_before``, ``class_after`` and ``doubt``.  All
    is checked before anything is written; a file is replaced whole.  What a file says already
    changes nothing.

    Parameters
    ----------
    decisions : DataFrame, or several
        From `read_decisions`.
    spec : LabelsSpec
        Whose sources they are of.
    classes : sequence of str
        Names of the classes of the map.
    storage : StorageSpec, optional
        How buckets are reached.
    who : str, optional
        Who decided, where the row's ``decided_by`` does not say it.
    now : datetime, optional
        When; the present by default.

    Returns
    -------
    Recorded

    Raises
    ------
    InputError
        An unknown decision or class, rows that contradict each other, a file that was changed since
        the doctor looked, or that cannot be written.  Nothing is written then.
    """
    frames = [decisions] if isinstance(decisions, pd.DataFrame) else list(decisions)
    told = pd.concat(frames, ignore_index=True).fillna("").to_dict("records")
    rows: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in told]
    wanted: dict[tuple[int, int], dict[str, Any]] = {}
    left_out: list[str] = []
    for row in rows:
        key = _checked(row, spec, classes, left_out)
        if key is None:
            continue
        before = wanted.setdefault(key, row)
        if _said(before) != _said(row):
            raise InputError(
                f"{_named(row, spec)} is decided twice: {' '.join(_said(before)).strip()}, and "
                f"{' '.join(_said(row)).strip()}. Leave one of the two."
            )
    stamp = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    changes: dict[int, dict[int, tuple[str, str, str]]] = {}
    for source in sorted({at for at, _ in wanted}):
        mine = {feature: row for (at, feature), row in wanted.items() if at == source}
        changes[source] = _changes(mine, spec, spec.sources[source], storage, who, stamp)
    # all is checked: only now is anything written
    for source, values in changes.items():
        if values:
            one = spec.sources[source]
            write_columns(place(one.path, storage), one.layer, values)
    written = sum(len(values) for values in changes.values())
    return Recorded(
        written,
        len(wanted) - written,
        tuple(spec.sources[source].path for source, values in changes.items() if values),
        tuple(dict.fromkeys(left_out)),
    )


def _checked(
    row: dict[str, Any], spec: LabelsSpec, classes: Sequence[str], left_out: list[str]
) -> tuple[int, int] | None:
    """Source and feature of a row that makes sense; None for what is in no vector file."""
    decision, target = _said(row)
    source = _number(row["source"])
    if source is None or not 0 <= source < len(spec.sources) or spec.sources[source].is_raster:
        what = "background" if source is None else f"{row.get('file') or 'a raster'}"
        left_out.append(
            f"{what}: a decision of what is no feature of a vector file has nowhere to go. Draw a "
            "polygon there, in a source that comes earlier."
        )
        return None
    feature = _number(row["feature"])
    if feature is None:
        raise InputError(
            f"{spec.sources[source].path}: a decision {decision!r} is of the feature "
            f"{row['feature']!r}, which is no number. Fill in the table as the step `doctor` "
            "wrote it."
        )
    name = _named(row, spec)
    if decision not in DECISIONS:
        raise InputError(
            f"{name}: the decision {decision!r} is none of {', '.join(DECISIONS)}. Correct it."
        )
    if decision == "relabel" and target not in classes:
        raise InputError(
            f"{name}: relabel needs a `decision_class` that is a class of the map "
            f"({listed(list(classes))}), and has {target!r}. Correct it."
        )
    if decision != "relabel" and target not in ("", row["class"]):
        raise InputError(
            f"{name}: {decision} contradicts the `decision_class` {target!r}. Write relabel, or "
            "leave the class empty."
        )
    if decision == "relabel" and target == row["class"]:
        raise InputError(f"{name}: it is {target} already. Write keep, or another class.")
    return source, feature


def _changes(
    rows: dict[int, dict[str, Any]],
    spec: LabelsSpec,
    source: LabelSource,
    storage: StorageSpec,
    who: str | None,
    stamp: str,
) -> dict[int, tuple[str, str, str]]:
    """What is to be written into a file; nothing of what it says already."""
    path = place(source.path, storage)
    check_writable(path)
    now, seen = file_digest(source, storage), {row["file_digest"] for row in rows.values()}
    if seen != {now}:
        raise InputError(
            f"{path} was changed since the doctor looked: its features have the digest {now}, the "
            f"decisions are of {', '.join(sorted(seen))}, so they may be of other features. Run "
            "the steps labels, samples and doctor again (--redo), and decide anew."
        )
    there = read_columns(path, source.layer)
    foreign = sorted({told[0] for told in there.values()} - {"", *DECISIONS})
    if foreign:
        raise InputError(
            f"{path} has a column `decision` of its own, with {listed(foreign)}. Rename it: "
            f"`decision` holds one of {', '.join(DECISIONS)}."
        )
    out = {}
    for feature, row in rows.items():
        if feature not in there:
            raise InputError(f"{_named(row, spec)} is not there: it has {len(there)} features.")
        decision, target = _said(row)
        target = target if decision == "relabel" else ""
        was, was_class, history = there[feature]
        # to keep what was relabelled is to keep the new class
        kept = decision == "keep" and (was, was_class) == ("relabel", row["class"])
        if kept or (was, was_class) == (decision, target):
            continue
        entry = {
            "when": stamp,
            "who": row.get("decided_by") or who,
            "decision": decision,
            "class_before": was_class if was == "relabel" else row["class"],
            "class_after": {"keep": row["class"], "drop": None}.get(decision, target),
            "doubt": float(row["doubt"].replace(",", ".")) if row["doubt"] else None,
        }
        entries = [*_history(history, row, spec), entry]
        out[feature] = decision, target, json.dumps(entries, ensure_ascii=False)
    return out


def _history(text: str, row: dict[str, Any], spec: LabelsSpec) -> list[Any]:
    try:
        entries = json.loads(text or "[]")
    except json.JSONDecodeError:
        entries = None
    if not isinstance(entries, list):
        raise InputError(
            f"{_named(row, spec)}: its `decision_history` is no JSON list: {text[:60]!r}. Correct "
            "or empty it."
        )
    return entries


def _said(row: dict[str, Any]) -> tuple[str, str]:
    return row["decision"].lower(), row["decision_class"]


def _number(value: str) -> int | None:
    """A whole number as text, also as a program of tables writes it (``12.0``)."""
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number >= 0 else None


def _named(row: dict[str, Any], spec: LabelsSpec) -> str:
    source = spec.sources[_number(row["source"]) or 0]
    return f"{source.path}, feature {row['feature']}"
