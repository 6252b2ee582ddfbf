"""The loop: one network, epoch by epoch."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from geocube_ml.errors import TrainingStopped
from geocube_ml.kernels.accuracy import confusion, macro_f1
from geocube_ml.models.target import Target
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.training import TrainingSpec
from geocube_ml.train.checkpoint import Checkpoint, Course, copied
from geocube_ml.train.device import precision
from geocube_ml.train.feed import Feed, epoch_seed
from geocube_ml.train.losses import Loss

_START = 1 / 25  # of the highest learning rate, at the first step

Told = Callable[[dict[str, Any]], None]
"""Is told of each epoch what the history says of it."""

_fitting = threading.Lock()


def fit_network(
    make: Callable[[], nn.Module],
    feed: Feed,
    loss: Loss,
    spec: TrainingSpec,
    target: Target,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    told: Told | None = None,
) -> tuple[nn.Module, Course]:
    """Train a network.

    Parameters
    ----------
    make : callable
        Makes the network, with random weights.
    feed : Feed
    loss : Loss
    spec : TrainingSpec
    target : Target
    seed : int
        Of the weights, the dropout and, in the feed, of all else that is drawn.
    device : torch.device
    checkpoint : Checkpoint, optional
        Written after each epoch; a training that it knows goes on from there, to the same end.
    told : callable, optional

    Returns
    -------
    nn.Module
        On the processor, with the weights of the lowest validation loss, or without validation
        those of the end.
    Course

    Raises
    ------
    TrainingStopped
        A loss is not a number; it has the network with the last good weights.

    Notes
    -----
    AdamW (Loshchilov and Hutter 2019) with a linear warm-up and a cosine decay.  Seeded: the same
    feed on the same machine gives the same weights; on CUDA as far as its kernels are
    deterministic, which those of bilinear sampling are not.
    """
    with _alone(device):
        torch.manual_seed(seed)
        network = make().to(device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )
        course = checkpoint.restore(network, optimizer) if checkpoint else Course()
        for epoch in range(len(course.history), spec.epochs):
            if course.waited >= spec.patience:
                break
            good = copied(network)
            trained = _train(network, feed, loss, spec, optimizer, epoch, seed, device)
            held, score = _judge(network, feed, loss, target, device)
            said = {
                "epoch": epoch + 1,
                "loss": trained,
                "validation_loss": held,
                "macro_f1" if target.n_class else "rmse": score,
                "learning_rate": rate_at(spec, (epoch + 1) * feed.n_batch, feed.n_batch),
            }
            if not math.isfinite(trained + (held or 0)) or not _finite(network):
                network.load_state_dict(course.best or good)
                raise TrainingStopped(said, spec.learning_rate, network.cpu().eval())
            course.history.append(said)
            course.waited += 1
            if held is None:
                course.waited = 0
            elif held < course.best_loss:
                course.best, course.best_loss, course.waited = copied(network), held, 0
            if checkpoint:
                checkpoint.save(network, optimizer, course)
            if told:
                told(said)
        if course.best:
            network.load_state_dict(course.best)
        return network.cpu().eval(), course


def _train(
    network: nn.Module, feed: Feed, loss: Loss, spec: TrainingSpec,
    optimizer: torch.optim.Optimizer, epoch: int, seed: int, device: torch.device,
) -> float:  # fmt: skip
    """One pass over the training rows; the mean loss of its batches."""
    # what an epoch drops does not depend on the epochs before it
    torch.manual_seed(epoch_seed(seed, epoch))
    network.train()
    total = torch.zeros((), device=device)
    for number, shown in enumerate(feed.batches(epoch)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(spec, epoch * feed.n_batch + number, feed.n_batch)
        batch = shown.to(device)
        optimizer.zero_grad()
        with precision(device, spec.mixed):
            out = network(batch.inputs)
        found, _ = loss(out.float(), batch.target, batch.weight)
        torch.autograd.backward(found)
        optimizer.step()
        total += found.detach()
    return float(total) / feed.n_batch


def _finite(network: nn.Module) -> bool:
    """Whether all weights are numbers: the last step of an epoch may have spoilt them."""
    return all(bool(part.isfinite().all()) for part in network.state_dict().values())


def _judge(
    network: nn.Module, feed: Feed, loss: Loss, target: Target, device: torch.device
) -> tuple[float | None, float | None]:
    """Loss on the rows that are held out, and their macro-F1 or, of numbers, the RMSE."""
    network.eval()
    losses, counts = [], []
    matrix = np.zeros((target.n_out,) * 2, np.int64)
    squares, n = 0.0, 0
    with torch.inference_mode():
        for shown in feed.held():
            batch = shown.to(device)
            out = network(batch.inputs).float()
            labelled = batch.target.isfinite() & (batch.target != UNKNOWN)
            found, counted = loss(out, batch.target, batch.weight)
            losses.append(float(found))
            counts.append(float(counted))
            if target.n_class is None:
                squares += float((out[:, 0] - batch.target)[labelled].square().sum())
                n += int(labelled.sum())
            else:
                likely = out.argmax(dim=1).cpu().numpy()
                matrix += confusion(batch.target.cpu().numpy(), likely, target.n_class)
    if not sum(counts):
        return None, None
    mean = float(np.average(losses, weights=counts))
    score = macro_f1(matrix) if target.n_class else target.std * math.sqrt(squares / n)
    return mean, None if math.isnan(score) else score


def rate_at(spec: TrainingSpec, step: int, n_batch: int) -> float:
    """Learning rate of a step, counted from 0: a line up, and a cosine down to nothing.

    Examples
    --------
    >>> spec = TrainingSpec(epochs=10, learning_rate=1.0, warmup=0.5)
    >>> [round(rate_at(spec, step, 10), 2) for step in (0, 25, 50, 75, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    total = spec.epochs * n_batch
    rising = spec.warmup * total
    if step < rising:
        return spec.learning_rate * (_START + (1 - _START) * step / rising)
    falling = (step - rising) / max(total - rising, 1)
    return spec.learning_rate * (1 + math.cos(math.pi * min(falling, 1))) / 2


@contextlib.contextmanager
def _alone(device: torch.device) -> Iterator[None]:
    """Torch draws weights and dropout from one generator a process: fits side by side would mix."""
    devices = [device] if device.type == "cuda" else []
    with (
        _fitting,
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        yield
