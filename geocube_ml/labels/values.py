"""What stands in the columns of a label file: texts, days, weights."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocube_ml.spec.validity import day_of, is_date

_WHOLE = re.compile(r"(-?\d+)\.0+")
_FIRST, _LAST = np.datetime64("1678-01-01"), np.datetime64("2262-04-11")
"""Days that nanoseconds reach; what lies beyond, as the 9999-12-31 of a cadastre, becomes one of
them."""


def texts(column: pd.Series) -> NDArray[Any]:
    """Values of a column as texts: 3, 3.0 and "3" are the same, and nothing is none.

    Parameters
    ----------
    column : Series
        Of any type, also of several.

    Returns
    -------
    (n,) array of str

    Examples
    --------
    >>> texts(pd.Series([3, 3.0, "3 ", "3.0", None, True], dtype=object)).tolist()
    ['3', '3', '3', '3', '', 'True']
    """
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        # 1, 1.0 and True are one to a dictionary
        return np.array([_text(value) for value in column], object)
    at, uniques = pd.factorize(column)
    told = np.array([*(_text(value) for value in uniques), ""], object)
    found: NDArray[Any] = told[at]
    return found


def _text(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return ""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        if float(value).is_integer():
            value = int(value)
    text = str(value).strip()
    # GDAL writes numbers among texts so
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def days(column: pd.Series, *, last: bool) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Days of a column of dates, times or texts.

    Parameters
    ----------
    column : Series
        Dates, times (of which the day counts), texts as ``2022-03-01``, or months and years, also
        as numbers.
    last : bool
        Whether a month or year means its last day instead of its first.

    Returns
    -------
    days : (n,) array of datetime64[ns]
        NaT where there is none, or none that can be read.
    bad : (n,) array of bool
        Where something stands that is no date.

    Examples
    --------
    >>> days(pd.Series(["2022-03-01", "2022", "soon", None]), last=True)[0].astype("M8[D]").tolist()
    [datetime.date(2022, 3, 1), datetime.date(2022, 12, 31), None, None]
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_localize(None)
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return _moments(column.dt.normalize().to_numpy()), np.zeros(len(column), bool)
    at, uniques = pd.factorize(texts(column))
    found = np.array([day(str(text), last=last) for text in uniques], "datetime64[ns]")
    none = np.array([not text for text in uniques], bool)
    return found[at], (np.isnat(found) & ~none)[at]


def day(text: str, *, last: bool) -> np.datetime64:
    """One day as `days` reads it; NaT if it is none."""
    none = np.datetime64("NaT", "ns")
    if is_date(text):
        try:
            found = np.datetime64(day_of(text, last=last), "D")
        except ValueError:
            return none
    else:
        stamp = pd.to_datetime(text, format="ISO8601", errors="coerce")
        if not isinstance(stamp, pd.Timestamp):
            return none
        found = np.datetime64(stamp.date(), "D")
    moment: np.datetime64 = _moments(np.array([found]))[0]
    return moment


def _moments(days: NDArray[Any]) -> NDArray[np.datetime64]:
    """Days of any resolution in nanoseconds; numpy would let those out of reach wrap."""
    whole = days.astype("datetime64[D]")
    within = np.clip(whole, _FIRST, _LAST)
    found: NDArray[np.datetime64] = within.astype("datetime64[ns]")
    return found


def weights(column: pd.Series) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Weights of a column.

    Parameters
    ----------
    column : Series
        Numbers, or texts that are numbers.

    Returns
    -------
    weights : (n,) array of float32
        1 where there is none.
    missing : (n,) array of bool
        Where none stands.
    bad : (n,) array of bool
        Where something stands that is no finite number of at least 0.
    """
    told = texts(column)
    if pd.api.types.is_numeric_dtype(column.dtype):
        found = column.to_numpy(np.float64, na_value=np.nan)
    else:
        found = pd.to_numeric(pd.Series(told, dtype=object), errors="coerce").to_numpy(np.float64)
    missing = np.array([not text for text in told], bool)
    bad = ~missing & ~(np.isfinite(found) & (found >= 0))
    return np.where(missing | bad, 1.0, found).astype(np.float32), missing, bad
