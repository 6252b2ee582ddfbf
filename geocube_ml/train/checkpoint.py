"""Where a training stands, kept so that it goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from geocube_ml.errors import InputError
from geocube_ml.files import Place, local_copy, whole_file

Weights = dict[str, Tensor]


@dataclass
class Course:
    """What happened so far, and the best weights of it."""

    history: list[dict[str, float | None]] = field(default_factory=list)
    """Of each epoch: ``epoch``, ``loss``, ``validation_loss``, a score, ``learning_rate``."""
    best: Weights = field(default_factory=dict)
    best_loss: float = float("inf")
    waited: int = 0
    """Epochs since the best."""


@dataclass(frozen=True)
class Checkpoint:
    """One file: weights, optimizer, and the course as JSON in its head.

    Parameters
    ----------
    path : Place
    digest : str
        Of what decides the training; a file of another is refused.
    """

    path: Place
    digest: str

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, course: Course) -> None:
        """Whole or not at all."""
        tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
        tensors |= {f"best.{key}": value for key, value in course.best.items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
        said = {"digest": self.digest, "history": course.history, "waited": course.waited,
                "best_loss": course.best_loss}  # fmt: skip
        with whole_file(self.path) as partial:
            # clones: a tensor must not share its memory with another
            save_file(
                {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()},
                partial,
                {"course": json.dumps(said)},
            )

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> Course:
        """Put a training back where it was; a new course where there is no file.

        Raises
        ------
        InputError
            The file is of another training, or damaged.
        """
        if not self.path.exists():
            return Course()
        try:
            with (
                local_copy(self.path) as local,
                safe_open(local, framework="pt") as kept,
            ):
                said = json.loads(kept.metadata()["course"])
                tensors = {key: kept.get_tensor(key) for key in kept.keys()}  # noqa: SIM118
            found = said["digest"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"What is kept of the training at {self.path} is damaged ({error}). Remove the "
                "file, to begin anew."
            ) from error
        if found != self.digest:
            raise InputError(
                f"What is kept at {self.path} is of another training: its digest is "
                f"{found}, this one's {self.digest}. Remove the file, or take another "
                "folder."
            )
        network.load_state_dict(_part(tensors, "network."))
        optimizer.load_state_dict(_optimizer_state(optimizer, _part(tensors, "optimizer.")))
        return Course(said["history"], _part(tensors, "best."), said["best_loss"], said["waited"])


def checkpoint_path(folder: Place, member: int) -> Place:
    """Where the checkpoint of a member lies while it is trained."""
    return folder / f"member-{member}.safetensors"


def copied(network: nn.Module) -> Weights:
    """The weights as they are now."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _part(tensors: Weights, start: str) -> Weights:
    return {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: Weights) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    return {**optimizer.state_dict(), "state": state}
