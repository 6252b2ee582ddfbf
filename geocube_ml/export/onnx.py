"""A model as one ONNX file: what other programs, and other languages, can ask for a class."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geocube_ml.errors import InputError
from geocube_ml.export.onnx_draft import IR, OPSET, PROBABILITY, SERIES, VALUE, Draft
from geocube_ml.export.onnx_rocket import rocket_graph
from geocube_ml.export.onnx_trees import trees_graph
from geocube_ml.files import Place, whole_file
from geocube_ml.kernels.calibration import FLOOR
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.ensemble import EnsembleModel
from geocube_ml.models.layout import Layout
from geocube_ml.models.model import Model
from geocube_ml.models.network import NetworkModel
from geocube_ml.models.patches import PatchModel
from geocube_ml.models.tables.rocket import RocketModel
from geocube_ml.models.tables.trees import TreesModel

if TYPE_CHECKING:
    import onnx


def onnx_package() -> ModuleType:
    """The package `onnx`, and what torch needs beside it.

    Raises
    ------
    InputError
        They are not installed.
    """
    try:
        import onnx  # noqa: PLC0415  an extra
        import onnxscript  # noqa: F401, PLC0415  torch exports through it
    except ImportError as error:
        raise InputError(
            f"To write ONNX, the extra is needed ({error}): pip install 'geocube-ml[onnx]'."
        ) from error
    return onnx


def to_onnx(bundle: ModelBundle, path: Place) -> None:
    """Write a model as ONNX, from physical values to what the bundle answers.

    Parameters
    ----------
    bundle : ModelBundle
    path : path of the file
        Written whole or not at all; an older one is replaced.

    Raises
    ------
    InputError
        The extra `onnx` is not installed; or the model has learnt nothing that could be written.

    Notes
    -----
    The input ``series`` is (n, time, channel) float32, of a model of patches
    (n, time, channel, y, x): physical values (counts x scale + offset), NaN where missing, the
    sources one after the other as the file's metadata list them, static ones at each step.  The
    output ``probability`` is (n, class) float32, or (n, class, y, x), calibrated: scaling, flags,
    the mean of the members and the temperature are in the graph.  It is NaN where no series (or,
    without any, no static source) has a value at any step, as of `ModelBundle.predict_proba`.  A
    model of numbers has the output ``value``, (n,) or (n, y, x).

    The number of samples, and the height and width of patches, are free.  A patch must begin at a
    multiple of the model's stride, counted as in the training.
    """
    onnx = onnx_package()
    graph = _graph(onnx, bundle.model, bundle.temperature)
    _describe(onnx, graph, bundle)
    onnx.checker.check_model(graph, full_check=True)
    with whole_file(path) as partial:
        partial.write_bytes(graph.SerializeToString())


def _graph(onnx: ModuleType, model: Model, temperature: float) -> onnx.ModelProto:
    """What a model computes, and how its probabilities are softened."""
    if isinstance(model, TreesModel):
        return trees_graph(onnx, model, temperature)
    if isinstance(model, RocketModel):
        return rocket_graph(onnx, model, temperature)
    if isinstance(model, NetworkModel):
        return _traced(onnx, model, temperature)
    if isinstance(model, EnsembleModel):
        return _averaged(onnx, model, temperature)
    raise InputError(f"There is no ONNX for a {model.spec.kind}; take another kind of model.")


def _averaged(onnx: ModuleType, model: EnsembleModel, temperature: float) -> onnx.ModelProto:
    """The graphs of an ensemble's models, and their mean."""
    graphs = [_graph(onnx, part, 1.0) for part in model.parts.values()]
    draft = Draft(onnx, model.layout, model.n_step)
    answers = [draft.take(graph, f"part{number}_") for number, graph in enumerate(graphs)]
    answer = draft.add("Mean", *answers)
    if model.target.n_class is not None:
        answer = draft.softened(answer, temperature)
    return draft.finished(answer, model.target, model.spec.kind)


