"""How good models are on spatial blocks that none has seen, and how flattering other splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.samples import HOLDOUT, count_polygons, source_name
from geocube_ml.kernels.accuracy import (
    confusion,
    f1_by_class,
    kappa,
    macro_f1,
    overall_accuracy,
)
from geocube_ml.kernels.sampling import blocks
from geocube_ml.kernels.scaling import most_likely
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.labels import UNKNOWN, ClassScheme
from geocube_ml.spec.models import EvaluateSpec, ModelSpec
from geocube_ml.train import train_model

MAJORITY = "majority class"
BOUND = "best possible"

_FEW_POLYGONS = 30  # below, one polygon more or less moves a figure by points
_FEW_PER_CLASS = 3

Note = Callable[[int, int], None]
_DEFAULT = EvaluateSpec()

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]  # training rows, test rows


def evaluate_models(
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    models: Mapping[str, ModelSpec],
    spec: EvaluateSpec = _DEFAULT,
    *,
    seed: int = 0,
    workers: int = 1,
    note: Note | None = None,
) -> dict[str, Any]:
    """Score models on held-out samples, beside the majority class.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    bundles : mapping of name to ModelBundle
        Trained on all but the hold-out of spatial blocks; they are judged on it as they are.
    models : mapping of name to spec
        Fitted anew for the other splits.
    spec : EvaluateSpec
        Which splits.
    seed : int
        Of the random split.
    workers : int
        Threads of a forest.
    note : callable, optional
        Told how many fits are done.

    Returns
    -------
    dict
        ``classes``, ``scores`` (one a model and split) and ``notes``, JSON-able.  A score has
        ``model``, ``split``, ``n_train``, ``n_test``, ``train_polygons``, ``test_polygons``,
        ``confusion`` (rows reference, columns map), ``overall``, ``macro_f1``, ``kappa``, ``f1``
        a class (None for a class without a test pixel), and ``notes``.
    """
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    folds = {split: list(_folds(samples, split, seed)) for split in spec.splits}
    total = sum(len(f) * len(models) for f in folds.values())
    done, scores = 0, []
    for split, parts in folds.items():
        for name, model in models.items():
            matrix = np.zeros((len(classes.names),) * 2, np.int64)
            for rows, test in parts:
                bundle = bundles[name]
                if split != "block":
                    bundle = train_model(
                        samples, model, name=name, rows=rows, lenient=True, workers=workers
                    )
                matrix += _confusion(bundle, samples, test)
                done += 1
                if note is not None:
                    note(done, total)
            scores.append(_score(name, split, matrix, samples, parts))
        scores.append(_majority(split, samples, parts, classes))
    notes = [
        f"{_TITLES[split]}: {text}"
        for split, parts in folds.items()
        for text in _weaknesses(samples, parts, classes)
    ]
    return {
        "classes": classes.model_dump(mode="json"),
        "scores": scores,
        "reference": [],
        "notes": notes,
    }


def evaluate_reference(
    cube: xr.Dataset,
    samples: xr.Dataset,
    bundles: Mapping[str, ModelBundle],
    reference: NDArray[np.uint8],
    bound: NDArray[np.uint8] | None,
    *,
    block_m: float,
    edge: int = 512,
    note: Note | None = None,
) -> list[dict[str, Any]]:
    """Score models on every pixel of the held-out blocks against a raster that is true.

    Parameters
    ----------
    cube : xarray.Dataset
        With the source variable and ``polygon``.
    samples : xarray.Dataset
        Says which blocks are held out, and which polygons were trained on.
    bundles : mapping of name to ModelBundle
    reference : (y, x) uint8
        True class codes, 255 where unknown.
    bound : (y, x) uint8, optional
        The best possible map.
    block_m : float
        Edge of a block in metres, as the samples were cut.
    edge : int
        Rows and columns that are predicted at a time.
    note : callable, optional
        Told how many windows are done.

    Returns
    -------
    list of dict
        Scores as `evaluate_models` returns them, with ``split`` "reference".  All are over the same
        pixels: in a held-out block, in no training polygon, observed in at least one month.
    """
    classes = ClassScheme.from_attrs(samples["label"].attrs)
    n_class = len(classes.names)
    names = [*bundles, *([BOUND] if bound is not None else [])]
    matrices = {name: np.zeros((n_class, n_class), np.int64) for name in names}
    windows = _windows(cube, edge)
    for done, (rows, cols) in enumerate(windows, start=1):
        window = cube.isel(y=rows, x=cols)
        chosen = _held_out(window, samples, block_m) & (reference[rows, cols] != UNKNOWN)
        if chosen.any():
            counts = window[source_name(cube)].values[:, :, chosen].transpose(2, 0, 1)
            truth = reference[rows, cols][chosen]
            found = {name: _codes(bundle, counts) for name, bundle in bundles.items()}
            if bound is not None:
                found[BOUND] = bound[rows, cols][chosen]
            seen = np.logical_and.reduce([codes != UNKNOWN for codes in found.values()])
            for name, codes in found.items():
                matrices[name] += confusion(truth[seen], codes[seen], n_class)
        if note is not None:
            note(done, len(windows))
    blank: list[Fold] = [
        (samples["fold_block"].values != HOLDOUT, np.zeros(samples.sizes["sample"], bool))
    ]
    return [_score(name, "reference", matrix, samples, blank) for name, matrix in matrices.items()]


_TITLES = {
    "block": "Spatial hold-out",
    "random": "Random split",
    "polygon": "Cross-validation by polygon",
}


def _folds(samples: xr.Dataset, split: str, seed: int) -> Iterator[Fold]:
    block = samples["fold_block"].values
    if split == "block":
        yield block != HOLDOUT, block == HOLDOUT
    elif split == "random":
        # as many test rows as the spatial hold-out has, so that only the kind of split differs
        test = np.zeros(len(block), bool)
        drawn = np.random.default_rng(seed).permutation(len(block))
        test[drawn[: int((block == HOLDOUT).sum())]] = True
        yield ~test, test
    else:
        fold = samples["fold_polygon"].values
        for k in np.unique(fold):
            yield fold != k, fold == k


def _codes(bundle: ModelBundle, counts: NDArray[Any]) -> NDArray[np.uint8]:
    return most_likely(bundle.predict_proba(counts).T, UNKNOWN)


def _confusion(
    bundle: ModelBundle, samples: xr.Dataset, test: NDArray[np.bool_]
) -> NDArray[np.int64]:
    counts = samples[bundle.fit.source].values[test]
    label = samples["label"].values[test]
    return confusion(label, _codes(bundle, counts), len(bundle.classes.names))


def _majority(
    split: str, samples: xr.Dataset, parts: list[Fold], classes: ClassScheme
) -> dict[str, Any]:
    label = samples["label"].values
    matrix = np.zeros((len(classes.names),) * 2, np.int64)
    for rows, test in parts:
        common = np.bincount(label[rows]).argmax()
        matrix += confusion(label[test], np.full(int(test.sum()), common), len(matrix))
    return _score(MAJORITY, split, matrix, samples, parts)


def _score(
    model: str, split: str, matrix: NDArray[np.int64], samples: xr.Dataset, parts: list[Fold]
) -> dict[str, Any]:
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


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _weaknesses(samples: xr.Dataset, parts: list[Fold], classes: ClassScheme) -> Iterator[str]:
    """What a reader must know before believing a figure."""
    tested = np.logical_or.reduce([test for _, test in parts])
    n = count_polygons(samples, tested)
    label = samples["label"].values
    if n < _FEW_POLYGONS:
        yield (
            f"only {n} polygons are tested (fewer than {_FEW_POLYGONS}); figures of this size "
            "mean little"
        )
    for code, name in enumerate(classes.names):
        blind = sum(not (rows & (label == code)).any() for rows, _ in parts)
        if blind:
            yield f"no training pixel of {name} in {blind} of {len(parts)} folds"
        of_class = count_polygons(samples, tested & (label == code))
        if not (tested & (label == code)).any():
            yield f"no test pixel of {name}; its F1 is not known"
        elif 0 < of_class < _FEW_PER_CLASS:
            yield f"only {of_class} test polygon{'s' if of_class > 1 else ''} of {name}"


def _windows(cube: xr.Dataset, edge: int) -> list[tuple[slice, slice]]:
    rows, cols = cube.sizes["y"], cube.sizes["x"]
    return [
        (slice(top, min(top + edge, rows)), slice(left, min(left + edge, cols)))
        for top in range(0, rows, edge)
        for left in range(0, cols, edge)
    ]


def _held_out(window: xr.Dataset, samples: xr.Dataset, block_m: float) -> NDArray[np.bool_]:
    """(y, x): in a block of the hold-out and in no polygon that was trained on."""
    held = samples["fold_block"].values == HOLDOUT
    y, x = np.meshgrid(window["y"].values, window["x"].values, indexing="ij")
    inside = np.isin(blocks(x, y, block_m), np.unique(samples["block"].values[held]))
    trained = np.unique(samples["polygon"].values[~held])
    return inside & ~np.isin(window["polygon"].values, trained[trained > 0])
