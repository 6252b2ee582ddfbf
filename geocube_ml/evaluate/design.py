"""How many points of each class are to be looked at, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import odc.geo.xr  # noqa: F401  gives DataArrays their `odc`
import shapely
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.errors import InputError, listed
from geocube_ml.evaluate.hectares import pixel_hectares
from geocube_ml.spec.areas import Allocation, AreasSpec
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

EXPECTED = 0.8
"""User's accuracy that is expected of a class of which nothing is said."""

FILLED = ("reference", "certainty", "remark")
"""Columns that people fill in: the class that they see, how sure they are, and what else."""

_FEWEST = 2  # points of a stratum: one has no variance
_CELLS = 128  # of a map's longer side: within one, pixels are as large as in its middle
_DEFAULT = AreasSpec()
Note = Callable[[int, int], None]


@dataclass(frozen=True)
class Design:
    """How many points each class gets."""

    names: tuple[str, ...]
    pixels: NDArray[np.int64]
    """(class,) of the map."""
    points: NDArray[np.int64]
    """(class,); 0 of a class that the map has nowhere."""
    error: float
    """Standard error of the overall accuracy, if classes are as accurate as expected."""


def sample_size(
    pixels: NDArray[np.int64], expected: NDArray[np.float64], target_error: float
) -> int:
    """Points by which the overall accuracy gets a standard error.

    Parameters
    ----------
    pixels : (stratum,) int
    expected : (stratum,) float
        User's accuracy of each.
    target_error : float

    Returns
    -------
    int
        By Cochran (1977), Sampling Techniques, equation 5.25, as recommended by Olofsson et al.
        (2014, equation 13), without a correction for the size of the map.

    Examples
    --------
    The example of Olofsson et al. (2014), section 5.1:

    >>> pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    >>> sample_size(pixels, np.array([0.7, 0.6, 0.9, 0.95]), 0.01)
    641
    """
    share = pixels / pixels.sum()
    spread = float(share @ np.sqrt(expected * (1 - expected)))
    return int(np.floor((spread / target_error) ** 2 + 0.5))


