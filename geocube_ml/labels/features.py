"""The features of one vector file, checked and laid into the CRS of the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geocube_ml.errors import InputError
from geocube_ml.labels.clean import clean, is_polygon
from geocube_ml.labels.decisions import read_decisions
from geocube_ml.labels.onto import Onto, unwrapped
from geocube_ml.labels.problems import Problems, Rows
from geocube_ml.labels.scale import Scale
from geocube_ml.labels.values import day, days, texts, weights
from geocube_ml.spec.labels import LabelSource
from geocube_ml.spec.validity import is_date

_EQUAL_AREA = "EPSG:6933"  # of the whole globe, in metres


@dataclass(frozen=True)
class Features:
    """What is used of one vector file."""

    rows: Rows
    """In the cube and of a known class, with ``class`` (its name), ``weight``, ``valid_from``,
    ``valid_to``, ``area_m2``, and the columns that are kept; shapes whole, in the grid's CRS."""
    taken: gpd.GeoDataFrame
    """Whatever the file has near the cube, of any class, but for what a person dropped:
    ``valid_from``, ``valid_to`` and geometry."""


def read_rows(raw: gpd.GeoDataFrame, source: LabelSource, book: Problems) -> Rows:
    """Clean features of a file, with what its columns say, in the CRS of the file.

    Parameters
    ----------
    raw : GeoDataFrame
        From `read_features`.
    source : LabelSource
    book : Problems
        Gets what is left out or mended.

    Returns
    -------
    Rows
        ``feature``, ``class`` (value as text), ``dropped``, ``relabelled``, ``valid_from``,
        ``valid_to``, ``bad_day``, ``weight``, ``bad_weight``, ``mended``, and the kept columns.

    Raises
    ------
    InputError
        No feature has a geometry that labels ground, or a decision is not known.
    """
    n = len(raw)
    decisions = read_decisions(source.path, raw)
    values = (
        texts(raw[source.class_column])
        if source.class_column
        else np.full(n, source.class_name, object)
    )
    table = pd.DataFrame({"feature": np.arange(n), "class": values})
    table["dropped"], table["relabelled"] = decisions.dropped, decisions.relabelled
    table["decided"] = decisions.names
    _add_days(table, raw, source)
    _add_weights(table, raw, source)
    kept = raw[list(dict.fromkeys(source.columns))].reset_index(drop=True)
    table = pd.concat([table, pd.DataFrame(kept)], axis=1)
    rows = clean(Rows(source.path, table, np.asarray(raw.geometry.to_numpy(), object), book))
    if not len(rows.shapes):
        shapes = np.asarray(raw.geometry.to_numpy(), object)
        kinds = ", ".join(sorted({"none" if s is None else s.geom_type for s in shapes}))
        raise InputError(
            f"{source.path} has no polygons or points that can be used, its geometries are: "
            f"{kinds}. Name another file."
        )
    return rows


def place_rows(rows: Rows, names: dict[str, str], onto: Onto, scale: Scale) -> Features:
    """Features in the grid's CRS; those that cannot be used are listed and left out.

    Parameters
    ----------
    rows : Rows
        From `read_rows`.
    names : dict
        Value to the name of its class.
    onto : Onto
        From the file's CRS to the grid's.
    scale : Scale
        Of the grid's CRS.
    """
    shapes, turned = unwrapped(rows.shapes, onto.period) if onto.period else (rows.shapes, None)
    table = rows.table
    if turned is not None and turned.any():
        what = (
            table["mended"]
            .mask(turned, "edges across the antimeridian")
            .where(
                (table["mended"] == "") | ~turned,
                table["mended"] + ", edges across the antimeridian",
            )
        )
        table = table.assign(mended=what)
    whole = shapes
    cut, near = onto.near(shapes)
    placed = np.full(len(shapes), shapely.Polygon(), object)
    placed[near] = onto.project(cut[near])
    inside = near.copy()
    inside[near] = np.isfinite(shapely.bounds(placed[near])).all(axis=1)
    placed[~inside] = shapely.Polygon()
    areas = _areas(whole, cut, placed, inside, onto, scale)
    extent = onto.grid.ground  # tiles that are not made hold nothing
    shapely.prepare(extent)
    taking = inside & ~table["dropped"].to_numpy(bool)
    taken = gpd.GeoDataFrame(
        table.loc[taking, ["valid_from", "valid_to"]].reset_index(drop=True),
        geometry=placed[taking], crs=str(onto.grid.geobox.crs),
    )  # fmt: skip
    inside &= shapely.intersects(extent, placed)
    rows = Rows(rows.file, table.assign(area_m2=areas, inside=inside), placed, rows.book)
    mended = (table["mended"] != "").to_numpy()
    why = "mended (" + table["mended"][mended] + ")"
    rows.note(mended, why.to_numpy(), "mended", areas[mended])
    return Features(_used(rows, names), taken)


