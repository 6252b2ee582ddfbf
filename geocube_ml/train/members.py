"""The networks of a model: one a member, each on its own seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from geocube_ml.files import Place
from geocube_ml.models.target import Target
from geocube_ml.spec.models import EnsembleSpec, ModelSpec
from geocube_ml.spec.training import TrainingSpec
from geocube_ml.train.checkpoint import Checkpoint, checkpoint_path
from geocube_ml.train.curves import Bar, Watcher, write_curves
from geocube_ml.train.device import chosen_device
from geocube_ml.train.feed import Feed
from geocube_ml.train.loop import fit_network
from geocube_ml.train.losses import Loss

Histories = list[list[dict[str, float | None]]]


def checkpoints_of(spec: ModelSpec, folder: Place) -> list[Place]:
    """Where the networks of a model are kept while they are trained, in the order of that."""
    if isinstance(spec, EnsembleSpec):
        return [
            one for name, part in spec.parts.items() for one in checkpoints_of(part, folder / name)
        ]
    return [checkpoint_path(folder, member) for member in range(len(epochs_of(spec)))]


def epochs_of(spec: ModelSpec) -> list[int]:
    """The epochs of each network of a model, in the order in which they are trained."""
    if isinstance(spec, EnsembleSpec):
        return [epochs for part in spec.parts.values() for epochs in epochs_of(part)]
    return [spec.epochs] * spec.members if isinstance(spec, TrainingSpec) else []


def fit_members(
    make: Callable[[], nn.Module],
    feed_of: Callable[[int], Feed],
    loss: Loss,
    spec: TrainingSpec,
    target: Target,
    *,
    digest: str = "",
    folder: Place | None = None,
    watch: Watcher | None = None,
    progress: bool = False,
) -> tuple[list[nn.Module], Histories]:
    """Train as many networks as the spec wants.

    Parameters
    ----------
    make : callable
        Makes a network, with random weights.
    feed_of : callable
        From the seed of a member to what it is shown.
    loss : Loss
    spec : TrainingSpec
    target : Target
    digest : str
        Of what decides the training; needed with a folder.
    folder : path, optional
        Where checkpoints (a training that was stopped goes on there) and curves are kept.
    watch : callable, optional
        Told of each epoch.
    progress : bool
        Show a bar.

    Returns
    -------
    list of nn.Module
    list of histories
        Of each member what `train.loop` says of each epoch.
    """
    device = chosen_device(spec.device)
    bar = Bar(spec.epochs, spec.members) if progress else None
    networks: list[nn.Module] = []
    histories: Histories = []
    try:
        for member in range(spec.members):

            def told(said: dict[str, Any], member: int = member) -> None:
                histories[member].append(said)
                for watcher in (bar, watch):
                    if watcher is not None:
                        watcher(member, said)

            histories.append([])
            seed = spec.seed + member
            kept = Checkpoint(checkpoint_path(folder, member), digest) if folder else None
            network, course = fit_network(
                make, feed_of(seed), loss, spec, target, seed=seed, device=device,
                checkpoint=kept, told=told,
            )  # fmt: skip
            networks.append(network)
            histories[member] = course.history
    finally:
        if bar is not None:
            bar.close()
        if folder is not None and any(histories):
            write_curves(folder, histories)
    return networks, histories
