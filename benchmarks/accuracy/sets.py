"""Labelled series: the published ones, and a user's own."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyproj import Transformer

from geocube_ml import read_samples
from geocube_ml.data.sources import described
from geocube_ml.data.table import KEY
from geocube_ml.errors import InputError, MissingError, listed
from geocube_ml.models.fit import Fit
from geocube_ml.models.layout import Layout
from geocube_ml.spec.labels import ClassScheme

DATA = Path(
    os.environ.get("GEOCUBE_ML_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data"
)
"""Where the published sets are."""

_NEEDED = ("X", "y", "classes")
_STEP = re.compile(r"^(?P<band>.+)_(?P<step>\d+|\d{4}-\d{2}(-\d{2})?)$")


@dataclass(frozen=True)
class Labelled:
    """Series whose class is known.

    Parameters
    ----------
    name : str
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) int64
        Codes from 0.
    classes : tuple of str
    layout : Layout
    group : (n,) int64 or None
        What is of one group (a polygon, a village) is never on both sides of a split by group.
    group_names : tuple of str
        Of the groups, by their code; none where they have no names worth telling.
    lon, lat : (n,) float64 or None
        Degrees of WGS84.
    test : (n,) bool or None
        The test rows of a given split.
    n_unobserved : int
        Series without any value, which were left out.
    """

    name: str
    series: NDArray[np.float32]
    label: NDArray[np.int64]
    classes: tuple[str, ...]
    layout: Layout
    group: NDArray[np.int64] | None = None
    lon: NDArray[np.float64] | None = None
    lat: NDArray[np.float64] | None = None
    test: NDArray[np.bool_] | None = None
    n_unobserved: int = 0
    group_names: tuple[str, ...] = ()

    def only(self, rows: NDArray[np.bool_], name: str | None = None) -> Labelled:
        """Some of the rows; codes of classes stay as they are."""
        parts = {
            part: None if getattr(self, part) is None else getattr(self, part)[rows]
            for part in ("series", "label", "group", "lon", "lat", "test")
        }
        # which groups are left is not looked at
        return replace(self, name=name or self.name, **parts)

    def checked(self) -> Labelled:
        """Without series that were never observed.

        Raises
        ------
        InputError
            There are infinite values, codes that no class has, or fewer than two classes.
        """
        if self.series.ndim != 3 or 0 in self.series.shape:
            raise InputError(
                f"{self.name}: the series must be (n, time, band), got {self.series.shape}."
            )
        infinite = int(np.isinf(self.series).any(axis=(1, 2)).sum())
        if infinite:
            raise InputError(
                f"{self.name}: {infinite} of {len(self.series)} series have infinite values. Make "
                "them NaN (missing), or correct the scaling that made them."
            )
        if self.label.min() < 0 or self.label.max() >= len(self.classes):
            raise InputError(
                f"{self.name}: codes must be 0 to {len(self.classes) - 1}, as there are "
                f"{len(self.classes)} classes, got {self.label.min()} to {self.label.max()}."
            )
        seen = ~np.isnan(self.series).all(axis=(1, 2))
        kept = replace(self.only(seen), n_unobserved=int((~seen).sum()))
        n_class = len(np.unique(kept.label))
        if n_class < 2:
            raise InputError(
                f"{self.name}: {n_class} class has series with values, at least two are needed to "
                "tell anything apart."
            )
        return kept

    def locations(self) -> NDArray[np.int64] | None:
        """(n,) a number a place, by coordinates to a millionth of a degree; None without any."""
        if self.lon is None or self.lat is None:
            return None
        places = np.stack([self.lon, self.lat], axis=1).round(6)
        return np.unique(places, axis=0, return_inverse=True)[1].ravel()

    def blocks(self, degrees: float) -> NDArray[np.int64] | None:
        """(n,) a number a square of so many degrees; None without coordinates."""
        if self.lon is None or self.lat is None:
            return None
        squares = np.floor(np.stack([self.lon, self.lat], axis=1) / degrees)
        return np.unique(squares, axis=0, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class Source:
    """Where a set is: a published one by its name, or a file; small enough to send to a worker."""

    name: str
    """``SET`` or ``SET/PART``; of a file what it is called in the tables."""
    file: str | None = None
    class_column: str = "class"
    group_column: str | None = None
    split_column: str | None = None
    ignore: tuple[str, ...] = ()
    """Columns that are no features."""

    @property
    def parent(self) -> str:
        """The set that a part is of."""
        return self.name.split("/")[0]


@lru_cache(maxsize=12)
def read(source: Source) -> Labelled:
    """The series of a source.

    Raises
    ------
    MissingError
        There is no such set or file.
    InputError
        It does not hold labelled series.
    """
    if source.file is not None:
        path = Path(source.file)
        if not path.is_file():
            raise MissingError(f"There is no file {path}. Name one of series (.npz or .parquet).")
        if path.suffix == ".npz":
            found = read_arrays(path, source.name)
        elif path.suffix in (".parquet", ".geoparquet"):
            found = read_table(path, source)
        else:
            raise InputError(f"{path} is neither .npz (arrays) nor .parquet (GeoParquet).")
        return found.checked()
    if source.parent not in PARTS:
        raise InputError(f"There is no set {source.parent!r}, only {', '.join(PARTS)}.")
    return PARTS[source.parent](source).checked()


def read_arrays(path: Path, name: str) -> Labelled:
    """Arrays: ``X`` (n, time, band), ``y`` codes, ``classes``; and what else is known.

    That is ``group``, ``lon``, ``lat`` and ``split``, each (n,).  A split says ``train`` or
    ``test``.
    """
    arrays = _load(path)
    series, label = arrays["X"].astype(np.float32), arrays["y"]
    if label.dtype.kind not in "iu":
        raise InputError(
            f"{path}: `y` must be codes of classes (integers), got {label.dtype}. Turn names into "
            "codes: numpy.unique(names, return_inverse=True)."
        )
    wrong = [
        f"{key} {arrays[key].shape}"
        for key in ("y", "group", "split", "lon", "lat")
        if key in arrays and arrays[key].shape != (len(series),)
    ]
    if wrong:
        raise InputError(
            f"{path}: `X` has {len(series)} series, which these do not fit: {listed(wrong)}."
        )
    if series.ndim != 3:
        raise InputError(f"{path}: `X` must be (n, time, band), got {series.shape}.")
    return Labelled(
        name, series, label.astype(np.int64), tuple(str(one) for one in arrays["classes"]),
        Layout((series.shape[2],)),
        group=_codes(arrays.get("group")),
        lon=_degrees(arrays.get("lon")), lat=_degrees(arrays.get("lat")),
        test=_test_rows(arrays.get("split"), str(path)),
    )  # fmt: skip


def read_table(path: Path, source: Source) -> Labelled:
    """A GeoParquet: what `geocube_ml.write_samples` wrote, or columns.

    Columns of numbers are features: ``BAND_STEP`` (steps are numbers or dates) those of a series,
    and others static ones; columns of lists are a band each.  Places are those of the points, or of
    the columns ``lon`` and ``lat``.
    """
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}.") from error
    metadata = schema.metadata or {}
    if KEY in metadata:
        return _read_samples(path, source)
    table = gpd.read_parquet(path) if b"geo" in metadata else pd.read_parquet(path)
    named = [source.class_column, source.group_column, source.split_column, *source.ignore]
    missing = [name for name in named if name is not None and name not in table]
    if missing:
        raise InputError(
            f"{path} has no column {listed(missing)}, only {listed(list(map(str, table)))}. Name "
            "the columns (--class-column, --group-column, --split-column, --ignore)."
        )
    classes, label = np.unique(table[source.class_column].astype(str), return_inverse=True)
    lon, lat = _places(table)
    others = {*named, "geometry", "lon", "lat"}
    features = table[[name for name in table if name not in others]]
    series, layout = _features(features, path)
    return Labelled(
        source.name, series, label.astype(np.int64), tuple(classes), layout,
        group=_codes(_column(table, source.group_column)), lon=lon, lat=lat,
        test=_test_rows(_column(table, source.split_column), str(path)),
    )  # fmt: skip


def _read_samples(path: Path, source: Source) -> Labelled:
    """A sample table of the package; its polygons are the groups."""
    samples = read_samples(path)
    fit = Fit.model_validate(described(samples))
    classes = ClassScheme.from_attrs(samples["label"].attrs).names
    to_degrees = Transformer.from_crs(samples.attrs["crs"], "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(samples["x"].values, samples["y"].values)
    group = source.group_column or "polygon"
    split = source.split_column or ("split" if "split" in samples else None)
    for name in (group, split):
        if name is not None and name not in samples:
            raise InputError(f"{path} has no column {name!r}, only {listed(list(samples))}.")
    return Labelled(
        source.name, fit.stacked({name: samples[name].values for name in fit.names}),
        samples["label"].values.astype(np.int64), tuple(classes), fit.layout,
        group=_codes(samples[group].values), lon=np.asarray(lon), lat=np.asarray(lat),
        test=None if split is None else _test_rows(samples[split].values, str(path)),
    )  # fmt: skip


def _features(table: pd.DataFrame, path: Path) -> tuple[NDArray[np.float32], Layout]:
    """(n, time, channel) of columns, and which of them are static."""
    lists = [name for name in table if table[name].map(lambda v: np.ndim(v) == 1).all()]
    numbers = [name for name in table.select_dtypes("number") if name not in lists]
    unread = [str(name) for name in table if name not in (*lists, *numbers)]
    if unread:
        raise InputError(
            f"{path}: the columns {listed(unread)} are neither numbers nor lists of numbers. Name "
            "them as class, group or split, or leave them out (--ignore)."
        )
    found: dict[str, dict[str, str]] = {}
    static = []
    for name in numbers:
        at = _STEP.match(str(name))
        if at:
            found.setdefault(at["band"], {})[at["step"]] = name
        else:
            static.append(name)
    steps = {tuple(sorted(of_band, key=_order)) for of_band in found.values()}
    if len(steps) > 1:
        lengths = {band: len(of_band) for band, of_band in found.items()}
        raise InputError(f"{path}: the bands have different time steps: {lengths}.")
    parts = []
    for name in lists:
        rows = [np.asarray(row, np.float32) for row in table[name]]
        if len({len(row) for row in rows}) > 1:
            raise InputError(f"{path}: the lists in {name!r} are of different length.")
        parts.append(np.stack(rows))
    for step in steps:
        parts += [
            table[[of_band[one] for one in step]].to_numpy(np.float32) for of_band in found.values()
        ]
    lengths = {part.shape[1] for part in parts}
    if len(lengths) > 1:
        raise InputError(f"{path}: the bands have different numbers of steps, {sorted(lengths)}.")
    if not parts and not static:
        raise InputError(f"{path} has no column of features.")
    if not parts:  # a table without time: one step
        return table[static].to_numpy(np.float32)[:, None], Layout((len(static),))
    series = np.stack(parts, axis=2)
    if not static:
        return series, Layout((len(parts),))
    layers = np.repeat(table[static].to_numpy(np.float32)[:, None], series.shape[1], axis=1)
    return np.concatenate([series, layers], axis=2), Layout((len(parts),), (len(static),))


def _order(step: str) -> tuple[int, str]:
    return (int(step), "") if step.isdigit() else (0, step)


def _places(table: pd.DataFrame) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if isinstance(table, gpd.GeoDataFrame) and table.crs is not None:
        points = table.geometry.to_crs("EPSG:4326").representative_point()
        return points.x.to_numpy(), points.y.to_numpy()
    if "lon" in table and "lat" in table:
        return table["lon"].to_numpy(float), table["lat"].to_numpy(float)
    return None, None


def _column(table: pd.DataFrame, name: str | None) -> NDArray[Any] | None:
    return None if name is None else table[name].astype(str).to_numpy()


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as arrays of numpy: {error}.") from error
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise InputError(
            f"{path} lacks {listed(missing)}; it has {listed(list(arrays))}. Series are `X` "
            "(n, time, band), `y` (n,) codes, and `classes` their names."
        )
    return arrays


def _codes(values: NDArray[Any] | None) -> NDArray[np.int64] | None:
    return None if values is None else np.unique(values, return_inverse=True)[1].astype(np.int64)


def _degrees(values: NDArray[Any] | None) -> NDArray[np.float64] | None:
    return None if values is None else values.astype(np.float64)


def _test_rows(split: NDArray[Any] | None, where: str) -> NDArray[np.bool_] | None:
    if split is None:
        return None
    said = {str(one) for one in np.unique(split.astype(str))}
    if said != {"train", "test"}:
        raise InputError(f"{where}: a split must say train and test, got {listed(sorted(said))}.")
    test: NDArray[np.bool_] = split.astype(str) == "test"
    return test


# --- the published sets


def _published(name: str) -> Path:
    path = DATA / name / "samples.npz"
    if not path.is_file():
        raise MissingError(
            f"The published set {name} is not in {DATA}. Set GEOCUBE_ML_DATA to the folder that "
            "holds it."
        )
    return path


def _as_it_is(source: Source) -> Labelled:
    return read_arrays(_published(source.parent), source.name)


def _mato_grosso(source: Source) -> Labelled:
    """The 7 classes of which a figure was published."""
    path = _published(source.parent)
    found, arrays = read_arrays(path, source.name), _load(path)
    kept = found.only(arrays["in_sitsbook_subset"])
    there, label = np.unique(kept.label, return_inverse=True)
    return replace(kept, label=label, classes=tuple(found.classes[code] for code in there))


def _cropmask(source: Source) -> Labelled:
    """Half years of a region, or of all; the slope is a layer."""
    path = _published(source.parent)
    found, arrays = read_arrays(path, source.name), _load(path)
    slope = np.repeat(arrays["slope"][:, None, None], found.series.shape[1], axis=1)
    whole = replace(
        found,
        series=np.concatenate([found.series, slope], axis=2),
        layout=Layout((found.series.shape[2],), (1,)),
        group=_codes(arrays["region"]),
        group_names=tuple(str(name) for name in np.unique(arrays["region"])),
    )
    part = source.name.partition("/")[2]
    if not part:
        return whole
    if part not in arrays["region"]:
        regions = ", ".join(np.unique(arrays["region"]))
        raise InputError(f"{source.parent} has no region {part!r}, only {regions}.")
    return whole.only(arrays["region"] == part)


def _uganda(source: Source) -> Labelled:
    """Three sources: optical bands, radar, weather."""
    found = _as_it_is(source)
    return replace(found, layout=Layout((10, 2, 2), (), ("optical", "radar", "weather")))


PARTS = {
    "sits_mt_mod13q1": _mato_grosso,
    "ucr_crop_train": _as_it_is,
    "tempcnn_formosat2": _as_it_is,
    "dea_cropmask_s2_semiannual": _cropmask,
    "worldcereal_uga_ssd2017_monthly": _uganda,
    "sits_cerrado2": _as_it_is,
}
"""How each published set is read."""