def _used(rows: Rows, names: dict[str, str]) -> Rows:
    """Rows of a known class, in the cube, of a time and a weight."""
    rows = _without(rows, rows.table["dropped"], "a person decided to drop it")
    decided = rows.table["relabelled"].to_numpy()
    rows.note(decided, "a person decided for " + rows.table["decided"][decided].to_numpy(),
              "relabelled", rows.table["area_m2"][decided].to_numpy())  # fmt: skip
    said = rows.table["class"]
    named = said.map(names).where(~decided, rows.table["decided"]).to_numpy(object)
    nameless = ((said == "") & ~decided).to_numpy()
    unknown = pd.isna(named)
    reasons = np.where(nameless, "the class has no name", "a class that the recipe leaves out")
    rows = Rows(rows.file, rows.table.assign(named=named), rows.shapes, rows.book)
    rows = _without(rows, unknown, reasons[unknown])
    rows = Rows(
        rows.file, rows.table.assign(**{"class": rows.table["named"]}), rows.shapes, rows.book
    )
    for column in ("bad_day", "bad_weight"):
        bad = (rows.table[column] != "").to_numpy()
        rows = _without(rows, bad, rows.table[column][bad].to_numpy())
    missing = rows.table["no_weight"].to_numpy()
    rows.note(missing, "no weight, counted as 1", "kept", rows.table["area_m2"][missing])
    rows = _without(rows, ~rows.table["inside"].to_numpy(), "outside the cube")
    gone = ["dropped", "relabelled", "decided", "named", "bad_day", "bad_weight", "no_weight",
            "inside", "mended"]  # fmt: skip
    return Rows(rows.file, rows.table.drop(columns=gone), rows.shapes, rows.book)


def _without(rows: Rows, bad: Any, reason: Any) -> Rows:
    at = np.asarray(bad)
    return rows.without(at, reason, rows.table["area_m2"][at].to_numpy())


def _add_days(table: pd.DataFrame, raw: pd.DataFrame, source: LabelSource) -> None:
    """`valid_from` and `valid_to`, and what is wrong with them."""
    wrong = np.full(len(table), "", object)
    for key, said, last in (
        ("valid_from", source.valid_from, False), ("valid_to", source.valid_to, True)
    ):  # fmt: skip
        if said is None or is_date(said):
            one = np.datetime64("NaT", "ns") if said is None else day(said, last=last)
            table[key] = np.full(len(table), one, "datetime64[ns]")
            continue
        table[key], bad = days(raw[said], last=last)
        wrong[bad & (wrong == "")] = f"{said!r} is no date"
    backwards = (table["valid_to"] < table["valid_from"]).to_numpy()
    wrong[backwards & (wrong == "")] = "its validity ends before it begins"
    table.loc[wrong != "", ["valid_from", "valid_to"]] = pd.NaT
    table["bad_day"] = wrong


def _add_weights(table: pd.DataFrame, raw: pd.DataFrame, source: LabelSource) -> None:
    if not isinstance(source.weight, str):
        table["weight"] = np.full(len(table), source.weight, np.float32)
        table["bad_weight"], table["no_weight"] = "", False
        return
    table["weight"], missing, bad = weights(raw[source.weight])
    reason = f"{source.weight!r} is no weight (a number of at least 0)"
    table["bad_weight"] = np.where(bad, reason, "")
    table["no_weight"] = missing


def _areas(
    whole: NDArray[Any],
    cut: NDArray[Any],
    placed: NDArray[Any],
    inside: NDArray[np.bool_],
    onto: Onto,
    scale: Scale,
) -> NDArray[np.float64]:
    """Square metres on the ground of whole shapes."""
    areas = scale.area(shapely.area(placed), shapely.bounds(placed))
    cut_off = np.array([a is not b for a, b in zip(cut, whole, strict=True)])
    other = np.flatnonzero((~inside | cut_off) & is_polygon(whole))
    if onto.crs == onto.target:
        areas[other] = scale.area(shapely.area(whole[other]), shapely.bounds(whole[other]))
    elif other.size:
        there = Transformer.from_crs(onto.crs, _EQUAL_AREA, always_xy=True)
        with np.errstate(invalid="ignore"):  # beyond the poles
            found = shapely.area(
                shapely.transform(whole[other], lambda xy: np.column_stack(there.transform(*xy.T)))
            )
        areas[other] = np.where(np.isfinite(found), found, 0.0)
    return areas
