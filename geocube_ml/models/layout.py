"""Which channels of a stacked array belong to which source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Number of bands of each source, in the order in which `kernels.scaling.stack` puts them.

    Parameters
    ----------
    series : tuple of int
        Bands of each source with a time axis.
    static : tuple of int
        Bands of each source without one; their channels are the same at every step.
    names : tuple of str, optional
        Of the sources, in their order; numbers from 1 by default.
    """

    series: tuple[int, ...]
    static: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            numbers = range(1, len(self.sizes) + 1)
            object.__setattr__(self, "names", tuple(str(number) for number in numbers))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bands of every source."""
        return self.series + self.static

    @property
    def n_channel(self) -> int:
        """Channels of a stacked array."""
        return sum(self.sizes)

    @property
    def n_series(self) -> int:
        """Channels that change with time; the others follow."""
        return sum(self.series)

    @property
    def slices(self) -> dict[str, slice]:
        """The channels of each source."""
        found, first = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            found[name] = slice(first, first + size)
            first += size
        return found

    def n_feature(self, n_step: int) -> int:
        """Columns of what `flat` returns."""
        return self.n_series * n_step + sum(self.static)

    def flat(self, stacked: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, time, channel) -> (n, feature): each step of a series, static channels once.

        Examples
        --------
        >>> Layout((1,), (2,)).flat(np.float32([[[1, 7, 8], [2, 7, 8]]])).tolist()
        [[1.0, 2.0, 7.0, 8.0]]
        """
        n, cut = len(stacked), self.n_series
        series = stacked[:, :, :cut].reshape(n, -1)
        return np.concatenate([series, stacked[:, 0, cut:]], axis=1) if self.static else series
