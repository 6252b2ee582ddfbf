"""The grid of the cube, the area that it covers, and the tiles that work is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pystac
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry, box
from pyproj import CRS
from pyproj.exceptions import CRSError

from geocube_ml.errors import GridMismatch, InputError, SpecError
from geocube_ml.items.item import asset_geobox
from geocube_ml.spec.grid import GridSpec, StoreSpec
from geocube_ml.spec.storage import StorageSpec

_STORE = StoreSpec()
_STORAGE = StorageSpec()
_STEP_M, _STEP_DEG = 1000.0, 0.01
"""Straight edges of an area are followed in such steps: a chord of 1 km leaves an arc by 2 cm."""
_WIDEST = 12.0
"""Degrees of longitude for which the CRS is not chosen: an UTM zone's lengths are off by half a
percent six degrees from its middle."""


@dataclass(frozen=True)
class Tile:
    """The unit of work and of resume: a whole number of shards."""

    iy: int
    ix: int
    y: slice
    x: slice

    @property
    def name(self) -> str:
        """Sorts as it lies: ``0003_0012`` is the fourth row, thirteenth column."""
        return f"{self.iy:04d}_{self.ix:04d}"


@dataclass(frozen=True)
class Grid:
    """A metric grid and how it is cut."""

    geobox: GeoBox
    store: StoreSpec
    made: bytes | None = None
    """Which tiles are made, a bit each, row by row: those that the area to map touches; None: all.
    Not the area itself, which may have a million vertices: a grid goes with every task."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.geobox.shape.y, self.geobox.shape.x

    @property
    def tiles(self) -> list[Tile]:
        """Tiles that are made, row by row; without an area they cover the grid exactly once."""
        every = _tiles(self.shape, self.store.tile)
        if self.made is None:
            return every
        bits = np.unpackbits(np.frombuffer(self.made, np.uint8), count=len(every))
        return [every[at] for at in np.flatnonzero(bits)]

    @property
    def ground(self) -> Any:
        """What the tiles cover, as a shapely geometry in the grid's CRS."""
        if self.made is None:
            return self.geobox.extent.geom
        return shapely.union_all(_outlines(self.geobox, self.tiles))

    def lonlat(self) -> Geometry:
        """The grid's outline in EPSG:4326; two parts where it lies across the antimeridian."""
        extent, step = self.geobox.extent, _edge_step(self.geobox)
        return extent.to_crs("EPSG:4326", resolution=step, wrapdateline=True)


def make_grid(
    spec: GridSpec,
    store: StoreSpec = _STORE,
    items: Sequence[pystac.Item] = (),
    storage: StorageSpec = _STORAGE,
    area: Geometry | None = None,
) -> Grid:
    """The grid that a recipe asks for.

    Parameters
    ----------
    spec : GridSpec
        CRS, resolution and extent; or the asset whose grid is taken, without its source.
    store : StoreSpec
        How it is cut.
    items : sequence of pystac.Item
        Needed where `spec.like` names an asset.
    storage : StorageSpec
        How that asset is reached where its item does not state its grid.
    area : Geometry, optional
        Polygons to map, in any CRS; needed where `spec` states no extent.

    Returns
    -------
    Grid
        Its edges lie on whole multiples of the resolution, unless it is the items' own.

    Raises
    ------
    SpecError
        The CRS is unknown, geographic, or not in metres; or none is given and the area is too
        large, or too far north or south, for one UTM zone.
    InputError
        The area lies across the antimeridian, or where the CRS does not reach.
    GridMismatch
        The items do not share the grid that `spec.like` takes from them.
    """
    if spec.like:
        return Grid(_shared_geobox(spec.like, items, storage), store)
    if spec.covers_area:
        if area is None:
            raise SpecError(
                "grid: there is neither an extent nor an area to cover. Add `bounds:` (in the "
                "CRS), `bbox:` (in degrees), or `boundary:` with a file of polygons."
            )
        return _covering(area, spec, store)
    crs = _metric(str(spec.crs), spec)
    if spec.bounds:
        bounds = spec.bounds
    else:
        assert spec.bbox is not None  # noqa: S101  the spec holds one of the two
        outline = box(*spec.bbox, "EPSG:4326").to_crs(crs.to_string(), resolution=0.01)
        left, bottom, right, top = outline.boundingbox.bbox
        bounds = (left, bottom, right, top)
    geobox = GeoBox.from_bbox(bounds, crs.to_string(), resolution=spec.resolution, tight=False)
    return Grid(geobox, store)


