"""Polygons that were left out or changed, by reason."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_MOST_ROWS = 500  # of one reason that are listed


@dataclass(frozen=True)
class Loss:
    """Polygons that share a reason."""

    reason: str
    count: int
    ha: float
    rows: list[tuple[str, str, float]]
    """Feature, class and hectares, of the first polygons."""

    @property
    def unlisted(self) -> int:
        """Polygons beyond those in `rows`."""
        return self.count - len(self.rows)


def by_reason(losses: pd.DataFrame) -> list[Loss]:
    """Reasons, the commonest first.

    Parameters
    ----------
    losses : DataFrame
        ``feature``, ``class``, ``reason`` and ``area_m2``.

    Examples
    --------
    >>> table = pd.DataFrame({"feature": [3, 8], "class": ["maize", "rye"],
    ...                       "reason": ["too narrow"] * 2, "area_m2": [2500.0, 5000.0]})
    >>> by_reason(table)[0].count, by_reason(table)[0].ha
    (2, 0.75)
    """
    found = []
    for reason, group in losses.groupby("reason", sort=True):
        listed = group.head(_MOST_ROWS)
        features, classes = map(str, listed["feature"]), map(str, listed["class"])
        rows = list(zip(features, classes, (listed["area_m2"] / 1e4).tolist(), strict=True))
        found.append(Loss(str(reason), len(group), float(group["area_m2"].sum()) / 1e4, rows))
    return sorted(found, key=lambda loss: -loss.count)
