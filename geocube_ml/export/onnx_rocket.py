"""MiniRocket as an ONNX graph: sums, comparisons and shares."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from geocube_ml.export.onnx_draft import SERIES, Draft
from geocube_ml.kernels.minirocket import HEAVY, TAPS, Filters
from geocube_ml.models.tables.rocket import RocketModel

if TYPE_CHECKING:
    import onnx


def rocket_graph(onnx: ModuleType, model: RocketModel, temperature: float) -> onnx.ModelProto:
    """A graph from physical values to calibrated probabilities, or to numbers.

    Parameters
    ----------
    onnx : module
        The package.
    model : RocketModel
    temperature : float
        By which probabilities are softened.

    Returns
    -------
    onnx.ModelProto
        As `to_onnx` describes it.

    Notes
    -----
    Taps are added in the order of `kernels.minirocket`, not by a convolution: whether an answer is
    above its bias must not hang on the rounding.  A series takes memory for each feature at each
    step of one dilation: a few thousand series at a time are enough.
    """
    layout, target, filters = model.layout, model.target, model.filters
    draft = Draft(onnx, layout, model.n_step)
    inputs = _standardized(draft, model)
    seen = draft.add("Gather", inputs, draft.keep(model.seen), axis=1)
    columns = [_features(draft, filters, seen, at) for at in range(len(filters.dilation))]
    static = np.setdiff1d(
        np.arange(layout.n_channel + len(layout.sizes)),
        [*range(layout.n_series), *range(layout.n_channel, layout.n_channel + len(layout.series))],
    )
    if static.size:
        first = draft.add("Gather", inputs, draft.keep(np.int64(0)), axis=2)
        columns.append(draft.add("Gather", first, draft.keep(static.astype(np.int64)), axis=1))
    table = draft.as_float(draft.add("Concat", *columns, axis=1), double=True)
    weight = draft.as_float(draft.keep(model.weight), double=True)
    answers = draft.add(
        "Add", draft.add("MatMul", table, weight), draft.keep(model.intercept.astype(np.float64))
    )
    if target.n_class is None:
        number = draft.add("Squeeze", answers, draft.ints(1))
        spread = draft.add("Mul", number, draft.keep(np.float64(target.std)))
        found = draft.as_float(draft.add("Add", spread, draft.keep(np.float64(target.mean))))
    else:
        prob = draft.as_float(draft.add("Softmax", answers, axis=1))
        found = draft.softened(draft.placed(prob, model.classes, target.n_class), temperature)
    return draft.finished(found, target, model.spec.kind)


def _standardized(draft: Draft, model: RocketModel) -> str:
    """(n, channel + source, time), as `Scaling.apply`."""
    scaling, layout = model.scaling, model.layout
    missing = draft.add("IsNaN", SERIES)
    spread = draft.add("Sub", SERIES, draft.keep(scaling.mean))
    known = draft.add(
        "Where", missing, draft.keep(np.float32(0)),
        draft.add("Div", spread, draft.keep(scaling.std)),
    )  # fmt: skip
    there = draft.as_float(draft.add("Not", missing))
    axis = draft.ints(2)
    flags = [
        draft.add("ReduceMax", draft.part(there, own.start, own.stop, 2), axis, keepdims=1)
        for own in layout.slices.values()
    ]
    return draft.add("Transpose", draft.add("Concat", known, *flags, axis=2), perm=[0, 2, 1])


def _features(draft: Draft, filters: Filters, seen: str, at: int) -> str:
    """(n, channel, time) -> (n, features of one dilation)."""
    dilation, each, n_filter = int(filters.dilation[at]), int(filters.each[at]), len(HEAVY)
    length = max(filters.n_step, TAPS)
    around = _around(draft, filters, seen, at, length)
    taps = [draft.part(around, tap * dilation, tap * dilation + length, 2) for tap in range(TAPS)]
    total = ""
    for tap in range(0, TAPS, 3):
        three = _three(draft, taps[tap : tap + 3])
        total = draft.add("Add", total, three) if total else three
    side = draft.add("Concat", *taps, axis=1)  # (n, tap * 84, length)
    heavy = [
        draft.add("Gather", side, draft.keep(HEAVY[:, k] * n_filter + np.arange(n_filter)), axis=1)
        for k in range(3)
    ]
    thrice = draft.add("Mul", draft.keep(np.float32(3)), _three(draft, heavy))
    answers = draft.add("Unsqueeze", draft.add("Sub", thrice, total), draft.ints(2))
    first = n_filter * int(filters.each[:at].sum())
    bias = filters.bias[first : first + n_filter * each].reshape(n_filter, each, 1)
    above = draft.as_float(draft.add("Greater", answers, draft.keep(bias)))
    # by turns over all steps, and over those at which no tap lies outside
    inner = np.where((at + np.arange(n_filter)) % 2, 4 * dilation, 0)[:, None, None]
    step = np.arange(length)
    counted = (step >= inner) & (step < length - inner)
    above = draft.add("Mul", above, draft.keep(counted.astype(np.float32)))
    count = draft.add("ReduceSum", above, draft.ints(3), keepdims=0)
    n_counted = counted.sum(axis=2).astype(np.float32)
    share = draft.add("Div", count, draft.keep(n_counted))
    return draft.add("Reshape", share, draft.ints(-1, n_filter * each))


def _around(draft: Draft, filters: Filters, seen: str, at: int, length: int) -> str:
    """(n, channel, time) -> (n, 84, time and zeros): what each filter sees of its channels."""
    n_filter, dilation = len(HEAVY), int(filters.dilation[at])
    ends = np.append(0, filters.end)[at * n_filter : (at + 1) * n_filter + 1]
    size = np.diff(ends)
    # the channel behind the last is 0: filters of few channels add it
    chosen = np.full((size.max(), n_filter), filters.n_channel, np.int64)
    for filter_, (start, n) in enumerate(zip(ends, size, strict=False)):
        chosen[:n, filter_] = filters.channel[start : start + n]
    none = draft.add("Pad", seen, draft.ints(0, 0, 0, 0, 1, 0))
    summed = ""
    for row in chosen:
        one = draft.add("Gather", none, draft.keep(row), axis=1)
        summed = draft.add("Add", summed, one) if summed else one
    before = 4 * dilation + (length - filters.n_step) // 2
    after = length + 8 * dilation - filters.n_step - before
    return draft.add("Pad", summed, draft.ints(0, 0, before, 0, 0, after))


def _three(draft: Draft, parts: list[str]) -> str:
    return draft.add("Add", draft.add("Add", parts[0], parts[1]), parts[2])
