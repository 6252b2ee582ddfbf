"""A model and all that is needed to use it, on disk without pickle.

A folder: ``bundle.json``, and the weights as ``weights.safetensors`` (networks) or
``forest.skops`` (scikit-learn; skops keeps estimators without running code when it reads them).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from geocube_ml.errors import InputError, MissingError
from geocube_ml.files import Place, local_copy, read_json, whole_folder, write_json
from geocube_ml.kernels.sampling import any_data
from geocube_ml.models.fit import Fit
from geocube_ml.models.forest import ForestClassifier
from geocube_ml.models.network import NetworkClassifier
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tempcnn import TempCNN
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ForestSpec, TempCNNSpec

Classifier = NetworkClassifier | ForestClassifier

_SKOPS_TYPES = ["sklearn.tree._tree.Tree", "numpy.dtype"]

_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, EOFError,
    zlib.error, zipfile.BadZipFile, safetensors.SafetensorError,
)  # fmt: skip
"""What reading a damaged bundle can raise."""


FORMAT = 2
"""Of ``bundle.json``; 1 knew one source only."""

_AT_ONCE = 65_536  # pixels that are predicted at a time
_FLOATS = 2**24  # values that they may have: with many bands and steps they are fewer
_FEWEST = 2048  # a network's pass


@dataclass(frozen=True)
class ModelBundle:
    """A trained model as a kernel: a block of the cube in, probabilities out."""

    name: str
    classifier: Classifier
    fit: Fit
    classes: ClassScheme
    facts: dict[str, Any]
    """Digests, number of samples, training curve: what is known of how it was made."""

    def predict_proba(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Probabilities of single pixels.

        Parameters
        ----------
        counts : mapping of source to (n, time, band) or, of a static one, (n, band) array
            As stored; sources that the model does not know are no matter.

        Returns
        -------
        (n, class) float32
            NaN where no series has an observation in any step (without series: no static source
            has data); such pixels never reach the model.
        """
        n, at_once = len(counts[self.fit.names[0]]), self._at_once
        prob = np.full((n, len(self.classes.names)), np.nan, np.float32)
        seen = np.zeros(n, bool)
        for start in range(0, n, at_once):
            some = slice(start, start + at_once)
            for source in self.fit.deciding:
                seen[some] |= any_data(counts[source.name][some], source.nodata)
        rows = np.flatnonzero(seen)
        for start in range(0, len(rows), at_once):
            chosen = rows[start : start + at_once]
            series = self.fit.stacked({name: counts[name][chosen] for name in self.fit.names})
            prob[chosen] = self.classifier.predict_proba(series)
        return prob

    def predict_block(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Probabilities of a block of the cube.

        Parameters
        ----------
        counts : mapping of source to (time, band, y, x) or, of a static one, (band, y, x) array
            As stored, of one and the same window.

        Returns
        -------
        (class, y, x) float32
            NaN where nothing was observed, as of `predict_proba`.
        """
        rows, cols = counts[self.fit.names[0]].shape[-2:]
        pixels = {}
        for name in self.fit.names:
            flat = counts[name].reshape(*counts[name].shape[:-2], -1)
            pixels[name] = np.moveaxis(flat, -1, 0)
        prob = self.predict_proba(pixels)
        return np.ascontiguousarray(prob.T).reshape(-1, rows, cols)

    @property
    def _at_once(self) -> int:
        """Pixels that are predicted at a time: memory does not grow with the block."""
        values = self.fit.layout.n_channel * self.fit.n_step
        whole = _FLOATS // values // _FEWEST * _FEWEST
        return min(max(whole, _FEWEST), _AT_ONCE)

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
                    "format": FORMAT,
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
            It is damaged, its weights do not fit its description, or another version of the
            package wrote it.
        """
        if not (folder / "bundle.json").exists():
            raise MissingError(f"There is no model at {folder}. Run the step `train` first.")
        with local_copy(folder) as local:
            return cls._read(local, folder)

    @classmethod
    def _read(cls, local: Path, folder: Place) -> Self:
        try:
            said = read_json(local / "bundle.json")
            _check_format(said, folder)
            classes = ClassScheme.model_validate(said["classes"])
            fit = Fit.model_validate(said["fit"])
            classifier = _load(local, said, fit, len(classes.names))
            return cls(said["name"], classifier, fit, classes, said["facts"])
        except InputError:
            raise
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


def _check_format(said: dict[str, Any], folder: Place) -> None:
    found = said.get("format", 1)
    if found != FORMAT:
        raise InputError(
            f"The model at {folder} was written by another version of the package: its format is "
            f"{found}, this one reads {FORMAT}. Train it again: --redo train."
        )


def _load(folder: Path, said: dict[str, Any], fit: Fit, n_class: int) -> Classifier:
    layout = fit.layout
    if said["spec"]["kind"] == "forest":
        forest = skops.io.load(folder / "forest.skops", trusted=_SKOPS_TYPES)
        _same("forest", type(forest).__name__, RandomForestClassifier.__name__)
        _same("forest's inputs", forest.n_features_in_, layout.n_feature(fit.n_step))
        if max(forest.classes_) >= n_class:
            raise ValueError(f"the forest has a class {max(forest.classes_)} of {n_class}")
        return ForestClassifier(ForestSpec.model_validate(said["spec"]), layout, forest, n_class)
    spec = TempCNNSpec.model_validate(said["spec"])
    network = TempCNN(spec, layout.n_channel + len(layout.sizes), fit.n_step, n_class)
    network.load_state_dict(safetensors.torch.load_file(folder / "weights.safetensors"))
    scaling = Scaling(*(np.array(said["scaling"][k], np.float32) for k in ("mean", "std")))
    shapes = (scaling.mean.shape, scaling.std.shape)
    _same("scaling's bands", shapes, ((layout.n_channel,),) * 2)
    history = [(a, b) for a, b in said["history"]]
    return NetworkClassifier(spec, layout, scaling, network, history)


def _same(what: str, found: object, described: object) -> None:
    if found != described:
        raise ValueError(f"the {what}: {found} in the file, {described} by the description")
