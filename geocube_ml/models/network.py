"""Networks of series as models: probabilities of single pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.target import Target
from geocube_ml.spec.models import NetworkSpec

_CHUNK = 2048  # series a forward pass; larger ones leave the cache


@dataclass
class NetworkModel:
    """Networks of one spec, whose answers are averaged, and what their inputs are scaled by.

    Parameters
    ----------
    spec : spec of a network
    layout : Layout
    n_step : int
    target : Target
    scaling : Scaling
    networks : list of nn.Module
        One a member.
    history : list of list of dict
        Of each member what `train.loop.Epoch` says of each epoch.
    """

    spec: NetworkSpec
    layout: Layout
    n_step: int
    target: Target
    scaling: Scaling
    networks: list[nn.Module]
    history: list[list[dict[str, float | None]]] = field(default_factory=list)

    @property
    def halo(self) -> int:
        """A series is judged by itself."""
        return 0

    def predict_proba(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n, class), rows sum to 1."""
        self.target.check(classes=True)
        return self._mean(series, lambda logits: torch.softmax(logits, dim=1))

    def predict(self, series: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) physical values, NaN if missing -> (n,) in the unit of the labels."""
        self.target.check(classes=False)
        return self.target.physical(self._mean(series, lambda out: out[:, 0]))

    def _mean(
        self, series: NDArray[np.float32], answer: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        for network in self.networks:
            network.eval()
        device = next(self.networks[0].parameters()).device
        parts = []
        with torch.inference_mode():
            for start in range(0, max(len(series), 1), _CHUNK):
                some = self.scaling.apply(series[start : start + _CHUNK], self.layout.sizes)
                inputs = torch.from_numpy(some).to(device)
                found = torch.stack([answer(network(inputs)) for network in self.networks])
                parts.append(found.mean(dim=0).float().cpu().numpy())
        return np.concatenate(parts)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights of the members, and the scaling."""
        found: dict[str, NDArray[Any]] = {"mean": self.scaling.mean, "std": self.scaling.std}
        for number, network in enumerate(self.networks):
            for name, tensor in network.state_dict().items():
                found[f"{number}.{name}"] = tensor.detach().cpu().contiguous().numpy()
        return found

    def said(self) -> dict[str, Any]:
        """The course of the training."""
        return {"history": self.history}

    @classmethod
    def restored(
        cls, spec: NetworkSpec, layout: Layout, n_step: int, target: Target,
        state: dict[str, NDArray[Any]], said: dict[str, Any],
    ) -> NetworkModel:  # fmt: skip
        """What `state` and `said` were of.

        Raises
        ------
        ValueError, KeyError, RuntimeError
            They do not fit each other.
        """
        scaling = Scaling(state["mean"], state["std"])
        shapes = (scaling.mean.shape, scaling.std.shape)
        if shapes != ((layout.n_channel,),) * 2:
            raise ValueError(
                f"the scaling's bands: {shapes} in the file, {layout.n_channel} by the description"
            )
        networks = []
        for number in range(spec.members):
            network = build_network(spec, layout, n_step, target.n_out)
            own = f"{number}."
            network.load_state_dict(
                {
                    name.removeprefix(own): torch.from_numpy(value)
                    for name, value in state.items()
                    if name.startswith(own)
                }
            )
            if not all(part.isfinite().all() for part in network.state_dict().values()):
                raise ValueError("weights that are not finite")
            networks.append(network.eval())
        return cls(spec, layout, n_step, target, scaling, networks, said["history"])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within the block: where many series are predicted side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
