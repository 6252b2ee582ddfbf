"""Batches of shuffled samples, read ahead in a bounded buffer.

Samples come from the units of a feed, which are what one read brings: a storage chunk's pixels, a
chunk's rows of a table.  The units are put into an order drawn for the epoch, and cut into buffers
of so many samples; the samples of a buffer are shuffled among each other, and batches are cut from
one buffer after the other.  So each sample comes once an epoch, and its place depends on the seed
and the epoch alone: buffers are numbered, and whoever fills one fills it alike, a thread of this
process or a worker of the `DataLoader`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from multiprocessing import get_context
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from geocube_ml.data.batch import Batch, Channels, Rows
from geocube_ml.errors import InputError
from geocube_ml.spec.augment import AugmentSpec

BUFFER = 256 * 2**20
"""Bytes of counts that are shuffled at a time."""

_AHEAD = 1  # buffers beside the one that batches are cut from, while threads read
_FIRST = 4  # the first buffer is so many times smaller: nobody waits long for the first batch
_ORDER, _PLACES, _AUGMENT = range(3)
"""What random numbers are drawn for."""


class Feed(Protocol):
    """Where samples come from."""

    @property
    def channels(self) -> Channels:
        """What is read."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """Samples of each unit."""

    @property
    def at_once(self) -> int:
        """Units that are read together."""

    def empty(self, n: int) -> Rows:
        """Room for `n` samples."""

    def read(self, units: NDArray[np.int64], dest: NDArray[np.int64], rows: Rows) -> None:
        """Put the samples of some units at their places; several threads call it at once."""


@dataclass(frozen=True)
class Buffers(Dataset[dict[str, Tensor]]):
    """The shuffled samples of a feed, a buffer at a time: what workers are sent."""

    feed: Feed
    seed: int
    size: int
    """Samples of a buffer; one that holds a larger unit has more."""
    shuffle: bool

    def parts(self, epoch: int) -> list[NDArray[np.int64]]:
        """Units of each buffer."""
        counts = self.feed.counts
        order = np.arange(len(counts))
        if self.shuffle:
            order = self._random(_ORDER, epoch).permutation(len(counts))
        ends = np.cumsum(counts[order])
        cuts, done = [0], 0
        while cuts[-1] < len(order):
            size = self.size if done else max(self.size // _FIRST, 1)
            stop = int(np.searchsorted(ends, done + size, "right"))
            cuts.append(max(stop, cuts[-1] + 1))
            done = int(ends[cuts[-1] - 1])
        return [order[start:stop] for start, stop in pairwise(cuts)]

    def jobs(
        self, epoch: int, number: int, units: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """What is read together for a buffer: units, and the places of their samples."""
        ends = np.cumsum(self.feed.counts[units])
        n = int(ends[-1])
        places = np.arange(n)
        if self.shuffle:
            places = self._random(_PLACES, epoch, number).permutation(n)
        found = []
        for start in range(0, len(units), self.feed.at_once):
            stop = min(start + self.feed.at_once, len(units))
            first = int(ends[start - 1]) if start else 0
            found.append((units[start:stop], places[first : int(ends[stop - 1])]))
        return found

    def __getitem__(self, at: tuple[int, int]) -> dict[str, Tensor]:
        """A buffer of an epoch, filled by this thread: what a worker does."""
        epoch, number = at
        units = self.parts(epoch)[number]
        rows = self.feed.empty(int(self.feed.counts[units].sum()))
        for some, places in self.jobs(epoch, number, units):
            self.feed.read(some, places, rows)
        return {name: torch.from_numpy(values) for name, values in rows.items()}

    def _random(self, *what: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *what))


class Loader(DataLoader[Any]):
    """A `DataLoader` of `Batch`es, each labelled sample once an epoch.

    Made by `sample_loader`, `cube_loader` and `patch_loader`.  Each pass is an epoch of its own, in
    an order of its own, also where the one before was broken off; `set_epoch` says which comes
    next.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        buffer_bytes: int,
        workers: int,
        threads: int | None,
        augment: AugmentSpec | None,
    ) -> None:
        numbers = {
            "batch_size": (batch_size, 1), "buffer_bytes": (buffer_bytes, 1), "seed": (seed, 0),
            "workers": (workers, 0), "threads": (1 if threads is None else threads, 1),
        }  # fmt: skip
        for what, (got, least) in numbers.items():
            if got < least:
                raise InputError(f"`{what}` must be at least {least}, got {got}.")
        self.feed, self.seed, self.augment = feed, seed, augment
        self.batch, self.incomplete = batch_size, not drop_last
        self.threads = threads or min(len(os.sched_getaffinity(0)) + 1, 8)
        self.n_sample = int(feed.counts.sum())
        one = sum(values.nbytes for values in feed.empty(1).values())
        self.buffer_samples = max(buffer_bytes // one, 1)
        self.buffers = Buffers(feed, seed, self.buffer_samples, shuffle)
        self.numbers = _Numbers(self.buffers)
        self._room: list[Rows] = []  # new memory would be cleared for each epoch
        more: dict[str, Any] = {}
        if workers:
            # forked, a worker would wait for locks that threads of this process held
            context = get_context("forkserver")
            context.set_forkserver_preload(["geocube_ml.data.loader"])
            more = {
                "multiprocessing_context": context, "persistent_workers": True,
                "prefetch_factor": 1,
            }  # fmt: skip
        super().__init__(
            self.buffers, batch_size=None, sampler=self.numbers, num_workers=workers, **more
        )

    @property
    def channels(self) -> Channels:
        """Names, places and scaling of the channels."""
        return self.feed.channels

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is, whatever was passed before; then come those after it.

        A pass that has begun keeps its own.
        """
        self.numbers.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches of an epoch."""
        whole = self.n_sample // self.batch
        return ceil(self.n_sample / self.batch) if self.incomplete else whole

    def __iter__(self) -> Any:
        """The batches of the epoch; it counts as passed from here on."""
        epoch = self.numbers.epoch
        if self.num_workers:  # they are told the epoch's buffers here
            buffers = self._received(super().__iter__())
        else:
            buffers = self._read_ahead(epoch)
        self.numbers.epoch = epoch + 1
        return self._batches(buffers, epoch)

    def _batches(self, buffers: Iterator[tuple[Rows, int]], epoch: int) -> Iterator[Batch]:
        for number, (rows, start, stop) in enumerate(self._cut(buffers)):
            yield self._batch({name: v[start:stop] for name, v in rows.items()}, epoch, number)

    def _received(self, filled: Iterator[dict[str, Tensor]]) -> Iterator[tuple[Rows, int]]:
        """Buffers that workers fill, in their order."""
        for tensors in filled:
            rows = {name: tensor.numpy() for name, tensor in tensors.items()}
            yield rows, len(rows["label"])

    def _read_ahead(self, epoch: int) -> Iterator[tuple[Rows, int]]:
        """Buffers that threads of this process fill, in their order."""
        parts = self.buffers.parts(epoch)
        sizes = [int(self.feed.counts[units].sum()) for units in parts]
        room, self._room = self._room, []  # a second pass at the same time makes its own
        n = min(self.n_sample, max(self.buffer_samples, int(self.feed.counts.max())))
        while len(room) < min(_AHEAD + 1, len(parts)):
            room.append(self.feed.empty(n))
        ahead: deque[tuple[int, deque[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="read-ahead")
        try:
            for number, units in enumerate(parts):
                rows = room[number % len(room)]
                jobs = self.buffers.jobs(epoch, number, units)
                ahead.append(
                    (number, deque(pool.submit(self.feed.read, *job, rows) for job in jobs))
                )
                if len(ahead) == len(room):
                    yield self._filled(room, sizes, *ahead.popleft())
            while ahead:
                yield self._filled(room, sizes, *ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
            self._room = room

    def _filled(
        self, room: list[Rows], sizes: list[int], number: int, reads: deque[Future[None]]
    ) -> tuple[Rows, int]:
        while reads:
            reads.popleft().result()
        return room[number % len(room)], sizes[number]

    def _cut(self, buffers: Iterator[tuple[Rows, int]]) -> Iterator[tuple[Rows, int, int]]:
        """Rows of each batch; one that begins in one buffer may end in another."""
        begun: list[Rows] = []
        have = 0
        for rows, n in buffers:
            start = 0
            if begun:
                start = min(self.batch - have, n)
                begun.append({name: values[:start].copy() for name, values in rows.items()})
                have += start
                if have == self.batch:
                    yield _joined(begun), 0, have
                    begun, have = [], 0
            while n - start >= self.batch:
                yield rows, start, start + self.batch
                start += self.batch
            if start < n:  # the buffer is filled again before they are used
                begun.append({name: values[start:n].copy() for name, values in rows.items()})
                have += n - start
        if begun and self.incomplete:
            yield _joined(begun), 0, have

    def _batch(self, rows: Rows, epoch: int, number: int) -> Batch:
        channels = self.channels
        if self.augment is None:
            series, observed = channels.floats(rows, channels.fill)
        else:
            rng = np.random.default_rng((self.augment.seed, self.seed, _AUGMENT, epoch, number))
            series, _ = channels.floats(rows, np.nan)
            series, observed = channels.varied(series, self.augment, rng)
        weight = rows["weight"] * observed[:, :, channels.deciding].any(axis=(1, 2))
        return Batch(
            torch.from_numpy(series), torch.from_numpy(observed),
            torch.from_numpy(rows["label"].astype(np.int64)), torch.from_numpy(weight),
            *(torch.from_numpy(rows[name].copy()) for name in ("polygon", "row", "column")),
        )  # fmt: skip


class _Numbers(Sampler[tuple[int, int]]):
    """Which buffers there are: the epoch goes along, as workers stay from one to the next."""

    def __init__(self, buffers: Buffers) -> None:
        self.buffers, self.epoch = buffers, 0

    def set_epoch(self, epoch: int) -> None:
        """As of the samplers of PyTorch that know epochs."""
        if epoch < 0:
            raise InputError(f"An epoch is numbered from 0, got {epoch}.")
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch  # as it is when the pass begins, not when a buffer is asked for
        return iter([(epoch, number) for number in range(len(self.buffers.parts(epoch)))])


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
