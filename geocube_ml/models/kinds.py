"""Which class a model of each kind has, when it comes back from a bundle."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from geocube_ml.models.ensemble import EnsembleModel
from geocube_ml.models.layout import Layout
from geocube_ml.models.model import Model
from geocube_ml.models.network import NetworkModel
from geocube_ml.models.patches import PatchModel
from geocube_ml.models.tables.rocket import RocketModel
from geocube_ml.models.tables.trees import TreesModel
from geocube_ml.models.target import Target
from geocube_ml.spec.models import EnsembleSpec, ModelSpec, PatchSpec, TableSpec
from geocube_ml.spec.tables import RocketSpec


def restored_model(
    spec: ModelSpec, layout: Layout, n_step: int, target: Target,
    state: dict[str, NDArray[Any]], said: dict[str, Any],
) -> Model:  # fmt: skip
    """The model that `Model.state` and `Model.said` were of.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        They do not fit each other.
    """
    if isinstance(spec, EnsembleSpec):
        parts = {}
        for name, one in spec.parts.items():
            own = f"{name}/"
            learnt = {
                key.removeprefix(own): values
                for key, values in state.items()
                if key.startswith(own)
            }
            own_target = Target(**said[name]["target"])
            if own_target.n_class != target.n_class:
                raise ValueError(
                    f"{name} answers {own_target.n_class} classes, the ensemble {target.n_class}"
                )
            parts[name] = restored_model(
                one, layout, n_step, own_target, learnt, said[name]["learnt"]
            )
        return EnsembleModel(spec, parts)
    kind: Any = NetworkModel
    if isinstance(spec, TableSpec):
        kind = RocketModel if isinstance(spec, RocketSpec) else TreesModel
    elif isinstance(spec, PatchSpec):
        kind = PatchModel
    model: Model = kind.restored(spec, layout, n_step, target, state, said)
    return model
