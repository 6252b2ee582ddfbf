"""Where on a map a model may be believed: how far each pixel is from what it was trained on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import safetensors.numpy
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from geocube_ml.data.folds import trained_on
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError, MissingError
from geocube_ml.files import Place, local_copy, whole_file
from geocube_ml.kernels.applicability import (
    Known,
    dissimilarity,
    filled_features,
    learn_known,
)
from geocube_ml.kernels.sampling import any_data
from geocube_ml.models.fit import Fit
from geocube_ml.spec.labels import UNKNOWN

_AT_ONCE = 16_384  # pixels whose series are filled at a time


@dataclass(frozen=True)
class Applicability:
    """What was trained on, as pixels of a cube are compared with it."""

    fit: Fit
    known: Known

    def dissimilarity(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The dissimilarity index of single pixels.

        Parameters
        ----------
        counts : mapping of source to (n, time, band) or, of a static one, (n, band) array
            As stored.

        Returns
        -------
        (n,) float32
            0: the same as a training row that is kept (all, unless there are more than `most` of
            `learn_applicability`); NaN where no series has an observation.
        """
        n = len(counts[self.fit.names[0]])
        index, seen = np.full(n, np.nan, np.float32), np.zeros(n, bool)
        for source in self.fit.deciding:
            seen |= any_data(counts[source.name], source.nodata)
        rows = np.flatnonzero(seen)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            index[some] = dissimilarity(_features(self.fit, counts, some), self.known)
        return index

    def of_block(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(y, x) index of a block; counts as of `ModelBundle.predict_block`."""
        first = counts[self.fit.names[0]]
        pixels = {
            name: np.moveaxis(counts[name].reshape(*counts[name].shape[:-2], -1), -1, 0)
            for name in self.fit.names
        }
        return self.dissimilarity(pixels).reshape(first.shape[-2:])

    def save(self, path: Place) -> None:
        """Write it, whole or not at all."""
        known = self.known
        arrays = {"mean": known.mean, "scale": known.scale, "rows": known.rows}
        said = {
            "fit": json.dumps(self.fit.model_dump()),  # which keeps NaN
            "known": json.dumps({"apart": known.apart, "threshold": known.threshold}),
        }
        with whole_file(path) as partial_file, tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "known.safetensors"
            safetensors.numpy.save_file(arrays, local, said)
            partial_file.write_bytes(local.read_bytes())

    @classmethod
    def load(cls, path: Place) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        MissingError
            There is none.
        InputError
            It is damaged.
        """
        if not path.is_file():
            raise MissingError(f"There is no file {path}. Run the step `predict` with --redo.")
        with local_copy(path) as local:
            try:
                arrays = safetensors.numpy.load_file(local)
                with safe_open(local, "numpy") as file:
                    said = file.metadata()
                numbers = json.loads(said["known"])
                known = Known(
                    arrays["mean"], arrays["scale"], arrays["rows"], numbers["apart"],
                    numbers["threshold"],
                )  # fmt: skip
                return cls(Fit.model_validate(json.loads(said["fit"])), known)
            except (ValueError, KeyError, TypeError, SafetensorError) as error:
                raise InputError(
                    f"{path} is damaged ({type(error).__name__}: {error}). Make it anew: "
                    "--redo predict."
                ) from error


def learn_applicability(
    samples: xr.Dataset,
    *,
    rows: NDArray[np.bool_] | None = None,
    folds: str = "fold_block",
    weight: ArrayLike | None = None,
    most: int = 5000,
    seed: int = 0,
) -> Applicability:
    """What pixels are compared with, from a sample table.

    Parameters
    ----------
    samples : xarray.Dataset
        From `gather_samples`.
    rows : (sample,) bool, optional
        That the model was trained on; by default those that are not held out and weigh more than
        0, as of `train_model`.
    folds : str
        Variable of the table: the index of a training row, from which the threshold follows, is its
        distance to rows of other folds.
    weight : (feature,) floats, optional
        How important each column of `Layout.flat` is to the model; all alike by default.
    most : int
        Rows that are kept, drawn at random, one of each fold at least.
    seed : int

    Returns
    -------
    Applicability

    Raises
    ------
    InputError
        The rows lie in one fold only, or are all alike.

    Notes
    -----
    Gaps of a series are filled by straight lines in time, in training rows and pixels alike, so
    that a cloud makes no pixel special; a band that was never observed at a place counts as the
    mean of training.  See `geocube_ml.kernels.applicability`.
    """
    used = _trained_on(samples) if rows is None else rows
    fit = Fit.model_validate(described(samples))
    at = np.flatnonzero(used)
    counts = {name: samples[name].values for name in fit.names}
    parts = [_features(fit, counts, at[i : i + _AT_ONCE]) for i in range(0, len(at), _AT_ONCE)]
    try:
        known = learn_known(
            np.concatenate(parts), samples[folds].values[used],
            weight=None if weight is None else np.asarray(weight, np.float64),
            most=most, seed=seed,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(
            f"The area of applicability cannot be told of {len(at)} training rows: {error}. Take "
            "more samples, smaller blocks (`samples.block_m`), or other folds."
        ) from error
    return Applicability(fit, known)


def _trained_on(samples: xr.Dataset) -> NDArray[np.bool_]:
    """Rows of 0 weight teach a model nothing."""
    used = trained_on(samples)
    return used & (samples["weight"].values > 0) if "weight" in samples else used


def applicability_map(cube: xr.Dataset, learnt: Applicability) -> xr.Dataset:
    """Where a model may be believed; on a dask-backed cube this builds a graph and reads nothing.

    Parameters
    ----------
    cube : xarray.Dataset
        With the sources, bands and steps of the samples.
    learnt : Applicability

    Returns
    -------
    xarray.Dataset
        ``dissimilarity`` (y, x) float32, NaN where nothing was observed; ``applicable`` (y, x)
        uint8, 1 up to the threshold, 0 above it, 255 where nothing was observed.

    Raises
    ------
    InputError, GridMismatch
        The cube is not like the samples.
    """
    fit = learnt.fit
    fit.check(Fit.model_validate(described(cube)))
    lead = cube[fit.names[0]].chunk()
    blocks: list[Any] = []
    for name in fit.names:
        whole = {dim: -1 for dim in cube[name].dims if dim not in ("y", "x")}
        source = cube[name].chunk({**whole, **{dim: lead.chunksizes[dim] for dim in ("y", "x")}})
        blocks += [source.data, (*(f"{name} {dim}" for dim in whole), "y", "x")]
    index = da.blockwise(
        partial(_of_block, names=fit.names, learnt=learnt), ("y", "x"), *blocks,
        concatenate=True, dtype=np.float32, meta=np.empty((0, 0), np.float32),
    )  # fmt: skip
    attrs = applicability_attrs(learnt.known.threshold)
    applicable = index.map_blocks(below, learnt.known.threshold, dtype=np.uint8)
    return xr.Dataset(
        {
            "dissimilarity": (("y", "x"), index, attrs["dissimilarity"]),
            "applicable": (("y", "x"), applicable, attrs["applicable"]),
        },
        coords={str(k): v for k, v in lead.coords.items() if k in ("y", "x", "spatial_ref")},
    )


def below(index: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """1 up to the threshold, 0 above it, 255 where there is no index."""
    return np.where(np.isnan(index), UNKNOWN, index <= threshold).astype(np.uint8)


def applicability_attrs(threshold: float) -> dict[str, dict[str, Any]]:
    """Attributes of the two variables."""
    return {
        "dissimilarity": {
            "long_name": "dissimilarity to the training data",
            "units": "1",
            "threshold": round(threshold, 6),
            "nodata": float("nan"),
            "grid_mapping": "spatial_ref",
        },
        "applicable": {
            "long_name": "area of applicability",
            "flag_values": [0, 1],
            "flag_meanings": "not_applicable applicable",
            "nodata": UNKNOWN,
            "grid_mapping": "spatial_ref",
        },
    }


def _of_block(
    *blocks: NDArray[Any], names: tuple[str, ...], learnt: Applicability
) -> NDArray[np.float32]:
    return learnt.of_block(dict(zip(names, blocks, strict=True)))


def _features(
    fit: Fit, counts: Mapping[str, NDArray[Any]], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(n, feature) physical values without gaps, as tables of models have them."""
    series = fit.stacked({name: counts[name][rows] for name in fit.names})
    return fit.layout.flat(filled_features(series))
