"""The table of the most doubtful labels, as a person looks at it and fills it in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS

from geocube_ml.doctor.doubt import Doubts
from geocube_ml.files import place
from geocube_ml.labels.values import texts
from geocube_ml.labels.vector import read_features
from geocube_ml.spec.labels import LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

DECIDED = ("decision", "decision_class", "decided_by")
"""Columns that a person fills in."""

NO_FEATURE = -1
"""Source and feature of what is none of a vector file."""

_LEAD = ("rank", "file", "source", "feature", "kind", "class", "suggested", "doubt", "reason",
         "samples", "area_m2", "edge_m", "lon", "lat")  # fmt: skip


def file_digest(source: LabelSource, storage: StorageSpec) -> str:
    """16 hex digits over the geometries and classes of a vector file, in their order.

    What is written into other columns, such as decisions, does not change it.

    Parameters
    ----------
    source : LabelSource
    storage : StorageSpec
    """
    return _digest(read_features(source, storage), source)


def _digest(features: gpd.GeoDataFrame, source: LabelSource) -> str:
    content = hashlib.sha256(str(len(features)).encode())
    for shape in shapely.to_wkb(features.geometry.to_numpy()):
        content.update(shape or b"none")
    if source.class_column:
        content.update("\0".join(texts(features[source.class_column])).encode())
    return content.hexdigest()[:16]


def doubt_table(
    doubts: Doubts,
    labels: gpd.GeoDataFrame,
    spec: LabelsSpec,
    share: float,
    storage: StorageSpec,
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """The most doubtful labels that nobody has decided of, with all that a decision needs.

    Parameters
    ----------
    doubts : Doubts
    labels : GeoDataFrame
        What the step `labels` writes: ``polygon``, ``source``, ``feature``, ``area_m2``.
    spec : LabelsSpec
        Whose sources they are of.
    share : float
        Of the labels that can be judged.
    storage : StorageSpec

    Returns
    -------
    table : GeoDataFrame in EPSG:4326
        One row a label, the most doubtful first: ``rank`` (from 1), ``file``, ``source``,
        ``feature`` (-1 of what is no feature), ``kind`` (polygon, point, raster, background),
        ``class``, ``suggested``, ``doubt``, ``reason``, ``samples``, ``area_m2``, ``edge_m``,
        ``lon``, ``lat``, the columns that a person fills in, ``file_digest``.  The geometry is the
        feature as it was drawn; else the middle of a block's samples.
    counts : dict
        ``judged``, ``decided`` and ``listed`` labels.
    """
    every = doubts.labels[doubts.labels["doubt"].notna()]
    own = labels[labels["polygon"] > 0].set_index("polygon")
    vector = every["polygon"].isin(own.index).to_numpy()
    numbers = every["polygon"].where(vector)
    every = every.assign(
        source=numbers.map(own["source"]).fillna(NO_FEATURE).astype("int64"),
        feature=numbers.map(own["feature"]).fillna(NO_FEATURE).astype("int64"),
        area_m2=numbers.map(own["area_m2"]),
    )
    crs = CRS(labels.crs)
    place_of = gpd.GeoSeries(gpd.points_from_xy(every["x"], every["y"]), every.index, crs=crs)
    shapes = place_of.to_crs("EPSG:4326").to_numpy().astype(object)
    decided, digests = np.zeros(len(every), bool), {}
    for at, source in enumerate(spec.sources):
        rows = np.flatnonzero(every["source"] == at)
        if source.is_raster or not rows.size:
            continue
        features = read_features(source, storage)
        digests[at] = _digest(features, source)
        feature = every["feature"].to_numpy()[rows]
        shapes[rows] = features.geometry.iloc[feature].to_crs("EPSG:4326").to_numpy()
        if "decision" in features:
            said = texts(features["decision"])[feature]
            decided[rows] = said != ""
    counts = {"judged": len(every), "decided": int(decided.sum())}
    most = int(np.ceil(share * len(every)))
    chosen = np.flatnonzero(~decided)[:most]
    table = _filled(every.iloc[chosen], shapes[chosen], spec, digests)
    return table, counts | {"listed": len(table)}


def _filled(
    rows: pd.DataFrame, shapes: Any, spec: LabelsSpec, digests: Mapping[int, str]
) -> gpd.GeoDataFrame:
    middle = shapely.point_on_surface(shapes)
    source = rows["source"].to_numpy()
    raster = np.where(source == NO_FEATURE, -(rows["polygon"].to_numpy() + 1), source)
    raster = np.where(rows["polygon"].to_numpy() == 0, NO_FEATURE, raster)
    names = [place(one.path).name for one in spec.sources]
    kinds = [_kind(polygon, shape) for polygon, shape in zip(rows["polygon"], shapes, strict=True)]
    table = rows.assign(
        rank=np.arange(1, len(rows) + 1),
        file=[names[at] if at >= 0 else "" for at in raster],
        source=raster,
        kind=kinds,
        doubt=rows["doubt"].round(4),
        area_m2=rows["area_m2"].round(1),
        edge_m=rows["edge_m"].round(1),
        lon=shapely.get_x(middle).round(6),
        lat=shapely.get_y(middle).round(6),
        file_digest=[digests.get(at, "") for at in source],
        **dict.fromkeys(DECIDED, ""),
    )[[*_LEAD, *DECIDED, "file_digest"]].reset_index(drop=True)
    return gpd.GeoDataFrame(table, geometry=list(shapes), crs="EPSG:4326")


def _kind(polygon: int, shape: Any) -> str:
    if polygon == 0:
        return "background"
    if polygon < 0:
        return "raster"
    return "point" if shapely.get_dimensions(shape) == 0 else "polygon"
