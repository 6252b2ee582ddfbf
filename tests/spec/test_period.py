"""Time steps: whole, in order, without a gap."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geocube_ml.spec.period import PeriodSpec


def names(**period):
    return [step.name for step in PeriodSpec(**period).steps]


def test_months_over_a_new_year():
    steps = PeriodSpec(start="2021-11", end="2022-01").steps
    assert [step.name for step in steps] == ["2021-11", "2021-12", "2022-01"]
    assert (steps[0].start, steps[0].stop) == (date(2021, 11, 1), date(2021, 12, 1))
    assert steps[-1].stop == date(2022, 2, 1)


def test_dekads_end_with_the_month():
    steps = PeriodSpec(start="2024-02", end="2024-02", step="dekad").steps
    assert [(step.name, (step.stop - step.start).days) for step in steps] == [
        ("2024-02-01", 10), ("2024-02-11", 10), ("2024-02-21", 9),
    ]  # fmt: skip


def test_quarters():
    assert names(start="2021-10", end="2022-06", step="quarter") == [
        "2021-10-01", "2022-01-01", "2022-04-01",
    ]  # fmt: skip


def test_a_number_of_days_counts_from_the_start_and_the_last_step_is_whole():
    period = PeriodSpec(start="2022-01-05", end="2022-02-10", step="16 days")
    assert [step.name for step in period.steps] == ["2022-01-05", "2022-01-21", "2022-02-06"]
    assert period.days == (date(2022, 1, 5), date(2022, 2, 21))


def test_a_day_that_yaml_read_as_a_date_is_taken():
    assert names(start=date(2022, 1, 1), end=date(2022, 1, 8), step="8 days") == ["2022-01-01"]


@given(
    st.dates(date(1990, 1, 1), date(2040, 1, 1)),
    st.integers(0, 900),
    st.sampled_from(["1 day", "5 days", "16 days", "100 days"]),
)
def test_every_day_of_the_period_is_in_one_step(start, length, step):
    end = start + timedelta(days=length)
    steps = PeriodSpec(start=start.isoformat(), end=end.isoformat(), step=step).steps
    assert steps[0].start == start
    assert all(a.stop == b.start for a, b in pairwise(steps))
    assert steps[-1].start <= end < steps[-1].stop
    assert len({step.name for step in steps}) == len(steps)
    assert sum(step.holds(end) for step in steps) == 1
    assert not steps[0].holds(start - timedelta(days=1))


@given(st.integers(1950, 2100), st.integers(1, 12), st.integers(0, 30))
def test_a_longer_period_begins_with_the_steps_of_a_shorter_one(year, month, more):
    def steps(months, step):
        n = 12 * year + month - 1 + months
        return PeriodSpec(
            start=f"{year}-{month:02d}", end=f"{n // 12}-{n % 12 + 1:02d}", step=step
        ).steps

    for step in ("month", "dekad"):
        assert steps(2 + more, step)[: len(steps(2, step))] == steps(2, step)


@pytest.mark.parametrize(
    ("period", "said"),
    [
        ({"start": "2022-13", "end": "2023-01"}, "a month is written YYYY-MM"),
        ({"start": "2022-02-30", "end": "2022-03-01"}, "2022-02-30 is no day of the calendar"),
        ({"start": "2022-03", "end": "2022-01"}, r"ends \(2022-01\) before it starts \(2022-03\)"),
        ({"start": "2022-01-05", "end": "2022-03"}, "months are whole"),
        ({"start": "2022-01-05", "end": "2022-03", "step": "dekad"}, "day 1, 11 and 21"),
        ({"start": "2022-02", "end": "2022-06", "step": "quarter"}, "January, April"),
        ({"start": "2022-01", "end": "2022-06", "step": "week"}, "a number of days such as"),
        ({"start": "2022-01", "end": "2022-06", "step": "0 days"}, "a number of days such as"),
    ],
)
def test_what_is_no_period_is_refused(period, said):
    with pytest.raises(ValidationError, match=said):
        PeriodSpec(**period)
