"""Time steps as one reads them."""

from __future__ import annotations

import pandas as pd

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DEKADS = {1, 11, 21}
_QUARTERS = {1, 4, 7, 10}


def step_word(starts: pd.DatetimeIndex) -> str:
    """What one calls the steps that start on some days: month, quarter, dekad or step.

    Examples
    --------
    >>> step_word(pd.date_range("2024-01-01", periods=3, freq="MS"))
    'month'
    >>> step_word(pd.date_range("2024-01-01", periods=3, freq="16D"))
    'step'
    """
    days, months = set(starts.day), set(starts.month)
    if days == {1}:
        apart = pd.Index(12 * starts.year + starts.month).diff()[1:]
        return "quarter" if len(apart) and set(apart) == {3} and months <= _QUARTERS else "month"
    return "dekad" if days <= _DEKADS else "step"


def step_name(start: pd.Timestamp, word: str = "month") -> str:
    """The step that starts on a day, in any locale.

    Examples
    --------
    >>> step_name(pd.Timestamp("2024-07-01")), step_name(pd.Timestamp("2024-07-11"), "dekad")
    ('Jul 2024', 'from 11 Jul 2024')
    >>> step_name(pd.Timestamp("2024-07-01"), "quarter")
    'Jul to Sep 2024'
    """
    month = MONTHS[start.month - 1]
    if word == "quarter":
        return f"{month} to {MONTHS[start.month + 1]} {start.year}"
    return f"{month} {start.year}" if word == "month" else f"from {start.day} {month} {start.year}"
