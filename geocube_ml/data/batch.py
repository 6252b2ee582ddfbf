"""What a network is given at a time, and how counts become it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from geocube_ml.data.augment import augment
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError, listed
from geocube_ml.kernels.standardize import standardize
from geocube_ml.spec.augment import AugmentSpec

Rows = dict[str, NDArray[Any]]
"""Samples that wait: counts of each source, under its key, and the other fields of a `Batch`."""


@dataclass(frozen=True)
class Batch:
    """Samples as tensors: `n` pixels, or `n` patches of `h` x `w` pixels."""

    series: Tensor
    """(n, time, channel) or (n, time, channel, h, w) float32: standardized values, the fill where
    missing."""

    observed: Tensor
    """(n, time, source) or (n, time, source, h, w) bool: whether a source has data at a step."""

    label: Tensor
    """(n,) or (n, h, w) int64: code of the class; 255 where a pixel of a patch has no label."""

    weight: Tensor
    """(n,) or (n, h, w) float32: how much a sample counts; 0 where no series was ever observed
    (without series: no static source), and where there is no label."""

    polygon: Tensor
    """(n,) or (n, h, w) int32: number of the label."""

    row: Tensor
    """(n,) int32: row of the cube, of a patch that of its core's first pixel; number of the
    sample in a table."""

    column: Tensor
    """(n,) int32: column of the cube; 0 in a table."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.label)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The same on a device."""
        return self._each(lambda one: one.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same in memory from which a GPU copies by itself."""
        return self._each(lambda one: one.pin_memory())

    def _each(self, move: Any) -> Self:
        return replace(self, **{part.name: move(getattr(self, part.name)) for part in fields(self)})


@dataclass(frozen=True)
class Channel:
    """One source among the channels."""

    name: str
    bands: tuple[str, ...]
    at: slice
    """Its channels."""
    nodata: float
    scale: float
    add_offset: float
    static: bool
    dtype: np.dtype[Any]

    @property
    def key(self) -> str:
        """Under which its counts stand among `Rows`."""
        return f"counts of {self.name}"


@dataclass(frozen=True)
class Channels:
    """How the counts of all sources become one array: series first, then static sources.

    The order is that of a model's `Fit`, so what is learnt from the stream predicts on the cube.
    """

    sources: tuple[Channel, ...]
    n_step: int
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    fill: float

    @classmethod
    def of(
        cls, data: xr.Dataset, mean: ArrayLike | None, std: ArrayLike | None, fill: float
    ) -> Self:
        """Of a cube or a sample table.

        Raises
        ------
        InputError
            There is no source, or `mean` and `std` do not fit.
        """
        found, first = [], 0
        for said in described(data)["sources"]:
            stop = first + len(said["bands"])
            dtype = data[said["name"]].dtype.newbyteorder("=")
            found.append(Channel(**said, at=slice(first, stop), dtype=dtype))
            first = stop
        if not found:
            raise InputError(
                "There is no source to stream: no variable NAME with a dimension NAME_band. There "
                f"is {listed([str(name) for name in data]) or 'no variable'}."
            )
        steps = data.sizes["time"] if any(not one.static for one in found) else 1
        values = []
        for what, given, neutral in (("mean", mean, 0), ("std", std, 1)):
            value = np.full(first, neutral, np.float32) if given is None else given
            value = np.asarray(value, np.float32)
            if value.shape != (first,) or not np.isfinite(value).all():
                raise InputError(
                    f"`{what}` must have a finite number for each of the {first} channels "
                    f"({', '.join(f'{one.name}: {len(one.bands)}' for one in found)}), got shape "
                    f"{value.shape}, {int(np.isfinite(value).sum())} of them finite."
                )
            values.append(value)
        if not (values[1] > 0).all():
            raise InputError(
                f"`std` must be above 0, got {values[1].min():g}. Take 1 for a band that never "
                "changes."
            )
        return cls(tuple(found), steps, values[0], values[1], fill)

    @property
    def n_channel(self) -> int:
        """Channels of all sources."""
        return len(self.mean)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each channel, SOURCE_BAND."""
        return tuple(f"{one.name}_{band}" for one in self.sources for band in one.bands)

    @property
    def deciding(self) -> list[int]:
        """Numbers of the sources by which a pixel counts as observed, as in a sample table."""
        series = [number for number, one in enumerate(self.sources) if not one.static]
        return series or list(range(len(self.sources)))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel's counts."""
        sizes = (int(np.prod(self.shape(one))) * one.dtype.itemsize for one in self.sources)
        return sum(sizes)

    def shape(self, source: Channel) -> tuple[int, ...]:
        """Axes of the counts of a pixel: (time, band), or (band,) of a static source."""
        return (len(source.bands),) if source.static else (self.n_step, len(source.bands))

    def empty(self, n: int, area: tuple[int, ...] = ()) -> Rows:
        """Room for `n` samples, of single pixels or of patches."""
        rows: Rows = {
            one.key: np.empty((n, *self.shape(one), *area), one.dtype) for one in self.sources
        }
        rows["label"] = np.empty((n, *area), np.uint8)
        rows["weight"] = np.empty((n, *area), np.float32)
        rows["polygon"] = np.empty((n, *area), np.int32)
        rows["row"], rows["column"] = np.empty(n, np.int32), np.empty(n, np.int32)
        return rows

    def floats(self, rows: Rows, fill: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Standardized values and what was observed.

        Parameters
        ----------
        rows : Rows
            Counts are (n, time, band, ...) or, of a static source, (n, band, ...).
        fill : float
            What is put where there is no data.

        Returns
        -------
        series : (n, time, channel, ...) float32
        observed : (n, time, source, ...) bool
        """
        first = self.sources[0]
        some = rows[first.key]
        n, rest = len(some), some.shape[1 + len(self.shape(first)) :]
        area = int(np.prod(rest))
        series = np.empty((n, self.n_step, self.n_channel, area), np.float32)
        observed = np.empty((n, self.n_step, len(self.sources), area), bool)
        for number, source in enumerate(self.sources):
            steps = 1 if source.static else self.n_step
            standardize(
                rows[source.key].reshape(n, steps, -1, area), source.nodata, source.scale,
                source.add_offset, self.mean[source.at], self.std[source.at], fill,
                series[:, :, source.at], observed[:, :, number],
            )  # fmt: skip
        shape = (n, self.n_step)
        return series.reshape(*shape, -1, *rest), observed.reshape(*shape, -1, *rest)

    def varied(
        self, series: NDArray[np.float32], spec: AugmentSpec, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Series with NaN where missing, augmented, and what is observed of them."""
        out = augment(
            series, spec, rng, {one.name: one.at for one in self.sources},
            [one.name for one in self.sources if one.static],
        )  # fmt: skip
        missing = np.isnan(out)
        seen = [~missing[:, :, one.at].all(axis=2) for one in self.sources]
        out[missing] = self.fill
        return out, np.stack(seen, axis=2)
