"""What is fitted to which set: one table, and no setting but these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.accuracy.splits import Split
from geocube_ml.spec.models import EnsembleSpec, ModelSpec
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
    "ensemble": EnsembleSpec(),
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


Changes = dict[str, Any]

_SMALL: Changes = {"batch": 32, "epochs": 40}
"""Of networks on sets of fewer than 2000 series, of which batches of 128 are few."""
_STEADY: Changes = _SMALL | {"jitter": 0}
"""Where sensor and clouds are the same on both sides of a split, offsets only hide a difference."""
_LIGHT: Changes = {"jitter": 0, "dropout": 0.3}
_WEIGHED: Changes = {"class_weights": "balanced"}
_DRAWN: Changes = {"sampling": "balanced"}
"""The tools against imbalance: weights of classes, and batches with as many of each."""
_MEMBERS: Changes = {"members": 3, "label_smoothing": 0.1}
"""Networks that are averaged, and their hedge against being too sure."""


def _mean(**of: Changes) -> Changes:
    """An ensemble of these."""
    return {"of": of}


def _together(tempcnn: Changes, **more: Changes) -> Changes:
    """The ensemble of the package, with the TempCNN of the set."""
    return _mean(forest={}, minirocket={}, tempcnn=tempcnn, **more)


def _leaves(n: int) -> Changes:
    """A forest that weighs classes equally, and keeps more than one sample a leaf."""
    return _WEIGHED | {"min_leaf": n}


PLANS: tuple[Plan, ...] = (
    Plan(
        "tempcnn_formosat2", "overall",
        (Split("given"),),
        {
            "forest": {}, "minirocket": {}, "tempcnn": _SMALL | _LIGHT,
            "ensemble": _together(_SMALL | _LIGHT),
        },
        {
            "boosting": {}, "tempcnn-attention": _STEADY, "ltae": _STEADY, "gru": _STEADY,
            "inceptiontime": _STEADY, "tempcnn+members": _SMALL | _LIGHT | _MEMBERS,
        },
        seeds=10, full_seeds=10,
    ),
    Plan(
        "worldcereal_uga_ssd2017_monthly", "macro_f1",
        (Split("group"),),
        {
            "forest": {}, "forest+balanced": _leaves(5), "boosting": {},
            "boosting+balanced": _WEIGHED, "tempcnn": _SMALL,
            "tempcnn+balanced": _SMALL | _DRAWN, "fusion-feature+balanced": _SMALL | _DRAWN,
            "ensemble+balanced": _mean(
                forest=_leaves(5), boosting=_WEIGHED,
                fusion=_SMALL | _DRAWN | {"how": "feature"},
            ),
        },
        {
            "tempcnn+members": _SMALL | _MEMBERS,
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
        {"forest+balanced": _leaves(3), "boosting+balanced": _WEIGHED},
        {"forest": {}, "tempcnn+balanced": _WEIGHED},
        parts=(
            "central", "eastern", "indian_ocean", "northern", "sahel", "south_eastern", "southern",
            "western",
        ),
    ),
    Plan(
        "dea_cropmask_s2_semiannual", "balanced",
        (Split("leave-one-out"),),
        {"forest+balanced": _leaves(3), "boosting+balanced": _WEIGHED},
        {"forest": {}, "tempcnn+balanced": _WEIGHED},
        full_seeds=1,
    ),
    Plan(
        "sits_mt_mod13q1", "overall",
        (Split("random"), Split("location"), Split("block")),
        {
            "forest": {}, "minirocket": {}, "tempcnn": _STEADY,
            "ensemble": _together(_STEADY),
        },
        {
            "boosting": {}, "tempcnn+members": _STEADY | _MEMBERS, "tempcnn-attention": _STEADY,
            "ltae": _STEADY, "gru": _STEADY, "lstm": _STEADY, "inceptiontime": _STEADY,
        },
    ),
    Plan(
        "ucr_crop_train", "overall",
        (Split("random"),),
        {"forest": {}, "minirocket": {}, "tempcnn": _LIGHT, "ensemble": _together(_LIGHT)},
        {
            "boosting": {}, "tempcnn+members": _LIGHT | {"members": 3},
            "ensemble+boosting": _together(_LIGHT | {"members": 3}, boosting={}),
            "tempcnn-attention": _LIGHT, "ltae": {"jitter": 0}, "gru": {"jitter": 0},
            "inceptiontime": {"jitter": 0}, "inceptiontime+members": {"jitter": 0, "members": 5},
        },
        full_seeds=1,
    ),
)  # fmt: skip
"""All that is fitted."""

OWN: dict[str, dict[str, Any]] = {
    name: {} for name in ("forest", "minirocket", "tempcnn", "tempcnn-attention", "ensemble")
}
"""What is fitted to a user's own series, with the defaults of the package."""
