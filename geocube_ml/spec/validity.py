"""Days as they are written: whole, or a month or a year that means its first or last day."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date

_DATE = re.compile(r"^(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?$")


def is_date(text: str) -> bool:
    """Whether a text is a date, a month or a year, and not the name of a column.

    Examples
    --------
    >>> is_date("2022-03-01"), is_date("2022"), is_date("sown")
    (True, True, False)
    """
    return _DATE.match(text) is not None


def day_of(text: str, *, last: bool) -> date:
    """The day that a date, month or year means.

    Parameters
    ----------
    text : str
        As `is_date` knows it.
    last : bool
        Whether a month or year means its last day instead of its first.

    Raises
    ------
    ValueError
        It is no day of the calendar.

    Examples
    --------
    >>> str(day_of("2024-02", last=True)), str(day_of("2024", last=False))
    ('2024-02-29', '2024-01-01')
    """
    match = _DATE.match(text)
    if match is None:
        raise ValueError(f"{text} is no date; write it as 2022-03-01")
    year, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None  # noqa: S101  the expression holds it
    try:
        if day is not None:
            return date(year, month or 1, day)
        if not last:
            return date(year, month or 1, 1)
        first = date(year, month or 12, 1)
        return first.replace(day=monthrange(first.year, first.month)[1])
    except ValueError as error:
        raise ValueError(f"{text} is no day of the calendar: {error}") from None
