"""What a cube must be like for a model to be used on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from geocube_ml.errors import LISTED, GridMismatch, InputError, listed
from geocube_ml.kernels.scaling import stack, to_physical
from geocube_ml.models.layout import Layout
from geocube_ml.spec.base import Spec

_LEAP_YEAR = 2000


class FitSource(Spec):
    """A source as a model knows it."""

    name: str
    """Variable of the cube."""
    bands: tuple[str, ...] = Field(min_length=1)
    nodata: float
    scale: float = 1.0
    add_offset: float = 0.0
    static: bool = False
    """Whether it has no time axis."""


class Fit(Spec):
    """Sources and time steps that a model was trained on."""

    sources: tuple[FitSource, ...] = Field(min_length=1)
    """Series, then static ones."""
    steps: tuple[str, ...] = ()
    """Month and day (``MM-DD``) on which each step starts; none without a time axis."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        static = [source.static for source in self.sources]
        if static != sorted(static):
            raise ValueError(f"series stand before static sources, got {', '.join(self.names)}")
        if all(static) == bool(self.steps):
            raise ValueError(
                f"series need time steps and static sources have none, got {len(self.steps)} steps "
                f"and {static.count(False)} series"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Variables that a cube must have."""
        return tuple(source.name for source in self.sources)

    @property
    def n_step(self) -> int:
        """Length of the time axis of a stacked array."""
        return max(len(self.steps), 1)

    @property
    def layout(self) -> Layout:
        """Whose channels are where."""
        return Layout(
            tuple(len(source.bands) for source in self.sources if not source.static),
            tuple(len(source.bands) for source in self.sources if source.static),
            self.names,
        )

    @property
    def deciding(self) -> tuple[FitSource, ...]:
        """The sources by which a pixel counts as observed: series, or static ones without any."""
        return tuple(one for one in self.sources if not one.static) or self.sources

    def stacked(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What a model sees: physical values, NaN where there are none.

        Parameters
        ----------
        counts : mapping of source to (n, time, band, ...) or, of a static one, (n, band, ...) array
            A source that is not there is missing throughout.

        Returns
        -------
        (n, time, channel, ...) float32
        """
        parts = {
            s.name: to_physical(counts[s.name], s.nodata, s.scale, s.add_offset)
            if s.name in counts
            else self._missing(s, counts)
            for s in self.sources
        }
        series = [parts[source.name] for source in self.sources if not source.static]
        static = [parts[source.name] for source in self.sources if source.static]
        return stack(series, static)

    def _missing(
        self, source: FitSource, counts: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.float32]:
        """As much of a source as there is of the others, all NaN."""
        other = next(one for one in self.sources if one.name in counts)
        there = counts[other.name]
        area = there.shape[2 if other.static else 3 :]
        steps = () if source.static else (self.n_step,)
        return np.full((len(there), *steps, len(source.bands), *area), np.nan, np.float32)

    def check(self, cube: Fit, *, tolerant: bool = False) -> None:
        """Refuse a cube that differs; further sources are no matter.

        Parameters
        ----------
        cube : Fit
            What the cube is like.
        tolerant : bool
            Whether sources may be missing, as long as one of those that decide is there.

        Raises
        ------
        InputError
            A source is missing.
        GridMismatch
            Names what differs, with both values.

        Notes
        -----
        Steps may start a day earlier or later than those of the training, as steps of a number of
        days do after a 29 February.
        """
        there = {source.name: source for source in cube.sources}
        for needed in self.sources:
            has = there.get(needed.name)
            if has is None and tolerant and any(one.name in there for one in self.deciding):
                continue
            if has is None:
                raise InputError(
                    f"The model needs the source {needed.name!r} ({listed(needed.bands)}), the "
                    f"cube has {', '.join(there) or 'none'}. Add it to the recipe's `sources`, or "
                    "train on this cube."
                )
            self._check_source(needed, has)
        if self.steps and not _alike(self.steps, cube.steps):
            raise GridMismatch(
                f"The model was trained on steps that start on {listed(self.steps)}, but the "
                f"cube's start on {listed(cube.steps)}. Make a cube with those steps (`period`), "
                "or train on this one."
            )

    def _check_source(self, needed: FitSource, has: FitSource) -> None:
        if needed.static != has.static:
            raise GridMismatch(
                f"The model was trained on {needed.name!r} as {_kind(needed)}, but in the cube it "
                f"is {_kind(has)}. Make it so in the recipe (`static` of its sensor), or train on "
                "this cube."
            )
        if needed.bands != has.bands:
            raise GridMismatch(
                f"The model was trained on the bands {listed(needed.bands)} of {needed.name!r}, "
                f"but the cube has {listed(has.bands)}{_first(needed.bands, has.bands)}. Make a "
                "cube with those bands, or train on this one."
            )
        for what in ("nodata", "scale", "add_offset"):
            wanted, found = getattr(needed, what), getattr(has, what)
            if not np.array_equal(wanted, found, equal_nan=True):
                raise GridMismatch(
                    f"The model was trained on {needed.name!r} with {what} {wanted:g}, but the "
                    f"cube has {found:g}. Take the same sensor description, or train on this cube."
                )


def _first(needed: Sequence[str], has: Sequence[str]) -> str:
    """Where two long lists part, which the listing of their ends would not show."""
    if max(len(needed), len(has)) <= LISTED:
        return ""
    pairs = enumerate(zip(needed, has, strict=False), start=1)
    at = next(((n, a, b) for n, (a, b) in pairs if a != b), None)
    return f"; number {at[0]} was {at[1]} and is {at[2]}" if at else ""


def _kind(source: FitSource) -> str:
    return "a static layer" if source.static else "a series"


def _alike(needed: Sequence[str], has: Sequence[str]) -> bool:
    if len(needed) != len(has):
        return False
    return all(_apart(a, b) <= 1 for a, b in zip(needed, has, strict=True))


def _apart(a: str, b: str) -> int:
    """Days between two days of the year, the shorter way round."""
    first, second = (date.fromisoformat(f"{_LEAP_YEAR}-{day}").toordinal() for day in (a, b))
    days = abs(first - second)
    return min(days, 366 - days)
