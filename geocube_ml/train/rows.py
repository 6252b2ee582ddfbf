"""Arrays that models are fitted to, checked before anything is learnt from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocube_ml.errors import InputError
from geocube_ml.models.layout import Layout
from geocube_ml.models.target import Target
from geocube_ml.spec.labels import UNKNOWN


@dataclass(frozen=True)
class Rows:
    """Arrays that fit each other."""

    series: NDArray[np.float32]
    label: NDArray[Any]
    n_class: int | None
    validation: NDArray[np.bool_]
    layout: Layout
    weight: NDArray[np.float32] | None
    n_unobserved: int

    @classmethod
    def of(
        cls, series: ArrayLike, label: ArrayLike, n_class: int | None,
        validation: ArrayLike | None, layout: Layout | None, weight: ArrayLike | None,
    ) -> Rows:  # fmt: skip
        """Checked."""
        values, codes = np.asarray(series, np.float32), np.asarray(label)
        if values.ndim != 3 or 0 in values.shape[1:]:
            raise InputError(
                f"`series` must be (n, time, channel), got {values.shape}. A table of features is "
                "(n, 1, feature)."
            )
        n = len(values)
        held = np.zeros(n, bool) if validation is None else np.asarray(validation)
        counts = np.ones(n, np.float32) if weight is None else np.asarray(weight, np.float32)
        for name, array in (("label", codes), ("validation", held), ("weight", counts)):
            if array.shape != (n,):
                raise InputError(
                    f"`{name}` must have a value for each of the {n} series, got {array.shape}."
                )
        layout = layout or Layout((values.shape[2],))
        if layout.n_channel != values.shape[2]:
            raise InputError(
                f"`series` has {values.shape[2]} channels, but the layout has {layout.n_channel} "
                f"({dict(zip(layout.names, layout.sizes, strict=True))})."
            )
        infinite = int(np.isinf(values).any(axis=(1, 2)).sum())
        if infinite:
            raise InputError(
                f"{infinite} of {n} series have infinite values. Make them NaN (missing), or "
                "correct the scaling that made them."
            )
        if (counts < 0).any() or not np.isfinite(counts).all():
            raise InputError(
                f"Weights must be 0 or more, got {counts.min():g}"
                f"{' and values that are not finite' if not np.isfinite(counts).all() else ''}."
            )
        n_class = _n_class(codes, n_class)
        if n_class is not None:
            codes = codes.astype(np.int64)
        seen = ~np.isnan(values).all(axis=(1, 2))
        kept = seen & (counts > 0)
        if not kept[~held].any():
            raise InputError(
                f"None of the {n} series can be trained on: {int((~seen).sum())} were never "
                f"observed, {int((counts == 0).sum())} weigh 0, {int(held.sum())} validate."
            )
        equal = np.ptp(counts[kept]) == 0  # equal ones change nothing but the last bits
        return cls(
            values[kept], codes[kept], n_class, held[kept].astype(bool), layout,
            None if equal else counts[kept], int((~seen).sum()),
        )  # fmt: skip

    def only(self, rows: NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(
            self.series[rows], self.label[rows], self.n_class, np.zeros(int(rows.sum()), bool),
            self.layout, None if self.weight is None else self.weight[rows], self.n_unobserved,
        )  # fmt: skip

    def target(self) -> Target:
        """Of the training rows."""
        if self.n_class is not None:
            return Target(self.n_class)
        return Target.of_values(self.label[~self.validation])

    def digest(self) -> list[str]:
        """Of what they hold: a training goes on only with the very same ones."""
        parts = (self.series, self.label, self.validation, self.weight)
        return [
            hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()[:16]
            for part in parts
            if part is not None
        ]


def _n_class(label: NDArray[Any], n_class: int | None) -> int | None:
    """Number of classes; None of numbers."""
    if label.dtype.kind == "f":
        if n_class is not None:
            raise InputError(
                f"`label` are numbers ({label.dtype}), but `n_class` is {n_class}. Give codes as "
                "integers, or leave `n_class` out for a regression."
            )
        if not np.isfinite(label).all():
            raise InputError(
                f"{int((~np.isfinite(label)).sum())} of {len(label)} numbers are not finite. "
                "Leave these rows out."
            )
        return None
    if label.dtype.kind not in "iub":
        raise InputError(
            f"`label` must be codes (integers) or numbers (floats), got {label.dtype}. Turn names "
            "into codes: numpy.unique(names, return_inverse=True)."
        )
    n = int(label.max(initial=0)) + 1 if n_class is None else n_class
    if n > UNKNOWN:
        raise InputError(
            f"Codes of classes are 0 to {UNKNOWN - 1}, and {UNKNOWN} is unknown; got {n - 1}. "
            "Leave out rows without a label."
        )
    if len(label) and (label.min() < 0 or label.max() >= n):
        raise InputError(
            f"Codes must be 0 to {n - 1}, got {label.min()} to {label.max()}. Leave out rows "
            "without a label."
        )
    return n
