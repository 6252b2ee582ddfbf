"""Fit networks of patches to the very rows that models of series are fitted to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geocube_ml.data.apart import OUTLINE
from geocube_ml.data.augment import augment
from geocube_ml.data.batch import Channels
from geocube_ml.data.sources import described
from geocube_ml.errors import InputError
from geocube_ml.files import Place
from geocube_ml.kernels.calibration import fit_temperature
from geocube_ml.models.fit import Fit
from geocube_ml.models.layout import Layout
from geocube_ml.models.networks.build import build_network
from geocube_ml.models.patches import PatchModel
from geocube_ml.models.scaling import Scaling, as_inputs
from geocube_ml.models.target import Target
from geocube_ml.spec.augment import AugmentSpec
from geocube_ml.spec.base import digest
from geocube_ml.spec.labels import UNKNOWN
from geocube_ml.spec.models import PatchSpec
from geocube_ml.train.arrays import FEWEST_FOR_TEMPERATURE, Fitted
from geocube_ml.train.curves import Watcher
from geocube_ml.train.feed import Shown, epoch_seed, jittered
from geocube_ml.train.losses import balanced_weights, make_loss
from geocube_ml.train.members import fit_members
from geocube_ml.train.patch_table import PatchTable

CONTEXT = 16
"""Pixels on each side of a patch that are seen too, without labels."""


def fit_patches(
    cube: xr.Dataset,
    samples: xr.Dataset,
    spec: PatchSpec,
    fit: Fit,
    rows: NDArray[np.bool_],
    held: NDArray[np.bool_],
    n_class: int,
    *,
    workers: int = 1,
    folder: Place | None = None,
    watch: Watcher | None = None,
    progress: bool = False,
) -> Fitted:
    """Fit a network of patches.

    Parameters
    ----------
    cube : xarray.Dataset
        That the samples were gathered from.
    samples : xarray.Dataset
        From `gather_samples`.
    spec : UNetSpec or DeepLabSpec
    fit : Fit
        Sources and steps of the samples.
    rows : (sample,) bool
        Which are used, `held` among them.
    held : (sample,) bool
        Which decide when to stop, and the temperature; none may.
    n_class : int
    workers : int
        Threads of a processor; unlike a series, a patch is large enough to share.  Sums of
        convolutions are added in another order by another number, so that weights differ in their
        last bits.
    folder, watch, progress
        As of `fit_members`.

    Returns
    -------
    Fitted

    Raises
    ------
    InputError
        Samples are polygons, or not of this cube; or a way of sampling that patches cannot have.
    TrainingStopped
        The loss is not a number.

    Notes
    -----
    Only pixels of `rows` have labels, so that a comparison with models of series is fair: the same
    labels on the same folds.  What surrounds them is seen as the map will see it, test pixels too,
    but without their labels.  Scaling is learnt on the training rows alone.  In training, patches
    are mirrored and turned by quarters at random, all steps alike.
    """
    _check(cube, samples, spec, fit)
    some = samples.isel(sample=rows)
    trained = ~held[rows]
    if trained.sum() < 2:
        raise InputError(
            f"A network needs at least 2 rows to train on, got {trained.sum()}. Label more "
            "polygons, or take a forest."
        )
    weight = np.ones(some.sizes["sample"], np.float32)
    if "weight" in some:
        weight = some["weight"].values.astype(np.float32)
    series = fit.stacked({name: some[name].values[trained] for name in fit.names})
    scaling = Scaling.learn(series)
    channels = Channels.of(cube[list(fit.names)], scaling.mean, scaling.std, np.nan)
    patches = PatchTable.of(cube, some, channels, ~trained, weight, spec.patch, CONTEXT)
    target, layout, n_step = Target(n_class), fit.layout, fit.n_step
    of_class = None
    if spec.class_weights == "balanced":
        of_class = balanced_weights(some["label"].values[trained], n_class)
    what = (
        digest([spec.result(), patches.digest(), repr(layout), n_class])
        if folder is not None
        else ""
    )
    with threads(workers):
        networks, histories = fit_members(
            lambda: build_network(spec, layout, n_step, n_class),
            lambda seed: PatchFeed(patches, channels, layout, spec, seed),
            make_loss(spec, target, of_class), spec, target,
            digest=what, folder=folder, watch=watch, progress=progress,
        )  # fmt: skip
        model = PatchModel(spec, layout, n_step, target, scaling, networks, histories)
        temperature = _temperature(model, PatchFeed(patches, channels, layout, spec, spec.seed))
    facts = {"n_train": int(trained.sum()), "n_validation": int((~trained).sum()),
             "n_unobserved": 0, "n_patches": len(patches.label)}  # fmt: skip
    return Fitted(model, temperature, facts)


def _check(cube: xr.Dataset, samples: xr.Dataset, spec: PatchSpec, fit: Fit) -> None:
    if OUTLINE in samples:
        raise InputError(
            f"The samples are whole polygons, and {spec.kind} learns from single pixels and what "
            "lies around them. Take `samples.unit: pixel`, or a model of series."
        )
    if spec.sampling != "all":
        raise InputError(
            f"{spec.kind} sees patches, in each of which several classes lie: `sampling: "
            f"{spec.sampling}` cannot be. Take `class_weights: balanced`."
        )
    fit.check(Fit.model_validate(described(cube)))


@dataclass(frozen=True)
class PatchFeed:
    """Batches of patches.

    Parameters
    ----------
    patches : PatchTable
    channels : Channels
        With the scaling, and NaN as fill.
    layout : Layout
    spec : PatchSpec
    seed : int
        Of this member.
    """

    patches: PatchTable
    channels: Channels
    layout: Layout
    spec: PatchSpec
    seed: int

    @property
    def n_batch(self) -> int:
        """Batches of an epoch, of about equal sizes."""
        return max(-(-len(self._trained) // self.spec.batch), 1)

    @cached_property
    def _trained(self) -> NDArray[np.intp]:
        """Patches with a label that is trained on."""
        return np.flatnonzero((self.patches.label != UNKNOWN).any(axis=(1, 2)))

    def batches(self, epoch: int) -> Iterator[Shown]:
        """Shuffled and varied anew each epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        mixed = torch.randperm(len(self._trained), generator=generator).numpy()
        order = self._trained[mixed]
        for number, chosen in enumerate(np.array_split(order, self.n_batch)):
            rng = np.random.default_rng([self.seed, self.spec.augment.seed, epoch, number])
            inputs = jittered(self._inputs(chosen, rng), self.layout, self.spec, generator)
            way = torch.randint(8, (len(chosen),), generator=generator).tolist()
            label, weight = self._labels(self.patches.label, chosen)
            yield Shown(turned(inputs, way), turned(label, way), turned(weight, way))

    def held(self) -> Iterator[Shown]:
        """Patches with a label that is held out, as they lie."""
        chosen = np.flatnonzero((self.patches.held != UNKNOWN).any(axis=(1, 2)))
        for start in range(0, len(chosen), self.spec.batch):
            some = chosen[start : start + self.spec.batch]
            yield Shown(self._inputs(some), *self._labels(self.patches.held, some))

    def _inputs(self, chosen: NDArray[np.intp], rng: np.random.Generator | None = None) -> Tensor:
        """What a network sees of some patches; varied as `augment` says."""
        rows = {key: values[chosen] for key, values in self.patches.counts.items()}
        series, _ = self.channels.floats(rows, np.nan)
        spec = self.spec.augment
        if rng is not None and spec != AugmentSpec(seed=spec.seed):
            static = self.layout.names[len(self.layout.series) :]
            series = augment(series, spec, rng, self.layout.slices, static)
        return torch.from_numpy(as_inputs(series, self.layout.sizes))

    def _labels(self, label: NDArray[np.uint8], chosen: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """(n, edge, edge) codes and weights."""
        codes = torch.from_numpy(label[chosen].astype(np.int64))
        return codes, torch.from_numpy(self.patches.weight[chosen])


def turned(values: Tensor, ways: list[int]) -> Tensor:
    """(n, ..., edge, edge) patches, each turned by quarters, and mirrored from the fourth way on.

    Examples
    --------
    >>> turned(torch.tensor([[[1, 2], [3, 4]]] * 3), [0, 1, 4]).tolist()
    [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[2, 1], [4, 3]]]
    """
    found = [torch.rot90(one, way, (-2, -1)) for one, way in zip(values, ways, strict=True)]
    return torch.stack([one.flip(-1) if way >= 4 else one
                        for one, way in zip(found, ways, strict=True)])  # fmt: skip


def _temperature(model: PatchModel, feed: PatchFeed) -> float:
    """That makes a model as sure as it is right, on the rows that are held out."""
    probs, labels, weights = [], [], []
    with torch.inference_mode():
        for shown in feed.held():
            known = shown.target != UNKNOWN
            answers = [torch.softmax(network(shown.inputs), dim=1) for network in model.networks]
            mean = torch.stack(answers).mean(dim=0)
            probs.append(mean.movedim(1, -1)[known].numpy())
            labels.append(shown.target[known].numpy())
            if shown.weight is not None:
                weights.append(shown.weight[known].numpy())
    if sum(map(len, labels)) < FEWEST_FOR_TEMPERATURE:
        return 1.0
    return fit_temperature(np.concatenate(probs), np.concatenate(labels), np.concatenate(weights))


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use so many threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(n, 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
