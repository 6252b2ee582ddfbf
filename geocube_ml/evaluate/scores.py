"""One score: a model on a split, from its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.samples import count_polygons
from geocube_ml.kernels.accuracy import f1_by_class, kappa, macro_f1, overall_accuracy
from geocube_ml.kernels.scaling import most_likely
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.labels import UNKNOWN

MAJORITY = "majority class"
BOUND = "best possible"

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # training rows, test rows


def score(
    model: str, split: str, matrix: NDArray[np.int64], samples: xr.Dataset, parts: list[Fold]
) -> dict[str, Any]:
    """What is reported of a model; keys as `evaluate_models` tells them."""
    f1 = f1_by_class(matrix)
    present = matrix.sum(axis=1) > 0
    return {
        "model": model,
        "split": split,
        "n_train": int(np.mean([rows.sum() for rows, _ in parts])),
        "n_test": int(matrix.sum()),
        "train_polygons": round(np.mean([count_polygons(samples, rows) for rows, _ in parts])),
        "test_polygons": sum(count_polygons(samples, test) for _, test in parts),
        "confusion": matrix.tolist(),
        "overall": _number(overall_accuracy(matrix)),
        "macro_f1": _number(macro_f1(matrix)),
        "kappa": _number(kappa(matrix)),
        "f1": [_number(v) if there else None for v, there in zip(f1, present, strict=True)],
        "notes": [],
    }


def class_codes(bundle: ModelBundle, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Counts as of `ModelBundle.predict_proba` -> (n,) class codes, 255 if nothing was observed."""
    return most_likely(bundle.predict_proba(counts).T, UNKNOWN)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
