"""Networks of patches as models: each pixel is judged by what lies around it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geocube_ml.models.network import NetworkModel

_EDGE = 512  # pixels: what is answered at a time, so that memory does not grow with a block


@dataclass
class PatchModel(NetworkModel):
    """Networks that look at windows; `NetworkModel` says what they are made of.

    A window must begin at a multiple of `stride`, counted from the cube's first row and column, or
    else cells of the coarse levels are others, and so are the answers.
    """

    @property
    def halo(self) -> int:
        """Pixels around a pixel that can decide its answer."""
        return int(self.networks[0].halo)  # type: ignore[arg-type]

    @property
    def stride(self) -> int:
        """Pixels at whose multiples windows begin."""
        return int(self.networks[0].stride)  # type: ignore[arg-type]

    def _mean(
        self, series: NDArray[np.float32], answer: Callable[[Tensor], Tensor]
    ) -> NDArray[np.float32]:
        """(n, time, channel, h, w) physical values -> answers (n, ..., h, w), members averaged."""
        for network in self.networks:
            network.eval()
        device = next(self.networks[0].parameters()).device
        n, (high, wide) = len(series), series.shape[-2:]
        out = np.empty(0, np.float32)
        with torch.inference_mode():
            for window in windows((high, wide), _EDGE, self.halo, self.stride):
                seen = self.scaling.apply(series[:, :, :, *window.seen], self.layout.sizes)
                for one in range(n):
                    inputs = torch.from_numpy(seen[one : one + 1]).to(device)
                    found = torch.stack([answer(network(inputs)) for network in self.networks])
                    mean = found.mean(dim=0).float().cpu().numpy()
                    if not out.size:
                        out = np.empty((n, *mean.shape[1:-2], high, wide), np.float32)
                    out[one, ..., *window.core] = mean[0][..., *window.within]
        return out


@dataclass(frozen=True)
class Window:
    """A part of a picture, and what around it decides its answers."""

    core: tuple[slice, slice]
    """Rows and columns that are answered."""
    seen: tuple[slice, slice]
    """Rows and columns that are looked at."""

    @property
    def within(self) -> tuple[slice, slice]:
        """The core, counted from the first row and column that are looked at."""
        (y, x), (top, left) = self.core, (part.start for part in self.seen)
        return slice(y.start - top, y.stop - top), slice(x.start - left, x.stop - left)


def window_of(core: tuple[slice, slice], shape: tuple[int, int], halo: int, stride: int) -> Window:
    """What of a picture is looked at to answer for a part of it.

    Parameters
    ----------
    core : (slice, slice)
        Rows and columns that are answered.
    shape : (int, int)
        Of the whole picture, which ends there.
    halo, stride : int
        Of a `PatchModel`.

    Examples
    --------
    >>> window_of((slice(10, 20), slice(0, 20)), (64, 26), halo=8, stride=4).seen
    (slice(0, 28, None), slice(0, 26, None))
    """
    seen = []
    for part, size in zip(core, shape, strict=True):
        first = max(part.start - halo, 0) // stride * stride
        seen.append(slice(first, min(part.stop + halo, size)))
    return Window(core, (seen[0], seen[1]))


def windows(shape: tuple[int, int], edge: int, halo: int, stride: int) -> Iterator[Window]:
    """A picture in windows whose cores are `edge` pixels wide, less at its end."""
    starts = product(range(0, shape[0], edge), range(0, shape[1], edge))
    for top, left in starts:
        core = slice(top, min(top + edge, shape[0])), slice(left, min(left + edge, shape[1]))
        yield window_of(core, shape, halo, stride)