def area_on(geobox: GeoBox, area: Geometry) -> Any:
    """An area in the CRS of a grid, its straight edges followed in short steps.

    Parameters
    ----------
    geobox : GeoBox
    area : Geometry
        Polygons in any CRS.

    Returns
    -------
    shapely geometry

    Raises
    ------
    InputError
        None of it lies on the grid, or the CRS does not reach so far.
    """
    _refuse_across(area)
    shape = _projected(area, str(geobox.crs))
    if not shapely.intersects(shape, geobox.extent.geom):
        here, there = ("{:.0f}, {:.0f}, {:.0f}, {:.0f}".format(*b) for b in (
            geobox.extent.geom.bounds, shape.bounds))  # fmt: skip
        raise InputError(
            f"The area to map lies outside the grid: left, bottom, right, top in {geobox.crs} are "
            f"{there}, those of the grid {here}. Correct `grid.boundary`, or leave out the grid's "
            "`bounds`, `bbox` or `like`, so that it covers the area."
        )
    return shape


def followed(area: Geometry, crs: str) -> Geometry:
    """A shape with so many vertices that its straight edges bend as they do in another CRS."""
    own = CRS.from_user_input(str(area.crs))
    if own == CRS.from_user_input(crs):
        return area
    step = _STEP_DEG if own.is_geographic else _STEP_M
    return Geometry(shapely.segmentize(area.geom, step), area.crs)


def _covering(area: Geometry, spec: GridSpec, store: StoreSpec) -> Grid:
    """The grid of an area, and which of its tiles are made."""
    _refuse_across(area)
    text = _zone_of(area) if spec.crs is None else spec.crs
    crs = _metric(text, spec).to_string()
    shape = _projected(area, crs)
    geobox = GeoBox.from_bbox(shape.bounds, crs, resolution=spec.resolution, tight=False)
    every = _tiles((geobox.shape.y, geobox.shape.x), store.tile)
    shapely.prepare(shape)
    touched = shapely.intersects(shape, _outlines(geobox, every))
    return Grid(geobox, store, None if touched.all() else np.packbits(touched).tobytes())


def _projected(area: Geometry, crs: str) -> Any:
    """A shape in another CRS."""
    shape = followed(area, crs).to_crs(crs).geom
    if not np.isfinite(shape.bounds).all():
        raise InputError(
            f"The area to map reaches where {crs} does not. Take another `grid.crs`, or correct "
            "the area."
        )
    return shape


def _refuse_across(area: Geometry) -> None:
    left, _, right, _ = area.geom.bounds
    degrees = CRS.from_user_input(str(area.crs)).is_geographic
    if degrees and max(-left, right) > 720:
        raise InputError(
            f"The area to map reaches from {left:.4f} to {right:.4f} degrees of longitude: these "
            "are metres, but the file says that they are degrees, as a GeoJSON without `crs` "
            "does. Write its CRS into it, or save it as GeoPackage."
        )
    if degrees and right - left > 180:
        raise InputError(
            f"The area to map reaches from {left:.4f} to {right:.4f} degrees of longitude: it lies "
            "across the antimeridian, or around the globe. Write its boundary in a projected CRS, "
            "such as the UTM zone EPSG:32660 or EPSG:32601, and name that as `crs:`."
        )


def _zone_of(area: Geometry) -> str:
    """The UTM zone of an area."""
    left, bottom, right, top = Geometry(area.geom.envelope, area.crs).to_crs(
        "EPSG:4326", resolution="auto"
    ).boundingbox.bbox  # fmt: skip
    if not right - left <= _WIDEST or max(-bottom, top) > 84:
        raise SpecError(
            f"grid: no UTM zone is right for the area to map, from {left:.2f} to {right:.2f} "
            f"degrees east and {bottom:.2f} to {top:.2f} north. Add `crs:`, a projected one in "
            "metres that suits it, such as EPSG:3035 for Europe."
        )
    return _utm((left + right) / 2, (bottom + top) / 2)


