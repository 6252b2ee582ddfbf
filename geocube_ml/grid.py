"""The grid of the cube, and the tiles that work is cut into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pystac
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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.geobox.shape.y, self.geobox.shape.x

    @property
    def tiles(self) -> list[Tile]:
        """All tiles, row by row; together they cover the grid exactly once."""
        edge = self.store.tile
        rows, cols = self.shape
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

    def lonlat(self) -> Geometry:
        """The grid's outline in EPSG:4326; two parts where it lies across the antimeridian."""
        extent, step = self.geobox.extent, _edge_step(self.geobox)
        return extent.to_crs("EPSG:4326", resolution=step, wrapdateline=True)


def make_grid(
    spec: GridSpec,
    store: StoreSpec = _STORE,
    items: Sequence[pystac.Item] = (),
    storage: StorageSpec = _STORAGE,
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

    Returns
    -------
    Grid
        Its edges lie on whole multiples of the resolution, unless it is the items' own.

    Raises
    ------
    SpecError
        The CRS is unknown, geographic, or not in metres.
    GridMismatch
        The items do not share the grid that `spec.like` takes from them.
    """
    if spec.like:
        return Grid(_shared_geobox(spec.like, items, storage), store)
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


def _metric(text: str, spec: GridSpec) -> CRS:
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise SpecError(
            f"grid.crs: {text!r} is not a coordinate reference system. "
            "Write it as EPSG:32633, as WKT or as a PROJ string."
        ) from error
    if crs.is_geographic:
        example = _utm(spec)
        raise SpecError(
            f"grid.crs: {text} is geographic, its unit is a degree; pixels and buffers are in "
            f"metres. Take a projected CRS, {example}."
        )
    unit = crs.axis_info[0].unit_name if crs.axis_info else "unknown"
    if not crs.is_projected or unit not in ("metre", "meter"):
        raise SpecError(
            f"grid.crs: the unit of {text} is {unit}, but pixels and buffers are in metres. "
            f"Take a projected CRS in metres, {_utm(spec)}."
        )
    return crs


def _utm(spec: GridSpec) -> str:
    west, south, east, north = spec.bbox or spec.bounds or (999.0, 999.0, 999.0, 999.0)
    lon, lat = (west + east) / 2, (south + north) / 2
    if abs(lon) > 180 or abs(lat) > 84:
        return "such as the UTM zone of the area"
    zone = min(int((lon + 180) // 6) + 1, 60)
    return f"such as the area's UTM zone EPSG:{(32600 if lat >= 0 else 32700) + zone}"


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
