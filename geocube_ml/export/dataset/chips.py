"""Chips of a cube: which there are, their masks without a leak, and their images.

Chips are cut from the corner of the cube on, side by side.  They are worked on by windows, each a
whole number of chips and about a storage chunk, so that a chunk is read once where one of the two
is a multiple of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geocube_ml.data.folds import GAP, NONE, SPLITS, TEST
from geocube_ml.data.sources import is_static
from geocube_ml.errors import InputError
from geocube_ml.export.dataset.splits import NAMES, Splits, without_gap
from geocube_ml.spec.dataset import DatasetSpec
from geocube_ml.spec.labels import UNKNOWN

LOST = ("other split", "gap", "no split", "too few")
"""Why a labelled pixel of the cube is in no mask."""

_CHUNK = 256  # of a cube that does not say how it is stored


@dataclass(frozen=True)
class Chip:
    """A square of the cube's grid that has labels of one split."""

    row: int
    """Counted in chips."""
    col: int
    split: str
    labelled: int
    """Pixels of its mask that have a class."""
    by_class: tuple[int, ...]
    """The same, a class each; a pixel of several label layers counts in each."""
    other_split: int
    """Labelled pixels that its mask leaves out: polygons of another split."""
    gap: int
    """The same: too near to test or validation."""

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.row:04d}_{self.col:04d}"


@dataclass(frozen=True)
class Window:
    """Some chips that are read together, as half-open ranges of chips."""

    rows: range
    cols: range


