"""How models are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, WrapValidator

from geocube_ml.spec.base import EXECUTION, Location, Spec

Split = Literal["block", "random", "polygon", "blocks", "group", "split"]


def _or_else(what: str) -> WrapValidator:
    """One sentence where neither side of a union fits, in place of a fault of each."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise ValueError(f"{what}; got {value!r}") from None

    return WrapValidator(check)


Steps = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...] | Literal["every"],
    _or_else("name numbers of time steps, [6, 8], from 1 on, or `every`"),
]
Sources = Annotated[
    tuple[str, ...] | Literal["each"], _or_else("name sources, [s1, dem], or `each`")
]


class EvaluateSpec(Spec):
    """How the models are judged.

    The hold-out needs no fit and ``random`` one a model.  ``polygon``, ``blocks`` and ``group`` fit
    each model once a fold, `early` once a step, `without` once a source.
    """

    splits: Annotated[tuple[Split, ...], Field(min_length=1)] | None = None
    """By default the hold-out (``block``, or ``split`` where it is given), ``polygon``, ``random``
    and, where there is a `samples.group_column`, ``group``: side by side, as they differ.
    ``block``: the hold-out of spatial blocks that no model trained on.  ``random``: pixels drawn at
    random, polygons shared between training and test (optimistic, for contrast).  ``polygon``:
    cross-validation by polygon over all folds.  ``blocks``: cross-validation over all folds of
    spatial blocks.  ``group``: each value of `samples.group_column` (a year, a region) in turn is
    left out.  ``split``: the ``test`` rows of `samples.split_column`, which then are the hold-out
    that no model trained on."""

    early: Steps = ()
    """How good the models are early in the season: numbers of time steps after which the series are
    cut, or ``every``.  Models are fitted anew to series that are cut the same, and judged on the
    hold-out."""

    without: Sources = ()
    """Sources without which the models are judged on the hold-out, one at a time: fitted anew
    without it and, of models that allow a source to be missing, as they are."""

    resamples: int = Field(1000, ge=0)
    """How often whole groups (polygons, blocks) are drawn again for intervals; 0 for none."""

    level: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals."""

    reference: Location | None = Field(None, json_schema_extra=EXECUTION)
    """A class raster that is known to be true everywhere (simulations), or None."""

    bound: Location | None = Field(None, json_schema_extra=EXECUTION)
    """The best possible class raster (simulations), judged on the same pixels, or None."""
