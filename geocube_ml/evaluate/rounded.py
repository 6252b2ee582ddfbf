"""Figures as they are written: rounded, and None where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGITS = 6


def decimals(value: Any) -> float | None:
    """Of a share or a loss: six digits after the point, so that differences by rounding are 0.

    Examples
    --------
    >>> decimals(1 / 3), decimals(1e-17), decimals(np.nan)
    (0.333333, 0.0, None)
    """
    return None if np.isnan(value) else round(float(value), _DIGITS)


def significant(value: Any) -> float | None:
    """Of a number in any unit: six significant digits.

    Examples
    --------
    >>> significant(123456.789), significant(1.23456789e-9), significant(np.nan)
    (123457.0, 1.23457e-09, None)
    """
    return None if np.isnan(value) else float(f"{float(value):.{_DIGITS}g}")


def pair(
    ends: NDArray[np.float64], rounded: Callable[[Any], float | None]
) -> list[float | None] | None:
    """The two ends of an interval; None where it is not known."""
    return None if np.isnan(ends).any() else [rounded(end) for end in ends]
