"""What the loop is shown: batches of an epoch, the same whenever it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geocube_ml.data.augment import augment
from geocube_ml.models.layout import Layout
from geocube_ml.models.scaling import Scaling, as_inputs
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.training import TrainingSpec

_CHUNK = 2048


@dataclass(frozen=True)
class Shown:
    """A batch."""

    inputs: Tensor
    """(n, channel + source, time, ...) float32, as of `Scaling.apply`."""
    target: Tensor
    """(n, ...) int64 codes, 255 without a label; or float32, NaN without a value."""
    weight: Tensor | None
    """(n, ...) float32; None where all count equally."""

    def to(self, device: torch.device) -> Shown:
        """The same on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return Shown(self.inputs.to(device), self.target.to(device), weight)


class Feed(Protocol):
    """Batches to train on."""

    @property
    def n_batch(self) -> int:
        """Batches of an epoch."""

    def batches(self, epoch: int) -> Iterator[Shown]:
        """Of an epoch, counted from 0; their order depends on the seed and the epoch alone."""

    def held(self) -> Iterator[Shown]:
        """What decides when to stop, as it is; nothing where nothing is held out."""


@dataclass(frozen=True)
class RowsFeed:
    """Batches of series in memory.

    Parameters
    ----------
    series : (n, time, channel) float32, or None
        Standardized, NaN where missing; needed to augment.
    target : (n,) tensor
        Codes, or standardized numbers.
    weight : (n,) tensor or None
    rows, held_rows : (k,) int64 tensors
        Which are trained on, and which decide when to stop.
    layout : Layout
    spec : TrainingSpec
    seed : int
        Of this member.
    """

    series: NDArray[np.float32] | None
    target: Tensor
    weight: Tensor | None
    rows: Tensor
    held_rows: Tensor
    layout: Layout
    spec: TrainingSpec
    seed: int
    inputs: Tensor
    """All series as a network sees them, unvaried."""

    @classmethod
    def of(
        cls, series: NDArray[np.float32], scaling: Scaling, target: Tensor, weight: Tensor | None,
        held: NDArray[np.bool_], layout: Layout, spec: TrainingSpec, seed: int,
    ) -> RowsFeed:  # fmt: skip
        """Of (n, time, channel) physical values; `held` (n,) rows decide when to stop."""
        rows, held_rows = (torch.from_numpy(np.flatnonzero(some)) for some in (~held, held))
        standardized = scaling.standardized(series)
        inputs = torch.from_numpy(as_inputs(standardized, layout.sizes))
        kept = standardized if _augments(spec) else None
        return cls(kept, target, weight, rows, held_rows, layout, spec, seed, inputs)

    @property
    def n_batch(self) -> int:
        """Batches of an epoch, of about equal sizes, and at least two rows each."""
        return max(min(-(-self._length // self.spec.batch), self._length // 2), 1)

    @cached_property
    def _length(self) -> int:
        """Rows of an epoch."""
        if self.spec.sampling != "oversample" or self.target.is_floating_point():
            return len(self.rows)
        count = torch.bincount(self.target[self.rows])
        return int(count.max() * (count > 0).sum())

    def batches(self, epoch: int) -> Iterator[Shown]:
        """Shuffled and varied anew each epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        order = self._order(generator)
        for number, rows in enumerate(order.tensor_split(self.n_batch)):
            inputs = jittered(self._varied(rows, epoch, number), self.layout, self.spec, generator)
            weight = None if self.weight is None else self.weight[rows]
            yield Shown(inputs, self.target[rows], weight)

    def held(self) -> Iterator[Shown]:
        """Rows that are held out, in the order of the table."""
        for start in range(0, len(self.held_rows), _CHUNK):
            rows = self.held_rows[start : start + _CHUNK]
            weight = None if self.weight is None else self.weight[rows]
            yield Shown(self.inputs[rows], self.target[rows], weight)

    def _order(self, generator: torch.Generator) -> Tensor:
        """Rows of an epoch, mixed."""

        def mixed(rows: Tensor) -> Tensor:
            return rows[torch.randperm(len(rows), generator=generator)]

        if self.spec.sampling == "all" or self.target.is_floating_point():
            return mixed(self.rows)
        label = self.target[self.rows]
        classes = np.unique(label.numpy()).tolist()
        if self.spec.sampling == "oversample":
            of_class = self._length // len(classes)
        else:
            of_class = -(-len(self.rows) // len(classes))
        drawn = []
        for code in classes:
            members = self.rows[label == code]
            rounds = -(-of_class // len(members))  # each comes as often as any other, or once more
            drawn.append(torch.cat([mixed(members) for _ in range(rounds)])[:of_class])
        return mixed(torch.cat(drawn))[: self._length]

    def _varied(self, rows: Tensor, epoch: int, number: int) -> Tensor:
        """Inputs of some rows, varied as `augment` says."""
        if self.series is None:
            return self.inputs[rows]
        rng = np.random.default_rng([self.seed, self.spec.augment.seed, epoch, number])
        static = self.layout.names[len(self.layout.series) :]
        series = augment(
            self.series[rows.numpy()], self.spec.augment, rng, self.layout.slices, static
        )
        return torch.from_numpy(as_inputs(series, self.layout.sizes))


def _augments(spec: TrainingSpec) -> bool:
    return spec.augment != AugmentSpec(seed=spec.augment.seed)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for each epoch, so that one that is resumed is the same."""
    return int(np.random.SeedSequence([seed & 0xFFFFFFFF, epoch]).generate_state(1)[0])


def jittered(
    inputs: Tensor, layout: Layout, spec: TrainingSpec, generator: torch.Generator
) -> Tensor:
    """(n, channel + source, step, ...) series made brighter or darker, and robbed of a source.

    Fields of a class differ as a whole and by channel; single steps differ half as much, and static
    channels stay the same at every step.  All pixels of a patch are varied alike.  What is missing
    stays 0, in single bands too, and the flags of what is observed stay as they are, but for a
    source that is taken.
    """
    if spec.jitter == 0 and spec.drop_source == 0:
        return inputs
    n, steps, n_band = len(inputs), inputs.shape[2], layout.n_channel
    area = (1,) * (inputs.ndim - 3)
    bands, observed = inputs[:, :n_band], inputs[:, n_band:]
    source_of = torch.repeat_interleave(torch.arange(len(layout.sizes)), torch.tensor(layout.sizes))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, *area, generator=generator)

    if spec.jitter > 0:
        gain = 1 + spec.jitter / 2 * normal(n, 1, 1)
        offset = spec.jitter * normal(n, n_band, 1)
        noise = spec.jitter / 2 * normal(n, n_band, steps)
        noise[:, layout.n_series :] = 0
        # what is 0 is missing, or the very mean, which may stay
        bands = (bands * gain + offset + noise) * (bands != 0)
    if spec.drop_source > 0 and len(layout.sizes) > 1:
        kept = _kept_sources(observed, spec.drop_source, generator)
        shape = (n, -1, *(1,) * (inputs.ndim - 2))
        bands = bands * kept[:, source_of].reshape(shape)
        observed = observed * kept.reshape(shape)
    return torch.cat([bands, observed], dim=1)


def _kept_sources(observed: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """(n, source) 0 for the source that a sample loses; never its last."""
    there = observed.flatten(2).amax(dim=2)
    chance = torch.rand(there.shape, generator=generator) * there
    loses = (torch.rand(len(there), generator=generator) < share) & (there.sum(dim=1) > 1)
    lost = torch.nn.functional.one_hot(chance.argmax(dim=1), there.shape[1])
    return 1 - lost * loses[:, None]
