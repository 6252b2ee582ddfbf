"""Reading labels, checking them, and listing what was lost and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from geocube_ml.errors import InputError
from geocube_ml.grid import Grid
from geocube_ml.labels.burn import LabelBurner, count_pixels
from geocube_ml.labels.classes import Values, file_values, known_classes
from geocube_ml.labels.clean import is_polygon
from geocube_ml.labels.features import place_rows, read_rows
from geocube_ml.labels.hull import hull_on, joined_hull, shapes_hull
from geocube_ml.labels.labels import ClassRaster, Labels
from geocube_ml.labels.onto import Onto
from geocube_ml.labels.parts import OWN, further, joined, part_of, taken_of
from geocube_ml.labels.problems import Problems, Rows, check_frame
from geocube_ml.labels.rasters import Held, place_raster, read_held
from geocube_ml.labels.scale import scale_of
from geocube_ml.labels.values import day
from geocube_ml.labels.vector import read_features
from geocube_ml.spec.labels import ClassScheme, ClassSpec, LabelSource, LabelsSpec
from geocube_ml.spec.storage import StorageSpec

_STORAGE = StorageSpec()


def read_labels(spec: LabelsSpec, grid: Grid, storage: StorageSpec = _STORAGE) -> Labels:
    """Read labels, check them, and shrink polygons by the inward buffer.

    Parameters
    ----------
    spec : LabelsSpec
        Sources, classes, buffer.
    grid : Grid
        The cube's grid; decides the CRS, and which labels have a pixel left.
    storage : StorageSpec, optional
        How the files' buckets are reached, if they lie in some.

    Returns
    -------
    Labels

    Raises
    ------
    MissingError
        A file or layer is not there.
    InputError
        No CRS, no such column or band, no labels, none within the cube, values that cannot be
        classes, decisions that are not known, or a class without a single labelled pixel (unless
        ``empty_class: drop``).

    Notes
    -----
    What is mended, lost or disputed is listed in ``problems``, and is not fatal.
    """
    book = Problems([source.path for source in spec.sources])
    read = [_read(source, spec, grid, storage, book) for source in spec.sources]
    specs, names = known_classes([one.values for one in read], spec)
    scale = scale_of(grid)
    target = str(grid.geobox.crs)
    code_of = {one.name: code for code, one in enumerate(specs)}
    parts, rasters, taken, n_inside = [], [], [], 0
    for at, (source, one, of) in enumerate(zip(spec.sources, read, names, strict=True)):
        if one.held is not None:
            meant = place_raster(source, one.held, of, grid, book)
            if one.held.counts:
                rasters.append(_raster(at, source, one.held, meant, code_of))
        else:
            assert one.rows is not None  # noqa: S101  it is read as one of the two
            onto = Onto(one.crs, grid, spec.inset_m, float(np.nanmax(scale.most)))
            found = place_rows(one.rows, of, onto, scale)
            n_inside += len(found.rows.shapes)
            taken.append(found.taken.assign(source=at))
            parts.append(part_of(at, found.rows, code_of, spec, grid, scale))
        read[at] = replace(one, rows=None)  # shapes as they were read need room
    if not rasters and not n_inside and book.has("outside the cube"):
        raise InputError(_elsewhere(spec, [one.degrees for one in read], grid))
    frame, disputed = joined(parts, target, grid)
    labels = Labels(
        frame=frame, disputed=disputed, taken=taken_of(taken, target), rasters=tuple(rasters),
        hull=hull_on(joined_hull(spec, [(one.crs, one.hull) for one in read]), target),
        n_layer=int(frame["layer"].max()) + 1 if len(frame) else 1,
        classes=ClassScheme.of(specs), background=None, problems=pd.DataFrame(),
        inset_m=spec.inset_m, whole_pixels=spec.whole_pixels,
    )  # fmt: skip
    counts = count_pixels(labels, grid, storage)
    _list_lost(labels, counts, spec, book)
    kept = frame[counts > 0].assign(n_pixel=counts[counts > 0]).reset_index(drop=True)
    kept["polygon"] = np.arange(1, len(kept) + 1)
    labels = replace(labels, frame=kept[[*OWN, *further(kept), "geometry"]])
    return _coded(labels, specs, spec, grid, storage, book)


@dataclass(frozen=True)
class _Read:
    """A source as it was read."""

    values: Values
    crs: CRS
    rows: Rows | None
    """Of a vector file."""
    held: Held | None
    """Of a raster."""
    hull: Any
    """Convex hull of all that it has, in its CRS."""
    degrees: NDArray[np.float64]
    """West, south, east, north in EPSG:4326."""


def _read(
    source: LabelSource, spec: LabelsSpec, grid: Grid, storage: StorageSpec, book: Problems
) -> _Read:
    if source.is_raster:
        held = read_held(source, spec, grid, storage)
        outline = held.footprint
        return _Read(
            held.values(source), held.crs, None, held, outline, _degrees([outline], held.crs)
        )
    raw = read_features(source, storage)
    rows = read_rows(raw, source, book)
    values = file_values(source, raw)
    crs = CRS(raw.crs)
    hull = shapes_hull(np.asarray(raw.geometry.to_numpy(), object), crs)
    return _Read(values, crs, rows, None, hull, _degrees(rows.shapes, crs))


def _degrees(shapes: Sequence[Any] | NDArray[Any], crs: CRS) -> NDArray[np.float64]:
    outline = shapely.box(*shapely.total_bounds(shapes))
    found: NDArray[np.float64] = gpd.GeoSeries([outline], crs=crs).to_crs(4326).total_bounds
    return found


def _raster(
    at: int, source: LabelSource, held: Held, meant: dict[int, str], code_of: dict[str, int]
) -> ClassRaster:
    ends = [
        np.datetime64("NaT", "ns") if said is None else day(said, last=last)
        for said, last in ((source.valid_from, False), (source.valid_to, True))
    ]
    assert not isinstance(source.weight, str)  # noqa: S101  a raster has no columns
    table = {value: code_of[name] for value, name in meant.items()}
    return ClassRaster(
        at, source.path, source.band, table, held.nodata, ends[0], ends[1], source.weight
    )


def _list_lost(labels: Labels, counts: NDArray[np.int64], spec: LabelsSpec, book: Problems) -> None:
    """List labels without a pixel, and slivers that have one."""
    frame = labels.frame
    sliver = frame["sliver"].to_numpy(bool)
    thin = np.where(sliver, " (a sliver)", "").astype(object)
    reasons = np.where(
        is_polygon(frame.geometry.to_numpy()),
        "no pixel of its own has its centre inside" + thin,
        "its pixel is disputed, or another label has it",
    )  # fmt: skip
    for at, source in enumerate(spec.sources):
        mine = (frame["source"] == at).to_numpy()
        rows = Rows(source.path, pd.DataFrame(frame[["feature", "class"]]), np.empty(0), book)
        areas = frame["area_m2"].to_numpy()
        lost, left = mine & (counts == 0), mine & (counts > 0) & sliver
        rows.note(lost, reasons[lost], "left out", areas[lost])
        rows.note(left, "a sliver, narrower than a pixel", "kept", areas[left])


def _coded(
    labels: Labels,
    specs: Sequence[ClassSpec],
    spec: LabelsSpec,
    grid: Grid,
    storage: StorageSpec,
    book: Problems,
) -> Labels:
    """The classes that have a pixel, in their order, and the background."""
    present = {specs[code].name for code in np.unique(labels.frame["code"])}
    present |= {specs[code].name for code in _codes_of_rasters(labels, grid, storage)}
    lacking = [c for c in specs if c.name not in present]
    problems = book.table()
    if lacking and (spec.empty_class == "error" or not present):
        raise InputError(
            f"No labelled pixel is left of: {', '.join(c.name for c in lacking)}. "
            f"{_why(problems, lacking[0], spec)} Lower `labels.inset_m` "
            f"({spec.inset_m:g} m now), widen the grid, leave the class out of `labels.classes`, "
            "or set `labels.empty_class: drop`."
        )
    every = ClassScheme.of((*specs, *([spec.background] if spec.background else [])))
    # a class that is dropped takes its colour with it
    left = [code for code in every.codes if code >= len(specs) or every.names[code] in present]
    code_of = {code: at for at, code in enumerate(left)}
    frame = labels.frame
    codes = np.array([code_of[code] for code in frame["code"].unique()], np.uint8)
    recoded = dict(zip(frame["code"].unique(), codes, strict=True))
    frame["code"] = frame["code"].map(recoded).astype(np.uint8)
    frame["class"] = frame["class"].astype("str")
    check_frame(frame)
    rasters = [
        replace(one, table={value: code_of[code] for value, code in one.table.items()
                            if code in code_of})
        for one in labels.rasters
    ]  # fmt: skip
    return replace(
        labels,
        frame=frame,
        classes=ClassScheme(
            names=tuple(every.names[code] for code in left),
            colors=tuple(every.colors[code] for code in left),
        ),
        rasters=tuple(rasters),
        background=len(left) - 1 if spec.background else None,
        problems=problems,
    )


def _codes_of_rasters(labels: Labels, grid: Grid, storage: StorageSpec) -> set[int]:
    """Classes of which pixels of rasters are labelled, and of which no polygon has one."""
    missed = {code for raster in labels.rasters for code in raster.table.values()}
    missed -= set(labels.frame["code"].unique().tolist())
    found: set[int] = set()
    if not missed:
        return found
    burner = LabelBurner(labels, grid, storage)
    for tile in grid.tiles:
        burnt = burner.burn(tile)
        found |= set(np.unique(burnt["label"][burnt["polygon"] < 0]).tolist())
        if missed <= found:
            break
    return found


def _why(problems: pd.DataFrame, lacking: ClassSpec, spec: LabelsSpec) -> str:
    """Labels that were lost before their value became a class stand under their value."""
    names = {lacking.name, *lacking.values}
    names |= {value for s in spec.sources for value, name in s.values.items()
              if name == lacking.name}  # fmt: skip
    lost = problems[problems["class"].isin(names) & (problems["done"] != "mended")]
    reasons = lost["reason"].value_counts()
    if reasons.empty:
        held = "The file has" if len(spec.sources) == 1 else "The sources have"
        return f"{held} no polygon of {lacking.name} that is left."
    counted = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"Of {lacking.name}: {counted}."


def _elsewhere(spec: LabelsSpec, bounds: Sequence[NDArray[np.float64]], grid: Grid) -> str:
    def place(bounds: Sequence[float]) -> str:
        return "west {:.4f}, south {:.4f}, east {:.4f}, north {:.4f}".format(*bounds)

    every = np.array(bounds)
    labels = place([*every[:, :2].min(axis=0), *every[:, 2:].max(axis=0)])
    cube = place(grid.lonlat().boundingbox.bbox)
    return (
        f"No polygon of {', '.join(source.path for source in spec.sources)} lies in the cube. In "
        f"degrees the labels reach {labels}, the cube {cube}. Correct the labels' CRS, or the "
        "recipe's grid."
    )