@dataclass(frozen=True)
class Chips:
    """How a cube is cut into chips.

    Parameters
    ----------
    cube : xarray.Dataset
    splits : Splits
    spec : DatasetSpec
    chunk : int
        Edge of a storage chunk in pixels.

    Raises
    ------
    InputError
        A chip is larger than the cube.
    """

    cube: xr.Dataset
    splits: Splits
    spec: DatasetSpec
    chunk: int = _CHUNK

    def __post_init__(self) -> None:
        check_chip(self.spec, self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the cube."""
        return self.cube.sizes["y"], self.cube.sizes["x"]

    @property
    def geobox(self) -> GeoBox:
        """Of the cube."""
        geobox: GeoBox | None = self.cube["label"].odc.geobox
        if geobox is None or geobox.crs is None:
            raise InputError(
                "The cube has no CRS, so that its chips have no place. Open it with `open_cube`, "
                "and keep the coordinate `spatial_ref`."
            )
        return geobox

    @property
    def crs(self) -> str:
        """``EPSG:32633``, or WKT where it has no number."""
        crs = CRS.from_user_input(self.geobox.crs)
        epsg = crs.to_epsg(min_confidence=100)  # the same, not one like it
        return f"EPSG:{epsg}" if epsg else str(crs.to_wkt("WKT2_2019"))

    @property
    def pixel_m(self) -> float:
        """Edge of a pixel in metres."""
        return abs(float(self.geobox.resolution.x))

    @property
    def codes(self) -> int:
        """Number of classes."""
        return len(self.cube["label"].attrs["class_names"])

    @property
    def n_layer(self) -> int:
        """Label layers."""
        return int(self.cube.sizes.get("label_layer", 1))

    def windows(self) -> Iterator[Window]:
        """All chips of the cube, in windows of about a chunk."""
        edge, (height, width) = self.spec.chip, self.shape
        down, across = ceil(height / edge), ceil(width / edge)
        step = max(1, round(self.chunk / edge))
        for top in range(0, down, step):
            for left in range(0, across, step):
                yield Window(
                    range(top, min(top + step, down)), range(left, min(left + step, across))
                )

    def place(self, chip: Chip) -> GeoBox:
        """Grid of a chip, beyond the edge of the cube too."""
        geobox, edge = self.geobox, self.spec.chip
        a, b, c, d, e, f = tuple(geobox.transform)[:6]
        x, y = chip.col * edge, chip.row * edge
        moved = Affine(a, b, c + a * x + b * y, d, e, f + d * x + e * y)
        return GeoBox((edge, edge), moved, geobox.crs)

    def masks(self, window: Window) -> tuple[list[tuple[Chip, NDArray[np.uint8]]], dict[str, int]]:
        """Chips of a window and their masks; and what of its labels is in none.

        Returns
        -------
        list of (Chip, (layer, y, x) uint8)
            Only chips with as many labelled pixels as asked for.  A chip belongs to the split that
            most of its labelled pixels have, of equal ones the one that is tested; pixels of
            another split are unknown in its mask.
        dict
            Labelled pixels of the cube, ``labelled``, and those in no mask, by reason (`LOST`).
        """
        label, split = self._labels(window)
        known = label != UNKNOWN
        lost = dict.fromkeys(LOST, 0) | {"labelled": int(known.sum())}
        lost["gap"] = int((known & (split == GAP)).sum())
        lost["no split"] = int((known & (split == NONE)).sum())
        edge, found = self.spec.chip, []
        for at, row in enumerate(window.rows):
            for along, col in enumerate(window.cols):
                here = np.s_[:, at * edge : (at + 1) * edge, along * edge : (along + 1) * edge]
                mine, there = split[here], known[here]
                count = np.bincount(mine[there], minlength=len(NAMES))[: TEST + 1]
                if not count.any():
                    continue
                code = TEST - int(np.argmax(count[::-1]))  # the last of equal ones
                mask = np.where(there & (mine == code), label[here], UNKNOWN)
                other = int(count.sum() - count[code])
                lost["other split"] += other
                kept = mask != UNKNOWN
                labelled = int(kept.any(axis=0).sum())
                if labelled < self.spec.min_labelled * edge**2:
                    lost["too few"] += int(kept.sum())
                    continue
                by_class = np.bincount(mask[kept], minlength=self.codes)
                found.append((
                    Chip(row, col, SPLITS[code], labelled, tuple(int(n) for n in by_class), other,
                         int((there & (mine == GAP)).sum())),
                    mask,
                ))  # fmt: skip
        return found, lost

    def images(self, source: str, window: Window, chips: Sequence[Chip]) -> Iterator[NDArray[Any]]:
        """Counts of some chips of a window, (time, band, y, x) or (band, y, x), nodata beyond."""
        values = self._filled(self.cube[source], window, self.cube[source].attrs["nodata"])
        edge = self.spec.chip
        for chip in chips:
            top, left = (chip.row - window.rows[0]) * edge, (chip.col - window.cols[0]) * edge
            yield values[..., top : top + edge, left : left + edge]

    def _labels(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Classes and splits of a window, (layer, y, x), the gap taken out."""
        edge, pixel_m = self.spec.chip, self.pixel_m
        # what trains is kept from validation, which is kept from test: as far as two gaps
        rim = ceil(2 * self.splits.gap_m / pixel_m) if self.splits.gap_m > pixel_m else 0
        rows, cols = (
            slice(max(0, chips[0] * edge - rim), min(size, (chips[-1] + 1) * edge + rim))
            for chips, size in zip((window.rows, window.cols), self.shape, strict=True)
        )
        part = self.cube[["label", "polygon"]].isel(y=rows, x=cols)
        shape = (-1, part.sizes["y"], part.sizes["x"])
        label = part["label"].values.reshape(shape)
        polygon = part["polygon"].values.reshape(shape)
        split = self.splits.of_pixels(polygon, part["x"].values, part["y"].values)
        split[label == UNKNOWN] = NONE
        split = without_gap(split, self.splits.gap_m, pixel_m)
        top, left = window.rows[0] * edge - rows.start, window.cols[0] * edge - cols.start
        inner = np.s_[:, top : top + len(window.rows) * edge, left : left + len(window.cols) * edge]
        return (
            self._padded(label[inner], window, UNKNOWN),
            self._padded(split[inner], window, NONE),
        )

    def _filled(self, variable: xr.DataArray, window: Window, fill: float) -> NDArray[Any]:
        edge = self.spec.chip
        rows, cols = (
            slice(chips[0] * edge, (chips[-1] + 1) * edge) for chips in (window.rows, window.cols)
        )
        return self._padded(variable.isel(y=rows, x=cols).values, window, fill)

    def _padded(self, values: NDArray[Any], window: Window, fill: float) -> NDArray[Any]:
        edge = self.spec.chip
        want = len(window.rows) * edge, len(window.cols) * edge
        more = [(0, n - have) for n, have in zip(want, values.shape[-2:], strict=True)]
        if not any(after for _, after in more):
            return values
        return np.pad(values, [(0, 0)] * (values.ndim - 2) + more, constant_values=fill)


def check_chip(spec: DatasetSpec, shape: tuple[int, int]) -> None:
    """Refuse chips that are larger than the cube on both sides.

    Raises
    ------
    InputError
    """
    if spec.chips != "none" and spec.chip > max(shape):
        raise InputError(
            f"`dataset.chip: {spec.chip}` is larger than the cube of {shape[0]} x {shape[1]} "
            f"pixels. Lower it to {max(shape)} or less, or take `dataset.chips: none` for a data "
            "set of series alone."
        )


def band_names(cube: xr.Dataset, source: str) -> list[str]:
    """Names of the bands of an image: ``2022-03 s2 red``, ``dem slope``; time first.

    Steps that each start with a month are named by it, others by the day they start.
    """
    bands = [f"{source} {band}" for band in cube[f"{source}_band"].values]
    if is_static(cube[source]):
        return bands
    return [f"{step} {band}" for step in step_names(cube) for band in bands]


def step_names(cube: xr.Dataset) -> list[str]:
    """Names of the time steps: ``2022-03`` where each starts with a month, else its first day."""
    days = cube["time"].values.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    return [str(step) for step in (months if (months == days).all() else days)]
