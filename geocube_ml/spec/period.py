"""The time steps of the cube."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Self

from pydantic import field_validator, model_validator

from geocube_ml.spec.base import Spec

_MONTH = re.compile(r"^((?:19|20|21)\d{2})-(0[1-9]|1[0-2])$")
_DAY = re.compile(r"^(?:19|20|21)\d{2}-\d{2}-\d{2}$")
_DAYS = re.compile(r"^([1-9]\d{0,2}) days?$")
_DEKADS = (1, 11, 21)
_QUARTERS = (1, 4, 7, 10)


@dataclass(frozen=True, order=True)
class TimeStep:
    """One step of the time axis: from the first day to before the last."""

    start: date
    stop: date
    """First day that is not in it."""
    name: str
    """``YYYY-MM`` for a month, else the first day; sorts as time goes."""

    def holds(self, day: date) -> bool:
        """Whether a day lies in it."""
        return self.start <= day < self.stop


class PeriodSpec(Spec):
    """What the cube spans, first and last included, and its steps."""

    start: str
    """First month, ``YYYY-MM``, or first day, ``YYYY-MM-DD``."""

    end: str
    """Last month or day, included."""

    step: str = "month"
    """``month``, ``dekad`` (days 1 to 10, 11 to 20, 21 to the end), ``quarter``, or a number of
    days such as ``16 days``, counted from `start`; the last of these is whole, and may reach
    beyond `end`."""

    @field_validator("start", "end", mode="before")
    @classmethod
    def _date(cls, value: Any) -> Any:
        text = value.isoformat() if isinstance(value, date) else str(value)
        if _MONTH.match(text):
            return text
        if _DAY.match(text):
            try:
                date.fromisoformat(text)
            except ValueError as error:
                raise ValueError(f"{text} is no day of the calendar: {error}") from None
            return text
        raise ValueError(
            f"a month is written YYYY-MM, a day YYYY-MM-DD (years 1900 to 2199), got {value}"
        )

    @field_validator("step")
    @classmethod
    def _step(cls, step: str) -> str:
        if step not in ("month", "dekad", "quarter") and not _DAYS.match(step):
            raise ValueError(
                f"a step is month, dekad, quarter, or a number of days such as '16 days', got "
                f"{step!r}"
            )
        return step

    @model_validator(mode="after")
    def _order(self) -> Self:
        first, last = self.first, self.last
        if first > last:
            raise ValueError(f"the period ends ({self.end}) before it starts ({self.start})")
        if self.step == "month" and (first.day != 1 or (last + _ONE_DAY).day != 1):
            raise ValueError(
                f"months are whole, but the period is {self.start} to {self.end}; write months, "
                "YYYY-MM, or take another `step`"
            )
        if self.step == "dekad" and (
            first.day not in _DEKADS or (last + _ONE_DAY).day not in _DEKADS
        ):
            raise ValueError(
                f"dekads start on day 1, 11 and 21, but the period is {self.start} to {self.end}"
            )
        after = last + _ONE_DAY
        if self.step == "quarter" and not all(
            day.day == 1 and day.month in _QUARTERS for day in (first, after)
        ):
            raise ValueError(
                "quarters start in January, April, July and October, but the period is "
                f"{self.start} to {self.end}"
            )
        return self

    @property
    def first(self) -> date:
        """First day."""
        return date.fromisoformat(self.start if _DAY.match(self.start) else f"{self.start}-01")

    @property
    def last(self) -> date:
        """Last day, included."""
        if _DAY.match(self.end):
            return date.fromisoformat(self.end)
        return _next_month(date.fromisoformat(f"{self.end}-01")) - _ONE_DAY

    @property
    def steps(self) -> tuple[TimeStep, ...]:
        """Every step, in order; they follow each other without a gap.

        Examples
        --------
        >>> [step.name for step in PeriodSpec(start="2021-11", end="2022-01").steps]
        ['2021-11', '2021-12', '2022-01']
        >>> [step.name for step in PeriodSpec(start="2022-02", end="2022-02", step="dekad").steps]
        ['2022-02-01', '2022-02-11', '2022-02-21']
        """
        steps = []
        start, last = self.first, self.last
        while start <= last:
            stop = self._next(start)
            name = f"{start:%Y-%m}" if self.step == "month" else start.isoformat()
            steps.append(TimeStep(start, stop, name))
            start = stop
        return tuple(steps)

    @property
    def days(self) -> tuple[date, date]:
        """First day of the first step, and last day of the last one, included."""
        steps = self.steps
        return steps[0].start, steps[-1].stop - _ONE_DAY

    def _next(self, start: date) -> date:
        if match := _DAYS.match(self.step):
            return start + timedelta(days=int(match[1]))
        if self.step == "dekad" and start.day < _DEKADS[-1]:
            return start + timedelta(days=10)
        stop = _next_month(start)
        if self.step == "quarter":
            stop = _next_month(_next_month(stop))
        return stop


_ONE_DAY = timedelta(days=1)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
