"""What is fitted to which set: one table, and no setting but these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.splits import Split
from geocube_ml.spec.models import ModelSpec
from geocube_ml.spec.networks import (
    AttentionSpec,
    FusionSpec,
    InceptionTimeSpec,
    LTAESpec,
    RecurrentSpec,
    TempCNNSpec,
)
from geocube_ml.spec.tables import BoostingSpec, ForestSpec, RocketSpec

MODELS: dict[str, ModelSpec] = {
    "forest": ForestSpec(),
    "boosting": BoostingSpec(),
    "minirocket": RocketSpec(),
    "tempcnn": TempCNNSpec(),
    "tempcnn-attention": AttentionSpec(),
    "ltae": LTAESpec(),
    "gru": RecurrentSpec(kind="gru"),
    "lstm": RecurrentSpec(kind="lstm"),
    "inceptiontime": InceptionTimeSpec(),
    "fusion-input": FusionSpec(how="input"),
    "fusion-feature": FusionSpec(how="feature"),
    "fusion-decision": FusionSpec(how="decision"),
}
"""Each with the defaults of the package, but for what a set's `Plan.changes` say."""

REFERENCE = "forest"
"""What the others are compared with, series by series."""


@dataclass(frozen=True)
class Plan:
    """What is fitted to a set.

    Parameters
    ----------
    set : str
    figure : str
        The one that is shown and compared: ``overall``, ``balanced`` or ``macro_f1``.
    splits : tuple of Split
    models, more : dict of name to changes of the model's spec
        Those of every run, and those of the full run beside them.  A name may say how a model is
        changed after a ``+``: ``tempcnn+balanced``.
    seeds, full_seeds : int
        Repeats, each with folds and weights of its own.
    parts : tuple of str
        Parts that are sets of their own; the whole set without any.
    """

    set: str
    figure: str
    splits: tuple[Split, ...]
    models: dict[str, dict[str, Any]]
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: int = 1
    full_seeds: int = 5
    parts: tuple[str, ...] = ()


def spec_of(name: str, changes: dict[str, Any]) -> ModelSpec:
    """The spec of a model of a plan; changed fields are checked."""
    default = MODELS[name.split("+")[0]]
    return type(default).model_validate({**default.model_dump(), **changes})


_SMALL = {"batch": 32, "epochs": 40}
"""Of networks on sets of fewer than 2000 series, of which batches of 128 are few."""
_WEIGHED = {"class_weights": "balanced"}
_WEIGHED_FOREST = {"class_weights": "balanced", "min_leaf": 3}
_DRAWN = {"sampling": "balanced"}
"""The tools against imbalance: weights of classes, and batches with as many of each."""
_MEMBERS = {"members": 3, "label_smoothing": 0.1}
"""Networks that are averaged, and their hedge against being too sure."""

PLANS: tuple[Plan, ...] = (
    Plan(
        "tempcnn_formosat2", "overall",
        (Split("given"),),
        {"forest": {}, "minirocket": {}, "tempcnn": _SMALL},
        {
            "boosting": {}, "tempcnn-attention": _SMALL, "ltae": _SMALL, "gru": _SMALL,
            "inceptiontime": _SMALL, "tempcnn+members": _SMALL | _MEMBERS,
        },
        seeds=10, full_seeds=10,
    ),
    Plan(
        "worldcereal_uga_ssd2017_monthly", "macro_f1",
        (Split("group"),),
        {
            "forest": {}, "forest+balanced": _WEIGHED_FOREST, "tempcnn": _SMALL,
            "tempcnn+balanced": _SMALL | _DRAWN, "tempcnn+members": _SMALL | _MEMBERS,
            "fusion-feature+balanced": _SMALL | _DRAWN,
        },
        {
            "boosting": {}, "boosting+balanced": _WEIGHED,
            "tempcnn+members+balanced": _SMALL | _MEMBERS | _DRAWN,
            "tempcnn-attention": _SMALL, "ltae": _SMALL, "gru": _SMALL,
            "fusion-input": _SMALL, "fusion-feature": _SMALL, "fusion-decision": _SMALL,
            "fusion-input+balanced": _SMALL | _DRAWN, "fusion-decision+balanced": _SMALL | _DRAWN,
        },
        seeds=3, full_seeds=10,
    ),
    Plan(
        "dea_cropmask_s2_semiannual", "balanced",
        (Split("random"),),
        {"forest+balanced": _WEIGHED_FOREST, "boosting+balanced": _WEIGHED},
        {"forest": {}, "tempcnn+balanced": _WEIGHED},
        parts=(
            "central", "eastern", "indian_ocean", "northern", "sahel", "south_eastern", "southern",
            "western",
        ),
    ),
    Plan(
        "dea_cropmask_s2_semiannual", "balanced",
        (Split("leave-one-out"),),
        {"forest+balanced": _WEIGHED_FOREST, "boosting+balanced": _WEIGHED},
        {"forest": {}, "tempcnn+balanced": _WEIGHED},
        full_seeds=1,
    ),
    Plan(
        "sits_mt_mod13q1", "overall",
        (Split("random"), Split("location"), Split("block")),
        {
            "forest": {}, "minirocket": {}, "tempcnn": _SMALL,
            "tempcnn+members": _SMALL | _MEMBERS,
        },
        {
            "boosting": {}, "tempcnn-attention": _SMALL, "ltae": _SMALL, "gru": _SMALL,
            "lstm": _SMALL, "inceptiontime": _SMALL,
        },
    ),
    Plan(
        "ucr_crop_train", "overall",
        (Split("random"),),
        {"forest": {}, "minirocket": {}, "tempcnn": {}},
        {
            "boosting": {}, "tempcnn-attention": {}, "ltae": {}, "gru": {}, "inceptiontime": {},
            "inceptiontime+members": {"members": 5},
        },
        full_seeds=1,
    ),
)  # fmt: skip
"""All that is fitted."""

OWN: dict[str, dict[str, Any]] = {
    name: {} for name in ("forest", "minirocket", "tempcnn", "tempcnn-attention")
}
"""What is fitted to a user's own series, with the defaults of the package."""
