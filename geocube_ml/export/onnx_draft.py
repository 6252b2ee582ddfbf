"""An ONNX graph that is put together node by node, and what graphs of table models share."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.kernels.calibration import FLOOR
from geocube_ml.models.layout import Layout
from geocube_ml.models.target import Target

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Of the standard operators: ONNX 1.15 of October 2023, ONNX Runtime 1.17."""

IR = 9
"""Version of the file format that came with that opset."""

ML = "ai.onnx.ml"
"""Domain of the operators of trees."""

_ML_OPSET = 3

SERIES, PROBABILITY, VALUE = "series", "probability", "value"
"""Names of the input, and of the output of a model of classes and of one of numbers."""


class Draft:
    """Nodes and constants, as they are added; a node is known by its output.

    Parameters
    ----------
    onnx : module
        The package.
    layout : Layout
        Of the input `SERIES`.
    n_step : int
    """

    def __init__(self, onnx: ModuleType, layout: Layout, n_step: int) -> None:
        self.layout = layout
        self.n_step = n_step
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._kept: list[Any] = []

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node; returns its output."""
        name = name or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(
            self._onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes)
        )
        return name

    def take(self, graph: onnx.ModelProto, prefix: str) -> str:
        """All of another graph of the same input; returns its output."""
        package = self._onnx
        named = package.compose.add_prefix(graph, prefix, rename_inputs=False).graph
        self._nodes.extend(named.node)
        self._kept.extend(named.initializer)
        output: str = named.output[0].name
        return output

    def keep(self, values: Any) -> str:
        """A constant; returns its name."""
        name = f"kept_{len(self._kept)}"
        self._kept.append(self._onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def ints(self, *values: int) -> str:
        """A constant of whole numbers, (n,); returns its name."""
        return self.keep(np.array(values, np.int64))

    def part(self, whole: str, start: int, stop: int, axis: int) -> str:
        """``whole[..., start:stop, ...]``."""
        ends = (self.ints(value) for value in (start, stop, axis))
        return self.add("Slice", whole, *ends)

    def as_float(self, values: str, *, double: bool = False) -> str:
        """As float32, or float64."""
        kinds = self._onnx.TensorProto
        return self.add("Cast", values, to=kinds.DOUBLE if double else kinds.FLOAT)

    def flat(self, whole: str, cut: int) -> str:
        """(n, time, channel) -> (n, feature), as `Layout.flat`; `cut` channels have a time axis."""
        layout, parts = self.layout, []
        if cut:
            shape = self.ints(-1, self.n_step * cut)
            parts.append(self.add("Reshape", self.part(whole, 0, cut, 2), shape))
        if layout.static:
            first = self.add("Gather", whole, self.keep(np.int64(0)), axis=1)
            parts.append(self.part(first, cut, layout.n_channel, 1))
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def placed(self, prob: str, classes: NDArray[np.int64], n_class: int) -> str:
        """(n, k) of the classes that there were to learn -> (n, class), the others 0."""
        if len(classes) == n_class:
            return prob
        return self.add("MatMul", prob, self.keep(np.eye(n_class, dtype=np.float32)[classes]))

    def softened(self, prob: str, temperature: float) -> str:
        """As `kernels.calibration.soften`."""
        if temperature == 1:
            return prob
        logs = self.add("Log", self.add("Max", prob, self.keep(np.float32(FLOOR))))
        return self.add(
            "Softmax", self.add("Div", logs, self.keep(np.float32(temperature))), axis=1
        )

    def finished(self, answer: str, target: Target, name: str) -> onnx.ModelProto:
        """The whole graph: what `answer` says, NaN where nothing was observed.

        Parameters
        ----------
        answer : str
            (n, class) probabilities, or (n,) numbers.
        target : Target
        name : str
            Of the graph.
        """
        layout, package, numbers = self.layout, self._onnx, target.n_class is None
        deciding = layout.n_series or layout.n_channel
        there = self.add("Not", self.add("IsNaN", self.part(SERIES, 0, deciding, 2)))
        axes = self.ints(1, 2)
        most = self.add("ReduceMax", self.as_float(there), axes, keepdims=0)
        if not numbers:
            most = self.add("Unsqueeze", most, self.ints(1))
        seen = self.add("Greater", most, self.keep(np.float32(0)))
        out = VALUE if numbers else PROBABILITY
        self.add("Where", seen, answer, self.keep(np.float32(np.nan)), name=out)
        described, kind = package.helper.make_tensor_value_info, package.TensorProto.FLOAT
        graph = package.helper.make_graph(
            self._nodes,
            name,
            [described(SERIES, kind, ["n", self.n_step, layout.n_channel])],
            [described(out, kind, ["n"] if numbers else ["n", target.n_class])],
            self._kept,
        )
        opsets = [
            package.helper.make_opsetid("", OPSET),
            package.helper.make_opsetid(ML, _ML_OPSET),
        ]
        made: onnx.ModelProto = package.helper.make_model(
            graph, opset_imports=opsets, ir_version=IR
        )
        return made
