"""How good models are against a raster that is true everywhere, where none was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geocube_ml.data.folds import TRAIN, VALIDATION, held_out, split_codes, trained_on, with_gap
from geocube_ml.evaluate.folds import Fold
from geocube_ml.evaluate.scores import BOUND, class_codes, score_of_matrix, sizes_of
from geocube_ml.kernels.accuracy import confusion
from geocube_ml.kernels.sampling import blocks
from geocube_ml.kernels.scaling import most_likely
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.predict import predict_window
from geocube_ml.spec.labels import UNKNOWN, ClassScheme

Note = Callable[[int, int], None]


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
        With the sources of the models and ``polygon``.
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
        pixels: in a held-out block, in no training polygon, observed in at least one step.
    """
    held = HeldOut.of(samples, block_m)
    windows = _windows(cube, edge)
    found = []
    for done, (rows, cols) in enumerate(windows, start=1):
        known = None if bound is None else bound[rows, cols]
        found.append(judge_window(cube, rows, cols, held, bundles, reference[rows, cols], known))
        if note is not None:
            note(done, len(windows))
    return reference_scores(samples, found)


@dataclass(frozen=True)
class HeldOut:
    """Which pixels no model has seen."""

    blocks: NDArray[np.int64]
    """Blocks of the hold-out."""
    trained: NDArray[np.int32]
    """Polygons that were trained on, or said when to stop."""
    block_m: float
    n_class: int

    @classmethod
    def of(cls, samples: xr.Dataset, block_m: float) -> Self:
        """Of a sample table."""
        held = held_out(samples)
        split = with_gap(samples, split_codes(samples))
        used = np.isin(split, (TRAIN, VALIDATION))  # networks saw both
        trained = np.unique(samples["polygon"].values[used])
        classes = ClassScheme.from_attrs(samples["label"].attrs)
        block = samples["block"].values
        # a given split may share a block, of which then nobody knows what a model has seen
        blocks_held = np.setdiff1d(block[held], block[used])
        return cls(blocks_held, trained[trained > 0], block_m, len(classes.names))

    def pixels(self, window: xr.Dataset) -> NDArray[np.bool_]:
        """(y, x): in a block of the hold-out and in no polygon that was trained on."""
        y, x = np.meshgrid(window["y"].values, window["x"].values, indexing="ij")
        inside = np.isin(blocks(x, y, self.block_m), self.blocks)
        known = np.isin(window["polygon"].values, self.trained)  # (y, x), or one a layer of labels
        return inside & ~known.reshape(-1, *inside.shape).any(axis=0)


def judge_window(
    cube: xr.Dataset,
    y: slice,
    x: slice,
    held: HeldOut,
    bundles: Mapping[str, ModelBundle],
    reference: NDArray[np.uint8],
    bound: NDArray[np.uint8] | None,
) -> dict[str, NDArray[np.int64]]:
    """Model to (class, class) confusion on a window; parameters as of `evaluate_reference`."""
    window = cube.isel(y=y, x=x)
    judged = [*bundles, *([BOUND] if bound is not None else [])]
    matrices = {name: np.zeros((held.n_class,) * 2, np.int64) for name in judged}
    chosen = held.pixels(window) & (reference != UNKNOWN)
    if chosen.any():
        single = {name: bundle for name, bundle in bundles.items() if not bundle.halo}
        names = dict.fromkeys(name for bundle in single.values() for name in bundle.fit.names)
        counts = {name: np.moveaxis(window[name].values[..., chosen], -1, 0) for name in names}
        found = {
            name: class_codes(bundle, counts)
            if name in single
            else most_likely(predict_window(cube, bundle, y, x), UNKNOWN)[chosen]
            for name, bundle in bundles.items()
        }
        if bound is not None:
            found[BOUND] = bound[chosen]
        seen = np.logical_and.reduce([codes != UNKNOWN for codes in found.values()])
        for name, codes in found.items():
            matrices[name] += confusion(reference[chosen][seen], codes[seen], held.n_class)
    return matrices


def reference_scores(
    samples: xr.Dataset, found: Sequence[Mapping[str, NDArray[np.int64]]]
) -> list[dict[str, Any]]:
    """The figures of `evaluate_reference` from what was found in each of its windows."""
    blank: list[Fold] = [(trained_on(samples), np.zeros(samples.sizes["sample"], bool))]
    sizes = sizes_of(samples, blank)
    return [
        score_of_matrix(name, "reference", np.sum([one[name] for one in found], axis=0), sizes)
        for name in found[0]
    ]


def _windows(cube: xr.Dataset, edge: int) -> list[tuple[slice, slice]]:
    rows, cols = cube.sizes["y"], cube.sizes["x"]
    return [
        (slice(top, min(top + edge, rows)), slice(left, min(left + edge, cols)))
        for top in range(0, rows, edge)
        for left in range(0, cols, edge)
    ]
