"""Rasters of one lattice, such as the tiles of a DEM, read as if they were one.

Where tiles abut, the last half pixel of each lies between its own pixels and those of the next,
and an average on a coarser grid is of pixels of both.  So their pixels are laid into one array, and
each tile is resampled from it.  How large its pixels are beside those of the grid is still said of
each tile by itself: then a pixel does not depend on which tiles a window happens to touch, and what
is read of a tile is what would be read of it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.kernels.mask import has_data
from geocube_ml.raster.gdal import Raster, read_part
from geocube_ml.raster.header import check_asked
from geocube_ml.raster.read import of_raster
from geocube_ml.raster.wanted import Terms, Wanted
from geocube_ml.raster.warp import Part, inside, needed
from geocube_ml.raster.window import Header, Places, Span, Way, offset_of, step_of
from geocube_ml.spec.storage import StorageSpec

Naming = Callable[[int], AbstractContextManager[None]]

_WHOLE = 1e-5
"""Pixels by which tiles may be off a lattice: so few that it does not matter whose is taken."""


@dataclass(frozen=True)
class _Tile:
    """One of the rasters."""

    at: int
    """Position among those that are given."""
    href: str
    header: Header
    terms: Terms
    offset: tuple[int, int] = (0, 0)
    """Row and column of its first pixel in the whole that the tiles of its lattice make."""

    @property
    def span(self) -> Span:
        """All of it, in the whole."""
        (top, left), header = self.offset, self.header
        return Span(top, top + header.height, left, left + header.width)


def read_joined(
    hrefs: Sequence[str],
    geobox: GeoBox,
    wanted: Wanted,
    *,
    own_first: bool,
    naming: Naming,
    storage: StorageSpec,
) -> list[NDArray[Any] | None]:
    """Some bands of rasters on another grid; those of one lattice continue each other.

    Rasters are of one lattice if they have one CRS, pixels of one size, origins that are whole
    pixels apart, one dtype, and one nodata (for all the bands).

    Parameters
    ----------
    hrefs : sequence of str
        As of `read_onto`.
    geobox : GeoBox
        The wanted grid.
    wanted : Wanted
        How pixels are wanted.
    own_first : bool
        Where rasters overlap, a pixel is of the first that has data.  If true, each raster comes
        first in its own result.
    naming : callable
        Gets a position; what is raised over that raster is raised within its context.
    storage : StorageSpec
        How stores are reached.

    Returns
    -------
    list of (band, y, x) arrays of `wanted.dtype`, or None
        Of each raster the pixels whose centres lie in it, and nodata elsewhere; None of one that
        is alone on its lattice, which is not read.

    Raises
    ------
    MissingError, AccessError, ReadError, InputError
        As `read_onto`.
    """
    tiles = []
    for at, href in enumerate(hrefs):
        with naming(at):
            header = of_raster(href, _header, storage)
            check_asked(header, href, wanted.bands, geobox.crs)
            if not wanted.apart(header):
                tiles.append(_Tile(at, href, header, wanted.terms(header, href)))
    found: list[NDArray[Any] | None] = [None] * len(hrefs)
    for group in _lattices(tiles):
        if len(group) > 1:
            for tile, values in _Joined.of(group, geobox, wanted, naming, storage).each(own_first):
                found[tile.at] = values
    return found


@dataclass(frozen=True)
class _Joined:
    """Tiles of one lattice, and how a window is read of them."""

    tiles: Sequence[_Tile]
    whole: Header
    """Of the smallest raster that holds them all."""
    hows: Sequence[Way]
    """Of each tile: with its own step, and places in the whole."""
    span: Span
    """What any of them needs of the whole."""
    geobox: GeoBox
    wanted: Wanted
    naming: Naming
    storage: StorageSpec

    @classmethod
    def of(
        cls, tiles: Sequence[_Tile], geobox: GeoBox, wanted: Wanted, naming: Naming,
        storage: StorageSpec,
    ) -> _Joined:  # fmt: skip
        """Tiles whose offsets are from one pixel."""
        spans = np.array([tile.span for tile in tiles])
        (top, _, left, _), (_, bottom, _, right) = spans.min(axis=0), spans.max(axis=0)
        row, col = tiles[0].offset
        there = tiles[0].header.transform * Affine.translation(int(left) - col, int(top) - row)
        whole = replace(
            tiles[0].header, height=int(bottom - top), width=int(right - left), transform=there
        )
        tiles = [
            replace(tile, offset=(int(tile.offset[0] - top), int(tile.offset[1] - left)))
            for tile in tiles
        ]
        hows = [wanted.way(whole, geobox, _step(tile.header, geobox)) for tile in tiles]
        needs = [span for span in (needed(how, whole) for how in hows) if not span.empty]
        span = _around(needs) if needs else Span(0, 0, 0, 0)
        return cls(tiles, whole, hows, span, geobox, wanted, naming, storage)

    def each(self, own_first: bool) -> Iterator[tuple[_Tile, NDArray[Any]]]:
        """The tiles, and what each gives to the window."""
        if not own_first:
            part = self._laid(self.tiles, self._pixels)
            for tile, how in zip(self.tiles, self.hows, strict=True):
                yield tile, self._onto(tile, how, part)
            return
        pixels = cache(self._pixels)
        for tile, how in zip(self.tiles, self.hows, strict=True):
            others = [other for other in self.tiles if other is not tile]
            yield tile, self._onto(tile, how, self._laid([tile, *others], pixels))

    def _laid(self, tiles: Sequence[_Tile], pixels: Callable[[_Tile], NDArray[Any]]) -> Part:
        """The pixels of tiles in one array; the first that has data gives a pixel."""
        terms = tiles[0].terms
        values = terms.empty(len(self.wanted.bands), self.span.shape)
        for tile in tiles:
            here = tile.span.common(self.span)
            if here.empty:
                continue
            place = values[:, *here.seen_from(self.span.top, self.span.left).slices]
            missing = ~has_data(place, terms.stated)
            if missing.any():
                np.copyto(place, pixels(tile), where=missing)
        return Part(values, self.span, self.whole.transform, self.whole.crs)

    def _pixels(self, tile: _Tile) -> NDArray[Any]:
        """(band, y, x) pixels of a tile, of the part that is needed."""
        own = tile.span.common(self.span).seen_from(*tile.offset)
        take = partial(read_part, bands=self.wanted.bands, span=own, terms=tile.terms)
        with self.naming(tile.at):
            return of_raster(tile.href, take, self.storage)

    def _onto(self, tile: _Tile, how: Way, part: Part) -> NDArray[Any]:
        """(band, y, x) values of the window where the centres of its pixels lie in a tile."""
        terms, shape = tile.terms, tuple(self.geobox.shape)
        values = terms.empty(len(self.wanted.bands), shape)
        mine = np.broadcast_to(inside(_places(how, self.geobox), tile.span), shape)
        if mine.any():
            rows, cols = (_bounds(mine.any(axis=axis)) for axis in (1, 0))
            there = part.onto(_cut(how, rows, cols), self.geobox[rows, cols], terms)
            np.copyto(values[:, rows, cols], there, where=mine[rows, cols])
        with self.naming(tile.at):
            return terms.finished(values)


def _lattices(tiles: Sequence[_Tile]) -> list[list[_Tile]]:
    """Tiles by their lattice, as far as they touch, with offsets from the first of the lattice."""
    found: list[list[_Tile]] = []
    for tile in tiles:
        header = tile.header
        there = GeoBox((header.height, header.width), header.transform, header.crs)
        for group in found:
            offset = offset_of(group[0].header, there, _WHOLE)
            if offset is not None and tile.terms.like(group[0].terms):
                group.append(replace(tile, offset=offset))
                break
        else:
            found.append([tile])
    return [some for group in found for some in _touching(group)]


def _touching(tiles: Sequence[_Tile]) -> list[list[_Tile]]:
    """Tiles of one lattice in groups that touch: the sides of the world do not, in degrees."""
    found: list[list[_Tile]] = []
    for tile in tiles:
        near = [group for group in found if any(_beside(tile.span, one.span) for one in group)]
        found = [group for group in found if not any(group is one for one in near)]
        found.append(sorted([*chain.from_iterable(near), tile], key=lambda one: one.at))
    return found


def _beside(one: Span, other: Span) -> bool:
    """Whether they overlap or abut."""
    return (
        one.top <= other.bottom and other.top <= one.bottom
        and one.left <= other.right and other.left <= one.right
    )  # fmt: skip


def _step(header: Header, geobox: GeoBox) -> tuple[float, float]:
    return step_of(header.crs, header.transform, (header.height, header.width), geobox)


def _header(raster: Raster) -> Header:
    return raster.header


def _around(spans: Sequence[Span]) -> Span:
    """The smallest that holds all of them."""
    tops, bottoms, lefts, rights = zip(*spans, strict=True)
    return Span(min(tops), max(bottoms), min(lefts), max(rights))


def _places(how: Way, geobox: GeoBox) -> Places:
    """Column and row of the centres of the grid's pixels, of a copy too."""
    if how.kind != "copy":
        return how.places
    row, col = how.offset
    rows, cols = geobox.shape
    across = np.arange(cols, dtype=np.float64) + (col + 0.5)
    down = np.arange(rows, dtype=np.float64) + (row + 0.5)
    return across[None, :], down[:, None]


def _bounds(there: Any) -> slice:
    """From the first that is true to the last."""
    found = np.flatnonzero(there)
    return slice(int(found[0]), int(found[-1]) + 1)


def _cut(how: Way, rows: slice, cols: slice) -> Way:
    """The same for some rows and columns of the window."""
    (row, col), (across, down) = how.offset, how.places
    places = _some(across, rows, cols), _some(down, rows, cols)
    return replace(how, offset=(row + rows.start, col + cols.start), places=places)


def _some(places: NDArray[np.float64], rows: slice, cols: slice) -> NDArray[np.float64]:
    """Of (y, x) places, or of a row or a column of them."""
    places = places[rows] if len(places) > 1 else places
    return places[:, cols] if places.shape[1] > 1 else places
