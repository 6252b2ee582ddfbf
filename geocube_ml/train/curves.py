"""The course of a training, for people: a table, TensorBoard, a bar."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tensorboardX import SummaryWriter
from tqdm.auto import tqdm

from geocube_ml.files import Place, discard, whole_file, whole_folder

History = Sequence[dict[str, Any]]


class Watcher(Protocol):
    """Sees a training."""

    def __call__(self, member: int, said: dict[str, Any]) -> None:
        """An epoch of a member, counted from 0, is done."""


def write_curves(folder: Place, members: Sequence[History]) -> None:
    """``curves.csv``, one row an epoch and member, and ``tensorboard`` with a run a member.

    Parameters
    ----------
    folder : Place
    members : sequence of histories
        As of `train.checkpoint.Course`.
    """
    names = list(dict.fromkeys(key for history in members for said in history for key in said))
    with whole_file(folder / "curves.csv") as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, ["member", *names])
        table.writeheader()
        for member, history in enumerate(members):
            table.writerows({"member": member, **said} for said in history)
    discard(folder / "tensorboard")
    with whole_folder(folder / "tensorboard") as partial:
        for member, history in enumerate(members):
            _write_events(partial / f"member-{member}", history)


def _write_events(folder: Path, history: History) -> None:
    with SummaryWriter(str(folder)) as writer:
        for said in history:
            for name, value in said.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, said["epoch"])


class Bar:
    """A bar that shows loss and macro-F1 (RMSE of numbers), in terminals and notebooks."""

    def __init__(self, epochs: int, members: int) -> None:
        self._bar = tqdm(total=epochs * members, unit="epoch")
        self._epochs = epochs

    def __call__(self, member: int, said: dict[str, Any]) -> None:
        """An epoch is done."""
        self._bar.set_postfix_str(described(said))
        self._bar.update(member * self._epochs + said["epoch"] - self._bar.n)

    def close(self) -> None:
        """The training has ended, early or not."""
        self._bar.close()


def described(said: dict[str, Any]) -> str:
    """One line of an epoch.

    Examples
    --------
    >>> described({"epoch": 3, "loss": 0.52, "validation_loss": 0.6, "macro_f1": 0.81})
    'loss 0.520, validation 0.600, macro-F1 0.810'
    """
    names = {"loss": "loss", "validation_loss": "validation", "macro_f1": "macro-F1",
             "rmse": "RMSE"}  # fmt: skip
    known = {title: said.get(key) for key, title in names.items()}
    return ", ".join(f"{title} {value:.3f}" for title, value in known.items() if value is not None)
