"""A model and all that is needed to use it, on disk without pickle.

A folder: ``bundle.json``, and the weights as ``weights.safetensors`` (networks) or
``forest.skops`` (scikit-learn; skops keeps estimators without running code when it reads them).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from geocube_ml.errors import GridMismatch, InputError, MissingError
from geocube_ml.files import Place, local_copy, read_json, whole_folder, write_json
from geocube_ml.kernels.scaling import to_physical
from geocube_ml.models.forest import ForestClassifier
from geocube_ml.models.network import NetworkClassifier
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tempcnn import TempCNN
from geocube_ml.spec.base import Spec
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ForestSpec, TempCNNSpec

Classifier = NetworkClassifier | ForestClassifier

_SKOPS_TYPES = ["sklearn.tree._tree.Tree", "numpy.dtype"]

_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, EOFError,
    zlib.error, zipfile.BadZipFile, safetensors.SafetensorError,
)  # fmt: skip
"""What reading a damaged bundle can raise."""


class Fit(Spec):
    """What a cube must be like for a model to be used on it."""

    source: str
    """Variable of the cube."""
    bands: tuple[str, ...]
    months: tuple[int, ...]
    """Calendar month (1 to 12) of each step."""
    nodata: float
    scale: float

    def check(self, bands: tuple[str, ...], months: tuple[int, ...]) -> None:
        """Refuse a cube that differs.

        Raises
        ------
        GridMismatch
            Names what differs, with both values.
        """
        for what, has, needs in (("bands", bands, self.bands), ("months", months, self.months)):
            if has != needs:
                raise GridMismatch(
                    f"The model was trained on the {what} {_list(needs)}, but the cube has "
                    f"{_list(has)}. Make a cube with those {what}, or train on this one."
                )


@dataclass(frozen=True)
class ModelBundle:
    """A trained model as a kernel: a block of the cube in, probabilities out."""

    name: str
    classifier: Classifier
    fit: Fit
    classes: ClassScheme
    facts: dict[str, Any]
    """Digests, number of samples, training curve: what is known of how it was made."""

    def predict_proba(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """(n, time, band) counts -> (n, class); NaN where no month was observed.

        Series without any observation never reach the model.
        """
        series = to_physical(counts, self.fit.nodata, self.fit.scale)
        seen = ~np.isnan(series).all(axis=(1, 2))
        prob = np.full((len(series), len(self.classes.names)), np.nan, np.float32)
        if seen.any():
            prob[seen] = self.classifier.predict_proba(series[seen])
        return prob

    def predict_block(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """(time, band, y, x) counts -> (class, y, x); NaN where no month was observed."""
        n_time, n_band, rows, cols = counts.shape
        series = counts.reshape(n_time, n_band, -1).transpose(2, 0, 1)
        return np.ascontiguousarray(self.predict_proba(series).T).reshape(-1, rows, cols)

    def digest(self) -> str:
        """16 hex digits over the weights or trees, and what they are used with."""
        content = hashlib.sha256(self.fit.digest().encode() + self.classes.digest().encode())
        for part in _arrays(self.classifier):
            content.update(np.ascontiguousarray(part).tobytes())
        return content.hexdigest()[:16]

    def save(self, folder: Place) -> None:
        """Write the bundle, whole or not at all; an older one is replaced."""
        with whole_folder(folder) as partial:
            if isinstance(self.classifier, NetworkClassifier):
                state = self.classifier.network.state_dict()
                scaling = self.classifier.scaling
                tensors = {key: value.contiguous() for key, value in state.items()}
                safetensors.torch.save_file(tensors, partial / "weights.safetensors")
                extra: dict[str, Any] = {
                    "scaling": {"mean": scaling.mean.tolist(), "std": scaling.std.tolist()},
                    "history": self.classifier.history,
                }
            else:
                skops.io.dump(self.classifier.forest, partial / "forest.skops")
                extra = {}
            write_json(
                partial / "bundle.json",
                {
                    "name": self.name,
                    "spec": self.classifier.spec.model_dump(mode="json"),
                    "fit": self.fit.model_dump(mode="json"),
                    "classes": self.classes.model_dump(mode="json"),
                    "facts": self.facts,
                    **extra,
                },
            )

    @classmethod
    def load(cls, folder: Place) -> Self:
        """Read a bundle from a folder of this machine or of an object store.

        Raises
        ------
        MissingError
            There is none.
        InputError
            It is damaged, or its weights do not fit its description.
        """
        if not (folder / "bundle.json").exists():
            raise MissingError(f"There is no model at {folder}. Run the step `train` first.")
        with local_copy(folder) as local:
            return cls._read(local, folder)

    @classmethod
    def _read(cls, local: Path, folder: Place) -> Self:
        try:
            said = read_json(local / "bundle.json")
            classes = ClassScheme.model_validate(said["classes"])
            fit = Fit.model_validate(said["fit"])
            classifier = _load(local, said, fit, len(classes.names))
            return cls(said["name"], classifier, fit, classes, said["facts"])
        except _DAMAGE as error:
            raise InputError(
                f"The model at {folder} is damaged ({type(error).__name__}: {error}). "
                "Train it again: --redo train."
            ) from error


def _arrays(classifier: Classifier) -> Iterator[NDArray[Any]]:
    """All that a classifier has learnt, in a fixed order."""
    if isinstance(classifier, NetworkClassifier):
        yield from (classifier.scaling.mean, classifier.scaling.std)
        yield from (tensor.numpy() for _, tensor in sorted(classifier.network.state_dict().items()))
        return
    for tree in classifier.forest.estimators_:
        state = tree.tree_.__getstate__()
        # field by field: what lies between the fields of a node is not set
        yield from (state["nodes"][name] for name in state["nodes"].dtype.names)
        yield state["values"]


def _load(folder: Path, said: dict[str, Any], fit: Fit, n_class: int) -> Classifier:
    if said["spec"]["kind"] == "forest":
        forest = skops.io.load(folder / "forest.skops", trusted=_SKOPS_TYPES)
        _same("forest", type(forest).__name__, RandomForestClassifier.__name__)
        _same("forest's inputs", forest.n_features_in_, len(fit.months) * len(fit.bands))
        if max(forest.classes_) >= n_class:
            raise ValueError(f"the forest has a class {max(forest.classes_)} of {n_class}")
        return ForestClassifier(ForestSpec.model_validate(said["spec"]), forest, n_class)
    spec = TempCNNSpec.model_validate(said["spec"])
    network = TempCNN(spec, len(fit.bands) + 1, len(fit.months), n_class)
    network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    scaling = Scaling(*(np.array(said["scaling"][k], np.float32) for k in ("mean", "std")))
    _same("scaling's bands", (scaling.mean.shape, scaling.std.shape), ((len(fit.bands),),) * 2)
    history = [(a, b) for a, b in said["history"]]
    return NetworkClassifier(spec, scaling, network, history)


def _same(what: str, found: object, described: object) -> None:
    if found != described:
        raise ValueError(f"the {what}: {found} in the file, {described} by the description")


def _list(values: tuple[Any, ...]) -> str:
    return ", ".join(str(value) for value in values)
