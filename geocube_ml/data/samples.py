"""The sample table: what all sources know of labelled pixels or objects, gathered from the cube."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  gives DataArrays their `odc`
import pandas as pd
import shapely
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.apart import OUTLINE
from geocube_ml.data.draw import drawn
from geocube_ml.data.folds import HOLDOUT, count_polygons, fold_distances, make_folds
from geocube_ml.data.known import Known
from geocube_ml.data.objects import Objects
from geocube_ml.data.pixels import Pixels
from geocube_ml.data.sources import deciding, source_names
from geocube_ml.errors import InputError, listed
from geocube_ml.kernels.sampling import any_data
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.samples import SamplesSpec

__all__ = ["HOLDOUT", "count_polygons", "gather_samples"]

_DEFAULT = SamplesSpec()
_SOFTWARE = ("geocube_ml", "numpy", "scikit-learn", "exactextract")  # that decide the values

NOT_VALID = "valid in no time step of the cube"
NO_PIXEL = "without a pixel of its own in the cube"
NO_VALUE = "without the number that models estimate"
NO_OBJECT = "background or a pixel of a class raster, which are no objects"


def gather_samples(
    cube: xr.Dataset,
    spec: SamplesSpec = _DEFAULT,
    labels: pd.DataFrame | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """What all sources know of labelled pixels, or of labelled polygons.

    Parameters
    ----------
    cube : xarray.Dataset
        Sources, each with a band dimension of its own: series NAME (time, NAME_band, y, x), static
        ones NAME (NAME_band, y, x); ``label`` and ``polygon`` (y, x) or (label_layer, y, x).
    spec : SamplesSpec
        What a sample is, how many are drawn, and how folds are cut.
    labels : GeoDataFrame, optional
        What the step `labels` writes: of each ``polygon`` its validity, weight, kept columns and,
        for objects, its shrunk geometry in the cube's CRS.  Without it all labels hold always and
        weigh 1.
    provenance : mapping, optional
        Further facts to be noted, such as digests.

    Returns
    -------
    xarray.Dataset
        Along ``sample``: series (sample, time, NAME_band) and static sources (sample, NAME_band) as
        counts, nodata in the steps that are not wholly within the label's validity; ``label``
        uint8, ``polygon`` int32, ``x`` and ``y`` (metres), ``weight`` float32, ``block`` int64,
        ``fold_random``, ``fold_polygon``, ``fold_block`` and, by a column, ``fold_group`` int16 and
        ``split``; with `value_column` ``value`` float64 in its unit; the kept columns.  Pixels row
        by row as the map lies, objects by number, however the cube is chunked; of objects the first
        statistic stands for the source, in floats, the others beside it (``s2_std``, NaN where
        missing), and ``outline`` is the shape of each.

        Attributes: ``crs`` (WKT); ``gap_m``; ``n_unobserved``, those left out because no series
        has an observation in any step, or, without series, no static source has data; and as JSON
        ``drawn`` (class to ``labelled``, ``asked``, ``got``), ``left_out`` (reason to ``labels``
        and ``samples``), ``fold_distances`` and ``provenance``.

    Raises
    ------
    InputError
        No source, no labelled pixel, fewer blocks, polygons, groups or samples of any class than
        folds, a table of labels that is not the cube's, or a column that is not as it must be.
    """
    names = source_names(cube)
    if not names:
        raise InputError(
            "The cube has no source: no variable NAME with a dimension NAME_band. It has "
            f"{', '.join(str(name) for name in cube) or 'none'}. Run the step `cube` first."
        )
    every = Pixels.of(cube)
    classes = ClassScheme.from_attrs(cube["label"].attrs).names
    left_out: dict[str, dict[str, int]] = {}
    found: Pixels | Objects = every
    if spec.unit == "polygon":
        found = _objects(cube, spec, labels)
        _leave_out(left_out, NO_OBJECT, every.polygon[every.polygon <= 0])
        if labels is not None:
            vectors = labels["polygon"].to_numpy()
            _leave_out(left_out, NO_PIXEL, np.setdiff1d(vectors[vectors > 0], found.polygon))
    del every
    known = None if labels is None else Known.of(labels, cube)
    if known is not None:
        found = _valid(found, known, left_out)
    if spec.value_column is not None:
        found = _valued(found, known, spec.value_column, left_out)

    labelled = np.bincount(found.label, minlength=len(classes))
    kept, asked = drawn(found.x, found.y, found.polygon, found.label, spec)
    found = found.take(kept)
    rows = None if known is None else known.rows(found.polygon)
    values = _values(cube, names, found, known, rows)
    observed = np.logical_or.reduce(
        [any_data(values[name], cube[name].attrs["nodata"]) for name in deciding(cube)]
    )
    if not observed.any():
        raise InputError(
            f"None of the {len(observed)} labelled {spec.unit}s has an observation in any step of "
            f"{', '.join(deciding(cube))}. Widen the period, raise max_cloud_cover, or look at the "
            "mask's `clear` values and at the labels' validity."
        )
    if not observed.all():
        found, rows = found.take(observed), None if rows is None else rows[observed]
        for name in values:  # one after the other: two of one are held, not two of all
            values[name] = values[name][observed]

    columns = {} if known is None or rows is None else known.columns(rows)
    value = {}
    if spec.value_column is not None:
        said = {"units": spec.value_units, "column": spec.value_column}
        value = {"value": ("sample", columns[spec.value_column].astype(np.float64), said)}
    weight = np.ones(len(found.label), np.float32)
    if known is not None and rows is not None:
        weight = known.weight(rows)
    folds = make_folds(found.x, found.y, found.polygon, found.label, columns, spec)
    plain = {
        "label": ("sample", found.label, _kept_attrs(cube["label"])),
        "polygon": ("sample", found.polygon, {"nodata": 0}),
        "x": ("sample", found.x, {"units": "m"}),
        "y": ("sample", found.y, {"units": "m"}),
        "weight": ("sample", weight),
        **value,
        **folds,
    }
    if isinstance(found, Objects):
        said = {"encoding": "hexadecimal WKB, in the coordinates of x and y"}
        plain[OUTLINE] = ("sample", shapely.to_wkb(found.outline, hex=True), said)
    bands = {f"{name}_band": cube[f"{name}_band"] for name in names}
    time = {"time": _steps(cube)} if any("time" in cube[name].dims for name in names) else {}
    taken = [*values, *plain, *bands, *time, "sample", "class", "geometry", "split"]
    named = {"split": spec.split_column, "value": spec.value_column}
    own = {name: value for name, value in columns.items() if named.get(name) != name}
    if clash := sorted(set(taken) & set(own)):
        raise InputError(
            f"The labels keep the column {listed(clash)}, a name that the sample table gives to "
            "something else. Rename it in the labels' file, or leave it out of `columns`; a given "
            "split is named in `samples.split_column`."
        )
    samples = xr.Dataset(
        {
            **{name: _source(cube, name, array) for name, array in values.items()},
            **plain,
            **{name: ("sample", value) for name, value in own.items()},
        },
        coords=time | bands,
    ).drop_vars("spatial_ref", errors="ignore")
    samples.attrs = {
        "crs": _crs(cube),
        "n_unobserved": int((~observed).sum()),
        "gap_m": float(spec.gap_m),
        "drawn": json.dumps(_counts(classes, labelled, asked, found.label)),
        "left_out": json.dumps(left_out),
        "fold_distances": json.dumps(fold_distances(samples)),
        "provenance": json.dumps(
            {
                **(provenance or {}),
                "samples": spec.result(),
                "software": {name: version(name) for name in _SOFTWARE},
            },
            sort_keys=True,
        ),
    }
    return samples


def _objects(cube: xr.Dataset, spec: SamplesSpec, labels: pd.DataFrame | None) -> Objects:
    if labels is None:
        raise InputError(
            "`unit: polygon` needs the shapes of the labels. Hand over the table that the step "
            "`labels` writes (`labels.parquet`), or take `unit: pixel`."
        )
    geobox = cube["label"].odc.geobox
    if geobox is None:
        raise InputError(
            "`unit: polygon` needs the cube's grid, but its `label` has no CRS or no even "
            "coordinates. Open it with `open_cube`, or take `unit: pixel`."
        )
    return Objects.of(cube, geobox, labels, spec.statistics)


def _valid(
    found: Pixels | Objects, known: Known, left_out: dict[str, dict[str, int]]
) -> Pixels | Objects:
    """Those whose label holds in some step of the cube."""
    valid = known.valid(known.rows(found.polygon))
    _leave_out(left_out, NOT_VALID, found.polygon[~valid])
    if not valid.any():
        raise InputError(
            f"None of the {len(valid)} labelled samples is valid in a time step of the cube. Widen "
            "the period, or correct `valid_from` and `valid_to` of the labels."
        )
    return found if valid.all() else found.take(valid)


def _valued(
    found: Pixels | Objects,
    known: Known | None,
    column: str,
    left_out: dict[str, dict[str, int]],
) -> Pixels | Objects:
    """Those whose label says the number that models estimate."""
    columns = {} if known is None else known.columns(known.rows(found.polygon))
    if column not in columns:
        raise InputError(
            f"`samples.value_column` is {column!r}, but the labels keep {listed(list(columns))}. "
            "Name it in `columns` of a source of `labels`, and hand over their table."
        )
    values = columns[column]
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"The column {column!r} should hold the numbers that models estimate, but has "
            f"{listed(sorted(set(values.astype(str)))[:3])}. Correct it, or take another "
            "`samples.value_column`."
        )
    there = np.isfinite(values)
    _leave_out(left_out, NO_VALUE, found.polygon[~there])
    if not there.any():
        raise InputError(
            f"None of the {len(there)} labelled samples has a number in {column!r}. Correct the "
            "column, or take another `samples.value_column`."
        )
    return found if there.all() else found.take(there)


def _leave_out(left_out: dict[str, dict[str, int]], reason: str, polygon: NDArray[Any]) -> None:
    if polygon.size:
        left_out[reason] = {"labels": len(np.unique(polygon)), "samples": int(polygon.size)}


def _values(
    cube: xr.Dataset,
    names: list[str],
    found: Pixels | Objects,
    known: Known | None,
    rows: NDArray[np.intp] | None,
) -> dict[str, NDArray[Any]]:
    """Counts of each source; steps in which a label does not hold are missing."""
    values: dict[str, NDArray[Any]] = {}
    for name in names:
        for ending, array in found.read(cube[name]).items():
            if known is not None and rows is not None and "time" in cube[name].dims:
                known.mask(array, rows, np.nan if ending else cube[name].attrs["nodata"])
            values[name + ending] = array
    return values


def _source(cube: xr.Dataset, name: str, values: NDArray[Any]) -> tuple[Any, ...]:
    """A source, or a statistic of one, as a variable of the table."""
    source = cube[name] if name in cube else cube[name.rpartition("_")[0]]
    attrs = _kept_attrs(source)
    if name not in cube:
        attrs = {key: value for key, value in attrs.items() if key != "_FillValue"}
        attrs["nodata"] = np.nan
        if name.endswith("_std"):  # a spread has no origin
            attrs.pop("add_offset", None)
    return ("sample", *(dim for dim in source.dims if dim not in ("y", "x"))), values, attrs


def _counts(
    classes: tuple[str, ...],
    labelled: NDArray[Any],
    asked: NDArray[Any] | None,
    label: NDArray[Any],
) -> dict[str, dict[str, int | None]]:
    got = np.bincount(label, minlength=len(classes))
    most = None if asked is None else int(asked.max())
    return {
        name: {"labelled": int(labelled[code]), "asked": most, "got": int(got[code])}
        for code, name in enumerate(classes)
    }


def _crs(cube: xr.Dataset) -> str:
    """WKT, or nothing where the cube does not say it."""
    crs = cube["label"].odc.crs
    return "" if crs is None else str(crs.to_wkt())


def _steps(cube: xr.Dataset) -> xr.DataArray:
    """The time axis by itself: the bounds of its steps stay in the cube."""
    attrs = {key: value for key, value in cube["time"].attrs.items() if key != "bounds"}
    return xr.DataArray(cube["time"].values.astype("datetime64[ns]"), dims="time", attrs=attrs)


def _kept_attrs(variable: xr.DataArray) -> dict[str, Any]:
    return {k: v for k, v in variable.attrs.items() if k != "grid_mapping"}
