"""Fitting a torch network to series, and asking it for probabilities."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geocube_ml.errors import InputError
from geocube_ml.models.layout import Layout
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tempcnn import TempCNN
from geocube_ml.spec.models import TempCNNSpec

_CHUNK = 2048  # series a forward pass; larger ones leave the cache

Note = Callable[[int, int], None]
"""Called with the number of epochs done and the most there can be."""


@dataclass
class NetworkClassifier:
    """A network and its scaling.

    Parameters
    ----------
    spec : TempCNNSpec
    layout : Layout
        Whose channels are where.
    scaling : Scaling
    network : nn.Module
    history : list of (training loss, validation loss) an epoch
    """

    spec: TempCNNSpec
    layout: Layout
    scaling: Scaling
    network: nn.Module
    history: list[tuple[float, float | None]] = field(default_factory=list)

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        self.network.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(series), _CHUNK):
                some = series[start : start + _CHUNK]
                logits = self.network(_tensor(self.scaling, self.layout, some))
                parts.append(torch.softmax(logits, dim=1).numpy())
        return np.concatenate(parts)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within the block: where many series are predicted side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_fitting = threading.Lock()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Torch draws weights and dropout from one generator a process: fits side by side would mix."""
    with _fitting:
        yield


@_one_at_a_time()
@one_thread()
def fit_network(
    spec: TempCNNSpec,
    series: NDArray[np.float32],
    label: NDArray[np.integer],
    n_class: int,
    *,
    validation: NDArray[np.bool_],
    layout: Layout | None = None,
    weight: NDArray[np.float32] | None = None,
    note: Note | None = None,
) -> NetworkClassifier:
    """Fit a TempCNN.

    Parameters
    ----------
    spec : TempCNNSpec
    series : (n, time, channel) float32
        Physical values, NaN where missing.
    label : (n,) integer
        Codes 0 to `n_class` - 1.
    n_class : int
    validation : (n,) bool
        Rows that are not trained on: their loss decides when to stop, and the weights with the
        lowest are kept.  Without any, training runs its full length.
    layout : Layout, optional
        Whose channels are where, of one series by default.
    weight : (n,) float32, optional
        Above 0: how much each row counts in the loss, a weighted mean over the rows of a batch, as
        torch weights cross entropy by class.
    note : callable, optional
        Told after each epoch.

    Returns
    -------
    NetworkClassifier

    Raises
    ------
    InputError
        Fewer than two rows to train on, or the loss is not a number.

    Notes
    -----
    AdamW with a one-cycle schedule (Smith and Topin 2019), cross entropy, series jittered as fields
    of a class differ.  Seeded; the same rows in the same order on the same machine give the same
    weights.  One thread: a step on a hundred series is too small to share, and threads that wait
    for each other on a busy machine made it ten times slower.
    """
    n_train = int((~validation).sum())
    if n_train < 2:  # a batch is normalized by its own spread
        raise InputError(
            f"A network needs at least 2 rows to train on, got {n_train}. Label more polygons, or "
            "take a forest."
        )
    layout = layout or Layout((series.shape[2],))
    scaling = Scaling.learn(series[~validation])
    inputs, target = _tensor(scaling, layout, series), torch.from_numpy(label.astype(np.int64))
    counts = None if weight is None else torch.from_numpy(weight)
    train, held = (torch.from_numpy(np.flatnonzero(v)) for v in (~validation, validation))
    generator = torch.Generator().manual_seed(spec.seed)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        network = TempCNN(spec, inputs.shape[1], inputs.shape[2], n_class)
        classifier = NetworkClassifier(spec, layout, scaling, network)
        batches = max(len(train) // spec.batch, 1)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=spec.learning_rate, total_steps=spec.epochs * batches
        )
        best, best_loss, waited = copy.deepcopy(network.state_dict()), float("inf"), 0
        for epoch in range(spec.epochs):
            network.train()
            order = train[torch.randperm(len(train), generator=generator)]
            total = 0.0
            # the last, incomplete batch is left out; the order differs from epoch to epoch
            for rows in order[: batches * spec.batch].chunk(batches):
                optimizer.zero_grad()
                seen_now = _jittered(inputs[rows], layout, spec.jitter, generator)
                loss = _entropy(network(seen_now), target[rows], _of(counts, rows))
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            seen = (
                _loss(network, inputs[held], target[held], _of(counts, held)) if len(held) else None
            )
            if not np.isfinite([total, seen or 0]).all():
                raise InputError(
                    f"The loss of epoch {epoch + 1} is {total / batches:g}, validation {seen}. "
                    f"Lower the model's `learning_rate` ({spec.learning_rate:g} now), and look for "
                    "infinite values in the samples."
                )
            classifier.history.append((total / batches, seen))
            if note is not None:
                note(epoch + 1, spec.epochs)
            if seen is None:
                continue
            waited += 1
            if seen < best_loss:
                best, best_loss, waited = copy.deepcopy(network.state_dict()), seen, 0
            if waited >= spec.patience:
                break
        if len(held):
            network.load_state_dict(best)
    return classifier


def _jittered(inputs: Tensor, layout: Layout, jitter: float, generator: torch.Generator) -> Tensor:
    """(n, channel + source, step) series made brighter or darker, as a whole and by channel.

    Fields of a class differ so; single steps differ half as much, and static channels stay the same
    at every step.  What is missing stays 0, and the channels that say what is observed stay as they
    are.
    """
    if jitter == 0:
        return inputs
    n, steps, n_band = len(inputs), inputs.shape[2], layout.n_channel
    bands, observed = inputs[:, :n_band], inputs[:, n_band:]
    # of each channel whether its source was observed
    there = observed.repeat_interleave(torch.tensor(layout.sizes), dim=1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    gain = 1 + jitter / 2 * normal(n, 1, 1)
    offset = jitter * normal(n, n_band, 1)
    noise = jitter / 2 * normal(n, n_band, steps)
    noise[:, layout.n_series :] = 0
    return torch.cat([(bands * gain + offset + noise) * there, observed], dim=1)


def _loss(
    network: nn.Module, inputs: Tensor, target: Tensor, weight: Tensor | None = None
) -> float:
    network.eval()
    with torch.inference_mode():
        return float(_entropy(network(inputs), target, weight))


def _entropy(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean cross entropy, weighted where rows count differently."""
    if weight is None:
        return nn.functional.cross_entropy(logits, target)
    each = nn.functional.cross_entropy(logits, target, reduction="none")
    mean: Tensor = (weight * each).sum() / weight.sum()
    return mean


def _of(weight: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if weight is None else weight[rows]


def _tensor(scaling: Scaling, layout: Layout, series: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(scaling.apply(series, layout.sizes))