def _traced(onnx: ModuleType, model: NetworkModel, temperature: float) -> onnx.ModelProto:
    """What torch computes, as a graph."""
    whole = Whole(model, temperature).eval()
    shape = [3, model.n_step, model.layout.n_channel]  # 3: sizes 0 and 1 are cases of their own
    free: dict[int, Any] = {0: torch.export.Dim("n")}
    if isinstance(model, PatchModel):
        shape += [3 * model.stride, 5 * model.stride]
        free |= {3: torch.export.Dim("y", min=2), 4: torch.export.Dim("x", min=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own ways
        program: Any = torch.onnx.export(
            whole,
            (torch.zeros(shape),),
            dynamo=True,
            dynamic_shapes={SERIES: free},
            input_names=[SERIES],
            output_names=[PROBABILITY if model.target.n_class else VALUE],
            opset_version=OPSET,
            verbose=False,
        )
    graph = program.model_proto
    _forget(graph.graph.node)
    graph.graph.ClearField("metadata_props")
    for part in (graph.graph.input, graph.graph.output, graph.graph.value_info):
        _forget(part)
    _forget(graph.graph.initializer)
    del graph.functions[:]
    graph.ir_version = IR
    return onnx.load_from_string(graph.SerializeToString())  # type: ignore[no-any-return]


def _forget(parts: Iterable[Any]) -> None:
    """Remove notes of which lines of code, on which machine, a part comes from."""
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


class Whole(nn.Module):
    """From physical values to what a bundle answers.

    Parameters
    ----------
    model : NetworkModel
    temperature : float
        By which probabilities are softened.
    """

    def __init__(self, model: NetworkModel, temperature: float) -> None:
        super().__init__()
        self.layout, self.target = model.layout, model.target
        self.temperature = temperature
        self.members = nn.ModuleList(Member(model, network) for network in model.networks)

    def forward(self, series: Tensor) -> Tensor:
        """(n, time, channel, ...) physical values -> (n, class, ...) probabilities, or numbers."""
        deciding = self.layout.n_series or self.layout.n_channel
        missing = torch.isnan(series[:, :, :deciding]).flatten(1, 2).all(dim=1)
        answers = [member(series) for member in self.members]
        if self.target.n_class is None:
            mean = torch.stack([answer[:, 0] for answer in answers]).mean(dim=0)
            return (mean * self.target.std + self.target.mean).masked_fill(missing, torch.nan)
        prob = torch.stack([torch.softmax(answer, dim=1) for answer in answers]).mean(dim=0)
        if self.temperature != 1:
            prob = torch.softmax(prob.clamp_min(FLOOR).log() / self.temperature, dim=1)
        return prob.masked_fill(missing[:, None], torch.nan)


class Member(nn.Module):
    """A network, and what its inputs are made by: as `Scaling.apply`."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: NetworkModel, network: nn.Module) -> None:
        super().__init__()
        shape = (-1, *(1, 1) * isinstance(model, PatchModel))
        for name in ("mean", "std"):
            values = torch.from_numpy(getattr(model.scaling, name).copy())
            self.register_buffer(name, values.reshape(shape))
        self.layout: Layout = model.layout
        self.network = copy.deepcopy(network).cpu()

    def forward(self, series: Tensor) -> Tensor:
        """(n, time, channel, ...) physical values -> (n, n_out, ...) of the network."""
        missing = torch.isnan(series)
        known = ((series - self.mean) / self.std).masked_fill(missing, 0)
        seen = [
            ~missing[:, :, part].all(dim=2, keepdim=True) for part in self.layout.slices.values()
        ]
        inputs = torch.cat([known, *(flag.to(known.dtype) for flag in seen)], dim=2)
        out: Tensor = self.network(inputs.transpose(1, 2))
        return out


def _describe(onnx: ModuleType, graph: onnx.ModelProto, bundle: ModelBundle) -> None:
    """Say in the file what it is of, and what it wants."""
    fit, spec = bundle.fit, bundle.model.spec
    graph.producer_name = "geocube_ml"
    graph.producer_version = version("geocube-ml")
    graph.doc_string = (
        f"{bundle.name} ({spec.kind}). Input: physical values, NaN where missing, channels as "
        "`channels` lists them. Output: calibrated probabilities as `classes` lists them, or a "
        "number; NaN where nothing was observed."
    )
    numbers = bundle.model.target.n_class is None
    onnx.helper.set_model_props(
        graph,
        {
            "name": bundle.name,
            "digest": bundle.digest(),
            "kind": spec.kind,
            "classes": json.dumps([] if numbers else list(bundle.classes.names)),
            "sources": json.dumps({source.name: list(source.bands) for source in fit.sources}),
            "channels": json.dumps([f"{s.name}/{band}" for s in fit.sources for band in s.bands]),
            "steps": json.dumps(list(fit.steps)),
            "temperature": repr(bundle.temperature),
        },
    )
