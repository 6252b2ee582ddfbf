"""A model and all that is needed to use it, on disk without pickle.

A folder: ``bundle.json``, and all that was learnt as ``weights.safetensors``.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import TypeAdapter

from geocube_ml.errors import InputError, MissingError
from geocube_ml.files import Place, local_copy, read_json, whole_folder, write_json
from geocube_ml.kernels.calibration import soften
from geocube_ml.kernels.mask import has_data
from geocube_ml.kernels.sampling import any_data
from geocube_ml.models.fit import Fit
from geocube_ml.models.kinds import restored_model
from geocube_ml.models.model import Model
from geocube_ml.models.target import Target
from geocube_ml.spec.base import digest
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.models import ModelSpec

_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, EOFError,
    safetensors.SafetensorError,
)  # fmt: skip
"""What reading a damaged bundle can raise."""

_SPECS: TypeAdapter[ModelSpec] = TypeAdapter(ModelSpec)

FORMAT = 3
"""Of ``bundle.json``; 2 kept forests as scikit-learn's objects."""

_AT_ONCE = 65_536  # pixels that are predicted at a time
_FLOATS = 2**24  # values that they may have: with many bands and steps they are fewer
_FEWEST = 2048  # a network's pass


@dataclass(frozen=True)
class ModelBundle:
    """A trained model as a kernel: a block of the cube in, probabilities out."""

    name: str
    model: Model
    fit: Fit
    classes: ClassScheme
    facts: dict[str, Any] = field(default_factory=dict)
    """Digests, numbers of samples, scores, licence: what is known of how it was made."""
    temperature: float = 1.0
    """By which probabilities are softened; learnt on blocks held out of the training part."""

    @property
    def halo(self) -> int:
        """Pixels around a block that decide its answers; 0 of models of series."""
        return self.model.halo

    @property
    def tolerant(self) -> bool:
        """Whether a cube may lack sources: the model was trained with some taken away."""
        return getattr(self.model.spec, "drop_source", 0) > 0

    @property
    def quantity(self) -> dict[str, str] | None:
        """``column`` and ``units`` of the number that is estimated; None of classes."""
        found: dict[str, str] | None = self.facts.get("quantity")
        return found

    def needed(self, there: Container[Any]) -> tuple[str, ...]:
        """The sources that the model sees of those that are there."""
        return tuple(name for name in self.fit.names if name in there)

    def predict_proba(
        self, counts: Mapping[str, NDArray[Any]], *, calibrated: bool = True
    ) -> NDArray[np.float32]:
        """Probabilities of single pixels, by a model of series.

        Parameters
        ----------
        counts : mapping of source to (n, time, band) or, of a static one, (n, band) array
            As stored; sources that the model does not know are no matter, and those that are not
            there count as missing.
        calibrated : bool
            Softened by the temperature.

        Returns
        -------
        (n, class) float32
            NaN where no series has an observation in any step (without series: no static source
            has data); such pixels never reach the model.
        """

        def ask(series: NDArray[np.float32]) -> NDArray[np.float32]:
            raw = self.model.predict_proba(series)
            return soften(raw, self.temperature) if calibrated else raw

        return self._answers(counts, (len(self.classes.names),), ask)

    def estimate(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Numbers of single pixels, by a model of numbers.

        Parameters
        ----------
        counts : mapping of source to (n, time, band) or, of a static one, (n, band) array
            As of `predict_proba`.

        Returns
        -------
        (n,) float32
            In the unit of the labels (`quantity`); NaN where nothing was observed.
        """
        return self._answers(counts, (), self.model.predict)

    def estimate_block(self, counts: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(y, x) float32 numbers of a block of the cube, as `predict_block` and `estimate`."""
        pixels, shape = self._pixels(counts)
        return self.estimate(pixels).reshape(shape)

    def _answers(
        self,
        counts: Mapping[str, NDArray[Any]],
        shape: tuple[int, ...],
        ask: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """(n, *shape) answers to the pixels that were observed, NaN for the others."""
        names = self.needed(counts)
        n, at_once = len(counts[names[0]]), self._at_once
        found = np.full((n, *shape), np.nan, np.float32)
        seen = np.zeros(n, bool)
        for start in range(0, n, at_once):
            some = slice(start, start + at_once)
            for source in self.fit.deciding:
                if source.name in counts:
                    seen[some] |= any_data(counts[source.name][some], source.nodata)
        rows = np.flatnonzero(seen)
        for start in range(0, len(rows), at_once):
            chosen = rows[start : start + at_once]
            found[chosen] = ask(self.fit.stacked({name: counts[name][chosen] for name in names}))
        return found

    def _pixels(
        self, counts: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], tuple[int, ...]]:
        """Blocks of the sources as series of pixels, and rows and columns."""
        pixels = {}
        for name in self.needed(counts):
            flat = counts[name].reshape(*counts[name].shape[:-2], -1)
            pixels[name] = np.moveaxis(flat, -1, 0)
        return pixels, counts[next(iter(pixels))].shape[-2:]

    def predict_block(
        self, counts: Mapping[str, NDArray[Any]], *, calibrated: bool = True
    ) -> NDArray[np.float32]:
        """Probabilities of a block of the cube.

        Parameters
        ----------
        counts : mapping of source to (time, band, y, x) or, of a static one, (band, y, x) array
            As stored, of one and the same window.  Of a model with a halo it begins at a multiple
            of the model's stride in the cube, and answers nearer than the halo to its edges are
            right only where the cube ends there.
        calibrated : bool
            Softened by the temperature.

        Returns
        -------
        (class, y, x) float32
            NaN where nothing was observed, as of `predict_proba`.
        """
        if self.halo:
            names = self.needed(counts)
            return self._predict_window({name: counts[name] for name in names}, calibrated)
        pixels, shape = self._pixels(counts)
        prob = self.predict_proba(pixels, calibrated=calibrated)
        return np.ascontiguousarray(prob.T).reshape(-1, *shape)

    def _predict_window(
        self, counts: Mapping[str, NDArray[Any]], calibrated: bool
    ) -> NDArray[np.float32]:
        """Probabilities of a window by a model that looks at all of it."""
        shape = next(iter(counts.values())).shape[-2:]
        seen = np.zeros(shape, bool)
        for source in self.fit.deciding:
            if source.name in counts:
                there = has_data(counts[source.name], source.nodata)
                seen |= there.reshape(-1, *shape).any(axis=0)
        prob = np.full((len(self.classes.names), *shape), np.nan, np.float32)
        if seen.any():
            series = self.fit.stacked({name: values[None] for name, values in counts.items()})
            raw = self.model.predict_proba(series)[0][:, seen]
            prob[:, seen] = soften(raw.T, self.temperature).T if calibrated else raw
        return prob

    @property
    def _at_once(self) -> int:
        """Pixels that are predicted at a time: memory does not grow with the block."""
        values = self.fit.layout.n_channel * self.fit.n_step
        whole = _FLOATS // values // _FEWEST * _FEWEST
        return min(max(whole, _FEWEST), _AT_ONCE)

    def digest(self) -> str:
        """16 hex digits over all that was learnt, and what it is used with."""
        content = hashlib.sha256(self.fit.digest().encode() + self.classes.digest().encode())
        content.update(f"{self.temperature!r}".encode())
        for name, part in sorted(self.model.state().items()):
            content.update(name.encode() + np.ascontiguousarray(part).tobytes())
        return content.hexdigest()[:16]

    def save(self, folder: Place) -> None:
        """Write the bundle, whole or not at all; an older one is replaced."""
        with whole_folder(folder) as partial:
            state = {key: np.ascontiguousarray(v) for key, v in self.model.state().items()}
            safetensors.numpy.save_file(state, partial / "weights.safetensors")
            said = {
                "format": FORMAT,
                "name": self.name,
                "spec": self.model.spec.model_dump(mode="json"),
                "fit": self.fit.model_dump(mode="json"),
                "classes": self.classes.model_dump(mode="json"),
                "target": asdict(self.model.target),
                "temperature": self.temperature,
                "learnt": self.model.said(),
                "facts": self.facts,
                "weights": _file_digest(partial / "weights.safetensors"),
                "software": software(),
            }
            write_json(partial / "bundle.json", {**said, "digest": digest(said)})

    @classmethod
    def load(cls, folder: Place) -> Self:
        """Read a bundle from a folder of this machine or of an object store.

        Raises
        ------
        MissingError
            There is none.
        InputError
            It is damaged or edited, its weights do not fit its description, or another version of
            the package wrote it.
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
            described = said.pop("digest")
            _same("digest", digest(said), described)
            _same("weights", _file_digest(local / "weights.safetensors"), said["weights"])
            classes = ClassScheme.model_validate(said["classes"])
            fit, target = Fit.model_validate(said["fit"]), Target(**said["target"])
            if target.n_class is not None:
                _same("classes", target.n_class, len(classes.names))
            model = _restored(said, fit, target, local / "weights.safetensors")
            temperature = float(said["temperature"])
            if not 0 < temperature < np.inf:
                raise ValueError(f"the temperature is {temperature}, it must be above 0")
            return cls(said["name"], model, fit, classes, said["facts"], temperature)
        except InputError:
            raise
        except _DAMAGE as error:
            raise InputError(
                f"The model at {folder} is damaged ({type(error).__name__}: {error}). "
                "Train it again: --redo train."
            ) from error


def software() -> dict[str, str]:
    """Versions of what a model was made with."""
    names = ("geocube-ml", "numpy", "scikit-learn", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _restored(said: dict[str, Any], fit: Fit, target: Target, weights: Path) -> Model:
    spec = _SPECS.validate_python(said["spec"])
    state = safetensors.numpy.load_file(weights)
    return restored_model(spec, fit.layout, fit.n_step, target, state, said["learnt"])


def _check_format(said: dict[str, Any], folder: Place) -> None:
    found = said.get("format", 1)
    if found != FORMAT:
        raise InputError(
            f"The model at {folder} was written by another version of the package: its format is "
            f"{found}, this one reads {FORMAT}. Train it again: --redo train."
        )


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(what: str, found: object, described: object) -> None:
    if found != described:
        raise ValueError(f"the {what}: {found} in the file, {described} by the description")
