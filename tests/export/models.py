"""Models with random weights, which say as much about an export as trained ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.fit import Fit, FitSource
from geocube_ml.models.network import NetworkModel
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.patches import PatchModel
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.target import Target
from geocube_ml.spec.labels import ClassScheme
from geocube_ml.spec.networks import DeepLabSpec, UNetSpec

FIT = Fit(
    sources=(
        FitSource(name="s2", bands=("red", "nir", "swir"), nodata=0, scale=1e-4),
        FitSource(name="s1", bands=("vv", "vh"), nodata=np.nan),
        FitSource(name="dem", bands=("height", "slope"), nodata=-9999, static=True),
    ),
    steps=("04-01", "05-01", "06-01", "07-01", "08-01"),
)
ONE = Fit(sources=FIT.sources[:1], steps=FIT.steps)
CLASSES = ClassScheme(
    names=("maize", "winter wheat", "forêt", "water"),
    colors=("#e8c547", "#2f7d4f", "#c2703d", "#7fb069"),
)


def make_series(
    n: int, fit: Fit = FIT, area: tuple[int, ...] = (), seed: int = 0
) -> NDArray[np.float32]:
    """(n, time, channel, ...) physical values: some miss, whole sources, and the first sample."""
    rng = np.random.default_rng(seed)
    shape = (n, fit.n_step, fit.layout.n_channel, *area)
    series = rng.normal(0.3, 0.2, shape).astype("float32")
    series[rng.random(shape) < 0.1] = np.nan
    still = fit.layout.n_series
    series[:, :, still:] = series[:, :1, still:]
    for part in fit.layout.slices.values():
        series[2:][rng.random(n - 2) < 0.2, :, part] = np.nan  # not of the second
    series[0] = np.nan
    return series


def untrained(
    spec: Any, fit: Fit = FIT, n_class: int | None = 4, temperature: float = 1.7
) -> ModelBundle:
    """A bundle of networks with random weights."""
    torch.manual_seed(0)
    target = Target(n_class) if n_class else Target(None, 40.0, 12.0)
    layout = fit.layout
    rng = np.random.default_rng(1)
    scaling = Scaling(
        rng.normal(0.3, 0.1, layout.n_channel).astype("float32"),
        rng.uniform(0.1, 0.3, layout.n_channel).astype("float32"),
    )
    networks = [
        build_network(spec, layout, fit.n_step, target.n_out).eval() for _ in range(spec.members)
    ]
    kind = PatchModel if isinstance(spec, UNetSpec | DeepLabSpec) else NetworkModel
    model = kind(spec, layout, fit.n_step, target, scaling, networks)
    return ModelBundle("fields", model, fit, CLASSES, {"n_train": 60}, temperature)