def _tiles(shape: tuple[int, int], edge: int) -> list[Tile]:
    """All tiles of a grid, row by row."""
    rows, cols = shape
    return [
        Tile(
            iy,
            ix,
            slice(iy * edge, min((iy + 1) * edge, rows)),
            slice(ix * edge, min((ix + 1) * edge, cols)),
        )
        for iy in range(ceil(rows / edge))
        for ix in range(ceil(cols / edge))
    ]


def _outlines(geobox: GeoBox, tiles: Sequence[Tile]) -> NDArray[Any]:
    """(n,) boxes of tiles in the grid's CRS."""
    edges = np.array([(t.x.start, t.y.stop, t.x.stop, t.y.start) for t in tiles], float)
    left, bottom, right, top = edges.reshape(-1, 4).T
    at = geobox.transform
    found: NDArray[Any] = shapely.box(
        at.c + left * at.a, at.f + bottom * at.e, at.c + right * at.a, at.f + top * at.e
    )
    return found


def _metric(text: str, spec: GridSpec) -> CRS:
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SpecError(
            f"grid.crs: {text!r} is not a coordinate reference system. "
            "Write it as EPSG:32633, as WKT or as a PROJ string."
        ) from error
    if crs.is_geographic:
        example = _example(spec)
        raise SpecError(
            f"grid.crs: {text} is geographic, its unit is a degree; pixels and buffers are in "
            f"metres. Take a projected CRS, {example}."
        )
    unit = crs.axis_info[0].unit_name if crs.axis_info else "unknown"
    if not crs.is_projected or unit not in ("metre", "meter"):
        raise SpecError(
            f"grid.crs: the unit of {text} is {unit}, but pixels and buffers are in metres. "
            f"Take a projected CRS in metres, {_example(spec)}."
        )
    return crs


def _example(spec: GridSpec) -> str:
    west, south, east, north = spec.bbox or spec.bounds or (999.0, 999.0, 999.0, 999.0)
    lon, lat = (west + east) / 2, (south + north) / 2
    if abs(lon) > 180 or abs(lat) > 84:
        return "such as the UTM zone of the area"
    return f"such as the area's UTM zone {_utm(lon, lat)}"


def _utm(lon: float, lat: float) -> str:
    """The UTM zone of a place."""
    zone = int((lon + 180) % 360 // 6) + 1  # a hull may reach beyond 180 degrees
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def _shared_geobox(asset: str, items: Sequence[pystac.Item], storage: StorageSpec) -> GeoBox:
    if not items:
        raise SpecError(f"grid.like: {asset} takes the grid from the items, but there are none.")
    first = asset_geobox(items[0], asset, storage)
    _metric(str(first.crs), GridSpec(like=asset))
    for item in items[1:]:
        other = asset_geobox(item, asset, storage)
        if other != first:
            raise GridMismatch(
                f"grid.like: the items do not share the grid of {asset}: {items[0].id} has "
                f"{_short(first)}, {item.id} has {_short(other)}. "
                "State crs, resolution and bounds instead."
            )
    if not np.isclose(first.transform.b, 0) or not np.isclose(first.transform.d, 0):
        raise InputError(
            f"grid.like: {asset} of {items[0].id} lies on a rotated grid, {first.transform!r}. "
            "State crs, resolution and bounds instead."
        )
    return first


def _short(geobox: GeoBox) -> str:
    left, top = geobox.transform.c, geobox.transform.f
    rows, cols = geobox.shape
    return f"{rows} x {cols} pixels of {geobox.resolution.x:g} from ({left:g}, {top:g})"


def _edge_step(geobox: GeoBox) -> float:
    """A straight edge bends in another CRS: follow it in 20 steps."""
    return max(*geobox.extent.boundingbox.shape, 20) / 20