def allocate(
    pixels: NDArray[np.int64], n: int, how: Allocation = "rare", fewest: int = 50
) -> NDArray[np.int64]:
    """Points of each stratum.

    Parameters
    ----------
    pixels : (stratum,) int
    n : int
        In all.
    how : {"proportional", "equal", "rare"}
        As of `AreasSpec.allocation`.
    fewest : int
        Of a stratum at least, by ``rare``; less where `n` does not suffice for all.

    Returns
    -------
    (stratum,) int64
        At least two where there are as many pixels, never more than pixels; so the sum may differ
        from `n`.

    Examples
    --------
    >>> allocate(np.array([200, 150, 3200, 6450]), 640, "rare", fewest=75).tolist()
    [75, 75, 162, 328]
    """
    there = pixels > 0
    if not there.any():
        return np.zeros(len(pixels), np.int64)
    share = pixels / pixels.sum()
    if how == "equal":
        share = there / there.sum()
    points = n * share
    if how == "rare":
        least = min(fewest, n // int(there.sum()))
        rare = there & (points < least)
        while rare.any():  # what the rare ones get is taken from the others, who may become rare
            rest = there & ~rare
            points = np.where(rare, least, 0.0)
            if rest.any():
                points[rest] = (n - least * rare.sum()) * pixels[rest] / pixels[rest].sum()
            more = rest & (points < least)
            if not more.any():
                break
            rare |= more
    whole = np.floor(points + 0.5).astype(np.int64)
    least_of_all = np.where(there, _FEWEST, 0)
    return np.asarray(np.minimum(np.maximum(whole, least_of_all), pixels), np.int64)


def design_sample(
    pixels: NDArray[np.int64], names: tuple[str, ...], spec: AreasSpec = _DEFAULT
) -> Design:
    """How many points each class of a map gets.

    Parameters
    ----------
    pixels : (class,) int
        Of the map, from `count_map`.
    names : tuple of str
        Of the classes.
    spec : AreasSpec

    Raises
    ------
    InputError
        The map has no pixel of any class, or the spec names a class that is none.
    """
    if unknown := sorted(set(spec.expected) - set(names)):
        raise InputError(
            f"`areas.expected` names {listed(unknown)}, but the classes are {listed(list(names))}. "
            "Correct it."
        )
    if not pixels.any():
        raise InputError("The map has no pixel of any class, so that there is nothing to check.")
    expected = np.array([spec.expected.get(name, EXPECTED) for name in names])
    n = spec.points or sample_size(pixels, expected, spec.target_error)
    points = allocate(pixels, n, spec.allocation, spec.fewest)
    share, drawn = pixels / pixels.sum(), points > 0
    variance = share**2 * expected * (1 - expected) / np.maximum(points, 1)
    return Design(names, pixels, points, float(np.sqrt(variance[drawn].sum())))


def count_map(mapped: xr.DataArray) -> NDArray[np.int64]:
    """(class,) pixels of each class of a map; a band of rows is read at a time.

    Parameters
    ----------
    mapped : xarray.DataArray
        ``class`` (y, x) uint8 of a cube.
    """
    n_class = len(ClassScheme.from_attrs(mapped.attrs).names)
    counts = [_by_row(values, n_class).sum(axis=0) for _, values in _bands(mapped)]
    return np.asarray(np.sum(counts, axis=0), np.int64)


def class_hectares(mapped: xr.DataArray) -> dict[str, float]:
    """Class to its hectares on a map, on the ellipsoid; a band of rows is read at a time.

    Parameters
    ----------
    mapped : xarray.DataArray
        ``class`` (y, x) uint8 of a cube, in any CRS.
    """
    names = ClassScheme.from_attrs(mapped.attrs).names
    _, hectares = _counted(mapped, len(names))
    return dict(zip(names, hectares.tolist(), strict=True))


def draw_points(
    mapped: xr.DataArray, design: Design, *, seed: int = 0, note: Note | None = None
) -> gpd.GeoDataFrame:
    """A stratified random sample of a map's pixels, drawn without replacement.

    Parameters
    ----------
    mapped : xarray.DataArray
        ``class`` (y, x) uint8 of a cube; a band of rows is read at a time, twice.
    design : Design
        From `design_sample`, of this map.
    seed : int
        The same draws the same, however the map is chunked.
    note : callable, optional
        Told how many bands of rows are done.

    Returns
    -------
    GeoDataFrame in the map's CRS
        The middles of pixels, in random order: ``point`` (from 1), ``x``, ``y``, ``lon``, ``lat``;
        ``stratum`` (class of the map), ``stratum_points``, ``stratum_ha``, ``map_ha`` (of all
        strata), ``weight`` (hectares that a point stands for); and ``reference``, ``certainty``,
        ``remark``, empty, for the one who looks.

    Notes
    -----
    Hectares are those on the ellipsoid.  Points are drawn among pixels: where the pixels of one
    class differ much in size (Mercator over many degrees), what is seen at its points is their
    share of its pixels, not of its area.
    """
    n_class, rng = len(design.names), np.random.default_rng(seed)
    per_row, hectares = _counted(mapped, n_class)
    ends = np.cumsum(per_row, axis=0)
    ranks = [
        np.sort(rng.choice(int(total), int(n), replace=False)) if n else np.zeros(0, np.int64)
        for total, n in zip(ends[-1], design.points, strict=True)
    ]
    found: list[NDArray[np.int64]] = []
    bands = list(_bands(mapped, read=False))
    for done, (top, _) in enumerate(bands, start=1):
        stop = bands[done][0] if done < len(bands) else len(per_row)
        before = ends[top - 1] if top else np.zeros(n_class, np.int64)
        here = [
            own[np.searchsorted(own, before[code]) : np.searchsorted(own, ends[stop - 1][code])]
            - before[code]
            for code, own in enumerate(ranks)
        ]
        if any(own.size for own in here):
            values = mapped.isel(y=slice(top, stop)).values
            for code, own in enumerate(here):
                at = np.flatnonzero(values.ravel() == code)[own]
                row, col = np.divmod(at, values.shape[1])
                found.append(np.column_stack([row + top, col, np.full(len(at), code)]))
        if note is not None:
            note(done, len(bands))
    drawn = np.concatenate(found)
    drawn = drawn[np.lexsort(drawn.T[::-1])]  # else their order would be that of the bands
    drawn = rng.permutation(drawn)  # by their classes one would know what is mapped
    return _table(mapped, design, hectares, drawn)


def _table(
    mapped: xr.DataArray,
    design: Design,
    hectares: NDArray[np.float64],
    drawn: NDArray[np.int64],
) -> gpd.GeoDataFrame:
    row, col, code = drawn.T
    x, y = mapped["x"].values[col], mapped["y"].values[row]
    places = gpd.GeoSeries(shapely.points(x, y), crs=str(mapped.odc.geobox.crs))
    lonlat = places.to_crs("EPSG:4326")
    points = design.points[code]
    return gpd.GeoDataFrame(
        {
            "point": np.arange(1, len(drawn) + 1),
            "x": x,
            "y": y,
            "lon": lonlat.x.round(7),
            "lat": lonlat.y.round(7),
            "stratum": np.array(design.names, object)[code],
            "stratum_points": points,
            "stratum_ha": hectares[code],
            "map_ha": hectares.sum(),
            "weight": hectares[code] / points,
            **dict.fromkeys(FILLED, ""),
        },
        geometry=places,
    )


def _bands(mapped: xr.DataArray, *, read: bool = True) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """First row and values of bands of rows, one storage chunk high."""
    preferred: Mapping[str, int] = mapped.encoding.get("preferred_chunks", {})
    sizes = mapped.chunksizes.get("y") if mapped.chunks else None
    high = max(sizes) if sizes else preferred.get("y", 1024)
    for top in range(0, mapped.sizes["y"], high):
        rows = mapped.isel(y=slice(top, top + high))
        yield top, rows.values if read else np.empty(0, np.uint8)


def _counted(mapped: xr.DataArray, n_class: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(row, class) pixels, and (class,) hectares."""
    rows, cols = mapped.shape
    edge = -(-max(rows, cols) // _CELLS)
    starts = np.arange(0, rows, edge), np.arange(0, cols, edge)
    cells = np.zeros((len(starts[0]), len(starts[1]), n_class), np.int64)
    per_row = np.zeros((rows, n_class), np.int64)
    for top, values in _bands(mapped):
        here = np.arange(top, top + len(values))
        for at in starts[1]:
            own = _by_row(values[:, at : at + edge], n_class)
            per_row[here] += own
            np.add.at(cells[:, at // edge], here // edge, own)
    middles = [
        np.add.reduceat(mapped[name].values.astype(np.float64), first) / np.diff([*first, n])
        for name, first, n in zip(("y", "x"), starts, mapped.shape, strict=True)
    ]
    box = mapped.odc.geobox
    pixel = box.resolution.x, box.resolution.y
    each = pixel_hectares(middles[1], middles[0], pixel, str(box.crs))
    return per_row, np.einsum("yxc,yx->c", cells, each)


def _by_row(values: NDArray[np.uint8], n_class: int) -> NDArray[np.int64]:
    """(row, class) pixels."""
    pairs = np.arange(len(values))[:, None] * (UNKNOWN + 1) + values
    counts = np.bincount(pairs.ravel(), minlength=len(values) * (UNKNOWN + 1))
    return counts.reshape(len(values), -1)[:, :n_class]
