"""The labels of one tile become its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geocube_ml.kernels.edges import Edges
from geocube_ml.kernels.scanline import CENTRE, FREE, OVERLAPPING, fill, near
from geocube_ml.labels.labels import ClassRaster
from geocube_ml.labels.regions import Region, read_region
from geocube_ml.labels.validity import Days, days_of, meets
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.storage import StorageSpec

NO_POLYGON = 0
"""Id of a pixel in no polygon."""

_ROUNDING = 1e-6  # of a metre

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelPatch:
    """The labels of one tile, small enough to be sent to a worker."""

    geobox: GeoBox
    corner: tuple[int, int]
    """Row and column of its first pixel in the grid."""
    edges: Edges
    """Of the labels, by source and number."""
    ids: NDArray[np.int32]
    codes: NDArray[np.uint8]
    sources: NDArray[np.int64]
    layers: NDArray[np.int64]
    valid: Days
    """(n, 2) first and last moment."""
    disputed: Edges
    disputed_sources: NDArray[np.int64]
    disputed_layers: NDArray[np.int64]
    taken: Edges
    taken_sources: NDArray[np.int64]
    taken_valid: Days
    hull: Edges | None
    """None without a background."""
    rasters: tuple[ClassRaster, ...]
    raster_layers: tuple[int, ...]
    n_layer: int
    background: int | None
    inset: float
    """The inward buffer in the unit of the grid's CRS."""
    whole: bool
    storage: StorageSpec

    def burn(self) -> dict[str, NDArray[Any]]:
        """``label`` uint8, 255 where unknown, and ``polygon`` int32, 0 for none.

        (y, x), or (label_layer, y, x) where there are several layers.

        Raises
        ------
        MissingError, AccessError, ReadError, InputError
            A raster cannot be read; the message names it.
        """
        regions = self._regions()
        label = np.empty((self.n_layer, *self._shape), np.uint8)
        polygon = np.empty(label.shape, np.int32)
        codes = np.concatenate([self.codes, [UNKNOWN]]).astype(np.uint8)
        ids = np.concatenate([self.ids, [NO_POLYGON]]).astype(np.int32)
        for layer in range(self.n_layer):
            at = self._claimed(layer, regions)
            np.take(codes, at, out=label[layer], mode="clip")  # `FREE` is the last one
            np.take(ids, at, out=polygon[layer], mode="clip")
        for raster, layer, region in zip(self.rasters, self.raster_layers, regions, strict=True):
            blocked = self._said_before(raster.source, days_of(raster), regions)
            free = region.kept & (label[layer] == UNKNOWN)
            free &= True if blocked is None else ~blocked
            label[layer][free], polygon[layer][free] = region.codes[free], raster.polygon
        if self.background is not None:
            label[0][self._clear(regions) & (label[0] == UNKNOWN)] = self.background
        if self.n_layer == 1:
            label, polygon = label[0], polygon[0]
        return {"label": label, "polygon": polygon}

    def counts(self) -> NDArray[np.int64]:
        """Pixels of each of its labels."""
        regions = self._regions()
        found = np.zeros(self.ids.size + 1, np.int64)
        for layer in range(self.n_layer):
            at = np.minimum(self._claimed(layer, regions), self.ids.size)
            found += np.bincount(at.ravel(), minlength=found.size)
        return found[:-1]

    def _regions(self) -> list[Region]:
        """What each raster says here."""
        return [
            read_region(raster, self.geobox, self.inset, self.storage, whole=self.whole)
            for raster in self.rasters
        ]

    @property
    def _shape(self) -> tuple[int, int]:
        return self.geobox.shape.y, self.geobox.shape.x

    def _claimed(self, layer: int, regions: Sequence[Region]) -> NDArray[np.int32]:
        """(y, x) position of the polygon that has each pixel, `FREE` for none."""
        out = np.full(self._shape, FREE, np.int32)
        in_layer = self.layers == layer
        for source in np.unique(self.sources[in_layer]).tolist():
            mine = in_layer & (self.sources == source)
            first = not any(raster.source < source for raster in self.rasters)
            first &= not (self.taken_sources < source).any()
            disputed = self._disputed(layer, source)
            # labels of one validity yield to the same
            kinds = self.valid[mine][:1] if first else np.unique(self.valid[mine], axis=0)
            for kind in kinds:
                chosen = mine if first else mine & (self.valid == kind).all(axis=1)
                before = None if first else self._said_before(source, kind, regions)
                blocked = disputed if before is None else before
                if disputed is not None and before is not None:
                    blocked = disputed | before
                values = np.flatnonzero(chosen).astype(np.int32)
                edges = self.edges.only(chosen)
                fill(edges, values, out, self.corner, whole=self.whole, blocked=blocked)
        return out

    def _disputed(self, layer: int, source: int) -> Mask | None:
        chosen = (self.disputed_layers == layer) & (self.disputed_sources == source)
        return self._covered(self.disputed.only(chosen)) if chosen.any() else None

    def _said_before(self, source: int, valid: Days, regions: Sequence[Region]) -> Mask | None:
        """Where an earlier source says something of the same time; None: nowhere."""
        chosen = (self.taken_sources < source) & meets(self.taken_valid, valid)
        found = self._covered(self.taken.only(chosen)) if chosen.any() else None
        for raster, region in zip(self.rasters, regions, strict=False):
            if raster.source < source and meets(days_of(raster)[None], valid)[0]:
                said = region.codes != UNKNOWN
                found = said if found is None else found | said
        return found

    def _clear(self, regions: Iterable[Region]) -> Mask:
        """Where background is: in the hull, away from all labels."""
        assert self.hull is not None  # noqa: S101  there is one where there is a background
        hull = np.full(self._shape, FREE, np.int32)
        fill(self.hull, np.zeros(1, np.int32), hull, self.corner, whole=self.whole)
        beside = self._covered(self.taken)
        size = abs(self.geobox.transform.e), abs(self.geobox.transform.a)
        if self.inset > 0:
            half = OVERLAPPING if self.whole else CENTRE
            near(self.taken, self.inset - _ROUNDING, beside, self.corner, half=half, size=size)
        clear: Mask = (hull != FREE) & ~beside
        for region in regions:
            clear &= region.clear
        return clear

    def _covered(self, edges: Edges) -> Mask:
        """Pixels with their centre in one of some shapes, or any part where whole ones count."""
        out = np.full(self._shape, FREE, np.int32)
        fill(edges, np.zeros(edges.n_shape, np.int32), out, self.corner)
        covered: Mask = out != FREE
        if self.whole:
            near(edges, 0.0, covered, self.corner, half=OVERLAPPING)
        return covered
